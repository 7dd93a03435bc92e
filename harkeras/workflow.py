"""The main job in one call: a folder of labelled clips -> a saved model and an honest report of it."""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, get_args

import keras
import numpy as np

from harkeras.base.files import check_target, content_digest, write_text, written_whole
from harkeras.base.keras_state import seeded
from harkeras.data.datasets import load_folder
from harkeras.data.folders import ClipFolder, read_folder
from harkeras.data.leakage import leakage_report
from harkeras.data.shortcuts import class_shortcuts
from harkeras.data.sources import warn_if_unknown
from harkeras.data.splits import Split, check_seed, split_clips
from harkeras.evaluation.held_out import evaluate_on_folder, scoring_batch_size
from harkeras.evaluation.plots import plot_confusion_matrix, plot_metric
from harkeras.evaluation.scores import Evaluation, evaluate, measure_latency
from harkeras.models import check_options, create_model, describe_unknown, list_models
from harkeras.models.saving import save_model
from harkeras.recipe import TrainingRecord, read_channels
from harkeras.training.loop import check_options as check_training
from harkeras.training.loop import train
from harkeras.transfer.auto import check_weights, head_features, split_options, train_auto
from harkeras.transfer.feature_table import read_feature_table
from harkeras.video.flow import FlowMethod

__all__ = ["TrainedModel", "evaluate_on_folder", "train_on_folder"]

_logger = logging.getLogger("harkeras")


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
    group_by: str | int | Callable[[Path], str] | None = None,
    split: Split = "group",
    split_dir: str | os.PathLike | None = None,
    test_size: float = 0.25,
    cache: str | os.PathLike | None = None,
    workers: int | None = None,
    seed: int = 27,
    **training,
) -> TrainedModel:
    """Read the clips, train on some sources, score on the others, and save the model beside its report.

    What was taken for class and source is logged (logger "harkeras") before anything is read, and stands in
    the report. Identical clips count as one source. The model's recipe says what it was trained on.

    Args:
        data_dir: Folder with one folder of clips per class.
        model: One of `list_models()`; or "auto": heads on a network trained on photographs, compared by
            cross-validation inside the training clips, or LRCN from scratch where no weights can be had.
        output_dir: Folder for the model, its report, curves and confusion matrix.
        classes: Classes to take, in the order of the labels; all, sorted, by default.
        input_shape: Clip shape (frames, height, width, channels): 3 channels are RGB, 1 is gray, 2L are L
            fields of flow, 3 + 2L are RGB and flow. By default (20, 64, 64, 3), or, for "auto", what it finds
            best.
        flow_method: How to compute the flow, where there is any: "dis", "farneback" or "tvl1".
        model_options: Further arguments of the model's builder, such as `{"width": 0.25}`; for "auto", of
            `read_feature_table` (`backbone`, `weights`, `inputs`, `flow`) and `train_auto` (`heads`,
            `folds`).
        group_by: What names the source of a clip, see `find_sources`.
        split: "group" keeps the clips of a source together; "random" does not, and overstates the accuracy;
            "official" reads the lists in `split_dir`.
        split_dir: Folder of the lists of an official split, see `split_by_files`.
        test_size: Share of the clips to test on, for the splits that are not official.
        cache: A `.npy` file to keep the frames in, so that the next training starts at once; for "auto", a
            folder to keep the features in.
        workers: Threads that decode; one per core by default.
        seed: Seed of the split, the weights, the dropout and the order of clips.
        **training: Further arguments of `train`, such as `epochs`, `batch_size`, `patience`, `resume`; "auto"
            has none.

    Returns:
        `TrainedModel`

    Raises:
        FileNotFoundError: If a folder is missing.
        ValueError: If an argument is out of its range or means nothing to "auto", the folder does not hold
            classes of clips, or their sources do not allow an honest split.
        RuntimeError: If the loss is not a number in the first epoch.
        OSError: If the output folder cannot be written.
    """
    check_seed(seed)
    options = dict(model_options or {})
    _check_model(model, options, training, input_shape, flow_method)
    folder = read_folder(data_dir, classes, group_by=group_by, copies=True)
    if len(folder.classes) < 2:
        raise ValueError(
            f"{data_dir} must hold clips of at least two classes, got only {folder.classes[0]!r}; to find "
            "one action, add a class of clips in which it does not happen"
        )
    check_target(Path(output_dir) / "model.keras", "output_dir")
    _logger.info("%s", folder)
    splitting = _Splitting(split, split_dir, test_size, seed)
    splitting.of(folder)  # before the long work, because it may refuse the folder
    if split == "group":
        warn_if_unknown(folder.sources)
    with seeded(seed):
        fallback = model == "auto" and not _weights_can_be_had(options, cache)
        name = "lrcn" if fallback else model
        if name != "auto":
            shape = (20, 64, 64, 3) if input_shape is None else input_shape
            network = create_model(name, len(folder.classes), shape, **options)
            # The optimizer's two moments are saved with the weights.
            check_target(Path(output_dir) / "model.keras", "output_dir", size=12 * network.count_params())
        notes = class_shortcuts(
            folder.video_paths, folder.labels, folder.classes, folder.sources.groups, workers=workers
        )
        for note in notes:
            _logger.warning("%s", note)
        if name == "auto":
            job = _train_auto(folder, splitting, input_shape, options, flow_method, cache, workers)
        else:
            job = _train_network(network, folder, splitting, shape, flow_method, cache, workers, training)
    if fallback:
        notes = ["auto had no pretrained weights, so LRCN was trained from scratch", *notes]
    asked = {"options": options, "split": split, "test_size": test_size, "group_by": group_by, **training}
    notes = [_settings(name, job.network, data_dir, seed, asked), *notes]
    trained = _finish(folder, notes, splitting, output_dir, job)
    if training.get("resume") is not None and not job.interrupted:  # only now: the model lies on the disk
        Path(training["resume"]).unlink(missing_ok=True)
    return trained


