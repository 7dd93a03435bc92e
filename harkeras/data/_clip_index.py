"""The file `clips.csv` of a folder of cut clips: which range of which video became which clip."""

from __future__ import annotations

import csv
import io
import os
import re
import unicodedata
import weakref
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from harkeras.base.files import locked, write_text
from harkeras.base.text import from_cell, to_cell
from harkeras.data._annotation_files import Annotation

INDEX_NAME = "clips.csv"
_CLIP = re.compile(r"_g(\d+)_c(\d+)\.mp4$")


class _Row(NamedTuple):
    """A row of the file: a clip, its range, and what clips of one group share, "video" or "person"."""

    clip: str
    video: str
    start_seconds: float
    end_seconds: float
    label: str
    person: str
    group_by: str


def class_of(label: str) -> str:
    """Spell a label as UCF does, "playing cricket" as "PlayingCricket"; empty without letters and digits."""
    label = re.sub(r"['’]", "", unicodedata.normalize("NFC", label))  # noqa: RUF001
    # Marks belong to their letters: without them, words of Hindi or Thai are other words.
    kinds = ((letter, unicodedata.category(letter)[0]) for letter in label)
    words = "".join(letter if kind in "LMN" else " " for letter, kind in kinds).split()
    name = "".join(word[0].upper() + word[1:] for word in words)
    # No folder can be called so on Windows.
    return f"{name}_" if re.fullmatch(r"con|prn|aux|nul|com\d|lpt\d", name, re.IGNORECASE) else name


def read_clip_videos(folder: Path) -> dict[str, str]:
    """Return the path, or URL, of the video that each clip of a folder was cut from; empty for other folders.

    Clips are named by their place, class/name without suffix.

    Raises:
        ValueError: If `clips.csv` is no list of clips that harkeras wrote.
    """
    file = folder / INDEX_NAME
    if not file.is_file():
        return {}
    try:
        rows = _from_csv(file.read_text(encoding="utf-8-sig"), header=True)
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{file} is no list of clips that harkeras wrote") from error
    return {row.clip.removesuffix(".mp4"): row.video for row in rows}


def _claim(label_of: dict[str, str], label: str) -> None:
    """Note whose folder a class is; raise ValueError if it is another label's, on a disk where A is a."""
    other = label_of.setdefault(class_of(label).casefold(), label)
    if other != label:
        raise ValueError(
            f"labels must differ in letters or digits, not in case alone: {other!r} and {label!r} would be "
            f"one class, {class_of(label)}; call one of them something else"
        )


