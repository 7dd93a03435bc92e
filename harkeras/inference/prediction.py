"""Name the action in a video file: one for the whole of it, or one for each moment."""

from __future__ import annotations

import math
import os
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple, Unpack

import keras
import numpy as np

from harkeras.base.progress import Progress
from harkeras.inference._annotated_video import write_annotated
from harkeras.inference._assumptions import warn_of_assumptions, warn_of_pixels
from harkeras.inference._file_decisions import decide_file, file_settings
from harkeras.inference._timeline import VideoPrediction, check_outputs, check_top, write_timeline
from harkeras.inference._video_windows import read_info, slide
from harkeras.inference.conversion import Runtime
from harkeras.inference.decisions import name_classes
from harkeras.inference.resolve import ForeignModel, resolve_model
from harkeras.inference.streaming import ActionStream
from harkeras.people.clips import read_clip
from harkeras.people.main_person import NobodyError
from harkeras.people.pose import PoseEstimator
from harkeras.recipe import Recipe
from harkeras.video.drawing import Caption, check_caption
from harkeras.video.flow import to_gray
from harkeras.video.frame_times import check_range
from harkeras.video.images import is_image_name, read_image, resize_image
from harkeras.video.reading import VideoInfo
from harkeras.video.writing import VideoWriter

# A video that is longer than so many windows is seen in several.
_WINDOWS_TO_SPLIT = 1.5


class ActionPrediction(NamedTuple):
    """The action of a whole video: its label, the probability of it, and those of all classes."""

    label: str
    confidence: float
    probabilities: dict[str, float]


def predict_single_action(
    video: str | os.PathLike,
    model: str | os.PathLike | keras.Model,
    *,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    estimator: PoseEstimator | None = None,
    runtime: Runtime | None = None,
    **foreign: Unpack[ForeignModel],
) -> ActionPrediction:
    """Name the one action of a video.

    The model sees what it was trained on: clips of its recipe's `clip_seconds`. A video that is longer than
    one and a half of them is cut into such windows, side by side, whose probabilities are averaged; a shorter
    one is seen as one clip, its frames spread over all of it.

    Args:
        video: Path of the video.
        model: Path of a `.keras` file or of a run, one of `list_pretrained()`, or a model in memory.
        start_seconds: Start of the range to look at; the first frame by default.
        end_seconds: End of the range, not included; the end of the video by default.
        estimator: What finds joints, for a model of joints, see `harkeras.people.find_joints`; MoveNet by
            default.
        runtime: The engine that computes the model, "keras", "onnx" or "litert", see `predict_on_video`.
        **foreign: What a recipe would say, for a model without one, see `ForeignModel`.

    Returns:
        `ActionPrediction(label, confidence, probabilities)`

    Raises:
        FileNotFoundError: If there is no such video or model.
        ImportError: If the engine is not installed.
        RuntimeError: If another engine is asked for, and Keras does not run on TensorFlow.
        ValueError: If classes are missing or do not fit the model, the model takes or gives something else
            than clips and probabilities or cannot be computed by that engine, or the range lies outside the
            video.
        VideoError: If the video cannot be decoded.
    """
    resolved = resolve_model(model, runtime=runtime, **foreign)
    model, recipe, _ = resolved
    if recipe.frames == 1 and is_image_name(Path(video)):  # a clip of one frame
        span = {"start_seconds": start_seconds, "end_seconds": end_seconds}
        return _classify(read_clip(video, recipe.clip_format, estimator=estimator, **span), model, recipe)
    info = read_info(video)
    first = float(info.frame_seconds[0])
    start, end = check_range(start_seconds, end_seconds, first, info.duration_seconds)
    warn_of_assumptions(info, resolved)
    if end - start <= _WINDOWS_TO_SPLIT * recipe.clip_seconds:
        span = {"start_seconds": start, "end_seconds": end}
        return _classify(read_clip(video, recipe.clip_format, estimator=estimator, **span), model, recipe)
    count = math.ceil((end - start) / recipe.clip_seconds - 1e-6)
    stride_seconds = (end - start - recipe.clip_seconds) / (count - 1)
    if recipe.subject == "person":
        return _name(_average_people(info, model, recipe, start + stride_seconds * np.arange(count)), recipe)
    stream = ActionStream(model, recipe, stride_seconds=stride_seconds)
    windows = slide(info, stream, start, end, estimator=estimator)
    return _name(np.mean([window.probabilities for window in windows], axis=0), recipe)


