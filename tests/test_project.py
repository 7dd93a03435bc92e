"""Teaching by few labels: a project survives kills, full disks and other processes, and its loop closes."""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import keras
import numpy as np
import pytest

from harkeras import (
    Annotation,
    Project,
    VideoWriter,
    frames_extraction,
    predict_on_video,
    read_annotations,
    read_recipe,
)
from harkeras.base import files
from harkeras.teaching import _store
from harkeras.teaching._frame_features import FRAME_RATE, FrameFeatures, count_frames
from harkeras.teaching._gaps import list_gaps
from harkeras.teaching._holding_out import hold_out
from harkeras.teaching._learning import Head, LabeledRanges, Score, fit_windows, score_ranges
from harkeras.teaching._store import Recording, Settings
from harkeras.teaching._windows import Windows
from harkeras.teaching.sheet import describe_suggestion, plot_suggestions
from harkeras.teaching.suggesting import Pool, Suggestion, choose_windows, draw_windows
from harkeras.transfer.heads import create_head, statistics_of

TINY = {"backbone": "mobilenet_v2_0.35", "weights": None, "clip_seconds": 2.0}
ACTIONS = ("Flickering", "Still")


def render(path, truth, seed=0):
    """Write a dark video in which a square flickers or does not; `truth` holds seconds and labels."""
    rng = np.random.default_rng(seed)
    tint = rng.integers(0, 30, 3)
    with VideoWriter(path, fps=8) as writer:
        for seconds, label in truth:
            for frame in range(round(8 * seconds)):
                image = rng.integers(40, 50, (48, 64, 3)) + tint
                if label == "Flickering":
                    image[8:40, 8:56] += 150 * (frame // 2 % 2)
                writer.write(image.astype(np.uint8))
    return path


def truth_of(number):
    """What happens in a recording: three actions in turn, of various lengths."""
    return [(3 + (number + part) % 3, ACTIONS[(number + part) % 2]) for part in range(3)]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    return [render(folder / f"r{number}.mp4", truth_of(number), number) for number in range(6)]


@pytest.fixture(scope="module")
def looked_at(recordings, tmp_path_factory):
    """A project whose recordings were looked at; for tests to copy."""
    project = Project.create(tmp_path_factory.mktemp("looked") / "project", ACTIONS, **TINY)
    project.add(recordings)
    assert project.compute_features(lambda share: None) == {}
    return project


@pytest.fixture
def project(looked_at, tmp_path):
    """A project of its own for each test, with the features of all recordings."""
    return copy_of(looked_at, tmp_path / "project")


def copy_of(project, folder):
    folder.mkdir()
    (folder / "project.json").write_bytes((project.folder / "project.json").read_bytes())
    (folder / "features").symlink_to(project.folder / "features")
    return Project(folder)


def true_ranges(recordings):
    ranges = []
    for number, video in enumerate(recordings):
        start = 0.0
        for seconds, label in truth_of(number):
            ranges.append(Annotation(video, start, start + seconds, label))
            start += seconds
    return ranges


def test_the_loop_from_nothing_to_a_model(project, recordings):
    truth = true_ranges(recordings)
    first = project.suggest(5)
    assert [each.kind for each in first] == ["new"] * 5
    assert {each.label for each in first} == {""}
    for each in first:
        project.answer(each, label_at(each, truth))
    held_out = {each.video for each in project.recordings if each.held_out}
    assert len(held_out) == 2  # a quarter of six, rounded
    assert not held_out & {str(each.video) for each in first}
    second = project.suggest(6)
    assert {each.kind for each in second} == {"sure", "doubt", "new"}
    assert all(each.label in ACTIONS and 0 < each.confidence <= 1 for each in second)
    assert project.suggest(6) == second == project.suggestions
    for each in second:
        project.answer(each, label_at(each, truth))
    result = project.retrain()
    assert result.accepted
    assert result.score.how == "cross-validation"
    project.import_ranges(each for each in truth if str(each.video) in held_out)
    result = project.retrain()
    assert result.score.how == "held out"
    assert result.previous is not None
    assert result.score.ranges == 6
    assert result.score.balanced_accuracy > 0.8
    assert project.score == (result.score if result.accepted else project.score)
    recipe = read_recipe(project.model)
    assert recipe.classes == ACTIONS
    assert (recipe.frames, recipe.clip_seconds) == (8, 2.0)
    prediction = project.predict(recordings[0])
    assert prediction.classes == ACTIONS
    assert "held out" in project.describe()


def label_at(suggestion, truth):
    """What most of a suggestion is."""
    shared = {}
    for each in truth:
        if each.video == suggestion.video:
            start, end = (
                max(each.start_seconds, suggestion.start_seconds),
                min(each.end_seconds, suggestion.end_seconds),
            )
            shared[each.label] = shared.get(each.label, 0) + max(end - start, 0)
    return max(shared, key=shared.get)


def test_a_project_is_found_again(project, recordings):
    labeled = project.label(recordings[0], 0.5, 2, "still")
    assert labeled == (recordings[0], 0.5, 2.0, "Still", "", "")  # as the class is spelled
    again = Project(project.folder)
    assert again.ranges == [labeled]
    assert again.classes == ["Flickering", "Still", "Nothing"]
    assert again.counts()["Still"] == (1, 0)
    assert again.model is again.score is None
    with pytest.raises(ValueError, match="there is no model yet"):
        again.predict(recordings[0])


def test_anybody_may_edit_the_table(project, recordings):
    project.label(recordings[0], 0, 1.234, "Still")
    table = project.folder / "ranges.csv"
    assert read_annotations(table)[0][:4] == (recordings[0], 0.0, 1.234, "Still")
    table.write_text(table.read_text() + f"{recordings[1]},0:01,0:02.5,Running,\n")
    assert project.ranges[1][1:4] == (1.0, 2.5, "Running")
    assert "Running" in project.classes
    table.write_text(table.read_text() + f"{recordings[1]},soon,3,Running,\n")
    with pytest.raises(ValueError, match=r"ranges.csv row 4: start_seconds must be a number"):
        project.label(recordings[0], 2, 3, "Still")
    assert "soon" in table.read_text()  # nothing that is there is lost


def test_names_that_spreadsheets_take_for_formulas(tmp_path, recordings):
    project = Project.create(tmp_path / "=project", **TINY)
    inside = project.folder / "=one.mp4"
    inside.write_bytes(recordings[0].read_bytes())
    project.add(inside)
    project.label("=one.mp4", 0, 1, "-Éat, drink")
    (labeled,) = Project(project.folder).ranges
    assert labeled[:4] == (inside, 0.0, 1.0, "-Éat, drink")
    assert "'=one.mp4" in (project.folder / "ranges.csv").read_text()


def test_undo_takes_back_one_answer_after_the_other(project, recordings):
    video = recordings[0]
    assert project.undo() == ""
    first = project.label(video, 1, 3, "Still")
    second = project.relabel(first, "Flickering")
    third = project.move(second, 1.5, 4)
    project.remove(third)
    states = [[], [third], [second], [first], []]
    for state, words in zip(
        states, ["remove: Flickering 1.5 to 4 s", "move", "relabel", "label: Still", ""], strict=True
    ):
        assert project.ranges == state
        assert project.undo().startswith(words)
    project.label(video, 1, 3, "Still")
    project.undo()
    assert Project(project.folder).undo() == ""
    with pytest.raises(ValueError, match="range must be one of the project's, got"):
        project.remove(first)


def test_nothing_gives_way(project, recordings):
    video = recordings[0]  # 12 seconds
    project.label(video, 4, 6, "Still")
    gaps = project.label_rest(video)
    assert [each[1:4] for each in gaps] == [(0.0, 3.5, "Nothing"), (6.5, 12.0, "Nothing")]
    assert project.label_rest(video) == []
    project.label(video, 8, 9, "Flickering")
    times = [(each.start_seconds, each.end_seconds, each.label) for each in project.ranges]
    assert times == [
        (0, 3.5, "Nothing"), (4, 6, "Still"), (6.5, 8, "Nothing"), (8, 9, "Flickering"), (9, 12, "Nothing")
    ]  # fmt: skip
    project.undo()
    assert [each.end_seconds for each in project.ranges] == [3.5, 6, 12]
    assert [each[1:3] for each in project.label_rest(recordings[1], 2.5)] == [(0.0, 2.5)]


def test_persons_are_kept(project, recordings):
    video = recordings[0]
    quiet = project.label(video, 0, 12, "Nothing", "2")
    project.label(video, 0, 12, "Nothing")
    walks = project.label(video, 4, 6, "Still", "1")
    assert quiet in project.ranges  # 2 does nothing while 1 does something
    assert {each[1:5] for each in project.ranges} == {
        (0, 12, "Nothing", "2"), (0, 4, "Nothing", ""), (6, 12, "Nothing", ""), (4, 6, "Still", "1")
    }  # fmt: skip
    walks = project.move(project.relabel(walks, "Flickering"), 4, 7)
    assert walks[1:5] == (4, 7, "Flickering", "1")
    project.undo()
    assert walks._replace(end_seconds=6.0) in project.ranges
    suggested = Suggestion(recordings[1], 1.0, 2.0, "Still", 0.9, "sure")
    assert project.answer(suggested, person="Ann") in Project(project.folder).ranges
    project.import_ranges([Annotation(recordings[2], 0, 1, "Still", "Bob")])
    assert {each.person for each in read_annotations(project.folder / "ranges.csv")} == {
        "", "1", "2", "Ann", "Bob"
    }  # fmt: skip


def test_gaps():
    ranges = [Annotation("v", 2, 4, "A"), Annotation("v", 3, 5, "B"), Annotation("v", 7, 8, "Nothing")]
    assert list_gaps(ranges, 20.0, "Nothing") == [(0.0, 1.5), (5.5, 7.0), (8.0, 20.0)]
    assert list_gaps([], 0.4, "Nothing") == []


@pytest.mark.parametrize(
    ("times", "label", "message"),
    [
        ((3, 3), "Still", "start_seconds and end_seconds must be a range inside 0 to 12, got 3 and 3"),
        ((-1, 3), "Still", "must be a range inside"),
        ((13, 14), "Still", "must be a range inside"),
        ((float("nan"), 3), "Still", "must be a range inside"),
        ((0, float("nan")), "Still", "must be a range inside"),
        ((1, 3), "?!", "label must hold a letter or digit"),
    ],
)
def test_a_range_that_makes_no_sense(project, recordings, times, label, message):
    with pytest.raises(ValueError, match=message):
        project.label(recordings[0], *times, label)
    with pytest.raises(ValueError, match="video must be a recording of the project that can be read"):
        project.label("other.mp4", 0, 1, "Still")
    assert project.ranges == []
    assert not (project.folder / "answers.jsonl").exists()


def test_unreadable_recordings_are_listed(tmp_path, recordings):
    project = Project.create(tmp_path / "project", **TINY)
    with pytest.raises(ValueError, match="no recordings that can be read: add"):
        project.compute_features()
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video")
    added = project.add([recordings[0], tmp_path / "empty.mp4", tmp_path / "text.mp4"])
    assert added.recordings == [recordings[0]]
    assert set(added.unreadable) == {str(tmp_path / "empty.mp4"), str(tmp_path / "text.mp4")}
    assert project.describe().count("cannot be read") == 2
    with pytest.raises(ValueError, match="no recording has features yet"):
        project.suggest()
    with pytest.raises(ValueError, match="no recording is held out and has features"):
        project.suggest(held_out=True)
    with pytest.raises(ValueError, match="count must be an integer of at least 1"):
        project.suggest(0)
    (tmp_path / "text.mp4").write_bytes(recordings[1].read_bytes())  # mended
    added = project.add(tmp_path)
    assert added.recordings == [tmp_path / "text.mp4"]
    assert project.add(recordings[0]).known == [recordings[0]]
    with pytest.raises(FileNotFoundError, match="no video lies in"):
        project.add(project.folder)


def test_what_create_refuses(tmp_path):
    assert Project.create(tmp_path, ["A", "nothing"]).classes == ["A", "Nothing"]
    for arguments, message in (
        ((tmp_path,), "folder must be no project yet"),
        ((tmp_path / "b", ["A", "a"]), "classes must be different names"),
        ((tmp_path / "b", ["!"]), "label must hold a letter"),
    ):
        with pytest.raises(ValueError, match=message):
            Project.create(*arguments)
    with pytest.raises(ValueError, match=r"clip_seconds must lie in 0.5 to 60, got 0"):
        Project.create(tmp_path / "b", clip_seconds=0)
    with pytest.raises(ValueError, match="seed must be a whole number"):
        Project.create(tmp_path / "b", seed=-1)
    assert not (tmp_path / "b" / "project.json").exists()
    with pytest.raises(FileNotFoundError, match="no project in"):
        Project(tmp_path / "b")
    for text in (
        "{",
        "[]",
        '{"format": 9}',
        '{"format": 1, "models": 3}',
        '{"format": 1, "recordings": [1]}',
    ):
        (tmp_path / "project.json").write_text(text)
        with pytest.raises(ValueError, match=r"project.json is no project that harkeras wrote"):
            Project(tmp_path)


def test_examples_are_labeled_as_a_whole(tmp_path, recordings):
    for name in ("Walking", "Running"):
        for number in (1, 2):
            path = tmp_path / "clips" / name / f"v_{name}_g{number:02d}_c01.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(recordings[number].read_bytes())
    project = Project.create(tmp_path / "project", **TINY)
    added = project.add_examples(tmp_path / "clips")
    assert len(added.recordings) == len(project.ranges) == 4
    assert {each.label for each in project.ranges} == {"Walking", "Running"}
    assert len({each.source for each in project.recordings}) == 2
    assert project.undo().endswith("and 3 more")


# What is held out.


def recording(number, held_out=None, source=None):
    return Recording(f"{number}.mp4", source or f"{number}.mp4", 5.0, held_out)


def test_a_quarter_is_held_out_once_and_never_what_was_learned_from():
    settings = Settings(recordings=tuple(map(recording, range(4))))
    settings = hold_out(settings, {})
    assert [each.held_out for each in settings.recordings] == [False] * 4  # too few
    settings = replace(settings, recordings=(*settings.recordings, *map(recording, range(4, 9))))
    more = hold_out(settings, {})
    assert hold_out(more, {"3.mp4": ["A"]}) == more
    held_out = [each.video for each in more.recordings if each.held_out]
    assert len(held_out) == 2
    assert not {"0.mp4", "1.mp4", "2.mp4", "3.mp4"} & set(held_out)
    assert hold_out(settings, {}) == more
    others = [hold_out(replace(settings, seed=seed), {}) for seed in range(10)]
    assert len({tuple(each.held_out for each in other.recordings) for other in others}) > 3


def test_each_class_is_held_out_where_that_can_be():
    labels = {f"{number}.mp4": ["Rare"] * (number < 2) + ["Common"] for number in range(8)}
    for seed in range(10):
        settings = hold_out(Settings(seed=seed, recordings=tuple(map(recording, range(8)))), labels)
        assert sum(each.held_out for each in settings.recordings[:2]) == 1
        assert sum(each.held_out for each in settings.recordings) == 2


def test_a_source_is_held_out_whole():
    recordings = tuple(recording(number, source=f"person {number % 6}") for number in range(12))
    for seed in range(5):
        settings = hold_out(Settings(seed=seed, recordings=recordings), {})
        of_source = {}
        for each in settings.recordings:
            of_source.setdefault(each.source, set()).add(each.held_out)
        assert all(len(values) == 1 for values in of_source.values())
        assert sum(True in values for values in of_source.values()) == 2
    pinned = Settings(recordings=tuple(recording(number, held_out=number == 3) for number in range(6)))
    assert hold_out(pinned, {}) == pinned


# Suggestions.


def pool_of(counts, probabilities=None, seed=0):
    rng = np.random.default_rng(seed)
    rows = np.repeat(np.arange(len(counts)), counts)
    starts = np.concatenate([4 * np.arange(count) for count in counts])
    points = rng.normal(size=(len(rows), 3))
    return Pool(rows, starts, points, np.ones(len(rows), bool), probabilities)


def test_suggestions_are_of_different_scenes():
    rng = np.random.default_rng(0)
    pool = pool_of([60, 60, 60], rng.dirichlet(np.ones(3), 180))
    for seed in range(5):
        chosen = choose_windows(pool, pool.points[:0], 12, 8, np.random.default_rng(seed))
        assert len(chosen) == 12
        spans = sorted((pool.recording[each.row], each.start, each.end) for each in chosen)
        for (one, _, end), (other, start, _) in pairwise(spans):
            assert one != other or start >= end


def test_a_sure_window_is_joined_with_those_beside_it():
    probabilities = np.full((20, 2), (0.9, 0.1))
    probabilities[8:12] = (0.02, 0.98)  # begin at 32 to 44, and last 8 frames
    chosen = choose_windows(pool_of([20], probabilities), np.empty((0, 3)), 6, 8, np.random.default_rng(0))
    (surest,) = [each for each in chosen if each.kind == "sure" and 8 <= each.row < 12]
    assert (surest.start, surest.end) == (34, 46)  # the first is joined as far as one window away


def test_doubt_is_the_smallest_margin_and_new_is_far_away():
    probabilities = np.tile((0.9, 0.1), (400, 1))
    probabilities[200:204] = (0.51, 0.49)
    pool = pool_of([4] * 100, probabilities)
    pool.points[:] = 0
    pool.points[300:304] = 100
    chosen = choose_windows(pool, pool.points[:1], 3, 8, np.random.default_rng(0))
    assert [each.kind for each in chosen] == ["sure", "doubt", "new"]
    assert 300 <= chosen[2].row < 304
    margins = {each.row for each in choose_windows(pool, pool.points[:1], 3, 8, np.random.default_rng(1))}
    assert margins & set(range(200, 304))


def test_held_out_windows_come_from_all_recordings():
    pool = pool_of([40, 2, 2])
    chosen = draw_windows(pool, 3, 8, np.random.default_rng(0))
    assert sorted(pool.recording[[each.row for each in chosen]]) == [0, 1, 2]


def test_nothing_known_is_proposed_again(project, recordings):
    each = project.suggest(1)[0]
    project.reject(each)
    seen = {(e.video, e.start_seconds) for e in project.suggest(50)}
    assert (each.video, each.start_seconds) not in seen
    assert project.undo().startswith("reject")
    assert (each.video, each.start_seconds) in {(e.video, e.start_seconds) for e in project.suggest(50)}
    with pytest.raises(ValueError, match="label is missing: the model did not say"):
        project.answer(each)
    moved = project.answer(each, "Still", start_seconds=each.start_seconds + 0.5)
    assert moved.start_seconds == each.start_seconds + 0.5
    labeled = [(r.start_seconds, r.end_seconds) for r in project.ranges if r.video == each.video]
    for other in project.suggest(50):
        if other.video == each.video:
            assert all(
                min(other.end_seconds, end) - max(other.start_seconds, start) <= 0.5 for start, end in labeled
            )


def test_suggestions_of_what_is_held_out_show_no_label(project):
    project.suggest(1)
    held_out = {each.video for each in project.recordings if each.held_out}
    chosen = project.suggest(4, held_out=True)
    assert {str(each.video) for each in chosen} == held_out
    assert {(each.label, each.kind) for each in chosen} == {("", "held out")}


def test_contact_sheet(project):
    suggestions = project.suggest(4)
    figure = plot_suggestions(suggestions)
    titles = [axes.get_title("left") for axes in figure.axes]
    assert titles[0].replace("\n", ": ") == f"1  {describe_suggestion(suggestions[0])}"
    assert sum(bool(title) for title in titles) == 4
    assert "Still 91%, sure: a/b.mp4 1.0 to 2.5 s" == describe_suggestion(
        Suggestion(Path("x/a/b.mp4"), 1, 2.5, "Still", 0.91, "sure")
    )
    with pytest.raises(ValueError, match="suggestions must be at least one, got none"):
        plot_suggestions([])


# Features and windows.


def test_windows_are_what_the_head_of_a_model_sees():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(37, 5)).astype(np.float16)
    windows = Windows(8, 5)
    starts = windows.starts(features)
    assert starts.tolist() == [*range(0, 29, 4), 29]
    clips = np.stack([features[start : start + 8] for start in starts]).astype(np.float32)
    np.testing.assert_allclose(
        windows.grid("v", features), statistics_of(create_head("mean_std_diff", 2, (8, 5)), clips), atol=1e-5
    )
    short = windows.grid("short", features[:3])
    rows = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    expected = statistics_of(
        create_head("mean_std_diff", 2, (8, 5)), features[:3][rows][None].astype(np.float32)
    )
    np.testing.assert_allclose(short, expected, atol=1e-5)
    assert len(windows.of_range("v", features, 1.0, 1.5)) == 1  # in its middle
    assert len(windows.of_range("v", features, 0.0, 9.0)) > 5


