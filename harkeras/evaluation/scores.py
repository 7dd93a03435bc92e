"""Scores that say how far they can be trusted."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from sklearn.metrics import confusion_matrix

from harkeras.data.batches import ClipDataset
from harkeras.data.datasets import Dataset
from harkeras.data.intervals import clustered_interval, wilson_interval
from harkeras.inference.decisions import name_classes
from harkeras.training.calibration import expected_calibration_error
from harkeras.training.scoring import raw_probabilities, unpack_clips

# Clips of large frames are scored a few at a time, because what a network makes of them takes memory.
_NUMBERS_PER_BATCH = 20_000_000


@dataclass(frozen=True)
class Evaluation:
    """How a model did on clips that it was not trained on.

    Attributes:
        classes: Names of the classes.
        labels: int (N,), the true classes.
        probabilities: float32 (N, classes), what the model said.
        named: int (N,), the classes that were named: the most probable ones, but for tuned thresholds.
        loss: Mean cross entropy.
        accuracy: Share of the clips named right, in [0, 1].
        interval: The 95 % Wilson interval of the accuracy, which takes clips as independent.
        precision: float (classes,), share of the clips so named that are of the class; 0 if none was.
        recall: float (classes,), share of the clips of the class that were named so; 0 if there is none.
        f1: float (classes,), harmonic mean of the two; 0 if the class neither occurs nor was named.
        support: int (classes,), clips of the class.
        confusion: int (classes, classes), clips by true class (row) and named class (column).
        split: How the clips were chosen, in words.
        unit: What was scored: "clips", or "videos (3 clips each, scores averaged)".
        group_interval: The 95 % interval of the accuracy that takes into account how alike the clips of one
            source are, see `harkeras.data.intervals`; None where the sources are not known. Usually the wider
            one, and the one to trust.
        latency_seconds: Time of the model for one clip, decoding apart: the median and the 95th percentile;
            None where it was not measured.
    """

    classes: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray
    named: np.ndarray
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
        low, high = self.interval
        lines = [
            *self._table(),
            f"accuracy {self.accuracy:.3f} on {len(self.labels)} {self.unit} "
            f"(95 % interval {low:.3f} to {high:.3f}; naming the commonest class gives "
            f"{self.support.max() / self.support.sum():.3f})",
        ]
        if self.group_interval is not None:
            low, high = self.group_interval
            lines.append(f"95 % interval over whole source videos: {low:.3f} to {high:.3f}")
        occur = np.count_nonzero(self.support)
        of_those = f" of the {occur} classes that occur" if occur < len(self.classes) else ""
        top = f", top-5 accuracy {self.top_k(5):.3f}" if len(self.classes) > 5 else ""
        lines.append(
            f"mean class accuracy {self.mean_class_accuracy:.3f}, macro F1 {self.macro_f1:.3f}{of_those}{top}"
        )
        lines += self._rare_classes()
        lines.append(f"expected calibration error {self.calibration_error:.3f}")
        if self.latency_seconds is not None:
            median, p95 = (f"{1000 * seconds:.1f} ms" for seconds in self.latency_seconds)
            lines.append(f"one clip takes the model {median} (median; 95 % of calls below {p95})")
        if self.split:
            lines.append(f"split: {self.split}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return all scores as plain numbers, for JSON; None stands where there is nothing to compute."""
        scores = ("accuracy", "interval", "group_interval", "loss", "mean_class_accuracy", "macro_f1")
        per_class = {}
        for row, name in enumerate(self.classes):
            values = {"precision": self.precision[row], "recall": self.recall[row], "f1": self.f1[row]}
            occurs = self.support[row] > 0
            per_class[name] = {"clips": int(self.support[row])}
            per_class[name] |= {key: float(value) if occurs else None for key, value in values.items()}
        return {
            "clips": len(self.labels),
            "unit": self.unit,
            "split": self.split,
            **{name: getattr(self, name) for name in scores},
            "commonest_class_accuracy": float(self.support.max() / self.support.sum()),
            "top_5_accuracy": self.top_k(5) if len(self.classes) > 5 else None,
            "calibration_error": self.calibration_error,
            "latency_seconds": self.latency_seconds,
            "classes": per_class,
            "confusion": self.confusion.tolist(),
        }

    def _table(self) -> list[str]:
        """Write a line per class; one without test clips has no scores."""
        width = max(len(name) for name in (*self.classes, "class"))
        lines = [f"{'class':<{width}}  precision  recall     F1  clips"]
        for row, name in enumerate(self.classes):
            scores = f"{self.precision[row]:>9.2f}  {self.recall[row]:>6.2f}  {self.f1[row]:>5.2f}"
            if not self.support[row]:
                scores = f"{'no test clip':>24}"
            lines.append(f"{name:<{width}}  {scores}  {self.support[row]:>5}")
        return lines

    def _rare_classes(self) -> list[str]:
        """Name the classes of which the table can say nothing, or little."""
        missing = [name for name, count in zip(self.classes, self.support, strict=True) if not count]
        few = [name for name, count in zip(self.classes, self.support, strict=True) if 0 < count < 3]
        lines = []
        if missing:
            lines.append(f"no test clip of {_enumerate(missing)}: how well these are named is not known")
        if few:
            lines.append(f"only one or two test clips of {_enumerate(few)}: their lines say little")
        return lines


