"""Honest splits: clips cut from one source video never stand on both sides.

Clips of one source share people, clothes, background and camera. A model that has seen one of them recognises
the others by these, and a random split then measures memory, not skill.
"""

from __future__ import annotations

import csv
import io
import os
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from sklearn.model_selection import (
    LeaveOneGroupOut,
    StratifiedGroupKFold,
    StratifiedKFold,
    StratifiedShuffleSplit,
)

from harkeras._group_balance import draw_test_groups
from harkeras.sources import Sources, read_groups

Split = Literal["group", "random", "official"]


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
        ValueError: If `test_size` is not between 0 and 1, the lengths differ, or there are fewer than 2
            groups.

    Example:
        >>> train_rows, test_rows = split_by_group(video_paths, labels)
        >>> test_clips, test_labels = features[test_rows], labels[test_rows]
    """
    groups = read_groups(video_paths, group_of, data_dir=data_dir)
    return split_rows_by_group(labels, groups, test_size=test_size, seed=seed)


def split_rows_by_group(
    labels: np.ndarray, groups: np.ndarray, *, test_size: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split rows whose groups are known; the arguments and errors are those of `split_by_group`.

    The same clips in another order are split alike.
    """
    labels = _check(test_size, labels, groups)
    names, group_of_row = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"groups must be at least 2 source videos, got {names.tolist()}")
    test = draw_test_groups(labels, group_of_row, test_size, seed)[group_of_row]
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
    """Split clips by the name of a split, and say in words what was done.

    Args:
        video_paths: Paths of the clips.
        labels: int (N,), their classes.
        sources: Their sources, see `find_sources`.
        split: "group" keeps the clips of a source together; "random" does not, and overstates the accuracy;
            "official" reads the lists in `split_dir`.
        split_dir: Folder of the lists, see `split_by_files`.
        test_size: Share of the clips to test on, for the splits that are not official.
        seed: Seed of the choice.

    Returns:
        Rows to train on, rows to test on, and the words.

    Raises:
        ValueError: If there is no split of that name, "official" comes without `split_dir`, or the sources
            do not allow an honest split.
    """
    groups = sources.groups
    if split == "group":
        check_sources(labels, sources)
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


def check_sources(labels: np.ndarray, sources: Sources) -> None:
    """Raise ValueError where no class could be both trained and tested without sharing a source."""
    pairs = {(int(label), group) for label, group in zip(labels, sources.groups.tolist(), strict=True)}
    counts = Counter(label for label, _ in pairs)
    if max(counts.values()) == 1:
        raise ValueError(
            "group_by must tell apart at least two sources of a class, and every class has only one "
            f"({sources.how}): a model would be tested on classes that it has never seen. Pass --group-by "
            "with a level or pattern that finds the sources, or --split random, whose accuracy is overstated"
        )


def describe_split(split: Split, sources: Sources, train: np.ndarray, test: np.ndarray) -> str:
    """Say in words how clips were split, and whether that can be trusted."""
    groups = sources.groups
    sides = [set(groups[side].tolist()) for side in (train, test)]
    kind = {"group": "by source video", "random": "at random", "official": "official"}[split]
    every, shared = len(set(groups.tolist())), len(sides[0] & sides[1])
    unknown = sources.alone == len(groups)
    if unknown and split == "group":
        kind = "sources unknown, each clip taken for one of its own"
    counts = [
        f"{len(rows)} clips" + ("" if unknown else f" of {len(side)}")
        for rows, side in zip((train, test), sides, strict=True)
    ]
    words = (
        f"{kind}: {len(groups)} clips"
        + ("" if unknown else f" of {every} sources")
        + f", trained on {counts[0]}, tested on {counts[1]}"
    )
    if shared:
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
    """Split clips by lists of files: those of UCF101 or HMDB51, or any pair of a training and a test list.

    Clips are matched by as much of their path as a list gives, without suffix, so converted copies count;
    clips in no list are left out.

    Args:
        video_paths: Paths of the clips.
        split_dir: Folder with `trainlist01.txt` and `testlist01.txt` (UCF101), with one
            `<action>_test_split1.txt` per class (HMDB51: 1 is train, 2 is test, 0 is unused), or with one
            `.txt` or `.csv` file that has "train" in its name and one that has "test" or "val": one path a
            line, or a table with a column video, path, file, filename, clip or name.
        split: Which of the official splits, from 1 on; see `list_official_splits`.

    Returns:
        Rows to train on and rows to test on, int64, sorted.

    Raises:
        FileNotFoundError: If the folder holds no such files.
        ValueError: If one side has no clip, a clip is on both sides, a list names several clips at once, or a
            table has no such column.
    """
    split_dir = Path(split_dir)
    files = _split_files(split_dir, split)
    if not files:
        raise FileNotFoundError(
            f"{split_dir} holds neither trainlist{split:02d}.txt and testlist{split:02d}.txt (UCF101) nor "
            f"*_test_split{split}.txt (HMDB51)" + (" nor a train and a test list" if split == 1 else "")
        )
    entries = [
        (file, name, of_line if side is None else side)
        for file, side in files
        for name, of_line in _listed(file)
    ]
    sides = np.full(len(video_paths), "", dtype="<U5")
    for row, (file, name, side) in _match(video_paths, entries):
        if side and sides[row] not in ("", side):
            raise ValueError(f"{file}: {name} is on both sides of the split")
        sides[row] = side or ""
    rows = np.flatnonzero(sides == "train"), np.flatnonzero(sides == "test")
    if not len(rows[0]) or not len(rows[1]):
        raise ValueError(
            f"split {split} in {split_dir} gives {len(rows[0])} clips to train on and {len(rows[1])} to test "
            f"on, of {len(sides)}; are these the clips it was made for?"
        )
    return rows


