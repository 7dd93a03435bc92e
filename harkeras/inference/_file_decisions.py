"""How the windows of a file are decided: all together, or one after the other as in a stream."""

from __future__ import annotations

from harkeras.inference._timeline import VideoPrediction, decide
from harkeras.inference.decisions import MAX_MEMORY_SECONDS, Decider, Window, check_settings
from harkeras.inference.whole_file import decide_whole
from harkeras.recipe import Recipe


def file_settings(
    recipe: Recipe, smoothing_seconds: float | None, *, causal: bool, **settings: float
) -> dict[str, float]:
    """Complete the settings of a decision, and raise ValueError if one is out of its range.

    Args:
        recipe: Of the model.
        smoothing_seconds: By default the length of a window, or 0.5 as in a stream.
        causal: Whether to decide as a stream.
        **settings: `stride_seconds`, `hysteresis`, `min_seconds` and `threshold`, see `Decider`.
    """
    if smoothing_seconds is None:
        smoothing_seconds = 0.5 if causal else min(recipe.clip_seconds, MAX_MEMORY_SECONDS)
    settings["smoothing_seconds"] = smoothing_seconds
    check_settings(**settings)
    return settings


def decide_file(
    windows: list[Window], recipe: Recipe, end_seconds: float, *, causal: bool, **settings: float
) -> VideoPrediction:
    """Decide all moments of a file by the settings that `file_settings` gave."""
    if causal:
        decider = Decider(recipe.classes, **settings, thresholds=recipe.thresholds)
        return decide(decider, windows, end_seconds)
    return decide_whole(windows, recipe, end_seconds, **settings)
