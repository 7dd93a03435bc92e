"""Settings written as plain JSON, so that one training can be told from another, in another process too."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def plain_config(name: str, value: Any) -> Any:
    """Return a setting as JSON can hold it: Keras objects, dataclasses and augmentations by their arguments.

    Args:
        name: Name of the argument, for messages.
        value: A number, text, path, array, list or dictionary of them, None, a dataclass, or an object with
            `get_config`.

    Raises:
        ValueError: If it is a function, or another object that does not say what it was made of: it could not
            be told from another one.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        # The name of a Keras object is a count of those made before.
        named = {"trainable", "learning_rate"} & value.keys()
        return {str(k): plain_config(name, v) for k, v in value.items() if not (named and k == "name")}
    if isinstance(value, list | tuple):
        return [plain_config(name, each) for each in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [type(value).__qualname__, plain_config(name, vars(value))]
    try:
        config = value.get_config()
    except (AttributeError, TypeError, NotImplementedError) as error:
        raise ValueError(
            f"{name} must say what it was made of, so that it can be told from another: pass a Keras object, "
            f"a dataclass or filters of harkeras.data.augment; got {value!r}"
        ) from error
    return [f"{type(value).__module__}.{type(value).__qualname__}", plain_config(name, config)]


def keyword_defaults(function: Callable) -> dict[str, Any]:
    """Return the keyword-only arguments of a function and their defaults."""
    parameters = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}
