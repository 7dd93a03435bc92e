"""What would more clips buy? The accuracy on sources never seen, with fewer and fewer of them to learn from.

Where a curve still rises at its end, more recordings help; where it is flat, more of the same kind will not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.stats import t
from tqdm.auto import tqdm

from harkeras.base.plot_style import styled
from harkeras.data.intervals import clustered_error, clustered_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARES = (0.25, 0.5)  # of the sources; all of them are known from the cross-validation


class CurvePoint(NamedTuple):
    """A point of a learning curve.

    Attributes:
        share: How much of the sources was learned from.
        sources: How many these are, the mean of the folds.
        clips: How many clips they have, the mean of the folds.
        accuracy: Share of the clips of other sources that were named right.
        low: Lower end of the 95 % interval of the accuracy, by sources.
        high: Its upper end.
    """

    share: float
    sources: float
    clips: float
    accuracy: float
    low: float
    high: float


class LearningCurve(NamedTuple):
    """A learning curve.

    Attributes:
        points: From the fewest sources to all.
        gain: What the last doubling of the sources added to the accuracy, and the 95 % interval of that.
    """

    points: list[CurvePoint]
    gain: tuple[float, float, float]

    def __str__(self) -> str:
        """Return a table, and what it says in a sentence."""
        lines = ["learning curve: the same, learned from fewer sources, on clips of other sources"]
        lines.append(f"  {'sources':>7} {'clips':>6} {'accuracy':>8}  95 % interval by sources")
        for _, sources, clips, accuracy, low, high in self.points:
            lines.append(f"  {sources:7.0f} {clips:6.0f} {accuracy:8.3f}  {low:.3f} to {high:.3f}")
        return "\n".join([*lines, self.sentence])

    @property
    def sentence(self) -> str:
        """What more clips would buy, as far as these clips can tell."""
        gain, low, high = self.gain
        words = f"the last doubling of the sources added {gain:+.3f} ({low:+.3f} to {high:+.3f})"
        if low > 0:
            return f"It still rises: {words}. More sources should help."
        if high < 0:
            return f"It falls: {words}. The sources may be of several kinds."
        return f"Flat within the interval: {words}. So few clips cannot tell whether more sources help."

    def numbers(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        gain, low, high = self.gain
        last_doubling = {"gain": gain, "low": low, "high": high}
        return {"points": [point._asdict() for point in self.points], "last_doubling": last_doubling}


def measure_learning_curve(
    labels: np.ndarray,
    groups: np.ndarray,
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    probabilities: np.ndarray,
    predict: Callable[[np.ndarray, np.ndarray], np.ndarray],
    *,
    draws: int = 3,
    seed: int = 27,
) -> LearningCurve | None:
    """Learn from a quarter and from half of the training sources of each fold, and name the others' clips.

    Which sources these are is a matter of luck, so that they are drawn more than once.

    Args:
        labels: int (N,), the classes of the clips.
        groups: (N,), their sources.
        folds: Rows to train on and to test on, for each fold.
        probabilities: float (N, classes), what was said of each clip by what had learned from all sources.
        predict: Learns from some rows, and returns what it says of others, float (M, classes).
        draws: How often fewer sources are drawn in each fold; the points are means.
        seed: Seed of the draws.

    Returns:
        `LearningCurve`; None if no class has 2 sources to learn from.
    """
    learned = _draw_rows(labels, groups, folds, draws, seed)
    if len(learned) == 1:
        return None
    tested = np.concatenate([test for _, test in folds])
    labels_tested, groups_tested = labels[tested], groups[tested]
    hits = {1.0: (probabilities[tested].argmax(axis=1) == labels_tested).astype(float)}
    shares = sorted(learned)
    with tqdm(desc="Learning curve", total=len(folds) * draws * (len(shares) - 1), unit="fit") as bar:
        for share in shares[:-1]:
            hits[share] = np.zeros(len(tested))
            for drawn in learned[share]:
                named = []
                for rows, (_, test) in zip(drawn, folds, strict=True):
                    named.append(predict(rows, test).argmax(axis=1))
                    bar.update()
                hits[share] += np.concatenate(named) == labels_tested
            hits[share] /= draws
    points = []
    for share in shares:
        counts = [(len(np.unique(groups[rows])), len(rows)) for drawn in learned[share] for rows in drawn]
        sources, clips = np.mean(counts, axis=0).tolist()
        interval = clustered_interval(hits[share], groups_tested)
        points.append(CurvePoint(share, sources, clips, float(hits[share].mean()), *interval))
    more = hits[1.0] - hits[shares[-2]]
    gain, half = more.mean(), clustered_error(more, groups_tested)
    half *= t.ppf(0.975, len(np.unique(groups_tested)) - 1)
    return LearningCurve(points, (float(gain), float(gain - half), float(gain + half)))


def _draw_rows(labels, groups, folds, draws, seed) -> dict[float, list[list[np.ndarray]]]:
    """Return the rows to learn from for each share, by draw and fold; none for one as large as the next."""
    learned = {1.0: [[train for train, _ in folds]]}
    for share in sorted(SHARES, reverse=True):
        rng = np.random.default_rng(seed)  # the same each time: half of the sources holds the quarter
        drawn = [
            [draw_sources(train, labels, groups, share, rng) for train, _ in folds] for _ in range(draws)
        ]
        larger = learned[min(learned)][0]
        if any(len(rows) < len(more) for rows, more in zip(drawn[0], larger, strict=True)):
            learned[share] = drawn
    return learned


def draw_sources(
    rows: np.ndarray, labels: np.ndarray, groups: np.ndarray, share: float, rng: np.random.Generator
) -> np.ndarray:
    """Return those of some rows that are of a share of the sources of each class, at least one.

    Args:
        rows: Of the clips to draw from.
        labels: int (N,), the classes of all clips.
        groups: (N,), their sources.
        share: Above 0, at most 1.
        rng: Draws the order of the sources, of which the first are taken.
    """
    order = rng.permutation(np.unique(groups[rows]))
    kept = []
    for label in np.unique(labels[rows]):
        of_class = rows[labels[rows] == label]
        sources = order[np.isin(order, groups[of_class])]
        sources = sources[: max(round(share * len(sources)), 1)]
        kept.append(of_class[np.isin(groups[of_class], sources)])
    return np.sort(np.concatenate(kept))


@styled
def plot_learning_curve(curve: LearningCurve, title: str = "What would more clips buy?") -> Figure:
    """Draw a learning curve with its 95 % intervals.

    Returns:
        `matplotlib.figure.Figure`
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    _, sources, clips, accuracy, low, high = np.array(curve.points).T
    axes.errorbar(sources, accuracy, [accuracy - low, high - accuracy], marker="o", capsize=4)
    axes.set_xscale("log", base=2)
    axes.minorticks_off()
    axes.set_xticks(sources, [f"{a:.0f}\n({b:.0f} clips)" for a, b in zip(sources, clips, strict=True)])
    axes.set(title=title, xlabel="sources learned from", ylabel="accuracy on other sources, 95 %")
    return figure
