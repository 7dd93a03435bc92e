"""Is a model that says 90 % right nine times in ten? Calibration, and thresholds for precision or recall.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.

Networks are mostly too sure of themselves. Temperature scaling divides their logits by one number that is
fitted on validation clips: the named classes stay the same, the probabilities become honest. Both the
temperature and the thresholds go into the model's recipe, and prediction and evaluation use them from there:

    calibrate(model, validation_set)
    evaluation = evaluate(model, validation_set)
    threshold = tune_threshold(evaluation.labels, evaluation.probabilities, class_row, precision=0.9)
    model.recipe = dataclasses.replace(model.recipe, thresholds={classes[class_row]: threshold})

First the temperature, then the thresholds, which are compared with probabilities that it has sharpened. Fit
neither on the clips of the final test.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import keras
import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp
from sklearn.metrics import precision_recall_curve

from harkeras.base.plot_style import styled
from harkeras.data.batches import ClipDataset
from harkeras.data.datasets import Dataset
from harkeras.training.scoring import raw_probabilities, unpack_clips

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray, *, bins: int = 15) -> float:
    """Return the mean gap between how sure the model is and how often it is right.

    Args:
        labels: int (N,), the true classes.
        probabilities: float (N, classes), what the model said.
        bins: Number of equal parts of [0, 1] over which the gap is averaged, weighted by the clips in each.

    Raises:
        ValueError: If the shapes do not fit, or `bins` is below 1.
    """
    return float(sum(share * abs(right - sure) for share, right, sure in _bins(labels, probabilities, bins)))


def calibrate(
    model: keras.Model,
    dataset: Dataset | ClipDataset,
    *,
    batch_size: int = 16,
) -> float:
    """Fit the temperature of a model to clips that it was not trained on, and put it into its recipe.

    It is fitted to what the model says by itself: a temperature that the recipe already has is replaced, and
    plays no part.

    Args:
        model: A model with a recipe.
        dataset: Validation clips.
        batch_size: Clips per step.

    Returns:
        The temperature; above 1 the model was too sure of itself.

    Raises:
        ValueError: If the model has no recipe, or clips and model do not fit together.
    """
    recipe = getattr(model, "recipe", None)
    if recipe is None:
        raise ValueError("model must have a recipe: pass one that went through train() or load_model()")
    clips = unpack_clips(model, dataset)
    rows, probabilities = raw_probabilities(clips.model, clips.features, batch_size=batch_size)
    temperature = fit_temperature(clips.labels[rows], probabilities)
    if recipe.thresholds and abs(np.log(temperature / recipe.temperature)) > 0.01:
        warnings.warn(
            f"the thresholds of {', '.join(recipe.thresholds)} were tuned at the temperature "
            f"{recipe.temperature:.3g}, which is {temperature:.3g} now: tune them again",
            stacklevel=2,
        )
    model.recipe = replace(recipe, temperature=temperature)
    return temperature


def fit_temperature(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the temperature that makes the cross entropy least; above 1 the model was too sure.

    It is expected near 1 (its logarithm normal, of deviation 0.5), which only many clips, or strong ones,
    outweigh: few clips that are all named right do not make a model certain.

    Args:
        labels: int (N,), the true classes of validation clips.
        probabilities: float (N, classes), what the model said by itself. Those of an `Evaluation` are divided
            by the recipe's temperature already; `calibrate` takes care of that. Or (N, K, classes), of K
            clips of each video, whose mean after scaling is meant.

    Raises:
        ValueError: If the shapes do not fit.
    """
    probabilities = np.asarray(probabilities, float)
    clips = probabilities[:, None] if probabilities.ndim == 2 else probabilities  # (N, K, classes)
    labels, _ = _check(labels, clips.mean(axis=1) if clips.ndim == 3 else clips)
    logits = np.log(np.maximum(clips, 1e-12))

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature), axis=2)[np.arange(len(labels)), :, labels]
        right = logsumexp(scaled, axis=1) - np.log(clips.shape[1])  # of the mean over the K clips
        return float(-right.sum() + 0.5 * (log_temperature / 0.5) ** 2)

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


