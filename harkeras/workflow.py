"""The main job in one call: a folder of labelled clips -> a saved model and an honest report of it."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import keras
import numpy as np

from harkeras.auto import check_weights, head_features, split_options, train_auto
from harkeras.datasets import create_dataset, list_classes, list_videos, median_clip_seconds
from harkeras.evaluation import Evaluation, evaluate, measure_latency, plot_confusion_matrix, plot_metric
from harkeras.feature_table import read_feature_table
from harkeras.flow import FlowMethod
from harkeras.models import create_model
from harkeras.recipe import read_channels
from harkeras.saving import load_model, save_model
from harkeras.splits import Split, read_groups, split_at_random, split_by_files, split_rows_by_group
from harkeras.training import train

# Clips of large frames are scored a few at a time, because what a network makes of them takes memory.
_NUMBERS_PER_BATCH = 20_000_000


class TrainedModel(NamedTuple):
    """A trained model, its file, how it did on unseen clips, how training went, and the report's files.

    Of a model that `auto` chose there is no history.
    """

    model: keras.Model
    path: Path
    evaluation: Evaluation
    history: keras.callbacks.History | None
    report: list[Path]


def train_on_folder(
    data_dir: str | os.PathLike,
    model: str = "auto",
    *,
    output_dir: str | os.PathLike = "saved_models",
    classes: Sequence[str] | None = None,
    input_shape: tuple[int, int, int, int] | None = None,
    flow_method: FlowMethod = "dis",
    model_options: dict[str, Any] | None = None,
    split: Split = "group",
    split_dir: str | os.PathLike | None = None,
    test_size: float = 0.25,
    cache: str | os.PathLike | None = None,
    workers: int | None = None,
    seed: int = 27,
    **training,
) -> TrainedModel:
    """Read the clips, train on some sources, score on the others, and save the model beside its report.

    Args:
        data_dir: Folder with one folder of clips per class.
        model: One of `list_models()`; or "auto": heads on a network trained on photographs, compared by
            cross-validation inside the training clips, or LRCN from scratch where no weights can be had.
        output_dir: Folder for the model, its report, curves and confusion matrix.
        classes: Classes to take, in the order of the labels; all, sorted, by default.
        input_shape: Clip shape (frames, height, width, channels): 3 channels are RGB, 2L are L fields of
            flow, 3 + 2L are both. By default (20, 64, 64, 3), or, for "auto", what it finds best.
        flow_method: How to compute the flow, where there is any: "dis", "farneback" or "tvl1".
        model_options: Further arguments of the model's builder, such as `{"width": 0.25}`; for "auto", of
            `read_feature_table` (`backbone`, `weights`, `inputs`, `flow`) and `train_auto` (`heads`,
            `folds`).
        split: "group" keeps the clips of a source together; "random" does not, and overstates the accuracy;
            "official" reads the files of UCF101 or HMDB51 in `split_dir`.
        split_dir: Folder of the official split files.
        test_size: Share of the clips to test on, for the splits that are not official.
        cache: A `.npy` file to keep the frames in, so that the next training starts at once; for "auto", a
            folder to keep the features in.
        workers: Threads that decode; one per core by default.
        seed: Seed of the split, the weights, the dropout and the order of clips.
        **training: Further arguments of `train`, such as `epochs`, `batch_size`, `patience`, `resume`;
            "auto" has no use for them unless it falls back on LRCN.

    Returns:
        `TrainedModel`

    Raises:
        FileNotFoundError: If a folder is missing.
        ValueError: If an argument is out of its range, or the folder does not hold classes of clips.
        RuntimeError: If the loss is not a number in the first epoch.
    """
    classes = list_classes(data_dir) if classes is None else list(classes)
    keras.utils.set_random_seed(seed)
    splitting = {"split": split, "split_dir": split_dir, "test_size": test_size, "seed": seed}
    if model == "auto":
        list_videos(data_dir, classes)  # before the long work, because it may refuse the folder
        options = dict(model_options or {})
        if _weights_can_be_had(options):
            if training.get("augment") is not None:
                raise ValueError(
                    "augment changes clips in training; auto computes features once, name a model"
                )
            return _train_auto(
                data_dir, classes, output_dir, input_shape, options, splitting, cache=cache, workers=workers
            )
        model, model_options, cache = "lrcn", None, None
    input_shape = (20, 64, 64, 3) if input_shape is None else input_shape
    # Before the long work, because it may refuse the shape or the options.
    network = create_model(model, len(classes), input_shape, **(model_options or {}))
    frames, height, width, channels = input_shape
    streams, flow_fields = read_channels(channels)
    features, labels, video_paths = create_dataset(
        data_dir,
        classes,
        frames=frames,
        height=height,
        width=width,
        streams=streams,
        flow_fields=flow_fields,
        flow_method=flow_method,
        workers=workers,
        cache=cache,
    )
    train_rows, test_rows, groups, words = split_clips(video_paths, labels, **splitting)
    history = train(
        network,
        _Rows(features, train_rows),
        labels[train_rows],
        classes=classes,
        groups=None if split == "random" else groups[train_rows],
        clip_seconds=median_clip_seconds([video_paths[row] for row in train_rows]),
        flow_method=flow_method,
        seed=seed,
        **training,
    )
    evaluation = evaluate(
        network,
        _Rows(features, test_rows),
        labels[test_rows],
        classes=classes,
        groups=groups[test_rows],
        split=words,
    )
    path = save_model(network, output_dir, loss=evaluation.loss, accuracy=evaluation.accuracy)
    evaluation = replace(evaluation, latency_seconds=measure_latency(network))
    return TrainedModel(network, path, evaluation, history, _write_report(path, evaluation, history))


def _weights_can_be_had(options: dict[str, Any]) -> bool:
    """Whether `auto` can have its weights; if those of ImageNet are out of reach, say so."""
    try:
        check_weights(options)
    except OSError as error:
        if options.get("weights", "imagenet") != "imagenet":
            raise
        warnings.warn(
            f"auto has no pretrained weights and trains LRCN from scratch, which needs many more clips to be "
            f"any good: {error}",
            stacklevel=3,
        )
        return False
    return True


def _train_auto(data_dir, classes, output_dir, input_shape, options, splitting, **reading) -> TrainedModel:
    """Compare, fit, score and save: `train_on_folder` for "auto"."""
    options, fitting = split_options(options)
    if input_shape is not None:
        streams, fields = read_channels(input_shape[3])
        if streams == "flow" or fields > 1:
            raise ValueError(f"input_shape must have 3 or 5 channels for auto, got {input_shape}")
        options |= {"inputs": (tuple(input_shape[:3]),), "flow": streams == "rgb+flow"}
    videos, labels = list_videos(data_dir, classes)
    table = read_feature_table(videos, **options, **reading)
    labels = labels[table.rows]
    train_rows, test_rows, groups, words = split_clips(table.video_paths, labels, **splitting)
    trained = train_auto(
        table,
        labels,
        train_rows,
        classes=classes,
        groups=None if splitting["split"] == "random" else groups,
        seed=splitting["seed"],
        **fitting,
    )
    evaluation = evaluate(
        trained.head,
        head_features(table, trained.chosen, test_rows),
        labels[test_rows],
        classes=classes,
        groups=groups[test_rows],
        split=words,
    )
    path = save_model(trained.model, output_dir, loss=evaluation.loss, accuracy=evaluation.accuracy)
    evaluation = replace(evaluation, latency_seconds=measure_latency(trained.model))
    report = _write_report(path, evaluation, None, trained.report)
    return TrainedModel(trained.model, path, evaluation, None, report)


def evaluate_on_folder(
    model: str | os.PathLike,
    data_dir: str | os.PathLike,
    *,
    clips: Literal["held-out", "all"] = "held-out",
    split: Split = "group",
    split_dir: str | os.PathLike | None = None,
    test_size: float = 0.25,
    classes: Sequence[str] | None = None,
    cache: str | os.PathLike | None = None,
    workers: int | None = None,
    seed: int = 27,
) -> Evaluation:
    """Score a saved model on the clips of a folder that it was not trained on.

    Args:
        model: Path of a `.keras` file with a recipe.
        data_dir: Folder with one folder of clips per class.
        clips: "held-out" takes those that `train_on_folder` set aside, given the same split, `test_size` and
            `seed`; "all" takes every clip, for a folder that the model has never seen.
        split: See `train_on_folder`.
        split_dir: See `train_on_folder`.
        test_size: See `train_on_folder`.
        classes: Folders of the classes, in the order of the model's; those of its recipe by default.
        cache: A `.npy` file to keep the frames in.
        workers: Threads that decode; one per core by default.
        seed: Seed of the split.

    Returns:
        `Evaluation`

    Raises:
        FileNotFoundError: If the model or a folder is missing.
        ValueError: If the model has no recipe, or an argument is out of its range.
    """
    if clips not in ("held-out", "all"):
        raise ValueError(f"clips must be 'held-out' or 'all', got {clips!r}")
    network = load_model(model)
    recipe = network.recipe
    if recipe is None:
        raise ValueError(f"{model} has no recipe: it was not saved by harkeras, so its classes are not known")
    classes = recipe.classes if classes is None else tuple(classes)
    features, labels, video_paths = create_dataset(
        data_dir,
        classes,
        frames=recipe.frames,
        height=recipe.height,
        width=recipe.width,
        streams=recipe.streams,
        flow_fields=recipe.flow_fields,
        flow_method=recipe.flow_method,
        workers=workers,
        cache=cache,
    )
    rows, words = np.arange(len(labels)), f"all {len(labels)} clips of the folder"
    if clips == "all":
        groups = read_groups(video_paths)
    else:
        _, rows, groups, words = split_clips(
            video_paths, labels, split=split, split_dir=split_dir, test_size=test_size, seed=seed
        )
    batch_size = min(max(_NUMBERS_PER_BATCH // math.prod(features.shape[1:]), 1), 16)
    evaluation = evaluate(
        network,
        _Rows(features, rows),
        labels[rows],
        classes=classes,
        groups=groups[rows],
        split=words,
        batch_size=batch_size,
    )
    return replace(evaluation, latency_seconds=measure_latency(network))


def split_clips(
    video_paths: Sequence[Path],
    labels: np.ndarray,
    *,
    split: Split = "group",
    split_dir: str | os.PathLike | None = None,
    test_size: float = 0.25,
    seed: int = 27,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """Split clips by the name of a split, and say in words what was done.

    Returns:
        Rows to train on, rows to test on, the group of every clip, and the words.

    Raises:
        ValueError: If there is no split of that name, or "official" comes without `split_dir`.
    """
    groups = read_groups(video_paths)
    if split == "group":
        rows = split_rows_by_group(labels, groups, test_size=test_size, seed=seed)
    elif split == "random":
        rows = split_at_random(video_paths, labels, test_size=test_size, seed=seed)
    elif split == "official":
        if split_dir is None:
            raise ValueError("split_dir is missing: an official split needs the folder of its files")
        rows = split_by_files(video_paths, split_dir)
    else:
        raise ValueError(f"split must be 'group', 'random' or 'official', got {split!r}")
    seen, unseen = (set(groups[side].tolist()) for side in rows)
    kind = {"group": "by source video", "random": "at random", "official": "official"}[split]
    shared = f"; {len(seen & unseen)} of these sources are in training too, so accuracy is overstated"
    words = (
        f"{kind}: {len(groups)} clips of {len(set(groups.tolist()))} sources, "
        f"trained on {len(rows[0])} clips of {len(seen)}, "
        f"tested on {len(rows[1])} clips of {len(unseen)}{shared if seen & unseen else ''}"
    )
    return *rows, groups, words


class _Rows:
    """Some rows of an array of clips, which stays where it is: in a cache larger than the memory, on disk."""

    def __init__(self, features: np.ndarray, rows: np.ndarray):
        self.features, self.rows = features, rows
        self.shape = (len(rows), *features.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: slice | np.ndarray) -> np.ndarray:
        return self.features[self.rows[index]]


def _write_report(
    path: Path, evaluation: Evaluation, history: keras.callbacks.History | None, more: str = ""
) -> list[Path]:
    """Write the table, the curves if there are any, and the confusion matrix beside the model."""
    report = path.with_name(f"{path.stem}__report.txt")
    report.write_text(f"{evaluation}\n" + (f"\n{more}\n" if more else ""), encoding="utf-8")
    figures = {}
    for metric in ("loss", "accuracy") if history is not None else ():
        other = f"val_{metric}" if f"val_{metric}" in history.history else metric
        figures[metric] = plot_metric(history, metric, other, f"{metric.capitalize()} over the epochs")
    title = f"Test clips: accuracy {evaluation.accuracy:.2f}"
    figures["confusion"] = plot_confusion_matrix(evaluation.confusion, evaluation.classes, title)
    written = [report]
    for name, figure in figures.items():
        written.append(path.with_name(f"{path.stem}__{name}.png"))
        figure.savefig(written[-1], dpi=120)
    return written
