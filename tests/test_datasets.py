import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import harkeras.data.datasets
from harkeras.data.datasets import median_clip_seconds
from harkeras.data.folders import list_classes, list_videos
from harkeras.data.loading import create_dataset
from harkeras.data.preview import plot_clips
from harkeras.video.reading import VideoError, read_clip

ROOT = Path(__file__).resolve().parents[1]
SIZE = {"frames": 4, "height": 16, "width": 24}
# Clips by class; the number is the index coded in the first frame.
CLIPS = {"Run": {"b.mp4": 100, "a.mp4": 0, "deep/er/c.AVI": 200}, "Walk": {"d.mp4": 300, "e.mp4": 400}}
SORTED = ["Run/a.mp4", "Run/b.mp4", "Run/deep/er/c.AVI", "Walk/d.mp4", "Walk/e.mp4"]


@pytest.fixture
def data_dir(tmp_path, make_video):
    """A folder of classes with some things in it that are no clips."""
    data_dir = tmp_path / "data"
    for name, clips in CLIPS.items():
        for clip, first in clips.items():
            (data_dir / name / clip).parent.mkdir(parents=True, exist_ok=True)
            options = {"codec": "mpeg4"} if clip.endswith(".AVI") else {}
            make_video(data_dir / name / clip, range(first, first + 8), **options)
    (data_dir / ".cache").mkdir()
    (data_dir / "_drafts").mkdir()
    (data_dir / "labels.csv").write_text("no folder")
    (data_dir / "Run/notes.txt").write_text("no video")
    (data_dir / "Run/._a.mp4").write_bytes(b"what a Mac leaves behind")
    (data_dir / "Run/folder.mp4").mkdir()
    return data_dir


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "caches" / "features.npy"


@pytest.fixture
def reads(monkeypatch):
    """The clips that were really decoded."""
    seen = []

    def spy(path, shape, **options):
        seen.append(path.name)
        return read_clip(path, shape, **options)

    monkeypatch.setattr(harkeras.data.loading, "read_clip", spy)
    return seen


@pytest.fixture
def interrupt(monkeypatch):
    """`with interrupt(name):` somebody presses Ctrl-C when that clip is read."""

    @contextmanager
    def at(name):
        def read(path, shape, **options):
            if path.name == name:
                raise KeyboardInterrupt
            return read_clip(path, shape, **options)

        with monkeypatch.context() as patch:
            patch.setattr(harkeras.data.loading, "read_clip", read)
            # One after the other: what is read ahead of the clip that is written would be lost.
            patch.setattr(
                harkeras.data.loading, "in_order_with_bar", lambda read, paths, *_, **__: map(read, paths)
            )
            yield

    return at


@pytest.fixture
def small_disk():
    """`with small_disk(bytes):` no file can grow beyond so many bytes."""

    class Limit:
        def __init__(self, size):
            self.size = size

        def __enter__(self):
            self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.before[1]))

        def __exit__(self, *error):
            resource.setrlimit(resource.RLIMIT_FSIZE, self.before)

    return Limit


def seen(folder):
    """Return the files that are not hidden."""
    return sorted(path.name for path in folder.iterdir() if path.name[0] != ".")


def names(dataset, data_dir):
    return [path.relative_to(data_dir).as_posix() for path in dataset.video_paths]


def same(one, other):
    return (
        np.array_equal(one.features, other.features)
        and np.array_equal(one.labels, other.labels)
        and one.video_paths == other.video_paths
    )


