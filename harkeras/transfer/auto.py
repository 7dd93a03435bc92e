"""The easy path: which input and which head suit these clips? Tried by cross-validation, then fitted.

Clips go through a frozen backbone once for each input that is worth a try (how many frames, how large), and
heads are compared on the features by cross-validation: every training clip is named by heads that were fitted
without its source. What does best is fitted to all training clips. Test clips take no part in any choice.

With few clips such a comparison is a noisy judge: a difference of one or two per cent says little. Candidates
are therefore few, two that do well are averaged where that does better still, and a larger input, which costs
time with every clip that is named, is taken only where it does better than chance may.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, ClassVar

import keras
import numpy as np
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from harkeras.base.configs import keyword_defaults
from harkeras.base.keras_state import seeded
from harkeras.data.folders import ClipFolder
from harkeras.data.intervals import clustered_interval
from harkeras.data.splits import list_folds
from harkeras.recipe import Recipe, Streams, read_channels
from harkeras.training.calibration import fit_temperature
from harkeras.training.trainer import NetworkTrainer, Size, Training, complete_shape
from harkeras.transfer._trials import (
    Trial,
    averages_of,
    best_of,
    named_right,
    rank,
    smallest_input,
    try_statistics,
    try_trained,
)
from harkeras.transfer.feature_dataset import FeatureDataset, create_feature_dataset
from harkeras.transfer.features import PARTS, choose_backbone, frame_encoder, keep_parts, part_sizes
from harkeras.transfer.heads import (
    HEADS,
    STATISTICS,
    average_heads,
    create_head,
    fit_head,
    join,
)


@dataclass(frozen=True, kw_only=True)
class AutoTraining(Training):
    """What was chosen and fitted: a `Training` whose model names the action of clips (B, T, H, W, C).

    Its recipe holds the temperature that was fitted to the probabilities of the cross-validation.

    Attributes:
        chosen: The trial that was fitted: the best of the smallest input that does as well as any.
        trials: All trials, the best first.
        report: What was tried and why this was chosen, as text.
        interval: The 95 % interval of the chosen trial's accuracy, by the sources of the training clips.
    """

    chosen: Trial
    trials: list[Trial]
    report: str
    interval: tuple[float, float]

    def explain(self, accuracy: float, interval: tuple[float, float]) -> str:
        """Return the report, and what it may mean if it and the test disagree by more than chance."""
        return f"{self.report}\n{self.compare_with_test(accuracy, interval)}".strip()

    def compare_with_test(self, accuracy: float, interval: tuple[float, float]) -> str:
        """Return what it may mean if cross-validation and test disagree by more than chance; else nothing."""
        (low, high), (test_low, test_high) = self.interval, interval
        if low <= test_high and test_low <= high:
            return ""
        words = (
            f"The cross-validation and the test disagree by more than chance: {self.chosen.accuracy:.3f} "
            f"({low:.3f} to {high:.3f}) inside the training clips, {accuracy:.3f} "
            f"({test_low:.3f} to {test_high:.3f}) on the test clips. "
        )
        if low > test_high:
            return words + (
                "Training clips may share sources that are not known, and name each other; or the test clips "
                "are of another kind. The test is the one to believe."
            )
        return words + (
            "The test clips may be easier, or share sources with the training clips, which overstates the "
            "accuracy of the test."
        )


class AutoTrainer:
    """Chooses input and head by cross-validation inside the training clips: the `Trainer` called "auto".

    Args:
        name: "auto".
        options: Of `create_feature_dataset`: `backbone`, `weights`, `inputs`, `flow`; of `train_auto`:
            `heads`, `folds`.
        input_shape: The one clip shape to try, (frames, height, width, 3), or 5 channels for RGB and flow;
            what it finds best by default.

    Raises:
        ValueError: If there is no such option, or it is out of its range.
    """

    takes_settings: ClassVar[bool] = False
    cache_name: ClassVar[str] = "features"

    @property
    def fallback(self) -> str | None:
        """LRCN from scratch, if no option is given: it would mean nothing to LRCN."""
        return None if self.options else "lrcn"

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
    ):
        """Check everything that can be judged without clips."""
        self.name, self.options = name, dict(options or {})
        of_features = ("backbone", "weights", "inputs", "flow")
        self.reading = {key: self.options[key] for key in of_features if key in self.options}
        self.fitting = {key: self.options[key] for key in ("heads", "folds") if key in self.options}
        unknown = sorted(self.options.keys() - self.reading.keys() - self.fitting.keys())
        if unknown:
            raise ValueError(
                f"options of auto must be among {', '.join(of_features)}, heads, folds, "
                f"got {', '.join(unknown)}"
            )
        _check_heads(self.fitting.get("heads", HEADS))
        if input_shape is not None:
            if len(input_shape) != 4 or input_shape[3] not in (3, 5):
                raise ValueError(
                    f"input_shape must be (frames, height, width, 3 or 5) for auto, got {tuple(input_shape)}"
                )
            self.reading |= {"inputs": (tuple(input_shape[:3]),), "flow": input_shape[3] == 5}

    @staticmethod
    def read_shape(
        size: Size, streams: Streams, flow_fields: int | None
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
        model: One of `list_models()`, or a function that builds a model: a `NetworkTrainer`; or "auto": an
            `AutoTrainer`.
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
    return {"auto": AutoTrainer}.get(model, NetworkTrainer)


def _check_heads(heads: Sequence[str]) -> None:
    if set(heads) - set(HEADS) or not set(heads) & set(STATISTICS):
        raise ValueError(
            f"heads must be among {', '.join(HEADS)}, one of them of {', '.join(STATISTICS)}, "
            f"got {', '.join(heads)}"
        )


def train_auto(
    dataset: FeatureDataset, *, heads: Sequence[str] = HEADS, folds: int = 5, seed: int = 27
) -> AutoTraining:
    """Compare inputs and heads by cross-validation over the sources, and fit the best to all clips.

    Args:
        dataset: Clips to train on, part of what `create_feature_dataset` made.
        heads: Names of the heads to try, one of them of statistics.
        folds: Folds of the cross-validation; fewer where there are fewer sources.
        seed: Seed of the folds and of heads that are trained by gradient descent.

    Returns:
        `AutoTraining`

    Raises:
        ValueError: If there is no such head or none of statistics, or the clips are too few to compare.
    """
    _check_heads(heads)
    table, labels, classes, groups = dataset.features, dataset.labels, dataset.classes, dataset.groups
    inner = _inner_folds(labels, groups, folds, seed)
    trials = []
    candidates = list(
        product(table.features, _choices_of_parts(dataset), [h for h in heads if h in STATISTICS])
    )
    with threadpool_limits(1):  # on matrices as small as these, threads wait for each other most of the time
        for given, parts, name in tqdm(candidates, "Comparing heads", unit="head"):
            values = table.pick(given, parts)
            trials.append(try_statistics(name, given, parts, values, labels, inner, len(classes)))
    given = smallest_input(trials, labels)
    best, given_up = best_of(trials, given), []
    values = table.pick(best.input, best.parts[0])
    for name in (name for name in heads if name not in STATISTICS):
        trial = try_trained(name, best, values, labels, inner, seed)
        if trial is None:
            given_up.append(name)
        else:
            trials.append(trial)
    trials.sort(key=rank)
    trials += averages_of([trial for trial in trials if trial.input == given], labels)
    trials.sort(key=rank)
    chosen = best_of(trials, given)
    model = _fit(chosen, dataset, seed)
    # Fitted to clips of sources that took no part in what was said of them, as it will be with new ones; but
    # those of a class that is nowhere else could not be named.
    fair = np.zeros(len(labels), bool)
    for train, test in inner:
        fair[test] = np.isin(labels[test], labels[train])
    temperature = fit_temperature(labels[fair], chosen.probabilities[fair])
    model.recipe = replace(model.recipe, temperature=temperature)
    how = "by source video" if len(np.unique(groups)) < len(groups) else "each clip a source of its own"
    report = _report(trials, chosen, given_up, len(labels), how, len(inner))
    report += f"\n{table.backbone}\ntemperature of its probabilities: {temperature:.2f} (above 1 it was too sure of itself)"
    interval = clustered_interval(named_right(chosen, labels), groups)
    return AutoTraining(model=model, chosen=chosen, trials=trials, report=report, interval=interval)


def _choices_of_parts(dataset: FeatureDataset) -> list[tuple[str, ...]]:
    """Each depth of the backbone, both, and what flow adds."""
    choices = [("middle",), ("last",), ("middle", "last")]
    if "flow" in dataset.features.parts:
        choices += [("flow",), ("middle", "last", "flow")]
    return choices


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


def _fit(chosen: Trial, dataset: FeatureDataset, seed: int) -> keras.Model:
    """Fit the chosen heads to all clips, and put them on an encoder that gives what they look at."""
    table, labels, classes = dataset.features, dataset.labels, dataset.classes
    used = [part for part in PARTS if any(part in parts for parts in chosen.parts)]
    shared = keep_parts(table.encoders[chosen.input], used)
    encoder = keras.models.clone_model(shared)  # whoever tunes the model must not change the table
    encoder.set_weights(shared.get_weights())
    encoder.trainable = False
    sizes = part_sizes(encoder)
    ends = np.cumsum([0, *sizes.values()]).tolist()
    starts = dict(zip(used, ends[:-1], strict=True))
    heads, places = [], []
    for name, parts, strength in zip(chosen.heads, chosen.parts, chosen.strengths, strict=True):
        values = table.pick(chosen.input, parts)
        head = create_head(name, len(classes), values.shape[1:])
        heads.append(fit_head(head, values, labels, strength=strength or 1.0, seed=seed))
        places.append([slice(starts[part], starts[part] + sizes[part]) for part in parts])
    model = join(encoder, average_heads(heads, places, ends[-1]))
    streams, flow_fields = read_channels(encoder.input_shape[-1])
    model.recipe = Recipe(
        classes, *chosen.input, dataset.clip_seconds, streams=streams, flow_fields=flow_fields
    )
    return model


def _report(trials: list[Trial], chosen: Trial, given_up: list[str], count: int, how: str, folds: int) -> str:
    """Say what was tried and why one was chosen."""
    lines = [
        f"auto compared {len(trials)} candidates by {folds}-fold cross-validation ({how}) inside the {count} "
        "training clips,",
        "and fitted the one marked *: the best (of equals, the one with the least loss) of the smallest",
        "input on which one does as well as any, as far as so many clips can tell. Test clips took no part.",
        f"  {'input':<16} {'accuracy':>8} {'loss':>8}  head of which features",
        *(f"{'*' if trial is chosen else ' '} {trial}" for trial in trials),
    ]
    if how != "by source video":
        lines.append(
            "No sources were known to the folds: if clips come from one video, they were on both sides, and "
            "these accuracies are too high."
        )
    if given_up:
        lines.append(f"given up after the first fold, being behind the best: {', '.join(given_up)}")
    return "\n".join(lines)
