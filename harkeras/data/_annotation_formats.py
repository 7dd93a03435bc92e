"""What a file of time ranges says: videos, times and labels."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import defaultdict
from functools import cached_property
from pathlib import Path, PurePath, PureWindowsPath
from typing import NamedTuple

from harkeras.base.text import printable

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
