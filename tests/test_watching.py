import http.server
import json
import threading
import time
from itertools import pairwise

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from keras import layers
from mjpeg import Camera

from harkeras.inference._sampling import FrameSampler
from harkeras.inference.events import ActionEvent
from harkeras.inference.prediction import predict_on_video
from harkeras.inference.sinks import JsonLinesSink, WebhookSink
from harkeras.inference.streaming import ActionStream
from harkeras.inference.watching import draw_state, watch
from harkeras.recipe import Recipe
from harkeras.video import live as live_module
from harkeras.video.decoding import VideoError
from harkeras.video.writing import VideoWriter

RGB = ("red", "green", "blue")


def color_model(clip_seconds=1.0, size=8, **values):
    """A model that returns the share of each channel in the light: a red video is "red" for sure."""
    clip = keras.Input((4, size, size, 3))
    light = layers.GlobalAveragePooling3D()(clip) + 1e-4
    model = keras.Model(clip, light / keras.ops.sum(light, axis=-1, keepdims=True))
    model.recipe = Recipe(RGB, 4, size, size, clip_seconds, **values)
    return model


@pytest.fixture
def color_video(tmp_path):
    """`color_video("rg", seconds=2)`: a video that is red for two seconds, then green for two."""

    def write(letters, seconds=1.0, fps=25, name="colors.mp4"):
        with VideoWriter(tmp_path / name, fps) as writer:
            for letter in letters:
                image = np.zeros((48, 64, 3), np.uint8)
                image[..., "rgb".index(letter)] = 254
                for _ in range(round(seconds * fps)):
                    writer.write(image)
        return tmp_path / name

    return write


class Still:
    """A frame whose pixels are its number."""

    size = (8, 8)

    def __init__(self, number, seconds):
        self.number, self.seconds, self.conversions = number, seconds, 0

    def rgb(self, height=8, width=8, *, interpolation="area"):
        self.conversions += 1
        return np.full((height, width, 3), self.number % 256, np.uint8)


@hypothesis_settings(deadline=None, max_examples=60)
@given(
    steps=st.lists(
        st.sampled_from([1 / 60, 1 / 30, 1001 / 30000, 0.04, 1 / 15, 0.5, 3.0, 20.0]), max_size=80
    ),
    stride=st.sampled_from([0.25, 0.5, 0.13]),
    rate=st.sampled_from([1 / 15, 0.04, 1 / 60]),
)
def test_frames_are_sampled_as_in_a_file_whatever_their_times(steps, stride, rate):
    seconds = np.cumsum([0.3, *steps, *[rate] * 60])
    frames = [Still(number, float(at)) for number, at in enumerate(seconds)]
    recipe = Recipe(RGB, 4, 8, 8, 1.0)
    stream = ActionStream(color_model(), recipe, stride_seconds=stride)
    sampler, shown = FrameSampler(recipe, stride), []
    for frame in frames:
        sampler.push(frame)
        shown += sampler.take().seconds
    sampler.finish()
    shown += sampler.take().seconds
    needed = seconds[stream.frames_needed(seconds, float(seconds[-1]) + rate)]
    # What belongs to windows that the end cuts off is sampled as well, and a frame at the end of each window.
    assert set(needed.tolist()) <= set(shown)
    assert all(before < after for before, after in pairwise(shown))
    assert max(frame.conversions for frame in frames) <= 1


def test_frames_that_no_window_needs_are_not_converted():
    sampler = FrameSampler(Recipe(RGB, 4, 8, 8, 1.0), 0.25)
    frames = [Still(number, number / 60) for number in range(600)]
    for frame in frames:
        sampler.push(frame)
        sampler.take()
    assert sum(frame.conversions for frame in frames) <= 10 * (4 + 4) + 1


def test_what_waits_for_too_long_is_dropped_and_all_begins_anew():
    sampler = FrameSampler(Recipe(RGB, 4, 8, 8, 1.0), 0.5)
    for number in range(300):
        sampler.push(Still(number, number / 30))
        assert sampler.waiting < 40
    images, seconds, anew = sampler.take()
    assert anew
    assert seconds[-1] - seconds[0] <= 3
    assert len(images) == len(seconds)
    assert not sampler.take().anew