class TestLists:
    def test_classes_are_sorted_and_hidden_folders_left_out(self, data_dir):
        assert list_classes(data_dir) == ["Run", "Walk"]

    def test_videos(self, data_dir):
        paths, labels = list_videos(data_dir)
        assert [path.relative_to(data_dir).as_posix() for path in paths] == SORTED
        assert labels.tolist() == [0, 0, 0, 1, 1]
        assert labels.dtype == np.int64

    def test_classes_in_the_order_asked_for(self, data_dir):
        paths, labels = list_videos(data_dir, ["Walk", "Run"])
        assert [path.name for path in paths][:2] == ["d.mp4", "e.mp4"]
        assert labels.tolist() == [0, 0, 1, 1, 1]

    def test_errors(self, data_dir, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no folder at .*nowhere"):
            list_classes(tmp_path / "nowhere")
        with pytest.raises(FileNotFoundError, match="no folder at"):
            list_classes(data_dir / "labels.csv")
        with pytest.raises(ValueError, match="must hold one folder of clips per class, found no folder"):
            list_classes(data_dir / "Walk")
        with pytest.raises(FileNotFoundError, match=r"no folder for the class 'Swim' in .*; found Run, Walk"):
            list_videos(data_dir, ["Run", "Swim"])
        with pytest.raises(ValueError, match=r"classes must be different names, got \['Run', 'Run'\]"):
            list_videos(data_dir, ["Run", "Run"])
        (data_dir / "Swim").mkdir()
        with pytest.raises(ValueError, match=r"the class 'Swim' has no clip: .*Swim holds no .3gp"):
            list_videos(data_dir)

    def test_median_clip_seconds(self, make_video):
        paths = [make_video(f"{count}.mp4", range(count), fps=10) for count in (5, 20, 60)]
        assert median_clip_seconds(paths) == pytest.approx(2.0)
        with pytest.raises(ValueError, match="video_paths must name at least one clip"):
            median_clip_seconds([])
        with pytest.raises(FileNotFoundError, match="no video file at nowhere"):
            median_clip_seconds(["nowhere.mp4"])


class TestCreateDataset:
    def test_rows_labels_and_paths_belong_together(self, data_dir, index_of):
        features, labels, paths = dataset = create_dataset(data_dir, **SIZE)
        assert (features.shape, features.dtype, labels.dtype) == ((5, 4, 16, 24, 3), np.uint8, np.int64)
        assert names(dataset, data_dir) == SORTED
        assert labels.tolist() == [0, 0, 0, 1, 1]
        for clip, path in zip(features, paths, strict=True):
            first = CLIPS[path.relative_to(data_dir).parts[0]]["/".join(path.relative_to(data_dir).parts[1:])]
            assert [index_of(frame) for frame in clip] == [first + 1, first + 3, first + 5, first + 7]

    def test_defaults_are_those_of_the_tutorial(self, data_dir):
        assert create_dataset(str(data_dir)).features.shape == (5, 20, 64, 64, 3)

    def test_classes_in_the_order_asked_for(self, data_dir):
        dataset = create_dataset(data_dir, ["Walk", "Run"], **SIZE)
        assert (dataset.labels.tolist(), names(dataset, data_dir)[0]) == ([0, 0, 1, 1, 1], "Walk/d.mp4")

    @pytest.mark.parametrize("workers", [1, 2, 7])
    def test_workers_change_nothing(self, data_dir, workers):
        assert same(create_dataset(data_dir, workers=workers, **SIZE), create_dataset(data_dir, **SIZE))

    def test_order_holds_with_more_clips_than_are_read_ahead(self, data_dir, monkeypatch):
        for count in range(60):
            shutil.copy(data_dir / "Walk/d.mp4", data_dir / f"Run/x{count:02d}.mp4")

        def read(path, clip_format):
            threading.Event().wait(0.02 if path.name == "a.mp4" else 0)
            return np.full(clip_format.shape, hash(path.name) % 251, np.uint8)

        monkeypatch.setattr(harkeras.data.loading, "read_clip", read)
        features, _, paths = create_dataset(data_dir, **SIZE, workers=3)
        assert features[:, 0, 0, 0, 0].tolist() == [hash(path.name) % 251 for path in paths]
        assert len(paths) == 65

    def test_progress_says_how_much_memory_it_takes(self, data_dir, capsys):
        create_dataset(data_dir, frames=100, height=100, width=100)
        err = capsys.readouterr().err
        assert "Reading clips into 15 MB" in err
        assert "5/5" in err

    def test_too_large_for_the_memory(self, data_dir):
        with pytest.raises(
            MemoryError, match=r"5 clips of 10+ x 64 x 64 need .* GB and this machine has .*cache="
        ):
            create_dataset(data_dir, frames=10**10)

    @pytest.mark.parametrize("name", ["frames", "height", "width", "workers"])
    def test_numbers_out_of_range(self, data_dir, name):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            create_dataset(data_dir, **SIZE | {name: 0})

    @pytest.mark.real_data
    def test_real_clips(self, real_data, tmp_path):
        for path in sorted((real_data / "surveillance_fights").glob("*/*_c01.mp4"))[::4]:
            (tmp_path / path.parent.name).mkdir(exist_ok=True)
            shutil.copy(path, tmp_path / path.parent.name)
        features, labels, paths = create_dataset(tmp_path)
        assert len(features) == len(labels) == len(paths) > 10
        assert features.reshape(len(features), -1).std(axis=1).min() > 5


class TestSkippedClips:
    @pytest.fixture
    def damaged(self, data_dir):
        """The first clip is no video, the fourth is empty, and the whole rest can be read."""
        (data_dir / "Run/a.mp4").write_bytes(b"this is no video" * 100)
        (data_dir / "Walk/d.mp4").write_bytes(b"")
        return data_dir

    @pytest.mark.parametrize("cached", [False, True])
    def test_are_named_with_the_reason_and_left_out(self, damaged, cache, cached, index_of):
        with pytest.warns(UserWarning, match="2 of 5 clips") as caught:
            dataset = create_dataset(damaged, **SIZE, cache=cache if cached else None)
        message = str(caught[0].message)
        assert len(caught) == 1
        assert Path(caught[0].filename) == Path(__file__)
        assert message.startswith("2 of 5 clips were left out:")
        assert f"{damaged / 'Run/a.mp4'}: " in message
        assert f"{damaged / 'Walk/d.mp4'}: the file is empty" in message
        assert names(dataset, damaged) == ["Run/b.mp4", "Run/deep/er/c.AVI", "Walk/e.mp4"]
        assert dataset.labels.tolist() == [0, 0, 1]
        assert [index_of(clip[0]) for clip in dataset.features] == [101, 201, 401]

    def test_are_told_again_when_the_cache_is_used(self, damaged, cache, reads):
        with pytest.warns(UserWarning, match="2 of 5 clips"):
            first = create_dataset(damaged, **SIZE, cache=cache)
        reads.clear()
        with pytest.warns(UserWarning, match="2 of 5 clips were left out:\n.*a.mp4: "):
            assert same(create_dataset(damaged, **SIZE, cache=cache), first)
        assert not reads

    @pytest.mark.parametrize("cached", [False, True])
    def test_strict(self, damaged, cache, cached):
        if cached:
            with pytest.warns(UserWarning, match="2 of 5 clips"):
                create_dataset(damaged, **SIZE, cache=cache)
        with pytest.raises(VideoError, match=r"a\.mp4: "):
            create_dataset(damaged, **SIZE, strict=True, cache=cache if cached else None)

    @pytest.mark.parametrize("cached", [False, True])
    def test_a_class_of_which_nothing_is_left(self, damaged, cache, cached):
        (damaged / "Walk/e.mp4").unlink()
        with pytest.raises(
            ValueError, match=r"the class 'Walk' has no clip that can be read, .* 1: .*d\.mp4: the f"
        ):
            create_dataset(damaged, **SIZE, cache=cache if cached else None)

    def test_no_warning_without_reason(self, data_dir):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            create_dataset(data_dir, **SIZE, strict=True)


class TestCache:
    def test_same_as_without(self, data_dir, cache):
        cached = create_dataset(data_dir, **SIZE, cache=cache)
        assert same(cached, create_dataset(data_dir, **SIZE))
        assert isinstance(cached.features, np.memmap)
        assert not cached.features.flags.writeable
        assert seen(cache.parent) == ["features.npy"]

    def test_is_a_npy_file_for_everyone(self, data_dir, cache):
        features = create_dataset(data_dir, **SIZE, cache=cache).features
        assert np.array_equal(np.load(cache), features)

    def test_is_used_again(self, data_dir, cache, reads):
        first = create_dataset(data_dir, **SIZE, cache=cache)
        assert len(reads) == 5
        assert same(create_dataset(str(data_dir), **SIZE, cache=str(cache), workers=1), first)
        assert len(reads) == 5

    def test_moves_with_the_data(self, data_dir, cache, reads, tmp_path):
        create_dataset(data_dir, **SIZE, cache=cache)
        moved = data_dir.rename(tmp_path / "moved")
        assert create_dataset(moved, **SIZE, cache=cache).video_paths[0] == moved / "Run/a.mp4"
        assert len(reads) == 5

    @pytest.mark.parametrize(
        "setting", [{"frames": 3}, {"height": 18}, {"width": 18}, {"classes": ["Walk", "Run"]}]
    )
    def test_is_made_anew_for_other_settings(self, data_dir, cache, setting):
        create_dataset(data_dir, **SIZE, cache=cache)
        settings = SIZE | setting
        assert same(create_dataset(data_dir, **settings, cache=cache), create_dataset(data_dir, **settings))

    def test_is_made_anew_when_a_clip_is_added_removed_renamed_or_changed(self, data_dir, cache):
        def check():
            assert same(create_dataset(data_dir, **SIZE, cache=cache), create_dataset(data_dir, **SIZE))

        check()
        shutil.copy(data_dir / "Run/a.mp4", data_dir / "Walk/a.mp4")
        check()
        (data_dir / "Run/b.mp4").unlink()
        check()
        (data_dir / "Walk/e.mp4").rename(data_dir / "Run/e.mp4")
        check()
        # Of the same size, and the time of change alone tells.
        one, other = data_dir / "Walk/a.mp4", data_dir / "Walk/d.mp4"
        size = max(path.stat().st_size for path in (one, other))
        for path in (one, other):
            path.write_bytes(path.read_bytes().ljust(size, b"\0"))
        check()
        one.write_bytes(other.read_bytes())
        check()

    def test_reads_only_what_is_new_or_changed(self, data_dir, cache, reads):
        create_dataset(data_dir, **SIZE, cache=cache)
        reads.clear()
        (data_dir / "Run/a2.mp4").write_bytes((data_dir / "Run/a.mp4").read_bytes() + b"\0")
        (data_dir / "Run/b.mp4").unlink()
        (data_dir / "Walk/d.mp4").write_bytes((data_dir / "Walk/e.mp4").read_bytes() + b"\0")
        grown = create_dataset(data_dir, **SIZE, cache=cache)
        assert sorted(reads) == ["a2.mp4", "d.mp4"]
        assert same(grown, create_dataset(data_dir, **SIZE))

    def test_knows_clips_by_their_content(self, data_dir, cache, reads, tmp_path):
        create_dataset(data_dir, **SIZE, cache=cache)
        reads.clear()
        shutil.copytree(data_dir, tmp_path / "copy", dirs_exist_ok=True)
        (tmp_path / "copy/Run/a.mp4").rename(tmp_path / "copy/Run/z.mp4")
        copy = create_dataset(tmp_path / "copy", **SIZE, cache=cache)
        assert not reads
        assert same(copy, create_dataset(tmp_path / "copy", **SIZE))

    def test_equal_names_sizes_and_times_in_two_folders_do_not_meet(self, data_dir, cache, tmp_path):
        other = tmp_path / "other"
        shutil.copytree(data_dir, other)
        one, two = data_dir / "Run/a.mp4", data_dir / "Walk/e.mp4"
        size = max(one.stat().st_size, two.stat().st_size)
        (other / "Run/a.mp4").write_bytes(two.read_bytes().ljust(size, b"\0"))
        one.write_bytes(one.read_bytes().ljust(size, b"\0"))
        for path in (one, other / "Run/a.mp4"):
            os.utime(path, ns=(0, 10**18))
        for folder in (data_dir, other):
            assert same(create_dataset(folder, **SIZE, cache=cache), create_dataset(folder, **SIZE))
        # In one folder too: `cp -p` and `rsync -t` set the time of the file that they replace.
        time.sleep(0.02)
        one.write_bytes((other / "Run/a.mp4").read_bytes())
        os.utime(one, ns=(0, 10**18))
        create_dataset(data_dir, **SIZE, cache=cache)
        assert same(create_dataset(data_dir, **SIZE, cache=cache), create_dataset(data_dir, **SIZE))

    def test_unchanged_files_are_not_read_again(self, data_dir, cache, monkeypatch):
        create_dataset(data_dir, **SIZE, cache=cache)
        monkeypatch.setattr(
            "harkeras.data._clip_cache.content_digest", lambda path: pytest.fail("read again")
        )
        create_dataset(data_dir, **SIZE, cache=cache)

    def test_damaged_pixels_are_read_anew(self, data_dir, cache, reads):
        whole = create_dataset(data_dir, **SIZE, cache=cache).features
        reads.clear()
        content, expected = bytearray(cache.read_bytes()), np.array(whole)
        for row in (1, 3):
            content[whole.offset + row * whole[0].nbytes + 77] ^= 4
        del whole
        cache.write_bytes(content)
        with pytest.warns(
            UserWarning, match=r"features\.npy is damaged; 2 clips are read anew: Run/b.mp4, W"
        ):
            again = create_dataset(data_dir, **SIZE, cache=cache)
        assert sorted(reads) == ["b.mp4", "d.mp4"]
        assert np.array_equal(again.features, expected)

    def test_any_flipped_bit_is_noticed_or_does_no_harm(self, data_dir, cache):
        expected = np.array(create_dataset(data_dir, **SIZE, cache=cache).features)
        whole, rng = cache.read_bytes(), np.random.default_rng(27)
        card = whole.rindex(b'{"settings"')
        places = [*range(12), *rng.integers(12, 128, 30), *rng.integers(card, len(whole), 60)]
        for place in places:
            content = bytearray(whole)
            content[place] ^= 1 << int(rng.integers(7))
            cache.write_bytes(content)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    assert np.array_equal(create_dataset(data_dir, **SIZE, cache=cache).features, expected)
                except ValueError as error:
                    assert str(cache) in str(error)  # noqa: PT017
                    assert cache.read_bytes() == content

    def test_where_nothing_can_be_written(self, data_dir):
        with pytest.raises(OSError, match=r"/proc/a\.npy"):
            create_dataset(data_dir, **SIZE, cache="/proc/a.npy")

    def test_what_is_no_file_is_refused(self, data_dir, tmp_path):
        os.mkfifo(tmp_path / "a.npy")
        with pytest.raises(ValueError, match=r"cache must be a regular file, got .*, which is a device"):
            create_dataset(data_dir, **SIZE, cache=tmp_path / "a.npy")

    def test_goes_on_where_it_was_interrupted(self, data_dir, cache, interrupt, reads):
        create_dataset(data_dir, **SIZE, cache=cache)
        before = cache.read_bytes()
        other = SIZE | {"frames": 3}
        with interrupt("e.mp4"), pytest.raises(KeyboardInterrupt):
            create_dataset(data_dir, **other, cache=cache, workers=1)
        assert cache.read_bytes() == before  # the old one is whole and in place
        reads.clear()
        assert same(create_dataset(data_dir, **other, cache=cache), create_dataset(data_dir, **other))
        assert reads[0] == "e.mp4"
        assert len(reads) == 1 + 5
        assert sorted(path.name for path in cache.parent.iterdir()) == [".features.npy.lock", "features.npy"]

    def test_what_an_interruption_left_is_only_used_for_the_same(self, data_dir, cache, interrupt, reads):
        with interrupt("e.mp4"), pytest.raises(KeyboardInterrupt):
            create_dataset(data_dir, **SIZE, cache=cache, workers=1)
        reads.clear()
        shutil.copy(data_dir / "Run/a.mp4", data_dir / "Run/b.mp4")  # the second of the four that were read
        assert same(create_dataset(data_dir, **SIZE, cache=cache), create_dataset(data_dir, **SIZE))
        assert len(reads) == 4 + 5
        with interrupt("e.mp4"), pytest.raises(KeyboardInterrupt):
            create_dataset(data_dir, **SIZE | {"height": 18}, cache=cache, workers=1)
        other = SIZE | {"width": 18}
        assert same(create_dataset(data_dir, **other, cache=cache), create_dataset(data_dir, **other))

    @pytest.mark.parametrize("hidden", [".features.npy.part", ".features.npy.journal"])
    @pytest.mark.parametrize("damage", ["gone", "cut off", "nonsense"])
    def test_damaged_leftovers(self, data_dir, cache, interrupt, hidden, damage):
        with interrupt("e.mp4"), pytest.raises(KeyboardInterrupt):
            create_dataset(data_dir, **SIZE, cache=cache, workers=1)
        path = cache.with_name(hidden)
        if damage == "gone":
            path.unlink()
        elif damage == "cut off":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        else:
            path.write_text("7\nmy diary\n")
        assert same(create_dataset(data_dir, **SIZE, cache=cache), create_dataset(data_dir, **SIZE))

    def test_a_killed_process_leaves_no_cache_but_what_it_read(self, data_dir, cache, reads):
        code = f"""
import os, harkeras.data.loading as d
read = d.read_clip
d.read_clip = lambda path, *args, **kw: os._exit(9) if path.name == "e.mp4" else read(path, *args, **kw)
d.in_order_with_bar = lambda read, paths, *_, **__: map(read, paths)
d.create_dataset({str(data_dir)!r}, frames=4, height=16, width=24, workers=1, cache={str(cache)!r})"""
        for _ in range(2):  # the second one as soon as it has begun
            run = subprocess.run(
                [sys.executable, "-c", code], stderr=subprocess.DEVNULL, check=False, cwd=ROOT
            )
            assert run.returncode == 9
            assert not cache.exists()
        assert same(create_dataset(data_dir, **SIZE, cache=cache), create_dataset(data_dir, **SIZE))
        assert reads[0] == "e.mp4"

    def test_two_at_a_time(self, data_dir, cache, reads):
        """The second waits for the first, and takes what it wrote."""
        with ThreadPoolExecutor(2) as pool:
            one, other = pool.map(lambda _: create_dataset(data_dir, **SIZE, cache=cache), range(2))
        assert same(one, other)
        assert len(reads) == 5

    @pytest.mark.parametrize(
        "damage", ["cut off in the array", "cut off in the card", "something else", "array"]
    )
    def test_what_is_no_whole_cache_is_neither_used_nor_lost(self, data_dir, cache, damage):
        create_dataset(data_dir, **SIZE, cache=cache)
        whole = cache.read_bytes()
        if damage == "array":
            np.save(cache, np.arange(5))
        else:
            content = {"cut off in the array": whole[:1000], "cut off in the card": whole[:-5]}
            cache.write_bytes(content.get(damage, b"my diary"))
        before = cache.read_bytes()
        with pytest.raises(
            ValueError, match=r"cache must be a new file or one that create_dataset wrote; .*remove"
        ):
            create_dataset(data_dir, **SIZE, cache=cache)
        assert cache.read_bytes() == before

    def test_a_disk_that_fills(self, data_dir, cache, small_disk, reads):
        size = SIZE | {"frames": 100}
        create_dataset(data_dir, **SIZE, cache=cache)
        before = cache.read_bytes()
        with small_disk(300_000), pytest.raises(OSError, match="File too large"):
            create_dataset(data_dir, **size, cache=cache, workers=1)
        assert seen(cache.parent) == ["features.npy"]
        assert cache.read_bytes() == before
        reads.clear()
        assert same(create_dataset(data_dir, **size, cache=cache), create_dataset(data_dir, **size))
        assert len(reads) == 3 + 5  # of which two fitted onto the disk

    def test_must_be_a_npy_file(self, data_dir, tmp_path):
        with pytest.raises(ValueError, match=r"cache must name a .npy file or a folder, got .*features.h5"):
            create_dataset(data_dir, **SIZE, cache=tmp_path / "features.h5")

    def test_card_lies_behind_the_array(self, data_dir, cache):
        features = create_dataset(data_dir, **SIZE, cache=cache).features
        card = json.loads(cache.read_bytes()[features.offset + features.nbytes :])
        assert card.keys() == {"settings", "files"}

    def test_may_be_larger_than_the_memory(self, data_dir, cache, monkeypatch):
        monkeypatch.setattr(os, "sysconf", lambda name: 1)
        with pytest.raises(MemoryError):
            create_dataset(data_dir, **SIZE)
        assert len(create_dataset(data_dir, **SIZE, cache=cache).features) == 5


def test_peak_memory(data_dir, tmp_path):
    """In memory, little more than the array; through a cache, far less."""
    for count in range(300):
        shutil.copy(data_dir / "Run/a.mp4", data_dir / f"Run/{count}.mp4")
    code = """
import resource, sys, harkeras.data.loading
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
harkeras.video.reading.frames_extraction(sys.argv[1] + "/Run/a.mp4")
before = peak()
features = harkeras.data.loading.create_dataset(sys.argv[1], workers=2, cache=sys.argv[2] or None).features
print(peak() - before, features.nbytes / 2**20)"""

    def measure(cache):
        command = [sys.executable, "-c", code, str(data_dir), cache]
        run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        return map(float, run.stdout.split())

    peak, array = measure("")
    assert array > 70
    assert peak < 1.4 * array
    peak, array = measure(str(tmp_path / "features.npy"))
    assert peak < 0.4 * array


class TestPlotClips:
    def titles(self, figure):
        return [axes.get_title() for axes in figure.axes if axes.get_title()]

    def test_one_clip_of_each_class_first(self, data_dir):
        figure = plot_clips(data_dir, count=4)
        titles = self.titles(figure)
        assert set(titles[:2]) == set(titles[2:]) == {"Run", "Walk"}
        assert [axes.images[0].get_array().shape for axes in figure.axes] == [(64, 96, 3)] * 4

    def test_more_than_there_are(self, data_dir):
        assert sorted(self.titles(plot_clips(data_dir))) == ["Run"] * 3 + ["Walk"] * 2

    def test_twenty_random_classes(self, data_dir):
        for number in range(25):
            shutil.copytree(data_dir / "Walk", data_dir / f"class{number:02d}")
        first, other = (self.titles(plot_clips(data_dir, seed=seed)) for seed in (1, 2))
        assert len(set(first)) == len(set(other)) == 20
        assert set(first) != set(other)
        assert first == self.titles(plot_clips(data_dir, seed=1))

    def test_first_frames(self, data_dir, index_of):
        figure = plot_clips(data_dir, ["Walk", "Run"], count=6)
        shown = {index_of(axes.images[0].get_array()) for axes in figure.axes if axes.images}
        assert shown == {0, 100, 200, 300, 400}

    def test_draws(self, data_dir, tmp_path):
        plot_clips(data_dir, count=3).savefig(tmp_path / "clips.png")

    def test_errors(self, data_dir, tmp_path):
        with pytest.raises(ValueError, match="count must be at least 1, got 0"):
            plot_clips(data_dir, count=0)
        with pytest.raises(FileNotFoundError, match="no folder at"):
            plot_clips(tmp_path / "nowhere")
        (data_dir / "Run/a.mp4").write_bytes(b"no video")
        with pytest.raises(VideoError, match=r"a\.mp4: "):
            plot_clips(data_dir)
        (data_dir / "Empty").mkdir()
        with pytest.raises(ValueError, match="the class 'Empty' has no clip"):
            plot_clips(data_dir)
