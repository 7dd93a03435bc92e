"""The candidates among which `harkeras.transfer.auto` chooses, and how they are compared."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from keras import ops
from scipy.special import softmax

from harkeras.transfer.feature_dataset import Input
from harkeras.transfer.heads import create_head, fit_head, fit_regressions, statistics_of

STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)


@dataclass(frozen=True)
class Trial:
    """A candidate, and how it did in the cross-validation.

    Attributes:
        input: What the backbone is shown.
        parts: The parts of the features that the head looks at; of two heads that are averaged, two tuples.
        heads: Names of the heads.
        strengths: Of the heads that are statistics; None for others.
        accuracy: Share of the clips named right.
        loss: Mean cross entropy.
        probabilities: float (N, classes), what was said of each clip.
    """

    input: Input
    parts: tuple[tuple[str, ...], ...]
    heads: tuple[str, ...]
    strengths: tuple[float | None, ...]
    accuracy: float
    loss: float
    probabilities: np.ndarray

    def __str__(self) -> str:
        """Return a line of the report."""
        shown = f"{self.input.frames} x {self.input.height} x {self.input.width}"
        names = [
            f"{head} of {'+'.join(parts)}" + ("" if strength is None else f" (strength {strength:g})")
            for head, parts, strength in zip(self.heads, self.parts, self.strengths, strict=True)
        ]
        return f"{shown:<16} {self.accuracy:8.3f} {self.loss:8.3f}  {', and '.join(names)}"


def try_statistics(name, given, parts, values, labels, inner, num_classes) -> Trial:
    """Cross-validate a statistics head with each strength; return the best."""
    numbers = statistics_of(create_head(name, num_classes, values.shape[1:]), values)
    said = np.full((len(STRENGTHS), len(labels), num_classes), 1 / num_classes)
    for train, test in inner:
        fitted = fit_regressions(numbers[train], labels[train], num_classes, STRENGTHS)
        for each, (kernel, bias) in zip(said, fitted, strict=True):
            each[test] = softmax(numbers[test] @ kernel + bias, axis=1)
    trials = [
        score(given, (parts,), (name,), (strength,), each, labels)
        for each, strength in zip(said, STRENGTHS, strict=True)
    ]
    return min(trials, key=rank)


def try_trained(name, best: Trial, values, labels, inner, seed) -> Trial | None:
    """Cross-validate a head that is trained by gradient descent, on what the best trial looks at.

    This takes long, so that a head that does worse than the best on the first fold is given up: None.
    """
    said = np.full(best.probabilities.shape, 1 / best.probabilities.shape[1])
    head = create_head(name, said.shape[1], values.shape[1:])
    for train, test in inner:
        fit_head(head, values[train], labels[train], seed=seed)
        said[test] = ops.convert_to_numpy(head(values[test], training=False))
        if test is inner[0][1] and _accuracy(said, labels, test) < _accuracy(
            best.probabilities, labels, test
        ):
            return None
    return score(best.input, best.parts, (name,), (None,), said, labels)


def _accuracy(probabilities, labels, rows) -> float:
    return float((probabilities[rows].argmax(axis=1) == labels[rows]).mean())


def named_right(trial: Trial, labels: np.ndarray) -> np.ndarray:
    """Return which clips were named right, bool (N,)."""
    return trial.probabilities.argmax(axis=1) == labels


def smallest_input(trials: list[Trial], labels: np.ndarray) -> Input:
    """Return the input of fewest pixels on which a trial does as well as the best, as far as can be told.

    That is, if the best names no more clips right than the standard error of the difference: the root of how
    many clips just one of the two names right (McNemar, 1947). A larger input must be worth what it costs.
    """
    right = named_right(min(trials, key=rank), labels)
    others = [(trial.input, named_right(trial, labels)) for trial in trials]
    good = [given for given, other in others if right.sum() - other.sum() <= np.sqrt((right != other).sum())]
    return min(good, key=prod)


def best_of(trials: list[Trial], given: Input) -> Trial:
    """Return the best trial on an input."""
    return min((trial for trial in trials if trial.input == given), key=rank)


def averages_of(trials: list[Trial], labels: np.ndarray) -> list[Trial]:
    """Average the first trial with the next three, each with a head of its own kind."""
    best, averages = trials[0], []
    for other in trials[1:4]:
        mean = (best.probabilities + other.probabilities) / 2
        pair = (best.parts + other.parts, best.heads + other.heads, best.strengths + other.strengths)
        averages.append(score(best.input, *pair, mean, labels))
    return averages


def score(given, parts, heads, strengths, probabilities, labels) -> Trial:
    """Make a trial of what was said of each clip."""
    right = np.maximum(probabilities[np.arange(len(labels)), labels], 1e-6)
    accuracy = _accuracy(probabilities, labels, slice(None))
    return Trial(given, parts, heads, strengths, accuracy, float(-np.log(right).mean()), probabilities)


def rank(trial: Trial) -> tuple:
    """Order trials: by accuracy, then by cross entropy."""
    return -trial.accuracy, trial.loss
