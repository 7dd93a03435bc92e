"""Frames of any source with the time that it took to get each: to measure, not to watch."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from harkeras.video._connections import connect, name_source
from harkeras.video.decoding import VideoError
from harkeras.video.live import LiveFrame

_LEAST_STEP_SECONDS = 0.001


class CapturedFrame(NamedTuple):
    """A frame, how long its source was waited for, and how long it took to decode."""

    frame: LiveFrame
    capture_seconds: float
    decoding_seconds: float


def describe_source(source: int | str | os.PathLike) -> str:
    """Return what a source is called in a report: the name of a file, the address without a password."""
    return Path(str(source)).name if Path(str(source)).is_file() else name_source(source)


def iter_captured(source: int | str | os.PathLike, seconds: float) -> Iterator[CapturedFrame]:
    """Yield the frames of a source one after another, a file's as fast as they go.

    Times of a camera or a stream are by the clock of this machine, those of a file its own; they begin at 0.

    Args:
        source: Number of a camera, the address of a stream (RTSP, HTTP or whatever FFmpeg opens), or a file.
        seconds: How much of it, at most.

    Raises:
        FileNotFoundError: If there is no such file.
        VideoError: If the source cannot be opened or decoded, or sends nothing.
    """
    lock, last = threading.Lock(), None
    with closing(connect(source)) as connection:
        is_live = connection.end_seconds is None
        mark, waited, first = time.perf_counter(), connection.waited_seconds, None
        pictures = connection.pictures(lambda reason: None)
        try:
            for own_seconds, picture, _ in pictures:
                now = time.perf_counter()
                waits = connection.waited_seconds - waited
                at = now if is_live else own_seconds
                first = at if first is None else first
                at -= first
                if at >= seconds:
                    return
                if last is not None:
                    at = max(at, last + _LEAST_STEP_SECONDS)
                last = at
                frame = LiveFrame(at, datetime.now().astimezone(), picture, lock)
                yield CapturedFrame(frame, waits, max(now - mark - waits, 0.0))
                mark, waited = time.perf_counter(), connection.waited_seconds
        except OSError as error:
            if last is None:
                raise VideoError(f"{name_source(source)}: no frame came ({error})") from error
    if last is None:
        raise VideoError(f"{name_source(source)}: no frame came")