@pytest.mark.parametrize("seconds", [0.05, 0.2, 1.0, 1.1, 1.15])
def test_frames_are_those_in_the_middles(encode, index_of, tmp_path, seconds):
    """The images are those on screen at 0.125, 0.375 and so on; parts are shorter if the last is cut."""
    video = encode(tmp_path / "v.mp4", range(round(20 * seconds)), fps=20)
    backbone = {"name": "any", "weights": None, "height": 64, "width": 96}
    count, seen = count_frames(seconds), []

    def note(images):
        seen.extend(index_of(image) for image in images)
        return np.zeros((len(images), 2), np.float32)

    features = FrameFeatures(tmp_path / "features", backbone)
    features.compute(video, seconds, note, lambda frames: None)
    times = (np.arange(count) + 0.5) * min(seconds / count, 1 / FRAME_RATE)
    assert seen == [min(int(20 * time + 1e-6), round(20 * seconds) - 1) for time in times]
    assert features.read(video, seconds).shape == (count, 2)


def test_an_interruption_costs_a_minute(encode, tmp_path, monkeypatch):
    monkeypatch.setattr("harkeras.teaching._frame_features._CHUNK", 8)
    video = encode(tmp_path / "v.mp4", range(120), fps=10)  # 48 frames are looked at, in 6 files
    features = FrameFeatures(tmp_path / "features", {"name": "x", "weights": None, "height": 64, "width": 96})
    calls = []

    def work(images):
        calls.append(len(images))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return np.full((len(images), 1), images.mean(), np.float32)

    with pytest.raises(KeyboardInterrupt):
        features.compute(video, 12.0, work, lambda frames: None)
    assert not features.is_complete(video, 12.0)
    seen = []
    features.compute(video, 12.0, work, seen.append)
    assert len(calls) == 4 + 3
    assert sum(seen) == 48
    assert len(features.read(video, 12.0)) == 48
    whole = FrameFeatures(tmp_path / "other", features.backbone)
    whole.compute(video, 12.0, work, seen.append)
    np.testing.assert_array_equal(whole.read(video, 12.0), features.read(video, 12.0))
    file = next((tmp_path / "features").rglob("*.npz"))
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(FileNotFoundError, match="was damaged and must be computed again"):
        features.read(video, 12.0)
    assert not features.is_complete(video, 12.0)