def _average_people(info: VideoInfo, model: keras.Model, recipe: Recipe, starts: np.ndarray) -> np.ndarray:
    """Return the mean answer to the largest person of each window, of those in which there is somebody."""
    clips, nobody = [], None
    for start in starts.tolist():
        span = {"start_seconds": start, "end_seconds": start + recipe.clip_seconds}
        try:
            clips.append(read_clip(info.path, recipe.clip_format, **span))
        except NobodyError as error:
            nobody = error
    if not clips:
        raise NobodyError(f"{info.path}: nobody was found in it") from nobody
    return ActionStream(model, recipe).classify(np.stack(clips)).mean(axis=0)


def predict_image(
    image: str | os.PathLike | np.ndarray,
    model: str | os.PathLike | keras.Model,
    **foreign: Unpack[ForeignModel],
) -> ActionPrediction:
    """Name the action in a still image.

    Args:
        image: Path of the image, or uint8 RGB (H, W, 3), of any size: it is stretched to the model's.
        model: Path of a `.keras` file or of a run, or a model in memory, that takes images.
        **foreign: What a recipe would say, for a model without one, see `ForeignModel`; images know no
            `clip_seconds` and `streams`.

    Returns:
        `ActionPrediction(label, confidence, probabilities)`

    Raises:
        FileNotFoundError: If there is no such image or model.
        ValueError: If the array is no image, the model does not take images or give probabilities, or classes
            are missing or do not fit the model.
        VideoError: If the image cannot be decoded.
    """
    resolved = resolve_model(model, images=True, **foreign)
    model, recipe, _ = resolved
    if not isinstance(image, np.ndarray):
        image = read_image(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image must be uint8 RGB (H, W, 3), got {image.dtype} {image.shape}")
    pixels = resize_image(image, recipe.height, recipe.width, interpolation=recipe.interpolation)
    if recipe.streams == "gray":
        pixels = to_gray(pixels)[..., None]
    warn_of_pixels(pixels, resolved)
    return _classify(pixels, model, recipe)


def _classify(clip: np.ndarray, model: keras.Model, recipe: Recipe) -> ActionPrediction:
    return _name(ActionStream(model, recipe).classify(clip[None])[0], recipe)


def _name(probabilities: np.ndarray, recipe: Recipe) -> ActionPrediction:
    row = int(name_classes(probabilities, recipe.threshold_row))
    by_class = dict(zip(recipe.classes, probabilities.tolist(), strict=True))
    return ActionPrediction(recipe.classes[row], float(probabilities[row]), by_class)


def predict_on_video(
    video: str | os.PathLike,
    model: str | os.PathLike | keras.Model,
    output: str | os.PathLike | None = None,
    *,
    timeline: str | os.PathLike | None = None,
    top: int = 0,
    causal: bool = False,
    stride_seconds: float | None = None,
    smoothing_seconds: float | None = None,
    hysteresis: float = 0.1,
    min_seconds: float = 0.5,
    threshold: float = 0.5,
    estimator: PoseEstimator | None = None,
    caption: Caption = "top-left",
    runtime: Runtime | None = None,
    progress: Progress = True,
    **foreign: Unpack[ForeignModel],
) -> VideoPrediction:
    """Name the actions of a video, each moment from the windows around it.

    A window is as long as the training clips were, and its frames are spread over it as they were in
    training. In a file what comes later is known: by default all moments are decided together, which places
    the borders between actions better than a stream can. A model that has seen such borders in training
    places them better still: `dataset.for_training(joins=0.5)`. Where a label changes, the border lies midway
    between two windows. A video shorter than a window is seen as one clip.

    Args:
        video: Path of the video.
        model: Path of a `.keras` file or of a run, one of `list_pretrained()`, or a model in memory.
        output: Where to write the video with the label, its probability at the moment and a strip of the
            whole timeline on its frames, and the skeleton that a model of joints has seen, as `.mp4`; nowhere
            by default. The sound is left out.
        timeline: Where to write the timeline, as `.csv` or `.json`; nowhere by default.
        top: How many of the most probable classes the timeline lists with each segment, with their mean
            probabilities over it.
        causal: Whether to decide as a live stream does, on what lies before each moment (see `Decider`); by
            default on the whole file, by the labels whose probabilities have the largest sum.
        stride_seconds: Time from one window to the next; see `ActionStream` for the default.
        smoothing_seconds: Average the probabilities of windows over this time; 0 for none. By default over
            the length of a window, which takes in all windows that hold a moment; with `causal`, over 0.5.
        hysteresis: What a change of the label costs; 0 for nothing. It must gain as much as a lead of this
            probability does over the length of a window; with `causal`, the new label must lead by this much.
        min_seconds: A label must last this long; 0 for none.
        threshold: Under this probability the label is "unsure"; 0 for never.
        estimator: What finds joints, for a model of joints, see `harkeras.people.find_joints`; MoveNet by
            default.
        caption: Corner of the picture for the label, such as "bottom-right", out of the way of a camera's
            clock; "none" for no label.
        runtime: The engine that computes the model: "onnx" or "litert", into which it is converted first, in
            memory; that takes seconds, of large models minutes, and `harkeras.deploy.export_model` does so
            once and for all. Or "keras" alone: by default, small Keras models go into LiteRT where a file is
            long, see `ActionStream.warm_up`. A model that was exported has the engine it was exported for.
        progress: Whether to show progress bars; or a function that is told instead what is being done, and
            the share of it that is done. What it raises ends the work, and no output is written.
        **foreign: What a recipe would say, for a model without one, see `ForeignModel`.

    Returns:
        `VideoPrediction` with the segments and the probabilities of each window.

    Raises:
        FileNotFoundError: If there is no such video or model.
        ImportError: If the engine is not installed.
        RuntimeError: If another engine is asked for, and Keras does not run on TensorFlow.
        ValueError: If classes are missing or do not fit the model, the model takes or gives something else
            than clips and probabilities or cannot be computed by that engine, `timeline` is neither `.csv`
            nor `.json`, an output is the video, the model or the other output, or another argument is out of
            its range.
        VideoError: If the video cannot be decoded.
        OSError: If an output cannot be written.
    """
    info = read_info(video)
    check_outputs(video, model, output, timeline)
    check_caption(caption)
    check_top(top)
    writer = nullcontext() if output is None else VideoWriter(output, info.writing_fps)
    resolved = resolve_model(model, runtime=runtime, **foreign)
    recipe = resolved.recipe
    if recipe.subject == "person":
        raise ValueError("model looks at one person at a time: call predict_people, or pass --per-person")
    stream = ActionStream(resolved.model, recipe, stride_seconds=stride_seconds)
    settings = {"stride_seconds": stream.stride_seconds, "hysteresis": hysteresis}
    settings |= {"min_seconds": min_seconds, "threshold": threshold}
    settings = file_settings(recipe, smoothing_seconds, causal=causal, **settings)
    warn_of_assumptions(info, resolved)
    # Opened before the work, so that a path that cannot be written is known at once.
    with writer:
        start, end = float(info.frame_seconds[0]), info.duration_seconds
        joints: list | None = None if output is None else []
        windows = slide(info, stream, start, end, estimator=estimator, joints=joints, progress=progress)
        prediction = decide_file(windows, recipe, end, causal=causal, **settings)
        if timeline is not None:
            write_timeline(prediction, timeline, top=top)
        if output is not None:
            write_annotated(info, prediction, writer, caption=caption, joints=joints, progress=progress)
    return prediction
