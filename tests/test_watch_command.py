"""`harkeras watch`, as a user types it."""

import json
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import cv2
import keras
import numpy as np
import pytest
from keras import layers

from harkeras import cli
from harkeras.cli import watching
from harkeras.models.saving import save_model
from harkeras.recipe import Recipe
from harkeras.video.reading import VideoInfo, iter_frames
from harkeras.video.writing import VideoWriter


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model that returns the share of each channel in the light."""
    clip = keras.Input((4, 8, 8, 3))
    light = layers.GlobalAveragePooling3D()(clip) + 1e-4
    network = keras.Model(clip, light / keras.ops.sum(light, axis=-1, keepdims=True))
    return save_model(
        network,
        tmp_path_factory.mktemp("model") / "colors.keras",
        recipe=Recipe(("red", "green", "blue"), 4, 8, 8, 0.5),
    )


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Red for 1.5 seconds, then green."""
    path = tmp_path_factory.mktemp("video") / "colors.mp4"
    with VideoWriter(path, 20) as writer:
        for channel in [0] * 30 + [1] * 30:
            image = np.zeros((96, 128, 3), np.uint8)
            image[..., channel] = 254
            writer.write(image)
    return path


@pytest.fixture
def run(monkeypatch, capsys):
    """Run `harkeras watch ...` in this process; return its exit status and what it wrote."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["harkeras", "watch", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code or 0, *capsys.readouterr()

    return call


def test_a_file(run, model, video, tmp_path):
    options = ["--on-seconds", 0.3, "--off-seconds", 0.3, "--actions", "green"]
    files = ["--events", tmp_path / "events.jsonl", "--record", tmp_path / "clips"]
    status, out, err = run(video, "--model", model, "--no-window", *options, *files)
    assert status == 0
    begin, end = out.splitlines()
    assert "begin  green" in begin
    assert "end    green" in end
    assert "ms behind" in err
    assert "ms behind" in err
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [(line["event"], line["label"]) for line in lines] == [("begin", "green"), ("end", "green")]
    (clip,) = (tmp_path / "clips").iterdir()
    assert clip.name.endswith("__green.mp4")
    assert VideoInfo.read(clip).duration_seconds > 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to answer")
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_ends_it_with_every_file_whole(model, tmp_path, number):
    with VideoWriter(tmp_path / "long.mp4", 10) as writer:
        for _ in range(600):
            writer.write(np.full((48, 64, 3), (254, 0, 0), np.uint8))
    program = [sys.executable, "-m", "harkeras", "watch", tmp_path / "long.mp4", "--model", model]
    program += ["--on-seconds", "0.1", "--events", tmp_path / "events.jsonl", "--record", tmp_path / "clips"]
    with subprocess.Popen(
        [*map(str, program)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert "begin  red" in process.stdout.readline()
        time.sleep(0.5)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "end    red" in out
    assert [json.loads(line)["event"] for line in (tmp_path / "events.jsonl").read_text().splitlines()] == [
        "begin",
        "end",
    ]
    (clip,) = (tmp_path / "clips").iterdir()
    assert len(list(iter_frames(clip))) > 2


def test_what_cannot_be_is_one_line(run, model, video, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    cases = [
        (("http://127.0.0.1:1/", "--no-window"), "the stream cannot be opened"),
        (("none.mp4",), "no video file at none.mp4"),
        ((video, "--actions", "jump"), "actions must be some of the classes"),
        ((video, "--webhook", "ftp://x"), "url must be an address that begins with http"),
        ((video, "--seconds", "-1"), "seconds must be positive, got -1"),
    ]
    if sys.platform == "linux":
        cases.append(((video, "--window"), "--window needs a screen"))
    for arguments, message in cases:
        status, out, err = run(*arguments, "--model", model)
        assert status == 2
        assert message in err.splitlines()[-1]
        assert not out


def test_the_line_names_the_people_who_are_there(capsys):
    state = SimpleNamespace(people=[], labels={}, label="unsure", confidence=0.0, fps=15.0, lag_seconds=0.02)
    for people in ((), (1, 3)):
        state.people = [SimpleNamespace(number=number) for number in people]
        state.labels = {1: ("red", 0.75)}
        watching._Terminal(people=True).show(state)
    state.fps = 0.0
    watching._Terminal(people=False).show(state)
    assert capsys.readouterr().err.splitlines() == [
        "nobody  15.0 frames/s  20 ms behind",
        "1: red 75%, 3: unsure  15.0 frames/s  20 ms behind",
        "unsure  20 ms behind",
    ]


def test_a_window_shows_the_picture_and_q_ends_it(run, model, video, monkeypatch):
    shown = []
    monkeypatch.setattr(watching, "_has_screen", lambda: True)
    monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
    monkeypatch.setattr(cv2, "imshow", lambda _name, image: shown.append(image))
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: 1.0)
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: None)
    monkeypatch.setattr(cv2, "waitKey", lambda _delay: ord("q") if len(shown) == 5 else -1)
    assert run(video, "--model", model, "--window")[0] == 0
    assert len(shown) == 5
    assert shown[0][90, 120, 2] > 200  # red, as OpenCV has it
