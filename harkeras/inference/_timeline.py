"""The actions of a video in order: from decided windows to segments, and to a table."""

from __future__ import annotations

import csv
import io
import json
import os
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nlargest
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from harkeras.base.files import check_target, write_text
from harkeras.base.text import to_cell
from harkeras.inference.decisions import UNSURE, Decider, Window
from harkeras.video.drawing import COLOR_COUNT, Color, class_color


class HeldAction(NamedTuple):
    """A label, for how long it holds in all, and its mean probability during that time."""

    label: str
    seconds: float
    confidence: float


class Segment(NamedTuple):
    """A part of a video with one label, half-open; `confidence` is the label's mean probability."""

    start_seconds: float
    end_seconds: float
    label: str
    confidence: float


@dataclass(frozen=True, eq=False)
class VideoPrediction:
    """The actions of a video.

    Attributes:
        segments: The parts of the video in order, without gaps.
        classes: Names of the classes.
        windows: float (W, 2), start and end of each window in seconds.
        probabilities: float32 (W, classes), the answer of the model to each window.
        moments: float (M,), the moments that were decided on, in seconds, increasing.
        smoothed: float (M, classes), the averaged probabilities that each was decided on.
    """

    segments: list[Segment]
    classes: tuple[str, ...]
    windows: np.ndarray
    probabilities: np.ndarray
    moments: np.ndarray
    smoothed: np.ndarray

    def __eq__(self, other: object) -> bool:
        """Compare all that is in them."""
        if not isinstance(other, VideoPrediction):
            return NotImplemented
        arrays = ("windows", "probabilities", "moments", "smoothed")
        return (self.segments, self.classes) == (other.segments, other.classes) and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in arrays
        )

    __hash__ = None

    def label_at(self, seconds: float) -> Segment:
        """Return the segment that holds a moment."""
        last = len(self.segments) - 1
        return self.segments[bisect(self.segments, seconds, hi=last, key=attrgetter("end_seconds"))]

    def probability_at(self, label: str, seconds: float) -> float:
        """Return how probable a class is at a moment, between two that were decided on by interpolation."""
        after = int(np.searchsorted(self.moments, seconds))
        both, column = slice(max(after - 1, 0), after + 1), self.classes.index(label)
        return float(np.interp(seconds, self.moments[both], self.smoothed[both, column]))

    def probabilities_of(self, segment: Segment | None = None) -> dict[str, float]:
        """Return the mean probability of each class over a segment, or over the whole video."""
        inside = np.ones(len(self.moments), bool)
        if segment is not None:
            inside = (self.moments >= segment.start_seconds) & (self.moments < segment.end_seconds)
        return dict(zip(self.classes, self.smoothed[inside].mean(axis=0).tolist(), strict=True))

    def most_probable(self, count: int, segment: Segment | None = None) -> list[tuple[str, float]]:
        """Return the most probable classes of a segment, or of the whole video, and the means."""
        return most_probable(self.probabilities_of(segment), count)

    def held_actions(self) -> list[HeldAction]:
        """Return the labels of the video, the one that holds longest first, and "unsure" last."""
        actions = []
        for label in dict.fromkeys(segment.label for segment in self.segments):
            parts = [(end - start, share) for start, end, name, share in self.segments if name == label]
            seconds = sum(length for length, _ in parts)
            actions.append(
                HeldAction(label, seconds, sum(length * share for length, share in parts) / seconds)
            )
        return sorted(actions, key=lambda action: (action.label == UNSURE, -action.seconds))

    def label_colors(self) -> dict[str, Color]:
        """Return the color of each label: that of its class, or, of many, one for each that is named."""
        labels = [action.label for action in self.held_actions()]
        classes = self.classes
        if len(classes) > COLOR_COUNT:
            classes = [label for label in labels if label != UNSURE]
        return {label: class_color(label, classes) for label in labels}


