"""Honest splits: clips cut from one source video never stand on both sides.

Clips of one source share people, clothes, background and camera. A model that has seen one of them recognises
the others by these, and a random split then measures memory, not skill.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from sklearn.model_selection import (
    LeaveOneGroupOut,
    StratifiedGroupKFold,
    StratifiedKFold,
    StratifiedShuffleSplit,
)

Split = Literal["group", "random", "official"]

# Random orders of the groups among which the one that can be cut best is taken.
_DRAWS = 500


def read_groups(
    video_paths: Sequence[str | os.PathLike], group_of: Callable[[Path], str] | None = None
) -> np.ndarray:
    """Find the source video of each clip.

    The source is what `group_of` says, if given; else the number in a name such as `v_Walking_g03_c02.mp4`;
    else the parent folder, where clips lie in a folder of their own inside the class folder. What is left is
    a group by itself.

    Args:
        video_paths: Paths of the clips, `data_dir/class/.../clip`.
        group_of: Function from a path to the name of its source.

    Returns:
        str (N,), the group of each clip.
    """
    paths = [Path(path) for path in video_paths]
    if group_of is not None:
        return np.array([str(group_of(path)) for path in paths])
    root = Path(os.path.commonpath([path.absolute() for path in paths])) if paths else None
    groups, alone = [], 0
    for path in paths:
        number = re.search(r"_g(\d+)_", path.name)
        if number:
            groups.append(f"g{number[1]}")
        elif len(path.absolute().relative_to(root).parts) > 2:
            groups.append(path.parent.name)
        else:
            groups.append(str(path))
            alone += 1
    if alone:
        warnings.warn(
            f"{alone} of {len(paths)} clips name no source video (no _g01_ in the name, no own folder): "
            "each counts as a source of its own, so clips cut from one video may stand on both sides",
            stacklevel=2,
        )
    return np.array(groups)


def split_by_group(
    video_paths: Sequence[str | os.PathLike],
    labels: np.ndarray,
    *,
    test_size: float = 0.25,
    seed: int = 27,
    group_of: Callable[[Path], str] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Split clips so that no source video stands on both sides, classes balanced as well as groups allow.

    Args:
        video_paths: Paths of the clips.
        labels: int (N,), their classes.
        test_size: Share of the clips to test on, between 0 and 1.
        seed: Seed of the choice.
        group_of: Function from a path to the name of its source; see `read_groups`.

    Returns:
        Rows to train on and rows to test on, int64, sorted.

    Raises:
        ValueError: If `test_size` is not between 0 and 1, the lengths differ, or there are fewer than 2
            groups.

    Example:
        >>> train_rows, test_rows = split_by_group(video_paths, labels)
        >>> test_clips, test_labels = features[test_rows], labels[test_rows]
    """
    return split_rows_by_group(labels, read_groups(video_paths, group_of), test_size=test_size, seed=seed)


