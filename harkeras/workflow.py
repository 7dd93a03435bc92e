"""The main job in one call: a folder of labeled clips -> a saved model and an honest report of it."""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import keras

from harkeras.base.files import check_target, content_digest
from harkeras.base.model_files import MODEL_FILE
from harkeras.data.datasets import Dataset
from harkeras.data.folders import ClipFolder, read_folder
from harkeras.data.sharing import Share
from harkeras.data.shortcuts import class_shortcuts
from harkeras.data.splits import Split, check_seed, split_clips
from harkeras.evaluation.held_out import evaluate_on_folder
from harkeras.evaluation.runs import RunReport, create_run_folder
from harkeras.evaluation.scores import Evaluation, evaluate, measure_latency
from harkeras.models.saving import save_model
from harkeras.recipe import FlowMethod, TrainingRecord
from harkeras.training.distribution import find_share, text_of_first
from harkeras.training.trainer import Trainer, Training
from harkeras.transfer.auto import create_trainer

__all__ = ["TrainedModel", "evaluate_on_folder", "train_on_folder"]

_logger = logging.getLogger("harkeras")


class TrainedModel(NamedTuple):
    """A trained model, its file, how it did on unseen clips, how training went, and the folder of the run.

    Of a model that `auto` chose there is no history. `report` is the text for people; what else the folder
    holds is listed in `harkeras.evaluation.runs`.
    """

    model: keras.Model
    path: Path
    evaluation: Evaluation
    history: keras.callbacks.History | None
    folder: Path
    report: Path


