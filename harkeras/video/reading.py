"""Videos in: exact frames as RGB arrays, and the one way from a video to what a model sees.

Decoding goes through PyAV (FFmpeg). Frames are chosen by the time at which they are on screen, never by a
seek to a frame number: such seeks are slow, and inexact for B-frames and variable frame rates.

Seconds count from the file's time zero, as in FFmpeg and in tools for labelling: from where its first stream
starts. That is the first frame, unless sound begins before the pictures. Frames come as players show them:
upright, with square pixels, in the size of the first. What is done where a file's own times are wrong is
written in `harkeras.video.frame_times`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harkeras.recipe import ClipFormat, FlowMethod, Interpolation, Streams
from harkeras.video.decoding import Source, VideoError
from harkeras.video.frames import DecodedFrame, FrameView, ModelView
from harkeras.video.writing import HIGHEST_FPS, LONGEST_STEP_FRAMES

__all__ = [
    "VIDEO_SUFFIXES",
    "Frame",
    "VideoError",
    "VideoInfo",
    "flow_extraction",
    "frames_extraction",
    "iter_decoded",
    "iter_frames",
    "read_clip",
    "read_view",
]

VIDEO_SUFFIXES = tuple(
    ".3gp .avi .flv .gif .m4v .mkv .mov .mp4 .mpeg .mpg .ts .webm .wmv "
    ".264 .265 .3g2 .asf .divx .f4v .h264 .h265 .hevc .m2t .m2ts .m2v .mjpeg .mjpg .mpe .mts .mxf .ogm .ogv "
    ".qt .rm .rmvb .vob .y4m".split()
)


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
        coarsest = LONGEST_STEP_FRAMES / steps.max(initial=1)
        return float(max(min(finest, coarsest, HIGHEST_FPS), 0.001))

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
        normalize: Give float32 in [0, 1] instead of uint8, for models that do not normalize by themselves.
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
    clip_format = ClipFormat(frames, height, width, interpolation=interpolation)
    clip = read_clip(video, clip_format, start_seconds=start_seconds, end_seconds=end_seconds)
    return clip.astype(np.float32) / 255 if normalize else clip


def flow_extraction(
    video: str | os.PathLike,
    frames: int = 20,
    height: int = 64,
    width: int = 64,
    *,
    streams: Streams = "flow",
    fields: int = 10,
    method: FlowMethod = "dis",
    interpolation: Interpolation = "area",
    start_seconds: float | None = None,
    end_seconds: float | None = None,
) -> np.ndarray:
    """Read the flow at frames spread evenly over a video, or over a range of it, resized.

    The frames are those of `frames_extraction`. Each carries the `fields` fields that led up to it; at the
    start of a video, where there are fewer, the first one stands for those that are missing.

    Args:
        video: Path of the video file.
        frames: Number of frames T, at least 1.
        height: Height of the result in pixels.
        width: Width of the result in pixels.
        streams: "flow", or "rgb+flow" for the frames and their flow, one behind the other.
        fields: Number of fields L per frame.
        method: "dis", "farneback", or "tvl1", which needs opencv-contrib-python.
        interpolation: How to resize the frames of "rgb+flow", see `frames_extraction`.
        start_seconds: Start of the range; the first frame by default.
        end_seconds: End of the range, not included; the end of the video by default.

    Returns:
        uint8 (T, H, W, 2L): of each field, to the right and down, the oldest first; 128 is no motion. With
        "rgb+flow", (T, H, W, 3 + 2L), RGB first.

    Raises:
        ValueError: If a size is below 1, the range is empty or outside the video, or there is no such method.
        FileNotFoundError: If there is no such file.
        VideoError: If the file holds no video that can be decoded.
        ImportError: If OpenCV has no TV-L1.
    """
    if streams not in ("flow", "rgb+flow"):
        raise ValueError(f"streams must be 'flow' or 'rgb+flow', got {streams!r}")
    if fields < 1:
        raise ValueError(f"fields must be at least 1, got {fields}")
    clip_format = ClipFormat(frames, height, width, streams, fields, method, interpolation)
    return read_clip(video, clip_format, start_seconds=start_seconds, end_seconds=end_seconds)


def read_clip(
    video: str | os.PathLike,
    clip_format: ClipFormat,
    *,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
) -> np.ndarray:
    """Read a video, or a range of it, in whole frames: gray, RGB, flow or both, as the format says.

    For what is seen of people there is `harkeras.people.read_clip`. Errors are those of `flow_extraction`.

    Returns:
        uint8 (T, H, W, C).
    """
    view = partial(ModelView, clip_format)
    return read_view(video, clip_format.frames, view, start_seconds=start_seconds, end_seconds=end_seconds)


def read_view(
    video: str | os.PathLike,
    frames: int,
    make_view: Callable[[], FrameView],
    *,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
) -> np.ndarray:
    """Read what a view makes of frames spread evenly over a video, or a range of it: (T, ...).

    This is the one way from a file to a clip, in training as in prediction.
    """
    with closing(Source(video)) as source:
        for _ in range(2):  # anew if decoding shows that the file's times were wrong
            ticks = source.scan.spread(frames, start_seconds, end_seconds)
            images = _read_at(ticks, source, make_view())
            if images.keys() >= set(ticks.tolist()):
                return np.stack([images[tick] for tick in ticks.tolist()])
        raise source.undecodable()


def _read_at(ticks: np.ndarray, source: Source, view: FrameView) -> dict[int, np.ndarray]:
    """Return what a model sees at some ticks, (H, W, C) each, as far as they decode."""
    chosen, images = set(ticks.tolist()), {}
    wanted = np.zeros(len(source.ticks), bool)
    wanted[source.ticks.searchsorted(ticks)] = True
    for tick, frame in source.decode(source.ticks[view.frames_needed(wanted)]):
        index = int(source.ticks.searchsorted(tick))
        image = view.read(DecodedFrame(tick, frame, source), index, tick in chosen)
        if image is not None:
            images[tick] = image
    return images


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
            yield DecodedFrame(tick, frame, source)