def test_a_model_says_of_a_video_what_its_head_says_of_windows(project, recordings):
    project.import_ranges(true_ranges(recordings))
    project.retrain()
    lessons, each = project._lessons, project.recordings[0]
    settings, _ = lessons.settle()
    head, frames = project._trainer._models.load_head(settings.model)
    features = lessons._features_of(settings, each)
    clips = read_windows(recordings[0], lessons.windows_of(settings).starts(features), settings.backbone)
    model = keras.saving.load_model(project.model)
    expected = head.of_windows(lessons.windows_of(settings).grid(each.video, features))
    assert frames == clips.shape[1]
    np.testing.assert_allclose(model.predict(clips, verbose=0), expected, atol=0.02)  # features are float16


def read_windows(video, starts, backbone):
    size = backbone["height"], backbone["width"]
    times = starts / FRAME_RATE
    return np.stack(
        [frames_extraction(video, 8, *size, start_seconds=start, end_seconds=start + 2) for start in times]
    )


# Models.


def test_a_worse_model_is_not_taken_over(project, recordings):
    truth = true_ranges(recordings)
    project.import_ranges(truth)
    first = project.retrain()
    assert first.accepted
    assert first.score.how == "held out"
    learned = [each for each in project.ranges if not held_out(project, each)]
    for each in learned:  # all wrong
        project.relabel(each, ACTIONS[each.label == "Flickering"])
    second = project.retrain()
    assert not second.accepted
    assert second.model == first.model == project.model
    assert second.score.balanced_accuracy < second.previous.balanced_accuracy == first.score.balanced_accuracy
    assert "not taken over" in str(second)
    assert project.score == first.score
    assert len(list((project.folder / "models").glob("*.keras"))) == 1
    for _ in learned:
        project.undo()
    third = project.retrain()
    assert third.accepted
    assert third.model.name == "model_0002.keras"
    assert first.model.is_file()  # the old one stays


