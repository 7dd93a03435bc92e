"""From labels that hold at a moment to events: an action begins, an action ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from harkeras.inference.decisions import UNSURE
from harkeras.video.frame_times import ROUNDING_SECONDS


@dataclass(frozen=True)
class ActionEvent:
    """An action begins or ends.

    Attributes:
        kind: "begin" or "end".
        label: The action.
        seconds: When it began or ended, on the clock of the source. An end is the first moment without the
            action, or the last one with it where the stream broke off.
        time: The same as time of day, with its time zone.
        confidence: Mean probability of the action since it began.
        person: Number of the person; None where the whole picture is watched.
        begin_seconds: When it began.
    """

    kind: Literal["begin", "end"]
    label: str
    seconds: float
    time: datetime
    confidence: float
    person: int | None
    begin_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the event as JSON can hold it, the time of day in ISO 8601."""
        return {
            "event": self.kind,
            "label": self.label,
            "time": self.time.isoformat(timespec="milliseconds"),
            "seconds": round(self.seconds, 3),
            "begin_seconds": round(self.begin_seconds, 3),
            "confidence": round(self.confidence, 4),
            "person": self.person,
        }


class _Moment(NamedTuple):
    seconds: float
    time: datetime


@dataclass
class _Spell:
    """An action while it is seen, and, once it is an event, until it has been gone for long enough.

    Attributes:
        begin: When it was first seen.
        last: When it was last seen.
        gone: When it was first seen to be gone; None while it is there.
        open: Whether its beginning was told.
        total: Sum of its probabilities.
        count: Number of them.
    """

    begin: _Moment
    last: _Moment
    gone: _Moment | None = None
    open: bool = False
    total: float = 0.0
    count: int = 0


class _Person:
    """What is known of a person, or of the whole picture."""

    def __init__(self, last: _Moment):
        self.last = last
        self.spells: dict[str, _Spell] = {}