@pytest.mark.parametrize("fps", [15, 25, 30000 / 1001, 60])
def test_a_file_gives_the_events_of_its_prediction(color_video, fps):
    video, model = color_video("rgbr", 2, fps), color_model()
    said = predict_on_video(video, model, causal=True, progress=False)
    states = []
    events = list(watch(video, model, real_time=False, on_seconds=0, off_seconds=0, on_state=states.append))
    begins = [event.label for event in events if event.kind == "begin"]
    assert begins == [segment.label for segment in said.segments] == ["red", "green", "blue", "red"]
    assert [event.kind for event in events] == ["begin", *["end", "begin"] * 3, "end"]
    assert all(before.seconds <= after.seconds for before, after in pairwise(events))
    for event, segment in zip([e for e in events if e.kind == "begin"][1:], said.segments[1:], strict=True):
        # A moment counts when its window ends; a segment is dated back to the middle.
        assert 0 <= event.seconds - segment.start_seconds <= 1.5
    assert events[-1].seconds == pytest.approx(8, abs=0.05)
    assert (events[-1].time - events[0].time).total_seconds() == pytest.approx(
        events[-1].seconds - events[0].seconds, abs=1e-3
    )
    assert states[-1].label == "red"


@pytest.mark.parametrize("real_time", [False, True])
def test_windows_are_those_of_the_file(color_video, monkeypatch, real_time):
    video, model = color_video("rgb", 2), color_model()
    said = predict_on_video(video, model, causal=True, stride_seconds=0.25, progress=False)
    expected = dict(zip(said.windows[:, 0].round(3).tolist(), said.probabilities, strict=True))
    windows, push = [], ActionStream.push

    def noting_push(self, *args, **options):
        windows.extend(new := push(self, *args, **options))
        return new

    monkeypatch.setattr(ActionStream, "push", noting_push)
    list(watch(video, model, real_time=real_time, stride_seconds=0.25))
    assert len(windows) >= (5 if real_time else len(expected) - 3)  # the last ones come with the end
    for window in windows:
        np.testing.assert_allclose(window.probabilities, expected[round(window.start_seconds, 3)], atol=1e-5)


def slow_down(monkeypatch, seconds):
    push = ActionStream.push

    def slow_push(self, *args, **options):
        time.sleep(seconds)
        return push(self, *args, **options)

    monkeypatch.setattr(ActionStream, "push", slow_push)


def lags_of_a_slow_model(monkeypatch, index_of, seconds):
    """Frames between the one that was just decided on and the one that the camera sends, look by look."""
    slow_down(monkeypatch, 0.2)
    behind = []
    with Camera(longest_seconds=seconds + 20) as camera:

        def note(state):
            behind.append(camera.sent % 4096 - index_of(state.frame.image))

        list(watch(camera.url, color_model(), seconds=seconds, on_state=note, stride_seconds=0.1))
        assert camera.sent > 25 * seconds
    return behind


def test_lag_is_one_look_and_one_frame_however_slow_the_model(monkeypatch, index_of):
    behind = lags_of_a_slow_model(monkeypatch, index_of, 5)
    assert len(behind) > 15
    assert np.median(behind) <= 6 + 2  # 0.2 s of 30 frames per second, one frame, and one on its way
    assert max(behind[2:]) <= 6 + 2 + 15  # on a machine that is busy


@pytest.mark.slow
def test_lag_does_not_grow_in_two_minutes(monkeypatch, index_of):
    behind = lags_of_a_slow_model(monkeypatch, index_of, 120)
    assert len(behind) > 400
    assert np.median(behind[-100:]) <= 6 + 2
    assert np.percentile(behind, 95) <= 6 + 2 + 3


def test_an_event_ends_where_the_camera_is_lost_and_begins_anew(monkeypatch):
    monkeypatch.setattr(live_module, "_FIRST_WAIT_SECONDS", 0.1)
    said, stop, late = [], threading.Event(), time.monotonic() + 25
    with Camera() as camera:
        camera.frozen = True  # mostly one color
        for event in watch(
            camera.url,
            color_model(0.4),
            on_seconds=0.2,
            threshold=0,
            stop=stop,
            on_state=lambda _state: stop.set() if time.monotonic() > late else None,
        ):
            said.append(event)
            kinds = [each.kind for each in said]
            if kinds == ["begin"]:
                camera.kill()
            if kinds[-1:] == ["end"] and "lost" in kinds and "back" not in kinds:
                camera.start()
            if kinds.count("begin") == 2:
                stop.set()
    assert [each.kind for each in said] == ["begin", "lost", "end", "back", "begin", "end"]
    assert said[2].seconds <= said[1].seconds


