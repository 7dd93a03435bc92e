"""Video files in and out: exact frames as RGB arrays, and H.264 files that every browser plays.

Decoding and encoding go through PyAV (FFmpeg). Frames are chosen by their presentation time, never by a seek to a frame
number: such seeks are slow, and inexact for B-frames and variable frame rates. Seconds count from the first frame.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter

VIDEO_SUFFIXES = (
    ".3gp",
    ".avi",
    ".flv",
    ".gif",
    ".m4v",
    ".mkv",
    ".mov",
    ".mp4",
    ".mpeg",
    ".mpg",
    ".ts",
    ".webm",
    ".wmv",
)

# A jump to a key frame costs about as much as decoding this many frames.
_JUMP_COST_FRAMES = 8
# Ticks per frame interval of a written file: fine enough for variable frame rates, and exact for constant ones.
_TICKS_PER_FRAME = 256


class VideoError(RuntimeError):
    """A video that cannot be decoded. The message names the file."""


class Frame(NamedTuple):
    """One decoded frame: its time from the first frame, and its pixels, uint8 RGB (H, W, 3)."""

    seconds: float
    image: np.ndarray


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds.

    Attributes:
        path: The file.
        width: Width in pixels as displayed, after rotation metadata.
        height: Height in pixels as displayed.
        fps: Frames per second; the average where the rate varies.
        frame_count: Number of frames, counted, not taken from the header.
        duration_seconds: Time on screen of all frames.
        codec: FFmpeg's name of the codec, such as "h264".
        frame_seconds: float64 (frame_count,), when each frame appears; the first at 0.
    """

    path: Path
    width: int
    height: int
    fps: float
    frame_count: int
    duration_seconds: float
    codec: str
    frame_seconds: np.ndarray

    @classmethod
    def read(cls, video: str | os.PathLike) -> VideoInfo:
        """Read the facts of a video file from its packets, decoding one frame.

        Raises:
            FileNotFoundError: If there is no such file.
            VideoError: If it holds no video that can be decoded.
        """
        with _open(video) as source:
            _, first = next(source.decode_all())
            height, width = (
                (first.width, first.height) if first.rotation % 180 else (first.height, first.width)
            )
            times = source.times
            duration = float((times.end - times.ticks[0]) * times.base)
            return cls(
                path=Path(video),
                width=width,
                height=height,
                fps=float(source.stream.average_rate or len(times.ticks) / duration),
                frame_count=len(times.ticks),
                duration_seconds=duration,
                codec=source.stream.codec_context.name,
                frame_seconds=(times.ticks - times.ticks[0]) * float(times.base),
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
) -> np.ndarray:
    """Read frames spread evenly over a video, or over a range of it, resized.

    The range is cut into equal parts, and from each comes the frame that is on screen at its middle. A range with fewer
    frames than asked for repeats them evenly.

    Args:
        video: Path of the video file.
        frames: Number of frames T, at least 1.
        height: Height of the result in pixels.
        width: Width of the result in pixels.
        start_seconds: Start of the range; the first frame by default.
        end_seconds: End of the range, not included; the end of the video by default, and at the latest.
        normalize: Give float32 in [0, 1] instead of uint8, for models that do not normalise by themselves.

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
    with _open(video) as source:
        ticks = source.times.spread(frames, start_seconds, end_seconds)
        images = source.read(ticks, height, width)
        if not images.keys() >= set(
            ticks
        ):  # the packets promised frames that do not decode: look at what does
            source.recount()
            ticks = source.times.spread(frames, start_seconds, end_seconds)
            images = source.read(ticks, height, width)
        clip = np.stack([images[tick] for tick in ticks])
    return clip.astype(np.float32) / 255.0 if normalize else clip


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
    if every_seconds is not None and every_seconds <= 0:
        raise ValueError(f"every_seconds must be positive, got {every_seconds}")
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
    with _open(video, threads=0) as source:
        times = source.times
        start, stop = times.span(start_seconds, end_seconds)
        wanted = None
        if every_seconds is not None:
            steps = np.arange(0, float((stop - start) * times.base) - 1e-9, every_seconds)
            asked = start + np.round(steps / float(times.base)).astype(np.int64)
            wanted = set(times.on_screen(asked).tolist())
        first = times.on_screen(np.array([start]))[0]
        for tick, frame in source.decode_all():
            if tick >= stop:
                return
            if tick >= first and (wanted is None or tick in wanted):
                yield DecodedFrame(float((tick - times.ticks[0]) * times.base), frame, source.reformatter)


class DecodedFrame:
    """A decoded frame, still in the file's pixel format."""

    def __init__(self, seconds: float, frame: av.VideoFrame, reformatter: VideoReformatter):
        self.seconds = seconds
        self._frame = frame
        self._reformatter = reformatter

    def rgb(self, height: int | None = None, width: int | None = None) -> np.ndarray:
        """Return uint8 RGB (H, W, 3) in the given size, upright; as displayed by default."""
        return _to_rgb(self._frame, self._reformatter, height, width)