class EventRules:
    """Turn the labels that hold from moment to moment into beginnings and ends of actions.

    An action begins once it was seen at all moments for `on_seconds`, and counts from the first of them. It
    ends once it was seen at none for `off_seconds`, and counts to the first of them. What is shorter changes
    nothing, however many moments there are in a second. Each action has its own event: one may still be
    waited for while the next has begun.

    Between moments that are more than `gap_seconds` apart, or whose clock was set back, nothing is known:
    what is open ends where it was last seen, and all starts anew. The same is done for a person of whom there
    is no word for so long while there is of others. So there is no more in memory than a few actions of each
    person of the last `gap_seconds`.

    Args:
        classes: Names of the classes.
        on_seconds: How long an action must hold to begin.
        off_seconds: How long it must be gone to end.
        actions: The classes that are watched for; all of them by default. "unsure" never is an event.
        gap_seconds: Moments of a person that are further apart do not follow one another. It must be more
            than the stride of the stream.

    Raises:
        ValueError: If a number is out of its range, or an action is none of the classes.

    Example:
        >>> rules = EventRules(classes=("Falling", "Walking"), actions=["Falling"])
        >>> for window in stream.push(frames, seconds):
        ...     label = decider.update(window)
        ...     for event in rules.update(label, 0.9, window.end_seconds, datetime.now().astimezone()):
        ...         print(event.kind, event.label, event.time)
    """

    def __init__(
        self,
        *,
        classes: Sequence[str],
        on_seconds: float = 1.0,
        off_seconds: float = 1.0,
        actions: Sequence[str] | None = None,
        gap_seconds: float = 10.0,
    ):
        """Check the values."""
        for name, value in (("on_seconds", on_seconds), ("off_seconds", off_seconds)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a finite number of at least 0, got {value}")
        if not 0 < gap_seconds < math.inf:
            raise ValueError(f"gap_seconds must be a positive, finite number, got {gap_seconds}")
        self.classes = tuple(classes)
        self.actions = check_actions(actions, self.classes)
        self.on_seconds, self.off_seconds, self.gap_seconds = on_seconds, off_seconds, gap_seconds
        self._people: dict[int | None, _Person] = {}

    def update(
        self, label: str, confidence: float, seconds: float, time: datetime, person: int | None = None
    ) -> list[ActionEvent]:
        """Take in what is shown at a moment, and return what has begun or ended, ends first.

        Args:
            label: The label that is shown, or "unsure".
            confidence: Its probability.
            seconds: The moment, on the clock of the source.
            time: The same as time of day, with a time zone.
            person: Number of the person; None for the whole picture.

        Raises:
            ValueError: If the label is none of the classes, a number is not finite, or the time has no zone;
                nothing is then taken in.
        """
        if label != UNSURE and label not in self.classes:
            raise ValueError(f"label must be one of {', '.join(self.classes)} or {UNSURE!r}, got {label!r}")
        if not math.isfinite(confidence):
            raise ValueError(f"confidence must be a finite number, got {confidence}")
        now = _check_moment(seconds, time)
        events = self._end_gaps(now, person)
        state = self._people.setdefault(person, _Person(now))
        state.last = now
        for name, spell in list(state.spells.items()):
            if name == label:
                continue
            if not spell.open:
                del state.spells[name]
                continue
            spell.gone = spell.gone or now
            if _lasts(spell.gone, now, self.off_seconds):
                events.append(_end(name, spell, spell.gone, person))
                del state.spells[name]
        if label in self.actions:
            events += self._see(state.spells, label, confidence, now, person)
        return events

    def finish(self, seconds: float, time: datetime) -> list[ActionEvent]:
        """Return the ends of what is open when the stream ends, and start anew.

        What still holds ends at this moment, unless it is behind a gap.

        Raises:
            ValueError: If `seconds` is not finite, or the time has no zone.
        """
        _check_moment(seconds, time)
        people = list(self._people)
        return [event for person in people for event in self.finish_person(person, seconds, time)]

    def finish_person(self, person: int | None, seconds: float, time: datetime) -> list[ActionEvent]:
        """Do the same for one person, who has left; one who was never there leaves nothing.

        Raises:
            ValueError: If `seconds` is not finite, or the time has no zone.
        """
        now = _check_moment(seconds, time)
        state = self._people.pop(person, None)
        if state is None:
            return []
        follows = 0 <= now.seconds - state.last.seconds <= self.gap_seconds
        return [
            _end(name, spell, spell.gone or (now if follows else spell.last), person)
            for name, spell in state.spells.items()
            if spell.open
        ]

    def _end_gaps(self, now: _Moment, person: int | None) -> list[ActionEvent]:
        """End what is open of those whose last word is too far from this moment, and forget them."""
        events = []
        for other, state in list(self._people.items()):
            step = now.seconds - state.last.seconds
            # Windows of several people may end a little before or after each other.
            if abs(step) > self.gap_seconds or (step < 0 and other == person):
                del self._people[other]
                events += [
                    _end(name, spell, spell.gone or spell.last, other)
                    for name, spell in state.spells.items()
                    if spell.open
                ]
        return events

    def _see(
        self, spells: dict[str, _Spell], label: str, confidence: float, now: _Moment, person: int | None
    ) -> list[ActionEvent]:
        spell = spells.setdefault(label, _Spell(now, now))
        spell.last, spell.gone = now, None
        spell.total, spell.count = spell.total + confidence, spell.count + 1
        if spell.open or not _lasts(spell.begin, now, self.on_seconds):
            return []
        spell.open = True
        mean, begin = spell.total / spell.count, spell.begin
        return [ActionEvent("begin", label, *begin, mean, person, begin.seconds)]


def check_actions(actions: Sequence[str] | None, classes: Sequence[str]) -> tuple[str, ...]:
    """Return the classes to watch for: all of them by default.

    Raises:
        ValueError: If there is none, or one is no class.
    """
    if actions is None:
        return tuple(classes)
    unknown = [name for name in actions if name not in classes]
    if isinstance(actions, str) or not actions or unknown:
        raise ValueError(f"actions must be some of the classes {', '.join(classes)}, got {actions!r}")
    return tuple(actions)


def _check_moment(seconds: float, time: datetime) -> _Moment:
    if not math.isfinite(seconds):
        raise ValueError(f"seconds must be a finite number, got {seconds}")
    if time.tzinfo is None:
        raise ValueError(f"time must have a time zone, got {time.isoformat()}")
    return _Moment(float(seconds), time)


def _lasts(begin: _Moment, now: _Moment, seconds: float) -> bool:
    return now.seconds - begin.seconds >= seconds - ROUNDING_SECONDS


def _end(label: str, spell: _Spell, moment: _Moment, person: int | None) -> ActionEvent:
    confidence = spell.total / spell.count
    return ActionEvent("end", label, *moment, confidence, person, spell.begin.seconds)
