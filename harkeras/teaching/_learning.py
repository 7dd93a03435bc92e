"""A head that learns from labeled windows, and how it does on recordings that it never saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.special import softmax
from threadpoolctl import threadpool_limits

from harkeras.data.intervals import clustered_interval
from harkeras.data.splits import list_folds
from harkeras.transfer.heads import fit_regressions

STRENGTH = 10.0  # as `fit_head` has it
_MOST_FOLDS = 5


class LabeledRanges(NamedTuple):
    """Labeled ranges, and the windows in them.

    Attributes:
        numbers: float32 (W, D), the statistics of all windows.
        range_of_window: int (W,), which range each window is of.
        labels: int (N,), the classes of the ranges.
        sources: (N,), where they are from: what must not be on both sides of a test.
        classes: Names of the classes.
    """

    numbers: np.ndarray
    range_of_window: np.ndarray
    labels: np.ndarray
    sources: np.ndarray
    classes: tuple[str, ...]

    def select(self, rows: np.ndarray) -> LabeledRanges:
        """Return some of the ranges."""
        order = np.full(len(self.labels), -1)
        order[rows] = np.arange(len(rows))
        windows = order[self.range_of_window] >= 0
        range_of_window = order[self.range_of_window[windows]]
        return self._replace(
            numbers=self.numbers[windows],
            range_of_window=range_of_window,
            labels=self.labels[rows],
            sources=self.sources[rows],
        )


class Head(NamedTuple):
    """A softmax layer on the statistics of windows: kernel (D, classes) and bias (classes,)."""

    kernel: np.ndarray
    bias: np.ndarray
    classes: tuple[str, ...]

    def of_windows(self, numbers: np.ndarray) -> np.ndarray:
        """Return the probabilities of windows (W, D): float (W, classes)."""
        return softmax(numbers @ self.kernel + self.bias, axis=1)

    def of_ranges(self, ranges: LabeledRanges) -> np.ndarray:
        """Return the mean probabilities of the windows of each range: float (N, classes)."""
        probabilities = self.of_windows(ranges.numbers)
        sums = np.zeros((len(ranges.labels), probabilities.shape[1]))
        np.add.at(sums, ranges.range_of_window, probabilities)
        return sums / np.bincount(ranges.range_of_window, minlength=len(sums))[:, None]


@dataclass(frozen=True)
class Score:
    """How a model does on labeled ranges of recordings that it did not learn from.

    Attributes:
        how: "held out": on recordings that no model and no choice ever sees; "cross-validation": each
            recording named by what learned from the others, as long as nothing is labeled in a recording that
            is held out.
        balanced_accuracy: Mean of the classes' recalls.
        accuracy: Share of the ranges that were named right.
        interval: The 95 % interval of `accuracy`, Wilson's, widened because ranges of a recording are alike.
        right: Ranges that were named right.
        ranges: All ranges.
        sources: Of how many sources these are.
        recalls: For each class that is among them, the share that was named right, and how many they are.
    """

    how: str
    balanced_accuracy: float
    accuracy: float
    interval: tuple[float, float]
    right: int
    ranges: int
    sources: int
    recalls: dict[str, tuple[float, int]]

    def __str__(self) -> str:
        """Return it in a sentence."""
        low, high = self.interval
        sources = "1 source" if self.sources == 1 else f"{self.sources} sources"
        where = "recordings held out" if self.how == "held out" else "cross-validation, nothing held out yet"
        return (
            f"{self.right} of {self.ranges} ranges of {sources} named right: "
            f"{self.accuracy:.3f} (95 %: {low:.3f} to {high:.3f}), {self.balanced_accuracy:.3f} as the mean "
            f"of the classes ({where})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Score:
        """Return the score that `to_dict` wrote."""
        recalls = {name: tuple(pair) for name, pair in values["recalls"].items()}
        return cls(**values | {"interval": tuple(values["interval"]), "recalls": recalls})


def fit_windows(ranges: LabeledRanges) -> Head:
    """Fit a head to the windows of labeled ranges.

    Raises:
        ValueError: If they are of fewer than two classes.
    """
    labels = ranges.labels[ranges.range_of_window]
    if len(np.unique(labels)) < 2:
        raise ValueError(f"ranges must be labeled with at least 2 classes, got {len(np.unique(labels))}")
    with threadpool_limits(1):
        ((kernel, bias),) = fit_regressions(ranges.numbers, labels, len(ranges.classes), [STRENGTH])
    return Head(kernel.astype(np.float32), bias.astype(np.float32), ranges.classes)


def list_source_folds(ranges: LabeledRanges, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return folds by source, each with at least two classes to learn; none if that cannot be."""
    sources, labels = len(np.unique(ranges.sources)), ranges.labels
    most = min(_MOST_FOLDS, sources, int(np.bincount(labels).max(initial=0)))
    if most < 2:
        return []
    folds = list_folds(labels, ranges.sources, folds=most, seed=seed)
    return [(train, test) for train, test in folds if len(np.unique(labels[train])) > 1 and len(test)]


def cross_validate_ranges(ranges: LabeledRanges, folds: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """Return what heads say of ranges whose sources they did not learn from.

    Returns:
        Probabilities float (N, classes), and bool (N,), which of the ranges were tested.
    """
    probabilities = np.full((len(ranges.labels), len(ranges.classes)), 1 / len(ranges.classes))
    tested = np.zeros(len(ranges.labels), bool)
    for train, test in folds:
        probabilities[test] = fit_windows(ranges.select(train)).of_ranges(ranges.select(test))
        tested[test] = True
    return probabilities, tested


def score_ranges(probabilities: np.ndarray, ranges: LabeledRanges, how: str) -> Score:
    """Score what was said of some ranges, at least one."""
    right = probabilities.argmax(axis=1) == ranges.labels
    recalls = {
        ranges.classes[label]: (
            float(right[ranges.labels == label].mean()),
            int((ranges.labels == label).sum()),
        )
        for label in np.unique(ranges.labels)
    }
    return Score(
        how=how,
        balanced_accuracy=float(np.mean([recall for recall, _ in recalls.values()])),
        accuracy=float(right.mean()),
        interval=clustered_interval(right, ranges.sources),
        right=int(right.sum()),
        ranges=len(right),
        sources=len(np.unique(ranges.sources)),
        recalls=recalls,
    )