def _check_model(
    model: str, options: dict[str, Any], training: dict[str, Any], input_shape, flow_method: FlowMethod
) -> None:
    """Raise ValueError before the long work if there is no such model, or it would ignore an argument."""
    if model != "auto":
        if model not in list_models():
            raise ValueError(describe_unknown(model, [*list_models(), "auto"]))
        check_options(model, options)
        check_training(training)
    elif training:
        raise ValueError(
            f"{', '.join(sorted(training))} must be left out with 'auto', which trains no network from end "
            "to end; name a model of list_models()"
        )
    streams = "rgb" if input_shape is None else read_channels(input_shape[-1])[0]
    if flow_method not in get_args(FlowMethod):
        raise ValueError(f"flow_method must be one of {', '.join(get_args(FlowMethod))}, got {flow_method!r}")
    if flow_method != "dis" and (model == "auto" or "flow" not in streams):
        raise ValueError(
            f"flow_method is for clips with optical flow and not for 'auto', got {flow_method!r}"
        )


def _settings(model: str, network: keras.Model, data_dir, seed: int, asked: dict[str, Any]) -> str:
    """Say with what the model was trained, for the report."""
    shape = " x ".join(map(str, network.input_shape[1:]))
    options = "".join(f", {name} {value}" for name, value in asked.items() if value not in (None, {}))
    versions = ", ".join(f"{name} {version(name)}" for name in ("harkeras", "keras", "tensorflow"))
    return f"trained: {model} on clips of {shape} from {data_dir}, seed {seed}{options}; {versions}"


class _Job(NamedTuple):
    """What training left: a network, the clips that were read, the rows of both sides, and how to score."""

    network: keras.Model
    folder: ClipFolder
    rows: tuple[np.ndarray, np.ndarray]
    score: Callable[[], Evaluation]
    history: keras.callbacks.History | None = None
    interrupted: bool = False
    explain: Callable[[Evaluation], str] | None = None


