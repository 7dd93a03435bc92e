"""Several models, the same clips, folds and seed, and one table to choose by: what each gains and costs."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from harkeras._comparison_page import HEAD, in_words, plot_comparison, write_page
from harkeras._files import write_text
from harkeras._text import to_cell
from harkeras.auto import check_weights, split_options
from harkeras.cross_validation import CrossValidation, cross_validate, cross_validate_auto
from harkeras.datasets import Dataset, create_dataset, list_classes, list_videos, median_clip_seconds
from harkeras.feature_table import read_feature_table
from harkeras.models import count_multiply_adds, create_model
from harkeras.models._registry import count_parameters, no_weights
from harkeras.recipe import read_channels
from harkeras.splits import Split

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
        models: Names of models, or `Contestant(name, options)`; "auto" chooses inputs and heads anew in each
            fold, by the training clips alone, with a budget of its own.
        output_dir: Folder for the tables, the finished rows, the frames and auto's features.
        classes: Classes to take; all by default.
        input_shape: Clip shape (frames, height, width, channels) for all models but auto.
        splits: "group", "random", "official": each model is run with each.
        folds: Number of folds, or "groups" to leave one source out at a time.
        split_dir: Folder of the official split files.
        workers: Threads that decode; one per core by default.
        seed: Seed of the folds, the weights and the training.
        **training: Further arguments of `train`, the same for all models but auto: the budget.

    Returns:
        The rows of the table, dictionaries with the keys `COLUMNS`. `accuracy` is over all test clips of all
        folds; parameters, multiply-adds and times per clip are those of the last fold's model.

    Raises:
        FileNotFoundError: If a folder is missing.
        ValueError: If there is no model, one is given twice, or an argument is out of its range.
        OSError: If auto's weights cannot be had.
        RuntimeError: If the loss of a model is no number; the other rows are written first.
    """
    contestants = [each if isinstance(each, Contestant) else Contestant(each) for each in models]
    names = [str(each) for each in contestants]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"models must name at least one model, each once, got {names}")
    classes = list_classes(data_dir) if classes is None else list(classes)
    for each in contestants:  # before the long work, because a builder may refuse its arguments
        _check(each, len(classes), input_shape)
    output_dir, videos = Path(output_dir), list_videos(data_dir, classes)[0]
    common = {"folds": folds, "seed": seed, "split_dir": split_dir}
    clips = [[str(path.relative_to(data_dir)), path.stat().st_size] for path in videos]
    rows, confusions, failed = [], {}, []
    for contestant in contestants:
        of_model = {} if contestant.model == "auto" else {"input_shape": input_shape, **training}
        run = None
        for split in splits:
            facts = [COLUMNS, str(contestant), split, classes, clips]
            facts.append(repr(sorted(_plain(common | of_model).items())))
            digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
            path = output_dir / "rows" / f"{contestant.model}__{split}__{digest}.json"
            if not path.is_file():
                run = run or _prepare(contestant, data_dir, classes, output_dir, workers, **of_model)
                try:
                    result = run(classes=classes, split=split, **common)
                except RuntimeError as error:
                    failed.append(f"{contestant}, {split}: {error}")
                    continue
                _write(path, {"row": _row(contestant, result), "confusion": result.confusion.tolist()})
            finished = json.loads(path.read_text(encoding="utf-8"))
            rows.append(finished["row"])
            confusions[f"{contestant}, {split}"] = np.array(finished["confusion"])
            _write_tables(output_dir, rows, confusions, classes)
    if failed:
        raise RuntimeError(f"the table lacks what could not be trained: {'; '.join(failed)}")
    return rows


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Write an optimizer as its settings, without its place in the memory."""
    return {
        name: each.get_config() if isinstance(each, keras.optimizers.Optimizer) else each
        for name, each in settings.items()
    }


def _check(contestant: Contestant, num_classes: int, input_shape) -> None:
    """Raise an error if a model refuses its arguments, or the weights of auto cannot be had."""
    if contestant.model != "auto":
        with no_weights():
            create_model(contestant.model, num_classes, input_shape, **contestant.options)
        return
    split_options(contestant.options)
    check_weights(contestant.options)


def _prepare(contestant: Contestant, data_dir, classes, output_dir: Path, workers, **options):
    """Read what the cross-validation of a model needs, and return it as a function of the folds."""
    if contestant.model == "auto":
        of_table, of_training = split_options(contestant.options)
        if "folds" in of_training:
            of_training["inner_folds"] = of_training.pop("folds")
        videos, labels = list_videos(data_dir, classes)
        table = read_feature_table(videos, workers=workers, cache=output_dir / "features", **of_table)
        return partial(cross_validate_auto, table, labels[table.rows], **of_training)
    input_shape = options.pop("input_shape")
    data = _read(data_dir, classes, input_shape, output_dir / "frames.npy", workers)
    training = {"clip_seconds": median_clip_seconds(data.video_paths), "verbose": False} | options

    def build():
        return create_model(contestant.model, len(classes), input_shape, **contestant.options)

    return partial(cross_validate, build, data, **training)


def _read(data_dir, classes, input_shape, cache: Path, workers) -> Dataset:
    frames, height, width, channels = input_shape
    streams, fields = read_channels(channels)
    return create_dataset(
        data_dir, classes, frames=frames, height=height, width=width, streams=streams,
        flow_fields=max(fields, 1), workers=workers, cache=cache,
    )  # fmt: skip


def _row(contestant: Contestant, result: CrossValidation) -> dict[str, Any]:
    low, high = result.interval
    group_low, group_high = result.group_interval
    (median, p95), model = result.latency_seconds, result.model
    values = (
        str(contestant), result.split, len(result.evaluations), len(result.labels), result.accuracy, low,
        high, group_low, group_high, result.macro_f1, result.leaking_clips, count_parameters(model),
        count_multiply_adds(model), result.train_seconds, 1000 * median, 1000 * p95,
        model.input_shape[1] / median,
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def _write(path: Path, content: dict[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=1))


def _write_tables(output_dir: Path, rows, confusions, classes: Sequence[str]) -> None:
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, COLUMNS)
    writer.writeheader()
    writer.writerows(row | {"model": to_cell(row["model"])} for row in rows)
    write_text(output_dir / "comparison.csv", table.getvalue())
    write_text(output_dir / "comparison.md", markdown_table(rows) + "\n")
    write_page(output_dir / "comparison.html", rows, confusions, classes)


def markdown_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows of `compare` as a Markdown table, in units for people."""
    lines = [HEAD, ["---"] * len(HEAD), *map(in_words, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
