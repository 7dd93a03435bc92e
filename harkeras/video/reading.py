"""Video files in and out: exact frames as RGB arrays, and H.264 files that every browser plays.

Decoding and encoding go through PyAV (FFmpeg). Frames are chosen by the time at which they are on screen,
never by a seek to a frame number: such seeks are slow, and inexact for B-frames and variable frame rates.

Seconds count from the file's time zero, as in FFmpeg and in tools for labelling: from where its first stream
starts. That is the first frame, unless sound begins before the pictures. Frames come as players show them:
upright, with square pixels, in the size of the first. What is done where a file's own times are wrong is
written in `harkeras.video._frame_times`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from harkeras.base.files import written_whole
from harkeras.recipe import Interpolation
from harkeras.video.decoding import Source, VideoError

__all__ = [
    "VIDEO_SUFFIXES",
    "DecodedFrame",
    "Frame",
    "VideoError",
    "VideoInfo",
    "VideoWriter",
    "frames_extraction",
    "iter_decoded",
    "iter_frames",
    "resize_frame",
    "write_frames",
]

VIDEO_SUFFIXES = tuple(
    ".3gp .avi .flv .gif .m4v .mkv .mov .mp4 .mpeg .mpg .ts .webm .wmv "
    ".264 .265 .3g2 .asf .divx .f4v .h264 .h265 .hevc .m2t .m2ts .m2v .mjpeg .mjpg .mpe .mts .mxf .ogm .ogv "
    ".qt .rm .rmvb .vob .y4m".split()
)

# The containers of H.264 that are written, by suffix.
_CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}

_MOST_SECONDS = 1e8  # three years; containers count in 63 bits
# Ticks per frame interval of a written file: fine for variable frame rates, exact for constant ones.
_TICKS_PER_FRAME = 256
# What an MP4 file holds: so many ticks a second, and so many between two frames.
_HIGHEST_FPS, _LONGEST_STEP_FRAMES = 8000, 2**30 / _TICKS_PER_FRAME


class Frame(NamedTuple):
    """One decoded frame: when it appears on the file's clock, and its pixels, uint8 RGB (H, W, 3)."""

    seconds: float
    image: np.ndarray


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds.

    Attributes:
        path: The file.
        width: Width in pixels as displayed: upright, and with square pixels.
        height: Height in pixels as displayed.
        fps: Frames per second; the average where the rate varies.
        frame_count: Number of frames, counted, not taken from the header. Frames of a damaged file that do
            not decode are known as soon as they have been read once.
        duration_seconds: When the last frame goes, on the file's clock.
        codec: FFmpeg's name of the codec, such as "h264".
        frame_seconds: float64 (frame_count,), when each frame appears on the file's clock, increasing. The
            first one is at 0, unless sound begins before the pictures.
    """

    path: Path
    width: int
    height: int
    fps: float
    frame_count: int
    duration_seconds: float
    codec: str
    frame_seconds: np.ndarray = field(repr=False, compare=False)

    @property
    def writing_fps(self) -> float:
        """The rate to write these frames at: `fps`, or more, so that `VideoWriter` keeps bursts apart.

        It is less where frames lie years apart: the times in a file are whole numbers of limited size.
        """
        steps = np.diff(self.frame_seconds)
        finest = max(self.fps, 1 / (100 * steps.min(initial=1 / self.fps)))
        coarsest = _LONGEST_STEP_FRAMES / steps.max(initial=1)
        return float(max(min(finest, coarsest, _HIGHEST_FPS), 0.001))

    @classmethod
    def read(cls, video: str | os.PathLike) -> VideoInfo:
        """Read the facts of a video file from its packets, decoding one frame.

        Raises:
            FileNotFoundError: If there is no such file.
            VideoError: If it holds no video that can be decoded.
        """
        with closing(Source(video)) as source:
            next(source.decode(source.ticks), None)  # the first frame tells the size
            height, width = source.size
            scan, count = source.scan, len(source.ticks)
            shown = scan.end_seconds - float(scan.seconds[0])
            # The header's rate is exact, but means nothing where the rate varies.
            rate = source.stream.average_rate
            constant = rate and abs(rate * shown / count - 1) < 0.01
            return cls(
                path=Path(video),
                width=width,
                height=height,
                fps=float(rate) if constant else count / shown,
                frame_count=count,
                duration_seconds=scan.end_seconds,
                codec=source.stream.codec_context.name,
                frame_seconds=scan.seconds,
            )


def frames_extraction(
    video: str | os.PathLike,
    frames: int = 20,
    height: int = 64,
    width: int = 64,
    *,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    normalize: bool = False,
    interpolation: Interpolation = "area",
) -> np.ndarray:
    """Read frames spread evenly over a video, or over a range of it, resized.

    The range is cut into equal parts, and from each comes the frame that is on screen at its middle. A range
    with fewer frames than asked for repeats them evenly.

    Args:
        video: Path of the video file.
        frames: Number of frames T, at least 1.
        height: Height of the result in pixels.
        width: Width of the result in pixels.
        start_seconds: Start of the range; the first frame by default.
        end_seconds: End of the range, not included; the end of the video by default, and at the latest.
        normalize: Give float32 in [0, 1] instead of uint8, for models that do not normalise by themselves.
        interpolation: How to resize: by "area", or "bilinear" as `cv2.resize` does by default, for models
            whose training clips were read so.

    Returns:
        RGB frames (T, H, W, 3), uint8 in 0-255, or float32 in [0, 1] with `normalize`.

    Raises:
        ValueError: If a size is below 1 or the range is empty or outside the video.
        FileNotFoundError: If there is no such file.
        VideoError: If the file holds no video that can be decoded.

    Example:
        >>> clip = frames_extraction("v_Walking_g01_c01.mp4", frames=20, height=64, width=64)
        >>> clip.shape
        (20, 64, 64, 3)
    """
    for name, value in (("frames", frames), ("height", height), ("width", width)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    with closing(Source(video)) as source:
        clip = source.read_spread(
            frames,
            start_seconds,
            end_seconds,
            lambda ticks: {
                tick: source.to_rgb(frame, height, width, interpolation)
                for tick, frame in source.decode(ticks)
            },
        )
    return clip.astype(np.float32) / 255 if normalize else clip


def iter_frames(
    video: str | os.PathLike,
    every_seconds: float | None = None,
    *,
    height: int | None = None,
    width: int | None = None,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
) -> Iterator[Frame]:
    """Yield the frames of a video in order, one at a time, in constant memory.

    Args:
        video: Path of the video file.
        every_seconds: Yield the frame on screen at every multiple of this time; every frame by default.
        height: Height to resize to; as displayed by default.
        width: Width to resize to; as displayed by default.
        start_seconds: Start of the range; the first frame by default.
        end_seconds: End of the range, not included; the end of the video by default.

    Yields:
        `Frame(seconds, image)`, the image uint8 RGB (H, W, 3).

    Raises:
        ValueError: If `every_seconds` is not positive or the range is empty or outside the video.
        FileNotFoundError: If there is no such file.
        VideoError: If the file holds no video that can be decoded.
    """
    for frame in iter_decoded(video, every_seconds, start_seconds=start_seconds, end_seconds=end_seconds):
        yield Frame(frame.seconds, frame.rgb(height, width))


def iter_decoded(
    video: str | os.PathLike,
    every_seconds: float | None = None,
    *,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
) -> Iterator[DecodedFrame]:
    """Yield decoded frames that are converted to RGB only when asked, once or in several sizes.

    The arguments and errors are those of `iter_frames`.
    """
    if every_seconds is not None and not every_seconds > 0:
        raise ValueError(f"every_seconds must be positive, got {every_seconds}")
    with closing(Source(video, threads=0)) as source:
        for tick, frame in source.decode(source.scan.every(every_seconds, start_seconds, end_seconds)):
            scan = source.scan
            yield DecodedFrame(float((tick - scan.zero) * scan.base), frame, source)


class DecodedFrame:
    """A decoded frame, still in the file's pixel format."""

    def __init__(self, seconds: float, frame: av.VideoFrame, source: Source):
        """Keep the frame; nothing is converted yet."""
        self.seconds = seconds
        self._frame = frame
        self._source = source

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the video in pixels as displayed; a single frame may be stored in another."""
        return self._source.size

    def rgb(
        self, height: int | None = None, width: int | None = None, *, interpolation: Interpolation = "area"
    ) -> np.ndarray:
        """Return uint8 RGB (H, W, 3) in the given size, upright; as displayed by default."""
        return self._source.to_rgb(self._frame, height, width, interpolation)


def resize_frame(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a uint8 RGB frame (H, W, 3) as decoding does, for frames that come from a camera or an array."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    return frame.reformat(width, height, interpolation="AREA", threads=1).to_ndarray()


def write_frames(path: str | os.PathLike, frames: Iterable[Frame], fps: float, *, crf: int = 20) -> int:
    """Write frames to a file at their own times, the first at 0, and return how many there were.

    The arguments and errors are those of `VideoWriter`.
    """
    start, count = None, 0
    with VideoWriter(path, fps, crf=crf) as writer:
        for count, frame in enumerate(frames, 1):  # noqa: B007
            start = frame.seconds if start is None else start
            writer.write(frame.image, frame.seconds - start)
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
        # Without these tags players take a file of 720 lines or more for BT.709, and its colours shift.
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
