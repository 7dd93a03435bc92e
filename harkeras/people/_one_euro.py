"""The One-Euro filter: what stands still is held, what moves is followed.

Casiez, Roussel and Vogel, "1€ Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive
Systems", CHI 2012.
"""

from __future__ import annotations

import math

import numpy as np


class OneEuroFilter:
    """Smooth values that come one after another, each of them by its own speed.

    The cutoff is `min_cutoff_hz + beta * speed`: low where a value rests, so that it does not tremble, and
    high where it moves, so that it does not lag behind.

    Args:
        min_cutoff_hz: Cutoff at rest.
        beta: How much the cutoff rises with the speed, in Hz for one unit a second.
        speed_cutoff_hz: Cutoff of the speed itself.
    """

    def __init__(self, min_cutoff_hz: float, beta: float, speed_cutoff_hz: float):
        """Start with no value."""
        self._min_cutoff_hz, self._beta, self._speed_cutoff_hz = min_cutoff_hz, beta, speed_cutoff_hz
        self._values: np.ndarray | None = None

    def update(self, values: np.ndarray, step_seconds: float, unit: float = 1.0) -> np.ndarray:
        """Take in values (K, D), and return them smoothed; a row of NaN is missing, and begins anew later.

        Args:
            values: The new values.
            step_seconds: Time since the last ones, above 0.
            unit: What counts as one unit in speeds.
        """
        if self._values is None:
            self._values, self._speeds = np.full_like(values, np.nan), np.zeros_like(values)
        begins = np.isnan(self._values)
        speeds = np.where(begins, 0, (values - self._values) / (step_seconds * unit))
        weight = _weight(self._speed_cutoff_hz, step_seconds)
        speeds = np.where(begins, 0, self._speeds + weight * (speeds - self._speeds))
        # One cutoff for a point: it is its speed, not that along an axis, which tells rest from motion.
        cutoff_hz = self._min_cutoff_hz + self._beta * np.linalg.norm(speeds, axis=-1, keepdims=True)
        smoothed = self._values + _weight(cutoff_hz, step_seconds) * (values - self._values)
        self._values, self._speeds = np.where(begins, values, smoothed), np.nan_to_num(speeds)
        return self._values.copy()


def _weight(cutoff_hz, step_seconds: float):
    """Return the weight of a new value in a low-pass filter of first order."""
    turn = 2 * math.pi * cutoff_hz * step_seconds
    return turn / (1 + turn)
