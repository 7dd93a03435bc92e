"""Events reach a file, a webhook, a broker and a folder of clips, and nothing of it holds the stream back."""

import json
import os
import socket
import struct
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from harkeras.inference import event_clips, mqtt_sink, sinks
from harkeras.inference.event_clips import ClipRecorder
from harkeras.inference.events import ActionEvent
from harkeras.inference.mqtt_sink import MqttSink
from harkeras.inference.sinks import EventSink, JsonLinesSink, WebhookSink
from harkeras.video.reading import VideoInfo, frames_extraction, iter_frames
from harkeras.video.writing import VideoWriter

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
CLASSES = ("Falling", "Walking")


def make_event(kind="begin", label="Falling", seconds=4.0, person=None):
    return ActionEvent(kind, label, seconds, NOON + timedelta(seconds=seconds), 0.9, person, 4.0)


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


def test_a_sink_of_your_own_takes_events():
    class Names(EventSink):
        def __init__(self):
            self.names = []

        def on_event(self, event):
            self.names.append(event.label)

    with Names() as sink:
        sink.on_event(make_event())
        sink.on_frame(np.zeros((4, 4, 3), np.uint8), 0, None, 0)
    assert sink.names == ["Falling"]
    with pytest.raises(NotImplementedError):
        EventSink().on_event(make_event())


class TestJsonLines:
    def test_each_event_is_a_line_behind_those_that_are_there(self, tmp_path):
        path = tmp_path / "new" / "events.jsonl"
        for _ in range(2):
            with JsonLinesSink(path) as sink:
                sink.on_event(make_event())
                assert path.read_text().endswith("}\n")  # before it is closed
                sink.on_event(make_event("end", "Füße", 6.0, 3))
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        assert [line["event"] for line in lines] == ["begin", "end"] * 2
        assert lines[1]["label"] == "Füße"
        assert lines[1]["person"] == 3
        assert datetime.fromisoformat(lines[0]["time"]) == NOON + timedelta(seconds=4)

    def test_a_line_that_was_cut_off_spoils_no_other(self, tmp_path):
        path = tmp_path / "events.jsonl"
        path.write_text('{"event": "beg')
        with JsonLinesSink(path) as sink:
            sink.on_event(make_event())
        assert json.loads(path.read_text().splitlines()[1])["event"] == "begin"

    def test_what_cannot_be_written(self, tmp_path):
        with pytest.raises(ValueError, match="path must be a regular file"):
            JsonLinesSink(tmp_path)
        (tmp_path / "file").touch()
        with pytest.raises(OSError, match="file"):
            JsonLinesSink(tmp_path / "file" / "events.jsonl")

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")  # noqa: PTH110
    def test_a_full_disk_is_named(self, tmp_path):
        sink = JsonLinesSink(tmp_path / "events.jsonl")
        sink._file.close()
        sink._file = open("/dev/full", "wb", buffering=0)  # noqa: PTH123
        with pytest.raises(OSError, match=r"events\.jsonl"):
            sink.on_event(make_event())
        sink.close()


class Target:
    """A web server that notes what is posted, and answers what it is told to."""

    def __init__(self, port=0):
        self.status, self.bodies, self.headers, self.tries = 204, [], [], 0
        target = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                target.tries += 1
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if target.status < 300:
                    target.bodies.append(json.loads(body))
                    target.headers.append(self.headers)
                self.send_response(target.status)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def target():
    target = Target()
    yield target
    target.close()


