"""What has a model learned? Whether it uses motion, how early it knows, and where it looks."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from tqdm.auto import tqdm

from harkeras.base.keras_state import require_tensorflow
from harkeras.base.plot_style import styled
from harkeras.data.batches import ClipDataset
from harkeras.data.datasets import Dataset
from harkeras.evaluation._reordering import ORDERS, reorder
from harkeras.evaluation.scores import name_clips
from harkeras.models.graph import Call, list_calls
from harkeras.people.clips import read_clip
from harkeras.people.main_person import NobodyError
from harkeras.recipe import read_channels
from harkeras.training.scoring import prepare_clips, unpack_clips
from harkeras.video.flow import flow_to_rgb, from_uint8
from harkeras.video.reading import VideoInfo


@dataclass(frozen=True)
class MotionReport:
    """Accuracy with the frames of each clip in order, shuffled, reversed, and frozen to the middle one."""

    in_order: float
    shuffled: float
    reversed: float
    frozen: float

    def __str__(self) -> str:
        """Return the report as text."""
        lines = [f"{name.replace('_', ' '):<9} {value:.3f}" for name, value in vars(self).items()]
        return "\n".join(["frames    accuracy", *lines])


def motion_report(
    model: keras.Model,
    dataset: Dataset,
    *,
    seed: int = 27,
    batch_size: int = 16,
) -> MotionReport:
    """Score a model with the frames of each clip in four orders: does it use motion, or only appearance?

    If the accuracy with frozen frames is that with frames in order, the model recognizes places and poses; if
    shuffling does not hurt, it does not mind the order. Actions that are each other's reverse should be named
    so when played backwards, which costs accuracy: that is a good sign.

    Flow follows the frames. Played backwards, each motion is turned round, and a frame carries those that
    lead up to it then. Frozen, nothing moves. Shuffled, the fields change places, but each still shows how
    something moved: what a model reads from one field alone, such as a direction, is not lost by it.

    Args:
        model: The model.
        dataset: Clips (N, T, H, W, C), or joints (N, T, K, D), that the model was not trained on; they are
            read batch by batch.
        seed: Seed of the shuffling.
        batch_size: Clips per step.

    Raises:
        ValueError: If clips, labels, classes and model do not fit together, or the clips are pictures, which
            have no order.
    """
    if isinstance(dataset, ClipDataset):
        raise ValueError("dataset must be a Dataset, got a ClipDataset: read its clips first")
    _, features, labels, _ = unpack_clips(model, dataset)
    recipe, clip_shape = getattr(model, "recipe", None), features.shape[1:]
    streams = dataset.check_streams(None if recipe is None else recipe.streams)
    if len(clip_shape) != (3 if streams == "pose" else 4):
        raise ValueError(f"dataset must hold clips of streams {streams!r}, got {clip_shape} each")
    hits = dict.fromkeys(ORDERS, 0)
    for start in range(0, len(labels), batch_size):
        clips = np.asarray(features[start : start + batch_size])
        for order in ORDERS:
            shown = [
                reorder(clip, order, streams, np.random.default_rng([seed, start + row]))
                for row, clip in enumerate(clips)
            ]
            named = name_clips(model, np.stack(shown), batch_size=batch_size)[1]
            hits[order] += int((named == labels[start : start + batch_size]).sum())
    return MotionReport(**{order: count / len(labels) for order, count in hits.items()})


def early_recognition(
    model: keras.Model,
    video_paths: Sequence[str | os.PathLike],
    labels: np.ndarray,
    *,
    shares: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
) -> tuple[np.ndarray, np.ndarray]:
    """Score a model when only the first part of each clip has been seen.

    The model's frames are spread over that part, as over a shorter clip.

    Args:
        model: A model with a recipe.
        video_paths: Files of clips that the model was not trained on.
        labels: int (N,), their classes.
        shares: How much of each clip is seen, in (0, 1].

    Returns:
        The shares, and the accuracy at each, float (shares,).

    Raises:
        ValueError: If the model has no recipe, a share is out of range, or lengths differ.
    """
    recipe = getattr(model, "recipe", None)
    if recipe is None:
        raise ValueError("model must have a recipe: pass one that went through train() or load_model()")
    if len(video_paths) != len(labels) or not len(labels):
        raise ValueError(f"labels must be one per video, got {len(labels)} and {len(video_paths)} videos")
    shares = np.asarray(shares, float)
    if not ((shares > 0) & (shares <= 1)).all():
        raise ValueError(f"shares must lie over 0 and up to 1, got {shares.tolist()}")
    hits = np.zeros((len(labels), len(shares)), bool)
    for row, path in enumerate(tqdm(video_paths, "Reading parts of clips", unit="clip")):
        duration = VideoInfo.read(path).duration_seconds
        ends = [None if share == 1 else share * duration for share in shares]
        parts = {}
        for column, end in enumerate(ends):
            with suppress(NobodyError):  # so early, nothing is recognized
                parts[column] = read_clip(path, recipe.clip_format, end_seconds=end)
        if parts:
            hits[row, list(parts)] = name_clips(model, np.stack([*parts.values()]))[1] == labels[row]
    return shares, hits.mean(axis=0)


@styled
def plot_early_recognition(shares: np.ndarray, accuracies: np.ndarray, chance: float | None = None) -> Figure:
    """Draw the accuracy against how much of the action has been seen; what `early_recognition` returns."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(100 * np.asarray(shares), accuracies, "o-", label="model")
    if chance is not None:
        axes.axhline(chance, linestyle="--", color="gray", label="chance")
    axes.set(title="Early recognition", xlabel="seen of each clip (%)", ylabel="accuracy", ylim=(0, 1.02))
    axes.legend(loc="lower right")
    return figure


