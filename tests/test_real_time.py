import re
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers
from mjpeg import Camera
from test_models import CASES, build_small

from harkeras import cli
from harkeras.evaluation.real_time import STAGES, CrowdCost, RealTimeReport, bench_model
from harkeras.models import create_lrcn_model
from harkeras.models.saving import save_model
from harkeras.recipe import Recipe
from harkeras.transfer.heads import create_head, join
from harkeras.video import VideoError

CLASSES = ("a", "b", "c")


@pytest.fixture
def video(make_video):
    return make_video(indices=range(50))


def small_lrcn():
    model = create_lrcn_model(3, (4, 96, 64, 3), filters=(2, 3, 2, 4))
    model.recipe = Recipe(CLASSES, 4, 96, 64, 0.8)
    return model


def head_on_a_backbone():
    encoder = keras.Sequential(
        [
            keras.Input((40, 48, 3)),
            layers.Conv2D(8, 5, 4),
            layers.Conv2D(1300, 7),
            layers.GlobalMaxPooling2D(),
        ],
        name="encoder",
    )
    model = join(encoder, create_head("mean_std_diff", 3, (4, 1300)))
    model.recipe = Recipe(CLASSES, 4, 40, 48, 0.8)
    return model


def changes(report):
    return [each.change for each in report.alternatives]


def two_people(image):
    height, width = image.shape[:2]
    return np.array([(2, 2, width / 3, height, 0.9), (width / 2, 2, width - 2, height, 0.8)])


def test_each_stage_of_each_frame_from_the_first_window_on(video):
    report = bench_model(small_lrcn(), video, target_fps=0.001, progress=False)
    assert report.milliseconds.shape == (50 - 20, len(STAGES))
    assert (report.milliseconds >= 0).all()
    assert report.fps == pytest.approx(30_000 / report.milliseconds[:, 1:].sum())
    assert report.alternatives == report.crowds == ()
    assert report.people is None


def test_no_more_of_the_video_than_asked_for(video):
    report = bench_model(small_lrcn(), video, seconds=0.6, target_fps=0.001, progress=False)
    assert len(report.milliseconds) == 15  # too short for a window
    assert report.source.startswith("15 frames of clip.mp4")


def test_a_camera_is_waited_for():
    with Camera(fps=25) as camera:
        report = bench_model(small_lrcn(), camera.url, seconds=1.5, target_fps=1e9, progress=False)
        capture = report.milliseconds[:, STAGES.index("capture")]
    assert 10 < len(capture) < 40
    assert np.median(capture) > np.median(report.milliseconds[:, 1:].sum(axis=1))
    assert report.fps > 25  # waiting does not count
    assert camera.url in report.source
    assert changes(report)[0] == "a window every 0.4 s"


def test_a_camera_that_sends_nothing(monkeypatch):
    with Camera() as camera:
        url = camera.url
    with pytest.raises(VideoError, match="the stream cannot be opened"):
        bench_model(small_lrcn(), url, progress=False)
    monkeypatch.setattr("cv2.VideoCapture", SilentCapture)
    with pytest.raises(VideoError, match=r"camera 0: no frame came \(it sends nothing\)"):
        bench_model(small_lrcn(), 0, progress=False)


class SilentCapture:
    def __init__(self, number):
        self.number = number

    def isOpened(self):
        return True

    def set(self, *_):
        return True

    def grab(self):
        return False

    def release(self):
        pass


@pytest.mark.parametrize("per_frame", [True, False], ids=["split", "whole"])
def test_what_can_be_given_up(video, per_frame):
    model, stride = small_lrcn(), "0.2"
    if not per_frame:
        case = CASES["r3d"]
        model, stride = build_small(case), "0.4"
        model.recipe = Recipe(CLASSES, *case.small_shape[:3], 0.8)
    report = bench_model(model, video, target_fps=1e9, progress=False)
    assert changes(report)[0] == f"a window every {2 * float(stride):.2g} s"
    assert any(re.match(r"\d frames per window", change) for change in changes(report))
    if per_frame:
        assert "frames of 72 x 48 pixels" not in changes(report)  # too small for its pools
    assert all(each.fps > 0 for each in report.alternatives)