def _enumerate(names: Sequence[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more classes" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def evaluate(
    model: keras.Model,
    dataset: Dataset | ClipDataset,
    *,
    batch_size: int | None = None,
) -> Evaluation:
    """Score a model on clips, one prediction per clip.

    Temperature and tuned thresholds of the model's recipe are applied, as they are in prediction.

    Args:
        model: The model.
        dataset: Clips that the model was not trained on. Where all their sources are known, there is an
            interval over whole sources too. The scores of a `ClipDataset` are averaged over its clips per
            video, and videos that cannot be read are left out with a warning.
        batch_size: Clips per step; 16 by default, or fewer of large frames.

    Returns:
        `Evaluation`; `print` it for the table.

    Raises:
        ValueError: If there is no clip, or clips, labels, classes and model do not fit together.
        VideoError: If no video of a `ClipDataset` can be read, or, where it is strict, if any cannot.
    """
    asked, features, labels, classes = unpack_clips(model, dataset)
    if batch_size is None:
        batch_size = min(max(_NUMBERS_PER_BATCH // math.prod(features.shape[1:]), 1), 16)
    rows, probabilities = raw_probabilities(asked, features, batch_size=batch_size)
    probabilities, named = _by_recipe(model, probabilities)
    labels, groups = labels[rows], dataset.sources[rows].independent
    confusion = confusion_matrix(labels, named, labels=np.arange(len(classes)))
    right, support = np.diag(confusion), confusion.sum(axis=1)
    hits = int(right.sum())
    unit = "clips"
    if isinstance(features, ClipDataset) and features.clips_per_video > 1:
        unit = f"videos ({features.clips_per_video} clips each, scores averaged)"
    return Evaluation(
        unit=unit,
        group_interval=None if groups is None else clustered_interval(named == labels, groups),
        classes=classes,
        labels=labels,
        probabilities=probabilities,
        named=named,
        loss=float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-7)).mean()),
        accuracy=hits / len(labels),
        interval=wilson_interval(hits, len(labels)),
        precision=right / np.maximum(confusion.sum(axis=0), 1),
        recall=right / np.maximum(support, 1),
        f1=2 * right / np.maximum(confusion.sum(axis=0) + support, 1),
        support=support,
        confusion=confusion,
        split=dataset.split_words,
    )


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
    model: keras.Model, features: np.ndarray, *, batch_size: int = 16
) -> tuple[np.ndarray, np.ndarray]:
    """Return what a model says of clips, by the temperature and the tuned thresholds of its recipe, if any.

    Returns:
        Probabilities float32 (N, classes), and the named classes int (N,).
    """
    return _by_recipe(model, raw_probabilities(model, features, batch_size=batch_size)[1])


def _by_recipe(model: keras.Model, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Apply the recipe to (N, K, classes): return the means over K, float32 (N, classes), and int (N,)."""
    recipe = getattr(model, "recipe", None)
    if recipe is None:
        probabilities = probabilities.mean(axis=1)
        return probabilities, probabilities.argmax(axis=1)
    # Each clip by the temperature, then the mean: as in prediction, which cannot wait for the last window.
    probabilities = recipe.sharpen(probabilities).mean(axis=1)
    return probabilities, name_classes(probabilities, recipe.threshold_row)
