"""The table of builders, so that a model can be named in a command or a configuration."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import keras

from harkeras.base.keras_state import untouched

Builder = TypeVar("Builder", bound=Callable[..., keras.Model])


class _Entry(NamedTuple):
    """A builder, the source of its model in short, and whether that takes images instead of clips."""

    builder: Callable[..., keras.Model]
    paper: str
    images: bool


_ENTRIES: dict[str, _Entry] = {}


def register(name: str, *, paper: str, images: bool = False) -> Callable[[Builder], Builder]:
    """Register a builder under `name`; used as a decorator.

    Args:
        name: What `create_model` will know it by.
        paper: Its source in short, as "Donahue et al., CVPR 2015".
        images: Whether its models take images instead of clips.
    """

    def add(builder: Builder) -> Builder:
        if name in _ENTRIES:
            raise ValueError(f"a model named {name!r} is registered already")
        _ENTRIES[name] = _Entry(builder, paper, images)
        return builder

    return add


def list_models(kind: Literal["clips", "images"] = "clips") -> list[str]:
    """Return the names of the models of clips, or of those of still images, sorted.

    Raises:
        ValueError: If `kind` is neither.
    """
    if kind not in ("clips", "images"):
        raise ValueError(f"kind must be 'clips' or 'images', got {kind!r}")
    return sorted(name for name, entry in _ENTRIES.items() if entry.images == (kind == "images"))


def create_model(
    name: str, num_classes: int, input_shape: Sequence[int] | None = None, **options: Any
) -> keras.Model:
    """Build a model by its registered name, uncompiled, with random weights.

    Args:
        name: One of `list_models()` or of `list_models("images")`.
        num_classes: Number of actions, at least 2.
        input_shape: Clip shape (frames, height, width, channels), or image shape (height, width, channels);
            the builder's default by default.
        **options: Further arguments of the builder.

    Returns:
        `keras.Model`: clips (B, T, H, W, 3) or images (B, H, W, 3), RGB 0-255 -> float32 probabilities
        (B, num_classes).

    Raises:
        ValueError: If there is no model of that name, the builder has no such option, or it refuses its
            arguments.
    """
    if name not in _ENTRIES:
        raise ValueError(describe_unknown(name, list_models() + list_models("images")))
    check_options(name, options)
    if input_shape is not None:
        options["input_shape"] = tuple(input_shape)
    return _ENTRIES[name].builder(num_classes, **options)


def describe_unknown(name: str, names: Sequence[str]) -> str:
    """Say which names there are, and which of them may have been meant."""
    close = difflib.get_close_matches(name, names, 1)
    meant = f"; did you mean {close[0]!r}?" if close else ""
    return f"name must be one of {', '.join(names)}, got {name!r}{meant}"


def check_options(name: str, options: dict[str, Any]) -> None:
    """Raise ValueError if the builder of a model has no such options, or values of another type."""
    parameters = list(inspect.signature(_ENTRIES[name].builder).parameters.values())[2:]
    known = {parameter.name: parameter.default for parameter in parameters}
    unknown = sorted(options.keys() - known.keys())
    if unknown:
        raise ValueError(f"options of {name} must be among {', '.join(known)}, got {', '.join(unknown)}")
    for option, value in options.items():
        default = known[option]
        if default is not None and not _is_like(value, default):
            raise ValueError(f"option {option} of {name} must be a value such as {default!r}, got {value!r}")


def _is_like(value: Any, default: Any) -> bool:
    """Whether a value is of the kind of another: a number, a text, or as many numbers."""
    if isinstance(default, tuple):
        return isinstance(value, tuple | list) and all(_is_like(each, default[0]) for each in value)
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    for kind in (Integral, Real, str):
        if isinstance(default, kind):
            return isinstance(value, kind)
    return True


def source_of(name: str) -> tuple[str, str]:
    """Return the paper of a registered model, and the file that builds it, from the top of the repository."""
    file = Path(inspect.getfile(_ENTRIES[name].builder))
    return _ENTRIES[name].paper, file.relative_to(Path(__file__).parents[2]).as_posix()


@contextmanager
def no_weights() -> Iterator[None]:
    """Build models for their shapes alone: inside, a network of 100 million weights takes no memory.

    What was built is for looking at, not for use: its weights have no values. Names and seeds that Keras
    gives later are those that it would have given without.
    """
    # Keras lists the weights, to make their values at the next occasion: that list must not stay.
    with untouched(), keras.StatelessScope(initialize_variables=False):
        yield


def count_parameters(model: keras.Model) -> int:
    """Count the parameters, as papers do: frozen ones too, running means of batch normalization not."""
    learned = (weight for weight in model.weights if not weight.name.startswith("moving_"))
    return sum(math.prod(weight.shape) for weight in learned)
