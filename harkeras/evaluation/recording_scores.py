"""How events and segments of whole recordings are held against the ranges that people labeled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from harkeras.data.intervals import wilson_interval

_OVERLAP = 0.5  # of a segment and the range that it finds, the intersection over the union
_HEADER = "{:<12} {:>6} {:>13} {:>6} {:>9} {:>17} {:>6} {:>16}".format(
    "action", "ranges", "found", "false", "per hour", "delay, s: median", "worst", "segments: F1@0.5"
)


class Span(NamedTuple):
    """A part of a recording in which an action is done, half-open."""

    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class ActionScore:
    """How one action was found.

    Attributes:
        ranges: How often it was labeled.
        found: For how many of these an event was told in time.
        false_alarms: Events that were told without one.
        delays: Seconds from the start of each found range to the moment at which its event was told.
        matched: Segments that match a range.
        segments: Segments that were shown.
    """

    ranges: int
    found: int
    false_alarms: int
    delays: tuple[float, ...]
    matched: int
    segments: int

    @property
    def segment_f1(self) -> float:
        """Harmonic mean of precision and recall of the segments; 0 where there is none."""
        return 2 * self.matched / max(self.segments + self.ranges, 1)


@dataclass(frozen=True)
class RecordingsEvaluation:
    """How a model did on whole recordings, see `evaluate_recordings`.

    Attributes:
        scores: The score of each action that was watched for.
        recordings: Number of recordings.
        seconds: Their length in all.
        switches: How often the label that is shown changed, "unsure" being one.
        words: How recordings and actions were chosen, a sentence each.
    """

    scores: dict[str, ActionScore]
    recordings: int
    seconds: float
    switches: int
    words: tuple[str, ...]

    @property
    def total(self) -> ActionScore:
        """The score of all actions together."""
        return add_scores(self.scores.values())

    @property
    def mean_segment_f1(self) -> float:
        """Mean F1 of the segments over the actions that were labeled; 0 where none was."""
        values = [score.segment_f1 for score in self.scores.values() if score.ranges]
        return float(np.mean(values)) if values else 0.0

    def per_hour(self, count: int) -> float:
        """Return how often that is in an hour."""
        return 3600 * count / self.seconds

    def __str__(self) -> str:
        """Return a table with a line per action, and what is to be said of it."""
        lines = [_HEADER, *(self._line(name, score) for name, score in self.scores.items())]
        total = self.total
        if len(self.scores) > 1:
            lines.append(self._line("all", total, self.mean_segment_f1))
        if total.ranges:
            low, high = wilson_interval(total.found, total.ranges)
            lines.append(f"95 % interval of the share that was found: {low:.2f} to {high:.2f}")
        lines.append(
            f"{self.recordings} recording{'s'[: self.recordings != 1]}, {self.seconds:.0f} s; the label "
            f"changed {self.switches} times ({self.per_hour(self.switches):.0f} per hour)"
        )
        return "\n".join([*lines, *self.words])

    def _line(self, name: str, score: ActionScore, f1: float | None = None) -> str:
        found = f"{score.found}/{score.ranges} {score.found / score.ranges:.2f}" if score.ranges else "-"
        median, worst = (f"{of(score.delays):.1f}" if score.delays else "-" for of in (np.median, max))
        f1 = score.segment_f1 if f1 is None else f1
        per_hour = f"{self.per_hour(score.false_alarms):.1f}"
        line = f"{name:<12} {score.ranges:>6} {found:>13} {score.false_alarms:>6} {per_hour:>9}"
        return f"{line} {median:>17} {worst:>6} {f1:>16.2f}"

    def to_dict(self) -> dict[str, Any]:
        """Return all scores as plain numbers, for JSON; None stands where there is nothing to compute."""
        actions = {name: self._numbers(score) for name, score in self.scores.items()}
        return {
            "recordings": self.recordings,
            "seconds": self.seconds,
            "switches": self.switches,
            "switches_per_hour": self.per_hour(self.switches),
            "all": self._numbers(self.total) | {"mean_segment_f1": self.mean_segment_f1},
            "actions": actions,
            "words": list(self.words),
        }

    def _numbers(self, score: ActionScore) -> dict[str, Any]:
        delays = score.delays
        return {
            "ranges": score.ranges,
            "found": score.found,
            "interval": wilson_interval(score.found, score.ranges) if score.ranges else None,
            "false_alarms": score.false_alarms,
            "false_alarms_per_hour": self.per_hour(score.false_alarms),
            "median_delay_seconds": float(np.median(delays)) if delays else None,
            "worst_delay_seconds": max(delays) if delays else None,
            "segments": score.segments,
            "segment_f1": score.segment_f1,
        }


def match_alarms(
    moments: Sequence[float], ranges: Sequence[Span], *, early: float = 0.0, late: float
) -> tuple[list[float], int]:
    """Hold the moments at which an action was told against the ranges in which it was done.

    Args:
        moments: In seconds.
        ranges: In order, without overlaps.
        early: A moment may lie this much before the start of a range.
        late: A moment may lie this much behind the end of a range.

    Returns:
        The delays of the ranges that were found, and how many moments are false.
    """
    delays, right = [], set()
    for start, end in ranges:
        inside = [number for number, at in enumerate(moments) if start - early < at <= end + late]
        fresh = [number for number in inside if number not in right]  # each finds one range
        if fresh:
            delays.append(moments[fresh[0]] - start)
        right.update(inside)
    return delays, len(moments) - len(right)


def match_segments(segments: Sequence[Span], ranges: Sequence[Span]) -> int:
    """Return how many segments match a range, see `evaluate_recordings`."""
    taken = set()
    for start, end in segments:
        overlaps = [
            max(min(end, until) - max(start, since), 0) / (max(end, until) - min(start, since))
            for since, until in ranges
        ]
        best = int(np.argmax(overlaps)) if overlaps else -1
        if overlaps and overlaps[best] >= _OVERLAP:
            taken.add(best)  # of two segments that match one range, one counts
    return len(taken)


def score_action(
    ranges: Sequence[Span], segments: Sequence[Span], moments: Sequence[float], *, early: float, late: float
) -> ActionScore:
    """Score one action of one recording; see `match_alarms` and `match_segments`."""
    delays, false_alarms = match_alarms(moments, ranges, early=early, late=late)
    matched = match_segments(segments, ranges)
    return ActionScore(len(ranges), len(delays), false_alarms, tuple(delays), matched, len(segments))


def add_scores(scores: Iterable[ActionScore]) -> ActionScore:
    """Return the score of several recordings or actions together."""
    columns = zip(*(asdict(score).values() for score in scores), strict=True)
    return ActionScore(*(sum(column, type(column[0])()) for column in columns))
