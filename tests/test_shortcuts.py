"""Data sets in which something other than the action tells the classes apart."""

import numpy as np
import pytest

from harkeras.data.datasets import Dataset
from harkeras.data.folders import list_videos, read_folder
from harkeras.data.shortcuts import class_shortcuts
from harkeras.video.writing import VideoWriter

CLASSES = ("Fall", "Walk", "Wave")


def clips_of(paths, labels, classes=CLASSES, groups=None):
    """A data set of files whose pixels are read by nobody else."""
    return Dataset(np.zeros((len(paths), 1)), labels, paths, classes=classes, groups=groups)


@pytest.fixture
def make_clips(tmp_path):
    """`make_clips(options of a clip by its class and number)`: eight small clips of each class."""

    def make(options_of, count=8):
        rng, paths = np.random.default_rng(0), []
        for label in range(3):
            for number in range(count):
                options = {"fps": 25, "height": 32, "width": 48, "frames": 8, "bar": 0, "suffix": ".mp4"}
                options |= options_of(label, number)
                path = tmp_path / f"{CLASSES[label]}_{number}{options['suffix']}"
                pictures = rng.integers(60, 255, (options["frames"], options["height"], options["width"], 3))
                pictures[:, : options["bar"]] = 0
                if options.get("gray"):
                    pictures = pictures[..., :1].repeat(3, axis=-1)
                with VideoWriter(path, fps=options["fps"], crf=15) as writer:
                    for picture in pictures.astype(np.uint8):
                        writer.write(picture)
                paths.append(path)
        return paths, np.repeat(np.arange(3), count)

    return make


SHORTCUTS = [
    (
        lambda c, n: {"fps": 30 if c == 1 else 25},
        "frame rate tells Fall, Wave (25 frames per second) from Walk",
    ),
    (lambda c, n: {"fps": 25 if c == 1 else (24, 30)[n % 2]}, "frame rate 25 tells Walk from the other"),
    (lambda c, n: {"height": 64, "width": 96} if c else {}, "picture size tells Fall (1,536 pixels) from"),
    (lambda c, n: {"width": 32} if c == 2 else {}, "shape of the picture tells Wave (width / height 1)"),
    (lambda c, n: {"frames": 20 + n if c == 2 else 5 + n}, "duration tells Fall, Walk (0."),
    (lambda c, n: {"bar": 8} if c == 0 else {}, "bars tells Walk, Wave (0% of the picture) from Fall (2"),
    (lambda c, n: {"gray": True} if c == 1 else {}, "amount of color tells Walk ("),
    (lambda c, n: {"suffix": ".mkv"} if c == 1 else {}, "suffix .mkv tells Walk from the other classes"),
]


@pytest.mark.parametrize(("options_of", "words"), SHORTCUTS)
def test_what_tells_classes_apart(make_clips, options_of, words):
    sentences = class_shortcuts(clips_of(*make_clips(options_of)))
    assert any(words in sentence for sentence in sentences), sentences
    assert all(sentence.endswith("a model may learn it in place of the action") for sentence in sentences)


def test_what_does_not(make_clips):
    """Rates, sizes and bars that all classes have alike, and lengths at random."""
    lengths = np.random.default_rng(1).integers(5, 20, 100)

    def options_of(label, number):
        size = {"height": 64, "width": 64} if number % 3 == 0 else {}
        return size | {
            "fps": (25, 30)[number % 2],
            "bar": 8 * (number % 4 == 0),
            "frames": lengths[8 * label + number],
        }

    assert class_shortcuts(clips_of(*make_clips(options_of))) == []


def test_a_handful_of_clips_proves_nothing(make_clips):
    """Some limit between three lengths and three others nearly always fits."""
    paths, labels = make_clips(lambda label, number: {"frames": 5 + 3 * label + number}, count=2)
    (sentence,) = class_shortcuts(clips_of(paths, labels))
    assert sentence.startswith("too few clips to learn a class")
    assert sentence.endswith("Fall (2), Walk (2), Wave (2)")


def test_one_source(make_clips):
    paths, labels = make_clips(lambda label, number: {})
    groups = np.where(labels == 1, 0, np.arange(24) % 4)
    expected = "of one source only, and so either trained or tested, never both: Walk"
    assert class_shortcuts(clips_of(paths, labels, groups=groups)) == [expected]


def test_unreadable_and_absent_clips_are_left_out(make_clips, tmp_path):
    paths, labels = make_clips(lambda label, number: {"fps": 30 if label == 1 else 25})
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    paths, labels = [*paths, tmp_path / "bad.mp4", tmp_path / "none.mp4"], np.append(labels, [1, 1])
    rate, duration = class_shortcuts(clips_of(paths, labels))
    assert "frame rate" in rate
    assert "duration" in duration  # eight frames last as long as their rate says
    assert class_shortcuts(clips_of([tmp_path / "bad.mp4"] * 5, np.zeros(5, int), ("Fall",), range(5))) == []


def test_only_some_clips_of_large_classes_are_read(monkeypatch):
    read = []
    monkeypatch.setattr("harkeras.data.shortcuts._read_facts", lambda path: read.append(path))
    labels = np.repeat(np.arange(101), 100)
    paths, classes = [f"{row}.mp4" for row in range(len(labels))], [f"c{i}" for i in range(101)]
    class_shortcuts(clips_of(paths, labels, classes))
    assert 800 < len(read) <= 1000
    read.clear()
    class_shortcuts(clips_of(paths[:300], np.repeat([0, 1], 150), ("a", "b")))
    assert len(read) == 80


def test_rendered_clips(sample_dir):
    assert class_shortcuts(read_folder(sample_dir)) == []


@pytest.mark.real_data
def test_real_clips(real_data):
    """Two classes of one archive, most sources in both; four people, falls and daily life."""
    paths, labels = list_videos(real_data / "surveillance_fights")
    assert class_shortcuts(clips_of(paths, labels, ("Fight", "NoFight"))) == []
    paths = sorted((real_data / "falls").rglob("*.mp4"))
    labels = np.array([path.parent.name == "Fall" for path in paths]).astype(int)
    persons = [path.parts[-3] for path in paths]
    assert class_shortcuts(clips_of(paths, labels, ("ADL", "Fall"), persons)) == []
