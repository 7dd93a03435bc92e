"""What is said of ranges at the end of a cut: by row, what was left out and what wants a look."""

from __future__ import annotations

import warnings

from harkeras.base.text import list_lines, printable
from harkeras.data._annotation_formats import Annotation, shown
from harkeras.video.frame_times import ROUNDING_SECONDS


def report_overlaps(ranges: list[Annotation], report: CutReport) -> None:
    """Report ranges that overlap, in pairs: each that begins while others last, and the longest of these."""
    by_start = sorted(range(len(ranges)), key=lambda row: ranges[row].start_seconds)
    longest, pairs = by_start[0] if by_start else 0, []
    for row in by_start[1:]:
        end = min(ranges[row].end_seconds, ranges[longest].end_seconds)
        if end - ranges[row].start_seconds > ROUNDING_SECONDS:
            pairs.append((max(row, longest), min(row, longest)))
        longest = max(row, longest, key=lambda each: ranges[each].end_seconds)
    for row, other in sorted(pairs):
        where = "" if ranges[other].source == ranges[row].source else f" of {ranges[other].source}"
        report.doubt(ranges[row], f"it overlaps {_describe(ranges[other])}{where}")


class CutReport:
    """Collects by row what was left out, and what was cut but wants a look."""

    def __init__(self, count: int, strict: bool):
        """Begin the report of `count` ranges; with `strict`, the first bad one raises ValueError."""
        self.count, self.strict = count, strict
        self.left_out: list[str] = []
        self.doubtful: list[str] = []

    def leave_out(self, annotation: Annotation, reason: str, name: str | None = None) -> None:
        """Note a range that was not cut; `name` stands for it in the message."""
        self._add(self.left_out, f"{name or name_range(annotation)}: {reason}", self.strict)

    def doubt(self, annotation: Annotation, reason: str, bad: bool = False) -> None:
        """Note a range that was cut; a bad one is an error if the report is strict."""
        self._add(self.doubtful, f"{name_range(annotation)}: {reason}", bad and self.strict)

    def _add(self, lines: list[str], line: str, fatal: bool) -> None:
        if fatal:
            raise ValueError(line)
        lines.append(printable(line))

    def warn(self) -> None:
        """Say it all in one warning, if there is anything to say."""
        parts = []
        if self.left_out:
            parts += [list_lines(f"{len(self.left_out)} of {self.count} ranges were left out", self.left_out)]
        if self.doubtful:
            parts += [list_lines("cut, but worth a look", self.doubtful)]
        if parts:
            warnings.warn("\n".join(parts), stacklevel=3)


def name_range(annotation: Annotation) -> str:
    """Return file and row of a range, and what it is."""
    return f"{shown(annotation.source or annotation.video)}, {_describe(annotation)}"


def _describe(annotation: Annotation) -> str:
    return f"{shown(annotation.label)} {annotation.start_seconds:g} to {annotation.end_seconds:g} s"
