"""How fast a model follows a video, where the time goes, and what to give up where that is too slow."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from tqdm.auto import tqdm

from harkeras.data.samples import create_sample_video
from harkeras.inference.decisions import Decider
from harkeras.inference.per_frame import split_per_frame
from harkeras.inference.resolve import resolve_model
from harkeras.inference.streaming import ActionStream
from harkeras.models.movinet import is_stream_model
from harkeras.people.clips import create_view
from harkeras.recipe import Recipe
from harkeras.transfer.features import frame_encoder
from harkeras.video.reading import VideoInfo, iter_decoded

STAGES = ("decoding", "preprocessing", "inference", "decision")
_SMALL_BACKBONE = "mobilenet_v2_0.35"


class Alternative(NamedTuple):
    """What one might give up, and how many frames per second that would sustain."""

    change: str
    fps: float


@dataclass(frozen=True, eq=False)
class RealTimeReport:
    """Where the time goes when a model follows a video frame by frame.

    Attributes:
        source: The video, in words.
        model: The model and its windows, in words.
        milliseconds: float (N, 4), what each frame took in each of `STAGES`.
        target_fps: Frames per second that are wanted.
        alternatives: What could be given up; empty where the target is reached.
    """

    source: str
    model: str
    milliseconds: np.ndarray
    target_fps: float
    alternatives: tuple[Alternative, ...]

    @property
    def fps(self) -> float:
        """Frames per second that can be sustained: all stages one after the other."""
        return float(1000 / self.milliseconds.sum(axis=1).mean())

    def __str__(self) -> str:
        """Return the report as a table."""
        rows = dict(zip(STAGES, self.milliseconds.T, strict=True))
        rows["together"] = self.milliseconds.sum(axis=1)
        lines = [f"{self.model}; {self.source}", "", f"{'ms per frame':<16}mean  median     p95     p99"]
        for name, values in rows.items():
            numbers = [values.mean(), *np.quantile(values, [0.5, 0.95, 0.99])]
            lines.append(f"{name:<12}" + "".join(f"{number:8.2f}" for number in numbers))
        lines += ["", f"It sustains {self.fps:.0f} frames per second."]
        if self.alternatives:
            lines += [
                "",
                f"To come nearer to {self.target_fps:.0f} frames per second (measured with random weights,",
                "which take as long; a smaller model must be trained, and may tell less):",
            ]
            width = max(len(each.change) for each in self.alternatives)
            lines += [
                f"  {each.change:<{width}} {each.fps:8.0f} frames per second, {each.fps / self.fps:.1f} x"
                for each in self.alternatives
            ]
        return "\n".join(lines)


def bench_model(
    model: str | os.PathLike | keras.Model,
    source: str | os.PathLike | None = None,
    *,
    seconds: float = 20.0,
    stride_seconds: float | None = None,
    target_fps: float = 30.0,
    progress: bool = True,
) -> RealTimeReport:
    """Measure how fast a model follows a video, every frame of it, as it would follow a camera.

    Where the target is not reached, it is measured what a larger stride, smaller frames, fewer frames or a
    smaller backbone would gain, as far as the model can be built so.

    Args:
        model: Path of a `.keras` file or of a run, one of `list_pretrained()`, or a model in memory, with its
            recipe.
        source: A video file; by default one of 320 x 240 pixels that is rendered for it.
        seconds: How much of the video is used, at most.
        stride_seconds: Time from one window to the next; see `ActionStream` for the default.
        target_fps: Frames per second that are wanted.
        progress: Whether to show progress bars.

    Raises:
        FileNotFoundError: If there is no such model or video.
        ValueError: If `seconds` or `target_fps` is not positive, or the model cannot be used.
        VideoError: If the video cannot be decoded.
    """
    for name, value in (("seconds", seconds), ("target_fps", target_fps)):
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
    model, recipe, _ = resolve_model(model)
    with tempfile.TemporaryDirectory() as folder:
        if source is None:
            source = Path(folder) / "rendered.mp4"
            create_sample_video(source)
        info = VideoInfo.read(source)
        stream = ActionStream(model, recipe, stride_seconds=stride_seconds)
        measured = _measure(model, stream, info, seconds, "Measuring" if progress else None)
        fps, alternatives = 1000 / measured.sum(axis=1).mean(), []
        if fps < target_fps:
            for change, other in _alternatives(model, stream):
                times = _measure(other[0], other[1], info, seconds, change if progress else None)
                alternatives.append(Alternative(change, float(1000 / times.sum(axis=1).mean())))
    size = " x ".join(map(str, recipe.clip_shape))
    words = f"{model.name} ({size}), windows of {recipe.clip_seconds:g} s every {stream.stride_seconds:.2g} s"
    shown = f"{len(measured)} frames of {info.path.name}, {info.width} x {info.height} pixels"
    return RealTimeReport(shown, words, measured, target_fps, tuple(alternatives))


def _measure(
    model: keras.Model, stream: ActionStream, info: VideoInfo, seconds: float, bar: str | None
) -> np.ndarray:
    """Send the frames of a video through a stream, and return what each took: float (N, 4), in ms."""
    recipe = stream.recipe
    _warm_up(model, stream)
    view, decider = create_view(recipe.clip_format), Decider(recipe.classes, stream.stride_seconds)
    end = min(float(info.frame_seconds[0]) + seconds, info.duration_seconds)
    times = []
    frames = iter_decoded(info.path, end_seconds=end)
    with tqdm(desc=bar, unit="frame", leave=None, disable=bar is None) as progress:
        marks = [time.perf_counter()]
        for index, frame in enumerate(frames):
            marks.append(time.perf_counter())
            image = view.read(frame, index, True)
            marks.append(time.perf_counter())
            windows = stream.push(image[None], [frame.seconds])
            marks.append(time.perf_counter())
            for window in windows:
                decider.update(window)
            marks.append(time.perf_counter())
            times.append(np.diff(marks))
            progress.update()
            marks = [time.perf_counter()]
    return 1000 * np.array(times)


def _warm_up(model: keras.Model, stream: ActionStream) -> None:
    """Compile what a stream needs, so that no frame waits for it."""
    recipe = stream.recipe
    other = ActionStream(model, recipe, stride_seconds=stream.stride_seconds)
    black = np.zeros(recipe.clip_shape, np.float32 if recipe.streams == "pose" else np.uint8)
    step = recipe.clip_seconds / recipe.frames
    for i, image in enumerate([*black, *black]):
        other.push(image[None], [i * step])
    other.finish(2 * recipe.clip_seconds)


def _alternatives(
    model: keras.Model, stream: ActionStream
) -> Iterator[tuple[str, tuple[keras.Model, ActionStream]]]:
    """Yield what can be given up, in words, and the model and the stream that do without it."""
    recipe = stream.recipe
    for factor in (2, 4):
        stride = factor * stream.stride_seconds
        change = f"a window every {stride:.2g} s"
        yield change, (model, ActionStream(model, recipe, stride_seconds=stride))
    for change, smaller, its_recipe in _smaller_models(model, recipe):
        yield change, (smaller, ActionStream(smaller, its_recipe, stride_seconds=stream.stride_seconds))


def _smaller_models(model: keras.Model, recipe: Recipe) -> Iterator[tuple[str, keras.Model, Recipe]]:
    """Yield models of the same layers for smaller clips, with random weights, as far as they can be built."""
    if recipe.streams == "pose" or is_stream_model(model):
        return
    shapes = {}
    for share in (0.75, 0.5):
        height, width = (max(round(share * size), 1) for size in (recipe.height, recipe.width))
        shapes[f"frames of {height} x {width} pixels"] = {"height": height, "width": width}
    if recipe.frames > 1:
        shapes[f"{recipe.frames // 2} frames per window"] = {"frames": recipe.frames // 2}
    for change, sizes in shapes.items():
        smaller = replace(recipe, **sizes)
        built = _rebuild(model, smaller.clip_shape)
        if built is not None:
            yield change, built, smaller
    parts = split_per_frame(model)
    frame = recipe.clip_shape[1:]
    if parts is not None and recipe.streams == "rgb" and min(frame[:2]) >= 32:
        encoder = frame_encoder(_SMALL_BACKBONE, frame, weights=None)
        if encoder.count_params() < parts[0].count_params():
            built = _rebuild(model, recipe.clip_shape, encoder)
            if built is not None:
                yield f"the backbone {_SMALL_BACKBONE}", built, recipe


def _rebuild(
    model: keras.Model, clip_shape: tuple[int, ...], encoder: keras.Model | None = None
) -> keras.Model | None:
    """Build the layers of a model anew for clips of another shape; None where they insist on theirs."""
    clip = keras.Input(clip_shape)
    try:
        parts = split_per_frame(model)
        if parts is None:
            return keras.Model(clip, _copy(model, clip.shape)(clip), name=model.name)
        encoder = _copy(parts[0], (None, *clip_shape[1:])) if encoder is None else encoder
        features = keras.layers.TimeDistributed(encoder)(clip)
        return keras.Model(clip, _copy(parts[1], features.shape)(features), name=model.name)
    except (ValueError, TypeError):  # of a reshape to a fixed size, of a clip that its pools use up
        return None


def _copy(model: keras.Model, shape: tuple[int | None, ...]) -> keras.Model:
    """Build the layers of a model, and of the models in it, anew for inputs of another shape."""

    def call(layer, *args, **options):
        if isinstance(layer, keras.Model):
            layer = _copy(layer, args[0].shape)
        return layer(*args, **options)

    def copy_layer(layer):
        return layer if isinstance(layer, keras.Model) else layer.from_config(layer.get_config())

    options = {"clone_function": copy_layer, "call_function": call}
    if isinstance(model, keras.Sequential):
        options = {}
    return keras.models.clone_model(model, input_tensors=keras.Input(shape[1:]), **options)
