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


def name_classes(probabilities: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Choose a class by thresholds that were tuned for a wanted precision or recall.

    A class with a threshold is named where its probability reaches it, whatever the others have; of several
    such classes, the one furthest above, as a ratio. Where none does, the most probable class without a
    threshold is named.

    Args:
        probabilities: float (..., classes).
        thresholds: float (classes,), 0 for classes without one.

    Returns:
        int (...), indices of classes.
    """
    tuned = thresholds > 0
    reached = tuned & (probabilities >= thresholds)
    ratios = np.where(reached, probabilities / np.where(tuned, thresholds, 1), 0)
    others = np.where(tuned, 0, probabilities) if not tuned.all() else probabilities
    return np.where(reached.any(axis=-1), ratios.argmax(axis=-1), others.argmax(axis=-1))


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
        thresholds: Tuned thresholds of some classes, see `name_classes`; they stand over `threshold`, and
            hysteresis leaves them alone.

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
        thresholds: dict[str, float] | None = None,
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
        self._tuned = np.array([(thresholds or {}).get(name, 0.0) for name in classes])
        self._recent = deque(maxlen=max(round(smoothing_seconds / stride_seconds), 1))
        self._patience = max(math.ceil(min_seconds / stride_seconds - 1e-9), 1)
        self._candidate, self._waited = None, 0
        self._agreed, self._settled = 0, False
        self.labels: list[str] = []  # one per window
        self.smoothed: list[np.ndarray] = []  # float (classes,) per window
        self.seconds: list[float] = []  # the middle of what each label was decided on

    def update(self, window: Window) -> str:
        """Take in a window and return the label that holds now: "unsure" while a first one is a guess.

        A first label is a guess until it was named for `min_seconds`, in one go or not.

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
            self._agreed += 1
            self._settled |= self._agreed >= self._patience
        elif self._waited >= self._patience:
            begin = len(self.labels) - (self._waited - 1)
            if begin < self._patience:  # what came before was itself too short: nothing but the first guess
                begin = 0
            self.labels[begin:] = [best] * (len(self.labels) + 1 - begin)
            self._settled = True
        else:
            self.labels.append(held)
        self.smoothed.append(smoothed)
        self.seconds.append((self._recent[0].start_seconds + window.end_seconds) / 2)
        return self.labels[-1] if self._settled else UNSURE

    def _best(self, smoothed: np.ndarray, held: str | None) -> str:
        best = int(name_classes(smoothed, self._tuned))
        if held in self.classes:
            row = self.classes.index(held)
            if not self._tuned[best] and not self._tuned[row]:  # hysteresis would shift a tuned threshold
                leads = smoothed[best] >= smoothed[row] + self.hysteresis
                if not leads and smoothed[row] >= self.threshold - self.hysteresis:
                    return held
        return self.classes[best] if smoothed[best] >= (self._tuned[best] or self.threshold) else UNSURE
