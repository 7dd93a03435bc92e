"""The easy path: which input and which head suit these clips? Tried by cross-validation, then fitted.

Clips go through a frozen backbone once for each input that is worth a try (how many frames, how large), and
heads are compared on the features by cross-validation: every training clip is named by heads that were fitted
without its source. What does best is fitted to all training clips. Test clips take no part in any choice.

With few clips such a comparison is a noisy judge: a difference of one or two per cent says little. Candidates
are therefore few, two that do well are averaged where that does better still, and a larger input, which costs
time with every clip that is named, is taken only where it does better than chance may.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import keras
import numpy as np
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from harkeras.data.intervals import clustered_interval
from harkeras.data.splits import list_folds
from harkeras.recipe import Recipe, read_channels
from harkeras.training.calibration import fit_temperature
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
from harkeras.transfer.feature_table import FeatureTable
from harkeras.transfer.features import PARTS, frame_encoder, keep_parts, part_sizes
from harkeras.transfer.heads import (
    HEADS,
    STATISTICS,
    average_heads,
    create_head,
    fit_head,
    join,
)


class AutoTraining(NamedTuple):
    """What was chosen and fitted.

    Attributes:
        model: Clips (B, T, H, W, C) -> probabilities (B, classes), with a recipe, which holds the temperature
            that was fitted to the probabilities of the cross-validation.
        head: The same from what `head_features` gives on: (B, T, F) -> (B, classes). It has the recipe of the
            model, so that `evaluate` applies the temperature; to save is the model.
        chosen: The trial that was fitted: the best of the smallest input that does as well as any.
        trials: All trials, the best first.
        report: What was tried and why this was chosen, as text.
        interval: The 95 % interval of the chosen trial's accuracy, by the sources of the training clips.
    """

    model: keras.Model
    head: keras.Model
    chosen: Trial
    trials: list[Trial]
    report: str
    interval: tuple[float, float]

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


def split_options(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divide the options of `auto` into those of `read_feature_table` and those of `train_auto`.

    Raises:
        ValueError: If there is no such option.
    """
    of_table = {name: options[name] for name in ("backbone", "weights", "inputs", "flow") if name in options}
    of_training = {name: options[name] for name in ("heads", "folds") if name in options}
    unknown = sorted(options.keys() - of_table.keys() - of_training.keys())
    if unknown:
        raise ValueError(
            "options of auto must be among backbone, weights, inputs, flow, heads, folds, "
            f"got {', '.join(unknown)}"
        )
    _check_heads(of_training.get("heads", HEADS))
    return of_table, of_training


def _check_heads(heads: Sequence[str]) -> None:
    if set(heads) - set(HEADS) or not set(heads) & set(STATISTICS):
        raise ValueError(
            f"heads must be among {', '.join(HEADS)}, one of them of {', '.join(STATISTICS)}, "
            f"got {', '.join(heads)}"
        )


def check_weights(options: dict[str, Any]) -> None:
    """Raise FileNotFoundError or OSError if the weights that the options of `auto` name cannot be had."""
    given = {name: options[name] for name in ("backbone", "weights") if name in options}
    frame_encoder(input_shape=(32, 32, 3), **given)


def train_auto(
    table: FeatureTable,
    labels: np.ndarray,
    train_rows: np.ndarray,
    *,
    classes: Sequence[str],
    groups: np.ndarray | None = None,
    heads: Sequence[str] = HEADS,
    folds: int = 5,
    seed: int = 27,
) -> AutoTraining:
    """Compare inputs and heads inside the training clips, and fit the best to all of them.

    Args:
        table: What `read_feature_table` made.
        labels: int (N,), the classes of its clips.
        train_rows: Which of its clips to train on; no other is looked at.
        classes: Names of the classes.
        groups: (N,), the source of each clip, so that no source is on both sides in the comparison; at random
            without.
        heads: Names of the heads to try, one of them of statistics.
        folds: Folds of the cross-validation; fewer where there are fewer sources.
        seed: Seed of the folds and of heads that are trained by gradient descent.

    Returns:
        `AutoTraining`

    Raises:
        ValueError: If there is no such head or none of statistics, or the clips are too few to compare.
    """
    labels, train_rows = np.asarray(labels), np.asarray(train_rows)
    _check_heads(heads)
    known = labels[train_rows]
    inner = _inner_folds(known, None if groups is None else np.asarray(groups)[train_rows], folds, seed)
    trials = []
    candidates = list(
        product(table.features, _choices_of_parts(table), [h for h in heads if h in STATISTICS])
    )
    with threadpool_limits(1):  # on matrices as small as these, threads wait for each other most of the time
        for given, parts, name in tqdm(candidates, "Comparing heads", unit="head"):
            values = table.pick(given, parts)[train_rows]
            trials.append(try_statistics(name, given, parts, values, known, inner, len(classes)))
    given = smallest_input(trials, known)
    best, given_up = best_of(trials, given), []
    values = table.pick(best.input, best.parts[0])[train_rows]
    for name in (name for name in heads if name not in STATISTICS):
        trial = try_trained(name, best, values, known, inner, seed)
        if trial is None:
            given_up.append(name)
        else:
            trials.append(trial)
    trials.sort(key=rank)
    trials += averages_of([trial for trial in trials if trial.input == given], known)
    trials.sort(key=rank)
    chosen = best_of(trials, given)
    head, model = _fit(chosen, table, labels, train_rows, classes, seed)
    # Fitted to clips of sources that took no part in what was said of them, as it will be with new ones; but
    # those of a class that is nowhere else could not be named.
    fair = np.zeros(len(known), bool)
    for train, test in inner:
        fair[test] = np.isin(known[test], known[train])
    temperature = fit_temperature(known[fair], chosen.probabilities[fair])
    head.recipe = model.recipe = replace(model.recipe, temperature=temperature)
    sources = np.arange(len(known)) if groups is None else np.asarray(groups)[train_rows]
    report = _report(trials, chosen, given_up, len(known), _how(groups, sources), len(inner))
    report += f"\ntemperature of its probabilities: {temperature:.2f} (above 1 it was too sure of itself)"
    interval = clustered_interval(named_right(chosen, known), sources)
    return AutoTraining(model, head, chosen, trials, report, interval)


