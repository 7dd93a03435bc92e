"""What would more clips buy? Curves of learners whose answer is known."""

import numpy as np
import pytest

from harkeras.transfer.learning_curve import draw_sources, measure_learning_curve, plot_learning_curve

LABELS, GROUPS = np.arange(400) // 2 % 2, np.arange(400) // 10  # 40 sources, ten clips of two classes in each
FOLDS = [(np.flatnonzero(GROUPS % 4 != fold), np.flatnonzero(GROUPS % 4 == fold)) for fold in range(4)]


def named(rows, accuracy, seed=0):
    """Name a share of some clips right."""
    right = np.random.default_rng(seed).random(len(rows)) < accuracy
    return np.eye(2)[np.where(right, LABELS[rows], 1 - LABELS[rows])]


def curve_of(learn):
    """The curve of a learner whose accuracy is a function of how many sources it is given."""
    said = np.zeros((400, 2))
    for train, test in FOLDS:
        said[test] = named(test, learn(len(np.unique(GROUPS[train]))), seed=train[0] + 1)
    return measure_learning_curve(
        LABELS,
        GROUPS,
        FOLDS,
        said,
        lambda some, others: named(others, learn(len(np.unique(GROUPS[some]))), seed=len(some) + others[0]),
    )


def test_a_learner_that_needs_more_rises():
    curve = curve_of(lambda sources: 0.5 + sources / 70)
    assert [point.share for point in curve.points] == [0.25, 0.5, 1.0]
    assert [point.sources for point in curve.points] == [8, 15, 30]
    assert [point.clips for point in curve.points] == [80, 150, 300]
    for point in curve.points:
        assert point.accuracy == pytest.approx(0.5 + point.sources / 70, abs=0.06)
        assert point.low < point.accuracy < point.high
    gain, low, high = curve.gain
    assert gain == pytest.approx(curve.points[-1].accuracy - curve.points[-2].accuracy)
    assert low < gain < high
    assert curve.sentence.startswith(f"It still rises: the last doubling of the sources added {gain:+.3f} (")
    assert f"{curve.points[0].accuracy:.3f}  {curve.points[0].low:.3f} to" in str(curve)


def test_one_that_knows_is_flat_and_one_that_forgets_falls():
    flat = curve_of(lambda _: 0.8)
    assert flat.sentence.startswith("Flat within the interval: the last doubling")
    assert curve_of(lambda sources: 0.9 - sources / 75).sentence.startswith("It falls: ")
    assert flat.numbers()["last_doubling"]["gain"] == flat.gain[0]
    axes = plot_learning_curve(flat).axes[0]
    assert axes.get_xlabel() == "sources learned from"
    assert axes.get_xticklabels()[0].get_text() == "8\n(80 clips)"


def test_half_of_the_sources_holds_the_quarter_and_every_class():
    rows = FOLDS[0][0]
    quarter, half = (draw_sources(rows, LABELS, GROUPS, s, np.random.default_rng(3)) for s in (0.25, 0.5))
    assert set(quarter) < set(half) < set(rows)
    labels = np.where(GROUPS == 5, 1, 0)  # a class of a single source
    few = draw_sources(rows, labels, GROUPS, 0.25, np.random.default_rng(3))
    assert set(labels[few]) == {0, 1}
    assert set(GROUPS[few]) <= set(GROUPS[rows])


def test_too_few_sources_have_no_curve():
    two = np.flatnonzero(GROUPS < 2)
    folds = [(two[:10], two[10:]), (two[10:], two[:10])]
    assert measure_learning_curve(LABELS, GROUPS, folds, np.zeros((400, 2)), None) is None
    four = np.flatnonzero(GROUPS < 4)
    folds = [(four[:20], four[20:]), (four[20:], four[:20])]  # a quarter and half are one source
    curve = measure_learning_curve(
        LABELS, GROUPS, folds, np.zeros((400, 2)), lambda _, others: named(others, 0.5)
    )
    assert [point.share for point in curve.points] == [0.5, 1.0]
