"""Events begin once and end once, and what is too short changes nothing."""

import json
import math
from datetime import UTC, datetime, timedelta
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harkeras.inference.events import EventRules

CLASSES = ("Falling", "Walking", "Sitting")
NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


def time_of(seconds):
    return NOON + timedelta(seconds=seconds)


def run(rules, moments, person=None):
    """The events of (label, seconds), without the end of the stream."""
    return [
        event
        for label, seconds in moments
        for event in rules.update(label, 0.9, seconds, time_of(seconds), person)
    ]


def short(events):
    return [(event.kind, event.label, event.seconds) for event in events]


def held(*parts, step=0.1):
    """Moments of (label, until when), `step` apart."""
    number, moments = 0, []
    for label, until in parts:
        while (seconds := round(number * step, 6)) < until:
            moments.append((label, seconds))
            number += 1
    return moments


def test_an_action_begins_where_it_began_to_hold_and_ends_where_it_was_gone():
    rules = EventRules(classes=CLASSES, on_seconds=1, off_seconds=2)
    moments = held(("Walking", 3), ("Falling", 6), ("unsure", 9))
    assert short(run(rules, moments)) == [
        ("begin", "Walking", 0),
        ("begin", "Falling", 3),
        ("end", "Walking", 3),
        ("end", "Falling", 6),
    ]


def test_an_event_tells_when_in_both_clocks_and_how_sure():
    rules = EventRules(classes=CLASSES, on_seconds=1, off_seconds=0)
    assert not rules.update("Falling", 0.6, 2, time_of(2), 7)
    (begin,) = rules.update("Falling", 0.8, 3, time_of(3), 7)
    assert not rules.update("Falling", 1.0, 4, time_of(4), 7)
    (end,) = rules.update("unsure", 0.1, 5, time_of(5), 7)
    assert (begin.seconds, begin.begin_seconds, begin.time, begin.person) == (2, 2, time_of(2), 7)
    assert (end.seconds, end.begin_seconds, end.time, end.person) == (5, 2, time_of(5), 7)
    assert begin.confidence == pytest.approx(0.7)
    assert end.confidence == pytest.approx(0.8)
    assert json.loads(json.dumps(end.to_dict())) == {
        "event": "end",
        "label": "Falling",
        "time": "2026-11-27T12:00:05.000+00:00",
        "seconds": 5,
        "begin_seconds": 2,
        "confidence": 0.8,
        "person": 7,
    }


def test_only_what_is_watched_for_becomes_an_event():
    rules = EventRules(classes=CLASSES, actions=["Falling"])
    assert short(run(rules, held(("Walking", 5), ("Falling", 10)))) == [("begin", "Falling", 5)]
    assert short(rules.finish(10, time_of(10))) == [("end", "Falling", 10)]


@pytest.mark.parametrize("after", [30, 2.5])  # a gap, and a clock that was set back
def test_behind_a_gap_all_starts_anew(after):
    rules = EventRules(classes=CLASSES, gap_seconds=5)
    events = run(rules, [("Falling", seconds) for seconds in (0, 1, 2, 3, after, after + 0.5)])
    assert short(events) == [("begin", "Falling", 0), ("end", "Falling", 3)]
    assert short(run(rules, [("Falling", after + 1)])) == [("begin", "Falling", after)]


@pytest.mark.parametrize(("end", "expected"), [(4, 4), (30, 3), (1, 3)])
def test_at_the_end_of_the_stream_what_is_open_ends(end, expected):
    rules = EventRules(classes=CLASSES)
    run(rules, held(("Falling", 3.1)))
    assert short(rules.finish(end, time_of(end))) == [("end", "Falling", expected)]
    assert not rules.finish(end, time_of(end))


def test_people_do_not_meet_and_one_who_left_is_forgotten():
    rules = EventRules(classes=CLASSES, gap_seconds=5)
    for seconds in (0, 1):
        run(rules, [("Falling", seconds)], person=1)
        run(rules, [("Walking", seconds)], person=2)
    assert [event.person for event in rules.finish_person(2, 2, time_of(2))] == [2]
    assert not rules.finish_person(2, 2, time_of(2))
    events = [event for seconds in range(2, 9) for event in run(rules, [("Walking", seconds)], person=3)]
    assert short(events) == [("begin", "Walking", 2), ("end", "Falling", 1)]
    assert [event.person for event in events] == [3, 1]
    for person in range(10, 2000):
        run(rules, [("Walking", person)], person=person)
    assert len(rules._people) <= 6


