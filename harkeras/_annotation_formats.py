"""Files of time ranges: VoTT exports, plain CSV, Kinetics CSV, and the tables of the GMDCSA-24 falls.

A reader yields, in the order of the file, an `Annotation` for each range and a sentence for each row that
makes no sense: one bad row must not cost the others.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import groupby
from pathlib import Path, PurePath
from typing import NamedTuple
from urllib.parse import unquote

# The columns by which a table is recognised, in lower case.
COLUMNS = {
    "csv": ("video", "start_seconds", "end_seconds", "label"),
    "kinetics": ("label", "youtube_id", "time_start", "time_end"),
    "gmdcsa": ("file name", "classes"),
    "vott": ("image", "label"),
}
_URL = re.compile(r"https?://", re.IGNORECASE)
_RANGE = re.compile(r"(\d+\.?\d*|\.\d+)(?:\s*to\s*|\s+)(\d+\.?\d*|\.\d+)")


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
        return video if _URL.match(video) else Path(video).resolve().as_posix()


class VideoFolder:
    """Finds videos by the names that a table gives them, also below the folder if `search` is set."""

    def __init__(self, folder: Path, search: bool):
        self.folder, self.search = folder, search

    @cached_property
    def _files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file()) if self.search else []

    def find(self, name: str) -> Path | str:
        """Return where a video is, or, if there is none, where it should be; a URL as it is.

        Raises:
            ValueError: If there is no name, or more than one file of that name.
        """
        if not name:
            raise ValueError("the name of the video is empty")
        if _URL.match(name):
            return name
        if (self.folder / name).is_file():
            return self.folder / name
        parts = PurePath(name).parts
        found = [path for path in self._files if path.parts[-len(parts) :] == parts]
        if len(found) > 1:
            raise ValueError(f"{name} may be one of {len(found)} videos: {found[0]}, {found[1]}, ...")
        return found[0] if found else self.folder / name

    def find_stem(self, stem: str) -> Path | None:
        """Return the one file of a name without its suffix, or None."""
        found = [path for path in self._files if path.stem == stem]
        return found[0] if len(found) == 1 else None


def find_format(path: Path, wanted: str) -> str:
    """Return the format of a file, told by its suffix or its columns; "auto" wants any of those known.

    Raises:
        ValueError: If it is not what is wanted.
    """
    if path.suffix.lower() == ".json" and wanted in ("auto", "vott"):
        return "vott"
    header = _header(path)
    known = {name: columns for name, columns in COLUMNS.items() if wanted in ("auto", name)}
    for name, columns in known.items():
        if set(columns) <= set(header):
            return name
    columns = "; or ".join(f"{', '.join(columns)} ({name})" for name, columns in known.items())
    raise ValueError(f"the columns must be {columns}; got {', '.join(header)}")


def read_plain(path: Path, videos: VideoFolder, _end_tag: str) -> Iterator[Annotation | str]:
    """Read `video, start_seconds, end_seconds, label` and, if there, `person`."""

    def read_row(source, row):
        start, end = _seconds(row, "start_seconds"), _seconds(row, "end_seconds")
        yield Annotation(videos.find(row["video"]), start, end, _label(row), row.get("person", ""), source)

    return _each_row(path, read_row)


def read_kinetics(path: Path, videos: VideoFolder, _end_tag: str) -> Iterator[Annotation | str]:
    """Read `label, youtube_id, time_start, time_end`; a file named after the id saves the download."""

    def read_row(source, row):
        youtube_id = row["youtube_id"]
        if not re.fullmatch(r"[\w-]{11}", youtube_id, re.ASCII):
            raise ValueError(f"youtube_id must be the 11 characters of a YouTube video, got {youtube_id!r}")
        video = videos.find_stem(youtube_id) or f"https://www.youtube.com/watch?v={youtube_id}"
        start, end = _seconds(row, "time_start"), _seconds(row, "time_end")
        yield Annotation(video, start, end, _label(row), source=source)

    return _each_row(path, read_row)


def read_gmdcsa(path: Path, videos: VideoFolder, _end_tag: str) -> Iterator[Annotation | str]:
    """Read a table `Subject 1/Fall.csv`, whose videos are `Subject 1/Fall/01.mp4` and so on.

    The cell `Falling (SW)[3.4 to 6]; Sitting[0 to 1; 2 to 3.4]` holds three ranges. What stands in
    parentheses, the direction of a fall, is left out, and "Fall" is "Falling". A missing bracket or "to" is
    forgiven.
    """
    person = path.absolute().parent.name

    def read_row(source, row):
        video = videos.find(f"{person}/{path.stem}/{row['file name']}")
        label, had_range = None, True
        # The last cell, because commas in the description would shift the columns.
        for token in re.split(r"[;\[\]]", (row.get(None) or [row["classes"]])[-1]):
            text = token.strip(": \t\xa0")
            if match := _RANGE.fullmatch(text):
                if label is None:
                    raise ValueError(f"the range {text!r} follows no label")
                had_range = True
                yield Annotation(video, float(match[1]), float(match[2]), label, person, source)
            elif text[:1].isdigit():
                had_range = True
                yield f"{source}: {label}: {text!r} is not a range such as '3.4 to 6'"
            elif text:
                if not had_range:
                    yield f"{source}: {label} has no range"
                label, had_range = re.sub(r"\s*\(.*", "", text), False
                label = "Falling" if label == "Fall" else label
        if not had_range:
            yield f"{source}: {label} has no range"

    return _each_row(path, read_row)


class _Mark(NamedTuple):
    """A tag on one frame of a video."""

    video: str
    seconds: float
    tag: str
    source: str


def read_vott(path: Path, videos: VideoFolder, end_tag: str) -> Iterator[Annotation | str]:
    """Read an export of VoTT 2: a tag on a frame opens a range, `end_tag` on a later frame closes it.

    The frame that closes a range is not part of it. A frame may close one range and open the next.
    """
    marks: dict[str, list[_Mark]] = {}
    read = _vott_json if path.suffix.lower() == ".json" else _vott_csv
    for mark in read(path):
        if isinstance(mark, str):
            yield mark
        else:
            marks.setdefault(mark.video, []).append(mark)
    for name, found in marks.items():
        try:
            video = videos.find(name)
            if isinstance(video, Path) and not video.is_file():  # VoTT may write spaces as %20
                video = videos.find(unquote(name))
        except ValueError as error:
            yield f"{found[0].source}: {error}"
        else:
            yield from _pair(found, video, end_tag)


def _vott_json(path: Path) -> Iterator[_Mark | str]:
    data = json.loads(path.read_text(encoding="utf-8-sig"))
    assets = data.get("assets") if isinstance(data, dict) else None
    if not isinstance(assets, dict):
        raise ValueError("no 'assets' in it; export the project from VoTT 2 as 'VoTT JSON'")
    for key, entry in assets.items():
        try:
            asset, source = entry["asset"], f"{path.name} {entry['asset']['name']}"
            tags = dict.fromkeys(tag for region in entry["regions"] for tag in region["tags"])
            if tags:
                name, seconds = _split_name(asset["name"])
                for tag in tags:
                    yield _Mark(name, float(asset.get("timestamp", seconds)), tag, source)
        except ValueError as error:
            yield f"{source}: {error}"
        except (KeyError, TypeError, AttributeError):
            yield f"{path.name} {key}: not an asset with its regions and their tags"


def _vott_csv(path: Path) -> Iterator[_Mark | str]:
    def read_row(source, row):
        name, seconds = _split_name(row["image"])
        yield _Mark(name, seconds, _label(row), source)

    return _each_row(path, read_row)


def _split_name(name: str) -> tuple[str, float]:
    video, separator, seconds = name.rpartition("#t=")
    if not separator or not video:
        raise ValueError(f"{name!r} is not a frame of a video, such as 'video.mp4#t=12.5'")
    return video, _seconds({"the time": seconds}, "the time")


def _pair(marks: list[_Mark], video: Path | str, end_tag: str) -> Iterator[Annotation | str]:
    opened: dict[str, _Mark] = {}
    for seconds, frame in groupby(sorted(marks, key=lambda mark: mark.seconds), lambda mark: mark.seconds):
        tags = {mark.tag: mark for mark in frame}
        closing = tags.pop(end_tag, None)
        if closing:
            for label, mark in opened.items():
                yield Annotation(video, mark.seconds, seconds, label, source=mark.source)
            if not opened:
                yield f"{closing.source}: {end_tag!r} closes nothing"
            opened = {}
        if tags:
            for label, mark in opened.items():
                yield f"{mark.source}: {label} is not closed by {end_tag!r} before {seconds:g} s"
            opened = tags
    for label, mark in opened.items():
        yield f"{mark.source}: {label} is never closed by {end_tag!r}"


READERS = {"csv": read_plain, "gmdcsa": read_gmdcsa, "kinetics": read_kinetics, "vott": read_vott}


def _each_row(path: Path, read_row: Callable[[str, dict], Iterator]) -> Iterator:
    """Yield what `read_row` makes of each row, and the ValueError of a row as a sentence."""
    name = "/".join(path.absolute().parts[-2:])
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, skipinitialspace=True, restval="")
        reader.fieldnames = _clean(reader.fieldnames or [])
        for row in reader:
            source = f"{name} row {reader.line_num}"
            row = {column: cell if column is None else cell.strip() for column, cell in row.items()}
            try:
                if any(row.values()):
                    yield from read_row(source, row)
            except ValueError as error:
                yield f"{source}: {error}"


def _header(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return _clean(next(csv.reader(file), []))


def _clean(names: list[str]) -> list[str]:
    return [name.strip().lower() for name in names]


def _label(row: dict[str, str]) -> str:
    if not re.search(r"[^\W_]", row["label"]):
        raise ValueError(f"label must hold a letter or digit, got {row['label']!r}")
    return row["label"]


def _seconds(row: dict[str, str], column: str) -> float:
    try:
        seconds = float(row[column])
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ValueError(f"{column} must be a number of seconds, got {row[column]!r}")
    return seconds