def held_out(project, labeled):
    return {project.path_of(each): each.held_out for each in project.recordings}[labeled.video]


def test_a_score_says_how_it_came(project, recordings):
    with pytest.raises(ValueError, match="ranges must be labeled with at least 2 classes, got 0"):
        project.retrain()
    with pytest.raises(ValueError, match="at least 2 classes"):
        project.learning_curve()
    project.suggest(1)
    learned = [each for each in true_ranges(recordings) if not held_out(project, each)]
    project.import_ranges(each for each in learned if each.video == learned[0].video)
    result = project.retrain()
    assert result.accepted
    assert result.score is None
    assert "no score: all labels are of one source" in str(result)
    assert project.score is None
    assert "no score" in project.describe()
    project.import_ranges(learned)
    result = project.retrain()
    assert "cross-validation, nothing held out yet" in str(result)
    assert result.score.sources == 4
    assert project.learning_curve().points[-1].sources > 2


def test_score_of_ranges():
    ranges = LabeledRanges(
        np.zeros((5, 1)),
        np.array([0, 1, 2, 3, 3]),
        np.array([0, 0, 0, 1]),
        np.array(list("aabb")),
        ("A", "B"),
    )
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.1, 0.9]])
    score = score_ranges(probabilities, ranges, "held out")
    assert (score.right, score.ranges, score.sources, score.accuracy) == (3, 4, 2, 0.75)
    assert score.balanced_accuracy == pytest.approx((2 / 3 + 1) / 2)
    assert score.recalls == {"A": (pytest.approx(2 / 3), 3), "B": (1.0, 1)}
    assert score.interval[0] < 0.75 < score.interval[1]
    assert Score.from_dict(json.loads(json.dumps(score.to_dict()))) == score
    assert "3 of 4 ranges of 2 sources named right: 0.750" in str(score)