def resize_frame(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a uint8 RGB frame (H, W, 3) as decoding does, for frames that come from a camera or an array."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    return _to_rgb(frame, VideoReformatter(), height, width)


class VideoWriter:
    """Write RGB frames to an H.264 file (yuv420p) that players and browsers show.

    The file is written under a temporary name beside `path` and renamed when complete; after an error nothing remains.
    Frames of odd size are padded by one row or column, which yuv420p demands.

    Args:
        path: File to write, by convention `.mp4`.
        fps: Frames per second; fractions such as 30000 / 1001 are kept exactly.
        crf: Quality from 0 (best) to 51; 18 looks lossless, 28 is small.

    Raises:
        ValueError: If `fps` is not positive, a frame is not uint8 (H, W, 3) or differs in size from the first one, times do
            not increase, or no frame was written.
        OSError: If the file cannot be written, for instance on a full disk.

    Example:
        >>> with VideoWriter("out.mp4", fps=25) as writer:
        ...     writer.write(np.zeros((240, 320, 3), np.uint8))
    """

    def __init__(self, path: str | os.PathLike, fps: float, *, crf: int = 20):
        if not fps > 0:
            raise ValueError(f"fps must be positive, got {fps}")
        self.path = Path(path)
        self.fps = Fraction(fps).limit_denominator(1001)
        self.crf = crf
        self._partial = self.path.with_name(f".{self.path.name}.part")
        self._container = None
        self._stream = None
        self._shape = None
        self._last_tick = -_TICKS_PER_FRAME

    def __enter__(self) -> VideoWriter:
        """Make the folder, so that a wrong path is known before the work."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(self._partial), "w", format="mp4", options={"movflags": "+faststart"})
        return self

    def write(self, image: np.ndarray, seconds: float | None = None) -> None:
        """Append a uint8 RGB frame (H, W, 3), at `seconds` from the start or one frame after the last one."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"a frame must be uint8 (height, width, 3), got {image.dtype} {image.shape}")
        if self._stream is None:
            self._start(image.shape)
        if image.shape != self._shape:
            raise ValueError(f"a frame must have the size of the first, {self._shape}, got {image.shape}")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(_pad_to_even(image)), format="rgb24")
        tick = self._last_tick + _TICKS_PER_FRAME
        if seconds is not None:
            tick = round(seconds * self.fps * _TICKS_PER_FRAME)
        if tick <= self._last_tick:
            raise ValueError(f"seconds must increase from frame to frame, got {seconds}")
        frame.pts, frame.time_base = tick, self._stream.codec_context.time_base
        self._last_tick = tick
        self._container.mux(self._stream.encode(frame))

    def _start(self, shape: tuple[int, int, int]) -> None:
        self._shape = shape
        options = {"preset": "veryfast", "crf": str(self.crf)}
        stream = self._container.add_stream("libx264", rate=self.fps, options=options)
        stream.height, stream.width = shape[0] + shape[0] % 2, shape[1] + shape[1] % 2
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = 1 / (self.fps * _TICKS_PER_FRAME)
        self._stream = stream

    def __exit__(self, error_type, error, traceback) -> None:
        """Finish the file and give it its name, or remove it after an error."""
        try:
            if error_type is None and self._stream is None:
                raise ValueError(f"no frame was written to {self.path}")
            try:
                if error_type is None:
                    self._container.mux(self._stream.encode(None))
            finally:
                self._container.close()
            if error_type is None:
                self._partial.replace(self.path)
        except OSError as problem:
            if error_type is None:
                raise OSError(problem.errno, problem.strerror, str(self.path)) from problem
        finally:
            self._partial.unlink(missing_ok=True)


