"""Video files out: H.264 that every browser plays, each frame at its own time.

Encoding goes through PyAV (FFmpeg).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from harkeras.base.files import written_whole

# The containers of H.264 that are written, by suffix.
_CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}

_MOST_SECONDS = 1e8  # three years; containers count in 63 bits
# Ticks per frame interval of a written file: fine for variable frame rates, exact for constant ones.
_TICKS_PER_FRAME = 256
# What an MP4 file holds: so many ticks a second, and so many between two frames.
HIGHEST_FPS, LONGEST_STEP_FRAMES = 8000, 2**30 / _TICKS_PER_FRAME


def write_frames(
    path: str | os.PathLike, frames: Iterable[tuple[float, np.ndarray]], fps: float, *, crf: int = 20
) -> int:
    """Write frames, as `iter_frames` yields them, at their own times, the first at 0; return their number.

    The arguments and errors are those of `VideoWriter`.
    """
    start, count = None, 0
    with VideoWriter(path, fps, crf=crf) as writer:
        for count, (seconds, image) in enumerate(frames, 1):  # noqa: B007
            start = seconds if start is None else start
            writer.write(image, seconds - start)
    return count


class VideoWriter:
    """Write RGB frames to an H.264 file (yuv420p) that players and browsers show.

    The file is written under a temporary name beside `path` and renamed when complete; after an error nothing
    remains of it, and an older file is kept. Frames of odd size are padded by one row or column: yuv420p has
    no odd sizes.

    Args:
        path: File to write: `.mp4`, `.m4v` or `.mov`, or `.mkv`, which keeps times to the millisecond only.
        fps: Frames per second; fractions such as 30000 / 1001 are kept exactly.
        crf: Quality from 0 (best) to 51; 18 looks lossless, 28 is small.

    Raises:
        ValueError: If `path` has another suffix or is not a regular file, `fps` is below 0.001, a frame is
            not uint8 (H, W, 3) or differs in size from the first one, times do not increase or are
            beyond 1e8 seconds, no frame was written, or there is no `with` block.
        OSError: If the file cannot be written, for instance on a full disk.

    Example:
        >>> with VideoWriter("out.mp4", fps=25) as writer:
        ...     writer.write(np.zeros((240, 320, 3), np.uint8))
    """

    def __init__(self, path: str | os.PathLike, fps: float, *, crf: int = 20):
        """Remember what to write; the file is opened by the `with` block."""
        if not 0.001 <= fps < math.inf:
            raise ValueError(f"fps must be at least 0.001, got {fps}")
        self.path = Path(path)
        if self.path.suffix.lower() not in _CONTAINERS:
            raise ValueError(f"path must end in {', '.join(_CONTAINERS)}, which hold H.264, got {self.path}")
        self.fps = Fraction(fps).limit_denominator(1001)
        self.crf = crf
        self._exits = ExitStack()
        self._container = None
        self._stream = None
        self._shape = None
        self._last_tick = -_TICKS_PER_FRAME

    @property
    def least_step_seconds(self) -> float:
        """Time between two frames that the file can tell apart."""
        ticks = float(2 / (self.fps * _TICKS_PER_FRAME))  # two, whichever way they are rounded
        return max(ticks, 0.002) if self.path.suffix.lower() == ".mkv" else ticks

    def __enter__(self) -> VideoWriter:
        """Make the folder and the file, so that a wrong path is known before the work."""
        kind = _CONTAINERS[self.path.suffix.lower()]
        # The index first, so that a browser plays while it loads.
        options = {} if kind == "matroska" else {"movflags": "+faststart"}
        with ExitStack() as exits:
            partial = exits.enter_context(written_whole(self.path))
            with self._naming_the_file():
                partial.touch()
                self._container = av.open(str(partial.absolute()), "w", format=kind, options=options)
            exits.push(self._finish)
            self._exits = exits.pop_all()
        return self

    def write(self, image: np.ndarray, seconds: float | None = None) -> None:
        """Append a uint8 RGB frame (H, W, 3), at `seconds` from the start or one frame after the last one."""
        if self._container is None:
            raise ValueError("frames are written inside `with VideoWriter(...) as writer:`")
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"a frame must be uint8 (height, width, 3), got {image.dtype} {image.shape}")
        if self._stream is None:
            self._start(image.shape)
        if image.shape != self._shape:
            raise ValueError(f"a frame must have the size of the first, {self._shape}, got {image.shape}")
        tick = self._last_tick + _TICKS_PER_FRAME
        if seconds is not None:
            if not abs(seconds) < _MOST_SECONDS:
                raise ValueError(f"seconds must be below {_MOST_SECONDS:g}, got {seconds}")
            tick = round(seconds * self.fps * _TICKS_PER_FRAME)
        if tick <= max(self._last_tick, -1):
            raise ValueError(f"seconds must increase from frame to frame, got {seconds}")
        height, width = image.shape[:2]
        if height % 2 or width % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU601", dst_color_range="MPEG")
        frame.pts, frame.time_base = tick, 1 / (self.fps * _TICKS_PER_FRAME)
        self._last_tick = tick
        with self._naming_the_file():
            self._container.mux(self._stream.encode(frame))

    def _start(self, shape: tuple[int, int, int]) -> None:
        # x264's macroblock tree is not repeatable in small pictures: equal frames would give unequal files.
        options = {"preset": "veryfast", "crf": str(self.crf), "mbtree": "0"}
        self._stream = self._container.add_stream("libx264", rate=self.fps, options=options)
        context = self._stream.codec_context
        context.height, context.width = shape[0] + shape[0] % 2, shape[1] + shape[1] % 2
        context.pix_fmt = "yuv420p"
        context.time_base = 1 / (self.fps * _TICKS_PER_FRAME)
        # Without these tags players take a file of 720 lines or more for BT.709, and its colors shift.
        context.colorspace, context.color_range = Colorspace.ITU601, ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        self._shape = shape

    def __exit__(self, error_type, error, traceback) -> None:
        """Finish the file and give it its name, or remove it after an error."""
        self._exits.__exit__(error_type, error, traceback)

    def _finish(self, error_type, error, traceback) -> None:
        try:
            if error_type is None:
                if self._stream is None:
                    raise ValueError(f"no frame was written to {self.path}")
                with self._naming_the_file():
                    self._container.mux(self._stream.encode(None))
                    self._container.close()
        finally:
            with suppress(av.error.FFmpegError):
                self._container.close()

    @contextmanager
    def _naming_the_file(self) -> Iterator[None]:
        try:
            yield
        except (OSError, av.error.FFmpegError) as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error
