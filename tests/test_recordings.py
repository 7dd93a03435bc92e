"""Whole recordings are scored as somebody has them who waits for an alarm."""

import csv
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harkeras import (
    Annotation,
    Recipe,
    cli,
    cut_clips,
    load_model,
    read_annotations,
    save_model,
    train_on_folder,
)
from harkeras.evaluation import evaluate_recordings
from harkeras.evaluation.recording_scores import Span, match_alarms, match_segments
from harkeras.video.writing import VideoWriter

CLASSES = ("Nothing", "Falling", "Walking")
VALUES = {"Falling": 20, "Nothing": 120, "Walking": 220}


@pytest.fixture(scope="module")
def model():
    """A model that knows its classes by brightness, from windows of a second."""
    clip = keras.Input((4, 16, 16, 3))
    brightness = keras.layers.GlobalAveragePooling3D()(clip)
    dense = keras.layers.Dense(3, activation="softmax")
    model = keras.Model(clip, dense(brightness))
    values = np.array([VALUES[name] for name in CLASSES], np.float32)
    dense.set_weights([np.tile(values / 300, (3, 1)), -(values**2) / 200])  # the nearest value wins
    model.recipe = Recipe(CLASSES, 4, 16, 16, clip_seconds=1.0)
    return model


@pytest.fixture
def record(tmp_path):
    """Write a video of parts (label, seconds), 10 frames per second."""

    def write(name, *parts, offset=0):
        path = tmp_path / "recordings" / name
        with VideoWriter(path, 10) as writer:
            for label, seconds in parts:
                for _ in range(round(10 * seconds)):
                    writer.write(np.full((32, 32, 3), VALUES[label] + offset, np.uint8))
        return path

    return write