def train_on_folder(
    data_dir: str | os.PathLike,
    model: str = "auto",
    *,
    output_dir: str | os.PathLike = "saved_models",
    classes: Sequence[str] | None = None,
    input_shape: tuple[int, ...] | None = None,
    flow_method: FlowMethod | None = None,
    subject: str | None = None,
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
    """Read the clips, train on some sources, score on the others, and save model and report as a run.

    What was taken for class and source is logged (logger "harkeras") before anything is read, and stands in
    the report. Identical clips count as one source. The model's recipe says what it was trained on.

    Args:
        data_dir: Folder with one folder of clips per class.
        model: One of `list_models()`; one of `list_pretrained()`: a published network of videos, which gets a
            new last layer and is fine-tuned; or "auto": heads on a network trained on photographs, compared
            by cross-validation inside the training clips, or LRCN from scratch where no weights can be had.
        output_dir: Folder in which the run gets a folder of its own, `<model>__<date>__<time>`.
        classes: Classes to take, in the order of the labels; all, sorted, by default.
        input_shape: Clip shape (frames, height, width, channels): 3 channels are RGB, 1 is gray, 2L are L
            fields of flow, 3 + 2L are RGB and flow. Or (frames, 17, 3), of the joints of a person. By default
            (20, 64, 64, 3); for "auto" what it finds best; for a published network what it was trained on.
        flow_method: How to compute the flow, where there is any: "dis", the default, "farneback" or "tvl1".
        subject: What to look at instead of whole frames, "frame": "people", one square around all people of
            each clip, "frame+people", both side by side, or "person", a square that goes along with the
            largest, or that person's joints. For "auto", "frame,people" chooses inside the training clips
            between the two and the mean of what is said of each.
        model_options: Further arguments of the model's builder, such as `{"width_multiplier": 0.25}`; for
            "auto", of `create_feature_dataset` (`backbone`, `weights`, `inputs`, `flow`) and `train_auto`
            (`heads`, `folds`, `prefer`).
        group_by: What names the source of a clip, see `find_sources`.
        split: "group" keeps the clips of a source together; "random" does not, and overstates the accuracy;
            "official" reads the lists in `split_dir`.
        split_dir: Folder of the lists of an official split, see `split_by_files`.
        test_size: Share of the clips to test on, for the splits that are not official.
        cache: A `.npy` file to keep the frames in, so that the next training starts at once; for "auto", a
            folder to keep the features in.
        workers: Threads that decode; one per core by default.
        seed: Seed of the split, the weights, the dropout and the order of clips.
        **training: Further arguments of `train`, such as `epochs`, `batch_size`, `patience`, `resume`, and of
            `Dataset.for_training`, such as `augment`; and `mixed_precision=True` to train in 16 bits, see
            `harkeras.training.precision`. With `distribute`, every process makes this call; the first one
            writes the run. "auto" has none of them.

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
    settings = {"input_shape": input_shape, "flow_method": flow_method, "subject": subject} | training
    settings = {name: value for name, value in settings.items() if value is not None}
    trainer = create_trainer(model, model_options, **settings)
    folder = read_folder(data_dir, classes, group_by=group_by, copies=True)
    _check_classes(folder)
    check_target(Path(output_dir) / "model.keras", "output_dir")
    _logger.info("%s", folder)
    how = {"split": split, "split_dir": split_dir, "test_size": test_size, "seed": seed}
    split_clips(folder.video_paths, folder.labels, folder.sources, **how)  # it may refuse the folder
    trainer, notes = _with_weights(trainer, len(folder.classes), output_dir, cache, settings)
    shortcuts = class_shortcuts(folder, workers=workers)
    for note in shortcuts:
        _logger.warning("%s", note)
    dataset = trainer.read(folder, cache=cache, workers=workers)
    train_set, test_set = dataset.split(**how)
    trained = trainer.train(train_set.without_sources() if split == "random" else train_set, seed=seed)
    network = trained.model
    network.recipe = replace(network.recipe, training=_record(folder, train_set, test_set, how))
    share = find_share() if training.get("distribute") else Share()
    if not share.is_first:
        return _follow(share, trained, test_set)
    evaluation, run = _score_and_save(network, test_set, output_dir, trainer.name)
    evaluation = replace(evaluation, latency_seconds=measure_latency(network))
    asked = {"data_dir": Path(data_dir).absolute(), "classes": classes, "group_by": group_by}
    asked |= how | {"cache": cache, "workers": workers}
    report = _write_report(
        run,
        model=trainer.name,
        folder=folder,
        dataset=dataset,
        train_set=train_set,
        test_set=test_set,
        evaluation=evaluation,
        training=trained,
        notes=[*notes, *shortcuts],
        settings={"model": model} | trainer.settings | asked | _how_compiled(network),
    )
    _finish(share, run, None if trained.interrupted else training.get("resume"))
    return TrainedModel(network, run / MODEL_FILE, evaluation, trained.history, run, report)


def _finish(share: Share, run: Path, state: str | os.PathLike | None) -> None:
    """Remove the state of the training, now that the model is on the disk, and tell other processes where."""
    if state is not None:
        Path(state).unlink(missing_ok=True)
    text_of_first(share, str(run))


def _follow(share: Share, trained: Training, test_set: Dataset) -> TrainedModel:
    """Score what several processes trained; the first one writes the run, and says where."""
    evaluation = evaluate(trained.model, test_set)
    run = Path(text_of_first(share, ""))
    report = run / "report.txt"
    return TrainedModel(trained.model, run / MODEL_FILE, evaluation, trained.history, run, report)


def _check_classes(folder: ClipFolder) -> None:
    if len(folder.classes) < 2:
        raise ValueError(
            f"{folder.data_dir} must hold clips of at least two classes, got only {folder.classes[0]!r}; to "
            "find one action, add a class of clips in which it does not happen"
        )


def _with_weights(
    trainer: Trainer, num_classes: int, output_dir: str | os.PathLike, cache, settings: dict[str, Any]
) -> tuple[Trainer, list[str]]:
    """Return the trainer, or what it names instead where its weights cannot be had, and what to say of it."""
    notes = []
    try:
        parameters = trainer.check(num_classes)
    except OSError as error:
        if trainer.fallback is None or cache is not None:
            raise
        warnings.warn(
            f"{trainer.name} has no pretrained weights and trains {trainer.fallback} from scratch, which "
            f"needs many more clips to be any good: {error}",
            stacklevel=3,
        )
        notes = [f"{trainer.name} had no pretrained weights, so {trainer.fallback} was trained from scratch"]
        trainer = create_trainer(trainer.fallback, **settings)
        parameters = trainer.check(num_classes)
    # The optimizer's two moments are saved with the weights.
    check_target(Path(output_dir) / "model.keras", "output_dir", size=12 * parameters)
    return trainer, notes


def _how_compiled(network: keras.Model) -> dict[str, Any]:
    """Say with which optimizer and loss a network was trained, if it was trained as one."""
    if getattr(network, "optimizer", None) is None:
        return {}
    optimizer, loss = network.optimizer, network.loss
    # By their classes: Keras numbers the names of optimizers, of which one was made before in the process.
    named = optimizer.get_config() | {"name": type(optimizer).__name__}
    return {"optimizer": named, "loss": type(loss).__name__}


def _record(folder: ClipFolder, train_set: Dataset, test_set: Dataset, how: dict[str, Any]) -> TrainingRecord:
    """Say what the model was trained on, for its recipe."""
    sources = folder.sources
    places = dict(zip(folder.video_paths, folder.places(folder.classes), strict=True))
    return TrainingRecord(
        split=how["split"],
        seed=how["seed"],
        test_size=len(test_set) / (len(train_set) + len(test_set)),
        sources=sources.how or "unknown",
        group_by=sources.group_by,
        level=sources.level,
        train_groups=sorted(set(train_set.sources.names.tolist())),
        test_groups=sorted(set(test_set.sources.names.tolist())),
        train_clips=sorted(map(content_digest, train_set.video_paths)),
        train_paths=sorted(places[path] for path in train_set.video_paths),
        test_paths=sorted(places[path] for path in test_set.video_paths),
        version=version("harkeras"),
    )


def _score_and_save(
    network: keras.Model, test_set: Dataset, output_dir: str | os.PathLike, name: str
) -> tuple[Evaluation, Path]:
    """Score a model and save it as a run; a finished training is not lost because it was not scored."""
    try:
        evaluation = evaluate(network, test_set)
    except BaseException:
        _logger.warning("not scored; the model lies in %s", _save(network, output_dir, name))
        raise
    return evaluation, _save(network, output_dir, name)


def _save(network: keras.Model, output_dir: str | os.PathLike, name: str) -> Path:
    """Save a model in a run, if need be where temporary files lie: training is not lost to a full disk."""
    try:
        run = create_run_folder(output_dir, name)
        try:
            save_model(network, run / MODEL_FILE)
        except BaseException:
            with suppress(OSError):
                run.rmdir()
            raise
    except OSError as error:
        rescued = save_model(network, tempfile.gettempdir())
        raise OSError(
            error.errno, f"{error.strerror}; the model was saved as {rescued} instead", str(output_dir)
        ) from error
    return run


def _write_report(run: Path, **facts) -> Path:
    """Write a `RunReport`; where that fails, say that the model is there."""
    try:
        return RunReport(**facts).write(run)
    except BaseException:
        _logger.warning("the report is not complete; the model lies in %s", run)
        raise
