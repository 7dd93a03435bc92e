"""Scores that say how far they can be trusted, and the plots of a training.

Functions return numbers and figures; nothing is printed or shown.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
from matplotlib.figure import Figure
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from harkeras.batches import ClipDataset
from harkeras.calibration import expected_calibration_error
from harkeras.datasets import Dataset
from harkeras.decisions import name_classes
from harkeras.scoring import raw_probabilities, unpack_clips


@dataclass(frozen=True)
class Evaluation:
    """How a model did on clips that it was not trained on.

    Attributes:
        classes: Names of the classes.
        labels: int (N,), the true classes.
        probabilities: float32 (N, classes), what the model said.
        loss: Mean cross entropy.
        accuracy: Share of the clips named right, in [0, 1].
        interval: The 95 % Wilson interval of the accuracy, which takes clips as independent.
        precision: float (classes,), share of the clips so named that are of the class; 0 if none was.
        recall: float (classes,), share of the clips of the class that were named so.
        f1: float (classes,), harmonic mean of the two.
        support: int (classes,), clips of the class.
        confusion: int (classes, classes), clips by true class (row) and named class (column).
        split: How the clips were chosen, in words.
        unit: What was scored: "clips", or "videos (3 clips each, scores averaged)".
        group_interval: The 95 % bootstrap interval of the accuracy over whole source videos, whose clips are
            alike; None where the sources are not known. Usually the wider one, and the one to trust.
        latency_seconds: Time of the model for one clip, decoding apart: the median and the 95th percentile;
            None where it was not measured.
    """

    classes: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray
    loss: float
    accuracy: float
    interval: tuple[float, float]
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray
    confusion: np.ndarray
    split: str
    unit: str = "clips"
    group_interval: tuple[float, float] | None = None
    latency_seconds: tuple[float, float] | None = None

    @property
    def mean_class_accuracy(self) -> float:
        """Mean recall of the classes that occur: what the accuracy would be if all were equally frequent."""
        return float(self.recall[self.support > 0].mean())

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the classes that occur, rare ones counting as much as common ones."""
        return float(self.f1[self.support > 0].mean())

    @property
    def calibration_error(self) -> float:
        """Mean distance of the highest probability from the share for which it is right, over 15 bins."""
        return expected_calibration_error(self.labels, self.probabilities)

    def top_k(self, k: int) -> float:
        """Return the share whose true class is among the k most probable ones.

        Raises:
            ValueError: If `k` is not between 1 and the number of classes.
        """
        if not 1 <= k <= len(self.classes):
            raise ValueError(f"k must lie in 1 to {len(self.classes)}, got {k}")
        best = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :k]
        return float((best == self.labels[:, None]).any(axis=1).mean())

    def __str__(self) -> str:
        """Return the report as text: a table per class, and the accuracy with its interval."""
        width = max(len(name) for name in (*self.classes, "class"))
        lines = [f"{'class':<{width}}  precision  recall     F1  clips"]
        for name, *scores, support in zip(
            self.classes, self.precision, self.recall, self.f1, self.support, strict=True
        ):
            lines.append(
                f"{name:<{width}}  {scores[0]:9.2f}  {scores[1]:6.2f}  {scores[2]:5.2f}  {support:5d}"
            )
        low, high = self.interval
        lines.append(
            f"accuracy {self.accuracy:.3f} on {len(self.labels)} {self.unit} "
            f"(95 % interval {low:.3f} to {high:.3f}; naming the commonest class gives "
            f"{self.support.max() / self.support.sum():.3f})"
        )
        if self.group_interval is not None:
            low, high = self.group_interval
            lines.append(f"95 % interval over whole source videos: {low:.3f} to {high:.3f}")
        top = f", top-5 accuracy {self.top_k(5):.3f}" if len(self.classes) > 5 else ""
        lines.append(f"mean class accuracy {self.mean_class_accuracy:.3f}, macro F1 {self.macro_f1:.3f}{top}")
        lines.append(f"expected calibration error {self.calibration_error:.3f}")
        if self.latency_seconds is not None:
            median, p95 = (f"{1000 * seconds:.1f} ms" for seconds in self.latency_seconds)
            lines.append(f"one clip takes the model {median} (median; 95 % of calls below {p95})")
        return "\n".join(lines + [f"split: {self.split}"] * bool(self.split))


def evaluate(
    model: keras.Model,
    features: np.ndarray | Dataset | ClipDataset,
    labels: np.ndarray | None = None,
    *,
    classes: Sequence[str] | None = None,
    groups: np.ndarray | None = None,
    split: str = "",
    batch_size: int = 16,
) -> Evaluation:
    """Score a model on clips, one prediction per clip.

    Temperature and tuned thresholds of the model's recipe are applied, as they are in prediction.

    Args:
        model: The model.
        features: Clips (N, T, H, W, C), as `create_dataset` gives them, that the model was not trained on; a
            `Dataset`, which brings its labels, classes and groups; or a `ClipDataset`, which brings its
            labels, and whose scores are averaged over its clips per video.
        labels: int (N,), their classes, if they are no data set.
        classes: Names of the classes; those of the model's recipe or of the data set by default.
        groups: (N,), the source of each clip, for an interval over whole sources.
        split: How the clips were chosen, in words, such as "by source video, 12 of 46 sources"; for the
            report.
        batch_size: Clips per step; without meaning for a `ClipDataset`.

    Returns:
        `Evaluation`; `print` it for the table.

    Raises:
        ValueError: If there is no clip, labels come beside a data set or are missing, or clips, labels,
            classes and model do not fit together.
    """
    if groups is None and isinstance(features, Dataset):
        groups = features.groups
    features, labels, classes = unpack_clips(model, features, labels, classes)
    probabilities, named = name_clips(model, features, batch_size=batch_size)
    each = np.arange(len(classes))
    hits = int((named == labels).sum())
    scores = precision_recall_fscore_support(labels, named, labels=each, zero_division=0)
    unit = "clips"
    if isinstance(features, ClipDataset) and features.clips_per_video > 1:
        unit = f"videos ({features.clips_per_video} clips each, scores averaged)"
    return Evaluation(
        unit=unit,
        group_interval=None if groups is None else bootstrap_interval(named == labels, groups),
        classes=tuple(classes),
        labels=labels,
        probabilities=probabilities,
        loss=float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-7)).mean()),
        accuracy=hits / len(labels),
        interval=wilson_interval(hits, len(labels)),
        precision=scores[0],
        recall=scores[1],
        f1=scores[2],
        support=scores[3],
        confusion=confusion_matrix(labels, named, labels=each),
        split=split,
    )


