"""Name the action in a video file: one for the whole of it, or one for each moment."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import keras
import numpy as np
from tqdm.auto import tqdm

from harkeras.decisions import UNSURE, Decider, Window, name_classes
from harkeras.drawing import TimelineStrip, class_colour, draw_caption
from harkeras.flow import FlowStack, flow_size, read_clip, to_gray
from harkeras.images import read_image, resize_image
from harkeras.pretrained import list_pretrained, load_pretrained
from harkeras.recipe import DEFAULT_CLIP_SECONDS, Recipe, read_channels
from harkeras.saving import check_classes, load_model
from harkeras.streaming import ActionStream
from harkeras.video import VideoInfo, VideoWriter, iter_decoded

_BLOCK_FRAMES = 32


class ActionPrediction(NamedTuple):
    """The action of a whole video: its label, the probability of it, and those of all classes."""

    label: str
    confidence: float
    probabilities: dict[str, float]


class Segment(NamedTuple):
    """A part of a video with one label, half-open; `confidence` is the label's mean probability."""

    start_seconds: float
    end_seconds: float
    label: str
    confidence: float


@dataclass(frozen=True)
class VideoPrediction:
    """The actions of a video.

    Attributes:
        segments: The parts of the video in order, without gaps.
        classes: Names of the classes.
        windows: float (W, 2), start and end of each window in seconds.
        probabilities: float32 (W, classes), what the model said of each window.
    """

    segments: list[Segment]
    classes: tuple[str, ...]
    windows: np.ndarray
    probabilities: np.ndarray

    def label_at(self, seconds: float) -> Segment:
        """Return the segment that holds a moment."""
        ends = [segment.end_seconds for segment in self.segments[:-1]]
        return self.segments[int(np.searchsorted(ends, seconds, side="right"))]


def predict_single_action(
    video: str | os.PathLike,
    model: str | os.PathLike | keras.Model,
    *,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    classes: Sequence[str] | None = None,
    normalize: bool | None = None,
    channel_order: Literal["rgb", "bgr"] | None = None,
) -> ActionPrediction:
    """Name the one action of a video, from frames spread over all of it.

    Args:
        video: Path of the video.
        model: Path of a `.keras` file, one of `list_pretrained()`, or a model in memory.
        start_seconds: Start of the range to look at; the first frame by default.
        end_seconds: End of the range, not included; the end of the video by default.
        classes: Names of the model's outputs, for a model without a recipe.
        normalize: Whether a model without a recipe expects pixels in [0, 1].
        channel_order: "bgr" for a model without a recipe that was trained on frames as OpenCV reads them.

    Returns:
        `ActionPrediction(label, confidence, probabilities)`

    Raises:
        FileNotFoundError: If there is no such video or model.
        ValueError: If classes are missing or do not fit the model, or the range lies outside the video.
        VideoError: If the video cannot be decoded.
    """
    model, recipe = resolve_model(model, classes=classes, normalize=normalize, channel_order=channel_order)
    clip = read_clip(
        video,
        (recipe.frames, recipe.height, recipe.width, recipe.channels),
        flow_method=recipe.flow_method,
        start_seconds=start_seconds,
        end_seconds=end_seconds,
    )
    return _classify(clip, model, recipe)


def predict_image(
    image: str | os.PathLike | np.ndarray,
    model: str | os.PathLike | keras.Model,
    *,
    classes: Sequence[str] | None = None,
    normalize: bool | None = None,
    channel_order: Literal["rgb", "bgr"] | None = None,
) -> ActionPrediction:
    """Name the action in a still image.

    Args:
        image: Path of the image, or uint8 RGB (H, W, 3), of any size: it is stretched to the model's.
        model: Path of a `.keras` file, or a model in memory, that takes images.
        classes: Names of the model's outputs, for a model without a recipe.
        normalize: Whether a model without a recipe expects pixels in [0, 1].
        channel_order: "bgr" for a model without a recipe that was trained on images as OpenCV reads them.

    Returns:
        `ActionPrediction(label, confidence, probabilities)`

    Raises:
        FileNotFoundError: If there is no such image or model.
        ValueError: If the array is no image, the model does not take images, or classes are missing or do not
            fit the model.
        VideoError: If the image cannot be decoded.
    """
    model, recipe = resolve_model(
        model, images=True, classes=classes, normalize=normalize, channel_order=channel_order
    )
    if not isinstance(image, np.ndarray):
        image = read_image(image)
    elif image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(f"image must be uint8 RGB (H, W, 3), got {image.dtype} {image.shape}")
    return _classify(resize_image(image, recipe.height, recipe.width), model, recipe)