def tune_threshold(
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_row: int,
    *,
    precision: float | None = None,
    recall: float | None = None,
) -> float:
    """Return the probability from which on to name a class, for a wanted precision or recall of it.

    For a precision, the lowest threshold that reaches it, which leaves the most recall; for a recall, the
    highest.

    Args:
        labels: int (N,), the true classes of validation clips.
        probabilities: float (N, classes), those of an `Evaluation`, as prediction has them: made with the
            temperature that the model keeps, so `calibrate` comes first.
        class_row: Index of the class.
        precision: Wanted precision of the class, in (0, 1].
        recall: Wanted recall of the class, in (0, 1].

    Raises:
        ValueError: If not just one of the two is given, the class has no clip, or no threshold reaches it.
    """
    if (precision is None) == (recall is None):
        raise ValueError("one of precision and recall must be given, and not both")
    labels, probabilities = _check(labels, probabilities)
    positive = labels == class_row
    if not positive.any():
        raise ValueError(f"labels must name the class {class_row}, got none of it")
    precisions, recalls, thresholds = precision_recall_curve(positive, probabilities[:, class_row])
    if recall is not None:
        return float(thresholds[recalls[:-1] >= recall].max())  # a recall of 1 is always reached
    reached = thresholds[precisions[:-1] >= precision]
    if not len(reached):
        raise ValueError(
            f"precision must be at most {precisions[:-1].max():.3f} on these clips, got {precision}"
        )
    return float(max(reached.min(), 1e-6))


@styled
def plot_calibration(
    labels: np.ndarray, probabilities: np.ndarray, title: str = "Calibration", *, bins: int = 15
) -> Figure:
    """Draw how often the model is right against how sure it is; on the diagonal it is honest.

    Args:
        labels: int (N,), the true classes.
        probabilities: float (N, classes), what the model said.
        title: Title of the plot.
        bins: Number of parts of [0, 1].

    Returns:
        `matplotlib.figure.Figure`

    Raises:
        ValueError: If the shapes do not fit, or `bins` is below 1.
    """
    from matplotlib.figure import Figure

    rows = [row for row in _bins(labels, probabilities, bins) if row[0]]
    error = expected_calibration_error(labels, probabilities, bins=bins)
    figure = Figure(figsize=(5.5, 6.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], "--", color="gray", label="honest")
    shares, right, sure = np.array(rows).T
    axes.plot(sure, right, "o-", label=f"model (expected error {error:.3f})")
    for x, y, share in zip(sure, right, shares, strict=True):
        axes.annotate(
            f"{round(share * len(labels))}", (x, y), textcoords="offset points", xytext=(5, -13), fontsize=10
        )
    axes.set(
        title=title,
        xlabel="probability of the named class",
        ylabel="share named right",
        xlim=(0, 1),
        ylim=(-0.05, 1.05),
    )
    figure.legend(loc="outside lower center", title="numbers: clips", ncols=2)
    return figure


def _bins(labels: np.ndarray, probabilities: np.ndarray, bins: int) -> list[tuple[float, float, float]]:
    """Return, for each part of [0, 1]: the share of clips in it, the share of these right, and how sure."""
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    labels, probabilities = _check(labels, probabilities)
    sure, hits = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    part = np.minimum((sure * bins).astype(int), bins - 1)
    rows = []
    for i in range(bins):
        inside = part == i
        rows.append(
            (inside.mean(), hits[inside].mean(), sure[inside].mean()) if inside.any() else (0.0, 0.0, 0.0)
        )
    return rows


def _check(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, float)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not len(labels):
        raise ValueError(
            f"probabilities must be (N, classes) for N labels, got {probabilities.shape} and labels "
            f"{labels.shape}"
        )
    return labels, probabilities
