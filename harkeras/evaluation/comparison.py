"""Several models, the same clips, folds and seed, and one table to choose by: what each gains and costs."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from harkeras.base.configs import plain_config
from harkeras.base.files import content_digest, write_text, written_whole
from harkeras.base.text import to_cell
from harkeras.data.folders import ClipFolder, read_folder
from harkeras.data.sources import warn_if_unknown
from harkeras.data.splits import Split, check_seed
from harkeras.evaluation._comparison_page import HEAD, in_words, plot_comparison, write_page
from harkeras.evaluation.cross_validation import (
    CrossValidation,
    check_split_dir,
    check_training,
    cross_validate,
    rows_of_folds,
)
from harkeras.models import count_multiply_adds
from harkeras.models.registry import count_parameters
from harkeras.recipe import FlowMethod
from harkeras.training.trainer import Trainer
from harkeras.transfer.auto import find_trainer

_logger = logging.getLogger("harkeras")

__all__ = ["COLUMNS", "Contestant", "compare", "markdown_table", "plot_comparison"]


@dataclass(frozen=True)
class Contestant:
    """A model to compare: its registered name, or "auto", and further arguments."""

    model: str
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the name, with the options in brackets."""
        inside = ", ".join(f"{name}={value}" for name, value in self.options.items())
        return f"{self.model}({inside})" if inside else self.model


COLUMNS = (
    "model", "split", "folds", "clips", "accuracy", "low", "high", "group_low", "group_high", "macro_f1",
    "leaking_clips", "parameters", "multiply_adds", "train_seconds", "ms_per_clip", "ms_per_clip_p95",
    "frames_per_second",
)  # fmt: skip


def compare(
    data_dir: str | os.PathLike,
    models: Sequence[str | Contestant],
    *,
    output_dir: str | os.PathLike = "comparison",
    classes: Sequence[str] | None = None,
    input_shape: tuple[int, ...] | None = None,
    flow_method: FlowMethod | None = None,
    splits: Sequence[Split] = ("group",),
    folds: int | Literal["groups"] = 5,
    split_dir: str | os.PathLike | None = None,
    group_by: str | int | Callable[[Path], str] | None = None,
    workers: int | None = None,
    seed: int = 27,
    **training,
) -> list[dict[str, Any]]:
    """Cross-validate several models alike, and write one table: comparison.csv, .md and .html.

    It can be interrupted: a row that is finished, with the same clips and settings, is not run again.

    Args:
        data_dir: Folder with one folder of clips per class.
        models: Names of models, or `Contestant(name, options)`; those of `list_pretrained()` are fine-tuned;
            "auto" chooses inputs and heads anew in each fold, by the training clips alone, with a budget of
            its own.
        output_dir: Folder for the tables, the finished rows, the frames and auto's features.
        classes: Classes to take; all by default.
        input_shape: Clip shape (frames, height, width, channels), or (frames, 17, 3) of joints, for all but
            auto; by default (20, 64, 64, 3), and for a published network what it was trained on.
        flow_method: How to compute the flow where `input_shape` has channels for it: "dis", which is the
            default, "farneback" or "tvl1".
        splits: "group", "random", "official": each model is run with each.
        folds: Number of folds, or "groups" to leave one source out at a time.
        split_dir: Folder of the official split files, for "official" alone; each split that it has is a fold.
        group_by: What names the source of a clip, see `find_sources`.
        workers: Threads that decode; one per core by default.
        seed: Seed of the folds, the weights and the training.
        **training: Further arguments of `train` and `Dataset.for_training`, the same for all models but auto:
            the budget. Augmentations must be those of this package, which say what they were made of.

    Returns:
        The rows of the table, dictionaries with the keys `COLUMNS`. `accuracy` is over all test clips of all
        folds; parameters, multiply-adds and times per clip are those of the last fold's model. Where sources
        are not known, leaking clips and the interval over sources are None.

    Raises:
        FileNotFoundError: If a folder is missing.
        ValueError: If there is no model, one is given twice, an argument is out of its range, means nothing
            beside the others, or is a function that cannot be told from another; if the sources do not allow
            an honest split.
        OSError: If auto's weights cannot be had.
        RuntimeError: If the loss of a model is no number; the other rows are written first.
    """
    contestants = [each if isinstance(each, Contestant) else Contestant(each) for each in models]
    names = [str(each) for each in contestants]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"models must name at least one model, each once, got {names}")
    if not splits or len(set(splits)) < len(splits):
        raise ValueError(f"splits must name at least one split, each once, got {list(splits)}")
    check_seed(seed)
    check_split_dir(splits, split_dir)
    check_training(training)
    settings = {"input_shape": input_shape, "flow_method": flow_method} | training
    trainers = _trainers(contestants, settings)
    folder = read_folder(data_dir, classes, group_by=group_by, copies=True)
    _logger.info("%s", folder)
    for trainer in trainers:
        trainer.check(len(folder.classes))
    groups, how = folder.sources.groups, folder.sources.how or "sources unknown"
    for split in splits:
        rows_of_folds(folder.video_paths, folder.labels, groups, split, folds, split_dir, seed, how)
    if "group" in splits:
        warn_if_unknown(folder.sources)
    output_dir, table = Path(output_dir), _Table(Path(output_dir), folder)
    failed = []
    for contestant, trainer in zip(contestants, trainers, strict=True):
        dataset = None
        for split in splits:
            asked = {"folds": folds, "seed": seed, "split_dir": split_dir if split == "official" else None}
            path = _row_file(output_dir, folder, contestant, split, asked | _settled(trainer, settings))
            if not path.is_file():
                if dataset is None:
                    dataset = trainer.read(folder, cache=output_dir / trainer.cache_name, workers=workers)
                try:
                    result = cross_validate(trainer, dataset, split=split, **asked)
                except RuntimeError as error:
                    failed.append(f"{contestant}, {split}: {error}")
                    continue
                row = _row(contestant, result, not folder.sources.alone)
                write_text(path, json.dumps({"row": row, "confusion": result.confusion.tolist()}, indent=1))
            table.add(f"{contestant}, {split}", json.loads(path.read_text(encoding="utf-8")))
    if failed:
        raise RuntimeError(f"the table lacks what could not be trained: {'; '.join(failed)}")
    return table.rows


