import tracemalloc

import numpy as np
import pytest

from harkeras.data.duplicates import _near, find_duplicates, perceptual_hash
from harkeras.data.folders import list_videos
from harkeras.data.sources import read_groups
from harkeras.video.reading import frames_extraction
from harkeras.video.writing import VideoWriter


@pytest.fixture(scope="module")
def clips(sample_dir):
    return list_videos(sample_dir)[0]


def write(path, frames, **options):
    with VideoWriter(path, fps=25, **options) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def test_copies_in_another_size_and_quality(clips, tmp_path):
    copies = [
        write(tmp_path / f"{row}.mp4", frames_extraction(path, 40, 90, 120), crf=32)
        for row, path in enumerate(clips)
    ]
    rows = np.arange(len(clips)), np.arange(len(clips), 2 * len(clips))
    identical, near, unreadable = find_duplicates([*clips, *copies], *rows)
    assert (identical, unreadable) == ((), ())
    assert near == tuple((str(a), str(b)) for a, b in zip(clips, copies, strict=True))
    sources = np.tile(read_groups(clips), 2)
    assert find_duplicates([*clips, *copies], *rows, groups=sources).near == ()


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
    assert find_duplicates(paths, [0, 2], [1, 3]).near == ()


def test_identical_files_need_not_show_anything(tmp_path):
    path = write(tmp_path / "a.mp4", np.zeros((9, 64, 72, 3), np.uint8))
    (tmp_path / "b.mp4").write_bytes(path.read_bytes())
    identical, near, _ = find_duplicates([path, tmp_path / "b.mp4"], [0], [1])
    assert identical == ((str(path), str(tmp_path / "b.mp4")),)
    assert near == ()


def test_the_most_similar_of_many_in_little_memory():
    rng = np.random.default_rng(0)
    hashes = {row: np.stack([rng.random(192) < 0.5, rng.random(192) < 0.9]) for row in range(4000)}
    copy = hashes[7].copy()
    copy[0, :5] ^= True
    hashes[3999] = copy
    tracemalloc.start()
    pairs = _near(list(range(3000)), list(range(3000, 4000)), hashes, None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pairs == [(7, 3999)]
    assert peak < 5e7


def test_what_cannot_be_read_is_named(clips, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    paths = [*clips[:2], tmp_path / "bad.mp4", tmp_path / "none.mp4"]
    found = find_duplicates(paths, [0, 2], [1, 3])
    assert [name in reason for name, reason in zip(("bad.mp4", "none.mp4"), found.unreadable, strict=True)]
    assert find_duplicates(paths, [2], [3]).near == ()


def test_refusals(clips):
    with pytest.raises(ValueError, match="groups must be one per clip, got 1 and 16 clips"):
        find_duplicates(clips, [0], [1], groups=np.zeros(1))
    with pytest.raises(FileNotFoundError):
        perceptual_hash("none.mp4")