class _Times(NamedTuple):
    """When frames are on screen, in ticks of `base` seconds."""

    ticks: np.ndarray  # int64 (N,), ascending: when each frame appears
    end: int  # when the last one goes
    keys: np.ndarray  # int64 (K,), ascending: frames where decoding can start
    base: Fraction

    def span(self, start_seconds: float | None, end_seconds: float | None) -> tuple[int, int]:
        """The half-open range in ticks, checked."""
        first, duration = int(self.ticks[0]), float((self.end - self.ticks[0]) * self.base)
        start = 0.0 if start_seconds is None else start_seconds
        stop = duration if end_seconds is None else min(end_seconds, duration)
        if not 0 <= start < duration:
            raise ValueError(f"start_seconds must lie in the video, 0 to {duration:.3f}, got {start_seconds}")
        if stop <= start:
            raise ValueError(f"end_seconds must be greater than start_seconds ({start}), got {end_seconds}")
        start, stop = (first + round(seconds / self.base) for seconds in (Fraction(start), Fraction(stop)))
        return start, max(stop, start + 1)

    def on_screen(self, ticks: np.ndarray) -> np.ndarray:
        """For each time, the tick of the frame that is on screen then."""
        return self.ticks[np.maximum(np.searchsorted(self.ticks, ticks, side="right") - 1, 0)]

    def key_of(self, tick: int) -> int:
        """The tick of the key frame from which the frame at `tick` can be decoded."""
        index = np.searchsorted(self.keys, tick, side="right") - 1
        return int(self.keys[index]) if index >= 0 else int(self.ticks[0])

    def spread(self, frames: int, start_seconds: float | None, end_seconds: float | None) -> list[int]:
        """The ticks of the frames on screen at the middles of `frames` equal parts of the range."""
        start, stop = self.span(start_seconds, end_seconds)
        middles = start + (2 * np.arange(frames, dtype=np.int64) + 1) * (stop - start) // (2 * frames)
        return self.on_screen(middles).tolist()


