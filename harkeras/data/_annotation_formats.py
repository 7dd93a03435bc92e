"""What a file of time ranges says, where its videos are, and which tool wrote it.

A reader yields, in the order of the file, an `Annotation` for each range and a sentence for each row that
makes no sense: one bad row must not cost the others.
"""

from __future__ import annotations

import csv
import json
import math
import re
import unicodedata
from collections import defaultdict
from functools import cached_property
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any, NamedTuple
from xml.etree import ElementTree

from harkeras.base.text import printable

_SUPPORTED = (
    "a table with the columns video, start_seconds, end_seconds, label; Create ML (CSV, JSON); Kinetics CSV; "
    "VoTT (JSON, CSV); Label Studio JSON; ActivityNet JSON; CVAT for video 1.1 (XML); and GMDCSA-24"
)
# The columns by which a table is recognized, in lower case, each with the names that it may have.
COLUMNS = {
    "kinetics": (("label",), ("youtube_id",), ("time_start",), ("time_end",)),
    "gmdcsa": (("file name",), ("classes",)),
    "vott": (("image",), ("label",)),
    "csv": (
        ("video", "file_name", "filename", "file"),
        ("start_seconds", "start", "start_time"),
        ("end_seconds", "end", "end_time"),
        ("label", "class", "action"),
    ),
}
_URL = re.compile(r"https?://", re.IGNORECASE)
_LONGEST_LABEL = 200  # bytes; a class is a folder, and part of the names of its files
_LONGEST_NAME = 1000


class Annotation(NamedTuple):
    """One action in a video: the half-open range [start_seconds, end_seconds), and what is done in it.

    Attributes:
        video: Path of the video file, or its URL.
        start_seconds: Start, from the first frame of the video.
        end_seconds: End, not included.
        label: Name of the action.
        person: Who does it, where the file says so.
        source: File and row, for messages.
    """

    video: Path | str
    start_seconds: float
    end_seconds: float
    label: str
    person: str = ""
    source: str = ""

    @property
    def video_key(self) -> str:
        """What names the video in every run alike: its full path, or its URL."""
        video = str(self.video)
        return video if is_web(video) else Path(video).resolve().as_posix()

    @property
    def range_key(self) -> tuple[float, float, str]:
        """What tells one range of a video from another."""
        return float(self.start_seconds), float(self.end_seconds), self.label


class VideoFolder:
    """Finds videos by the names that a file gives them, also below the folder if `search` is set."""

    def __init__(self, folder: Path, search: bool):
        self.folder, self.search = folder, search

    @cached_property
    def _by_stem(self) -> dict[str, list[Path]]:
        """Files by their names without suffix."""
        files = defaultdict(list)
        for path in sorted(self.folder.rglob("*") if self.search else self.folder.iterdir()):
            if path.is_file():
                files[path.stem].append(path)
        return files

    def find(self, name: str) -> Path | str:
        """Return where a video is, or, if there is none, where it should be; a URL as it is.

        Raises:
            ValueError: If there is no name, more than one file of that name, or it can be no file's name.
        """
        if not name:
            raise ValueError("the name of the video is empty")
        if len(name) > _LONGEST_NAME or name != printable(name):
            raise ValueError(f"{shown(name)} cannot be the name of a video")
        if is_web(name):
            return name
        try:
            if (self.folder / name).is_file():
                return self.folder / name
        except OSError as error:  # a part that is too long for the disk
            raise ValueError(f"{shown(name)} cannot be the name of a video: {error.strerror}") from error
        parts = PurePath(name).parts
        files = self._by_stem.get(PurePath(name).stem, ()) if self.search else ()
        files = [path for path in files if path.parts[-len(parts) :] == parts]
        if len(files) > 1:
            raise ValueError(f"{name} may be one of {len(files)} videos: {files[0]}, {files[1]}, ...")
        return files[0] if files else self.folder / name

    def find_inside(self, name: str) -> Path | str:
        """`find`, for a file that a tool wrote, and perhaps somebody else sent: nothing outside the folder.

        Raises:
            ValueError: If the name leads out of the folder, or as for `find`.
        """
        for path in (PurePath(name), PureWindowsPath(name)):
            if path.is_absolute() or path.drive or ".." in path.parts or is_web(name):
                raise ValueError(f"{shown(name)} is outside the folder of the videos, {self.folder}")
        return self.find(name)

    def find_stem(self, *stems: str) -> Path | None:
        """Return the one file that is called so but for its suffix, by the first name that there is."""
        for stem in stems:
            if len(self._by_stem.get(stem, ())) == 1:
                return self._by_stem[stem][0]
        return None