@dataclass(frozen=True)
class _Splitting:
    """The arguments of `split_clips` that say how."""

    split: Split
    split_dir: str | os.PathLike | None
    test_size: float
    seed: int

    def of(self, folder: ClipFolder) -> tuple[np.ndarray, np.ndarray, str]:
        """Return rows to train on, rows to test on, and what was done in words."""
        return split_clips(folder.video_paths, folder.labels, folder.sources, **vars(self))

    def record(self, folder: ClipFolder, train: np.ndarray, test: np.ndarray) -> TrainingRecord:
        """Say what the model was trained on, for its recipe."""
        sources, places = folder.sources, np.array(folder.places(folder.classes))
        return TrainingRecord(
            split=self.split,
            seed=self.seed,
            test_size=len(test) / (len(train) + len(test)),
            sources=sources.how or "unknown",
            group_by=sources.group_by,
            level=sources.level,
            train_groups=sorted(set(sources.names[train].tolist())),
            test_groups=sorted(set(sources.names[test].tolist())),
            train_clips=sorted(content_digest(folder.video_paths[row]) for row in train),
            train_paths=sorted(places[train].tolist()),
            test_paths=sorted(places[test].tolist()),
            version=version("harkeras"),
        )


def _train_network(network, folder, splitting, shape, flow_method, cache, workers, training):
    """Read, split, train and score a network from end to end."""
    frames, height, width, channels = shape
    streams, flow_fields = read_channels(channels)
    dataset = load_folder(
        folder,
        frames=frames,
        height=height,
        width=width,
        streams=streams,
        flow_fields=flow_fields,
        flow_method=flow_method,
        workers=workers,
        cache=cache,
    )
    folder = _only(folder, dataset.video_paths)
    train_rows, test_rows, words = splitting.of(folder)
    train_set, test_set = dataset[train_rows], dataset[test_rows]
    interrupted = False
    try:
        train(network, train_set, seed=splitting.seed, **training)
    except KeyboardInterrupt:
        if getattr(network, "recipe", None) is None:  # in the first epoch: there is nothing to keep
            raise
        interrupted = True
    score = partial(
        evaluate, network, test_set, split=words, batch_size=scoring_batch_size(test_set.features)
    )
    return _Job(network, folder, (train_rows, test_rows), score, network.history, interrupted)


def _train_auto(folder, splitting, input_shape, options, flow_method, cache, workers):
    """Compare, fit and score: `train_on_folder` for "auto"."""
    options, fitting = split_options(options)
    if input_shape is not None:
        streams, fields = read_channels(input_shape[3])
        if streams not in ("rgb", "rgb+flow") or fields > 1:
            raise ValueError(f"input_shape must have 3 or 5 channels for auto, got {input_shape}")
        options |= {"inputs": (tuple(input_shape[:3]),), "flow": streams == "rgb+flow"}
    if options.get("flow") and flow_method != "dis":
        raise ValueError(f"flow_method must be 'dis' for auto, got {flow_method!r}")
    table = read_feature_table(folder.video_paths, **options, cache=cache, workers=workers)
    folder = folder[table.rows]
    train_rows, test_rows, words = splitting.of(folder)
    trained = train_auto(
        table,
        folder.labels,
        train_rows,
        classes=folder.classes,
        groups=None if splitting.split == "random" else folder.sources.groups,
        seed=splitting.seed,
        **fitting,
    )
    score = partial(
        evaluate,
        trained.head,
        head_features(table, trained.chosen, test_rows),
        folder.labels[test_rows],
        classes=folder.classes,
        groups=folder.sources[test_rows].independent,
        split=words,
    )

    def explain(evaluation: Evaluation) -> str:
        interval = evaluation.group_interval or evaluation.interval
        return f"{trained.report}\n{trained.compare_with_test(evaluation.accuracy, interval)}".strip()

    return _Job(trained.model, folder, (train_rows, test_rows), score, explain=explain)


