"""What became of one of many videos, and the table of all of them."""

from __future__ import annotations

import csv
import io
import os
from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path

from harkeras.base.files import check_target, write_text
from harkeras.base.text import printable, to_cell
from harkeras.inference._timeline import HeldAction, VideoPrediction, most_probable, top_cells, top_columns
from harkeras.inference.people_prediction import PersonPrediction
from harkeras.inference.prediction import ActionPrediction


@dataclass(frozen=True)
class VideoResult:
    """What became of one of many videos.

    Attributes:
        video: The file or URL.
        seconds: Its length; None if it could not be read.
        prediction: What was named; None after an error, and where people were named.
        output: The annotated video, where one was written.
        timeline: The timeline, where one was written.
        error: Why nothing was named; empty if it was.
        people: The people in it with their actions; None where the whole picture is named.
    """

    video: str
    seconds: float | None = None
    prediction: VideoPrediction | ActionPrediction | None = None
    output: Path | None = None
    timeline: Path | None = None
    error: str = ""
    people: list[PersonPrediction] | None = None

    def of_each_person(self) -> dict[int, VideoResult]:
        """Return what became of each person by number: the same, with the prediction of one."""
        return {
            each.number: replace(self, prediction=each.prediction, people=None) for each in self.people or ()
        }

    @property
    def action(self) -> HeldAction | None:
        """The action that holds longest, or that of the whole video; None where there is no prediction."""
        if isinstance(self.prediction, ActionPrediction):
            return HeldAction(self.prediction.label, self.seconds, self.prediction.confidence)
        return self.prediction.held_actions()[0] if self.prediction is not None else None

    def most_probable(self, count: int) -> list[tuple[str, float]]:
        """Return the most probable classes of the whole video and their probabilities, the highest first."""
        if isinstance(self.prediction, ActionPrediction):
            return most_probable(self.prediction.probabilities, count)
        return [] if self.prediction is None else self.prediction.most_probable(count)


class ResultTable:
    """A `.csv` file with a row for each video, or for each person in it; a video without any has one row.

    It is written anew with each video, whole or not at all, so that nothing is lost when the run is ended.

    Args:
        path: The file.
        top: How many of the most probable classes are written.
        per_person: Whether people are named.
        inputs: Files that it must not replace.

    Raises:
        ValueError: If `path` does not end in `.csv`, or is one of the inputs.
        OSError: If the file cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        top: int,
        *,
        per_person: bool,
        inputs: Iterable[str | os.PathLike | None] = (),
    ):
        """Try the file before the work."""
        if Path(path).suffix.lower() != ".csv":
            raise ValueError(f"table must end in .csv, got {path}")
        check_target(path, "table", inputs=inputs)
        self._path, self._top, self._per_person = path, top, per_person
        columns = ["video", *["person"] * per_person, "seconds", "action", "held_seconds", "confidence"]
        self._rows = [(-1, [*columns, *top_columns(top), "output", "timeline", "error"])]

    def add(self, result: VideoResult, place: int = 0) -> None:
        """Write what became of a video, which stands before those of higher places."""
        rows = [self._cells(result)]
        if self._per_person:
            people = (result.of_each_person() or {"": result}).items()
            rows = [
                [video, str(number), *cells]
                for number, each in people
                for video, *cells in [self._cells(each)]
            ]
        for row in rows:
            insort(self._rows, (place, row), key=itemgetter(0))
        lines = io.StringIO()
        csv.writer(lines, lineterminator="\n").writerows(row for _, row in self._rows)
        write_text(self._path, lines.getvalue())

    def _cells(self, result: VideoResult) -> list[str]:
        seconds = "" if result.seconds is None else f"{result.seconds:.3f}"
        held, classes = [""] * 3, [""] * 2 * self._top
        if result.action is not None:
            label, held_seconds, confidence = result.action
            held = [to_cell(label), f"{held_seconds:.3f}", f"{confidence:.4f}"]
            cells = top_cells(result.most_probable(self._top))
            classes[: len(cells)] = cells
        files = [str(path or "") for path in (result.output, result.timeline)]
        video, *texts = (to_cell(printable(text)) for text in (result.video, *files, result.error))
        return [video, seconds, *held, *classes, *texts]