def find_format(path: Path, wanted: str) -> str:
    """Return the format of a file, told by its content; "auto" wants any of those known.

    Raises:
        ValueError: If it is not what is wanted, or of no format that can be read.
    """
    first = first_letter(path)
    if first in ("{", "["):
        kind = _json_format(path)
    elif first == "<":
        kind = _xml_format(path)
    else:
        kind = _table_format(path, wanted)
    if wanted not in ("auto", kind):
        raise ValueError(f"it must be of the format {wanted!r}, and looks like {kind!r}")
    return kind


def first_letter(path: Path) -> str:
    """Return what tells JSON and XML from a table: the first letter that is no space."""
    with path.open(encoding="utf-8-sig") as file:
        return file.read(2000).lstrip()[:1]


def _unknown(problem: str) -> ValueError:
    return ValueError(f"{problem}; read are {_SUPPORTED}")


def _json_format(path: Path) -> str:
    data = read_json(path)
    if isinstance(data, dict):
        for key, kind in (("assets", "vott"), ("database", "activitynet")):
            if isinstance(data.get(key), dict):
                return kind
        raise _unknown(f"JSON with the keys {shown(', '.join(data))} is of no known tool")
    first = data[0] if data and isinstance(data[0], dict) else {}
    if "data" in first:
        return "label_studio"
    if match_columns("csv", [str(key).lower() for key in first]) is not None:
        return "csv"
    raise _unknown("this list in JSON is of no known tool")


def _xml_format(path: Path) -> str:
    try:
        _, root = next(ElementTree.iterparse(path, events=("start",)))
    except ElementTree.ParseError as error:
        raise ValueError(f"it is no whole XML: {error}") from error
    if root.tag != "annotations":
        raise _unknown(f"XML that begins with <{shown(root.tag)}> is of no known tool")
    return "cvat"


def _table_format(path: Path, wanted: str) -> str:
    with path.open(newline="", encoding="utf-8-sig") as file:
        header = [name.strip().lower() for name in next(csv.reader(file, delimiter=delimiter_of(path)), [])]
    if not header:
        raise ValueError("it is empty")
    for name in COLUMNS:
        if wanted in ("auto", name) and match_columns(name, header) is not None:
            return name
    known = {name: ", ".join(names[0] for names in columns) for name, columns in COLUMNS.items()}
    if wanted in known:
        raise ValueError(f"the columns must be {known[wanted]} ({wanted}); got {shown(', '.join(header))}")
    raise _unknown(f"the columns {shown(', '.join(header))} are of no known table")


def match_columns(kind: str, header: list[str]) -> dict[str, str] | None:
    """Return what the header calls each column of a kind of table; None if one is missing."""
    columns = {names[0]: next((name for name in names if name in header), None) for names in COLUMNS[kind]}
    return None if None in columns.values() else columns


def delimiter_of(path: Path) -> str:
    """Return what parts the columns: a comma, or what spreadsheets write where a comma is in numbers."""
    with path.open(encoding="utf-8-sig") as file:
        header = file.readline(10_000)
    return max(",;\t", key=header.count)


def read_json(path: Path) -> Any:
    """Read a JSON file, whatever it holds.

    Raises:
        ValueError: If it is no JSON, or nested too deeply.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def to_label(value: object) -> str:
    """Check the name of an action and return it composed (NFC), as two spellings of one letter are one.

    Raises:
        ValueError: If it can be no class.
    """
    label = unicodedata.normalize("NFC", value).strip() if isinstance(value, str) else ""
    if not any(unicodedata.category(letter)[0] in "LN" for letter in label):
        raise ValueError(f"label must hold a letter or digit, got {shown(value)!r}")
    if label != printable(label) or len(label.encode()) > _LONGEST_LABEL:
        raise ValueError(
            f"label must have at most {_LONGEST_LABEL} bytes and no control characters, got {shown(label)!r}"
        )
    return label


def to_seconds(value: object, column: str) -> float:
    """Read a time: seconds, or minutes and seconds (1:02.5), or hours, minutes and seconds (1:00:02).

    Raises:
        ValueError: If it is none.
    """
    text = value.strip() if isinstance(value, str) else value
    seconds = math.nan
    if isinstance(text, str) and re.fullmatch(r"(\d+:)?\d+:[0-5]?\d(\.\d*)?", text):
        *larger, last = text.split(":")
        minutes = sum(int(part) * 60**power for power, part in enumerate(reversed(larger)))
        seconds = 60 * minutes + float(last)
    elif isinstance(text, str | int | float) and not isinstance(text, bool):
        try:
            seconds = float(text)
        except (ValueError, OverflowError):
            seconds = math.nan
    if not math.isfinite(seconds):
        raise ValueError(f"{column} must be a number of seconds, got {shown(value)!r}")
    return seconds


def is_web(name: str) -> bool:
    """Tell whether a video is named by its address on the web."""
    return bool(_URL.match(name))


def shown(value: object) -> str:
    """A value in a message: short, and without what steers a terminal."""
    text = printable(value)
    return text if len(text) <= 200 else f"{text[:197]}..."