def _classify(pixels: np.ndarray, model: keras.Model, recipe: Recipe) -> ActionPrediction:
    """Name one clip (T, H, W, C) or image (H, W, 3) in the size of the recipe."""
    probabilities = ActionStream(model, recipe).classify(pixels[None])[0]
    best = int(name_classes(probabilities, recipe.threshold_row))
    every = dict(zip(recipe.classes, map(float, probabilities), strict=True))
    return ActionPrediction(recipe.classes[best], float(probabilities[best]), every)


def predict_on_video(
    video: str | os.PathLike,
    model: str | os.PathLike | keras.Model,
    output: str | os.PathLike | None = None,
    *,
    timeline: str | os.PathLike | None = None,
    stride_seconds: float | None = None,
    smoothing_seconds: float = 0.5,
    hysteresis: float = 0.1,
    min_seconds: float = 0.5,
    threshold: float = 0.5,
    classes: Sequence[str] | None = None,
    clip_seconds: float | None = None,
    normalize: bool | None = None,
    channel_order: Literal["rgb", "bgr"] | None = None,
    progress: bool = True,
) -> VideoPrediction:
    """Name the action at each moment of a video.

    The model sees windows as long as its training clips, sampled as they were. What it says is averaged over
    time and held steady, see `harkeras.decisions.Decider`; 0 switches each of the four means off.

    Args:
        video: Path of the video.
        model: Path of a `.keras` file, one of `list_pretrained()`, or a model in memory.
        output: Annotated video to write: H.264, which browsers play, without sound. Seven colours stand for
            the classes, in turn if there are more.
        timeline: `.csv` or `.json` file to write the segments to.
        stride_seconds: Time between windows; by default the distance of the frames in a window. `1 / fps`
            gives one prediction per frame.
        smoothing_seconds: Average the probabilities of windows over this time.
        hysteresis: A new label must be this much more probable than the one that holds.
        min_seconds: A new label must last this long.
        threshold: Under this probability the label is "unsure".
        classes: Names of the model's outputs, for a model without a recipe.
        clip_seconds: Window length for a model without a recipe; 4 by default.
        normalize: Whether a model without a recipe expects pixels in [0, 1].
        channel_order: "bgr" for a model without a recipe that was trained on frames as OpenCV reads them.
        progress: Whether to show progress bars.

    Returns:
        `VideoPrediction` with the segments and the probabilities of each window.

    Raises:
        FileNotFoundError: If there is no such video or model.
        ValueError: If classes are missing or do not fit the model, `timeline` is neither `.csv` nor `.json`,
            an output is the video itself, or a number is out of its range.
        VideoError: If the video cannot be decoded.
        OSError: If an output cannot be written.
    """
    if timeline is not None and Path(timeline).suffix.lower() not in (".csv", ".json"):
        raise ValueError(f"timeline must end in .csv or .json, got {timeline}")
    info = VideoInfo.read(video)
    for path in filter(None, (output, timeline)):
        if Path(path).exists() and Path(path).samefile(video):
            raise ValueError(f"output must not be the video itself, got {path}")
    model, recipe = resolve_model(
        model, classes=classes, clip_seconds=clip_seconds, normalize=normalize, channel_order=channel_order
    )
    stream = ActionStream(model, recipe, stride_seconds=stride_seconds)
    decider = Decider(
        recipe.classes,
        stream.stride_seconds,
        smoothing_seconds=smoothing_seconds,
        hysteresis=hysteresis,
        min_seconds=min_seconds,
        threshold=threshold,
        thresholds=recipe.thresholds,
    )
    with ExitStack() as stack:
        # Opened before the work, so that a path that cannot be written is known at once.
        writer = None if output is None else stack.enter_context(VideoWriter(output, info.writing_fps))
        windows = _slide(info, stream, progress)
        for window in windows:
            decider.update(window)
        prediction = VideoPrediction(
            segments=_segments(decider, info.duration_seconds),
            classes=recipe.classes,
            windows=np.array([window[:2] for window in windows]),
            probabilities=np.stack([window.probabilities for window in windows]),
        )
        if timeline is not None:
            _write_timeline(prediction.segments, Path(timeline))
        if writer is not None:
            _write_annotated(info, prediction, writer, progress)
    return prediction


