"""Cross-validation: every clip is tested once, by a model that was trained without its source video."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from sklearn.metrics import confusion_matrix, f1_score

from harkeras.data.datasets import Dataset
from harkeras.data.intervals import clustered_interval, wilson_interval
from harkeras.data.split_lists import list_official_splits, split_by_files
from harkeras.data.splits import Split, check_seed, check_sources, list_folds
from harkeras.evaluation.scores import Evaluation, evaluate, measure_latency
from harkeras.training.trainer import Trainer
from harkeras.transfer.auto import create_trainer


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
    model: Trainer | str | Callable[[], keras.Model],
    dataset: Dataset,
    *,
    split: Split = "group",
    folds: int | Literal["groups"] = 5,
    split_dir: str | os.PathLike | None = None,
    seed: int = 27,
    **training,
) -> CrossValidation:
    """Train and test a model fold by fold, with new weights in each.

    Early stopping, and whatever "auto" chooses, look at clips of further sources inside the training folds,
    never at the tested ones. Frames that are mapped from a file on disk stay there. Identical files count as
    one source.

    Args:
        model: A function that makes the uncompiled model; a name of `list_models()` or of
            `list_pretrained()`, or "auto"; or a `Trainer`.
        dataset: Clips, from `create_dataset`; for "auto", features, from `create_feature_dataset`.
        split: "group" keeps the clips of a source in one fold; "random" does not, and overstates the
            accuracy; "official" takes all splits that `split_dir` has files for, each as a fold.
        folds: Number of folds, or "groups" to leave one source out at a time; without meaning for "official".
        split_dir: Folder of the official split files, see `split_by_files`; for "official" alone.
        seed: Seed of the folds, the weights and the training.
        **training: Further arguments of `train`, but for `resume`, and of `Dataset.for_training`.

    Returns:
        `CrossValidation`; `print` it. The training time of "auto" is without the time that the features took.

    Raises:
        ValueError: If an argument is out of its range or means nothing here, or the sources do not allow an
            honest split.
        FileNotFoundError: If the split files are missing.
        RuntimeError: If the loss is not a number in the first epoch.
    """
    check_split_dir([split], split_dir)
    check_training(training)
    trainer = model
    if isinstance(model, str) or not hasattr(model, "train"):
        trainer = create_trainer(model, **training)
    elif training:
        raise ValueError(f"{', '.join(sorted(training))} must be given to the trainer")
    if not isinstance(dataset, Dataset):
        raise ValueError(
            f"dataset must be a Dataset, got {type(dataset).__name__}; arrays become one by "
            "Dataset(features, labels, classes=[...])"
        )
    dataset = dataset.join_copies()
    labels, groups = dataset.labels, dataset.groups
    rows = rows_of_folds(dataset.video_paths, labels, groups, split, folds, split_dir, seed)
    evaluations, seconds, leaking, fitted = [], 0.0, 0, None
    for training_rows, test_rows in rows:
        clips, start = dataset[training_rows], time.perf_counter()
        trained = trainer.train(clips.without_sources() if split == "random" else clips, seed=seed)
        if trained.interrupted:
            raise KeyboardInterrupt
        seconds, fitted = seconds + time.perf_counter() - start, trained.model
        evaluations.append(replace(evaluate(fitted, dataset[test_rows]), split=split))
        leaking += int(np.isin(groups[test_rows], groups[training_rows]).sum())
    tested = np.concatenate([test for _, test in rows])
    return CrossValidation(
        classes=dataset.classes,
        labels=labels[tested],
        named=np.concatenate([each.probabilities.argmax(axis=1) for each in evaluations]),
        groups=groups[tested],
        evaluations=tuple(evaluations),
        split=split,
        leaking_clips=leaking,
        model=fitted,
        train_seconds=seconds,
        latency_seconds=measure_latency(fitted),
    )


def check_training(training: dict[str, Any]) -> None:
    """Raise ValueError for arguments of `train` that a fold settles by itself."""
    settled = sorted({"model", "dataset", "resume"} & training.keys())
    if settled:
        raise ValueError(
            f"{', '.join(settled)} must be left out: each fold is a training of its own, with its own model, "
            "clips and state"
        )


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
