"""Frames that are brought, one at a time."""

import numpy as np
import pytest
from test_watching import color_model, color_video  # noqa: F401  the fixture

from harkeras.inference import FrameWatcher, watch
from harkeras.video.reading import VideoInfo, iter_frames

RED = np.full((48, 64, 3), (250, 0, 0), np.uint8)


def test_it_says_what_watch_says_of_a_file(color_video):  # noqa: F811
    video, model, states = color_video("rgb", seconds=2), color_model(), []
    expected = watch(video, model, real_time=False, on_state=states.append, stride_seconds=0.2)
    expected = [(event.kind, event.label, event.seconds) for event in expected]
    watcher, events = FrameWatcher(model, stride_seconds=0.2), []
    for frame, state in zip(iter_frames(video), states, strict=True):
        seen = watcher.push(frame.image, frame.seconds)
        assert (seen.seconds, seen.label) == (frame.seconds, state.label)
        assert seen.confidence == pytest.approx(state.confidence, abs=0.01)
        events += seen.events
    events += watcher.finish(VideoInfo.read(video).duration_seconds)
    assert [(event.kind, event.label, event.seconds) for event in events] == expected
    assert [label for _, label, _ in expected] == ["red", "red", "green", "green"]


def test_some_of_the_actions_are_told(color_video):  # noqa: F811
    watcher, events = FrameWatcher(color_model(), actions=["green"], off_seconds=0.5), []
    for frame in iter_frames(color_video("rgb", seconds=2)):
        events += watcher.push(frame.image, frame.seconds).events
    assert [(event.kind, event.label) for event in events] == [("begin", "green"), ("end", "green")]


def test_nothing_came():
    assert FrameWatcher(color_model()).finish() == []


def test_people_are_followed(monkeypatch):
    from harkeras.people.tracking import PeopleTracker

    pytest.importorskip("trackers", reason='pip install "harkeras[people]"')
    boxes = [np.array([[8, 8, 40, 40, 0.9]], np.float32)] * 30 + [np.zeros((0, 5), np.float32)] * 200
    coming = iter(boxes)
    watcher = FrameWatcher(
        color_model(subject="person"), tracker=PeopleTracker(detector=lambda _: next(coming))
    )
    states = [watcher.push(RED, number / 10) for number in range(len(boxes))]
    (person,) = states[25].people
    assert states[25].labels == {person.number: ("red", pytest.approx(0.99, abs=0.02))}
    assert [event.person for state in states for event in state.events] == [person.number] * 2
    assert (states[-1].people, states[-1].labels, states[-1].label) == ((), {}, "unsure")


@pytest.mark.parametrize(
    "image",
    [RED[..., 0], RED.astype(np.float32), RED[..., :2], RED[:0]],
    ids=["gray", "float", "two", "none"],
)
def test_what_is_no_image(image):
    with pytest.raises(ValueError, match=r"image must be uint8 RGB \(H, W, 3\), got"):
        FrameWatcher(color_model()).push(image, 0.0)


def test_times_increase():
    watcher = FrameWatcher(color_model())
    watcher.push(RED, 1.0)
    for seconds in (1.0, 0.5, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"seconds must be finite and increase, got .* after 1\.0"):
            watcher.push(RED, seconds)
    assert watcher.push(RED, 1.1).seconds == 1.1


def test_actions_are_classes():
    with pytest.raises(ValueError, match="actions"):
        FrameWatcher(color_model(), actions=["purple"])
    with pytest.raises(ValueError, match="on_seconds must be a finite number"):
        FrameWatcher(color_model(), on_seconds=-1)