class _Source:
    """An open video file."""

    def __init__(self, path: Path, threads: int):
        self.path = path
        self.threads = threads
        self.reformatter = VideoReformatter()
        self._counted = False  # frames carry no usable times: count them
        self._open()
        self.times = self._scan()

    def _open(self) -> None:
        try:
            self.container = av.open(str(self.path))
        except (av.error.FFmpegError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise VideoError(f"{self.path}: not a video that can be read, or cut off ({reason})") from error
        pictures = [stream for stream in self.container.streams.video if stream.codec_context is not None]
        if not pictures:
            self.container.close()
            raise VideoError(f"{self.path}: the file holds no video stream")
        self.stream = pictures[0]
        self.stream.codec_context.thread_count = self.threads
        self.stream.codec_context.thread_type = "NONE" if self.threads == 1 else "AUTO"

    def _scan(self) -> _Times:
        """Read the times of all frames from the packets, without decoding."""
        ticks, keys, durations = [], [], [0]
        try:
            for packet in self.container.demux(self.stream):
                if packet.size and not packet.is_discard:
                    ticks.append(packet.pts)
                    durations.append(packet.duration or 0)
                    if packet.is_keyframe:
                        keys.append(packet.pts)
        except av.error.FFmpegError:
            pass  # a file cut off in the middle: its whole packets remain
        if None in ticks or len(set(ticks)) < max(len(ticks), 1):
            return self.recount()
        ticks = np.sort(np.array(ticks, np.int64))
        return self._times(ticks, keys, max(durations) if len(ticks) == 1 else durations[-1])

    def recount(self) -> _Times:
        """Take the times from the frames that do decode: slow, but right for broken or untimed files."""
        self._counted = False
        ticks = [frame.pts for _, frame in self.decode_all()]
        self._counted = None in ticks or len(set(ticks)) < len(ticks)
        if self._counted:
            ticks = range(len(ticks))
        warnings.warn(
            f"{self.path}: timestamps or frames are damaged; {len(ticks)} frames could be read", stacklevel=2
        )
        self.times = self._times(np.array(sorted(ticks), np.int64), [], 1 if self._counted else 0)
        return self.times

    def _times(self, ticks: np.ndarray, keys: list[int], last_duration: int) -> _Times:
        rate = self.stream.average_rate or self.stream.guessed_rate or Fraction(25)
        base = 1 / rate if self._counted else self.stream.time_base
        if not last_duration:
            last_duration = int(np.median(np.diff(ticks))) if len(ticks) > 1 else round(1 / rate / base)
        return _Times(ticks, int(ticks[-1]) + max(last_duration, 1), np.array(sorted(keys), np.int64), base)

    def read(self, ticks: list[int], height: int, width: int) -> dict[int, np.ndarray]:
        """Decode the frames at `ticks` to RGB, as far as they can be had."""
        images = {}
        for run in self._runs(ticks):
            images |= self._read_run(run, height, width)
        missing = set(ticks) - images.keys()
        if missing:  # a jump landed behind its key frame, or the times are not those of the packets
            for tick, frame in self.decode_all():
                if tick in missing:
                    images[tick] = _to_rgb(frame, self.reformatter, height, width)
        return images

    def _runs(self, ticks: list[int]) -> list[list[int]]:
        """Group ticks so that each group is decoded in one pass, and between groups a jump to a key frame pays."""
        runs = []
        for tick in sorted(set(ticks)):
            if runs:
                position, target = np.searchsorted(self.times.ticks, [runs[-1][-1], self.times.key_of(tick)])
            if runs and target - position <= _JUMP_COST_FRAMES:
                runs[-1].append(tick)
            else:
                runs.append([tick])
        return runs

    def _read_run(self, run: list[int], height: int, width: int) -> dict[int, np.ndarray]:
        """Decode on from the key frame of the first tick, leaving out unwanted frames that no other frame needs."""
        images, wanted = {}, set(run)
        key = self.times.key_of(run[0])
        for packet in self._packets(None if key == self.times.ticks[0] else key):
            self.stream.codec_context.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
            for frame in self._decode_packet(packet):
                if frame.pts in wanted and not frame.is_corrupt:
                    images[frame.pts] = _to_rgb(frame, self.reformatter, height, width)
            if len(images) == len(wanted):
                break
        return images

    def decode_all(self) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decode every frame from the start, stepping over damaged packets."""
        self.stream.codec_context.skip_frame = "DEFAULT"
        count = 0
        for packet in self._packets(None):
            for frame in self._decode_packet(packet):
                yield (count if self._counted else frame.pts), frame
                count += 1
        if not count:
            raise VideoError(f"{self.path}: no frame could be decoded")

    def _decode_packet(self, packet: av.Packet) -> list[av.VideoFrame]:
        try:
            return self.stream.codec_context.decode(packet if packet.size else None)
        except av.error.FFmpegError:
            return []  # a damaged packet: the frames around it count

    def _packets(self, tick: int | None) -> Iterator[av.Packet]:
        """Yield the packets from the key frame at or before `tick`, or from the start."""
        try:
            start = min(self.stream.start_time or 0, 0)
            self.container.seek(start if tick is None else tick, stream=self.stream)
            self.stream.codec_context.flush_buffers()
        except av.error.FFmpegError:  # some formats cannot seek
            self.container.close()
            self._open()
        try:
            yield from self.container.demux(self.stream)
        except av.error.FFmpegError:
            return  # cut off in the middle: what came before counts


@contextmanager
def _open(video: str | os.PathLike, threads: int = 1) -> Iterator[_Source]:
    path = Path(video)
    if not path.is_file():
        raise FileNotFoundError(f"no video file at {path}" + (" (it is a folder)" if path.is_dir() else ""))
    if not path.stat().st_size:
        raise VideoError(f"{path}: the file is empty")
    source = _Source(path, threads)
    try:
        yield source
    except av.error.FFmpegError as error:
        raise VideoError(f"{path}: decoding failed ({error.strerror})") from error
    finally:
        source.container.close()


def _to_rgb(
    frame: av.VideoFrame, reformatter: VideoReformatter, height: int | None, width: int | None
) -> np.ndarray:
    turns = round(frame.rotation / 90) % 4  # counter-clockwise quarter turns that make it upright
    if turns % 2:
        height, width = width, height
    image = reformatter.reformat(
        frame, width or frame.width, height or frame.height, "rgb24", interpolation="AREA", threads=1
    ).to_ndarray()
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _pad_to_even(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    return (
        np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if height % 2 or width % 2
        else image
    )
