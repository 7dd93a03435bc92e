"""The easy path: which input and which head suit these clips? Tried by cross-validation, then fitted.

Clips go through a frozen backbone once for each input that is worth a try (how many frames, how large), and
heads are compared on the features by cross-validation: every training clip is named by heads that were fitted
without its source. Test clips take no part in any choice.

With few clips such a comparison is a noisy judge: a difference of one or two per cent says little, but one
input may cost ten times another, with every clip that is named. So the cheapest candidate that the comparison
cannot tell from the best is fitted to all training clips (`harkeras.transfer._trials`). And candidates are
few: of many, the best is mostly the luckiest. What depth of the network to look at, and which statistics, is
left to the head's regularization; chosen by comparison, it came out worse.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any, ClassVar

import keras
import numpy as np
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from harkeras.assets.table import PRETRAINED
from harkeras.base.configs import keyword_defaults
from harkeras.base.keras_state import seeded
from harkeras.data.folders import ClipFolder
from harkeras.data.intervals import clustered_interval
from harkeras.data.splits import list_folds
from harkeras.recipe import Streams
from harkeras.training.calibration import fit_temperature
from harkeras.training.trainer import NetworkTrainer, Size, complete_shape
from harkeras.transfer._fitting import fit_model, learn_and_predict
from harkeras.transfer._trials import (
    Preference,
    Trial,
    average_trials,
    average_views,
    check_preference,
    choose_trial,
    named_right,
    rank,
    try_statistics,
    try_trained,
)
from harkeras.transfer.auto_training import AutoTraining, describe_trials
from harkeras.transfer.feature_dataset import FeatureDataset, check_subjects, create_feature_dataset
from harkeras.transfer.features import choose_backbone, frame_encoder
from harkeras.transfer.heads import DEFAULT_HEADS, HEADS, STATISTICS, fewest_frames
from harkeras.transfer.learning_curve import measure_learning_curve
from harkeras.transfer.published_trainer import PublishedTrainer


class AutoTrainer:
    """Chooses input and head by cross-validation inside the training clips: the `Trainer` called "auto".

    Args:
        name: "auto".
        options: Of `create_feature_dataset`: `backbone`, `weights`, `inputs`, `flow`; of `train_auto`:
            `heads`, `folds`, `prefer`.
        input_shape: The one clip shape to try, (frames, height, width, 3), or 5 channels for RGB and flow;
            what it finds best by default.
        subject: What to look at, see `create_feature_dataset`; several, joined by commas, to choose among,
            of "frame,people" also both at once.

    Raises:
        ValueError: If there is no such option, or it is out of its range.
    """

    takes_settings: ClassVar[bool] = False
    cache_name: ClassVar[str] = "features"

    @property
    def fallback(self) -> str | None:
        """LRCN from scratch, if nothing is asked for that would mean nothing to LRCN."""
        return None if self.options or len(self.reading["subjects"]) > 1 else "lrcn"

    @property
    def settings(self) -> dict[str, Any]:
        """All options, defaults included."""
        options = keyword_defaults(create_feature_dataset) | keyword_defaults(train_auto)
        options |= self.reading | self.fitting
        for name in ("cache", "workers", "seed"):  # for the caller to say
            del options[name]
        return {"model_options": options}

    def __init__(
        self,
        name: str = "auto",
        options: dict[str, Any] | None = None,
        *,
        input_shape: tuple[int, int, int, int] | None = None,
        subject: str = "frame",
    ):
        """Check everything that can be judged without clips."""
        self.name, self.options = name, dict(options or {})
        of_features = ("backbone", "weights", "inputs", "flow")
        self.reading = {key: self.options[key] for key in of_features if key in self.options}
        of_fitting = ("heads", "folds", "prefer")
        self.fitting = {key: self.options[key] for key in of_fitting if key in self.options}
        unknown = sorted(self.options.keys() - self.reading.keys() - self.fitting.keys())
        if unknown:
            raise ValueError(
                f"options of auto must be among {', '.join(of_features + of_fitting)}, got "
                f"{', '.join(unknown)}"
            )
        _check_heads(self.fitting.get("heads", DEFAULT_HEADS))
        check_preference(self.fitting.get("prefer", "balanced"))
        self.reading["subjects"] = tuple(subject.split(","))
        check_subjects(self.reading["subjects"])
        if input_shape is not None:
            if len(input_shape) != 4 or input_shape[3] not in (3, 5):
                raise ValueError(
                    f"input_shape must be (frames, height, width, 3 or 5) for auto, got {tuple(input_shape)}"
                )
            self.reading |= {"inputs": (tuple(input_shape[:3]),), "flow": input_shape[3] == 5}

    @staticmethod
    def read_shape(
        model: str, size: Size, streams: Streams, flow_fields: int | None
    ) -> tuple[tuple[int, int, int, int] | None, dict[str, Any]]:
        """Return the clip shape, and options, that a command line asks for; None where it is to be found."""
        if streams not in ("rgb", "rgb+flow") or flow_fields not in (None, 1):
            raise ValueError(
                f"streams must be 'rgb', or 'rgb+flow' with 1 field, for auto, got {streams!r} and "
                f"{flow_fields}"
            )
        if size == (None, None, None):
            return None, {"flow": True} if streams == "rgb+flow" else {}
        return complete_shape(size, (16, 224, 224), streams, 1 if streams == "rgb+flow" else None), {}

    def check(self, num_classes: int) -> int:
        """Raise FileNotFoundError or OSError if the weights cannot be had."""
        weights = self.reading.get("weights", "imagenet")
        backbone = choose_backbone(self.reading.get("backbone"), weights)
        return frame_encoder(backbone.name, (32, 32, 3), weights=weights).count_params()

    def read(
        self, folder: ClipFolder, *, cache: str | os.PathLike | None = None, workers: int | None = None
    ) -> FeatureDataset:
        """Compute the features of the clips; `cache` is a folder."""
        return create_feature_dataset(folder, **self.reading, cache=cache, workers=workers)

    def train(self, dataset: FeatureDataset, *, seed: int) -> AutoTraining:
        """Compare and fit."""
        with seeded(seed):
            return train_auto(dataset, seed=seed, **self.fitting)


def create_trainer(model: str | Callable[[], keras.Model], options: dict[str, Any] | None = None, **settings):
    """Return what trains a model of that name.

    Args:
        model: One of `list_models()`, or a function that builds a model: a `NetworkTrainer`; one of
            `list_pretrained()`: a `PublishedTrainer`; or "auto": an `AutoTrainer`.
        options: Further arguments of its builder.
        **settings: Further arguments of the trainer.

    Raises:
        ValueError: If there is no such model, or an argument means nothing to it or is out of its range.
    """
    trainer = find_trainer(model)
    unknown = sorted(settings.keys() - inspect.signature(trainer).parameters.keys())
    if unknown and not trainer.takes_settings:
        raise ValueError(
            f"{', '.join(unknown)} must be left out with {model!r}, which trains no network from end to end; "
            "name a model of list_models()"
        )
    return trainer(model, options, **settings)


def find_trainer(model: str | Callable[[], keras.Model]) -> type[NetworkTrainer | AutoTrainer]:
    """Return the kind of trainer of a model."""
    kinds = {"auto": AutoTrainer} | dict.fromkeys(PRETRAINED, PublishedTrainer)
    return kinds.get(model, NetworkTrainer)


def _check_heads(heads: Sequence[str]) -> None:
    if set(heads) - set(HEADS) or not set(heads) & set(STATISTICS):
        raise ValueError(
            f"heads must be among {', '.join(HEADS)}, one of them of {', '.join(STATISTICS)}, "
            f"got {', '.join(heads)}"
        )


def train_auto(
    dataset: FeatureDataset,
    *,
    heads: Sequence[str] = DEFAULT_HEADS,
    folds: int = 5,
    prefer: Preference = "balanced",
    seed: int = 27,
) -> AutoTraining:
    """Compare inputs and heads by cross-validation over the sources, and fit the one to choose to all clips.

    Args:
        dataset: Clips to train on, part of what `create_feature_dataset` made.
        heads: Names of the heads to try, one of them of statistics. Few are better than many. Those that need
            several frames are left out where there is one; if none is left, "mean_std" is tried.
        folds: Folds of the cross-validation; fewer where there are fewer sources.
        prefer: "balanced" takes the cheapest candidate that is behind the best by no more than one standard
            error over the sources, "speed" by no more than two, "accuracy" the best itself.
        seed: Seed of the folds and of heads that are trained by gradient descent.

    Returns:
        `AutoTraining`

    Raises:
        ValueError: If there is no such head or none of statistics, no such preference, or the clips are too
            few to compare.
    """
    _check_heads(heads)
    check_preference(prefer)
    table, labels, groups = dataset.features, dataset.labels, dataset.groups
    frames = min(given.frames for given in table.features)
    heads = [name for name in heads if fewest_frames(name) <= frames] or ["mean_std"]
    inner = _inner_folds(labels, groups, folds, seed)
    trials = _compare_statistics(dataset, [name for name in heads if name in STATISTICS], inner)
    trials += average_views(trials, labels)
    best, given_up = choose_trial(trials, labels, groups, prefer), []
    values = table.pick(best.inputs[0], best.parts[0])
    trained = [name for name in heads if name not in STATISTICS and len(best.inputs) == 1]
    for number, name in enumerate(trained, 1):
        title = f"Training heads {number} of {len(trained)}: {name}"
        trial = try_trained(name, best, values, labels, inner, seed, title)
        if trial is None:
            given_up.append(name)
        else:
            trials.append(trial)
    rivals = [trial for trial in trials if trial.inputs == best.inputs]
    trials += average_trials(rivals, labels, partial(table.cost_of, best.inputs[0]))
    trials.sort(key=rank)
    chosen = choose_trial(trials, labels, groups, prefer)
    model = fit_model(chosen, dataset, seed)
    # Fitted to clips of sources that took no part in what was said of them, as it will be with new ones; but
    # those of a class that is nowhere else could not be named.
    fair = np.zeros(len(labels), bool)
    for train, test in inner:
        fair[test] = np.isin(labels[test], labels[train])
    temperature = fit_temperature(labels[fair], chosen.probabilities[fair])
    model.recipe = replace(model.recipe, temperature=temperature)
    learn = partial(learn_and_predict, chosen, dataset, seed)
    draws = 3 if set(chosen.heads) <= STATISTICS.keys() else 1  # the others take longer to train
    curve = measure_learning_curve(labels, groups, inner, chosen.probabilities, learn, draws=draws, seed=seed)
    how = "by source video" if len(np.unique(groups)) < len(groups) else "each clip a source of its own"
    report = describe_trials(
        trials, chosen, given_up, clips=len(labels), how=how, folds=len(inner), prefer=prefer
    )
    report += f"\n{table.backbone}"
    report += f"\ntemperature of its probabilities: {temperature:.2f} (above 1 it was too sure of itself)"
    report += f"\n\n{curve}" if curve is not None else "\nToo few sources for a learning curve."
    return AutoTraining(
        model=model,
        chosen=chosen,
        trials=trials,
        prefer=prefer,
        backbone=table.backbone,
        report=report,
        interval=clustered_interval(named_right(chosen, labels), groups),
        learning_curve=curve,
    )


def _compare_statistics(dataset: FeatureDataset, heads: list[str], inner: list) -> list[Trial]:
    """Cross-validate each head of statistics on each choice of parts of each input."""
    table, trials = dataset.features, []
    candidates = list(product(table.features, _choices_of_parts(dataset), heads))
    with threadpool_limits(1):  # on matrices as small as these, threads wait for each other most of the time
        for given, parts, name in tqdm(candidates, "Comparing heads", unit="head"):
            values, cost = table.pick(given, parts), table.cost_of(given, parts)
            trials.append(
                try_statistics(name, given, parts, cost, values, dataset.labels, inner, len(dataset.classes))
            )
    return trials


def _choices_of_parts(dataset: FeatureDataset) -> list[tuple[str, ...]]:
    """What the backbone sees in the pictures, and what flow adds."""
    parts = tuple(dataset.features.parts)
    return [parts[:2], parts] if "flow" in parts else [parts]


def _inner_folds(labels, groups, folds: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    sources = len(np.unique(groups))
    if sources < 2 or len(np.unique(labels)) < 2:
        raise ValueError(f"dataset must hold 2 classes and at least 2 source videos, got {sources}")
    if np.bincount(labels).max() < 2:
        raise ValueError(f"dataset must hold at least 2 clips of a class, got {len(labels)} clips")
    folds = min(folds, sources, int(np.bincount(labels).max()))
    pairs = list_folds(labels, groups, split="group", folds=folds, seed=seed)
    pairs = [pair for pair in pairs if len(np.unique(labels[pair[0]])) > 1]
    if not pairs:
        raise ValueError("dataset must hold every class in at least 2 source videos")
    return pairs