def check_outputs(
    video: str | os.PathLike,
    model: str | os.PathLike | keras.Model,
    output: str | os.PathLike | None,
    timeline: str | os.PathLike | None,
) -> None:
    """Try the outputs before the work: neither may replace what is read, or the other."""
    inputs = [video, *([model] if isinstance(model, str | os.PathLike) else [])]
    if timeline is not None and Path(timeline).suffix.lower() not in (".csv", ".json"):
        raise ValueError(f"timeline must end in .csv or .json, got {timeline}")
    if output is not None:
        check_target(output, "output", inputs=[*inputs, timeline])
    if timeline is not None:
        check_target(timeline, "timeline", inputs=[*inputs, output])


def check_top(top: int) -> None:
    """Raise ValueError for a number of classes below 0."""
    if top < 0:
        raise ValueError(f"top must be at least 0, got {top}")


def most_probable(probabilities: dict[str, float], count: int) -> list[tuple[str, float]]:
    """Return the most probable classes and their probabilities, the highest first."""
    return nlargest(count, probabilities.items(), key=itemgetter(1))


def decide(decider: Decider, windows: list[Window], duration_seconds: float) -> VideoPrediction:
    """Decide on the windows of a video one after the other, as in a stream."""
    runs: list[tuple[int, str]] = []  # number of the first window of each label
    smoothed, middles = [], []
    for window in windows:
        decider.update(window)
        smoothed.append(decider.smoothed)
        middles.append(decider.middle_seconds)
        while runs and runs[-1][0] >= decider.since:
            runs.pop()
        if not runs or runs[-1][1] != decider.label:
            runs.append((decider.since, decider.label))
    return make_prediction(
        runs, np.stack(smoothed), np.array(middles), windows, decider.classes, duration_seconds
    )


def make_prediction(
    runs: list[tuple[int, str]],
    smoothed: np.ndarray,
    middles: np.ndarray,
    windows: list[Window],
    classes: tuple[str, ...],
    duration_seconds: float,
) -> VideoPrediction:
    """Turn the decisions on windows into segments, whose borders lie midway between the windows' middles.

    Args:
        runs: Number of the first window of each label, and the label, in order.
        smoothed: float (W, classes), the probabilities that were decided on.
        middles: float (W,), the moments they stand for, in seconds.
        windows: The W windows.
        classes: Names of the classes.
        duration_seconds: When the video ends.
    """
    borders = [0.0, *((middles[1:] + middles[:-1]) / 2), duration_seconds]
    segments = []
    for (first, label), (stop, _) in zip(runs, [*runs[1:], (len(windows), "")], strict=True):
        values = smoothed[first:stop]
        values = values.max(axis=1) if label == UNSURE else values[:, classes.index(label)]
        segments.append(Segment(float(borders[first]), float(borders[stop]), label, float(values.mean())))
    ranges = np.array([window[:2] for window in windows])
    probabilities = np.stack([window.probabilities for window in windows])
    return VideoPrediction(segments, classes, ranges, probabilities, middles, smoothed)


def write_timeline(prediction: VideoPrediction, path: str | os.PathLike, *, top: int = 0) -> None:
    """Write segments as `.csv` or `.json`, whole or not at all.

    Args:
        prediction: Where the segments are.
        path: The file.
        top: How many of the most probable classes are written for each segment.
    """
    tops = [prediction.most_probable(top, segment) for segment in prediction.segments]
    if Path(path).suffix.lower() == ".json":
        rows = [segment._asdict() for segment in prediction.segments]
        if top:
            for row, classes in zip(rows, tops, strict=True):
                row["top"] = [{"label": label, "probability": share} for label, share in classes]
        write_text(path, json.dumps(rows, indent=2, ensure_ascii=False))
        return
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["start_seconds", "end_seconds", "label", "confidence", *top_columns(top)])
    for (start, end, label, confidence), classes in zip(prediction.segments, tops, strict=True):
        row = [f"{start:.3f}", f"{end:.3f}", to_cell(label), f"{confidence:.4f}"]
        writer.writerow(row + top_cells(classes))
    write_text(path, lines.getvalue())


def top_columns(top: int) -> list[str]:
    """Return the names of the columns that `top_cells` fills."""
    return [name for rank in range(1, top + 1) for name in (f"top_{rank}", f"probability_{rank}")]


def top_cells(classes: Sequence[tuple[str, float]]) -> list[str]:
    """Return cells of a CSV file for the most probable classes."""
    return [cell for label, share in classes for cell in (to_cell(label), f"{share:.4f}")]
