"""Honest splits: clips cut from one source video never stand on both sides.

Clips of one source share people, clothes, background and camera. A model that has seen one of them recognizes
the others by these, and a random split then measures memory, not skill.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from numbers import Integral
from pathlib import Path
from typing import Literal

import numpy as np
from sklearn.model_selection import (
    LeaveOneGroupOut,
    StratifiedGroupKFold,
    StratifiedKFold,
    StratifiedShuffleSplit,
)

from harkeras.data.sources import Sources, find_sources, warn_if_unknown
from harkeras.data.split_lists import split_by_files

Split = Literal["group", "random", "official"]
# Steps of the search: groups and their classes looked at, over all draws together. About a second.
_STEPS = 1_000_000
_MOST_DRAWS = 200


def split_by_group(
    video_paths: Sequence[str | os.PathLike],
    labels: np.ndarray,
    *,
    test_size: float = 0.25,
    seed: int = 27,
    group_of: Callable[[Path], str] | None = None,
    data_dir: str | os.PathLike | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Split clips so that no source video stands on both sides, classes balanced as well as groups allow.

    Identical files count as one source, whatever their names say.

    Args:
        video_paths: Paths of the clips.
        labels: int (N,), their classes.
        test_size: Share of the clips to test on, between 0 and 1.
        seed: Seed of the choice.
        group_of: Function from a path to the name of its source; see `read_groups`.
        data_dir: Folder with the class folders, so that folders inside them name sources.

    Returns:
        Rows to train on and rows to test on, int64, sorted.

    Raises:
        ValueError: If `test_size` is not between 0 and 1, `seed` is out of its range, the lengths differ, or
            there are fewer than 2 groups.

    Example:
        >>> train_rows, test_rows = split_by_group(video_paths, labels)
        >>> test_clips, test_labels = features[test_rows], labels[test_rows]
    """
    sources = find_sources(video_paths, data_dir, group_by=group_of, copies=True)
    warn_if_unknown(sources)
    return split_rows_by_group(labels, sources.groups, test_size=test_size, seed=seed)


