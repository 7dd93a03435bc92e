"""From a video file to the windows of a stream: what they need is decoded, while the model computes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import numpy as np
from tqdm.auto import tqdm

from harkeras.base.workers import one_ahead
from harkeras.inference.decisions import Window
from harkeras.inference.streaming import ActionStream
from harkeras.recipe import Recipe
from harkeras.video.flow import FlowStack, flow_size, to_gray
from harkeras.video.reading import VideoError, VideoInfo, iter_decoded

_BLOCK_FRAMES = 32
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
    progress: bool,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
) -> list[Window]:
    """Send the frames that windows need through the stream; the next are decoded while the model computes."""
    end_seconds = info.duration_seconds if end_seconds is None else end_seconds
    windows, last = [], end_seconds
    with tqdm(desc="Recognizing", total=info.frame_count, unit="frame", disable=not progress) as bar:
        for images, seconds in one_ahead(blocks(info, stream, bar, start_seconds, end_seconds)):
            windows += stream.push(np.stack(images), seconds)
            last = seconds[-1]
    windows += stream.finish(max(end_seconds, last))
    if not windows:
        raise VideoError(f"{info.path}: no frame could be decoded")
    return windows


def blocks(
    info: VideoInfo,
    stream: ActionStream,
    bar: tqdm,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
) -> Iterator[tuple[list[np.ndarray], list[float]]]:
    """Decode the frames that windows need, in blocks: images in the model's size, and their seconds.

    The frame that is on screen when a range starts counts as appearing at its start.
    """
    start = float(info.frame_seconds[0]) if start_seconds is None else start_seconds
    end = info.duration_seconds if end_seconds is None else end_seconds
    first = max(int(np.searchsorted(info.frame_seconds, start + 1e-6, side="right")) - 1, 0)
    stop = max(int(np.searchsorted(info.frame_seconds, end - 1e-6)), first + 1)
    appear = info.frame_seconds[first:stop].copy()
    appear[0] = start
    needed = np.zeros(info.frame_count, bool)
    needed[first:stop] = stream.frames_needed(appear, end)
    read, lead = _image_reader(stream.recipe, needed)
    done = max(first - lead, 0)
    images, seconds, is_first = [], [], True
    for frame in iter_decoded(info.path, start_seconds=float(info.frame_seconds[done]), end_seconds=end):
        # By time, not by count: of a damaged file not all frames decode, and the next one serves instead.
        following = np.searchsorted(info.frame_seconds, frame.seconds + 1e-6, side="right")
        wanted = needed[done:following].any()
        image = read(frame, done, wanted)
        done = following
        if wanted:
            images.append(image)
            seconds.append(start if is_first else frame.seconds)
            is_first = False
        if len(images) == _BLOCK_FRAMES:
            yield images, seconds
            images, seconds = [], []
        bar.update()
    if images:
        yield images, seconds


def _image_reader(recipe: Recipe, needed: np.ndarray) -> tuple[Callable, int]:
    """Make the function (frame, its number, wanted or not) that returns what the model sees, (H, W, C).

    Returns:
        The function, and how many frames it has to see before the first that is needed.
    """

    def rgb(frame) -> np.ndarray:
        return frame.rgb(recipe.height, recipe.width, interpolation=recipe.interpolation)

    if recipe.streams == "rgb":
        return lambda frame, index, wanted: rgb(frame) if wanted else None, 0
    if recipe.streams == "gray":
        return lambda frame, index, wanted: to_gray(rgb(frame))[..., None] if wanted else None, 0
    stack = FlowStack(recipe.height, recipe.width, fields=recipe.flow_fields, method=recipe.flow_method)
    followed = stack.frames_needed(needed)

    def read(frame, index: int, wanted: bool) -> np.ndarray | None:
        if followed[index]:
            stack.push(frame.rgb(*flow_size(*frame.size)), index)
        if wanted:
            return stack.beside(None if recipe.streams == "flow" else rgb(frame))
        return None

    return read, recipe.flow_fields
