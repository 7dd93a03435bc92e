"""Learning rates that change as training goes on: from the number of an epoch to a rate.

`train(..., learning_rate=cosine_schedule(1e-3, epochs=50, warmup_epochs=3))` asks at the beginning of each
epoch, counted from 0, with the logs of the epochs before it. A rate that follows from these alone is the same
after an interruption. Keras's own, `keras.optimizers.schedules`, count steps instead; `train` takes them too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

Logs = list[dict[str, float]]


class Schedule:
    """A rate for each epoch, with the arguments that it was made of, so that one can be told from another.

    Args:
        rate: Function of the number of the epoch, the logs of the epochs before it, and `arguments`.
        **arguments: Numbers, lists and texts.
    """

    def __init__(self, rate: Callable[..., float], **arguments: Any):
        """Keep both."""
        self.rate, self.arguments = rate, arguments

    def __call__(self, epoch: int, logs: Logs) -> float:
        """Return the rate of an epoch."""
        return self.rate(epoch, logs, **self.arguments)

    def get_config(self) -> dict[str, Any]:
        """Return the kind of schedule and its arguments."""
        return {"kind": self.rate.__name__.strip("_"), **self.arguments}

    def __repr__(self) -> str:
        """Return the call that made it."""
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.rate.__name__.strip('_')}_schedule({arguments})"


def step_schedule(learning_rate: float, drop_epochs: Sequence[int], *, factor: float = 0.1) -> Schedule:
    """Multiply the rate by `factor` at some epochs, as most networks of the field were trained.

    Args:
        learning_rate: The first rate.
        drop_epochs: Epochs, counted from 0, from which on it is lower.
        factor: What it is multiplied by each time.

    Raises:
        ValueError: If a number is out of its range.
    """
    _check(learning_rate=learning_rate, factor=factor)
    return Schedule(_step, learning_rate=learning_rate, drop_epochs=list(drop_epochs), factor=factor)


def _step(epoch: int, logs: Logs, learning_rate: float, drop_epochs: list[int], factor: float) -> float:
    return learning_rate * factor ** sum(epoch >= drop for drop in drop_epochs)


def cosine_schedule(learning_rate: float, epochs: int, *, warmup_epochs: int = 0) -> Schedule:
    """Raise the rate evenly for some epochs, then let it fall along half a cosine, to nearly 0 in the end.

    Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017; without
    restarts.

    Args:
        learning_rate: The highest rate.
        epochs: Number of epochs of the whole training.
        warmup_epochs: Epochs on the way up: a large network with fresh weights would go astray at the full
            rate.

    Raises:
        ValueError: If a number is out of its range.
    """
    _check(learning_rate=learning_rate, epochs=epochs)
    if not 0 <= warmup_epochs < epochs:
        raise ValueError(f"warmup_epochs must lie in 0 to {epochs - 1}, got {warmup_epochs}")
    return Schedule(_cosine, learning_rate=learning_rate, epochs=epochs, warmup_epochs=warmup_epochs)


def _cosine(epoch: int, logs: Logs, learning_rate: float, epochs: int, warmup_epochs: int) -> float:
    if epoch < warmup_epochs:
        return learning_rate * (epoch + 1) / (warmup_epochs + 1)
    progress = min((epoch - warmup_epochs) / (epochs - warmup_epochs), 1)
    return learning_rate * (1 + math.cos(math.pi * progress)) / 2


def plateau_schedule(
    learning_rate: float, *, patience: int = 5, factor: float = 0.1, monitor: str = "val_loss"
) -> Schedule:
    """Multiply the rate by `factor` whenever a loss has not fallen for some epochs.

    Args:
        learning_rate: The first rate.
        patience: Epochs without a lower loss; should be less than the patience of `train`.
        factor: What the rate is multiplied by each time.
        monitor: The loss to watch, "val_loss" or "loss".

    Raises:
        ValueError: If a number is out of its range, or, in training, if there is no such loss.
    """
    _check(learning_rate=learning_rate, patience=patience, factor=factor)
    return Schedule(_plateau, learning_rate=learning_rate, patience=patience, factor=factor, monitor=monitor)


def _plateau(
    epoch: int, logs: Logs, learning_rate: float, patience: int, factor: float, monitor: str
) -> float:
    best, waited, drops = math.inf, 0, 0
    for each in logs:
        if monitor not in each:
            raise ValueError(f"monitor must be one of {', '.join(each)}, got {monitor!r}")
        waited = 0 if each[monitor] < best else waited + 1
        best = min(best, each[monitor])
        if waited >= patience:
            waited, drops = 0, drops + 1
    return learning_rate * factor**drops


def _check(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
