"""What nobody passed for a model without a recipe: tried out on the video at hand, and told in a warning."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Set
from itertools import product

import keras
import numpy as np

from harkeras.inference.resolve import ResolvedModel
from harkeras.models.blocks import all_layers
from harkeras.people.clips import read_clip
from harkeras.recipe import Recipe
from harkeras.video.reading import VideoInfo

_CLIPS = 3  # of the video, spread over it


def warn_of_assumptions(info: VideoInfo, resolved: ResolvedModel) -> None:
    """Warn where an option that was not passed would change what a model names in this video."""
    recipe = resolved.recipe
    first, end = float(info.frame_seconds[0]), info.duration_seconds
    length = min(recipe.clip_seconds, end - first)
    starts = np.linspace(first, end - length, _CLIPS if end - first > length else 1)

    def read_clips() -> np.ndarray:
        spans = [{"start_seconds": start, "end_seconds": start + length} for start in starts.tolist()]
        return np.stack([read_clip(info.path, recipe.clip_format, **span) for span in spans])

    lines = []
    if "clip_seconds" in resolved.assumed and len(starts) > 1:
        lines.append(f"clip_seconds (its clips are taken to be {recipe.clip_seconds:g} s long)")
    _warn(lines + _compare_pixels(read_clips, resolved))


def warn_of_pixels(image: np.ndarray, resolved: ResolvedModel) -> None:
    """Warn where other pixels would change what a model names in an image uint8 (H, W, C) in its size."""
    _warn(_compare_pixels(lambda: image[None], resolved))


def _warn(lines: list[str]) -> None:
    if lines:
        warnings.warn(
            f"the model has no recipe, and these options were not passed: {'. '.join(lines)}. Pass what "
            "it was trained on: that a model is sure of a wrong answer is common",
            stacklevel=4,
        )


def _compare_pixels(read_clips: Callable[[], np.ndarray], resolved: ResolvedModel) -> list[str]:
    """Try the kinds of pixels that were left open on some clips, and describe what differs.

    That the model is surer of one does not prove it right: a network for pixels in [0, 1] that sees 0-255 is
    sure of everything.
    """
    model, recipe, assumed = resolved
    kinds = {"rgb": {"normalize", "channel_order"}, "gray": {"normalize"}}.get(recipe.streams, set())
    open_options = assumed & kinds
    rescaling = keras.layers.Rescaling, keras.layers.Normalization
    if any(isinstance(layer, rescaling) for layer in all_layers(model)):  # then it expects 0-255
        open_options -= {"normalize"}
    if not open_options:
        return []
    clips = read_clips().astype(np.float32)
    scales = (False, True) if "normalize" in open_options else (recipe.normalize,)
    orders = ("rgb", "bgr") if "channel_order" in open_options else (recipe.channel_order,)
    answers = {}
    for normalize, order in product(scales, orders):
        pixels = clips[..., ::-1] if order == "bgr" else clips
        pixels = pixels / 255 if normalize else pixels
        outputs = [keras.ops.convert_to_numpy(model(clip[None], training=False))[0] for clip in pixels]
        answers[normalize, order] = np.stack(outputs)
    return _describe(answers, recipe, open_options)


def _describe(
    answers: dict[tuple[bool, str], np.ndarray], recipe: Recipe, open_options: Set[str]
) -> list[str]:
    """Describe what the model names with each kind of pixels, if that differs.

    Args:
        answers: (normalize, channel order) -> probabilities (clips, classes).
        recipe: What the model is shown.
        open_options: Which of the two was not passed.
    """
    usual = answers[recipe.normalize, recipe.channel_order]
    if all(np.abs(probabilities - usual).max() < 0.01 for probabilities in answers.values()):
        return []
    surest = max(answers, key=lambda kind: answers[kind].max(axis=1).mean())
    names = sorted(open_options, reverse=True)
    parts = []
    for (normalize, order), probabilities in answers.items():
        labels = dict.fromkeys(recipe.classes[row] for row in probabilities.argmax(axis=1))
        words = {"normalize": f"normalize={normalize}", "channel_order": f"channel_order={order!r}"}
        kind = ", ".join(words[name] for name in names)
        note = " (as taken)" if probabilities is usual else ""
        note += " (surest)" if (normalize, order) == surest else ""
        parts.append(f"{kind} names {'/'.join(labels)} at {probabilities.max(axis=1).mean():.2f}{note}")
    return [f"{' and '.join(names)}; on this input, {'; '.join(parts)}"]
