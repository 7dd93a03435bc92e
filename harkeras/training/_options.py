"""Which values the arguments of `train` may have, as far as that can be told without clips or a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple

import keras

from harkeras.data.splits import check_seed


class _Rule(NamedTuple):
    """What an argument must be: whether a value is of the kind, whether it is in range, and each in words."""

    is_kind: Callable[[Any], bool]
    kind: str
    is_allowed: Callable[[Any], bool]
    range: str


def check_values(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Raise ValueError for the first value that no clips and no model could make right.

    Args:
        options: Arguments of `train` by name.
        defaults: The default of each; an argument whose default is None may be None.
    """
    for name, value in options.items():
        if value is None and defaults[name] is None:
            continue
        if name == "seed":
            check_seed(value)
        elif name in _RULES:
            rule = _RULES[name]
            if not rule.is_kind(value):
                raise ValueError(f"{name} must be {rule.kind}, got {value!r}")
            if not rule.is_allowed(value):
                raise ValueError(f"{name} must {rule.range}, got {value!r}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


def _is_positive(value: float) -> bool:
    return value > 0


def _always(value: Any) -> bool:
    return True


def _is_learning_rate(value: Any) -> bool:
    return (
        _is_number(value)
        or callable(value)
        or isinstance(value, keras.optimizers.schedules.LearningRateSchedule)
    )


def _is_class_weight(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_is_whole(label) for label in value) and all(_is_number(each) for each in value.values())
    return isinstance(value, str)


def _are_callbacks(value: Any) -> bool:
    return isinstance(value, Iterable) and all(isinstance(each, keras.callbacks.Callback) for each in value)


def _one_of(*choices: str) -> _Rule:
    words = f"{', '.join(map(repr, choices[:-1]))} or {choices[-1]!r}"
    return _Rule(lambda value: value in choices, words, _always, "")


_COUNT = _Rule(_is_whole, "a whole number", lambda value: value >= 1, "be at least 1")

_RULES = {
    "epochs": _COUNT,
    "batch_size": _COUNT,
    "patience": _COUNT,
    "clip_seconds": _Rule(_is_number, "a positive number", _is_positive, "be a positive number"),
    "streams": _one_of("rgb", "gray", "flow", "rgb+flow", "pose"),
    "flow_method": _one_of("dis", "farneback", "tvl1"),
    "validation_split": _Rule(
        _is_number, "a number", lambda value: 0 <= value < 1, "be 0 or lie between 0 and 1"
    ),
    "learning_rate": _Rule(
        _is_learning_rate,
        "a finite number or a schedule",
        lambda value: not isinstance(value, Real) or value > 0,
        "be above 0",
    ),
    "optimizer": _Rule(
        lambda value: isinstance(value, keras.optimizers.Optimizer), "a Keras optimizer", _always, ""
    ),
    "loss": _one_of("cross_entropy", "focal"),
    "label_smoothing": _Rule(
        _is_number, "a number", lambda value: 0 <= value < 1, "lie in 0 to 1, 1 excluded"
    ),
    "class_weight": _Rule(
        _is_class_weight,
        "'balanced' or a number for each label",
        lambda value: value == "balanced" if isinstance(value, str) else min(value.values(), default=0) >= 0,
        "be 'balanced' or numbers that are not negative",
    ),
    "sampling": _one_of("natural", "balanced"),
    "mixup": _Rule(_is_number, "a finite number", lambda value: value >= 0, "not be negative"),
    "augment": _Rule(callable, "a function of clips and a seed", _always, ""),
    "callbacks": _Rule(_are_callbacks, "a sequence of Keras callbacks", _always, ""),
}
