"""Scoring a model on whole recordings: what somebody has of it who waits to be told that an action happens.

An accuracy on clips does not say how often a camera calls in vain. Here each recording runs by as a live
stream, and what is told is held against the ranges that people labeled.
"""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path, PurePath
from typing import Literal

import keras
from tqdm.auto import tqdm

from harkeras.base.files import content_digest
from harkeras.base.text import list_lines, list_some
from harkeras.data.annotations import Annotation
from harkeras.data.cutting import class_of, read_clip_videos
from harkeras.evaluation.recording_scores import RecordingsEvaluation, Span, add_scores, score_action
from harkeras.evaluation.runs import read_run
from harkeras.inference.decisions import check_settings
from harkeras.inference.events import EventRules, check_actions
from harkeras.inference.replay import Moment, replay
from harkeras.inference.resolve import resolve_model
from harkeras.inference.streaming import ActionStream
from harkeras.recipe import TrainingRecord
from harkeras.video.reading import VideoError

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def evaluate_recordings(
    model: str | os.PathLike | keras.Model,
    annotations: Iterable[Annotation],
    *,
    actions: Sequence[str] | None = None,
    on_seconds: float = 1.0,
    off_seconds: float = 1.0,
    threshold: float = 0.5,
    stride_seconds: float | None = None,
    causal: bool = True,
    recordings: Literal["held-out", "all"] = "held-out",
) -> RecordingsEvaluation:
    """Score a model on whole recordings that were labeled by time ranges.

    An event is told as `harkeras.inference.EventRules` tells it, at the moment at which that is known; it is
    dated back for nobody who waits for it. It is right from just behind the start of a range of its action to
    one window and `on_seconds` behind the end; the first one finds the range, more are not counted. All
    others are false, also one that was told too early and holds on. Computing comes on top of the delay.

    Segments are the parts of the timeline that the stream leaves, in which a label is dated back to where it
    began to win; the delay has a column of its own. One matches the range of its action with which its
    intersection over union is largest, if that is at least 0.5 and no earlier segment matches the range. F1
    counts them as Lea et al. do, "Temporal Convolutional Networks for Action Segmentation and Detection",
    CVPR 2017, here for each action: many short segments cost as much as missed ranges do.

    Ranges of one action that overlap or touch are one. All of a recording that bears no range of an action
    counts as time without it: a recording in which nothing happens is named by a range of any other label.

    Args:
        model: The folder of a run, a `.keras` file with a recipe, or a model in memory.
        annotations: The ranges; see `read_annotations`. Their labels may be spelled as `cut_clips` spells
            classes.
        actions: The classes that are watched for; those that a range bears by default, so that a class for
            "nothing" raises no alarm.
        on_seconds: How long an action must be shown to begin.
        off_seconds: How long it must be gone to end.
        threshold: Under this probability the label is "unsure".
        stride_seconds: Time from one window to the next; see `ActionStream` for the default.
        causal: Whether to decide as a live stream does, on what came before each moment; else on the whole
            file, where an event is dated to its beginning and may lie a little before that of its range.
        recordings: "held-out" leaves out recordings that the model was trained on, or clips of them or of
            their group, as the recipe and the `clips.csv` of the run's data folder say; "all" scores them too
            and says so.

    Returns:
        `RecordingsEvaluation`; `print` it for the table.

    Raises:
        FileNotFoundError: If there is no such model.
        ValueError: If the model has no recipe or looks at one person at a time, an argument is out of its
            range, no range bears a class of the model, or no recording is left to score.
    """
    if recordings not in ("held-out", "all"):
        raise ValueError(f"recordings must be 'held-out' or 'all', got {recordings!r}")
    network, recipe, _ = resolve_model(model)
    if recipe.subject == "person":
        raise ValueError("model must look at whole pictures, or at joints, got one of a person at a time")
    truth, strangers = _read_truth(annotations, recipe.classes)
    if actions is None:
        actions = _labeled(truth, strangers, recipe.classes)
    watched = check_actions(actions, recipe.classes)
    chosen, words = _choose_recordings(truth, model, recipe.training, recordings)
    if strangers:
        words.append(f"labels that are no classes of the model: {list_some(strangers)}")
    if others := [name for name in recipe.classes if name not in watched]:
        words.append(f"not watched for: {list_some(others)}")
    stream = ActionStream(network, recipe, stride_seconds=stride_seconds)
    rules = EventRules(
        classes=recipe.classes,
        on_seconds=on_seconds,
        off_seconds=off_seconds,
        actions=watched,
        gap_seconds=max(10.0, 3 * stream.stride_seconds),
    )
    check_settings(stream.stride_seconds, 0, 0, 0, threshold)
    late = recipe.clip_seconds + on_seconds
    early = 0.0 if causal else late
    scores, seconds, switches, left_out = defaultdict(list), [], 0, []
    for video in tqdm(chosen, "Recordings", unit="video"):
        try:
            shown = replay(video, stream, causal=causal, threshold=threshold)
        except (VideoError, OSError, ValueError) as error:
            left_out.append(str(error))
            continue
        seconds.append(shown.seconds)
        switches += sum(one.label != other.label for one, other in pairwise(shown.moments))
        told = _list_alarms(rules, shown.moments, dated=not causal)
        for name in watched:
            ranges = [Span(start, min(end, shown.seconds)) for start, end in truth[video].get(name, [])]
            ranges = [span for span in ranges if span.start_seconds < shown.seconds]
            segments = [Span(*segment[:2]) for segment in shown.segments if segment.label == name]
            scores[name].append(score_action(ranges, segments, told[name], early=early, late=late))
    if left_out:
        warnings.warn(list_lines(f"{len(left_out)} recordings were left out", left_out), stacklevel=2)
    if not seconds:
        raise ValueError(f"annotations must name recordings that can be read, got none of {len(chosen)}")
    totals = {name: add_scores(scores[name]) for name in watched}
    return RecordingsEvaluation(totals, len(seconds), sum(seconds), switches, tuple(words))