@pytest.fixture
def short_pauses(monkeypatch):
    monkeypatch.setattr(sinks, "_FIRST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(sinks, "_LONGEST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(sinks, "_FAREWELL_SECONDS", 1.0)


@pytest.mark.usefixtures("short_pauses")
class TestWebhook:
    def test_events_are_posted_in_order(self, target):
        with WebhookSink(f"http://me:p%40ss@127.0.0.1:{target.port}/hook") as sink:
            for seconds in range(20):
                sink.on_event(make_event(seconds=seconds))
        assert [body["seconds"] for body in target.bodies] == list(range(20))
        assert target.headers[0]["Content-Type"] == "application/json"
        assert target.headers[0]["Authorization"] == "Basic bWU6cEBzcw=="

    @pytest.mark.parametrize("status", [500, 404, 302])
    def test_what_is_refused_is_tried_again(self, target, status):
        target.status, said = status, []
        with WebhookSink(f"http://127.0.0.1:{target.port}", say=said.append) as sink:
            sink.on_event(make_event(seconds=1))
            wait_for(lambda: target.tries >= 3)
            sink.on_event(make_event(seconds=2))
            target.status = 204
            wait_for(lambda: len(said) == 2)
        assert [body["seconds"] for body in target.bodies] == [1, 2]
        assert f"it answered {status}" in said[0]
        assert "events wait until it takes them" in said[0]
        assert said[1].endswith("it takes events again")
        assert len(said) == 2

    def test_no_event_is_lost_while_the_target_is_dead(self, target):
        port, said = target.port, []
        target.close()
        with WebhookSink(f"http://127.0.0.1:{port}", say=said.append) as sink:
            for seconds in range(30):
                sink.on_event(make_event(seconds=seconds))
            wait_for(lambda: said)
            back = Target(port)
            wait_for(lambda: len(back.bodies) == 30)
        back.close()
        assert [body["seconds"] for body in back.bodies] == list(range(30))
        assert "it cannot be reached" in said[0]
        assert len(said) == 2

    def test_what_was_not_delivered_is_counted_and_the_oldest_goes_first(self, target, monkeypatch):
        monkeypatch.setattr(sinks, "_MOST_WAITING", 5)
        target.status, said = 503, []
        sink = WebhookSink(f"http://127.0.0.1:{target.port}", say=said.append)
        for seconds in range(8):
            sink.on_event(make_event(seconds=seconds))
        sink.close()
        sink.close()
        assert said[-1] == f"webhook 127.0.0.1:{target.port}: 8 events were not delivered"
        assert len(said) == 2

    def test_a_target_that_never_answers_holds_nobody_back(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            said = []
            sink = WebhookSink(f"http://127.0.0.1:{silent.getsockname()[1]}", say=said.append)
            for seconds in range(100):
                sink.on_event(make_event(seconds=seconds))
            sinks_thread = sink._thread
            sink.close()
        assert "100 events were not delivered" in said[-1]
        assert sinks_thread.daemon  # it holds back no end of the process either

    def test_by_default_it_warns(self, target):
        target.status, said = 500, []
        sink = WebhookSink(f"http://127.0.0.1:{target.port}", say=said.append)
        sink.on_event(make_event())
        wait_for(lambda: said)
        sink._say = sinks.warn
        with pytest.warns(UserWarning, match="1 event was not delivered"):
            sink.close()

    @pytest.mark.parametrize(
        "url",
        ["", "ftp://a/b", "file:///etc/passwd", "http://", "http://a:b:c/", "http://a/\n", "example.org"],
    )
    def test_what_is_no_address(self, url):
        with pytest.raises(ValueError, match="url must be an address that begins with http:// or https://"):
            WebhookSink(url)


class Broker:
    """As much of an MQTT 3.1.1 broker as takes messages: it notes what is published, and the last will."""

    def __init__(self, port=0):
        self.messages, self.wills, self.users, self.sockets = [], [], [], []
        self.server = socket.create_server(("127.0.0.1", port))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __getitem__(self, topic):
        return [body for name, body, _ in self.messages if name == topic]

    def close(self):
        for each in (self.server, *self.sockets):
            with each, suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self):
        while True:
            try:
                connection = self.server.accept()[0]
            except OSError:
                return
            self.sockets.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        stream = connection.makefile("rb")
        try:
            while head := stream.read(1):
                size, shift = 0, 0
                while (byte := stream.read(1)[0]) & 0x80:
                    size, shift = size | (byte & 0x7F) << shift, shift + 7
                body = stream.read(size | byte << shift)
                if answer := self._answer(head[0], body):
                    connection.sendall(answer)
        except (OSError, IndexError):
            return

    def _answer(self, head, body):
        kind = head >> 4
        if kind == 1:  # CONNECT
            flags, rest = body[7], body[10:]
            fields = []
            while rest:
                (size,) = struct.unpack(">H", rest[:2])
                fields.append(rest[2 : 2 + size].decode())
                rest = rest[2 + size :]
            self.wills.append(fields[1:3] if flags & 0x04 else None)
            self.users.append(tuple(fields[3:]))
            return b"\x20\x02\x00\x00"
        if kind == 3:  # PUBLISH, QoS 1
            (size,) = struct.unpack(">H", body[:2])
            topic, number, text = body[2 : 2 + size].decode(), body[2 + size : 4 + size], body[4 + size :]
            assert head & 0x06 == 2
            self.messages.append((topic, text.decode(), bool(head & 1)))
            return b"\x40\x02" + number
        return b"\xd0\x00" if kind == 12 else b""


@pytest.fixture
def broker():
    pytest.importorskip("paho.mqtt.client", reason="needs paho-mqtt")
    broker = Broker()
    yield broker
    broker.close()


class TestMqtt:
    def test_home_assistant_finds_the_actions_and_sees_their_state(self, broker):
        with MqttSink(f"mqtt://me:p%40ss@127.0.0.1:{broker.port}/home/hall", actions=["Falling"]) as sink:
            wait_for(lambda: broker["home/hall/availability"])
            sink.on_event(make_event())
            sink.on_event(make_event(person=2))
            sink.on_event(make_event("end"))
            wait_for(lambda: broker["home/hall/Falling/state"][-1:] == ["ON"])
            sink.on_event(make_event("end", person=2))
        node = mqtt_sink.to_topic("home/hall")
        (config,) = broker[f"homeassistant/binary_sensor/{node}/Falling/config"]
        config = json.loads(config)
        assert broker[config["state_topic"]] == ["OFF", "ON", "ON", "ON", "OFF"]
        assert broker[config["availability_topic"]] == ["online", "offline"]
        assert config["unique_id"] == f"{node}_Falling"
        assert config["device"]["identifiers"] == [node]
        assert json.loads(broker[config["json_attributes_topic"]][-1])["event"] == "end"
        assert [json.loads(body)["event"] for body in broker["home/hall/events"]] == ["begin"] * 2 + [
            "end"
        ] * 2
        assert broker.wills == [["home/hall/availability", "offline"]]
        assert broker.users == [("me", "p@ss")]
        assert {topic.split("/")[-1]: retained for topic, _, retained in broker.messages} == {
            "config": True,
            "state": True,
            "availability": True,
            "event": True,
            "events": False,
        }

    def test_no_event_is_lost_while_the_broker_is_dead(self, broker, monkeypatch):
        monkeypatch.setattr(mqtt_sink, "_LONGEST_PAUSE_SECONDS", 1)
        port, said = broker.port, []
        with MqttSink(f"mqtt://127.0.0.1:{port}", actions=["Falling"], say=said.append) as sink:
            wait_for(lambda: broker["harkeras/availability"])
            broker.close()
            wait_for(lambda: said)
            for seconds in range(10):
                sink.on_event(make_event(seconds=seconds))
            back = Broker(port)
            wait_for(lambda: len(back["harkeras/events"]) == 10 and len(said) == 2)
        back.close()
        assert [json.loads(body)["seconds"] for body in back["harkeras/events"]] == list(range(10))
        assert "events wait until it takes them" in said[0]
        assert said[1].endswith("it is back")
        assert len(said) == 2

    def test_what_was_not_delivered_is_counted(self, broker, monkeypatch):
        monkeypatch.setattr(mqtt_sink, "_MOST_WAITING", 5)
        port, said = broker.port, []
        broker.close()
        sink = MqttSink(f"mqtt://127.0.0.1:{port}", actions=["Falling"], say=said.append)
        for seconds in range(4):  # three messages each: the first two find room
            sink.on_event(make_event(seconds=seconds))
        wait_for(lambda: said)
        sink.close()
        sink.close()
        assert "it cannot be reached" in said[0]
        assert said[1] == f"MQTT broker 127.0.0.1:{port}: 4 events were not delivered"
        assert len(said) == 2

    def test_topics_are_what_home_assistant_takes(self):
        assert mqtt_sink.to_topic("Falling_2-b") == "Falling_2-b"
        names = ["playing cricket", "playing#cricket", "跌倒", "摔倒", "a/b", "+"]
        topics = [mqtt_sink.to_topic(name) for name in names]
        assert len(set(topics)) == len(names)
        assert all(topic.isascii() and topic.replace("_", "").isalnum() for topic in topics)

    @pytest.mark.parametrize(
        "url", ["", "http://a", "mqtt://", "mqtt://a:b:c", "mqtt://a/#", "mqtt://a/b/+", "mqtt://a?x=1"]
    )
    def test_what_is_no_address(self, url):
        with pytest.raises(ValueError, match="url must be like mqtt://user:password@host:1883/prefix"):
            MqttSink(url, actions=["Falling"])

    def test_a_missing_package_is_named(self, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "paho.mqtt.client", None)
        with pytest.raises(ImportError, match=r'pip install "harkeras\[mqtt\]"'):
            MqttSink("mqtt://127.0.0.1", actions=["Falling"])


def gray(value, height=48, width=64):
    return np.full((height, width, 3), value, np.uint8)


def feed(recorder, frames, fps=10):
    """Push frames whose brightness is their number, each when there is room for it."""
    for number in frames:
        wait_for(lambda: recorder._queue.empty())
        recorder.on_frame(gray(number), number / fps, None, 0)


class TestClips:
    def test_a_clip_goes_from_before_the_event_to_its_end(self, tmp_path):
        with ClipRecorder(tmp_path / "clips", classes=CLASSES, before_seconds=1) as recorder:
            feed(recorder, range(50))
            recorder.on_event(make_event(seconds=4.0))  # told a second after it began
            feed(recorder, range(50, 70))
            recorder.on_event(make_event("end", seconds=6.5))
            feed(recorder, range(70, 80))
        (path,) = (tmp_path / "clips").iterdir()
        assert path.name == "2026-11-27__12-00-04__Falling.mp4"
        info = VideoInfo.read(path)
        assert len(info.frame_seconds) == 40
        assert info.frame_seconds[-1] == pytest.approx(3.9, abs=0.01)
        clip = frames_extraction(path, frames=40, height=48, width=64, normalize=False)
        assert clip.mean(axis=(1, 2, 3)) == pytest.approx(np.arange(30, 70), abs=2)

    def test_the_label_is_drawn(self, tmp_path):
        with ClipRecorder(tmp_path, classes=CLASSES) as recorder:
            image = gray(200, 240, 320)
            recorder.on_frame(image, 3.9, "Falling", 0.7)
            recorder.on_event(make_event())
        clip = frames_extraction(next(tmp_path.iterdir()), frames=1, height=240, width=320, normalize=False)
        assert (image == 200).all()  # the caller's own is not drawn on
        assert clip[0, :30, :100].min() < 80
        assert clip[0, 100:].min() > 180

    def test_events_at_once_have_clips_of_their_own_and_all_are_finished(self, tmp_path):
        recorder = ClipRecorder(tmp_path, classes=CLASSES)
        feed(recorder, range(41))
        for person in (None, 1, 2):
            recorder.on_event(make_event(person=person))
        recorder.on_event(make_event("end"))
        recorder.on_event(make_event())  # in the same second
        recorder.on_event(make_event(label="../wälzen: <schnell>?"))
        feed(recorder, range(41, 50))
        recorder.close()
        recorder.close()
        names = sorted(path.name.removeprefix("2026-11-27__12-00-04__") for path in tmp_path.iterdir())
        assert names == [
            "Falling.mp4",
            "Falling__2.mp4",
            "Falling__person-1.mp4",
            "Falling__person-2.mp4",
            "_wälzen_schnell_.mp4",
        ]
        for path in tmp_path.iterdir():
            assert len(VideoInfo.read(path).frame_seconds) in (31, 40)

    def test_a_new_size_and_a_clock_that_was_set_back_spoil_no_clip(self, tmp_path):
        with ClipRecorder(tmp_path, classes=CLASSES) as recorder:
            feed(recorder, [40])
            recorder.on_event(make_event())
            recorder.on_frame(gray(50, 96, 128), 5.0, None, 0)
            recorder.on_frame(gray(60), 1.0, None, 0)
            recorder.on_frame(gray(70), 6.0, None, 0)
        info = VideoInfo.read(next(tmp_path.iterdir()))
        assert info.frame_seconds == pytest.approx([0, 1, 2], abs=0.01)
        assert (info.height, info.width) == (48, 64)

    def test_memory_has_a_bound(self, tmp_path, monkeypatch):
        monkeypatch.setattr(event_clips, "_MEMORY_BYTES", 10_000)
        with ClipRecorder(tmp_path, classes=CLASSES, before_seconds=60) as recorder:
            feed(recorder, range(100))
            wait_for(lambda: recorder._queue.empty())
        assert sum(jpeg.nbytes for _, jpeg in recorder._past) <= 10_000
        assert recorder._past[-1][0] == 9.9

    def test_a_clip_has_a_longest_length(self, tmp_path, monkeypatch):
        monkeypatch.setattr(event_clips, "_LONGEST_SECONDS", 1.0)
        with ClipRecorder(tmp_path, classes=CLASSES) as recorder:
            feed(recorder, range(40, 41))
            recorder.on_event(make_event())
            feed(recorder, range(41, 70))
            wait_for(lambda: list(tmp_path.glob("2*.mp4")))  # finished while the event lasts
        assert len(VideoInfo.read(next(tmp_path.iterdir())).frame_seconds) == 11

    def test_slow_writing_leaves_nothing_out_and_each_frame_keeps_its_time(self, tmp_path, monkeypatch):
        write = VideoWriter.write
        monkeypatch.setattr(VideoWriter, "write", lambda *args: time.sleep(0.01) or write(*args))
        times, said = np.cumsum(np.random.default_rng(0).uniform(0.02, 0.3, 60)), []
        with ClipRecorder(tmp_path, classes=CLASSES, before_seconds=60, say=said.append) as recorder:
            for number, seconds in enumerate(times.tolist()):
                if number == 20:
                    recorder.on_event(make_event(seconds=seconds))
                if number == 50:
                    recorder.on_event(make_event("end", seconds=seconds))
                    recorder.on_event(make_event(seconds=seconds))  # while the first is being written
                wait_for(lambda: recorder._room._value)
                recorder.on_frame(gray(4 * number), seconds, None, 0)
        assert said == []
        for path, last in zip(sorted(tmp_path.iterdir()), (50, 60), strict=True):
            info = VideoInfo.read(path)
            assert info.frame_seconds == pytest.approx(times[:last] - times[0], abs=1e-3)
            clip = [frame.image.mean() for frame in iter_frames(path)]
            assert clip == pytest.approx(4 * np.arange(last), abs=3)

    @pytest.mark.slow
    @pytest.mark.browser
    def test_plays_in_a_browser(self, tmp_path, play_in_browser):
        with ClipRecorder(tmp_path / "clips", classes=CLASSES) as recorder:
            for number, seconds in enumerate((3.0, 3.1, 3.5, 4.0, 4.1)):  # a machine that is busy
                recorder.on_frame(gray(40 * number, 96, 128), seconds, None, 0)
            recorder.on_event(make_event())
        result = play_in_browser(next((tmp_path / "clips").iterdir()))
        assert "error" not in result, result
        assert (result["width"], result["height"]) == (128, 96)
        assert result["seconds"] == pytest.approx(1.1, abs=0.1)
        assert np.abs(np.array(result["colour"][:3]) - 160).max() <= 8

    def test_what_leaves_the_memory_before_it_was_written_is_counted(self, tmp_path, monkeypatch):
        monkeypatch.setattr(event_clips, "_MEMORY_BYTES", 10_000)
        write, go_on, said = VideoWriter.write, threading.Event(), []
        monkeypatch.setattr(VideoWriter, "write", lambda *args: go_on.wait(20) and write(*args))
        with ClipRecorder(tmp_path, classes=CLASSES, say=said.append) as recorder:
            feed(recorder, [40])
            recorder.on_event(make_event())
            wait_for(lambda: recorder._queue.empty())
            for number in range(41, 48):
                recorder.on_frame(gray(number), number / 10, None, 0)
            recorder.on_event(make_event("end"))
            recorder.on_frame(gray(48), 4.8, None, 0)
            monkeypatch.setattr(event_clips, "_MEMORY_BYTES", 1500)
            go_on.set()
        info = VideoInfo.read(next(tmp_path.iterdir()))
        assert said
        left_out = int(said[0].split(": ")[1].split()[0])
        assert len(info.frame_seconds) == 8 - left_out
        assert info.frame_seconds[-1] == pytest.approx(0.7, abs=0.001)

    def test_frames_that_find_no_place_are_counted(self, tmp_path, monkeypatch):
        go_on, said = threading.Event(), []
        monkeypatch.setattr(ClipRecorder, "_take_in", lambda *_: go_on.wait(20))
        with ClipRecorder(tmp_path, classes=CLASSES, say=said.append) as recorder:
            recorder.on_frame(gray(0), 0, None, 0)
            wait_for(lambda: recorder._queue.empty())  # the thread is busy with it
            for number in range(1, 30):
                recorder.on_frame(gray(number), number, None, 0)
            go_on.set()
        assert said == [f"{tmp_path}: 21 frames were left out of the clips: writing was too slow"]

    def test_a_clip_that_cannot_be_written_is_said_and_others_go_on(self, tmp_path):
        said = []
        with ClipRecorder(tmp_path / "clips", classes=CLASSES, say=said.append) as recorder:
            feed(recorder, [40])
            wait_for(lambda: recorder._queue.empty())
            (tmp_path / "clips").rename(tmp_path / "away")
            (tmp_path / "clips").touch()
            recorder.on_event(make_event())
            wait_for(lambda: said)
            (tmp_path / "clips").unlink()
            (tmp_path / "away").rename(tmp_path / "clips")
            recorder.on_event(make_event(label="Walking"))
        assert "the clip could not be written" in said[0]
        assert len(said) == 1
        assert [path.name[-11:] for path in (tmp_path / "clips").iterdir()] == ["Walking.mp4"]

    def test_what_it_cannot_be(self, tmp_path):
        with pytest.raises(ValueError, match="before_seconds must be at least 0, got -1"):
            ClipRecorder(tmp_path, classes=CLASSES, before_seconds=-1)
        (tmp_path / "file").touch()
        with pytest.raises(OSError, match="file"):
            ClipRecorder(tmp_path / "file", classes=CLASSES)
