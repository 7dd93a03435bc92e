"""What a model without a recipe was not said to expect: tried out on the video at hand, and told."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Set
from itertools import product

import keras
import numpy as np

from harkeras.flow import read_clip
from harkeras.recipe import Recipe
from harkeras.video import VideoInfo

_CLIPS = 3  # of the video, spread over it


def warn_of_assumptions(info: VideoInfo, model: keras.Model, recipe: Recipe, assumed: Set[str]) -> None:
    """Warn where an option that was not passed would change what the model says of this video.

    Both kinds of pixels are tried on a few windows. That the model is surer of one does not prove it right: a
    network for pixels in [0, 1] that sees 0-255 is sure of everything.

    Args:
        info: The video.
        model: The model.
        recipe: What it is shown.
        assumed: Names of the options that were not passed, for a model without a recipe.
    """
    lines = []
    if "clip_seconds" in assumed and info.duration_seconds - info.frame_seconds[0] > recipe.clip_seconds:
        lines.append(f"clip_seconds (its clips are taken to be {recipe.clip_seconds:g} s long)")
    open_pixels = {"normalize", "channel_order"} & assumed if recipe.streams == "rgb" else set()
    if _rescales(model):
        open_pixels -= {"normalize"}
    if open_pixels:
        answers = dict(_try_pixels(info, model, recipe, open_pixels))
        lines += _describe(answers, recipe, open_pixels)
    if lines:
        warnings.warn(
            f"the model has no recipe, and these options were not passed: {'. '.join(lines)}. Pass what "
            "it was trained on: that a model is sure of a wrong answer is common",
            stacklevel=3,
        )


def _try_pixels(
    info: VideoInfo, model: keras.Model, recipe: Recipe, open_pixels: Set[str]
) -> Iterator[tuple[tuple[bool, str], np.ndarray]]:
    """Yield each kind of pixels, normalize and channel_order, and what the model says (clips, classes)."""
    first, end = float(info.frame_seconds[0]), info.duration_seconds
    length = min(recipe.clip_seconds, end - first)
    starts = np.linspace(first, end - length, _CLIPS if end - first > length else 1)
    spans = [{"start_seconds": start, "end_seconds": start + length} for start in starts.tolist()]
    clips = [read_clip(info.path, recipe.clip_shape, interpolation=recipe.interpolation, **s) for s in spans]
    clips = np.stack(clips).astype(np.float32)
    scales = (False, True) if "normalize" in open_pixels else (recipe.normalize,)
    orders = ("rgb", "bgr") if "channel_order" in open_pixels else (recipe.channel_order,)
    for normalize, order in product(scales, orders):
        pixels = clips[..., ::-1] if order == "bgr" else clips
        pixels = pixels / 255 if normalize else pixels
        outputs = [keras.ops.convert_to_numpy(model(clip[None], training=False))[0] for clip in pixels]
        yield (normalize, order), np.stack(outputs)


def _describe(
    answers: dict[tuple[bool, str], np.ndarray], recipe: Recipe, open_pixels: Set[str]
) -> list[str]:
    """Say what the model makes of each kind of pixels, if that differs."""
    usual = answers[recipe.normalize, recipe.channel_order]
    if all(np.abs(values - usual).max() < 0.01 for values in answers.values()):
        return []
    surest = max(answers, key=lambda kind: answers[kind].max(axis=1).mean())
    parts = []
    for (normalize, order), values in answers.items():
        names = dict.fromkeys(recipe.classes[row] for row in values.argmax(axis=1))
        words = {"normalize": f"normalize={normalize}", "channel_order": f"channel_order={order!r}"}
        kind = ", ".join(words[name] for name in sorted(open_pixels, reverse=True))
        note = " (as taken)" if values is usual else ""
        note += " (surest)" if (normalize, order) == surest else ""
        parts.append(f"{kind} names {'/'.join(names)} at {values.max(axis=1).mean():.2f}{note}")
    names = " and ".join(sorted(open_pixels, reverse=True))
    return [f"{names}; on this video, {'; '.join(parts)}"]


def _rescales(layer: keras.layers.Layer) -> bool:
    """Whether a model, or a layer of it, brings pixels to its own range by itself: it then expects 0-255."""
    if isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization):
        return True
    inner = [*getattr(layer, "layers", []), *([layer.layer] if hasattr(layer, "layer") else [])]
    return any(map(_rescales, inner))