def resolve_model(
    model: str | os.PathLike | keras.Model, *, images: bool = False, **given
) -> tuple[keras.Model, Recipe]:
    """Load a model where a path or a name is given, and find its recipe.

    Args:
        model: Path of a `.keras` file, one of `list_pretrained()`, or a model in memory.
        images: Whether it must take images instead of clips.
        **given: `classes`, `clip_seconds`, `normalize`, `channel_order`; what is not None stands over the
            recipe.

    Returns:
        The model and the recipe.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If there is no recipe and no `classes`, they do not fit the model, or it takes images
            where clips are wanted, or the other way round.
    """
    if not isinstance(model, keras.Model):
        published = str(model) in list_pretrained() and not Path(model).exists()
        model = load_pretrained(str(model)) if published else load_model(model)
    shape = tuple(getattr(model, "input_shape", ()))
    if images and (len(shape) != 4 or None in shape[1:] or shape[-1] != 3):
        raise ValueError(f"model must take images (B, H, W, 3) of fixed size, got {shape}")
    if len(shape) == 4 and not images:
        raise ValueError(
            f"model must take clips (B, T, H, W, C) of fixed size, not images, got {shape}; for images there "
            "is predict_image"
        )
    given = {name: value for name, value in given.items() if value is not None}
    recipe = getattr(model, "recipe", None)
    if recipe is not None:
        recipe = replace(recipe, **given)
    else:
        if "classes" not in given:
            raise ValueError(
                "classes are missing: the model has no recipe, pass the names of its outputs in order"
            )
        if images:
            shape = (None, 1, *shape[1:])
        if len(shape) != 5 or None in shape[1:] or shape[-1] < 2:
            raise ValueError(
                f"model must take clips (B, T, H, W, C) of fixed size, where C is 3 for RGB, got {shape}"
            )
        _, frames, height, width, channels = shape
        streams, flow_fields = read_channels(channels)
        stated = {"clip_seconds": DEFAULT_CLIP_SECONDS, "streams": streams, "flow_fields": flow_fields}
        given = stated | given
        recipe = Recipe(frames=frames, height=height, width=width, **given)
    check_classes(model, recipe.classes)
    return model, recipe


def _slide(info: VideoInfo, stream: ActionStream, progress: bool) -> list[Window]:
    """Send the frames that windows need through the stream; the next are decoded while the model computes."""
    windows = []
    with tqdm(desc="Recognising", total=info.frame_count, unit="frame", disable=not progress) as bar:
        for images, seconds in _ahead(_blocks(info, stream, bar)):
            windows += stream.push(np.stack(images), seconds)
    return windows + stream.finish(info.duration_seconds)