def split_rows_by_group(
    labels: np.ndarray, groups: np.ndarray, *, test_size: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split rows whose groups are known; the arguments and errors are those of `split_by_group`."""
    labels = _check(test_size, labels, groups)
    names, group_of_row = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"groups must be at least 2 source videos, got {names.tolist()}")
    counts = np.zeros((len(names), labels.max() + 1))  # (G, classes): clips of each group
    np.add.at(counts, (group_of_row, labels), 1)
    wanted = counts.sum(axis=0) * test_size
    rng, best, least = np.random.default_rng(seed), None, np.inf
    for order in (rng.permutation(len(names)) for _ in range(_DRAWS)):
        tested = counts[order[:-1]].cumsum(axis=0)  # (G - 1, classes): clips on the test side, cut after each
        # A class that is missing on one side is worse than any imbalance.
        missing = ((tested == 0) | (tested == counts.sum(axis=0))) & (wanted > 0)
        errors = np.abs(tested - wanted).sum(axis=1) + len(labels) * missing.sum(axis=1)
        if errors.min() < least:
            least, best = errors.min(), order[: errors.argmin() + 1]
    test = np.isin(group_of_row, best)
    return np.flatnonzero(~test), np.flatnonzero(test)


def split_at_random(
    video_paths: Sequence[str | os.PathLike],
    labels: np.ndarray,
    *,
    test_size: float = 0.25,
    seed: int = 27,
) -> tuple[np.ndarray, np.ndarray]:
    """Split clips at random, each class alike. Clips of one source leak: the accuracy will be too high.

    The arguments and the result are those of `split_by_group`, groups left aside.

    Raises:
        ValueError: If `test_size` is not between 0 and 1, the lengths differ, or a class has only one clip.
    """
    labels = _check(test_size, labels, video_paths)
    counts = np.bincount(labels)
    if (counts == 1).any():
        raise ValueError(f"labels must name every class at least twice, got {counts.tolist()} clips")
    classes = np.count_nonzero(counts)
    tested = int(np.clip(round(test_size * len(labels)), classes, len(labels) - classes))
    splitter = StratifiedShuffleSplit(1, test_size=tested, random_state=seed)
    train, test = next(splitter.split(labels, labels))
    return np.sort(train), np.sort(test)


def list_folds(
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    split: Literal["group", "random"] = "group",
    folds: int | Literal["groups"] = 5,
    seed: int = 27,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Cut clips into folds, so that each clip is tested once.

    Args:
        labels: int (N,), their classes.
        groups: (N,), the source of each clip, see `read_groups`.
        split: "group" keeps the clips of a source in one fold; "random" does not, and overstates the
            accuracy.
        folds: Number of folds; "groups" leaves one source out at a time, such as one person.
        seed: Seed of the choice.

    Returns:
        For each fold, rows to train on and rows to test on, int64, sorted.

    Raises:
        ValueError: If lengths differ, there is no such split, or there are fewer groups, or clips of a class,
            than folds.
    """
    labels, groups = np.asarray(labels), np.asarray(groups)
    if len(labels) != len(groups) or not len(labels):
        raise ValueError(f"groups must be one per clip, got {len(groups)} and {len(labels)} clips")
    sources = len(np.unique(groups))
    if folds == "groups":
        if split != "group" or sources < 2:
            raise ValueError(f"folds='groups' needs split='group' and 2 groups, got {split!r} and {sources}")
        return list(LeaveOneGroupOut().split(labels, labels, groups))
    if split == "group":
        most, splitter = sources, StratifiedGroupKFold
    elif split == "random":
        counts = np.bincount(labels)
        most, splitter = counts[counts > 0].min(), StratifiedKFold
    else:
        raise ValueError(f"split must be 'group' or 'random', got {split!r}")
    if not 2 <= folds <= most:
        what = "groups" if split == "group" else "clips of the rarest class"
        raise ValueError(f"folds must lie in 2 to {most}, the number of {what}, got {folds}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # fewer clips of a class than folds: some folds lack it
        return list(splitter(folds, shuffle=True, random_state=seed).split(labels, labels, groups))


def split_by_files(
    video_paths: Sequence[str | os.PathLike], split_dir: str | os.PathLike, *, split: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Split clips by the official files of UCF101 or HMDB51.

    Clips are matched by file name without suffix, so converted copies count; clips in no list are left out.

    Args:
        video_paths: Paths of the clips.
        split_dir: Folder with `trainlist01.txt` and `testlist01.txt` (UCF101), or with one
            `<action>_test_split1.txt` per class (HMDB51: 1 is train, 2 is test, 0 is unused).
        split: Which of the three official splits.

    Returns:
        Rows to train on and rows to test on, int64, sorted.

    Raises:
        FileNotFoundError: If the folder holds no such files.
        ValueError: If one side has no clip.
    """
    split_dir = Path(split_dir)
    side_of = {}  # stem -> "train" or "test"
    for side in ("train", "test"):
        for path in split_dir.glob(f"{side}list{split:02d}.txt"):
            side_of |= {
                Path(line.split()[0]).stem: side for line in path.read_text().splitlines() if line.strip()
            }
    for path in split_dir.glob(f"*_test_split{split}.txt"):
        for line in path.read_text().splitlines():
            if line.strip():
                name, number = line.rsplit(maxsplit=1)
                side_of[Path(name).stem] = {"1": "train", "2": "test"}.get(number)
    if not side_of:
        raise FileNotFoundError(
            f"{split_dir} holds neither trainlist{split:02d}.txt and testlist{split:02d}.txt (UCF101) nor "
            f"*_test_split{split}.txt (HMDB51)"
        )
    sides = np.array([side_of.get(Path(path).stem) or "" for path in video_paths])
    rows = np.flatnonzero(sides == "train"), np.flatnonzero(sides == "test")
    if not len(rows[0]) or not len(rows[1]):
        raise ValueError(
            f"split {split} in {split_dir} gives {len(rows[0])} clips to train on and {len(rows[1])} to test "
            f"on, of {len(sides)}; are these the clips it was made for?"
        )
    return rows


def _check(test_size: float, labels: np.ndarray, others: Sequence) -> np.ndarray:
    if not 0 < test_size < 1:
        raise ValueError(f"test_size must lie between 0 and 1, got {test_size}")
    if len(labels) != len(others) or not len(labels):
        raise ValueError(
            f"labels must be as many as clips, at least 1, got {len(labels)} labels and {len(others)} clips"
        )
    return np.asarray(labels)
