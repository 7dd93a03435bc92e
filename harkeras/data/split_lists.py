"""Official splits: lists of the clips to train on and of those to test on."""

from __future__ import annotations

import csv
import io
import os
import re
import unicodedata
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import takewhile, zip_longest
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np

_HMDB51 = re.compile(r"(.+)_test_split_?\d+\.txt", re.IGNORECASE)
# The number of a split: trainlist01, train_list_1, ucf101_train_split_1_videos, fold2_test; not train_64f.
_NUMBER = re.compile(
    r"(?:list|split|fold|set|train(?:ing)?|test(?:ing)?|val(?:id(?:ation)?)?)[\W_]*(\d{1,2})(?![a-z\d])",
    re.IGNORECASE,
)
_SUFFIX = re.compile(r"\.(?=\w*[a-z])\w{2,5}$", re.IGNORECASE)
# What may follow a path without suffix: numbers, or the class again, as in Run/Run_0 Run.
_LABEL = re.compile(
    r"(?P<path>(?:.*[/\\])?(?:(?P<folder>[^/\\]+)[/\\])?.*[^\s,;])[\s,;]+(?:-?\d+|(?P=folder))"
)


class _Entry(NamedTuple):
    """A line of a list: its file, the words that name a clip, and the side that the clip is on."""

    file: Path
    text: str
    side: str | None


class _Match(NamedTuple):
    """An entry, the rows of the clips that it may mean, and how many parts of their paths it shares."""

    entry: _Entry
    rows: list[int]
    shared: int


