import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from harkeras.data.folders import list_videos
from harkeras.data.leakage import leakage_report
from harkeras.data.splits import list_folds, read_groups, split_at_random, split_by_group
from harkeras.video.reading import frames_extraction
from harkeras.video.writing import VideoWriter


@pytest.fixture(scope="module")
def clips(sample_dir):
    paths, labels = list_videos(sample_dir)
    return paths, labels, read_groups(paths)


def test_random_split_leaks(clips):
    paths, labels, groups = clips
    rows = split_at_random(paths, labels)
    report = leakage_report(paths, groups, *rows, near_duplicates=False)
    assert report.leaking_clips == report.test_clips == len(rows[1])
    assert set(report.shared_groups) == set(groups[rows[1]])
    assert "have a sibling in training" in str(report)
    assert "(100.0%)" in str(report)
    assert report.near_duplicates is None  # they were not looked for, which is not that there are none
    assert "look alike" not in str(report)


def test_grouped_split_does_not(clips):
    paths, labels, groups = clips
    report = leakage_report(paths, groups, *split_by_group(paths, labels))
    assert (report.shared_groups, report.leaking_clips) == ((), 0)
    assert (report.identical, report.near_duplicates) == ((), ())


def test_unknown_sources_are_not_reported_as_no_leak(clips):
    paths, labels, _ = clips
    report = leakage_report(
        paths, np.arange(len(paths)), *split_at_random(paths, labels), near_duplicates=False
    )
    assert "siblings cannot be counted" in str(report)
    assert "sources stand on both sides" not in str(report)


def test_accuracy_of_both_splits(clips):
    """A nearest neighbour that knows sources by heart is perfect where they leak, and only there."""
    paths, labels, groups = clips

    def cross_validation(split):
        hits = 0
        for train, test in list_folds(labels, groups, split=split, folds=4):
            for row in test:
                known = labels[train][groups[train] == groups[row]]
                hits += bool(len(known))
        return SimpleNamespace(accuracy=hits / len(labels))

    rows = split_by_group(paths, labels)
    report = leakage_report(paths, groups, *rows, near_duplicates=False, cross_validation=cross_validation)
    assert report.accuracies == {"random": 1.0, "group": 0.0}
    assert "1.000 of the clips are named right with a random split, and 0.000 by a model" in str(report)
    assert leakage_report(paths, groups, *rows, near_duplicates=False).accuracies is None


def test_copies_under_other_names_are_found(clips, tmp_path):
    paths, _, groups = clips
    copy = tmp_path / "copy.mp4"
    with VideoWriter(copy, fps=25, crf=30) as writer:
        for frame in frames_extraction(paths[0], 40, 90, 120):
            writer.write(frame)
    report = leakage_report(
        [*paths, copy], np.append(groups, "other"), np.arange(len(paths)), np.array([len(paths)])
    )
    assert (str(paths[0]), str(copy)) in report.near_duplicates
    assert str(copy) in str(report)


def test_copies_are_told_apart_from_what_looks_alike(clips, tmp_path):
    """Every clip is there again as "Copy of", whatever the sources are said to be."""
    paths, _, groups = clips
    copies = [shutil.copy(path, tmp_path / f"Copy of {path.parent.name} {path.name}") for path in paths]
    for sources in (np.append(groups, groups), np.arange(2 * len(paths))):
        rows = np.arange(len(paths)), np.arange(len(paths), 2 * len(paths))
        report = leakage_report([*paths, *copies], sources, *rows)
        assert report.identical == tuple((str(a), str(b)) for a, b in zip(paths, copies, strict=True))
        assert report.near_duplicates == ()
        assert "16 of 16 test clips are copies of a training clip, byte for byte" in str(report)
        assert "... and 6 more" in str(report)


def test_unreadable_clips_are_named(clips, tmp_path):
    paths, _, groups = clips
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    report = leakage_report(
        [*paths[:3], tmp_path / "bad.mp4"], np.append(groups[:3], "x"), np.arange(3), np.array([3])
    )
    assert "bad.mp4" in report.unreadable[0]
    assert "bad.mp4" in str(report)


def test_refusals(clips):
    paths, _, groups = clips
    with pytest.raises(ValueError, match="groups must be one per clip, got 1 and 16 clips"):
        leakage_report(paths, groups[:1], np.arange(2), np.arange(2))
    with pytest.raises(ValueError, match="both sides must have clips, got 0 and 2"):
        leakage_report(paths, groups, np.arange(0), np.arange(2))


def test_real_fights(real_data):
    """300 clips of 46 sources: split at random, nearly every test clip has a sibling in training."""
    paths, labels = list_videos(real_data / "surveillance_fights")
    groups = read_groups(paths)
    random = leakage_report(paths, groups, *split_at_random(paths, labels), near_duplicates=False)
    assert random.leaking_clips > 0.9 * random.test_clips
    grouped = leakage_report(paths, groups, *split_by_group(paths, labels), near_duplicates=False)
    assert grouped.leaking_clips == 0