def list_official_splits(split_dir: str | os.PathLike) -> list[int]:
    """Return the numbers of the splits that a folder has files for, see `split_by_files`.

    Raises:
        FileNotFoundError: If it has none.
    """
    split_dir = Path(split_dir)
    numbers = {
        int(match[1])
        for path in (split_dir.iterdir() if split_dir.is_dir() else ())
        if (match := re.fullmatch(r"(?:trainlist|.*_test_split)(\d+)\.txt", path.name))
    }
    if not numbers and _split_files(split_dir, 1):
        numbers = {1}
    if not numbers:
        raise FileNotFoundError(
            f"{split_dir} holds no trainlist01.txt and testlist01.txt (UCF101), no *_test_split1.txt "
            "(HMDB51), and no train and test list"
        )
    return sorted(numbers)


def _split_files(split_dir: Path, split: int) -> list[tuple[Path, str | None]]:
    """Return the files of a split, and the side that each lists; None where every line has its own."""
    ucf = [(split_dir / f"{side}list{split:02d}.txt", side) for side in ("train", "test")]
    if any(path.is_file() for path, _ in ucf):
        return [(path, side) for path, side in ucf if path.is_file()]
    hmdb = sorted(split_dir.glob(f"*_test_split{split}.txt"))
    if hmdb or split != 1:
        return [(path, None) for path in hmdb]
    lists = [path for path in sorted(split_dir.glob("*")) if path.suffix.lower() in (".txt", ".csv")]
    train = [path for path in lists if "train" in path.stem.lower() and "list" not in path.stem.lower()]
    for word in ("test", "val"):
        test = [path for path in lists if word in path.stem.lower() and path not in train]
        if len(train) == len(test) == 1:
            return [(train[0], "train"), (test[0], "test")]
    return []


def _listed(file: Path) -> list[tuple[str, str | None]]:
    """Return the clips that a list names, and the side of each where HMDB51's numbers say it."""
    text = file.read_text(encoding="utf-8-sig")
    if file.suffix.lower() == ".csv":
        return [(name, None) for name in _column(text, file)]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if "_test_split" in file.name:
        action = file.name.partition("_test_split")[0]
        pairs = (line.rsplit(maxsplit=1) for line in lines)
        return [(f"{action}/{name}", {"1": "train", "2": "test"}.get(number)) for name, number in pairs]
    # What may follow a path: the number of the class, of the frames.
    return [(re.sub(r"(?<=\.\w\w\w)(\s+-?\d+)+$", "", line), None) for line in lines]


def _column(text: str, file: Path) -> list[str]:
    """Return the column of a table that names the clips; of a table without a head, its only one."""
    rows = [row for row in csv.reader(io.StringIO(text, newline="")) if any(row)]
    head = [name.strip().lower() for name in rows[0]] if rows else []
    for name in ("video", "video_path", "path", "file", "filename", "clip", "clip_path", "name"):
        if name in head:
            return [row[head.index(name)] for row in rows[1:] if len(row) > head.index(name)]
    if len(head) > 1:
        raise ValueError(f"{file} must have a column video, path, file, filename, clip or name, got {head}")
    return [row[0] for row in rows]


def _match(
    video_paths: Sequence[str | os.PathLike], entries: Sequence[tuple[Path, str, str | None]]
) -> Iterator[tuple[int, tuple[Path, str, str | None]]]:
    """Yield the row of the clip that each entry of the lists means, and the entry; some mean none."""
    parts = [Path(path).with_suffix("").parts for path in video_paths]
    rows_of = defaultdict(list)
    for row, each in enumerate(parts):
        rows_of[each[-1]].append(row)
    listed = [PurePosixPath(name.replace("\\", "/")).with_suffix("").parts for _, name, _ in entries]
    uses = Counter(wanted[-1] for wanted in listed if wanted)
    for wanted, entry in zip(listed, entries, strict=True):
        rows = rows_of.get(wanted[-1], []) if wanted else []
        shared = [_shared_end(parts[row], wanted) for row in rows]
        rows = [row for row, count in zip(rows, shared, strict=True) if count == max(shared)]
        folder_differs = rows and len(wanted) > 1 and max(shared) == 1
        if folder_differs and (len(rows) > 1 or uses[wanted[-1]] > 1):
            continue  # a clip of another class, with an everyday name
        if len(rows) > 1:
            raise ValueError(
                f"{entry[0]}: {entry[1]} names {len(rows)} clips, {video_paths[rows[0]]} and "
                f"{video_paths[rows[1]]}: give more of their paths"
            )
        if rows:
            yield rows[0], entry


def _shared_end(one: Sequence[str], other: Sequence[str]) -> int:
    """Count the last parts that two paths share."""
    count = 0
    for a, b in zip(reversed(one), reversed(other), strict=False):
        if a != b:
            break
        count += 1
    return count


def _check(test_size: float, labels: np.ndarray, others: Sequence) -> np.ndarray:
    if not 0 < test_size < 1:
        raise ValueError(f"test_size must lie between 0 and 1, got {test_size}")
    if len(labels) != len(others) or not len(labels):
        raise ValueError(
            f"labels must be as many as clips, at least 1, got {len(labels)} labels and {len(others)} clips"
        )
    return np.asarray(labels)
