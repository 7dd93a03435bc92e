"""Learning rates that change as training goes on: functions from an epoch to a rate.

`train(..., learning_rate=cosine_schedule(1e-3, epochs=50, warmup_epochs=3))` takes any function of the number
of the epoch, counted from 0, and of the logs of the epochs before it. A rate that follows from these alone is
the same after an interruption.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Schedule = Callable[[int, list[dict[str, float]]], float]


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

    def rate(epoch: int, logs: list[dict[str, float]]) -> float:
        return learning_rate * factor ** sum(epoch >= drop for drop in drop_epochs)

    return rate


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

    def rate(epoch: int, logs: list[dict[str, float]]) -> float:
        if epoch < warmup_epochs:
            return learning_rate * (epoch + 1) / (warmup_epochs + 1)
        progress = min((epoch - warmup_epochs) / (epochs - warmup_epochs), 1)
        return learning_rate * (1 + math.cos(math.pi * progress)) / 2

    return rate


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

    def rate(epoch: int, logs: list[dict[str, float]]) -> float:
        best, waited, drops = math.inf, 0, 0
        for each in logs:
            if monitor not in each:
                raise ValueError(f"monitor must be one of {', '.join(each)}, got {monitor!r}")
            waited = 0 if each[monitor] < best else waited + 1
            best = min(best, each[monitor])
            if waited >= patience:
                waited, drops = 0, drops + 1
        return learning_rate * factor**drops

    return rate


def _check(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