def _choices_of_parts(table: FeatureTable) -> list[tuple[str, ...]]:
    """Each depth of the backbone, both, and what flow adds."""
    choices = [("middle",), ("last",), ("middle", "last")]
    if "flow" in table.parts:
        choices += [("flow",), ("middle", "last", "flow")]
    return choices


def _inner_folds(labels, groups, folds: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    sources = np.bincount(labels)[np.unique(labels)].min() if groups is None else len(np.unique(groups))
    if sources < 2 or len(np.unique(labels)) < 2:
        what = "clips of each class" if groups is None else "source videos"
        raise ValueError(f"train_rows must hold 2 classes and at least 2 {what}, got {sources}")
    if np.bincount(labels).max() < 2:
        raise ValueError(f"train_rows must hold at least 2 clips of a class, got {len(labels)} clips")
    split = "random" if groups is None else "group"
    folds = min(folds, int(sources), int(np.bincount(labels).max()))
    pairs = list_folds(labels, labels if groups is None else groups, split=split, folds=folds, seed=seed)
    pairs = [pair for pair in pairs if len(np.unique(labels[pair[0]])) > 1]
    if not pairs:
        raise ValueError("train_rows must hold every class in at least 2 source videos")
    return pairs


def _fit(chosen: Trial, table: FeatureTable, labels, train_rows, classes, seed: int):
    """Fit the chosen heads to all training clips, and put them on an encoder that gives what they look at."""
    used = [part for part in PARTS if any(part in parts for parts in chosen.parts)]
    shared = keep_parts(table.encoders[chosen.input], used)
    encoder = keras.models.clone_model(shared)  # whoever tunes the model must not change the table
    encoder.set_weights(shared.get_weights())
    encoder.trainable = False
    ends = np.cumsum([0, *part_sizes(encoder).values()]).tolist()
    starts = dict(zip(used, ends[:-1], strict=True))
    sizes = part_sizes(encoder)
    heads, places = [], []
    for name, parts, strength in zip(chosen.heads, chosen.parts, chosen.strengths, strict=True):
        values = table.pick(chosen.input, parts)[train_rows]
        head = create_head(name, len(classes), values.shape[1:])
        heads.append(fit_head(head, values, labels[train_rows], strength=strength or 1.0, seed=seed))
        places.append([slice(starts[part], starts[part] + sizes[part]) for part in parts])
    head = average_heads(heads, places, ends[-1])
    model = join(encoder, head)
    seconds = float(np.median(table.clip_seconds[train_rows]))
    streams, flow_fields = read_channels(encoder.input_shape[-1])
    model.recipe = Recipe(tuple(classes), *chosen.input, seconds, streams=streams, flow_fields=flow_fields)
    return head, model


def head_features(table: FeatureTable, chosen: Trial, rows: np.ndarray) -> np.ndarray:
    """Return the features of some clips as the chosen head takes them: float32 (N, T, F)."""
    used = [part for part in PARTS if any(part in parts for parts in chosen.parts)]
    return table.pick(chosen.input, used)[rows]


def _how(groups: np.ndarray | None, sources: np.ndarray) -> str:
    """Say how the folds were made."""
    if groups is None:
        return "at random, sources on both sides"
    if len(np.unique(sources)) == len(sources):
        return "each clip a source of its own"
    return "by source video"


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
