"""The table of builders, so that a model can be named in a command or a configuration."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import keras

_BUILDERS: dict[str, Callable] = {}
_PAPERS: dict[str, str] = {}


def register(name: str, *, paper: str) -> Callable:
    """Register a builder under `name`; used as a decorator.

    Args:
        name: What `create_model` will know it by.
        paper: Its source in short, as "Donahue et al., CVPR 2015".
    """

    def add(builder: Callable) -> Callable:
        if name in _BUILDERS:
            raise ValueError(f"a model named {name!r} is registered already")
        _BUILDERS[name], _PAPERS[name] = builder, paper
        return builder

    return add


def list_models() -> list[str]:
    """Return the names that `create_model` accepts, sorted."""
    return sorted(_BUILDERS)


def create_model(name: str, num_classes: int, input_shape: tuple[int, ...] | None = None, **options):
    """Build a model by its registered name, uncompiled, with random weights.

    Args:
        name: One of `list_models()`.
        num_classes: Number of actions, at least 2.
        input_shape: Clip shape (frames, height, width, channels); the builder's default by default.
        **options: Further arguments of the builder.

    Returns:
        `keras.Model`: clips (B, T, H, W, 3), RGB 0-255 -> float32 probabilities (B, num_classes).

    Raises:
        ValueError: If there is no model of that name, the builder has no such option, or it refuses its
            arguments.
    """
    if name not in _BUILDERS:
        raise ValueError(f"name must be one of {', '.join(list_models())}, got {name!r}")
    known = list(inspect.signature(_BUILDERS[name]).parameters)[2:]
    unknown = options.keys() - set(known)
    if unknown:
        raise ValueError(
            f"options of {name} must be among {', '.join(known)}, got {', '.join(sorted(unknown))}"
        )
    if input_shape is not None:
        options["input_shape"] = tuple(input_shape)
    return _BUILDERS[name](num_classes, **options)


def source_of(name: str) -> tuple[str, str]:
    """Return the paper of a registered model, and the file that builds it, from the top of the repository."""
    file = Path(inspect.getfile(_BUILDERS[name]))
    return _PAPERS[name], file.relative_to(Path(__file__).parents[2]).as_posix()


@contextmanager
def no_weights() -> Iterator[None]:
    """Build models for their shapes alone: inside, a network of 100 million weights takes no memory.

    What was built is for looking at, not for use: its weights have no values.
    """
    with keras.StatelessScope(initialize_variables=False):
        yield
    keras.utils.clear_session()  # or Keras makes the values now


def count_parameters(model: keras.Model) -> int:
    """Count the trainable parameters, as papers do: without the running means of batch normalization."""
    return sum(math.prod(weight.shape) for weight in model.trainable_variables)
