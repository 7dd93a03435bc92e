"""Several models, the same clips, folds and seed: cross-validation, and one table to choose by.

`cross_validate` tests a model on every clip once, each time trained on the clips of other sources. `compare`
does so with several models and writes a table that says what each gains and costs.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from sklearn.metrics import confusion_matrix, f1_score

from harkeras._comparison_page import HEAD, in_words, plot_comparison, write_page
from harkeras.datasets import Dataset, create_dataset, list_classes, median_clip_seconds
from harkeras.evaluation import Evaluation, bootstrap_interval, evaluate, measure_latency, wilson_interval
from harkeras.models import count_multiply_adds, create_model
from harkeras.models._registry import count_parameters, no_weights
from harkeras.recipe import read_channels
from harkeras.splits import list_folds, read_groups, split_by_files
from harkeras.training import train

__all__ = [
    "COLUMNS",
    "Contestant",
    "CrossValidation",
    "compare",
    "cross_validate",
    "markdown_table",
    "plot_comparison",
]

Split = Literal["group", "random", "official"]


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
        train_seconds: Time to train all folds.
        clip_seconds_median: Time for one clip: the median of some calls.
        clip_seconds_p95: Time for one clip: the 95th percentile.
    """

    classes: tuple[str, ...]
    labels: np.ndarray
    named: np.ndarray
    groups: np.ndarray
    evaluations: tuple[Evaluation, ...]
    split: str
    train_seconds: float
    clip_seconds_median: float
    clip_seconds_p95: float

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
        """The 95 % bootstrap interval over whole sources."""
        return bootstrap_interval(self.labels == self.named, self.groups)

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
        return (
            f"split {self.split}, {len(self.evaluations)} folds: {each}\n"
            f"accuracy {self.accuracy:.3f} on all {len(self.labels)} clips (95 % interval {low:.3f} to "
            f"{high:.3f}; over whole sources {wide_low:.3f} to {wide_high:.3f}), macro F1 {self.macro_f1:.3f}"
        )


def cross_validate(
    build: Callable[[], keras.Model],
    data: Dataset,
    *,
    classes: Sequence[str],
    groups: np.ndarray | None = None,
    split: Split = "group",
    folds: int | Literal["groups"] = 5,
    split_dir: str | os.PathLike | None = None,
    seed: int = 27,
    **training,
) -> CrossValidation:
    """Train and test a model fold by fold, with new weights in each.

    Early stopping looks at clips of further sources inside the training folds, never at the tested ones.

    Args:
        build: Function that makes the uncompiled model.
        data: Clips, labels and paths, from `create_dataset`.
        classes: Names of the classes.
        groups: (N,), the source of each clip; read from the paths by default.
        split: "group" keeps the clips of a source in one fold; "random" does not, and overstates the
            accuracy; "official" takes the three splits of the files in `split_dir`.
        folds: Number of folds, or "groups" to leave one source out at a time; without meaning for "official".
        split_dir: Folder of the official split files.
        seed: Seed of the folds, the weights and the training.
        **training: Further arguments of `train`.

    Returns:
        `CrossValidation`; `print` it.

    Raises:
        ValueError: If an argument is out of its range.
        FileNotFoundError: If the split files are missing.
    """
    groups = read_groups(data.video_paths) if groups is None else np.asarray(groups)
    rows = _folds(data, groups, split, folds, split_dir, seed)
    evaluations, seconds, model = [], 0.0, None
    for training_rows, test_rows in rows:
        keras.utils.set_random_seed(seed)
        model = build()
        start = time.perf_counter()
        train(
            model,
            data.features[training_rows],
            data.labels[training_rows],
            classes=classes,
            groups=None if split == "random" else groups[training_rows],
            seed=seed,
            **training,
        )
        seconds += time.perf_counter() - start
        clips, answers = data.features[test_rows], data.labels[test_rows]
        evaluations.append(
            evaluate(model, clips, answers, classes=classes, groups=groups[test_rows], split=split)
        )
    tested = np.concatenate([test for _, test in rows])
    median, p95 = measure_latency(model, data.features[0])
    return CrossValidation(
        classes=tuple(classes),
        labels=data.labels[tested],
        named=np.concatenate([each.probabilities.argmax(axis=1) for each in evaluations]),
        groups=groups[tested],
        evaluations=tuple(evaluations),
        split=split,
        train_seconds=seconds,
        clip_seconds_median=median,
        clip_seconds_p95=p95,
    )


def _folds(data, groups, split, folds, split_dir, seed) -> list[tuple[np.ndarray, np.ndarray]]:
    if split != "official":
        return list_folds(data.labels, groups, split=split, folds=folds, seed=seed)
    if split_dir is None:
        raise ValueError("split_dir is missing: an official split needs the folder of its files")
    return [split_by_files(data.video_paths, split_dir, split=number) for number in (1, 2, 3)]