def test_the_windows_of_a_range_speak_together():
    head = Head(np.array([[1.0, -1.0]]), np.zeros(2), ("A", "B"))
    ranges = LabeledRanges(
        np.array([[2.0], [-1.0], [0.5]]),
        np.array([0, 0, 1]),
        np.array([0, 1]),
        np.array(["a", "b"]),
        ("A", "B"),
    )
    said = head.of_ranges(ranges)
    windows = head.of_windows(ranges.numbers)
    np.testing.assert_allclose(said, [windows[:2].mean(axis=0), windows[2]])
    part = ranges.select(np.array([1]))
    assert part.range_of_window.tolist() == [0]
    assert part.numbers.tolist() == [[0.5]]
    with pytest.raises(ValueError, match="at least 2 classes, got 1"):
        fit_windows(part)


# Kills, full disks, other processes.


def run(script, *arguments, wait=True):
    """Run Python code in a process of its own."""
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)])
    if wait:
        assert process.wait(120) == 0
    return process


LABEL_ON = """
    import sys
    from harkeras.teaching.labels import LabeledRecordings
    project = LabeledRecordings(sys.argv[1])
    for number in range(int(sys.argv[4])):
        project.label(sys.argv[2], number / 100, number / 100 + 0.5, sys.argv[3])
"""


