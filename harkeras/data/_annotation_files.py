"""A file of time ranges: which tool wrote it, and the videos, times and labels that lie in it.

A reader yields, in the order of the file, an `Annotation` for each range and a sentence for each row that
makes no sense: one bad row must not cost the others.
"""

from __future__ import annotations

import csv
import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

from harkeras.base.text import printable
from harkeras.data._video_folder import is_web, shown

_LONGEST_LABEL = 200  # bytes; a class is a folder, and part of the names of its files
_SUPPORTED = (
    "a table with the columns video, start_seconds, end_seconds, label; Create ML (CSV, JSON); Kinetics CSV; "
    "VoTT (JSON, CSV); Label Studio JSON; ActivityNet JSON; CVAT for video 1.1 (XML); BORIS (projects and "
    "tables of events); ELAN (.eaf); and GMDCSA-24"
)
# The columns by which a table is recognized, in lower case, each with the names that it may have.
COLUMNS = {
    "kinetics": (("label",), ("youtube_id",), ("time_start",), ("time_end",)),
    "gmdcsa": (("file name",), ("classes",)),
    "vott": (("image",), ("label",)),
    "boris": (
        ("behavior",),
        ("behavior type", "status"),
        ("media file name", "media file", "media file path"),
    ),
    "csv": (
        ("video", "file_name", "filename", "file"),
        ("start_seconds", "start", "start_time"),
        ("end_seconds", "end", "end_time"),
        ("label", "class", "action"),
    ),
}


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


class AnnotationFile:
    """A file, parsed once: to tell its format, and to read it.

    Whatever reads it raises ValueError if it is not of that kind.
    """

    def __init__(self, path: Path):
        self.path, self.name = path, path.name

    @cached_property
    def first_letter(self) -> str:
        """What tells JSON and XML from a table: the first letter that is no space."""
        with self.path.open(encoding="utf-8-sig") as file:
            return file.read(2000).lstrip()[:1]

    @cached_property
    def json(self) -> Any:
        """What lies in a JSON file, whatever it is."""
        try:
            return json.loads(self.path.read_text(encoding="utf-8-sig"))
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error

    @cached_property
    def xml(self) -> ElementTree.Element:
        """The root of an XML file."""
        try:
            return ElementTree.parse(self.path).getroot()
        except ElementTree.ParseError as error:
            raise ValueError(f"it is no whole XML: {error}") from error

    @cached_property
    def delimiter(self) -> str:
        """What parts the columns of a table: a comma, or what spreadsheets write where numbers have one."""
        with self.path.open(encoding="utf-8-sig") as file:
            header = file.readline(10_000)
        return max(",;\t", key=header.count)

    @cached_property
    def header(self) -> list[str]:
        """The columns of a table, in lower case."""
        with self.path.open(newline="", encoding="utf-8-sig") as file:
            header = next(csv.reader(file, delimiter=self.delimiter), [])
        return [name.strip().lower() for name in header]

    def each_row(self, read_row: Callable[[str, dict], Iterator]) -> Iterator:
        """Yield what `read_row` makes of each row of a table, and the ValueError of a row as a sentence."""
        name = "/".join(self.path.absolute().parts[-2:])
        for number, row in self._json_rows() if self.first_letter == "[" else self._csv_rows():
            source = f"{name} row {number}"
            if isinstance(row, str):
                yield f"{source}: {row}"
            elif any(row.values()):
                try:
                    yield from read_row(source, row)
                except ValueError as error:
                    yield f"{source}: {error}"

    def _json_rows(self) -> Iterator[tuple[int, dict | str]]:
        """Yield the number of each entry with its cells by column, in lower case, or with what is wrong."""
        for number, entry in enumerate(self.json, start=1):
            if isinstance(entry, dict):
                yield number, {key.lower(): cell for key, cell in entry.items()}
            else:
                yield number, "no object"

    def _csv_rows(self) -> Iterator[tuple[int, dict | str]]:
        """Yield the line of each row with its cells by column, in lower case, or with what is wrong."""
        with self.path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True, restval="", delimiter=self.delimiter)
            reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or []]
            while True:
                try:
                    row = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:  # a cell beyond all measure; the next row may be sound
                    yield reader.line_num + 1, str(error)
                    continue
                for column, cell in row.items():
                    if column is not None:
                        row[column] = self._number(cell.strip())
                yield reader.line_num, row

    def _number(self, cell: str) -> str:
        """Return a cell with a point where it is a number with a decimal comma."""
        is_number = self.delimiter == ";" and re.fullmatch(r"[\d:]*,\d+", cell)
        return cell.replace(",", ".") if is_number else cell


def find_format(file: AnnotationFile, wanted: str) -> str:
    """Return the format of a file, told by its content; "auto" wants any of those known.

    Raises:
        ValueError: If it is not what is wanted, or of no format that can be read.
    """
    if file.first_letter in ("{", "["):
        kind = _json_format(file.json)
    elif file.first_letter == "<":
        kind = {"annotations": "cvat", "ANNOTATION_DOCUMENT": "elan"}.get(file.xml.tag)
        if kind is None:
            raise _unknown(f"XML that begins with <{shown(file.xml.tag)}> is of no known tool")
    else:
        kind = _table_format(file.header, wanted)
    if wanted not in ("auto", kind):
        raise ValueError(f"it must be of the format {wanted!r}, and looks like {kind!r}")
    return kind


def _unknown(problem: str) -> ValueError:
    return ValueError(f"{problem}; read are {_SUPPORTED}")


def _json_format(data: Any) -> str:
    if isinstance(data, dict):
        for key, kind in (("assets", "vott"), ("database", "activitynet"), ("observations", "boris")):
            if isinstance(data.get(key), dict):
                return kind
        raise _unknown(f"JSON with the keys {shown(', '.join(data))} is of no known tool")
    first = data[0] if data and isinstance(data[0], dict) else {}
    if "data" in first:
        return "label_studio"
    if match_columns("csv", [str(key).lower() for key in first]) is not None:
        return "csv"
    raise _unknown("this list in JSON is of no known tool")


def _table_format(header: list[str], wanted: str) -> str:
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
