"""From the probabilities of overlapping windows to labels that do not flicker."""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

import numpy as np

UNSURE = "unsure"

# What is remembered of a stream must have an end: a window each millisecond, and an hour of them, at most.
MIN_STRIDE_SECONDS = 0.001
MAX_MEMORY_SECONDS = 3600.0


class Window(NamedTuple):
    """The range of a window in seconds, and its probabilities, float32 (classes,)."""

    start_seconds: float
    end_seconds: float
    probabilities: np.ndarray

    def __eq__(self, other: object) -> bool:
        """Compare times and all probabilities; those of a plain tuple would be compared one by one."""
        if not isinstance(other, Window):
            return NotImplemented
        return self[:2] == other[:2] and np.array_equal(self.probabilities, other.probabilities)

    def __ne__(self, other: object) -> bool:
        """Say the opposite; a tuple has a comparison of its own for this."""
        return not self == other

    __hash__ = None


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

    Each of the four means is switched off by 0. What is kept does not grow with the length of the stream:
    `label` holds from window number `since` on, and a caller who wants the labels of all windows notes both
    after each `update`. Where windows do not follow one another, because the stream had a gap or its clock
    was set, everything starts anew.

    A label holds while the next one is waited for, for up to `min_seconds` after its own probability has
    gone. If none has won by then, because several take turns, it is "unsure" from where it was lost.

    Args:
        classes: Names of the classes.
        stride_seconds: Time between windows, at least 0.001.
        smoothing_seconds: Average the probabilities of windows over this time, at most 3600.
        hysteresis: A new label must be this much more probable than the one that holds.
        min_seconds: A new label must last this long, at most 3600; it then counts from its beginning.
        threshold: Under this probability the label is "unsure".
        thresholds: Tuned thresholds of some classes, see `name_classes`; they stand over `threshold`, and
            hysteresis leaves them alone.

    Attributes:
        label: The label that holds; None before the first window.
        since: Number of the window, from 0, from which on it counts. It may lie in the past: a label that has
            just won counts from its beginning, and what was noted of windows from there on is overruled.
        confidence: The probability now of the label that `update` has returned; of "unsure", the highest.
        smoothed: float (classes,), the averaged probabilities of the last window.
        middle_seconds: The middle of what they are averaged over.

    Raises:
        ValueError: If a value is out of its range.
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
        check_settings(stride_seconds, smoothing_seconds, hysteresis, min_seconds, threshold)
        self.classes = classes
        self.hysteresis = hysteresis
        self.threshold = threshold
        self._tuned = np.array([(thresholds or {}).get(name, 0.0) for name in classes])
        self._recent: deque[Window] = deque(maxlen=max(round(smoothing_seconds / stride_seconds), 1))
        self._patience = count_strides(min_seconds, stride_seconds)
        self._longest_step = 2 * max(stride_seconds, smoothing_seconds)
        self._count = 0
        self._start_anew()

    def _start_anew(self) -> None:
        self._recent.clear()
        self._candidate, self._waited, self._doubted = None, 0, 0
        self._agreed, self._settled = 0, False
        self.label: str | None = None
        self.since = self._count

    def update(self, window: Window) -> str:
        """Take in a window and return what to show now: "unsure" while a first label is a guess.

        A first label is a guess until it was named for `min_seconds`, in one go or not.

        Raises:
            ValueError: If a time or a probability of the window is no number; it is then left out.
        """
        if not (np.isfinite(window[:2]).all() and np.isfinite(window.probabilities).all()):
            raise ValueError(f"window must hold finite numbers, got {window}")
        if self._recent:
            step = window.start_seconds - self._recent[-1].start_seconds
            if not 0 <= step <= self._longest_step:
                self._start_anew()
        self._recent.append(window)
        self.smoothed = np.mean([each.probabilities for each in self._recent], axis=0)
        self.middle_seconds = (self._recent[0].start_seconds + window.end_seconds) / 2
        best = self._best(self.smoothed)
        self._waited = self._waited + 1 if best == self._candidate else 1
        self._candidate = best
        if self.label is None or best == self.label:
            self.label, self._doubted = best, 0
            self._agreed += 1
            self._settled |= self._agreed >= self._patience
        else:
            self._doubted = self._doubted + 1 if self._is_lost(self.label) else 0
            if self._waited >= self._patience:
                self._change(best, self._waited)
            elif self._doubted >= self._patience:
                self._change(UNSURE, self._doubted)
        self._count += 1
        shown = self.label if self._settled else UNSURE
        row = slice(None) if shown == UNSURE else self.classes.index(shown)
        self.confidence = float(self.smoothed[row].max())
        return shown

    def _change(self, label: str, windows: int) -> None:
        """Let a label hold, which counts from where it began to be named, so many windows ago."""
        begin = self._count - (windows - 1)
        if begin - self.since < self._patience:  # what came before was itself too short: a guess
            begin = self.since
        self.label, self.since, self._settled, self._doubted = label, begin, True, 0

    def _is_lost(self, label: str) -> bool:
        """Say whether a label is less probable than one that holds must be."""
        if label not in self.classes:
            return False
        row = self.classes.index(label)
        return self.smoothed[row] < (self._tuned[row] or self.threshold - self.hysteresis)

    def _best(self, smoothed: np.ndarray) -> str:
        best, held = int(name_classes(smoothed, self._tuned)), self.label
        if held in self.classes:
            row = self.classes.index(held)
            if not self._tuned[best] and not self._tuned[row]:  # hysteresis would shift a tuned threshold
                leads = smoothed[best] >= smoothed[row] + self.hysteresis
                if not leads and not self._is_lost(held):
                    return held
        return self.classes[best] if smoothed[best] >= (self._tuned[best] or self.threshold) else UNSURE


def check_settings(
    stride_seconds: float,
    smoothing_seconds: float = 0.5,
    hysteresis: float = 0.1,
    min_seconds: float = 0.5,
    threshold: float = 0.5,
) -> None:
    """Raise ValueError for settings of a decision that are out of their range, see `Decider`."""
    check_stride(stride_seconds)
    for name, value in (("smoothing_seconds", smoothing_seconds), ("min_seconds", min_seconds)):
        if not value >= 0:
            raise ValueError(f"{name} must be at least 0, got {value}")
        if value > MAX_MEMORY_SECONDS:
            raise ValueError(f"{name} must be at most {MAX_MEMORY_SECONDS:.0f}, got {value}")
    for name, value in (("hysteresis", hysteresis), ("threshold", threshold)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must lie in 0 to 1, got {value}")


def check_stride(stride_seconds: float) -> None:
    """Raise ValueError unless windows start at least a millisecond, and not endlessly, apart."""
    if not stride_seconds > 0:
        raise ValueError(f"stride_seconds must be positive, got {stride_seconds}")
    if not MIN_STRIDE_SECONDS <= stride_seconds < math.inf:
        raise ValueError(
            f"stride_seconds must be finite and at least {MIN_STRIDE_SECONDS}, as frames are no closer to "
            f"each other, got {stride_seconds}"
        )


def count_strides(min_seconds: float, stride_seconds: float) -> int:
    """Return how many windows a label must be named for to last so long, at least 1."""
    return max(math.ceil(min_seconds / stride_seconds - 1e-9), 1)