def test_two_processes_keep_each_others_labels(project, recordings):
    others = [run(LABEL_ON, project.folder, recordings[0], name, 25, wait=False) for name in ACTIONS]
    assert [process.wait(120) for process in others] == [0, 0]
    assert project.counts() == {"Flickering": (25, 0), "Still": (25, 0), "Nothing": (0, 0)}
    for _ in range(50):
        project.undo()
    assert project.ranges == []


def test_a_kill_loses_no_answer(project, recordings):
    process = run(LABEL_ON, project.folder, recordings[0], "Still", 1000, wait=False)
    end = time.monotonic() + 60
    while len(project.ranges) < 5 and time.monotonic() < end:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(20)
    count = len(project.ranges)
    assert count >= 5
    assert [each.start_seconds for each in project.ranges] == [number / 100 for number in range(count)]
    project.label(recordings[0], 11, 12, "Flickering")
    assert project.undo().startswith("label: Flickering")
    for number in range(count + 1, 0, -1):  # at most one line was written whose label was not
        assert len(project.ranges) <= number
        project.undo()
    assert project.ranges == []


def test_a_line_that_was_cut_off_is_passed_over(project, recordings):
    project.label(recordings[0], 0, 1, "Still")
    with (project.folder / "answers.jsonl").open("a") as file:
        file.write('{"action": "lab')
    project.label(recordings[0], 1, 2, "Still")
    assert project.undo().startswith("label: Still 1 to 2")
    assert project.undo().startswith("label: Still 0 to 1")


