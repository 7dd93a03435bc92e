"""Time of a recording that no range covers."""

from __future__ import annotations

from collections.abc import Iterable

from harkeras.data.annotations import Annotation

_MARGIN_SECONDS, _SHORTEST_SECONDS = 0.5, 0.5


def list_gaps(labeled: Iterable[Annotation], until: float, nothing: str) -> list[tuple[float, float]]:
    """Return the time up to `until` that no range covers, half a second away from what is no nothing."""
    gaps, now = [], 0.0
    for each in [*sorted(labeled, key=lambda each: each.start_seconds), None]:
        margin = 0.0 if each is None or each.label == nothing else _MARGIN_SECONDS
        end = until if each is None else min(each.start_seconds - margin, until)
        if end - now >= _SHORTEST_SECONDS:
            gaps.append((round(now, 3), round(end, 3)))
        if each is not None:
            now = max(now, each.end_seconds + margin)
    return gaps


def give_way(
    ranges: Iterable[Annotation], new: Annotation, nothing: str
) -> tuple[list[Annotation], list[Annotation]]:
    """Return the ranges of nothing that a new range makes untrue, and what remains of them.

    Where one person acts, another may still do nothing.
    """
    removed: list[Annotation] = []
    remaining: list[Annotation] = []
    for old in ranges if new.label != nothing else ():
        others = old.person and new.person and old.person != new.person
        if old.label == nothing and old.video == new.video and not others:
            parts = _subtract_range(old, new)
            if parts != [old]:
                removed.append(old)
                remaining += parts
    return removed, remaining


def _subtract_range(old: Annotation, cut: Annotation) -> list[Annotation]:
    """Return what remains of a range where another lies: none, one or two."""
    if old.end_seconds <= cut.start_seconds or old.start_seconds >= cut.end_seconds:
        return [old]
    before = old._replace(end_seconds=cut.start_seconds)
    after = old._replace(start_seconds=cut.end_seconds)
    return [each for each in (before, after) if each.end_seconds - each.start_seconds >= _SHORTEST_SECONDS]
