"""A model that was trained as a copy, on other devices or in another precision, gets back what came of it."""

from __future__ import annotations

from collections.abc import Iterable

import keras
import numpy as np


def assign_all(values: Iterable, variables: Iterable[keras.Variable]) -> None:
    """Give variables, those of random generators included, their values."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(np.asarray(value))


def take_back(copy: keras.Model, model: keras.Model, *, finished: bool = True) -> None:
    """Leave a model as its copy is: its weights, and what training has left.

    Args:
        copy: The copy.
        model: The model.
        finished: Whether training came to its end; in the middle of a step, JAX has no other values than the
            weights that were put back.
    """
    assign_all(*((each.variables if finished else each.weights) for each in (copy, model)))
    if finished and copy.compiled:
        trained = _inner(copy.optimizer)
        model.compile(trained.from_config(trained.get_config()), copy.loss, metrics=["accuracy"])
        own = _inner(model.optimizer)
        own.build(model.trainable_variables)
        assign_all(trained.variables, own.variables)
    for name in ("recipe", "history"):
        if hasattr(copy, name):
            setattr(model, name, getattr(copy, name))


def _inner(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Return the optimizer itself, without what scales the loss in float16."""
    return getattr(optimizer, "inner_optimizer", optimizer)
