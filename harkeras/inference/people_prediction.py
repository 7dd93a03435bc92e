"""Name the actions of each person in a video file."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

import keras
import numpy as np

from harkeras.base.files import write_text
from harkeras.base.progress import Progress, progress_bar
from harkeras.base.text import to_cell
from harkeras.base.workers import one_ahead
from harkeras.inference._annotated_video import caption_at, write_drawn
from harkeras.inference._assumptions import warn_of_assumptions
from harkeras.inference._file_decisions import decide_file, file_settings
from harkeras.inference._timeline import VideoPrediction, check_outputs, check_top, top_cells, top_columns
from harkeras.inference._video_windows import read_info, warm_up_if_long
from harkeras.inference.conversion import Runtime
from harkeras.inference.decisions import Window
from harkeras.inference.people_stream import PeopleStream
from harkeras.inference.resolve import ForeignModel, resolve_model
from harkeras.people.pose import PoseEstimator
from harkeras.people.skeleton import draw_skeleton
from harkeras.people.tracking import PeopleTracker
from harkeras.recipe import Recipe
from harkeras.video.drawing import draw_person, person_color
from harkeras.video.reading import VideoInfo, iter_decoded
from harkeras.video.writing import VideoWriter


@dataclass(frozen=True, eq=False)
class PersonPrediction:
    """The actions of one person in a video.

    Attributes:
        number: From 1 on, in the order in which people appear.
        prediction: The actions, from where the person is first found to where last.
        boxes: float32 (F, 5), for each frame with this person its seconds, and left, top, right and bottom in
            pixels.
        joints: float32 (F, K, 3), x and y in pixels and the score of each joint in these frames, for a model
            of joints; else None.
    """

    number: int
    prediction: VideoPrediction
    boxes: np.ndarray
    joints: np.ndarray | None = None


def predict_people(
    video: str | os.PathLike,
    model: str | os.PathLike | keras.Model,
    output: str | os.PathLike | None = None,
    *,
    timeline: str | os.PathLike | None = None,
    top: int = 0,
    tracker: PeopleTracker | None = None,
    estimator: PoseEstimator | None = None,
    causal: bool = False,
    stride_seconds: float | None = None,
    smoothing_seconds: float | None = None,
    hysteresis: float = 0.1,
    min_seconds: float = 0.5,
    threshold: float = 0.5,
    runtime: Runtime | None = None,
    progress: Progress = True,
    **foreign: Unpack[ForeignModel],
) -> list[PersonPrediction]:
    """Name the actions of each person in a video.

    People are found and followed, and a square around each goes through windows of its own, as the whole
    picture does in `predict_on_video`: what the arguments mean is said there. A model learns from such crops
    by `harkeras train --per-person`. A model of joints is shown those of each person.

    Args:
        video: Path of the video.
        model: Path of a `.keras` file or of a run, one of `list_pretrained()`, or a model in memory.
        output: Where to write the video with a box around each person, the label and its probability at the
            moment, and the skeleton that a model of joints has seen, as `.mp4`; nowhere by default. The sound
            is left out.
        timeline: Where to write the actions of all people, as `.csv` or `.json`; nowhere by default.
        top: How many of the most probable classes the timeline lists with each segment.
        tracker: Who finds and follows people; a `PeopleTracker()` by default.
        estimator: What finds joints, for a model of joints; MoveNet by default.
        causal: Whether to decide as a live stream does.
        stride_seconds: Time from one window to the next.
        smoothing_seconds: Average the probabilities of windows over this time.
        hysteresis: What a change of the label costs.
        min_seconds: A label must last this long.
        threshold: Under this probability the label is "unsure".
        runtime: The engine that computes the model, "keras", "onnx" or "litert", see `predict_on_video`.
        progress: Whether to show progress bars, or a function to tell, see `predict_on_video`.
        **foreign: What a recipe would say, for a model without one, see `ForeignModel`.

    Returns:
        The people in the order in which they appear; none if nobody is found.

    Raises:
        FileNotFoundError: If there is no such video or model.
        ValueError: As `predict_on_video`; or if the model looks at optical flow.
        VideoError: If the video cannot be decoded.
        ImportError: If the package `trackers`, or the engine, is not installed.
        OSError: If an output cannot be written, or the file of YOLOX-nano cannot be had.
    """
    info = read_info(video)
    check_outputs(video, model, output, timeline)
    check_top(top)
    resolved = resolve_model(model, runtime=runtime, **foreign)
    recipe = resolved.recipe
    stream = PeopleStream(
        resolved.model, recipe, tracker=tracker, estimator=estimator, stride_seconds=stride_seconds
    )
    settings = {"stride_seconds": stream.stride_seconds, "hysteresis": hysteresis}
    settings |= {"min_seconds": min_seconds, "threshold": threshold}
    settings = file_settings(recipe, smoothing_seconds, causal=causal, **settings)
    warn_of_assumptions(info, resolved)
    with nullcontext() if output is None else VideoWriter(output, info.writing_fps) as writer:
        windows, boxes, joints = _slide(info, stream, progress)
        people = [
            PersonPrediction(
                number,
                _decide(windows[number], found, recipe, causal, settings),
                found,
                joints.get(number),
            )
            for number, found in boxes.items()
            if number in windows  # who is there for one frame only has done nothing yet
        ]
        if timeline is not None:
            write_people_timeline(people, timeline, top=top)
        if writer is not None:
            write_drawn(_annotated(info, people), info, writer, progress=progress)
    return people


def _slide(
    info: VideoInfo, stream: PeopleStream, progress: Progress
) -> tuple[dict[int, list[Window]], dict[int, np.ndarray], dict[int, np.ndarray]]:
    """Return the windows of each person, the boxes in the order in which people appear, and any joints."""
    warm_up_if_long(stream, info.duration_seconds)
    windows, boxes, joints, seconds = defaultdict(list), defaultdict(list), defaultdict(list), 0.0
    frames = one_ahead((frame.rgb(), frame.seconds) for frame in iter_decoded(info.path))
    for image, seconds in progress_bar(frames, "Recognizing", info.frame_count, progress, unit="frame"):
        for number, window in stream.push(image, seconds):
            windows[number].append(window)
        for person in stream.people:
            boxes[person.number].append((seconds, *person.box_px))
        for number, found in stream.joints.items():
            joints[number].append(found)
    for number, window in stream.finish(max(info.duration_seconds, seconds)):
        windows[number].append(window)
    in_order = {number: np.array(boxes[number], np.float32) for number in sorted(boxes)}
    return windows, in_order, {number: np.stack(found) for number, found in joints.items()}


def _decide(
    windows: list[Window], boxes: np.ndarray, recipe: Recipe, causal: bool, settings: dict[str, float]
) -> VideoPrediction:
    """Decide on the windows of one person, whose time goes from the first box to the last window or box."""
    end = max(float(boxes[-1, 0]), windows[-1].end_seconds)
    prediction = decide_file(windows, recipe, end, causal=causal, **settings)
    first, *others = prediction.segments
    return replace(prediction, segments=[first._replace(start_seconds=float(boxes[0, 0])), *others])


def _annotated(info: VideoInfo, people: list[PersonPrediction]) -> Iterator[tuple[np.ndarray, float]]:
    """Decode a video again, and draw a box, a label and any skeleton on everybody in it."""
    places = defaultdict(list)
    for person in people:
        for row, (seconds, *box) in enumerate(person.boxes.tolist()):
            places[seconds].append((person, box, row))
    for image, seconds in one_ahead((frame.rgb(), frame.seconds) for frame in iter_decoded(info.path)):
        for person, box, row in places[float(np.float32(seconds))]:
            if person.joints is not None:
                draw_skeleton(image, person.joints[row])
            label, share = caption_at(person.prediction, seconds)
            draw_person(image, box, f"{person.number} {label}", share, person_color(person.number))
        yield image, seconds


def write_people_timeline(people: list[PersonPrediction], path: str | os.PathLike, *, top: int = 0) -> None:
    """Write the segments of all people as `.csv` or `.json`, whole or not at all, with the person's number.

    Args:
        people: What `predict_people` returns.
        path: The file.
        top: How many of the most probable classes are written for each segment.
    """
    rows = [
        (each.number, segment, each.prediction.most_probable(top, segment) if top else [])
        for each in people
        for segment in each.prediction.segments
    ]
    if Path(path).suffix.lower() == ".json":
        objects = [
            {"person": number}
            | segment._asdict()
            | ({"top": [{"label": label, "probability": share} for label, share in classes]} if top else {})
            for number, segment, classes in rows
        ]
        write_text(path, json.dumps(objects, indent=2, ensure_ascii=False))
        return
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["person", "start_seconds", "end_seconds", "label", "confidence", *top_columns(top)])
    for number, (start, end, label, confidence), classes in rows:
        cells = [number, f"{start:.3f}", f"{end:.3f}", to_cell(label), f"{confidence:.4f}"]
        writer.writerow(cells + top_cells(classes))
    write_text(path, lines.getvalue())