def _blocks(info: VideoInfo, stream: ActionStream, bar: tqdm) -> Iterator[tuple[list, list]]:
    """Decode the frames that windows need, in blocks: images in the model's size, and their seconds."""
    needed = stream.frames_needed(info.frame_seconds, info.duration_seconds)
    read = _image_reader(stream.recipe, needed)
    images, seconds, done = [], [], 0
    for frame in iter_decoded(info.path):
        # By time, not by count: of a damaged file not all frames decode, and the next one serves instead.
        end = np.searchsorted(info.frame_seconds, frame.seconds + 1e-6, side="right")
        wanted = needed[done:end].any()
        image = read(frame, done, wanted)
        done = end
        if wanted:
            images.append(image)
            seconds.append(frame.seconds)
        if len(images) == _BLOCK_FRAMES:
            yield images, seconds
            images, seconds = [], []
        bar.update()
    if images:
        yield images, seconds


def _image_reader(recipe: Recipe, needed: np.ndarray) -> Callable:
    """Make the function (frame, its number, wanted or not) that returns what the model sees, (H, W, C)."""
    size = (recipe.height, recipe.width)
    if recipe.streams == "rgb":
        return lambda frame, index, wanted: frame.rgb(*size) if wanted else None
    if recipe.streams == "gray":
        return lambda frame, index, wanted: to_gray(frame.rgb(*size))[..., None] if wanted else None
    stack = FlowStack(*size, fields=recipe.flow_fields, method=recipe.flow_method)
    followed = stack.frames_needed(needed)

    def read(frame, index: int, wanted: bool) -> np.ndarray | None:
        if followed[index]:
            stack.push(frame.rgb(*flow_size(*frame.size)), index)
        if wanted:
            return stack.beside(None if recipe.streams == "flow" else frame.rgb(*size))
        return None

    return read


def _ahead(items: Iterable) -> Iterator:
    """Compute the next item in a thread of its own while the last one is in use."""
    items = iter(items)
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


def _segments(decider: Decider, duration_seconds: float) -> list[Segment]:
    """Join windows of one label; the border between two lies midway between their middles."""
    middles = np.array(decider.seconds)
    borders = [0.0, *((middles[1:] + middles[:-1]) / 2), duration_seconds]
    changes = [i for i in range(1, len(middles)) if decider.labels[i] != decider.labels[i - 1]]
    segments = []
    for first, stop in zip([0, *changes], [*changes, len(middles)], strict=True):
        label, smoothed = decider.labels[first], np.stack(decider.smoothed[first:stop])
        values = smoothed.max(axis=1) if label == UNSURE else smoothed[:, decider.classes.index(label)]
        segments.append(Segment(float(borders[first]), float(borders[stop]), label, float(values.mean())))
    return segments


def _write_timeline(segments: list[Segment], path: Path) -> None:
    if path.suffix.lower() == ".json":
        text = json.dumps([segment._asdict() for segment in segments], indent=2, ensure_ascii=False)
    else:
        lines = io.StringIO()
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(Segment._fields)
        for start, end, label, confidence in segments:
            writer.writerow([f"{start:.3f}", f"{end:.3f}", label, f"{confidence:.4f}"])
        text = lines.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _write_annotated(
    info: VideoInfo, prediction: VideoPrediction, writer: VideoWriter, progress: bool
) -> None:
    frames = _ahead(_annotated(info, prediction))
    for image, seconds in tqdm(frames, "Writing", info.frame_count, unit="frame", disable=not progress):
        writer.write(image, seconds)


def _annotated(info: VideoInfo, prediction: VideoPrediction) -> Iterator[tuple[np.ndarray, float]]:
    """Decode the video and draw on its frames."""
    segments, duration = prediction.segments, info.duration_seconds
    colours = [class_colour(segment.label, prediction.classes) for segment in segments]
    stops = [segment.end_seconds / duration for segment in segments]
    strip = TimelineStrip(info.height, info.width, stops, colours)
    for frame in iter_decoded(info.path):
        image = frame.rgb()
        segment = prediction.label_at(frame.seconds)
        colour = class_colour(segment.label, prediction.classes)
        confidence = "" if segment.label == UNSURE else f"{segment.confidence:.0%}"
        draw_caption(image, segment.label, confidence, colour)
        strip.draw(image, frame.seconds / duration)
        yield image, frame.seconds