def grad_cam(
    model: keras.Model, clip: np.ndarray, *, class_row: int | None = None, layer: str | None = None
) -> np.ndarray:
    """Find where and when a convolutional model looks: Grad-CAM over space and time.

    Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV
    2017. The maps of a layer are weighted by how much their mean raises the class, added up, and what counts
    against it is left out. Of a model whose frames go through a network of images one by one, such as LRCN,
    the maps are those of that network.

    Args:
        model: A model with maps (B, T', H', W', F), or with a network of images inside that has maps.
        clip: One clip (T, H, W, C).
        class_row: Index of the class to explain; the one that the model names by default.
        layer: Name of the layer to look at; the last one with such maps by default, larger than one point.

    Returns:
        float32 (T, H, W) in [0, 1].

    Raises:
        ValueError: If the clip does not fit the model, or there is no such layer.
    """
    if clip.shape != model.input_shape[1:]:
        raise ValueError(f"clip must be {model.input_shape[1:]}, got {clip.shape}")
    both = _with_maps(model, layer)
    require_tensorflow("grad_cam")
    inputs = tf.cast(prepare_clips(model, clip[None]), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(inputs)  # of a frozen network no weight is watched
        maps, probabilities = both(inputs)
        row = int(np.argmax(probabilities[0])) if class_row is None else class_row
        # The logarithm, because a probability near 1 has no slope left.
        score = tf.math.log(probabilities[0, row] + 1e-9)
    gradient = tape.gradient(score, maps)
    if len(maps.shape) == 4:  # of single frames
        maps, gradient = maps[None], gradient[None]
    weights = tf.reduce_mean(gradient, axis=(1, 2, 3), keepdims=True)
    heat = tf.nn.relu(tf.reduce_sum(weights * maps, axis=-1))[0].numpy()  # (T', H', W')
    if heat.max() > 0:
        heat = heat / heat.max()
    return _stretch(heat, clip.shape[:3])


def _with_maps(model: keras.Model, name: str | None) -> Callable:
    """Return a function from a clip in a batch to maps and probabilities.

    The maps are (B, T', H', W', F), or, of a network that sees single frames, (T, H', W', F).
    """
    maps = _last_maps(model, 5) if name is None else _named_layer(model, name).output
    if maps is not None:
        return partial(keras.Model(model.inputs, [maps, model.output]), training=False)
    for each in list_calls(model):
        images = getattr(each.operation, "layer", each.operation)  # what is inside of a `TimeDistributed`
        if isinstance(images, keras.Model) and len(images.input_shape) == 4:
            maps = _last_maps(images, 4)
            if maps is not None:
                return _frame_by_frame(model, each, keras.Model(images.inputs, [maps, images.output]))
    raise ValueError(
        f"model must have layers that give maps (B, T, H, W, F) of more than one point, got {_names(model)}"
    )


def _frame_by_frame(model: keras.Model, inside: Call, both: keras.Model) -> Callable:
    """Return the function for a clip whose frames go through a network, which gives maps and features."""
    before, after = keras.Model(model.inputs, inside.inputs[0]), keras.Model(inside.outputs[0], model.output)

    def call(clips: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        frames = before(clips, training=False)  # (1, T, H, W, C), or (T, H, W, C)
        alone = len(frames.shape) == 4
        maps, features = both(frames if alone else frames[0], training=False)
        return maps, after(features if alone else features[None], training=False)

    return call


def _last_maps(model: keras.Model, rank: int) -> keras.KerasTensor | None:
    """Return the last output behind weights that has this rank, and is not just a point; None if none."""
    calls = list_calls(model)
    learned = [row for row, call in enumerate(calls) if getattr(call.operation, "weights", ())]
    for call in reversed(calls[learned[0] :] if learned else []):
        for output in reversed(call.outputs):
            shape = output.shape
            if len(shape) == rank and None not in shape[1:] and shape[-3] * shape[-2] > 1:
                return output
    return None


def _named_layer(model: keras.Model, name: str) -> keras.Layer:
    for each in model.layers:
        if each.name == name:
            if len(each.output.shape) != 5:
                raise ValueError(f"layer must give maps (B, T, H, W, F), {name!r} gives {each.output.shape}")
            return each
    raise ValueError(f"layer must be one that gives maps (B, T, H, W, F), of {_names(model)}; got {name!r}")


def _names(model: keras.Model) -> str:
    return ", ".join(each.name for each in model.layers)


def _stretch(heat: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Stretch maps (T', H', W') to (T, H, W), smoothly."""
    frames, height, width = shape
    times = len(heat)
    still = tf.image.resize(heat[..., None], (height, width), method="bilinear")[..., 0].numpy()  # (T', H, W)
    flat = tf.image.resize(still.reshape(1, times, height * width, 1), (frames, height * width))
    return flat.numpy().reshape(frames, height, width)


@styled
def plot_grad_cam(clip: np.ndarray, heat: np.ndarray, title: str = "", *, count: int = 6) -> Figure:
    """Draw the heat of `grad_cam` over some frames of a clip.

    Args:
        clip: uint8 (T, H, W, C): frames in color or gray, which are drawn; of flow alone, the latest field.
        heat: float (T, H, W) in [0, 1].
        title: Title of the plot.
        count: Number of frames, spread over the clip.

    Raises:
        ValueError: If clip and heat do not fit.
    """
    if heat.shape != clip.shape[:3]:
        raise ValueError(f"heat must be {clip.shape[:3]}, got {heat.shape}")
    shown = np.unique(np.linspace(0, len(clip) - 1, count).round().astype(int))
    pictures = _pictures(clip)
    figure = Figure(figsize=(2 * len(shown) + 0.8, 4), layout="constrained")
    grid = figure.subplots(2, len(shown), squeeze=False)
    for column, frame in zip(grid.T, shown, strict=True):
        for axes in column:
            axes.imshow(pictures[frame])
            axes.set_axis_off()
        drawn = column[1].imshow(heat[frame], cmap="inferno", alpha=0.6, vmin=0, vmax=1)
        column[0].set_title(f"frame {frame + 1}", fontsize=12)
    figure.colorbar(drawn, ax=grid[:, -1], label="counts for the class", fraction=0.1)
    figure.suptitle(title)
    return figure


def _pictures(clip: np.ndarray) -> np.ndarray:
    """Return what can be looked at of a clip, uint8 RGB (T, H, W, 3)."""
    streams, _ = read_channels(clip.shape[-1])
    if streams == "gray":
        return clip.repeat(3, axis=-1)
    if streams != "flow":
        return clip[..., :3]
    fields = from_uint8(clip[..., -2:])
    fastest = max(float(np.linalg.norm(fields, axis=-1).max()), 1e-6)
    return np.stack([flow_to_rgb(field, fastest) for field in fields])
