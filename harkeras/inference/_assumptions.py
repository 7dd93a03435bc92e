"""What a model without a recipe was not said to expect: tried out on the video at hand, and told."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Set
from itertools import product

import keras
import numpy as np

from harkeras.inference._foreign_models import all_layers
from harkeras.recipe import Recipe
from harkeras.video.flow import read_clip
from harkeras.video.reading import VideoInfo

_CLIPS = 3  # of the video, spread over it


def warn_of_assumptions(info: VideoInfo, model: keras.Model, recipe: Recipe, assumed: Set[str]) -> None:
    """Warn where an option that was not passed would change what the model says of this video.

    Args:
        info: The video.
        model: The model.
        recipe: What it is shown.
        assumed: Names of the options that were not passed, for a model without a recipe.
    """
    first, end = float(info.frame_seconds[0]), info.duration_seconds
    length = min(recipe.clip_seconds, end - first)
    starts = np.linspace(first, end - length, _CLIPS if end - first > length else 1)

    def read_clips() -> np.ndarray:
        options = {"flow_method": recipe.flow_method, "interpolation": recipe.interpolation}
        spans = [{"start_seconds": start, "end_seconds": start + length} for start in starts.tolist()]
        return np.stack([read_clip(info.path, recipe.clip_shape, **options, **span) for span in spans])

    lines = []
    if "clip_seconds" in assumed and len(starts) > 1:
        lines.append(f"clip_seconds (its clips are taken to be {recipe.clip_seconds:g} s long)")
    _warn(lines + _compare_pixels(read_clips, model, recipe, assumed))


def warn_of_pixels(image: np.ndarray, model: keras.Model, recipe: Recipe, assumed: Set[str]) -> None:
    """Warn where other pixels would change what a model says of an image uint8 (H, W, C) in its size."""
    _warn(_compare_pixels(lambda: image[None], model, recipe, assumed))


def _warn(lines: list[str]) -> None:
    if lines:
        warnings.warn(
            f"the model has no recipe, and these options were not passed: {'. '.join(lines)}. Pass what "
            "it was trained on: that a model is sure of a wrong answer is common",
            stacklevel=4,
        )


def _compare_pixels(
    read_clips: Callable[[], np.ndarray], model: keras.Model, recipe: Recipe, assumed: Set[str]
) -> list[str]:
    """Try the kinds of pixels that were left open on some clips, and say what differs.

    That the model is surer of one does not prove it right: a network for pixels in [0, 1] that sees 0-255 is
    sure of everything.
    """
    open_pixels = assumed & {"rgb": {"normalize", "channel_order"}, "gray": {"normalize"}}.get(
        recipe.streams, set()
    )
    rescaling = keras.layers.Rescaling, keras.layers.Normalization
    if any(isinstance(layer, rescaling) for layer in all_layers(model)):  # then it expects 0-255
        open_pixels -= {"normalize"}
    if not open_pixels:
        return []
    clips = read_clips().astype(np.float32)
    scales = (False, True) if "normalize" in open_pixels else (recipe.normalize,)
    orders = ("rgb", "bgr") if "channel_order" in open_pixels else (recipe.channel_order,)
    answers = {}
    for normalize, order in product(scales, orders):
        pixels = clips[..., ::-1] if order == "bgr" else clips
        pixels = pixels / 255 if normalize else pixels
        outputs = [keras.ops.convert_to_numpy(model(clip[None], training=False))[0] for clip in pixels]
        answers[normalize, order] = np.stack(outputs)
    return _describe(answers, recipe, open_pixels)


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
    return [f"{names}; on this input, {'; '.join(parts)}"]
