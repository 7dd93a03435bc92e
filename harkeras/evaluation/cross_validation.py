"""Cross-validation: every clip is tested once, by a model that was trained without its source video."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from sklearn.metrics import confusion_matrix, f1_score

from harkeras.base.keras_state import seeded
from harkeras.data.datasets import Dataset
from harkeras.data.intervals import clustered_interval, wilson_interval
from harkeras.data.sources import join_groups, read_groups
from harkeras.data.split_lists import list_official_splits, split_by_files
from harkeras.data.splits import Split, check_seed, check_sources, list_folds
from harkeras.evaluation.scores import Evaluation, evaluate, measure_latency
from harkeras.training.loop import check_options, train
from harkeras.transfer.auto import head_features, train_auto
from harkeras.transfer.feature_table import FeatureTable


@dataclass(frozen=True)
class CrossValidation:
    """A model's scores over all folds, each clip tested once.

    Attributes:
        classes: Names of the classes.
        labels: int (N,), the true classes of all test clips, fold after fold.
        named: int (N,), the named classes.
        groups: (N,), the source of each.
        evaluations: The report of each fold.
        split: "group", "random" or "official".
        leaking_clips: Test clips that have a sibling, of the same source, among those trained on.
        model: The model of the last fold.
        train_seconds: Time to train all folds.
        latency_seconds: Time of the model for one clip: the median and the 95th percentile of some calls.
    """

    classes: tuple[str, ...]
    labels: np.ndarray
    named: np.ndarray
    groups: np.ndarray
    evaluations: tuple[Evaluation, ...]
    split: str
    leaking_clips: int
    model: keras.Model
    train_seconds: float
    latency_seconds: tuple[float, float]

    @property
    def accuracy(self) -> float:
        """Share of all test clips named right."""
        return float((self.labels == self.named).mean())

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the accuracy, which takes clips as independent."""
        return wilson_interval(int((self.labels == self.named).sum()), len(self.labels))

    @property
    def group_interval(self) -> tuple[float, float]:
        """The 95 % interval that takes into account how alike the clips of a source are."""
        return clustered_interval(self.labels == self.named, self.groups)

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the classes."""
        return float(f1_score(self.labels, self.named, average="macro", zero_division=0))

    @property
    def confusion(self) -> np.ndarray:
        """Clips by true class (row) and named class (column), int (classes, classes)."""
        return confusion_matrix(self.labels, self.named, labels=np.arange(len(self.classes)))

    def __str__(self) -> str:
        """Return the accuracy of each fold and of all."""
        each = ", ".join(f"{evaluation.accuracy:.3f}" for evaluation in self.evaluations)
        (low, high), (wide_low, wide_high) = self.interval, self.group_interval
        leaking = f"; {self.leaking_clips} test clips have a sibling in training" * bool(self.leaking_clips)
        return (
            f"split {self.split}, {len(self.evaluations)} folds: {each}{leaking}\n"
            f"accuracy {self.accuracy:.3f} on all {len(self.labels)} clips (95 % interval {low:.3f} to "
            f"{high:.3f}; over whole sources {wide_low:.3f} to {wide_high:.3f}), macro F1 {self.macro_f1:.3f}"
        )


def cross_validate(
    build: Callable[[], keras.Model],
    data: Dataset,
    *,
    classes: Sequence[str] | None = None,
    groups: np.ndarray | None = None,
    split: Split = "group",
    folds: int | Literal["groups"] = 5,
    split_dir: str | os.PathLike | None = None,
    seed: int = 27,
    **training,
) -> CrossValidation:
    """Train and test a model fold by fold, with new weights in each.

    Early stopping looks at clips of further sources inside the training folds, never at the tested ones.
    Frames that are mapped from a file on disk stay there. Identical files count as one source.

    Args:
        build: Function that makes the uncompiled model.
        data: Clips, from `create_dataset`.
        classes: Names of the classes; those of the data set by default.
        groups: (N,), the source of each clip; those of the data set by default.
        split: "group" keeps the clips of a source in one fold; "random" does not, and overstates the
            accuracy; "official" takes all splits that `split_dir` has files for, each as a fold.
        folds: Number of folds, or "groups" to leave one source out at a time; without meaning for "official".
        split_dir: Folder of the official split files, see `split_by_files`; for "official" alone.
        seed: Seed of the folds, the weights and the training.
        **training: Further arguments of `train`, but for `resume`.

    Returns:
        `CrossValidation`; `print` it.

    Raises:
        ValueError: If an argument is out of its range or means nothing here, or the sources do not allow an
            honest split.
        FileNotFoundError: If the split files are missing.
        RuntimeError: If the loss is not a number in the first epoch.
    """
    check_training(training)
    check_split_dir([split], split_dir)
    classes = data.classes if classes is None else tuple(classes)
    groups, _ = join_groups(data.video_paths, data.groups if groups is None else groups)
    rows = rows_of_folds(data.video_paths, data.labels, groups, split, folds, split_dir, seed)
    known = {"streams": data.streams, "flow_method": data.flow_method, "classes": classes, "seed": seed}
    if "clip_seconds" not in training:
        known["clip_seconds"] = data.clip_seconds

    def fit(training_rows, test_rows):
        clips = data[training_rows]
        sources = None if split == "random" else groups[training_rows]
        with seeded(seed):
            model = build()
            train(model, clips.features, clips.labels, groups=sources, **known | training)
        return model, model, data[test_rows].features

    return _test_folds(fit, rows, data.labels, groups, classes, split)


def cross_validate_auto(
    table: FeatureTable,
    labels: np.ndarray,
    *,
    classes: Sequence[str],
    groups: np.ndarray | None = None,
    split: Split = "group",
    folds: int | Literal["groups"] = 5,
    split_dir: str | os.PathLike | None = None,
    seed: int = 27,
    inner_folds: int = 5,
    **options,
) -> CrossValidation:
    """Let `auto` choose and train fold by fold: it chooses anew in each, and looks at no tested clip.

    Identical files count as one source.

    Args:
        table: Features of the clips, from `read_feature_table`.
        labels: int (N,), the classes of its clips.
        classes: Names of the classes.
        groups: (N,), the source of each clip; read from the paths by default.
        split: As in `cross_validate`.
        folds: As in `cross_validate`.
        split_dir: As in `cross_validate`.
        seed: Seed of the folds and of the choice.
        inner_folds: Folds inside the training clips, by which `auto` chooses.
        **options: Further arguments of `train_auto`.

    Returns:
        `CrossValidation`. Its training time is without the time that the features took.

    Raises:
        ValueError: If an argument is out of its range or means nothing here, or the sources do not allow an
            honest split.
        FileNotFoundError: If the split files are missing.
    """
    check_split_dir([split], split_dir)
    labels = np.asarray(labels)
    groups, _ = join_groups(table.video_paths, read_groups(table.video_paths) if groups is None else groups)
    rows = rows_of_folds(table.video_paths, labels, groups, split, folds, split_dir, seed)

    def fit(training_rows, test_rows):
        known = None if split == "random" else groups
        facts = {"classes": classes, "groups": known, "folds": inner_folds, "seed": seed}
        trained = train_auto(table, labels, training_rows, **facts, **options)
        return trained.model, trained.head, head_features(table, trained.chosen, test_rows)

    return _test_folds(fit, rows, labels, groups, classes, split)


def check_training(training: dict[str, Any], *more: str) -> None:
    """Raise ValueError for arguments of `train` that no fold could make right.

    Args:
        training: Arguments of `train` by name.
        *more: Names of further ones that the caller settles by itself.
    """
    settled = sorted({"model", "features", "labels", "resume", *more} & training.keys())
    if settled:
        raise ValueError(
            f"{', '.join(settled)} must be left out: each fold is a training of its own, with its own model, "
            "clips and state"
        )
    check_options(training)


def check_split_dir(splits: Sequence[Split], split_dir: str | os.PathLike | None) -> None:
    """Raise ValueError where an official split lacks the folder of its files, or no split reads that."""
    if "official" in splits and split_dir is None:
        raise ValueError("split_dir is missing: an official split needs the folder of its files")
    if "official" not in splits and split_dir is not None:
        raise ValueError(
            f"split_dir must be left out without an official split, got {os.fspath(split_dir)!r} and "
            f"{', '.join(map(str, splits))}"
        )


def rows_of_folds(
    video_paths: Sequence[Path], labels, groups, split: Split, folds, split_dir, seed: int, how: str = ""
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the rows to train on and those to test on for each fold of a split.

    Args:
        video_paths: N paths of clips.
        labels: int (N,), their classes.
        groups: (N,), their sources.
        split: As in `cross_validate`.
        folds: As in `cross_validate`.
        split_dir: Folder of the official split files; other splits do not read it.
        seed: Seed of the folds.
        how: How the sources were found, in words, for messages.

    Raises:
        ValueError: If there is no such split, not so many folds can be made, or every class has one source.
        FileNotFoundError: If the official split files are missing.
    """
    check_seed(seed)
    if split != "official":
        rows = list_folds(labels, groups, split=split, folds=folds, seed=seed)
        if split == "group":
            check_sources(labels, groups, how)
        return rows
    numbers = list_official_splits(split_dir)
    return [split_by_files(video_paths, split_dir, split=number) for number in numbers]


def _test_folds(fit: Callable, rows, labels, groups, classes, split: Split) -> CrossValidation:
    """Test what `fit(training rows, test rows)` returns: the model, what is asked, and the clips for that."""
    evaluations, seconds, leaking, model = [], 0.0, 0, None
    for training_rows, test_rows in rows:
        start = time.perf_counter()
        model, asked, clips = fit(training_rows, test_rows)
        seconds += time.perf_counter() - start
        facts = {"classes": classes, "groups": groups[test_rows], "split": split}
        evaluations.append(evaluate(asked, clips, labels[test_rows], **facts))
        leaking += int(np.isin(groups[test_rows], groups[training_rows]).sum())
    tested = np.concatenate([test for _, test in rows])
    return CrossValidation(
        classes=tuple(classes),
        labels=labels[tested],
        named=np.concatenate([each.probabilities.argmax(axis=1) for each in evaluations]),
        groups=groups[tested],
        evaluations=tuple(evaluations),
        split=split,
        leaking_clips=leaking,
        model=model,
        train_seconds=seconds,
        latency_seconds=measure_latency(model),
    )
