"""Official splits: lists of the clips to train on and of those to test on."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np


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
