"""Decide on a whole file, where what comes later is known: the best path of labels, not one label at a time.

A stream has to say what happens now, and holds on to a label until another one has lasted for a while. In a
file each moment can be judged by what lies before and behind it, and all borders are placed together: of all
ways to divide the file, the one with the largest sum of probabilities wins. Then parts of it may be "unsure".

The search is that of Viterbi, "Error Bounds for Convolutional Codes and an Asymptotically Optimum Decoding
Algorithm", IEEE Transactions on Information Theory, 1967, here with a least length for each label.
"""

from __future__ import annotations

import numpy as np

from harkeras.inference._timeline import VideoPrediction, make_prediction
from harkeras.inference.decisions import UNSURE, Window, count_strides
from harkeras.recipe import Recipe


def decide_whole(
    windows: list[Window],
    recipe: Recipe,
    duration_seconds: float,
    *,
    stride_seconds: float,
    smoothing_seconds: float,
    hysteresis: float,
    min_seconds: float,
    threshold: float,
) -> VideoPrediction:
    """Decide on the windows of a whole video, all together.

    Args:
        windows: The windows in order, at least one.
        recipe: Of the model: its classes, their tuned thresholds, and how long a window is.
        duration_seconds: When the video ends.
        stride_seconds: Time between windows.
        smoothing_seconds: Average the probabilities of windows whose middles lie within this time, half of it
            on either side; over the length of a window these are all the windows that hold a moment.
        hysteresis: What a change of the label costs: it must gain as much as a lead of this probability does
            over the length of a window.
        min_seconds: A label must last this long.
        threshold: Where the label is less probable than this, it is "unsure".
    """
    middles = np.array([(window.start_seconds + window.end_seconds) / 2 for window in windows])
    smoothed = smooth(middles, np.stack([window.probabilities for window in windows]), smoothing_seconds)
    scores = stride_seconds * score_labels(smoothed, threshold, recipe.threshold_row)
    costs = {
        "switch_cost": hysteresis * recipe.clip_seconds,
        "min_length": count_strides(min_seconds, stride_seconds),
    }
    path = find_best_path(scores[:, :-1], **costs)
    # "Unsure" is no rival of the labels: it would take the place of several with doubts about each border.
    for rows in np.split(np.arange(len(path)), np.flatnonzero(np.diff(path)) + 1):
        label = path[rows[0]]
        unsure = find_best_path(scores[rows][:, [label, -1]], **costs)
        path[rows[unsure == 1]] = len(recipe.classes)
    firsts = np.flatnonzero(np.diff(path, prepend=-1))
    names = (*recipe.classes, UNSURE)
    runs = [(int(first), names[path[first]]) for first in firsts]
    return make_prediction(runs, smoothed, middles, windows, recipe.classes, duration_seconds)


def smooth(middles: np.ndarray, probabilities: np.ndarray, seconds: float) -> np.ndarray:
    """Average the probabilities (W, classes) of windows whose middles lie within `seconds`, around each.

    What lies just at the end of that time is left out: a window that ends with a moment does not hold it.
    """
    reach = max(seconds / 2 - 1e-6, 0)
    totals = _running_totals(probabilities)
    first = np.searchsorted(middles, middles - reach)
    stop = np.searchsorted(middles, middles + reach, side="right")
    return (totals[stop] - totals[first]) / (stop - first)[:, None]


def score_labels(probabilities: np.ndarray, threshold: float, thresholds: np.ndarray) -> np.ndarray:
    """Give each label a score, of which the best is what `name_classes` and the threshold would choose.

    A class without a tuned threshold has its probability, "unsure" the threshold. A tuned class has r / (1 +
    r), a half or more, where its probability is r times its threshold and reaches it, else 0; the others have
    no more than what is left.

    Args:
        probabilities: float (W, classes).
        threshold: Under this probability the label is "unsure"; 0 for never, unless all classes are tuned.
        thresholds: float (classes,), 0 for classes without one.

    Returns:
        float (W, classes + 1), "unsure" at the end.
    """
    tuned = thresholds > 0
    ratios = probabilities / np.where(tuned, thresholds, np.inf)
    reached = np.where(ratios >= 1, ratios / (1 + ratios), 0)  # (W, classes)
    rest = 1 - reached.max(axis=1, keepdims=True)
    scores = np.where(tuned, reached, np.minimum(probabilities, rest))
    return np.concatenate([scores, np.minimum(0.5 if tuned.all() else threshold, rest)], axis=1)


def find_best_path(scores: np.ndarray, *, switch_cost: float, min_length: int) -> np.ndarray:
    """Choose a label for each step so that the sum of scores, less a cost for each change, is largest.

    Args:
        scores: float (N, labels), N at least 1.
        switch_cost: What a change of the label costs, not negative.
        min_length: Steps that a label must last, at least 1; where there are fewer in all, they get one.

    Returns:
        int (N,), indices of labels.
    """
    count, least = len(scores), min(min_length, len(scores))
    totals = _running_totals(scores)
    best = np.full(totals.shape, -np.inf)  # [n, label]: of the first n steps, if they end in a whole label
    enters = np.zeros(totals.shape, bool)  # whether that label has lasted for no longer than it must
    best[least] = totals[least]
    for n in range(least + 1, count + 1):
        best[n] = best[n - 1] + scores[n - 1]
        anew = best[n - least].max() - switch_cost + totals[n] - totals[n - least]
        enters[n] = anew > best[n] + 1e-9  # where it is the same, nothing changes
        best[n] = np.where(enters[n], anew, best[n])
    path, n = np.empty(count, int), count
    label = int(best[n].argmax())
    while n > least:
        begin = n - (least if enters[n, label] else 1)
        path[begin:n] = label
        if enters[n, label]:
            label = int(best[begin].argmax())
        n = begin
    path[:n] = label
    return path


def _running_totals(values: np.ndarray) -> np.ndarray:
    """Return the sums (N + 1, K) of the first 0 to N of the rows (N, K)."""
    return np.concatenate([np.zeros_like(values[:1]), values]).cumsum(axis=0, dtype=np.float64)