def _finish(
    asked: ClipFolder, notes: list[str], splitting: _Splitting, output_dir, job: _Job
) -> TrainedModel:
    """Score and save the model, with the record of its training, and the report beside it."""
    network, folder = job.network, job.folder
    network.recipe = replace(network.recipe, training=splitting.record(folder, *job.rows))
    try:
        evaluation = job.score()
    except BaseException:  # a finished training is not lost because it was not scored
        _logger.warning("not scored; the model lies at %s", save_model(network, output_dir))
        raise
    path = _save(network, output_dir, evaluation)
    evaluation = replace(evaluation, latency_seconds=measure_latency(network))
    leaks = leakage_report(folder.video_paths, folder.sources.groups, *job.rows)
    left_out, training, explanation = len(asked.video_paths) - len(folder.video_paths), "", ""
    if job.history is not None:
        epochs = len(job.history.epoch)
        training = f"trained for {epochs} epoch{'' if epochs == 1 else 's'}"
        training += ", when it was interrupted" if job.interrupted else ""
    if job.explain is not None:
        explanation = job.explain(evaluation)
    unread = f"{left_out} clips could not be read" if left_out else ""
    parts = [str(folder), unread, *notes, training, str(leaks), explanation]
    text = "\n".join(part for part in parts if part)
    return TrainedModel(
        network, path, evaluation, job.history, _write_report(path, evaluation, job.history, text)
    )


def _save(network: keras.Model, output_dir: str | os.PathLike, evaluation: Evaluation) -> Path:
    """Save a model, if need be where temporary files lie: a finished training is not lost to a full disk."""
    scores = {"loss": evaluation.loss, "accuracy": evaluation.accuracy}
    try:
        return save_model(network, output_dir, **scores)
    except OSError as error:
        rescued = save_model(network, tempfile.gettempdir(), **scores)
        raise OSError(
            error.errno, f"{error.strerror}; the model was saved as {rescued} instead", str(output_dir)
        ) from error


def _only(folder: ClipFolder, video_paths: Sequence[Path]) -> ClipFolder:
    """Return the part of a folder that could be read."""
    readable = set(video_paths)
    return folder[np.array([row for row, path in enumerate(folder.video_paths) if path in readable])]


def _weights_can_be_had(options: dict[str, Any], cache: str | os.PathLike | None) -> bool:
    """Whether `auto` can have its weights; if those of ImageNet are out of reach, say so."""
    try:
        check_weights(options)
    except OSError as error:
        if options or cache is not None:
            raise  # they would mean nothing to LRCN
        warnings.warn(
            f"auto has no pretrained weights and trains LRCN from scratch, which needs many more clips to be "
            f"any good: {error}",
            stacklevel=3,
        )
        return False
    return True


def _write_report(
    path: Path, evaluation: Evaluation, history: keras.callbacks.History | None, more: str
) -> list[Path]:
    """Write the table, the curves if there are any, and the confusion matrix beside the model."""
    report = path.with_name(f"{path.stem}__report.txt")
    write_text(report, f"{evaluation}\n\n{more}\n")
    figures = {}
    for metric in ("loss", "accuracy") if history is not None else ():
        other = f"val_{metric}" if f"val_{metric}" in history.history else metric
        figures[metric] = plot_metric(history, metric, other, f"{metric.capitalize()} over the epochs")
    title = f"Test clips: accuracy {evaluation.accuracy:.2f}"
    figures["confusion"] = plot_confusion_matrix(evaluation.confusion, evaluation.classes, title)
    written = [report]
    for name, figure in figures.items():
        target = path.with_name(f"{path.stem}__{name}.png")
        with written_whole(target, suffix=".png") as partial:
            figure.savefig(partial, dpi=120)
        written.append(target)
    return written
