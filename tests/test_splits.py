import re
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies

from harkeras.data.sources import find_sources, read_groups
from harkeras.data.split_lists import list_official_splits, split_by_files
from harkeras.data.splits import list_folds, split_at_random, split_by_group, split_rows_by_group

CLASSES = ("Run", "Walk", "Wave")


def ucf(groups=25, clips=4, classes=CLASSES):
    """Paths and labels as UCF has them."""
    names = [(name, g, c) for name in classes for g in range(1, groups + 1) for c in range(1, clips + 1)]
    paths = [Path("ucf") / name / f"v_{name}_g{g:02d}_c{c:02d}.avi" for name, g, c in names]
    return paths, np.array([classes.index(name) for name, _, _ in names])


class TestByGroup:
    def test_no_group_on_both_sides(self):
        paths, labels = ucf()
        groups = read_groups(paths)
        for seed in range(5):
            train, test = split_by_group(paths, labels, seed=seed)
            assert not set(groups[train]) & set(groups[test])
            assert sorted([*train, *test]) == list(range(len(labels)))
            assert np.array_equal(train, np.sort(train))
            assert np.array_equal(test, np.sort(test))

    def test_share_and_balance(self):
        paths, labels = ucf(groups=24)
        _, test = split_by_group(paths, labels, test_size=0.25)
        assert np.bincount(labels[test]).tolist() == [24, 24, 24]

    def test_uneven_groups_are_balanced_as_well_as_they_allow(self):
        rng = np.random.default_rng(0)
        groups = rng.zipf(1.6, 300) % 40
        labels = (rng.random(300) < 0.2 + 0.6 * (groups % 2)).astype(int)
        paths = [f"data/v_x_g{group:02d}_c01.mp4" for group in groups]
        _, test = split_by_group(paths, labels, test_size=0.25)
        assert np.bincount(labels[test]) == pytest.approx(np.bincount(labels) * 0.25, abs=3)

    def test_every_class_on_both_sides_where_possible(self):
        # Each class has its own sources, most have two, and those of class 0 hold nearly all clips.
        groups = ["a"] * 40 + ["b"] * 40 + ["c", "d", "e", "f"]
        labels = np.array([0] * 80 + [1, 1, 2, 2])
        train, test = split_by_group(groups, labels, test_size=0.25, group_of=str)
        assert set(labels[train]) == set(labels[test]) == {0, 1, 2}

    @pytest.mark.parametrize("test_size", [0.01, 0.5, 0.99])
    def test_both_sides_hold_clips(self, test_size):
        paths, labels = ucf(groups=2, clips=1)
        train, test = split_by_group(paths, labels, test_size=test_size)
        assert len(train) == len(test) == 3

    def test_seed(self):
        paths, labels = ucf()
        first, same = (split_by_group(paths, labels, seed=1) for _ in range(2))
        assert np.array_equal(first[1], same[1])
        assert not np.array_equal(first[1], split_by_group(paths, labels, seed=2)[1])

    def test_lists_and_strings_will_do(self):
        paths, labels = ucf()
        expected = split_by_group(paths, labels)
        rows = split_by_group([str(path) for path in paths], labels.tolist())
        assert all(map(np.array_equal, rows, expected))

    def test_sources_of_one_class_are_combined(self):
        """Each class has its own sources, of many sizes: no cut through one order suits all."""
        rng = np.random.default_rng(0)
        sizes = rng.integers(1, 40, 60)
        labels, groups = np.repeat(np.arange(60) % 8, sizes), np.repeat(np.arange(60), sizes)
        _, test = split_rows_by_group(labels, groups, test_size=0.25, seed=27)
        error = np.abs(np.bincount(labels[test], minlength=8) - np.bincount(labels) * 0.25)
        assert error.sum() < 0.03 * len(labels)

    @settings(max_examples=50, deadline=None)
    @given(
        clips=strategies.lists(
            strategies.tuples(strategies.integers(0, 4), strategies.integers(0, 12)), min_size=2, max_size=60
        ),
        test_size=strategies.sampled_from([0.1, 0.25, 0.5, 0.8]),
        seed=strategies.integers(0, 3),
        data=strategies.data(),
    )
    def test_whatever_the_clips(self, clips, test_size, seed, data):
        """Two sides, no source on both, and the same clips in another order are split alike."""
        labels, groups = np.array(clips).T
        if len(set(groups.tolist())) < 2:
            return
        train, test = split_rows_by_group(labels, groups, test_size=test_size, seed=seed)
        assert len(train)
        assert len(test)
        assert sorted([*train, *test]) == list(range(len(labels)))
        assert not set(groups[train]) & set(groups[test])
        order = np.array(data.draw(strategies.permutations(range(len(clips)))))
        _, other = split_rows_by_group(labels[order], groups[order], test_size=test_size, seed=seed)
        assert sorted(order[other]) == test.tolist()

    @settings(max_examples=50, deadline=None)
    @given(
        clips=strategies.lists(
            strategies.tuples(strategies.integers(0, 4), strategies.integers(0, 12)), min_size=1, max_size=40
        ),
        folds=strategies.sampled_from(["groups", 2, 3, 5]),
        seed=strategies.integers(0, 3),
    )
    def test_whatever_the_folds(self, clips, folds, seed):
        """Each clip is tested once, and its source is not in training; or nothing is split."""
        labels, groups = np.array(clips).T
        try:
            pairs = list_folds(labels, groups, folds=folds, seed=seed)
        except ValueError as error:
            assert re.match("folds(='groups' needs| must lie in 2 to)", str(error))  # noqa: PT017
            return
        assert sorted(np.concatenate([test for _, test in pairs])) == list(range(len(labels)))
        for train, test in pairs:
            assert sorted([*train, *test]) == list(range(len(labels)))
            assert not set(groups[train]) & set(groups[test])

    def test_many_clips_take_little_memory(self):
        """8,000 clips of 101 classes, each a source: no table of sources by classes."""
        labels = np.random.default_rng(0).integers(0, 101, 8000)
        tracemalloc.start()
        _, test = split_rows_by_group(labels, np.arange(8000), test_size=0.25, seed=27)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 6e6
        assert np.bincount(labels[test]) == pytest.approx(np.bincount(labels) / 4, abs=1)

    def test_function_stands_over_names(self):
        paths, labels = ucf(groups=4)
        train, test = split_by_group(paths, labels, group_of=lambda path: path.parent.name)
        assert not set(labels[train]) & set(labels[test])

    def test_errors(self):
        paths, labels = ucf(groups=3)
        for test_size in (0, 1, 1.5):
            with pytest.raises(ValueError, match=f"test_size must lie between 0 and 1, got {test_size}"):
                split_by_group(paths, labels, test_size=test_size)
        with pytest.raises(ValueError, match=r"labels must be as many as clips.* 35 labels and 36 clips"):
            split_by_group(paths, labels[:-1])
        with pytest.raises(ValueError, match="labels must be as many as clips, at least 1"):
            split_by_group([], [])
        with pytest.raises(ValueError, match=r"groups must be at least 2 source videos, got \['one'\]"):
            split_by_group(paths, labels, group_of=lambda path: "one")

    @pytest.mark.parametrize("seed", [-1, 2**32, 0.5, None])
    def test_seed_out_of_range(self, seed):
        paths, labels = ucf(groups=3)
        message = f"seed must be a whole number in 0 to 4294967295, got {seed}"
        for split in (split_by_group, split_at_random):
            with pytest.raises(ValueError, match=message):
                split(paths, labels, seed=seed)
        for split in ("group", "random"):
            with pytest.raises(ValueError, match=message):
                list_folds(labels, labels, split=split, folds=2, seed=seed)

    def test_identical_files_stand_on_one_side(self, tmp_path):
        paths = []
        for label in ("a", "b"):
            for number in range(1, 9):  # 1 = 2, 3 = 4, and so on, under names that tell sources apart
                paths.append(tmp_path / label / f"clip_g0{number}_c01.avi")
                paths[-1].parent.mkdir(exist_ok=True)
                paths[-1].write_text(f"{label}{(number + 1) // 2}")
        labels = np.repeat([0, 1], 8)
        content = np.array([path.read_text() for path in paths])
        for seed in range(5):
            for options in ({}, {"group_of": lambda path: path.stem}, {"data_dir": tmp_path}):
                train, test = split_by_group(paths, labels, seed=seed, **options)
                assert not set(content[train]) & set(content[test])
        groups = find_sources(paths, copies=True).groups
        assert groups[0] == groups[1] != groups[2] == groups[3]

    @pytest.mark.real_data
    def test_real_names(self, real_data):
        paths = sorted((real_data / "surveillance_fights").glob("*/*.mp4"))
        labels = np.array([path.parent.name == "NoFight" for path in paths]).astype(int)
        train, test = split_by_group(paths, labels)
        groups = read_groups(paths)
        assert len(set(groups)) == 46
        assert not set(groups[train]) & set(groups[test])
        assert np.bincount(labels[test]) == pytest.approx([37.5, 37.5], abs=1)