@dataclass(frozen=True)
class Contestant:
    """A model to compare: its registered name, and further arguments of its builder."""

    model: str
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the name, with the options in brackets."""
        inside = ", ".join(f"{name}={value}" for name, value in self.options.items())
        return f"{self.model}({inside})" if inside else self.model


COLUMNS = (
    "model", "split", "folds", "clips", "accuracy", "low", "high", "group_low", "group_high", "macro_f1",
    "parameters", "multiply_adds", "train_seconds", "ms_per_clip", "ms_per_clip_p95", "frames_per_second",
)  # fmt: skip


def compare(
    data_dir: str | os.PathLike,
    models: Sequence[str | Contestant],
    *,
    output_dir: str | os.PathLike = "comparison",
    classes: Sequence[str] | None = None,
    input_shape: tuple[int, int, int, int] = (20, 64, 64, 3),
    splits: Sequence[Split] = ("group",),
    folds: int | Literal["groups"] = 5,
    split_dir: str | os.PathLike | None = None,
    workers: int | None = None,
    seed: int = 27,
    **training,
) -> list[dict[str, Any]]:
    """Cross-validate several models alike, and write one table: comparison.csv, .md and .html.

    It can be interrupted: a row that is finished, with the same clips and settings, is not run again.

    Args:
        data_dir: Folder with one folder of clips per class.
        models: Names of models, or `Contestant(name, options)`.
        output_dir: Folder for the tables, the finished rows and the frames.
        classes: Classes to take; all by default.
        input_shape: Clip shape (frames, height, width, channels) for all models.
        splits: "group", "random", "official": each model is run with each.
        folds: Number of folds, or "groups" to leave one source out at a time.
        split_dir: Folder of the official split files.
        workers: Threads that decode; one per core by default.
        seed: Seed of the folds, the weights and the training.
        **training: Further arguments of `train`, the same for all models: the budget.

    Returns:
        The rows of the table, dictionaries with the keys `COLUMNS`. `accuracy` is over all test clips of all
        folds.

    Raises:
        FileNotFoundError: If a folder is missing.
        ValueError: If there is no model, one is given twice, or an argument is out of its range.
    """
    contestants = [each if isinstance(each, Contestant) else Contestant(each) for each in models]
    names = [str(each) for each in contestants]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"models must name at least one model, each once, got {names}")
    classes = list_classes(data_dir) if classes is None else list(classes)
    sizes = []
    for each in contestants:  # before the long work, because a builder may refuse its arguments
        with no_weights():
            model = create_model(each.model, len(classes), input_shape, **each.options)
            sizes.append((count_parameters(model), count_multiply_adds(model)))
    output_dir = Path(output_dir)
    data = _read(data_dir, classes, input_shape, output_dir / "frames.npy", workers)
    training = {"clip_seconds": median_clip_seconds(data.video_paths), "verbose": False} | training
    common = {"folds": folds, "seed": seed, "split_dir": split_dir, **training}
    clips = [[path.name, path.stat().st_size] for path in data.video_paths]
    rows, confusions = [], {}
    for contestant, size in zip(contestants, sizes, strict=True):
        for split in splits:
            facts = [str(contestant), split, list(input_shape), classes, clips]
            facts.append(repr(sorted(common.items(), key=str)))
            digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
            path = output_dir / "rows" / f"{contestant.model}__{split}__{digest}.json"
            if not path.is_file():
                build = _builder(contestant, len(classes), input_shape)
                result = cross_validate(build, data, classes=classes, split=split, **common)
                row = _row(contestant, result, size, input_shape[0])
                _write(path, {"row": row, "confusion": result.confusion.tolist()})
            finished = json.loads(path.read_text(encoding="utf-8"))
            rows.append(finished["row"])
            confusions[f"{contestant}, {split}"] = np.array(finished["confusion"])
            _write_tables(output_dir, rows, confusions, classes)
    return rows


def _builder(contestant: Contestant, num_classes: int, input_shape) -> Callable[[], keras.Model]:
    return lambda: create_model(contestant.model, num_classes, input_shape, **contestant.options)


def _read(data_dir, classes, input_shape, cache: Path, workers) -> Dataset:
    frames, height, width, channels = input_shape
    streams, fields = read_channels(channels)
    return create_dataset(
        data_dir, classes, frames=frames, height=height, width=width, streams=streams,
        flow_fields=max(fields, 1), workers=workers, cache=cache,
    )  # fmt: skip


def _row(
    contestant: Contestant, result: CrossValidation, size: tuple[int, int], frames: int
) -> dict[str, Any]:
    low, high = result.interval
    group_low, group_high = result.group_interval
    seconds = result.clip_seconds_median
    values = (
        str(contestant), result.split, len(result.evaluations), len(result.labels), result.accuracy, low,
        high, group_low, group_high, result.macro_f1, *size, result.train_seconds, 1000 * seconds,
        1000 * result.clip_seconds_p95, frames / seconds,
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
    partial.replace(path)


def _write_tables(output_dir: Path, rows, confusions, classes: Sequence[str]) -> None:
    with (output_dir / "comparison.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    (output_dir / "comparison.md").write_text(markdown_table(rows) + "\n", encoding="utf-8")
    write_page(output_dir / "comparison.html", rows, confusions, classes)


def markdown_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows of `compare` as a Markdown table, in units for people."""
    lines = [HEAD, ["---"] * len(HEAD), *map(in_words, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
