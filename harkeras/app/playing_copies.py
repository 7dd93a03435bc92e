"""What a browser can play of a recording: itself, or else a small copy in H.264 inside the project."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from harkeras.base.files import content_digest
from harkeras.teaching.labels import LabeledRecordings
from harkeras.video.reading import VideoInfo, iter_frames
from harkeras.video.writing import VideoWriter

_CODECS, _SUFFIXES = ("h264", "vp8", "vp9", "av1"), (".mp4", ".m4v", ".mov", ".webm")
_MOST_BYTES = 300 << 20  # the server holds in memory what it plays
_HEIGHT = 360


def recording_info(video: Path) -> VideoInfo:
    """Read the facts of a recording, once for all visitors as long as it does not change.

    Raises:
        OSError: If it is not there.
        VideoError: If it cannot be decoded.
    """
    return _read_info(str(video), video.stat().st_mtime_ns)


@st.cache_resource(show_spinner=False, max_entries=200)
def _read_info(video: str, _modified: int) -> VideoInfo:
    return VideoInfo.read(video)


def playing_file(project: LabeledRecordings, video: Path) -> Path:
    """Return the file to play: the recording, or a copy, which `make_playing_copy` has to make first."""
    if video.suffix.lower() in _SUFFIXES and video.stat().st_size <= _MOST_BYTES:
        if recording_info(video).codec in _CODECS:
            return video
    return project.folder / "playing" / f"{content_digest(video)[:32]}.mp4"


def make_playing_copy(video: Path, copy: Path, *, tell: Callable[[str, float], None]) -> None:
    """Write a recording as H.264, at most 360 pixels high.

    Raises:
        VideoError: If it cannot be decoded.
        OSError: If the copy cannot be written.
    """
    info = VideoInfo.read(video)
    height = min(_HEIGHT, info.height)
    width = max(round(height * info.width / info.height), 1)
    with VideoWriter(copy, info.writing_fps, crf=26) as writer:
        for number, frame in enumerate(iter_frames(video, height=height, width=width)):
            if number % 50 == 0:
                tell("Making a copy that browsers play", min(number / info.frame_count, 1.0))
            writer.write(frame.image, frame.seconds)