@pytest.mark.parametrize("broken", ["ranges.csv", "answers.jsonl"])
def test_a_full_disk_loses_nothing(project, recordings, monkeypatch, broken):
    project.label(recordings[0], 0, 1, "Still")
    before = {path.name: path.read_bytes() for path in project.folder.iterdir() if path.is_file()}
    with monkeypatch.context() as patch:
        if broken == "ranges.csv":
            patch.setattr(files, "publish", full_disk)
        else:
            patch.setattr(_store.os, "fsync", full_disk)
        with pytest.raises(OSError, match="No space left on device"):
            project.label(recordings[0], 1, 2, "Still")
    after = {path.name: path.read_bytes() for path in project.folder.iterdir() if path.is_file()}
    assert after == before
    assert project.undo().startswith("label: Still 0 to 1")


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_model_that_cannot_be_written_leaves_the_one_before(project, recordings, monkeypatch):
    project.import_ranges(true_ranges(recordings))
    first = project.retrain()
    with monkeypatch.context() as patch:
        patch.setattr("harkeras.models.saving.publish", full_disk)
        with pytest.raises(OSError, match="No space left on device"):
            project.retrain()
    assert Project(project.folder).model == first.model
    assert Project(project.folder).score == first.score
    assert not list((project.folder / "models").glob(".*"))
    assert project.retrain().accepted


@pytest.mark.slow
def test_a_kill_while_a_model_is_saved_leaves_the_one_before(project, recordings):
    project.import_ranges(true_ranges(recordings))
    first = project.retrain()
    script = """
        import os, signal, sys
        from harkeras import Project
        import harkeras.models.saving as saving
        saving.publish = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
        Project(sys.argv[1]).retrain()
    """
    assert run(script, project.folder, wait=False).wait(120) == -signal.SIGKILL
    again = Project(project.folder)
    assert again.model == first.model
    assert again.score == first.score
    assert again.retrain().accepted
    assert predict_on_video(recordings[0], again.model).classes == ACTIONS
