"""From a video file to the windows of a stream: what they need is decoded, while the model computes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
from tqdm.auto import tqdm

from harkeras.base.progress import Progress, progress_bar
from harkeras.base.workers import one_ahead
from harkeras.inference.decisions import Window
from harkeras.inference.people_stream import PeopleStream
from harkeras.inference.streaming import ActionStream
from harkeras.people.clips import create_view
from harkeras.people.pose import PoseEstimator
from harkeras.video.frame_times import ROUNDING_SECONDS
from harkeras.video.frames import FrameView
from harkeras.video.reading import VideoError, VideoInfo, iter_decoded

_BLOCK_FRAMES = 32
_LONG_WINDOWS = 1000  # to compile for so many takes less time than it saves
# What FFmpeg calls still pictures, and those that move but need not.
_PICTURE_CODECS = frozenset("mjpeg png apng gif webp bmp tiff jpeg2000 jpegls jpegxl ppm pgm targa".split())


def read_info(video: str | os.PathLike) -> VideoInfo:
    """Read the facts of a video; raise ValueError for a still picture, a video of one frame to FFmpeg.

    Other errors are those of `VideoInfo.read`.
    """
    info = VideoInfo.read(video)
    if info.frame_count == 1 and info.codec in _PICTURE_CODECS:
        raise ValueError(
            f"video must be a video, got {video}, a picture ({info.codec}): for models of still images there "
            "is harkeras.predict_image"
        )
    return info


def slide(
    info: VideoInfo,
    stream: ActionStream,
    start_seconds: float,
    end_seconds: float,
    *,
    estimator: PoseEstimator | None = None,
    joints: list[tuple[float, np.ndarray]] | None = None,
    progress: Progress = False,
) -> list[Window]:
    """Send the frames that windows need through the stream; the next are decoded while the model computes.

    Of a model of joints, `estimator` finds them, and `joints` is filled with the times of all frames that
    were looked at, and the joints (K, 3) in them.
    """
    warm_up_if_long(stream, end_seconds - start_seconds)
    windows, last = [], end_seconds
    view = create_view(stream.recipe.clip_format, estimator, joints)
    with progress_bar(None, "Recognizing", info.frame_count, progress, unit="frame") as bar:
        for images, seconds in one_ahead(blocks(info, stream, view, bar, start_seconds, end_seconds)):
            windows += stream.push(np.stack(images), seconds)
            last = seconds[-1]
    windows += stream.finish(max(end_seconds, last))
    if not windows:
        raise VideoError(f"{info.path}: no frame could be decoded")
    return windows


def warm_up_if_long(stream: ActionStream | PeopleStream, seconds: float) -> None:
    """Compile a stream for a long file; a short one would be through before."""
    if seconds / stream.stride_seconds > _LONG_WINDOWS:
        stream.warm_up()


def blocks(
    info: VideoInfo,
    stream: ActionStream,
    view: FrameView,
    bar: tqdm,
    start_seconds: float,
    end_seconds: float,
) -> Iterator[tuple[list[np.ndarray], list[float]]]:
    """Decode the frames that windows need, in blocks: images as the model sees them, and their seconds.

    The frame that is on screen when a range starts counts as appearing at its start.
    """
    times = info.frame_seconds
    first = max(int(np.searchsorted(times, start_seconds + ROUNDING_SECONDS, side="right")) - 1, 0)
    stop = max(int(np.searchsorted(times, end_seconds - ROUNDING_SECONDS)), first + 1)
    appear = times[first:stop].copy()
    appear[0] = start_seconds
    needed = np.zeros(info.frame_count, bool)
    needed[first:stop] = stream.frames_needed(appear, end_seconds)
    looked_at = view.frames_needed(needed)
    index = int(looked_at.argmax())
    images, seconds = [], []
    is_first = True
    start = float(times[index]) if index else None
    for frame in iter_decoded(info.path, start_seconds=start, end_seconds=end_seconds):
        # By time, not by count: of a damaged file not all frames decode, and the next one serves instead.
        following = int(np.searchsorted(times, frame.seconds + ROUNDING_SECONDS, side="right"))
        if looked_at[index:following].any():
            image = view.read(frame, index, needed[index:following].any())
            if image is not None:
                images.append(image)
                seconds.append(start_seconds if is_first else frame.seconds)
                is_first = False
        index = following
        if len(images) == _BLOCK_FRAMES:
            yield images, seconds
            images, seconds = [], []
        bar.update()
    if images:
        yield images, seconds
