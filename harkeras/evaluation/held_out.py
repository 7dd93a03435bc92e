"""Scoring a saved model on the clips of a folder that it was not trained on, as its recipe says."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from harkeras.base.files import content_digest
from harkeras.base.text import list_lines
from harkeras.data.datasets import Dataset
from harkeras.data.folders import ClipFolder, read_folder
from harkeras.data.loading import load_folder
from harkeras.data.sources import FUNCTION, Sources
from harkeras.evaluation.runs import Run, read_run
from harkeras.evaluation.scores import Evaluation, evaluate, measure_latency
from harkeras.models.saving import load_model
from harkeras.recipe import Recipe, TrainingRecord


def evaluate_on_folder(
    model: str | os.PathLike,
    data_dir: str | os.PathLike | None = None,
    *,
    clips: Literal["recorded", "held-out", "all"] | None = None,
    classes: Sequence[str] | None = None,
    group_by: Callable[[Path], str] | None = None,
    cache: str | os.PathLike | None = None,
    workers: int | None = None,
) -> Evaluation:
    """Score a saved model on the clips of a folder that it was not trained on.

    The folder of a run records what it was tested on, and needs nothing else. Of a single file, the recipe
    says what it was trained on. Only the clips that are scored are decoded.

    Args:
        model: The folder of a run, or a `.keras` file with a recipe.
        data_dir: Folder with one folder of clips per class; where the clips of the run were, by default.
        clips: "recorded", the default for a run, takes its test clips; what is missing or has changed is
            named in a warning. "held-out", the default for a file, leaves out what the model was trained on,
            by the content of the files, their places in the folder and their sources; what came later is
            scored. Of an official split, its test clips are scored. "all" takes every clip, for a folder that
            the model has never seen.
        classes: Folders of the classes, in the order of the model's; those of its recipe by default.
        group_by: The function that named the sources in training, if one did; patterns are in the recipe.
        cache: A `.npy` file to keep the frames in.
        workers: Threads that decode; one per core by default.

    Returns:
        `Evaluation`, whose `split` says in words how the clips were chosen.

    Raises:
        FileNotFoundError: If the model or a folder is missing.
        ValueError: If the model has no recipe, or one that does not say what it was trained on and "held-out"
            is asked for; if nothing is left to score; or an argument is out of its range or means nothing to
            recorded clips.
    """
    if not Path(model).exists():
        raise FileNotFoundError(f"no model file at {model}, nor the folder of a run")
    run = read_run(model)
    if clips is None:
        clips = "held-out" if run is None else "recorded"
    if clips not in ("recorded", "held-out", "all"):
        raise ValueError(f"clips must be 'recorded', 'held-out' or 'all', got {clips!r}")
    if run is None and (clips == "recorded" or data_dir is None):
        raise ValueError(
            f"{'data_dir is missing' if data_dir is None else 'clips must not be recorded'}: {model} is not "
            "the folder of a run, which says where its test clips are"
        )
    network = load_model(model)
    if network.recipe is None:
        raise ValueError(f"{model} has no recipe: it was not saved by harkeras, so its classes are not known")
    data_dir = Path(run.data_dir if data_dir is None else data_dir)
    if clips == "recorded":
        asked = {"classes": classes, "group_by": group_by, "cache": cache}
        unused = [name for name, value in asked.items() if value is not None]
        if unused:
            raise ValueError(f"{', '.join(unused)} must be left out where the test clips of a run are scored")
        dataset = read_recorded(run, data_dir, network.recipe, workers)
    else:
        folder, rows, words = _choose_clips(model, network.recipe, data_dir, clips, classes, group_by)
        dataset = _read_clips(folder, rows, network.recipe, cache, workers)
        dataset.split_words = f"{len(dataset)} of {len(folder.video_paths)} clips of the folder; {words}"
    evaluation = evaluate(network, dataset)
    return replace(evaluation, latency_seconds=measure_latency(network))


def read_recorded(run: Run, data_dir: Path, recipe: Recipe, workers: int | None) -> Dataset:
    """Read the test clips of a run; warn of what is missing or has changed since."""
    if not data_dir.is_dir():
        raise FileNotFoundError(
            f"no folder at {data_dir}, where the clips of the run were: pass where they are now, as in "
            "'harkeras evaluate RUN DATA_DIR'"
        )
    here = [clip for clip in run.test_clips if (data_dir / clip.path).is_file()]
    missing = [clip.path for clip in run.test_clips if clip not in here]
    digests = {clip.path: content_digest(data_dir / clip.path) for clip in here}
    changed = [clip.path for clip in here if digests[clip.path] != clip.digest]
    trained = set(recipe.training.train_clips if recipe.training else ()) & set(digests.values())
    here = [clip for clip in here if digests[clip.path] not in trained and clip.label in recipe.classes]
    if not here:
        raise ValueError(
            f"{data_dir} must hold test clips of the run, got none of {len(run.test_clips)}; for other "
            "clips, pass clips='held-out' or 'all' (--clips)"
        )
    count = f"of {len(run.test_clips)} test clips of the run"
    if missing:
        warnings.warn(list_lines(f"{len(missing)} {count} are missing in {data_dir}", missing), stacklevel=3)
    if changed:
        warnings.warn(list_lines(f"{len(changed)} {count} have changed since", changed), stacklevel=3)
    groups = np.array([clip.path if clip.source is None else clip.source for clip in here])
    known = np.array([clip.source is not None for clip in here])
    folder = ClipFolder(
        data_dir,
        recipe.classes,
        [data_dir / clip.path for clip in here],
        np.array([recipe.classes.index(clip.label) for clip in here]),
        Sources(groups, "as recorded", known),
        {},
    )
    dataset = load_folder(folder, recipe.clip_format, workers=workers, every_class=False)
    dataset.split_words = run.split
    if changed or len(dataset) < len(run.test_clips):
        other = f", {len(changed)} of them changed since" if changed else ""
        dataset.split_words += (
            f"; {len(dataset)} of these {len(run.test_clips)} were scored again{other}: the report says "
            f"{run.accuracy:.3f} on all"
        )
    return dataset


def _choose_clips(
    model: str | os.PathLike,
    recipe: Recipe,
    data_dir: Path,
    clips: Literal["held-out", "all"],
    classes: Sequence[str] | None,
    group_by: Callable[[Path], str] | None,
) -> tuple[ClipFolder, np.ndarray, str]:
    """Return all clips of a folder, the rows to score, and in words what they are to the model."""
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
    return folder, *_rows_to_score(folder, folder.places(recipe.classes), record, clips)


def _read_clips(folder: ClipFolder, rows: np.ndarray, recipe: Recipe, cache, workers: int | None) -> Dataset:
    """Read some clips of a folder; a cache holds all."""
    reading = {"workers": workers, "every_class": False}
    if cache is None:
        return load_folder(folder[rows], recipe.clip_format, **reading)
    dataset = load_folder(folder, recipe.clip_format, **reading, cache=cache)
    scored = {folder.video_paths[row] for row in rows}
    return dataset[[row for row, path in enumerate(dataset.video_paths) if path in scored]]


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