ACTIONS = st.sampled_from([*CLASSES, "unsure"])
STEPS = st.floats(0.01, 3) | st.floats(-20, 20)
MOMENTS = st.lists(st.tuples(ACTIONS, STEPS, st.sampled_from([None, 1])), max_size=60)


@given(MOMENTS, st.floats(0, 3), st.floats(0, 3))
def test_beginnings_and_ends_alternate_and_times_increase(moments, on_seconds, off_seconds):
    rules = EventRules(classes=CLASSES, on_seconds=on_seconds, off_seconds=off_seconds, gap_seconds=8)
    seconds, events = 0.0, []
    for label, step, person in moments:
        seconds += step
        events += rules.update(label, 0.5, seconds, time_of(seconds), person)
    events += rules.finish(seconds, time_of(seconds))
    events.sort(key=lambda event: (event.label, event.person or 0))
    for _, group in groupby(events, key=lambda event: (event.label, event.person)):
        kinds = [event.kind for event in group]
        assert kinds == ["begin", "end"] * (len(kinds) // 2)
    for begin, end in zip(events[::2], events[1::2], strict=True):
        assert begin.seconds == begin.begin_seconds == end.begin_seconds <= end.seconds
        assert end.seconds - begin.seconds >= on_seconds - 1e-3
        assert (end.time - begin.time).total_seconds() == pytest.approx(end.seconds - begin.seconds, abs=1e-3)


@given(
    st.floats(0.02, 0.9),
    st.lists(st.tuples(st.floats(0.05, 0.9), st.floats(1, 4)), max_size=5),
    st.sampled_from(["Walking", "unsure"]),
)
def test_what_is_too_short_changes_nothing_at_any_rate(step, flickers, other):
    parts, until = [("Falling", 5.0)], 5.0
    for short_seconds, long_seconds in flickers:  # interruptions of a fall
        parts += [(other, until + short_seconds), ("Falling", until + short_seconds + long_seconds)]
        until += short_seconds + long_seconds
    parts.append(("unsure", until := until + 5))
    for short_seconds, long_seconds in flickers:  # glimpses of a fall
        parts += [("Falling", until + short_seconds), ("unsure", until + short_seconds + long_seconds)]
        until += short_seconds + long_seconds
    calm = EventRules(classes=CLASSES, on_seconds=1, off_seconds=1, actions=["Falling"])
    events = run(calm, held(*parts, step=step))
    assert [event.kind for event in events] == ["begin", "end"]
    assert events[0].seconds == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"on_seconds": -1}, "on_seconds must be a finite number of at least 0, got -1"),
        ({"off_seconds": math.inf}, "off_seconds must be a finite number of at least 0, got inf"),
        ({"gap_seconds": 0}, "gap_seconds must be a positive, finite number, got 0"),
        ({"actions": ["Flying"]}, r"actions must be some of the classes Falling, .*, got \['Flying'\]"),
        ({"actions": []}, r"actions must be some of the classes .*, got \[\]"),
        ({"actions": "Falling"}, "actions must be some of the classes .*, got 'Falling'"),
    ],
)
def test_what_rules_cannot_be(values, message):
    with pytest.raises(ValueError, match=message):
        EventRules(classes=CLASSES, **values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "Flying"}, "label must be one of Falling, .* or 'unsure', got 'Flying'"),
        ({"confidence": math.nan}, "confidence must be a finite number, got nan"),
        ({"seconds": math.inf}, "seconds must be a finite number, got inf"),
        ({"time": datetime(2026, 1, 1)}, "time must have a time zone, got 2026-01-01T00:00:00"),
    ],
)
def test_what_a_moment_cannot_be(change, message):
    rules = EventRules(classes=CLASSES)
    with pytest.raises(ValueError, match=message):
        rules.update(**{"label": "Falling", "confidence": 0.9, "seconds": 1, "time": NOON} | change)
    for finish in (rules.finish, lambda *moment: rules.finish_person(None, *moment)):
        with pytest.raises(ValueError, match="seconds must be a finite number"):
            finish(math.nan, NOON)