def split_rows_by_group(
    labels: np.ndarray, groups: np.ndarray, *, test_size: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split rows whose groups are known; the arguments and errors are those of `split_by_group`.

    The same clips in another order are split alike.
    """
    labels = _check(test_size, seed, labels, groups)
    names, group_of_row = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"groups must be at least 2 source videos, got {names.tolist()}")
    test = _draw_test_groups(labels, group_of_row, test_size, seed)[group_of_row]
    return np.flatnonzero(~test), np.flatnonzero(test)


def split_at_random(
    video_paths: Sequence[str | os.PathLike], labels: np.ndarray, *, test_size: float = 0.25, seed: int = 27
) -> tuple[np.ndarray, np.ndarray]:
    """Split clips at random, each class alike. Clips of one source leak: the accuracy will be too high.

    The arguments and the result are those of `split_by_group`, groups left aside.

    Raises:
        ValueError: If `test_size` is not between 0 and 1, `seed` is out of its range, the lengths differ, or
            a class has only one clip.
    """
    labels = _check(test_size, seed, labels, video_paths)
    counts = np.bincount(labels)
    if (counts == 1).any():
        raise ValueError(f"labels must name every class at least twice, got {counts.tolist()} clips")
    classes = np.count_nonzero(counts)
    tested = int(np.clip(round(test_size * len(labels)), classes, len(labels) - classes))
    splitter = StratifiedShuffleSplit(1, test_size=tested, random_state=seed)
    train, test = next(splitter.split(labels, labels))
    return np.sort(train), np.sort(test)


def split_clips(
    video_paths: Sequence[str | os.PathLike],
    labels: np.ndarray,
    sources: Sources,
    *,
    split: Split = "group",
    split_dir: str | os.PathLike | None = None,
    test_size: float = 0.25,
    seed: int = 27,
) -> tuple[np.ndarray, np.ndarray, str]:
    """Split clips by the name of a split: rows to train on, rows to test on, and in words what was done.

    The arguments and errors are those of `Dataset.split`; `sources` are those of the N clips.
    """
    groups = sources.groups
    if split_dir is not None and split != "official":
        raise ValueError(f"split_dir is for the split 'official', got {split!r}")
    if split == "group":
        check_sources(labels, groups, sources.how or "sources unknown")
        rows = split_rows_by_group(labels, groups, test_size=test_size, seed=seed)
    elif split == "random":
        rows = split_at_random(video_paths, labels, test_size=test_size, seed=seed)
    elif split == "official":
        if split_dir is None:
            raise ValueError("split_dir is missing: an official split needs the folder of its files")
        rows = split_by_files(video_paths, split_dir)
    else:
        raise ValueError(f"split must be 'group', 'random' or 'official', got {split!r}")
    return *rows, describe_split(split, sources, *rows)


def check_sources(labels: np.ndarray, groups: np.ndarray, how: str = "") -> None:
    """Raise ValueError where no class could be both trained and tested without sharing a source.

    Args:
        labels: int (N,), the classes of the clips.
        groups: (N,), their sources.
        how: How these were found, in words, for the message.
    """
    pairs = set(zip(np.asarray(labels).tolist(), np.asarray(groups).tolist(), strict=True))
    counts = Counter(label for label, _ in pairs)
    if max(counts.values()) == 1:
        name, how = ("group_by", f" ({how})") if how else ("groups", "")
        raise ValueError(
            f"{name} must tell apart at least two sources of a class, and every class has only one{how}: "
            "a model would be tested on classes that it has never seen. Pass --group-by with a level or "
            "pattern that finds the sources, or --split random, whose accuracy is overstated"
        )


def describe_split(split: Split, sources: Sources, train: np.ndarray, test: np.ndarray) -> str:
    """Say in words how clips were split, and whether that can be trusted."""
    groups, unknown = sources.groups, sources.alone == len(sources.groups)

    def count(rows: np.ndarray | slice, noun: str = "") -> str:
        clips = f"{len(groups[rows])} clips"
        return clips if unknown else f"{clips} of {len(np.unique(groups[rows]))}{noun}"

    kind = {"group": "by source video", "random": "at random", "official": "official"}[split]
    if unknown and split == "group":
        kind = "sources unknown, each clip taken for one of its own"
    words = f"{kind}: {count(slice(None), ' sources')}, trained on {count(train)}, tested on {count(test)}"
    if rest := len(groups) - len(train) - len(test):
        words += f"; {rest} clips are in none of its lists"
    if shared := len(np.intersect1d(groups[train], groups[test])):
        words += f"; {shared} of these sources are in training too, so accuracy is overstated"
    elif sources.alone:
        words += (
            f"; the source of {sources.alone} clips is not known: if some were cut from one video, accuracy "
            "is overstated"
        )
    return words


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
        ValueError: If lengths differ, `seed` is out of its range, there is no such split, or there are fewer
            groups, or clips of a class, than folds.
    """
    check_seed(seed)
    labels, groups = np.asarray(labels), np.asarray(groups)
    if len(labels) != len(groups) or not len(labels):
        raise ValueError(f"groups must be one per clip, got {len(groups)} and {len(labels)} clips")
    group_count = len(np.unique(groups))
    if folds == "groups":
        if split != "group" or group_count < 2:
            raise ValueError(
                f"folds='groups' needs split='group' and 2 groups, got {split!r} and {group_count}"
            )
        return list(LeaveOneGroupOut().split(labels, labels, groups))
    clip_counts = np.unique_counts(labels).counts
    if split == "group":
        splitter = StratifiedGroupKFold
        most, what = min((group_count, "groups"), (int(clip_counts.max()), "clips of the commonest class"))
    elif split == "random":
        splitter = StratifiedKFold
        most, what = int(clip_counts.min()), "clips of the rarest class"
    else:
        raise ValueError(f"split must be 'group' or 'random', got {split!r}")
    if not 2 <= folds <= most:
        raise ValueError(f"folds must lie in 2 to {most}, the number of {what}, got {folds}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # fewer clips of a class than folds: some folds lack it
        return list(splitter(folds, shuffle=True, random_state=seed).split(labels, labels, groups))


def check_seed(seed: int) -> None:
    """Raise ValueError for what NumPy, scikit-learn and Keras would not all take as a seed."""
    if not isinstance(seed, Integral) or not 0 <= seed < 2**32:
        raise ValueError(f"seed must be a whole number in 0 to {2**32 - 1}, got {seed!r}")


def _check(test_size: float, seed: int, labels: np.ndarray, others: Sequence) -> np.ndarray:
    check_seed(seed)
    if not 0 < test_size < 1:
        raise ValueError(f"test_size must lie between 0 and 1, got {test_size}")
    if len(labels) != len(others) or not len(labels):
        raise ValueError(
            f"labels must be as many as clips, at least 1, got {len(labels)} labels and {len(others)} clips"
        )
    return np.asarray(labels)


def _draw_test_groups(
    labels: np.ndarray, group_of_row: np.ndarray, test_size: float, seed: int
) -> np.ndarray:
    """Choose groups to test on, whose clips are near `test_size` of each class.

    Coordinate descent from several random orders: group by group, a group changes sides where that lowers the
    error, until none does. The error of a class is how many clips the test side has too many or too few; a
    class that is missing on one side costs more than any imbalance. The best draw is taken, and the search
    ends early where none can be better. The order of the rows plays no part.

    Args:
        labels: int (N,), the class of each clip.
        group_of_row: int (N,), the group of each clip, in 0 to G - 1, G at least 2.
        test_size: Share of the clips to test on, between 0 and 1.
        seed: Seed of the orders.

    Returns:
        bool (G,), at least one of each.
    """
    pairs, counts = np.unique(np.stack([group_of_row, labels], axis=1), axis=0, return_counts=True)
    members = [[] for _ in range(int(group_of_row.max()) + 1)]  # of each group: its classes and their clips
    for (group, label), count in zip(pairs.tolist(), counts.tolist(), strict=True):
        members[group].append((label, count))
    totals = np.bincount(labels)
    wanted, penalty = totals * test_size, float(len(labels))  # more than all imbalances together
    groups_of_class = np.bincount(pairs[:, 1], minlength=len(totals))
    least = _least_error(totals, groups_of_class, wanted, penalty)
    rng, best, best_error = np.random.default_rng(seed), None, np.inf
    for _ in range(int(np.clip(_STEPS // len(pairs), 1, _MOST_DRAWS))):
        order = rng.permutation(len(members)).tolist()
        error, tested = _descend(members, order, totals.tolist(), wanted.tolist(), penalty)
        if error < best_error:
            best, best_error = tested, error
        if best_error <= least + 1e-9:
            break
    return np.array(best)


def _least_error(totals, groups_of_class, wanted, penalty: float) -> float:
    """Return the error that no choice of groups can undercut."""
    both_sides = np.abs(np.clip(np.round(wanted), 1, np.maximum(totals - 1, 1)) - wanted)
    one_side = penalty + np.minimum(wanted, totals - wanted)
    return float(np.where(groups_of_class > 1, both_sides, one_side)[groups_of_class > 0].sum())


def _descend(members, order, totals, wanted, penalty: float) -> tuple[float, list[bool]]:
    """Start with no group to test on, and let groups change sides until that helps no more."""

    def error(label: int, clips: int) -> float:
        return abs(clips - wanted[label]) + (penalty if clips in (0, totals[label]) else 0.0)

    def gain(group: int) -> float:
        sign = -1 if tested[group] else 1
        return sum(error(c, clips[c]) - error(c, clips[c] + sign * n) for c, n in members[group])

    def move(group: int) -> None:
        sign = -1 if tested[group] else 1
        tested[group] = not tested[group]
        for label, count in members[group]:
            clips[label] += sign * count

    tested, clips, count = [False] * len(members), [0] * len(totals), 0
    moved = True
    while moved:
        moved = False
        for group in order:
            after = count + (-1 if tested[group] else 1)
            if 0 < after < len(members) and gain(group) > 1e-9:
                move(group)
                count, moved = after, True
    if not count:  # each class has one group: any choice costs the other side a class
        move(max(order, key=gain))
    return sum(error(label, n) for label, n in enumerate(clips) if totals[label]), tested
