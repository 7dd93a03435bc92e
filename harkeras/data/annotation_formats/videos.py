"""Ranges by video, as the writers of all formats take them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from harkeras.base.text import printable
from harkeras.data._annotation_files import Annotation
from harkeras.data._video_folder import shown
from harkeras.video.reading import VideoInfo


class VideoRanges(NamedTuple):
    """The ranges of one video.

    Attributes:
        name: What a file calls the video: its path from the folder of the videos, with /, or its URL.
        video: Path of the video, or its URL.
        annotations: Its ranges, the earliest first.
        info: What the video holds, where a format asks for that and it could be read.
    """

    name: str
    video: Path | str
    annotations: list[Annotation]
    info: VideoInfo | None


def problem_with(annotation: Annotation, reason: str) -> str:
    """Return the sentence about a range that cannot be written."""
    start, end = annotation.start_seconds, annotation.end_seconds
    return printable(f"{shown(annotation.video)}: {annotation.label} {start:g} to {end:g} s: {reason}")