class Target:
    """A webhook that is dead until it is told to live."""

    def __init__(self):
        self.bodies, self.answer, target = [], 503, self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if target.answer == 204:
                    target.bodies.append(body)
                self.send_response(target.answer)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/"


def test_frames_go_on_while_a_webhook_is_dead_and_no_event_is_lost(color_video):
    target, heard, states = Target(), [], []
    sink = WebhookSink(target.url, say=heard.append)
    with sink:
        events = list(
            watch(
                color_video("rgb", 1.5),
                color_model(0.5),
                on_seconds=0.2,
                off_seconds=0.2,
                sinks=[sink],
                on_state=states.append,
            )
        )
        assert len(states) > 50
        assert max(state.lag_seconds for state in states[5:]) < 1
        target.answer = 204
    target.server.shutdown()
    assert [body["event"] for body in target.bodies] == [event.kind for event in events]
    assert len(events) == 6
    assert any("it answered 503" in text for text in heard)


def test_sinks_are_told_the_end_of_what_holds_when_nobody_watches_any_longer(color_video, tmp_path):
    video = color_video("r", 6)
    for stop_by in ("break", "stop", "seconds"):
        file, stop = tmp_path / f"{stop_by}.jsonl", threading.Event()
        limit = 2.0 if stop_by == "seconds" else None
        with JsonLinesSink(file) as sink:
            found = watch(video, color_model(0.5), on_seconds=0.1, sinks=[sink], stop=stop, seconds=limit)
            for event in found:
                assert isinstance(event, ActionEvent)
                if stop_by == "break":
                    break
                if stop_by == "stop":
                    stop.set()
            found.close()
        kinds = [json.loads(line)["event"] for line in file.read_text().splitlines()]
        assert kinds == ["begin", "end"]


def test_actions_that_are_not_watched_are_no_events(color_video):
    events = list(watch(color_video("rgb", 2), color_model(), actions=["green"], real_time=False))
    assert [(event.kind, event.label) for event in events] == [("begin", "green"), ("end", "green")]


def find_green(image):
    """Find one person: what is green."""
    rows, columns = np.nonzero(image[..., 1] > image[..., 0] + 100)
    if not len(rows):
        return np.zeros((0, 5), np.float32)
    return np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, 0.9]], np.float32)


def test_events_carry_the_number_of_the_person(tmp_path):
    pytest.importorskip("trackers", reason="needs the package trackers")
    from harkeras.people.tracking import PeopleTracker

    with VideoWriter(tmp_path / "person.mp4", 20) as writer:
        for number in range(100):
            image = np.zeros((96, 160, 3), np.uint8)
            image[30:80, 20 + number // 2 : 60 + number // 2, 1] = 254
            writer.write(image)
    states = []
    events = list(
        watch(
            tmp_path / "person.mp4",
            color_model(),
            per_person=True,
            tracker=PeopleTracker(detector=find_green),
            real_time=False,
            on_state=states.append,
        )
    )
    assert [(event.kind, event.label) for event in events] == [("begin", "green"), ("end", "green")]
    (number,) = {event.person for event in events}
    assert number is not None
    assert [person.number for person in states[-1].people] == [number]
    assert draw_state(states[-1], RGB).shape == (96, 160, 3)


def test_errors_are_told_before_watching(color_video, tmp_path):
    video, model = color_video("r"), color_model()
    for options, message in (
        ({"seconds": 0}, "seconds must be positive, got 0"),
        ({"actions": ["jump"]}, "actions must be some of the classes"),
        ({"threshold": 2}, "threshold must lie in 0 to 1, got 2"),
        ({"stride_seconds": 0}, "stride_seconds must be positive"),
        ({"on_seconds": -1}, "on_seconds must be"),
    ):
        with pytest.raises(ValueError, match=message):
            watch(video, model, **options)
    with pytest.raises(ValueError, match="real_time must be True for a source that is no file, got 0"):
        watch(0, model, real_time=False)
    with pytest.raises(FileNotFoundError, match="no video file at"):
        watch(tmp_path / "none.mp4", "no model is loaded for it")
    with pytest.raises(VideoError, match="the stream cannot be opened"):
        list(watch("http://127.0.0.1:1/", model))