def _trainers(contestants: Sequence[Contestant], settings: dict[str, Any]) -> list[Trainer]:
    """Make the trainer of each model; those that settle everything by themselves are given no settings.

    Raises:
        ValueError: If an argument is out of its range, or means nothing to any of the models.
    """
    kinds = [find_trainer(each.model) for each in contestants]
    asked = sorted(name for name, value in settings.items() if value is not None)
    if asked and not any(kind.takes_settings for kind in kinds):
        raise ValueError(
            f"{', '.join(asked)} must be left out where {', '.join(map(repr, map(str, contestants)))} is the "
            "only model: it chooses its inputs and trains no network from end to end"
        )
    settings = {"verbose": False} | settings
    return [
        kind(each.model, each.options, **(settings if kind.takes_settings else {}))
        for each, kind in zip(contestants, kinds, strict=True)
    ]


def _settled(trainer: Trainer, settings: dict[str, Any]) -> dict[str, Any]:
    """Return those of the settings that a row of the trainer follows from."""
    if not trainer.takes_settings:
        return {}
    return settings | {"input_shape": trainer.input_shape, "flow_method": trainer.clip_format.flow_method}


def _row_file(
    output_dir: Path, folder: ClipFolder, contestant: Contestant, split: Split, settings: dict[str, Any]
) -> Path:
    """Name the file of a row by all that its numbers follow from: clips, sources, model and settings.

    Raises:
        ValueError: If a setting does not say what it was made of.
    """
    facts = {
        "columns": COLUMNS,
        "model": contestant.model,
        "options": plain_config("options", contestant.options),
        "split": split,
        "classes": folder.classes,
        "clips": [content_digest(path) for path in folder.video_paths],
        "labels": folder.labels.tolist(),
        "groups": folder.sources.groups.tolist(),
        "settings": {name: plain_config(name, each) for name, each in settings.items()},
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    return output_dir / "rows" / f"{contestant.model}__{split}__{digest}.json"


def _row(contestant: Contestant, result: CrossValidation, sources_known: bool) -> dict[str, Any]:
    low, high = result.interval
    group_low, group_high = result.group_interval
    (median, p95), model = result.latency_seconds, result.model
    values = (
        str(contestant), result.split, len(result.evaluations), len(result.labels), result.accuracy, low,
        high, group_low, group_high, result.macro_f1, result.leaking_clips, count_parameters(model),
        count_multiply_adds(model), result.train_seconds, 1000 * median, 1000 * p95,
        model.input_shape[1] / median,
    )  # fmt: skip
    row = dict(zip(COLUMNS, values, strict=True))
    if not sources_known:
        row |= {"leaking_clips": None, "group_low": None, "group_high": None}
    return row


class _Table:
    """The rows so far, written anew with each."""

    def __init__(self, output_dir: Path, folder: ClipFolder):
        self.output_dir, self.folder = output_dir, folder
        self.rows: list[dict[str, Any]] = []
        self.confusions: dict[str, np.ndarray] = {}

    def add(self, name: str, finished: dict[str, Any]) -> None:
        """Add a row and its confusion matrix, and write comparison.csv, .md and .html."""
        self.rows.append(finished["row"])
        self.confusions[name] = np.array(finished["confusion"])
        output_dir, sources = self.output_dir, str(self.folder.sources)
        with (
            written_whole(output_dir / "comparison.csv") as path,
            path.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(row | {"model": to_cell(row["model"])} for row in self.rows)
        write_text(output_dir / "comparison.md", f"{markdown_table(self.rows)}\n\n{sources}\n")
        write_page(output_dir / "comparison.html", self.rows, self.confusions, self.folder.classes, sources)


def markdown_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows of `compare` as a Markdown table, in units for people."""
    lines = [HEAD, ["---"] * len(HEAD), *map(in_words, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