def _read_truth(
    annotations: Iterable[Annotation], classes: Sequence[str]
) -> tuple[dict[str, dict[str, list[Span]]], list[str]]:
    """Return the ranges of each recording by class, and the labels that are no class."""
    spelled = {class_of(name).casefold(): name for name in classes} | {name: name for name in classes}
    ranges: dict[str, dict[str, list[Span]]] = {}
    strangers = {}
    for each in annotations:
        spans = ranges.setdefault(each.video_key, defaultdict(list))
        name = spelled.get(each.label) or spelled.get(class_of(each.label).casefold())
        if name is None:
            strangers[each.label] = None
        elif each.end_seconds > each.start_seconds:
            spans[name].append(Span(max(each.start_seconds, 0.0), each.end_seconds))
    joined = {
        video: {name: _join(spans) for name, spans in by_class.items()} for video, by_class in ranges.items()
    }
    return joined, list(strangers)


def _labeled(
    truth: dict[str, dict[str, list[Span]]], strangers: list[str], classes: Sequence[str]
) -> list[str]:
    labeled = [name for name in classes if any(name in spans for spans in truth.values())]
    if not labeled:
        raise ValueError(
            f"annotations must bear labels of the model, {list_some(classes)}, got "
            f"{list_some(strangers) or 'none'}"
        )
    return labeled


def _join(spans: list[Span]) -> list[Span]:
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1].end_seconds:
            joined[-1] = Span(joined[-1].start_seconds, max(end, joined[-1].end_seconds))
        else:
            joined.append(Span(start, end))
    return joined


def _list_alarms(rules: EventRules, moments: list[Moment], *, dated: bool) -> dict[str, list[float]]:
    """Return when beginnings of each action are told, or, dated, when they are said to have been."""
    told = defaultdict(list)
    for seconds, label, confidence in moments:
        for event in rules.update(label, confidence, seconds, _EPOCH + timedelta(seconds=seconds)):
            if event.kind == "begin":
                told[event.label].append(event.seconds if dated else seconds)
    rules.finish(moments[-1].seconds, _EPOCH)
    return told


def _choose_recordings(
    truth: dict[str, dict[str, list[Span]]],
    model: str | os.PathLike | keras.Model,
    record: TrainingRecord | None,
    recordings: Literal["held-out", "all"],
) -> tuple[list[str], list[str]]:
    """Return which recordings to score, and in words what they are to the model."""
    run = None
    if isinstance(model, str | os.PathLike):
        run = read_run(model) or read_run(Path(model).parent)
    cut_from = {} if run is None else read_clip_videos(run.data_dir)
    trained = set() if record is None else _find_trained(truth, record, cut_from)
    words = []
    if record is None or not cut_from:
        words.append(
            "it is not known of which recordings the model's training clips were cut: if these are among "
            "them, the scores are overstated"
        )
    if recordings == "all":
        if trained:
            words.append(
                f"the model was trained on {len(trained)} of these recordings, or on others of their groups: "
                "the scores are overstated"
            )
        return list(truth), words
    chosen = [video for video in truth if video not in trained]
    if not chosen:
        raise ValueError(
            f"annotations must name recordings that the model was not trained on, got none of {len(truth)}; "
            "to score those too, pass recordings='all' (--clips all)"
        )
    if trained:
        words.append(f"left out, as the model was trained on them or their groups: {len(trained)} recordings")
    return chosen, words


def _find_trained(truth: Iterable[str], record: TrainingRecord, cut_from: dict[str, str]) -> set[str]:
    """Return the recordings that the model was trained on, by their content, their clips and their groups."""
    trained_places = set(record.train_paths)
    groups = {_group(place) for place in trained_places} if record.split == "group" else set()
    videos = {
        video for place, video in cut_from.items() if place in trained_places or _group(place) in groups
    }
    # Of recordings that were moved since, name and folder are what is left.
    moved = {PurePath(video).parts[-2:] for video in videos if not Path(video).exists()}
    digests = set(record.train_clips)
    return {
        video
        for video in truth
        if video in videos
        or PurePath(video).parts[-2:] in moved
        or (Path(video).is_file() and content_digest(video) in digests)
    }


def _group(place: str) -> str:
    """Return the group in the name of a clip that `cut_clips` cut, the same in all classes."""
    return place.rpartition("_c")[0].rpartition("_g")[2]
