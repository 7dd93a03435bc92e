"""The candidates among which `harkeras.transfer.auto` chooses, how they are compared, and which is taken."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Literal, get_args

import numpy as np
from keras import ops
from scipy.special import softmax
from tqdm.auto import tqdm

from harkeras.data.intervals import clustered_error
from harkeras.recipe import Subject
from harkeras.transfer._costs import Cost
from harkeras.transfer.feature_dataset import Input, place_side_by_side
from harkeras.transfer.heads import create_head, fit_head, fit_regressions, statistics_of

STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)

Preference = Literal["balanced", "speed", "accuracy"]
# So many standard errors may a cheaper candidate be behind the best.
_STANDARD_ERRORS = {"accuracy": 0.0, "balanced": 1.0, "speed": 2.0}


@dataclass(frozen=True)
class Trial:
    """A candidate, and how it did in the cross-validation.

    Attributes:
        inputs: For each head, what the backbone is shown.
        parts: For each head, the parts of the features that it looks at.
        heads: Names of the heads, one or two that are averaged.
        strengths: Of the heads that are statistics; None for others.
        cost: What it takes to name a clip.
        accuracy: Share of the clips named right.
        loss: Mean cross entropy.
        probabilities: float (N, classes), what was said of each clip.
    """

    inputs: tuple[Input, ...]
    parts: tuple[tuple[str, ...], ...]
    heads: tuple[str, ...]
    strengths: tuple[float | None, ...]
    cost: Cost
    accuracy: float
    loss: float
    probabilities: np.ndarray

    @property
    def input(self) -> Input:
        """What a model is shown that looks at all of it, side by side."""
        return place_side_by_side(tuple(dict.fromkeys(self.inputs)))

    def __str__(self) -> str:
        """Return a line of the report."""
        names = [
            f"{head} of {'+'.join(parts)}" + ("" if strength is None else f" (strength {strength:g})")
            for head, parts, strength in zip(self.heads, self.parts, self.strengths, strict=True)
        ]
        scores = f"{self.accuracy:8.3f} {self.loss:6.3f}"
        cost = f"{self.cost.multiply_adds / 1e9:8.2f} {self.cost.milliseconds:7.0f}"
        return f"{self.input!s:<27} {scores} {cost}  {', and '.join(names)}"


def try_statistics(name, given, parts, cost, values, labels, inner, num_classes) -> Trial:
    """Cross-validate a statistics head with each strength; return the best."""
    numbers = statistics_of(create_head(name, num_classes, values.shape[1:]), values)
    said = np.full((len(STRENGTHS), len(labels), num_classes), 1 / num_classes)
    for train, test in inner:
        fitted = fit_regressions(numbers[train], labels[train], num_classes, STRENGTHS)
        for each, (kernel, bias) in zip(said, fitted, strict=True):
            each[test] = softmax(numbers[test] @ kernel + bias, axis=1)
    trials = [
        score((given,), (parts,), (name,), (strength,), cost, each, labels)
        for each, strength in zip(said, STRENGTHS, strict=True)
    ]
    return min(trials, key=rank)


def try_trained(name, best: Trial, values, labels, inner, seed, title: str) -> Trial | None:
    """Cross-validate a head that is trained by gradient descent, on what the best trial looks at.

    This takes long, so that a head that does worse than the best on the first fold is given up: None.
    """
    said = np.full(best.probabilities.shape, 1 / best.probabilities.shape[1])
    head = create_head(name, said.shape[1], values.shape[1:])
    for train, test in tqdm(inner, title, unit="fold"):
        fit_head(head, values[train], labels[train], seed=seed)
        said[test] = ops.convert_to_numpy(head(values[test], training=False))
        if test is inner[0][1] and _accuracy(said, labels, test) < _accuracy(
            best.probabilities, labels, test
        ):
            return None
    return score(best.inputs, best.parts, (name,), (None,), best.cost, said, labels)


def _accuracy(probabilities, labels, rows) -> float:
    return float((probabilities[rows].argmax(axis=1) == labels[rows]).mean())


def named_right(trial: Trial, labels: np.ndarray) -> np.ndarray:
    """Return which clips were named right, bool (N,)."""
    return trial.probabilities.argmax(axis=1) == labels


def choose_trial(
    trials: list[Trial], labels: np.ndarray, groups: np.ndarray, prefer: Preference = "balanced"
) -> Trial:
    """Return the cheapest trial that the clips cannot tell from the best.

    That is, one that is behind it by no more than one standard error over the sources: the one-standard-error
    rule (Breiman et al., "Classification and Regression Trees", 1984; Hastie et al., "The Elements of
    Statistical Learning", section 7.10). The error is that of the best's accuracy; or of the difference of
    the two, if that is larger, because of a best that misses no clip the first would be zero.

    What to look at is no question of cost: of several subjects, one is chosen first, by the cross entropy on
    the dearest input of each. So none wins by being the luckiest of more; and how sure a model is of each
    clip tells two of them apart sooner than how many it names right.

    Args:
        trials: At least one.
        labels: int (N,), the classes of the clips.
        groups: (N,), their sources.
        prefer: "balanced"; "speed" for two standard errors; "accuracy" for none: the best.
    """
    subject = _choose_subject(trials)
    trials = [trial for trial in trials if trial.input.subject == subject]
    right, good = named_right(min(trials, key=rank), labels).astype(float), []
    own = clustered_error(right, groups)
    for trial in trials:
        behind = right - named_right(trial, labels)
        error = max(own, clustered_error(behind, groups))
        if behind.mean() <= _STANDARD_ERRORS[prefer] * error + 1e-12:
            good.append(trial)
    return min(good, key=lambda trial: (trial.cost.multiply_adds, *rank(trial)))


def _choose_subject(trials: list[Trial]) -> Subject:
    """Return the subject with the lowest cross entropy on the dearest input of each."""
    best: dict[Subject, tuple[int, float]] = {}
    for trial in trials:
        given = trial.input
        entry = -given.pixels, trial.loss
        best[given.subject] = min(entry, best.get(given.subject, entry))
    return min(best, key=lambda subject: best[subject][1])


def check_preference(prefer: str) -> None:
    """Raise ValueError if there is no such preference."""
    if prefer not in get_args(Preference):
        raise ValueError(f"prefer must be one of {', '.join(get_args(Preference))}, got {prefer!r}")


def average_trials(trials: list[Trial], labels: np.ndarray, cost_of) -> list[Trial]:
    """Average the best of some trials on one input with each of the next three.

    Args:
        trials: Of single heads, on one input.
        labels: int (N,), the classes of the clips.
        cost_of: What heads that look at some parts cost.
    """
    best, *others = sorted(trials, key=rank)[:4]
    costs = [cost_of({part for parts in best.parts + other.parts for part in parts}) for other in others]
    return [_average(best, other, cost, labels) for other, cost in zip(others, costs, strict=True)]


def average_views(trials: list[Trial], labels: np.ndarray) -> list[Trial]:
    """Average what is said of whole frames with what is said of all people in as many of them: late fusion.

    What two views get wrong, they get wrong for different reasons (Simonyan and Zisserman, "Two-Stream
    Convolutional Networks for Action Recognition in Videos", NeurIPS 2014, of pictures and optical flow).

    Args:
        trials: Of single heads. The best on each input of whole frames is averaged with the best on the
            squares that fit beside it.
        labels: int (N,), the classes of the clips.
    """
    best = {trial.inputs[0]: trial for trial in sorted(trials, key=rank, reverse=True)}
    return [
        _average(best[frame], best[people], best[frame].cost.plus(best[people].cost), labels)
        for frame, people in product(best, best)
        if frame.subject == "frame"
        and people == (frame.frames, *2 * [min(frame.height, frame.width)], "people")
    ]


def _average(one: Trial, other: Trial, cost: Cost, labels: np.ndarray) -> Trial:
    """Average what two trials say of each clip."""
    mean = (one.probabilities + other.probabilities) / 2
    heads = one.heads + other.heads, one.strengths + other.strengths
    return score(one.inputs + other.inputs, one.parts + other.parts, *heads, cost, mean, labels)


def score(inputs, parts, heads, strengths, cost, probabilities, labels) -> Trial:
    """Make a trial of what was said of each clip."""
    right = np.maximum(probabilities[np.arange(len(labels)), labels], 1e-6)
    accuracy = _accuracy(probabilities, labels, slice(None))
    return Trial(inputs, parts, heads, strengths, cost, accuracy, float(-np.log(right).mean()), probabilities)


def rank(trial: Trial) -> tuple:
    """Order trials: by accuracy, then by cross entropy."""
    return -trial.accuracy, trial.loss


def best_at_each_cost(trials: list[Trial]) -> list[Trial]:
    """Return the best trial at each cost, the cheapest first."""
    best: dict[int, Trial] = {}
    for trial in sorted(trials, key=rank):
        best.setdefault(trial.cost.multiply_adds, trial)
    return [best[cost] for cost in sorted(best)]
