"""Values that came from outside, from JSON or an argument: checked once, with an error that names them."""

from __future__ import annotations

from dataclasses import MISSING, fields
from numbers import Integral
from typing import Any


def make_dataclass(cls: type, values: Any, what: str) -> Any:
    """Make a dataclass of values that came from JSON; they may be anything."""
    if not isinstance(values, dict):
        raise ValueError(f"{what} must be a JSON object, got {values!r}")
    unknown = values.keys() - {each.name for each in fields(cls)}
    if unknown:
        raise ValueError(f"{what} holds {sorted(unknown)}, which this version of harkeras does not know")
    required = [f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING]
    missing = [name for name in required if name not in values]
    if missing:
        raise ValueError(f"{what} lacks {missing}")
    return cls(**values)


def check_count(name: str, value: Any) -> int:
    """Return a whole number; raise ValueError if it is none, or below 1."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
    return int(value)


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise ValueError for what is none of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def check_texts(name: str, values: Any) -> tuple[str, ...]:
    """Return a tuple of texts; a text is not taken for a sequence of letters."""
    wanted = "at least two different names" if name == "classes" else "names"
    if isinstance(values, str) or not hasattr(values, "__iter__"):
        raise ValueError(f"{name} must be {wanted}, got {values!r}")
    values = tuple(values)
    if not all(isinstance(value, str) for value in values):
        raise ValueError(f"{name} must be {wanted}, got {values!r}")
    return tuple(str(value) for value in values)
