"""Teaching by few labels: a project survives kills, full disks and other processes, and its loop closes."""

import numpy as np
import pytest

from harkeras import Annotation, Project, VideoWriter, read_recipe

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