def wilson_interval(hits: int, clips: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a share of independent clips."""
    interval = binomtest(hits, clips).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap_interval(
    hits: np.ndarray, groups: np.ndarray, *, draws: int = 2000, seed: int = 27
) -> tuple[float, float]:
    """Return the 95 % interval of a share, drawing whole groups with replacement.

    Clips of one source succeed or fail together, so that there is less to know from them than their number
    says. Where all succeed or all fail, no draw differs from another, and the Wilson interval of as many
    clips as there are groups takes its place.

    Args:
        hits: bool (N,).
        groups: (N,), the group of each.
        draws: Number of bootstrap samples.
        seed: Seed of the draws.

    Raises:
        ValueError: If the lengths differ.
    """
    if len(hits) != len(groups) or not len(hits):
        raise ValueError(f"groups must be one per clip, got {len(groups)} and {len(hits)} clips")
    _, group_of_row = np.unique(groups, return_inverse=True)
    if np.all(hits) or not np.any(hits):
        sources = int(group_of_row.max()) + 1
        return wilson_interval(sources if np.all(hits) else 0, sources)
    clips, right = np.bincount(group_of_row), np.bincount(group_of_row, weights=hits)
    drawn = np.random.default_rng(seed).integers(0, len(clips), (draws, len(clips)))
    shares = right[drawn].sum(axis=1) / clips[drawn].sum(axis=1)
    low, high = np.quantile(shares, [0.025, 0.975])
    return float(low), float(high)


def measure_latency(
    model: keras.Model, clip: np.ndarray | None = None, *, repeats: int = 20
) -> tuple[float, float]:
    """Return how long one clip takes, in seconds: the median and the 95th percentile of some calls.

    Args:
        model: The model.
        clip: One clip (T, H, W, C); a black one by default, which takes as long.
        repeats: Number of calls that are timed, after one that is not.

    Raises:
        ValueError: If `repeats` is below 1.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    clip = np.zeros(model.input_shape[1:], np.uint8) if clip is None else clip
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        model.predict_on_batch(clip[None])
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:])), float(np.quantile(times[1:], 0.95))


def name_clips(
    model: keras.Model, features: np.ndarray | ClipDataset, *, batch_size: int = 16
) -> tuple[np.ndarray, np.ndarray]:
    """Return what a model says of clips, by the temperature and the tuned thresholds of its recipe, if any.

    Returns:
        Probabilities float32 (N, classes), averaged over the clips of each video of a `ClipDataset`, and the
        named classes int (N,).
    """
    probabilities = raw_probabilities(model, features, batch_size=batch_size)  # (N, K, classes)
    recipe = getattr(model, "recipe", None)
    if recipe is None:
        probabilities = probabilities.mean(axis=1)
        return probabilities, probabilities.argmax(axis=1)
    # Each clip by the temperature, then the mean: as in prediction, which cannot wait for the last window.
    probabilities = recipe.sharpen(probabilities).mean(axis=1)
    return probabilities, name_classes(probabilities, recipe.threshold_row)


def plot_metric(history: keras.callbacks.History, metric: str, other: str, title: str) -> Figure:
    """Draw two metrics of a training over its epochs.

    Args:
        history: What `train` returned.
        metric: Name of a metric, such as "loss".
        other: Name of another, such as "val_loss".
        title: Title of the plot.

    Returns:
        `matplotlib.figure.Figure`

    Raises:
        ValueError: If the history has no metric of that name.
    """
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, style in ((metric, "-"), (other, "--")):
        if name not in history.history:
            raise ValueError(f"metric must be one of {', '.join(history.history)}, got {name!r}")
        values = history.history[name]
        axes.plot(range(1, len(values) + 1), values, style, marker=".", label=name)
    axes.set(title=title, xlabel="epoch", ylabel=metric.replace("_", " "))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def plot_confusion_matrix(confusion: np.ndarray, classes: Sequence[str], title: str = "") -> Figure:
    """Draw a confusion matrix: numbers of clips, coloured by the share of each true class.

    Args:
        confusion: int (classes, classes), clips by true class (row) and named class (column).
        classes: Names of the classes.
        title: Title of the plot.

    Returns:
        `matplotlib.figure.Figure`

    Raises:
        ValueError: If the matrix does not fit the classes.
    """
    confusion = np.asarray(confusion)
    if confusion.shape != (len(classes), len(classes)):
        raise ValueError(f"confusion must be {len(classes)} x {len(classes)}, got {confusion.shape}")
    size = 2.5 + 0.6 * len(classes)
    figure = Figure(figsize=(size + 0.8, size), layout="constrained")
    axes = figure.subplots()
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*confusion.shape):
        colour = "white" if share[row, column] > 0.5 else "black"
        axes.text(column, row, confusion[row, column], ha="center", va="center", color=colour)
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel="named", ylabel="true", title=title)
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    return figure