def test_a_smaller_backbone(video):
    report = bench_model(head_on_a_backbone(), video, target_fps=1e9, progress=False)
    assert changes(report) == [
        "a window every 0.4 s",
        "a window every 0.8 s",
        "frames of 30 x 36 pixels",
        "2 frames per window",
        "the backbone mobilenet_v2_0.35",
    ]


def test_the_table():
    milliseconds = np.tile([7.0, 1.0, 2.0, 0.0, 16.0, 1.0], (100, 1))
    milliseconds[-10:, 4] = 116
    report = RealTimeReport("a video", "a model", milliseconds, 50.0)
    assert str(report).splitlines() == [
        "a model; a video",
        "",
        "ms per frame        mean  median     p95     p99",
        "capture             7.00    7.00    7.00    7.00",
        "decoding            1.00    1.00    1.00    1.00",
        "preprocessing       2.00    2.00    2.00    2.00",
        "inference          26.00   16.00  116.00  116.00",
        "decision            1.00    1.00    1.00    1.00",
        "all but capture    30.00   20.00  120.00  120.00",
        "",
        "It sustains 33 frames per second.",
    ]


def test_the_table_of_people():
    milliseconds = np.tile([0.0, 1.0, 2.0, 5.0, 1.0, 1.0], (100, 1))
    report = RealTimeReport("a video", "a model", milliseconds, 50.0, people=1.5)
    assert "people              5.00    5.00    5.00    5.00" in str(report)
    assert str(report).endswith("Nobody was found, so that what people cost is not in these numbers.")
    report = replace(report, crowds=(CrowdCost(1, 8.0, 125.0), CrowdCost(2, 12.5, 80.0)))
    assert str(report).splitlines()[-5:] == [
        "1.5 people were found in a frame, on average. The same people, as so many:",
        "",
        "people    ms per frame   frames per second",
        "1                 8.00                 125",
        "2                12.50                  80",
    ]


@pytest.mark.parametrize("subject", ["person", "frame"])
def test_what_people_cost(video, subject, monkeypatch):
    pytest.importorskip("trackers", reason='needs trackers: pip install "harkeras[people]"')
    looked = []

    def find(image, *_, **__):
        looked.append(image.shape)
        return two_people(image)

    monkeypatch.setattr("harkeras.people.tracking.detect_people", find)
    model = head_on_a_backbone()
    model.recipe = replace(model.recipe, subject=subject)
    report = bench_model(model, video, per_person=subject == "frame", target_fps=1e9, progress=False)
    assert report.people > 1.5
    assert (report.milliseconds[:, STAGES.index("people")] > 0).all()
    assert [each.people for each in report.crowds] == [1, 2, 4]
    assert all(each.fps == pytest.approx(1000 / each.milliseconds) for each in report.crowds)
    assert changes(report)[:2] == ["people looked for in every 6th frame", "a window every 0.4 s"]
    assert set(looked) == {(64, 96, 3)}
    assert "of each person" in report.model


def test_nobody_there(video, monkeypatch):
    pytest.importorskip("trackers", reason='needs trackers: pip install "harkeras[people]"')
    monkeypatch.setattr("harkeras.people.tracking.detect_people", lambda *_, **__: np.empty((0, 5)))
    report = bench_model(small_lrcn(), video, per_person=True, target_fps=0.001, progress=False)
    assert report.people == 0
    assert "Nobody was found" in str(report)


def test_the_command(video, tmp_path, capsys, monkeypatch):
    path = save_model(small_lrcn(), tmp_path / "model.keras")
    monkeypatch.setattr("sys.argv", ["harkeras", "bench", str(path), str(video), "--target-fps", "1e9"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert "50 frames of clip.mp4, 96 x 64 pixels" in text
    assert "To come nearer to 1000000000 frames per second" in text
    assert re.search(r"a window every 0.4 s +\d+ frames per second, \d", text)


@pytest.mark.slow
def test_a_video_is_rendered_where_there_is_none():
    report = bench_model(small_lrcn(), seconds=1, target_fps=0.001, progress=False)
    assert report.source == "25 frames of rendered.mp4, 320 x 240 pixels"


@pytest.mark.parametrize("option", ["seconds", "target_fps"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_what_must_be_positive(option, value):
    with pytest.raises(ValueError, match=f"{option} must be positive, got {value}"):
        bench_model(small_lrcn(), **{option: value})


def test_no_such_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="no model file at"):
        bench_model(tmp_path / "none.keras")
