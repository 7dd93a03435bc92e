import re

import keras
import numpy as np
import pytest
from keras import layers
from test_models import CASES, build_small

from harkeras import cli
from harkeras.evaluation.real_time import STAGES, RealTimeReport, bench_model
from harkeras.models import create_lrcn_model
from harkeras.models.saving import save_model
from harkeras.recipe import Recipe
from harkeras.transfer.heads import create_head, join

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


def test_each_stage_of_each_frame(video):
    report = bench_model(small_lrcn(), video, target_fps=0.001, progress=False)
    assert report.milliseconds.shape == (50, len(STAGES))
    assert (report.milliseconds >= 0).all()
    assert report.fps == pytest.approx(50_000 / report.milliseconds.sum())
    assert report.alternatives == ()


def test_no_more_of_the_video_than_asked_for(video):
    report = bench_model(small_lrcn(), video, seconds=0.8, target_fps=0.001, progress=False)
    assert len(report.milliseconds) == 20


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
    milliseconds = np.tile([1.0, 2.0, 16.0, 1.0], (100, 1))
    milliseconds[-10:, 2] = 116
    report = RealTimeReport("a video", "a model", milliseconds, 50.0, ())
    assert str(report).splitlines() == [
        "a model; a video",
        "",
        "ms per frame    mean  median     p95     p99",
        "decoding        1.00    1.00    1.00    1.00",
        "preprocessing    2.00    2.00    2.00    2.00",
        "inference      26.00   16.00  116.00  116.00",
        "decision        1.00    1.00    1.00    1.00",
        "together       30.00   20.00  120.00  120.00",
        "",
        "It sustains 33 frames per second.",
    ]


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