class TestAtRandom:
    def test_classes_alike(self):
        paths, labels = ucf(groups=10)
        train, test = split_at_random(paths, labels, test_size=0.25)
        assert np.bincount(labels[test]).tolist() == [10, 10, 10]
        assert sorted([*train, *test]) == list(range(len(labels)))
        assert np.array_equal(test, split_at_random(paths, labels, test_size=0.25)[1])

    def test_few_clips(self):
        train, test = split_at_random("abcdef", [0, 0, 1, 1, 2, 2], test_size=0.2)
        assert len(train) == len(test) == 3

    def test_errors(self):
        with pytest.raises(ValueError, match=r"labels must name every class at least twice, got \[1, 2\]"):
            split_at_random("abc", [0, 1, 1])
        with pytest.raises(ValueError, match="test_size must lie between 0 and 1"):
            split_at_random("abcd", [0, 0, 1, 1], test_size=2)
        with pytest.raises(ValueError, match="3 labels and 4 clips"):
            split_at_random("abcd", [0, 0, 1])


class TestByFiles:
    def test_ucf101(self, tmp_path):
        (tmp_path / "trainlist02.txt").write_text("Run/v_Run_g08_c01.avi 1\nWalk/v_Walk_g08_c01.avi 2\n\n")
        (tmp_path / "testlist02.txt").write_text("Run/v_Run_g01_c01.avi\n")
        paths = ["d/Run/v_Run_g01_c01.mp4", "d/Run/v_Run_g08_c01.avi", "d/Run/v_Run_g09_c01.avi"]
        train, test = split_by_files(paths, tmp_path, split=2)
        assert (train.tolist(), test.tolist()) == ([1], [0])

    def test_hmdb51(self, tmp_path):
        (tmp_path / "wave_test_split1.txt").write_text(
            "A film_wave_0.avi 1 \nb_wave_1.avi 2 \nc_wave_2.avi 0 \n"
        )
        (tmp_path / "wave_test_split2.txt").write_text("c_wave_2.avi 1 \n")
        paths = ["wave/c_wave_2.avi", "wave/b_wave_1.avi", "wave/A film_wave_0.avi"]
        train, test = split_by_files(paths, tmp_path)
        assert (train.tolist(), test.tolist()) == ([2], [1])

    def test_backslashes_and_suffixes(self, tmp_path):
        (tmp_path / "trainlist01.txt").write_text("Run\\v_Run_g08_c01.avi 1\r\n", newline="")
        (tmp_path / "testlist01.txt").write_text("Run\\v_Run_g01_c01.avi\r\n", newline="")
        paths = ["d/Run/v_Run_g01_c01.mp4", "d/Run/v_Run_g08_c01.MKV"]
        train, test = split_by_files(paths, tmp_path)
        assert (train.tolist(), test.tolist()) == ([1], [0])
        assert list_official_splits(tmp_path) == [1]

    def test_equal_names_in_two_classes(self, tmp_path):
        (tmp_path / "train.txt").write_text("Run/1.mp4\nWalk/2.mp4\nJump/1.mp4\n")
        (tmp_path / "test.txt").write_text("Run/2.mp4 0\nWalk/1.mp4 1\n")
        paths = ["d/Run/1.mp4", "d/Run/2.mp4", "d/Walk/1.mp4", "d/Walk/2.mp4"]
        train, test = split_by_files(paths, tmp_path)
        assert (train.tolist(), test.tolist()) == ([0, 3], [1, 2])
        (tmp_path / "test.txt").write_text("2.mp4\n")
        with pytest.raises(ValueError, match=r"test\.txt: 2\.mp4 names 2 clips, d/Run/2\.mp4 and"):
            split_by_files(paths, tmp_path)

    def test_any_pair_of_lists(self, tmp_path):
        (tmp_path / "my_train.csv").write_text("id,video,label\n1,clips/Run/a b 1.mp4,Run\n2,b.mp4,Run\n")
        (tmp_path / "my_val.csv").write_text("video\nc.mp4\n")
        paths = ["d/Run/a b 1.mp4", "d/Run/b.mp4", "d/Walk/c.webm", "d/Walk/d.mp4"]
        train, test = split_by_files(paths, tmp_path)
        assert (train.tolist(), test.tolist()) == ([0, 1], [2])
        assert list_official_splits(tmp_path) == [1]
        (tmp_path / "my_val.csv").write_text("video\na b 1\n")
        with pytest.raises(ValueError, match=r"my_val\.csv: a b 1 is on both sides"):
            split_by_files(paths, tmp_path)
        (tmp_path / "my_val.csv").write_text("film,number\nx.mp4,1\n")
        with pytest.raises(
            ValueError, match=r"my_val\.csv must have a column with .*got \['film', 'number'\]"
        ):
            split_by_files(paths, tmp_path)

    def test_how_many_there_are(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="holds neither trainlist01"):
            list_official_splits(tmp_path)
        for number in (1, 3):
            (tmp_path / f"trainlist{number:02d}.txt").touch()
        assert list_official_splits(tmp_path) == [1, 3]

    @pytest.mark.parametrize(
        ("train_name", "test_name", "number"),
        [
            ("train_list.txt", "test_list.txt", 1),
            ("trainlist.txt", "testlist.txt", 1),
            ("trainlist1.txt", "testlist1.txt", 1),
            ("TrainList02.TXT", "TestList02.TXT", 2),
            ("train_list_1.txt", "val_list_1.txt", 1),
            ("train_split1.txt", "test_split1.txt", 1),
            ("ucf101_train_split_3_videos.txt", "ucf101_val_split_3_videos.txt", 3),
            ("ucf_train_split1.txt", "ucf_test_split1.txt", 1),
            ("fold2_train.csv", "fold2_test.csv", 2),
            ("training1.csv", "validation1.csv", 1),
            ("train_64frames.txt", "test_64frames.txt", 1),
        ],
    )
    def test_names_of_lists(self, tmp_path, train_name, test_name, number):
        (tmp_path / train_name).write_text("Run/a.mp4\n")
        (tmp_path / test_name).write_text("Run/b.mp4\n")
        (tmp_path / "classInd.txt").write_text("1 Run\n")
        (tmp_path / f"._{train_name}").write_bytes(b"\x00\x05\x16\x07")  # made by macOS
        assert list_official_splits(tmp_path) == [number]
        train, test = split_by_files(["d/Run/b.mp4", "d/Run/a.mp4"], tmp_path, split=number)
        assert (train.tolist(), test.tolist()) == ([1], [0])

    def test_two_lists_for_one_side(self, tmp_path):
        for name in ("train_a.txt", "train_b.txt", "test.txt"):
            (tmp_path / name).write_text("Run/a.mp4\n")
        with pytest.raises(ValueError, match=r"one train list for a split, got train_a\.txt, train_b\.txt"):
            split_by_files(["Run/a.mp4"], tmp_path)

    def test_stanford_40_has_each_list_whole_and_by_class(self, tmp_path):
        for side, numbers in (("train", (1, 3)), ("test", (2,))):
            every = []
            for name in ("cooking", "riding_a_train"):
                names = [f"{name}_{number:03}.jpg" for number in numbers]
                (tmp_path / f"{name}_{side}.txt").write_text("\n".join(names))
                every += names
            (tmp_path / f"{side}.txt").write_text("\n".join(every))
        (tmp_path / "actions.txt").write_text("action_name number_of_images\ncooking 3\n")
        paths = [f"JPEGImages/{name}_{n:03}.jpg" for name in ("cooking", "riding_a_train") for n in (1, 2, 3)]
        assert list_official_splits(tmp_path) == [1]
        train, test = split_by_files(paths, tmp_path)
        assert (train.tolist(), test.tolist()) == ([0, 2, 3, 5], [1, 4])
        (tmp_path / "train_more.txt").write_text(
            "cooking_004.jpg\n"
        )  # of which nobody knows whether it counts
        with pytest.raises(ValueError, match=r"one train list for a split, got .*train_more\.txt"):
            split_by_files(paths, tmp_path)

    def test_a_class_with_a_name_like_a_side(self, tmp_path):
        (tmp_path / "train_test_split1.txt").write_text("a.avi 1\n")
        (tmp_path / "fold_2_test_split1.txt").write_text("b.avi 2\n")
        assert list_official_splits(tmp_path) == [1]
        train, test = split_by_files(["train/a.avi", "fold_2/b.avi"], tmp_path)
        assert (train.tolist(), test.tolist()) == ([0], [1])

    @pytest.mark.parametrize(
        ("train_text", "test_text"),
        [
            ("Run/Run_0 0\nWalk/Walk.0 1\n", "Run/take 3 0\nWalk/Walk.1 1\n"),
            ("Run/Run_0\nWalk/Walk.0\n", "Run/take 3\nWalk/Walk.1\n"),
            ("Run/Run_0 Run\nd/Walk/Walk.0,Walk\n", "Run/take 3 Run 0\nWalk/Walk.1\tWalk\n"),
            ("Run/Run_0.avi 120 0\nWalk/Walk.0.avi 90 1\n", "Run/take 3.avi 80 0\nWalk/Walk.1.avi 90 1\n"),
            ("Run/Run_0.mp4,0\nWalk/Walk.0.mp4,1\n", "Run/take 3.mp4\tRun\nWalk/Walk.1.mp4;Walk\n"),
            (".\n..\n./Run/Run_0.mp4\nWalk/Walk.0.mp4\n", "../\nC:\\d\\Run\\take 3.mp4\nWalk/Walk.1.mp4\n"),
        ],
    )
    def test_what_follows_a_path(self, tmp_path, train_text, test_text):
        (tmp_path / "train.txt").write_text(train_text)
        (tmp_path / "test.txt").write_text(test_text)
        paths = ["d/Run/Run_0.mp4", "d/Run/take 3.mp4", "d/Walk/Walk.0.mp4", "d/Walk/Walk.1.mp4"]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            train, test = split_by_files(paths, tmp_path)
        assert (train.tolist(), test.tolist()) == ([0, 2], [1, 3])

    @pytest.mark.parametrize(
        "head",
        ["file_path,name\n", "path,label\n", "", "clip_name;class\n", "id,video_name,frames\n"],
    )
    def test_the_column_that_fits_the_clips(self, tmp_path, head):
        form = {"id": "{i},{c}/{i}.mp4,12\n", "cl": "{c}/{i}.mp4;{c}\n"}.get(head[:2], "{c}/{i}.mp4,{c}\n")
        for side, numbers in (("train", (1, 2)), ("test", (3,))):
            lines = [form.format(c=c, i=i) for c in CLASSES for i in numbers]
            (tmp_path / f"{side}.csv").write_text(head + "".join(lines))
        train, test = split_by_files([f"d/{c}/{i}.mp4" for c in CLASSES for i in (1, 2, 3)], tmp_path)
        assert (train.tolist(), test.tolist()) == ([0, 1, 3, 4, 6, 7], [2, 5, 8])

    def test_encodings(self, tmp_path):
        (tmp_path / "test.txt").write_text("Läufe/b.mp4\n", encoding="utf-16")
        (tmp_path / "train.txt").write_text("La\u0308ufe/a.mp4\n", encoding="utf-8-sig")
        train, test = split_by_files(["Läufe/a.mp4", "Läufe/b.mp4"], tmp_path)
        assert (train.tolist(), test.tolist()) == ([0], [1])
        for encoding in ("latin-1", "utf-16-le"):
            (tmp_path / "train.txt").write_text("Läufe/a.mp4\n", encoding=encoding)
            with pytest.raises(ValueError, match=r"train\.txt must be a text in UTF-8"):
                split_by_files(["Läufe/a.mp4", "Läufe/b.mp4"], tmp_path)

    def test_a_line_without_a_number(self, tmp_path):
        (tmp_path / "wave_test_split1.txt").write_text("a.avi 1\n\nb.avi\n")
        with pytest.raises(ValueError, match=r"wave_test_split1\.txt, line 3: .* 0, 1 or 2, got 'b\.avi'"):
            split_by_files(["wave/a.avi", "wave/b.avi"], tmp_path)

    def test_a_field_without_an_end(self, tmp_path):
        (tmp_path / "train.csv").write_text('path\n"' + "a" * 200_000)
        (tmp_path / "test.csv").write_text("path\nRun/a.mp4\n")
        with pytest.raises(ValueError, match=r"train\.csv must be a table"):
            split_by_files(["Run/a.mp4"], tmp_path)

    def test_entries_without_a_clip(self, tmp_path):
        (tmp_path / "train.txt").write_text("Run/a.mp4\nRun/c.mp4\nRun/e.mp4\nJump/f.mp4\n")
        (tmp_path / "test.txt").write_text("Run/b.mp4\n")
        with pytest.warns(UserWarning, match=r"^2 of 5 entries .*the first is 'Run/c\.mp4' in .*train\.txt"):
            split_by_files(["d/Run/a.mp4", "d/Run/b.mp4"], tmp_path)
        (tmp_path / "train.txt").write_text("Run/p1/a.mp4\nJump/p1/f.mp4\n")  # a class that is not here
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            split_by_files(["d/Run/p1/a.mp4", "d/Run/b.mp4"], tmp_path)

    def test_one_clip_in_two_formats(self, tmp_path):
        (tmp_path / "train.txt").write_text("Run/a.avi\n")
        (tmp_path / "test.txt").write_text("Run/b.avi\n")
        train, test = split_by_files(["Run/a.mp4", "Run/a.avi", "Run/b.mp4"], tmp_path)
        assert (train.tolist(), test.tolist()) == ([1], [2])

    def test_errors(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="holds neither trainlist03"):
            split_by_files(["a.avi"], tmp_path, split=3)
        (tmp_path / "trainlist01.txt").write_text("Run/a.avi 1\n")
        with pytest.raises(ValueError, match="gives 1 clips to train on and 0 to test on, of 2; are these"):
            split_by_files(["a.avi", "b.avi"], tmp_path)


def test_no_warning_where_sources_are_named():
    paths, labels = ucf()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split_by_group(paths, labels)


class TestFolds:
    @settings(max_examples=40, deadline=None)
    @given(seed=strategies.integers(0, 10_000))
    def test_the_order_of_the_list_does_not_matter(self, seed):
        rng = np.random.default_rng(seed)
        labels, groups = rng.integers(0, 4, 60), rng.integers(0, 12, 60).astype(str)
        order = rng.permutation(60)
        folds = [test.tolist() for _, test in list_folds(labels, groups, folds=3)]
        other = [
            sorted(order[test].tolist()) for _, test in list_folds(labels[order], groups[order], folds=3)
        ]
        assert other == folds

    def test_fewer_clips_of_each_class_than_folds(self):
        with pytest.raises(
            ValueError, match="folds must lie in 2 to 2, the number of clips of the commonest class"
        ):
            list_folds(np.array([0, 0, 1, 1]), np.arange(4), folds=3)
        assert len(list_folds(np.array([0, 0, 1, 1]), np.arange(4), folds=2)) == 2
