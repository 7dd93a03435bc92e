"""From the probabilities of overlapping windows to labels that do not flicker."""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

import numpy as np

UNSURE = "unsure"


class Window(NamedTuple):
    """What the model says of one window: its range in seconds, and float32 (classes,) probabilities."""

    start_seconds: float
    end_seconds: float
    probabilities: np.ndarray


class Decider:
    """Turn the probabilities of successive windows into labels that do not flicker.

    Each of the four means is switched off by 0.

    Args:
        classes: Names of the classes.
        stride_seconds: Time between windows.
        smoothing_seconds: Average the probabilities of windows over this time.
        hysteresis: A new label must be this much more probable than the one that holds.
        min_seconds: A new label must last this long; it then counts from its beginning.
        threshold: Under this probability the label is "unsure".

    Raises:
        ValueError: If one of the values is negative, or a probability over 1.
    """

    def __init__(
        self,
        classes: tuple[str, ...],
        stride_seconds: float,
        *,
        smoothing_seconds: float = 0.5,
        hysteresis: float = 0.1,
        min_seconds: float = 0.5,
        threshold: float = 0.5,
    ):
        """Check the values."""
        for name, value in (("smoothing_seconds", smoothing_seconds), ("min_seconds", min_seconds)):
            if not value >= 0:
                raise ValueError(f"{name} must be at least 0, got {value}")
        for name, value in (("hysteresis", hysteresis), ("threshold", threshold)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must lie in 0 to 1, got {value}")
        self.classes = classes
        self.hysteresis = hysteresis
        self.threshold = threshold
        self._recent = deque(maxlen=max(round(smoothing_seconds / stride_seconds), 1))
        self._patience = max(math.ceil(min_seconds / stride_seconds - 1e-9), 1)
        self._candidate, self._waited = None, 0
        self.labels: list[str] = []  # one per window
        self.smoothed: list[np.ndarray] = []  # float (classes,) per window
        self.seconds: list[float] = []  # the middle of what each label was decided on

    def update(self, window: Window) -> str:
        """Take in a window and return the label that holds now.

        A label that has just won may turn earlier entries of `labels` to its own, as far back as it led.
        """
        self._recent.append(window)
        smoothed = np.mean([each.probabilities for each in self._recent], axis=0)
        held = self.labels[-1] if self.labels else None
        best = self._best(smoothed, held)
        self._waited = self._waited + 1 if best == self._candidate else 1
        self._candidate = best
        if held is None or best == held:
            self.labels.append(best)
        elif self._waited >= self._patience:
            begin = len(self.labels) - (self._waited - 1)
            if begin < self._patience:  # what came before was itself too short: nothing but the first guess
                begin = 0
            self.labels[begin:] = [best] * (len(self.labels) + 1 - begin)
        else:
            self.labels.append(held)
        self.smoothed.append(smoothed)
        self.seconds.append((self._recent[0].start_seconds + window.end_seconds) / 2)
        return self.labels[-1]

    def _best(self, smoothed: np.ndarray, held: str | None) -> str:
        best = int(smoothed.argmax())
        if held in self.classes:
            holds = smoothed[self.classes.index(held)]
            if smoothed[best] < holds + self.hysteresis and holds >= self.threshold - self.hysteresis:
                return held
        return self.classes[best] if smoothed[best] >= self.threshold else UNSURE