@pytest.fixture
def command(monkeypatch, capsys):
    """Run `harkeras ...` in this process; return its exit status and what it wrote."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["harkeras", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code or 0, *capsys.readouterr()

    return call


def test_an_alarm_is_right_from_behind_the_start_to_shortly_behind_the_end():
    ranges = [Span(10, 12), Span(20, 30)]
    assert match_alarms([10, 10.5, 11, 13.5, 14.1, 25], ranges, late=2) == ([0.5, 5], 2)
    assert match_alarms([9.5, 8], ranges, early=1, late=2) == ([-0.5], 1)
    assert match_alarms([], ranges, late=2) == ([], 0)
    assert match_alarms([1], [], late=2) == ([], 1)
    assert match_alarms([12.5], [Span(10, 12), Span(12.2, 14)], late=2) == ([2.5], 0)  # one finds one


def test_a_segment_matches_the_range_that_it_mostly_is():
    ranges = [Span(0, 10), Span(20, 30)]
    assert match_segments([Span(2, 10), Span(19, 31)], ranges) == 2
    assert match_segments([Span(0, 4.9), Span(5, 10)], ranges) == 1
    assert match_segments([Span(0, 5), Span(5, 10)], ranges) == 1  # two halves of one range
    assert match_segments([Span(0, 30)], ranges) == 0
    assert match_segments([], ranges) == match_segments(ranges, []) == 0


SPANS = st.lists(st.tuples(st.floats(0, 100), st.floats(0.1, 10)), max_size=8).map(
    lambda pairs: [Span(start, start + length) for start, length in sorted(pairs)]
)


@given(SPANS, SPANS, st.lists(st.floats(0, 120), max_size=8).map(sorted))
def test_counts_fit_together(segments, ranges, moments):
    assert match_segments(segments, ranges) <= min(len(segments), len(ranges))
    assert match_segments(ranges, ranges) <= len(ranges)
    delays, false_alarms = match_alarms(moments, ranges, late=1)
    assert len(delays) <= len(ranges)
    assert len(delays) + false_alarms <= len(moments)
    assert all(delay > 0 for delay in delays)


def test_a_perfect_model_finds_all_with_the_delay_of_its_windows(model, record):
    video = record("a.mp4", ("Nothing", 6), ("Falling", 6), ("Nothing", 6), ("Walking", 6), ("Nothing", 6))
    quiet = record("b.mp4", ("Nothing", 30))
    annotations = [
        Annotation(video, 6, 9, "falling"),
        Annotation(video, 8, 12, "Falling"),  # they overlap: one fall
        Annotation(video, 18, 24, "Walking"),
        Annotation(quiet, 0, 1, "an empty room"),
    ]
    result = evaluate_recordings(model, annotations)
    assert list(result.scores) == ["Falling", "Walking"]  # Nothing raises no alarm
    for score in result.scores.values():
        assert (score.ranges, score.found, score.false_alarms) == (1, 1, 0)
        assert 1 < score.delays[0] < 3
        assert (score.segments, score.matched, score.segment_f1) == (1, 1, 1)
    assert result.recordings == 2
    assert result.seconds == pytest.approx(60, abs=0.2)
    assert result.switches >= 4
    text = str(result)
    assert "Falling           1      1/1 1.00      0       0.0" in text
    assert "2 recordings, 60 s; the label changed" in text
    assert "labels that are no classes of the model: an empty room" in text
    assert "not watched for: Nothing" in text
    assert "it is not known of which recordings" in text
    numbers = json.loads(json.dumps(result.to_dict()))
    assert numbers["actions"]["Falling"]["found"] == numbers["all"]["mean_segment_f1"] == 1
    whole = evaluate_recordings(model, annotations, causal=False)
    assert abs(whole.scores["Falling"].delays[0]) < 0.6
    assert whole.total.found == 2


def test_false_alarms_are_counted_by_the_hour(model, record):
    video = record("a.mp4", ("Nothing", 6), ("Walking", 6), ("Nothing", 6), ("Falling", 6), ("Nothing", 6))
    annotations = [Annotation(video, 18, 24, "Falling"), Annotation(video, 29, 29.5, "Falling")]
    result = evaluate_recordings(model, annotations, actions=["Falling", "Walking"])
    falling, walking = result.scores.values()
    assert (falling.ranges, falling.found, falling.false_alarms) == (2, 1, 0)
    assert falling.segment_f1 == pytest.approx(2 / 3)
    assert (walking.ranges, walking.found, walking.false_alarms) == (0, 0, 1)
    assert result.per_hour(result.total.false_alarms) == pytest.approx(120, rel=0.01)
    assert " 120." in str(result)
    calm = evaluate_recordings(model, annotations, on_seconds=8)  # nothing lasts that long
    assert calm.total.found == calm.total.false_alarms == 0
    assert calm.to_dict()["all"]["median_delay_seconds"] is None


def test_a_recording_that_cannot_be_read_is_named_and_the_others_are_scored(model, record, tmp_path):
    video = record("a.mp4", ("Nothing", 6), ("Falling", 6))
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    missing = tmp_path / "missing.mp4"
    annotations = [Annotation(each, 6, 12, "Falling") for each in (broken, video, missing)]
    with pytest.warns(UserWarning, match=r"2 recordings were left out:\n.*broken.mp4.*\n.*missing.mp4"):
        result = evaluate_recordings(model, annotations)
    assert (result.recordings, result.total.found) == (1, 1)
    with pytest.warns(UserWarning, match="2 recordings were left out"):
        with pytest.raises(
            ValueError, match="annotations must name recordings that can be read, got none of 2"
        ):
            evaluate_recordings(model, [annotations[0], annotations[2]])


@pytest.fixture
def table(record, tmp_path):
    """Ranges of four recordings, as a file."""
    rows = []
    for offset, name in enumerate("abcd"):  # clips that are equal would count as one source
        parts = ("Walking", 4), ("Falling", 4), ("Walking", 4)
        video = record(f"{name}.mp4", *parts, offset=8 * offset)
        rows += [(video.name, 0, 4, "Walking"), (video.name, 4, 8, "Falling"), (video.name, 8, 12, "Walking")]
    path = tmp_path / "recordings" / "ranges.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("video", "start_seconds", "end_seconds", "label"), *rows])
    return path


def test_what_the_model_was_trained_on_is_left_out_and_named(table, tmp_path, command):
    annotations = read_annotations(table)
    cut_clips(annotations, tmp_path / "clips")
    run = train_on_folder(
        tmp_path / "clips",
        "lrcn",
        input_shape=(2, 64, 64, 3),
        epochs=1,
        test_size=0.5,
        output_dir=tmp_path / "runs",
    ).folder
    result = evaluate_recordings(run, annotations)
    assert result.recordings == 2
    assert "left out, as the model was trained on them or their groups: 2 recordings" in str(result)
    assert "it is not known" not in str(result)
    everything = evaluate_recordings(run, annotations, recordings="all")
    assert everything.recordings == 4
    assert "the model was trained on 2 of these recordings" in str(everything)
    assert evaluate_recordings(run / "model.keras", annotations).recordings == 2  # the run is beside it
    output = tmp_path / "scores.json"
    options = ["--actions", "Falling", "--off-seconds", 2, "--output", output]
    status, out, _ = command("evaluate", run, "--recordings", table, *options)
    assert status == 0
    assert "2 recordings, 24 s" in out
    assert "not watched for: Walking" in out
    assert list(json.loads(output.read_text())["actions"]) == ["Falling"]

    moved = tmp_path / "moved" / "recordings"
    shutil.move(table.parent, moved)
    annotations = read_annotations(moved / "ranges.csv")
    assert evaluate_recordings(run, annotations).recordings == 2
    trained = load_model(run).recipe.training.train_paths
    with (tmp_path / "clips" / "clips.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    videos = {Path(row["video"]).name for row in rows if row["clip"].removesuffix(".mp4") in trained}
    with pytest.raises(ValueError, match="that the model was not trained on, got none of 2"):
        evaluate_recordings(run, [each for each in annotations if each.video.name in videos])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recordings": "some"}, "recordings must be 'held-out' or 'all', got 'some'"),
        ({"actions": ["Flying"]}, "actions must be some of the classes"),
        ({"on_seconds": -1}, "on_seconds must be a finite number"),
        ({"threshold": 2}, "threshold must lie in 0 to 1, got 2"),
        ({"stride_seconds": 0}, "stride_seconds must be positive, got 0"),
    ],
)
def test_arguments_out_of_range(model, record, options, message):
    video = record("a.mp4", ("Nothing", 2))
    with pytest.raises(ValueError, match=message):
        evaluate_recordings(model, [Annotation(video, 0, 1, "Falling")], **options)


def test_ranges_must_be_of_the_model(model, record, tmp_path):
    video = record("a.mp4", ("Nothing", 2))
    with pytest.raises(
        ValueError, match=r"annotations must bear labels of the model, Nothing, .*, got Flying"
    ):
        evaluate_recordings(model, [Annotation(video, 0, 1, "Flying")])
    with pytest.raises(ValueError, match=r"annotations must bear labels of the model, Nothing, .*, got none"):
        evaluate_recordings(model, [])
    with pytest.raises(FileNotFoundError, match="no model file at"):
        evaluate_recordings(tmp_path / "none.keras", [Annotation(video, 0, 1, "Falling")])
    plain = keras.Model(model.inputs, model.outputs)
    plain.recipe = replace(model.recipe, subject="person")
    with pytest.raises(ValueError, match="model must look at whole pictures, or at joints"):
        evaluate_recordings(plain, [Annotation(video, 0, 1, "Falling")])
    plain.recipe = None
    with pytest.raises(ValueError, match="classes are missing"):
        evaluate_recordings(plain, [Annotation(video, 0, 1, "Falling")])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--actions", "Falling"], "--actions only mean something with --recordings"),
        (["--recordings", "t.csv", "--workers", "2"], "--workers mean nothing with --recordings"),
        (["--recordings", "t.csv", "--output", "a.txt"], "output must end in .json, got a.txt"),
    ],
)
def test_options_that_would_do_nothing_are_refused(model, tmp_path, monkeypatch, command, options, message):
    monkeypatch.chdir(tmp_path)
    path = save_model(model, tmp_path / "model.keras", recipe=model.recipe)
    status, _, err = command("evaluate", path, *options)
    assert status == 2
    assert message in err
