import shutil
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from harkeras.data.datasets import Dataset
from harkeras.data.folders import list_videos
from harkeras.data.leakage import _near, find_duplicates, leakage_report, perceptual_hash
from harkeras.data.splits import list_folds, split_at_random, split_by_group
from harkeras.video.reading import frames_extraction
from harkeras.video.writing import VideoWriter


def clips_of(paths, groups=None, labels=None):
    """A data set of files whose pixels do not matter."""
    labels = np.zeros(len(paths), int) if labels is None else labels
    return Dataset(np.zeros((len(paths), 1)), labels, paths, groups=groups)


@pytest.fixture(scope="module")
def clips(sample_dir):
    paths, labels = list_videos(sample_dir)
    return clips_of(paths, labels=labels)


def write(path, frames, **options):
    with VideoWriter(path, fps=25, **options) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def test_random_split_leaks(clips):
    train, test = clips.split("random")
    report = leakage_report(train, test, near_duplicates=False)
    assert report.leaking_clips == report.test_clips == len(test)
    assert set(report.shared_groups) == set(test.groups)
    assert "have a sibling in training" in str(report)
    assert "(100.0%)" in str(report)
    assert report.near_duplicates is None  # they were not looked for, which is not that there are none
    assert "look alike" not in str(report)


def test_grouped_split_does_not(clips):
    report = leakage_report(*clips.split())
    assert (report.shared_groups, report.leaking_clips) == ((), 0)
    assert (report.identical, report.near_duplicates) == ((), ())


def test_unknown_sources_are_not_reported_as_no_leak(clips):
    report = leakage_report(*clips.without_sources().split("random"), near_duplicates=False)
    assert "siblings cannot be counted" in str(report)
    assert "sources stand on both sides" not in str(report)


def test_accuracy_of_both_splits(clips):
    """A nearest neighbour that knows sources by heart is perfect where they leak, and only there."""
    labels, groups = clips.labels, clips.groups

    def cross_validation(split):
        hits = 0
        for train, test in list_folds(labels, groups, split=split, folds=4):
            for row in test:
                known = labels[train][groups[train] == groups[row]]
                hits += bool(len(known))
        return SimpleNamespace(accuracy=hits / len(labels))

    parts = clips.split()
    report = leakage_report(*parts, near_duplicates=False, cross_validation=cross_validation)
    assert report.accuracies == {"random": 1.0, "group": 0.0}
    assert "1.000 of the clips are named right with a random split, and 0.000 by a model" in str(report)
    assert leakage_report(*parts, near_duplicates=False).accuracies is None


def test_copies_under_other_names_are_found(clips, tmp_path):
    paths = clips.video_paths
    copy = write(tmp_path / "copy.mp4", frames_extraction(paths[0], 40, 90, 120), crf=30)
    report = leakage_report(clips, clips_of([copy], ["other"]))
    assert (str(paths[0]), str(copy)) in report.near_duplicates
    assert str(copy) in str(report)


def test_copies_are_told_apart_from_what_looks_alike(clips, tmp_path):
    """Every clip is there again as "Copy of", whatever the sources are said to be."""
    paths, groups = clips.video_paths, clips.groups
    copies = [shutil.copy(path, tmp_path / f"Copy of {path.parent.name} {path.name}") for path in paths]
    for sources in (groups, np.arange(len(paths))):
        report = leakage_report(clips, clips_of(copies, sources))
        assert report.identical == tuple((str(a), str(b)) for a, b in zip(paths, copies, strict=True))
        assert report.near_duplicates == ()
        assert "16 of 16 test clips are copies of a training clip, byte for byte" in str(report)
        assert "... and 6 more" in str(report)


def test_unreadable_clips_are_named(clips, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    report = leakage_report(clips[:3], clips_of([tmp_path / "bad.mp4"]))
    assert "bad.mp4" in report.unreadable[0]
    assert "bad.mp4" in str(report)


def test_refusals(clips):
    with pytest.raises(ValueError, match="both sides must have clips, got 0 and 2"):
        leakage_report(clips[:0], clips[:2])
    with pytest.raises(FileNotFoundError):
        perceptual_hash("none.mp4")


def test_copies_in_another_size_and_quality(clips, tmp_path):
    paths = clips.video_paths
    copies = [
        write(tmp_path / f"{row}.mp4", frames_extraction(path, 40, 90, 120), crf=32)
        for row, path in enumerate(paths)
    ]
    identical, near, unreadable = find_duplicates(clips, clips_of(copies))
    assert (identical, unreadable) == ((), ())
    assert near == tuple((str(a), str(b)) for a, b in zip(paths, copies, strict=True))
    assert find_duplicates(clips, clips_of(copies, clips.groups))[1] == ()


def test_clips_that_show_nothing_are_like_no_other(tmp_path):
    """Black, gray, and nearly even pictures in which only noise differs."""
    rng = np.random.default_rng(0)
    paths = [
        write(
            tmp_path / f"{row}.mp4",
            np.clip(base + rng.normal(0, 0.7, (9, 64, 72, 3)), 0, 255).astype(np.uint8),
        )
        for row, base in enumerate((0, 0, 128, 128))
    ]
    assert not perceptual_hash(paths[0])[1].any()
    assert find_duplicates(clips_of(paths[::2]), clips_of(paths[1::2]))[1] == ()


def test_identical_files_need_not_show_anything(tmp_path):
    path = write(tmp_path / "a.mp4", np.zeros((9, 64, 72, 3), np.uint8))
    (tmp_path / "b.mp4").write_bytes(path.read_bytes())
    identical, near, _ = find_duplicates(clips_of([path]), clips_of([tmp_path / "b.mp4"]))
    assert identical == ((str(path), str(tmp_path / "b.mp4")),)
    assert near == ()


def test_the_most_similar_of_many_in_little_memory():
    rng = np.random.default_rng(0)
    hashes = {row: np.stack([rng.random(192) < 0.5, rng.random(192) < 0.9]) for row in range(4000)}
    copy = hashes[7].copy()
    copy[0, :5] ^= True
    hashes[3999] = copy
    tracemalloc.start()
    nearest = _near(list(range(3000)), list(range(3000, 4000)), hashes, np.arange(4000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert nearest == {3999: 7}
    assert peak < 5e7


def test_what_cannot_be_read_is_named(clips, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    first, second = clips.video_paths[:2]
    bad, none = clips_of([first, tmp_path / "bad.mp4"]), clips_of([second, tmp_path / "none.mp4"])
    unreadable = find_duplicates(bad, none)[2]
    assert [name in reason for name, reason in zip(("bad.mp4", "none.mp4"), unreadable, strict=True)]
    assert find_duplicates(bad[1:], none[1:])[1] == ()


def test_real_fights(real_data):
    """300 clips of 46 sources: split at random, nearly every test clip has a sibling in training."""
    paths, labels = list_videos(real_data / "surveillance_fights")
    clips = clips_of(paths, labels=labels)
    train, test = split_at_random(paths, labels)
    random = leakage_report(clips[train], clips[test], near_duplicates=False)
    assert random.leaking_clips > 0.9 * random.test_clips
    train, test = split_by_group(paths, labels)
    grouped = leakage_report(clips[train], clips[test], near_duplicates=False)
    assert grouped.leaking_clips == 0
