"""Keras's state, and its backend. The caller's process is the caller's: seeding and building leave no trace.

Two things here stand on the inside of Keras and TensorFlow, which have no public way to read them: the
attributes that Keras keeps for a thread (names, seeds, dtype policy), and TensorFlow's global seed.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np
from keras.src.backend.common import global_state

_SEEDS = ("global_random_seed", "global_seed_generator")


def require_tensorflow(what: str) -> None:
    """Raise RuntimeError if Keras runs on another backend than TensorFlow.

    Args:
        what: What needs it, for the message.
    """
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            f"{what} needs Keras on TensorFlow, got {keras.backend.backend()}: set the environment variable "
            "KERAS_BACKEND to tensorflow before keras is imported"
        )


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Python, NumPy, TensorFlow and Keras inside; afterwards they go on as if nothing had happened."""
    with _kept_random_state():
        keras.utils.set_random_seed(seed)
        yield


@contextmanager
def untouched() -> Iterator[None]:
    """Keep, besides the random state, all that Keras counts and lists, such as the names of layers.

    For building what is only looked at: a model made inside may bear a name that is given again later.
    """
    attributes = vars(global_state.GLOBAL_STATE_TRACKER)
    before = {name: _copied(value) for name, value in attributes.items()}
    with _kept_random_state():
        try:
            yield
        finally:
            attributes.clear()
            attributes.update(before)


@contextmanager
def _kept_random_state() -> Iterator[None]:
    python, legacy_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  it is to be left alone
    of_keras = {name: global_state.get_global_attribute(name) for name in _SEEDS}
    of_tensorflow = vars(_tensorflow_context())  # which `set_random_seed` seeds with any backend
    seeds = {name: of_tensorflow[name] for name in ("_seed", "_rng") if name in of_tensorflow}
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy_numpy)  # noqa: NPY002
        for name, value in of_keras.items():
            global_state.set_global_attribute(name, value)
        of_tensorflow.pop("_rng", None)  # there is none before the first seed
        of_tensorflow.update(seeds)


def _tensorflow_context():
    """Return the object that holds TensorFlow's global seed."""
    from tensorflow.python.eager import context

    return context.context()


def _copied(value):
    return copy.copy(value) if isinstance(value, dict | list) else value
