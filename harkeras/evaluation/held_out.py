"""Scoring a saved model on the clips of a folder that it was not trained on, as its recipe says."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from harkeras.base.files import content_digest
from harkeras.data.folders import ClipFolder, read_folder
from harkeras.data.loading import load_folder
from harkeras.data.sources import FUNCTION
from harkeras.evaluation.scores import Evaluation, evaluate, measure_latency
from harkeras.models.saving import load_model
from harkeras.recipe import TrainingRecord


def evaluate_on_folder(
    model: str | os.PathLike,
    data_dir: str | os.PathLike,
    *,
    clips: Literal["held-out", "all"] = "held-out",
    classes: Sequence[str] | None = None,
    group_by: Callable[[Path], str] | None = None,
    cache: str | os.PathLike | None = None,
    workers: int | None = None,
) -> Evaluation:
    """Score a saved model on the clips of a folder that it was not trained on.

    The model's recipe says what it was trained on; only the clips that are scored are decoded.

    Args:
        model: Path of a `.keras` file with a recipe.
        data_dir: Folder with one folder of clips per class.
        clips: "held-out" leaves out what the model was trained on, by the content of the files, their places
            in the folder and their sources; what came later is scored. Of an official split, its test clips
            are scored. "all" takes every clip, for a folder that the model has never seen.
        classes: Folders of the classes, in the order of the model's; those of its recipe by default.
        group_by: The function that named the sources in training, if one did; patterns are in the recipe.
        cache: A `.npy` file to keep the frames in.
        workers: Threads that decode; one per core by default.

    Returns:
        `Evaluation`, whose `split` says in words how many clips the model was trained on.

    Raises:
        FileNotFoundError: If the model or a folder is missing.
        ValueError: If the model has no recipe, or one that does not say what it was trained on and "held-out"
            is asked for; if nothing is left to score; or an argument is out of its range.
    """
    if clips not in ("held-out", "all"):
        raise ValueError(f"clips must be 'held-out' or 'all', got {clips!r}")
    network = load_model(model)
    recipe = network.recipe
    if recipe is None:
        raise ValueError(f"{model} has no recipe: it was not saved by harkeras, so its classes are not known")
    record = recipe.training
    if record is None and clips == "held-out":
        raise ValueError(
            f"{model} does not say what it was trained on (an older version of harkeras, or a script, saved "
            "it): pass clips='all' (--clips all) for a folder that it has never seen"
        )
    if classes is not None and len(classes) != len(recipe.classes):
        raise ValueError(
            f"classes must name a folder for each of the model's {len(recipe.classes)} classes, got "
            f"{list(classes)}"
        )
    asked = recipe.classes if classes is None else classes
    by, level = (record.group_by, record.level) if record else (None, None)
    if by == FUNCTION:
        if group_by is None and clips == "held-out":
            raise ValueError(
                "group_by is missing: a function named the sources that the model was trained on"
            )
        by = group_by
    elif group_by is not None:
        raise ValueError(f"group_by is in the model's file, {by!r}, got {group_by!r}")
    folder = read_folder(data_dir, asked, group_by=by, level=level, copies=True)
    rows, words = _rows_to_score(folder, folder.places(recipe.classes), record, clips)
    if recipe.streams == "pose":
        raise ValueError(f"{model} takes joints, which a folder of videos does not hold")
    reading = {"workers": workers, "every_class": False}
    if cache is None:
        dataset = load_folder(folder[rows], recipe.clip_format, **reading)
    else:  # the cache holds all clips
        dataset = load_folder(folder, recipe.clip_format, **reading, cache=cache)
        scored = {folder.video_paths[row] for row in rows}
        dataset = dataset[[row for row, path in enumerate(dataset.video_paths) if path in scored]]
    dataset.split_words = f"{len(dataset)} of {len(folder.video_paths)} clips of the folder; {words}"
    evaluation = evaluate(network, dataset)
    return replace(evaluation, latency_seconds=measure_latency(network))


def _rows_to_score(
    folder: ClipFolder, places: list[str], record: TrainingRecord | None, clips: Literal["held-out", "all"]
) -> tuple[np.ndarray, str]:
    """Return which clips to score, and in words what they are to the model."""
    count = len(folder.video_paths)
    if record is None:
        return np.arange(count), (
            "the model does not say what it was trained on: if these were among it, accuracy is overstated"
        )
    digests = np.array([content_digest(path) for path in folder.video_paths])
    trained = np.isin(digests, record.train_clips)
    if clips == "all":
        words = "none of them is, by content, a file that the model was trained on"
        if trained.any():
            words = f"{trained.sum()} of which the model was trained on: accuracy is overstated"
        return np.arange(count), words
    names = folder.sources.names
    trained |= np.isin(places, record.train_paths)  # rewritten or converted since
    seen = trained.copy()
    if record.split == "group":
        seen |= np.isin(names, record.train_groups)
        seen |= np.isin(folder.sources.groups, folder.sources.groups[seen])  # copies join sources
    elif record.split == "official":
        seen |= ~np.isin(places, record.test_paths)
    rows = np.flatnonzero(~seen)
    if not len(rows):
        raise ValueError(
            f"{folder.data_dir} must hold clips that the model was not trained on, got none of {count}; if "
            "the folder is another one whose names are alike, pass clips='all' (--clips all)"
        )
    why = "not in its test list" if record.split == "official" else "more of their sources"
    words = (
        f"the model was not trained on them ({record.split} split, seed {record.seed}); left out: "
        f"{trained.sum()} that it was trained on, {(seen & ~trained).sum()} {why}"
    )
    new = int((~np.isin(np.array(places)[rows], record.test_paths)).sum())
    if new:
        words += f"; {new} of the clips came later or bear other names"
    shared = len(set(names[rows].tolist()) & set(record.train_groups))
    if shared:
        words += f"; {shared} of their sources are in training too, so accuracy is overstated"
    return rows, words