class ClipIndex:
    """Gives every range a clip's name of its own, which it keeps in later runs.

    A row is written before its clip, so that no clip is ever without one; a row whose clip is missing,
    because the run was interrupted, is cut again under the same name. Numbers of groups that other files in
    the folder bear are not used again.

    Other processes may write into the folder at the same time: names are given under a lock, after what the
    others have added has been read.
    """

    def __init__(self, folder: Path, group_by: str):
        self.folder, self.group_by = folder, group_by
        self._file = folder / INDEX_NAME
        found = [re.search(r"_g(\d+)_", path.name) for path in folder.rglob("*_g*_*")]
        self._foreign_group = max((int(match[1]) for match in found if match), default=0)
        self._close: weakref.finalize | None = None
        self._clear()
        if self._file.exists():
            with locked(self._file):
                self._refresh()

    def check(self, labels: Iterable[str]) -> None:
        """Raise ValueError if clips of two labels, these or earlier ones, would lie in one folder."""
        label_of = dict(self._label_of)
        for label in labels:
            _claim(label_of, label)

    def has(self, annotation: Annotation) -> bool:
        """Tell whether the clip of a range is finished."""
        row = self._rows[annotation.video_key].get(annotation.range_key)
        return row is not None and (self.folder / row.clip).is_file()

    def path(self, annotation: Annotation) -> Path:
        """Return the clip of a range; where there is none yet, choose its name and write it down."""
        video, key = annotation.video_key, annotation.range_key
        if key not in self._rows[video]:
            with locked(self._file):
                self._refresh()
                if key not in self._rows[video]:  # else another process has just done so
                    self._add(annotation)
        return self.folder / self._rows[video][key].clip

    def forget(self, annotation: Annotation) -> None:
        """Take back the name of a clip that could not be written."""
        with locked(self._file):
            self._refresh()
            if self._rows[annotation.video_key].pop(annotation.range_key, None) is not None:
                self._save()
                self._clear()  # its group and number are free again
                self._refresh()

    def others(self, video: str, annotations: list[Annotation]) -> list[str]:
        """Return the clips of a video that belong to none of these ranges."""
        wanted = {annotation.range_key for annotation in annotations}
        clips = [row.clip for key, row in self._rows[video].items() if key not in wanted]
        return [clip for clip in clips if (self.folder / clip).is_file()]

    def _add(self, annotation: Annotation) -> None:
        _claim(self._label_of, annotation.label)
        row = _Row("", annotation.video_key, *annotation.range_key, annotation.person, self.group_by)
        group = self._groups.get(self._source(row), self._last_group + 1)
        name = class_of(row.label)
        number = self._clips[name, group] + 1
        row = row._replace(clip=f"{name}/v_{name}_g{group:02d}_c{number:02d}.mp4")
        self._keep(row)
        if not self._file.exists():
            self._save()
            return
        with self._file.open("a", newline="", encoding="utf-8") as file:
            file.write(_to_csv([row]))
        self._remember()

    def _refresh(self) -> None:
        """Read what other processes have added, or the whole file if one of them has written it anew."""
        if not self._file.exists():
            self._clear()
            return
        entry = self._file.stat()
        inode, size = self._state
        if (entry.st_ino, entry.st_size) == self._state:
            return
        grown = inode == entry.st_ino and size < entry.st_size
        if not grown:
            self._clear()
        with self._file.open("rb") as file:
            file.seek(size if grown else 0)
            lines, line_end, cut_off = file.read().rpartition(b"\n")
        try:
            rows = _from_csv((lines + line_end).decode("utf-8-sig"), header=not grown)
        except (ValueError, csv.Error) as error:
            raise ValueError(
                f"{self._file} is no list of clips that harkeras wrote; choose another folder"
            ) from error
        for row in rows:
            if row.group_by != self.group_by:
                raise ValueError(
                    f"group_by must be {row.group_by!r} as for the clips in {self.folder}, got "
                    f"{self.group_by!r}; choose another folder for it"
                )
            self._keep(row)
        self._remember()
        if cut_off:  # by a crash: the last row, which has no clip yet
            self._save()

    def _clear(self) -> None:
        self._rows: dict[str, dict[tuple, _Row]] = defaultdict(dict)  # video -> range -> row
        self._groups: dict[str, int] = {}  # video or person -> group
        self._label_of: dict[str, str] = {}  # class without regard to case -> label
        self._clips: Counter = Counter()  # (class, group) -> highest number of a clip
        self._last_group = self._foreign_group
        self._state = (0, 0)  # inode and size of the file when it was read

    def _remember(self) -> None:
        """Keep the state of the file, and the file open, so that no other one gets its inode meanwhile."""
        if self._close is not None:
            self._close()
        descriptor = os.open(self._file, os.O_RDONLY)
        self._close = weakref.finalize(self, os.close, descriptor)
        entry = os.fstat(descriptor)
        self._state = (entry.st_ino, entry.st_size)

    def _source(self, row: _Row) -> str:
        return row.person if self.group_by == "person" else row.video

    def _keep(self, row: _Row) -> None:
        self._rows[row.video][row.start_seconds, row.end_seconds, row.label] = row
        group, clip = map(int, _CLIP.search(row.clip).groups())
        name = row.clip.partition("/")[0]
        self._label_of.setdefault(name.casefold(), row.label)
        self._groups[self._source(row)] = group
        self._last_group = max(self._last_group, group)
        self._clips[name, group] = max(self._clips[name, group], clip)

    def _save(self) -> None:
        """Write the whole file anew."""
        rows = [row for rows in self._rows.values() for row in rows.values()]
        write_text(self._file, _to_csv(rows, header=True))
        self._remember()


def _to_csv(rows: list[_Row], *, header: bool = False) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    if header:
        writer.writerow(_Row._fields)
    writer.writerows([to_cell(str(cell)) for cell in row] for row in rows)
    return text.getvalue()


def _from_csv(text: str, *, header: bool) -> list[_Row]:
    reader = csv.reader(io.StringIO(text, newline=""))
    if header and tuple(next(reader, ())) != _Row._fields:
        raise ValueError("other columns")
    rows = []
    for cells in filter(None, reader):
        clip, video, start, end, label, person, group_by = map(from_cell, cells)
        if not _CLIP.search(clip):
            raise ValueError(f"no name of a clip: {clip}")
        label = unicodedata.normalize("NFC", label)
        rows.append(_Row(clip, video, float(start), float(end), label, person, group_by))
    return rows