def split_by_files(
    video_paths: Sequence[str | os.PathLike], split_dir: str | os.PathLike, *, split: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Split clips by lists of files: those of UCF101 or HMDB51, or any pair of a training and a test list.

    Clips are matched by as much of their path as a list gives, without suffix, so converted copies count;
    clips in no list are left out. Lists may name classes that the clips do not have; where a class is there
    and some of its listed clips are not, a UserWarning counts them.

    Args:
        video_paths: Paths of the clips.
        split_dir: Folder with `trainlist01.txt` and `testlist01.txt` (UCF101), with one
            `<action>_test_split1.txt` per class (HMDB51: 1 is train, 2 is test, 0 is unused), or with one
            `.txt` or `.csv` file that has "train" in its name and one that has "test" or "val" (or with
            `train.txt` and `test.txt` beside one list per class, as in Stanford-40's `ImageSplits`): a path a
            line, which numbers may follow, or a table, whose column that fits the clips best is taken.
        split: Which of the official splits, from 1 on; see `list_official_splits`.

    Returns:
        Rows to train on and rows to test on, int64, sorted.

    Raises:
        FileNotFoundError: If the folder holds no such files.
        ValueError: If one side has no clip or several lists, a clip is on both sides, a list is not UTF-8
            or names several clips at once, a line of HMDB51 has no number, or no column of a table names
            clips.
    """
    split_dir = Path(split_dir)
    lists = _find_lists(split_dir).get(split)
    if not lists:
        raise _no_lists(split_dir, split)
    clips = _Clips(video_paths)
    entries = [entry for file, side in lists for entry in _read_list(file, side, clips)]
    matches = list(clips.match(entries))
    sides = np.full(len(video_paths), "", dtype="<U5")
    for (file, text, side), rows, _ in matches:
        if len(rows) > 1:
            raise ValueError(
                f"{file}: {text} names {len(rows)} clips, {video_paths[rows[0]]} and {video_paths[rows[1]]}: "
                "give more of their paths"
            )
        if rows and side:
            if sides[rows[0]] not in ("", side):
                raise ValueError(f"{file}: {text} is on both sides of the split")
            sides[rows[0]] = side
    train, test = (np.flatnonzero(sides == side) for side in ("train", "test"))
    if not len(train) or not len(test):
        raise ValueError(
            f"split {split} in {split_dir} gives {len(train)} clips to train on and {len(test)} to test "
            f"on, of {len(sides)}; are these the clips it was made for?"
        )
    _warn_of_missing(clips, matches)
    return train, test


def list_official_splits(split_dir: str | os.PathLike) -> list[int]:
    """Return the numbers of the splits that a folder has files for, see `split_by_files`.

    Raises:
        FileNotFoundError: If it has none.
        ValueError: If one side of a split has several lists.
    """
    split_dir = Path(split_dir)
    numbers = sorted(_find_lists(split_dir))
    if not numbers:
        raise _no_lists(split_dir, 1)
    return numbers


def _no_lists(split_dir: Path, split: int) -> FileNotFoundError:
    return FileNotFoundError(
        f"{split_dir} holds neither trainlist{split:02d}.txt and testlist{split:02d}.txt (UCF101) nor "
        f"*_test_split{split}.txt (HMDB51)" + (" nor a train and a test list" if split == 1 else "")
    )


def _find_lists(split_dir: Path) -> dict[int, list[tuple[Path, str | None]]]:
    """Return the lists of each split, and the side of each list; None where every line has its own."""
    files_of = defaultdict(list)
    for file in sorted(split_dir.glob("[!.]*") if split_dir.is_dir() else ()):
        if file.suffix.lower() in (".txt", ".csv") and re.search("train|test|val", file.stem.lower()):
            numbers = _NUMBER.findall(file.stem)
            files_of[int(numbers[-1]) if numbers else None].append(file)
    unnumbered = files_of.pop(None, [])
    files_of = files_of or {1: unnumbered}
    lists = {number: _assign_sides(files) for number, files in files_of.items()}
    return {number: of_number for number, of_number in lists.items() if of_number}


def _assign_sides(files: Sequence[Path]) -> list[tuple[Path, str | None]]:
    """Return the lists of one split with their sides; none where there is no list to train on."""
    per_class = [file for file in files if _HMDB51.fullmatch(file.name)]
    train = [file for file in files if "train" in file.stem.lower() and file not in per_class]
    if not train:
        return [(file, None) for file in per_class]
    others = [file for file in files if file not in train]
    test = [file for file in others if "test" in file.stem.lower()] or others
    lists = []
    for side, of_side in (("train", train), ("test", test)):
        # Stanford-40 has train.txt, and the same again class by class: <action>_train.txt.
        whole = [file for file in of_side if file.stem.lower() == side]
        rest = [file for file in of_side if not file.stem.lower().endswith(("_train", "_test"))]
        if whole == rest:
            of_side = whole or of_side
        if len(of_side) > 1:
            names = ", ".join(file.name for file in of_side)
            raise ValueError(f"{train[0].parent} must hold one {side} list for a split, got {names}")
        lists += [(file, side) for file in of_side]
    return lists


def _read_list(file: Path, side: str | None, clips: _Clips) -> list[_Entry]:
    text = _read_text(file)
    if file.suffix.lower() == ".csv":
        return _read_table(file, text, side, clips)
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if side:
        return [_Entry(file, line, side) for _, line in lines]
    action = _HMDB51.fullmatch(file.name)[1]
    entries = []
    for number, line in lines:
        match = re.fullmatch(r"(.+)\s+([012])", line)
        if not match:
            raise ValueError(f"{file}, line {number}: must be a clip and 0, 1 or 2, got {line!r}")
        entries.append(
            _Entry(file, f"{action}/{match[1].strip()}", {"1": "train", "2": "test"}.get(match[2]))
        )
    return entries


def _read_table(file: Path, text: str, side: str | None, clips: _Clips) -> list[_Entry]:
    """Return the column of a table that has most in common with the paths of the clips."""
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise ValueError(f"{file} must be a table of comma-separated values: {error}") from error
    rows = [row for row in rows if any(row)]
    columns = [
        [_Entry(file, cell.strip(), side) for cell in column] for column in zip_longest(*rows, fillvalue="")
    ]
    common = [
        sum(match.shared for match in clips.match(column) if len(match.rows) == 1) for column in columns
    ]
    if not any(common):
        head = rows[0] if rows else []
        raise ValueError(f"{file} must have a column with the paths of clips, got {head}: none names a clip")
    return columns[common.index(max(common))]


def _read_text(file: Path) -> str:
    """Return the text of a list in UTF-8, or UTF-16 with its mark, as PowerShell writes it."""
    content = file.read_bytes()
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} must be a text in UTF-8: {error}") from error
    if "\0" in text:
        raise ValueError(f"{file} must be a text in UTF-8, but it holds zero bytes")
    return text


class _Clips:
    """Clips by their names, with and without suffix."""

    def __init__(self, video_paths: Sequence[str | os.PathLike]) -> None:
        self.parts = [_parts(os.fspath(path)) for path in video_paths]
        self.rows_of = defaultdict(list)
        for row, parts in enumerate(self.parts):
            if parts:
                for key in {parts[-1], PurePath(parts[-1]).stem}:
                    self.rows_of[key].append(row)

    def match(self, entries: Sequence[_Entry]) -> Iterator[_Match]:
        """Yield what each entry may mean."""
        readings = [list(dict.fromkeys(_parts(text) for text in _readings(entry.text))) for entry in entries]
        uses = Counter(_SUFFIX.sub("", wanted[-1]) for each in readings for wanted in each if wanted)
        for entry, each in zip(entries, readings, strict=True):
            found = (self._find(wanted, uses) for wanted in each)
            yield _Match(entry, *next((match for match in found if match[0]), ([], 0)))

    def _find(self, wanted: Sequence[str], uses: Counter) -> tuple[list[int], int]:
        """Return the rows of the clips that a path may mean, and how many of its parts they share."""
        if not wanted:
            return [], 0
        *folders, name = wanted
        stem = _SUFFIX.sub("", name)
        fits = {}
        for key in (name, stem):
            for row in self.rows_of.get(key, ()):
                # Of a.avi and a.mp4, a list that says a.avi means the first.
                closeness = (self.parts[row][-1] == name) + (key == name)
                fits.setdefault(row, (_shared_end(self.parts[row][:-1], folders), closeness))
        best = max(fits.values(), default=(0, 0))
        if folders and best[0] == 0 and (len(fits) > 1 or uses[stem] > 1):
            return [], 0  # a clip of another class, with an everyday name
        return [row for row, fit in fits.items() if fit == best], best[0] + 1


def _readings(line: str) -> Iterator[str]:
    """Yield what may be the path in a line, longest first: its label, or numbers, may follow it."""
    yield line
    if match := re.fullmatch(r"(.*\.(?=\w*[a-z])\w{2,5})[\s,;][^/\\]*", line, re.IGNORECASE):
        yield match[1]
    while match := _LABEL.fullmatch(line):
        line = match["path"]
        yield line


def _parts(path: str) -> tuple[str, ...]:
    """Return the parts of a path, accents as one sign; none for a folder such as "." or ".."."""
    parts = unicodedata.normalize("NFC", path).replace("\\", "/").split("/")
    parts = tuple(part for part in parts if part not in ("", "."))
    return () if parts[-1:] == ("..",) else parts


def _shared_end(one: Sequence[str], other: Sequence[str]) -> int:
    """Count the last parts that two paths share."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _warn_of_missing(clips: _Clips, matches: Sequence[_Match]) -> None:
    """Warn of entries that name no clip, though the folder that they name has some."""
    depth = max(match.shared for match in matches) - 1
    if not depth:
        return
    folders = {parts[-1 - depth : -1] for parts in clips.parts}
    missing = [
        entry
        for entry, rows, _ in matches
        if entry.side and not rows and _parts(entry.text)[-1 - depth : -1] in folders
    ]
    if missing:
        warnings.warn(
            f"{len(missing)} of {len(matches)} entries of the split lists name no clip, though their folders "
            f"are there; the first is {missing[0].text!r} in {missing[0].file}",
            stacklevel=3,
        )
