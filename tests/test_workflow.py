"""The main job in one call, on rendered clips."""

import re
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harkeras import VideoWriter, create_sample_dataset, load_model, read_recipe, save_model
from harkeras.data.sources import find_sources
from harkeras.data.splits import split_clips
from harkeras.evaluation.held_out import evaluate_on_folder
from harkeras.video.reading import read_clip
from harkeras.workflow import train_on_folder

# All but the first training, which the fixture below shares, go step by step.
pytestmark = pytest.mark.usefixtures("eager")

SMALL = {"model": "lrcn", "input_shape": (4, 64, 64, 3), "epochs": 1, "batch_size": 8, "verbose": False}


@pytest.fixture(scope="module")
def trained(sample_dir, tmp_path_factory):
    return train_on_folder(sample_dir, output_dir=tmp_path_factory.mktemp("models"), **SMALL)


def test_recipe_is_that_of_the_folder(trained, sample_dir):
    recipe = read_recipe(trained.path)
    assert recipe.classes == tuple(sorted(path.name for path in sample_dir.iterdir()))
    assert (recipe.frames, recipe.height, recipe.width) == (4, 64, 64)
    assert 1.5 <= recipe.clip_seconds <= 3.0


def test_report_says_how_clips_were_split(trained):
    assert "by source video: 16 clips of 4 sources, trained on 12 clips of 3" in str(trained.evaluation)


def test_evaluation_of_the_file_finds_the_same_held_out_clips(trained, sample_dir):
    again = evaluate_on_folder(trained.path, sample_dir)
    np.testing.assert_array_equal(again.labels, trained.evaluation.labels)
    np.testing.assert_allclose(again.probabilities, trained.evaluation.probabilities, atol=1e-6)
    assert again.split == (
        "4 of 16 clips of the folder; the model was not trained on them (group split, seed 27); left out: 12 "
        "that it was trained on, 0 more of their sources"
    )
    assert all(0 < seconds < 60 for seconds in (*again.latency_seconds, *trained.evaluation.latency_seconds))
    assert "one clip takes the model" in trained.report.read_text()
    assert evaluate_on_folder(trained.path, sample_dir, clips="all").support.sum() == 16


@pytest.mark.parametrize("change", ["a clip less", "a source less", "four sources more", "moved", "renamed"])
def test_evaluation_never_scores_a_clip_that_was_trained_on(trained, sample_dir, tmp_path, change):
    folder = shutil.copytree(sample_dir, tmp_path / "clips")
    record = read_recipe(trained.path).training
    assert len(record.train_clips) == 12
    assert len(record.train_groups) == 3
    clips = sorted(folder.rglob("*.mp4"))
    expected = 4
    if change == "a clip less":
        clips[0].unlink()
        expected -= "_g01_" in record.test_groups
    elif change == "a source less":
        for clip in folder.rglob(f"*_{record.train_groups[0]}_*.mp4"):
            clip.unlink()
    elif change == "four sources more":
        more = create_sample_dataset(
            tmp_path / "more", classes=trained.evaluation.classes, groups=4, clips_per_group=1, seed=3
        )
        for clip in sorted(more.rglob("*.mp4")):
            number = int(re.search(r"_g(\d+)_", clip.name)[1])
            name = clip.name.replace(f"_g{number:02d}_", f"_g{number + 40:02d}_")
            shutil.copy(clip, folder / clip.parent.name / name)
        expected += 8
    elif change == "moved":
        folder = folder.rename(tmp_path / "elsewhere")
    else:  # names that say nothing: only the content tells
        for i, clip in enumerate(clips):
            clip.rename(clip.with_name(f"{i}.mp4"))
    again = evaluate_on_folder(trained.path, folder)
    assert len(again.labels) == expected
    assert again.split.startswith(f"{expected} of ")
    every = evaluate_on_folder(trained.path, folder, clips="all")
    if change == "a source less":
        assert "8 of which the model was trained on: accuracy is overstated" in every.split
    else:
        assert "of which the model was trained on: accuracy is overstated" in every.split


def change_bytes(path):
    """Append an empty box, as a tagger does: the same video, another content."""
    with path.open("ab") as file:
        file.write(b"\0\0\0\x10free" + bytes(8))


@pytest.fixture
def train_on(tmp_path):
    """Make clips of different content at some places, and train on them."""

    def call(*places, lists=None, **options):
        for number, place in enumerate(places):
            with VideoWriter(tmp_path / "clips" / place, fps=25) as writer:
                for frame in range(6):
                    writer.write(np.full((64, 64, 3), 5 * number + frame, np.uint8))
        if lists is not None:
            (tmp_path / "lists").mkdir()
            for side, names in lists.items():
                (tmp_path / "lists" / f"{side}.txt").write_text("\n".join(names))
            options |= {"split": "official", "split_dir": tmp_path / "lists"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trained = train_on_folder(tmp_path / "clips", output_dir=tmp_path / "models", **SMALL | options)
        return trained, tmp_path / "clips"

    return call


UCF = [f"{name}/v_{name}_g{group:02d}_c01.mp4" for name in ("Dive", "Run") for group in range(1, 7)]
PEOPLE = [f"{name}/p{who}/{i}.mp4" for name in ("Dive", "Run") for who in (1, 2, 3) for i in (1, 2)]


class TestFoldersThatChange:
    def test_clips_that_were_converted_to_another_suffix(self, train_on):
        trained, folder = train_on(*UCF)
        for path in folder.rglob("*.mp4"):
            change_bytes(path)
            path.rename(path.with_suffix(".mov"))
        assert len(evaluate_on_folder(trained.path, folder).labels) == len(trained.evaluation.labels)

    def test_clips_that_were_rewritten_after_a_random_split(self, train_on):
        trained, folder = train_on(*UCF, split="random")
        for path in folder.rglob("*.mp4"):
            change_bytes(path)
        again = evaluate_on_folder(trained.path, folder)
        assert len(again.labels) == len(trained.evaluation.labels)
        assert "came later" not in again.split
        assert "of their sources are in training too" in again.split

    def test_official_test_clips_are_scored_again_and_no_others(self, train_on):
        lists = {
            "train": [f"{c}/p{p}/1" for c in ("Dive", "Run") for p in (1, 2)],
            "test": ["Dive/p3/1", "Run/p3/2"],
        }
        lists = {side: [f"{name}.mp4" for name in names] for side, names in lists.items()}
        trained, folder = train_on(*PEOPLE, lists=lists, validation_split=0)
        assert "; 6 clips are in none of its lists" in trained.evaluation.split
        again = evaluate_on_folder(trained.path, folder)
        assert len(again.labels) == 2
        assert "left out: 4 that it was trained on, 6 not in its test list" in again.split

    def test_a_folder_level_above_the_sources_that_came_later(self, train_on):
        trained, folder = train_on(*[place.replace("/p", "/rgb/p") for place in PEOPLE])
        before = len(trained.evaluation.labels)
        for path in sorted(folder.rglob("*.mp4")):
            other = Path(str(path).replace("/rgb/", "/depth/"))
            other.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, other)
            change_bytes(other)
        again = evaluate_on_folder(trained.path, folder)
        assert len(again.labels) == 2 * before
        assert "in training too" not in again.split

    def test_sources_that_a_function_named(self, train_on):
        trained, folder = train_on(*UCF, group_by=lambda path: path.stem[7:9])
        with pytest.raises(ValueError, match="group_by is missing: a function named the sources"):
            evaluate_on_folder(trained.path, folder)
        again = evaluate_on_folder(trained.path, folder, group_by=lambda path: path.stem[7:9])
        assert len(again.labels) == len(trained.evaluation.labels)

    def test_a_copy_of_a_training_clip_brings_its_source(self, train_on, tmp_path):
        trained, folder = train_on(*UCF)
        record = read_recipe(trained.path).training
        copied = folder / f"{record.train_paths[0]}.mp4"
        new = tmp_path / "new"
        for name in ("Dive", "Run"):
            (new / name).mkdir(parents=True)
        shutil.copy(copied, new / "Dive" / "v_Dive_g40_c01.mp4")
        for number, path in enumerate(sorted(folder.rglob("*.mp4"))[:4]):
            source = 40 if number < 2 else 50
            sibling = new / ("Dive", "Run")[number % 2] / f"v_x_g{source}_c{number + 5:02d}.mp4"
            shutil.copy(path, sibling)
            change_bytes(sibling)
        again = evaluate_on_folder(trained.path, new)
        assert len(again.labels) == 2
        assert "left out: 1 that it was trained on, 2 more of their sources" in again.split

    def test_a_class_without_a_clip_to_score(self, train_on):
        places = [place for place in PEOPLE if "Run" in place or "p1" in place]
        trained, folder = train_on(*places)
        again = evaluate_on_folder(trained.path, folder)
        assert sorted(set(again.labels.tolist())) in ([0], [1])
        for count in (1, 3):
            with pytest.raises(
                ValueError, match="classes must name a folder for each of the model's 2 classes"
            ):
                evaluate_on_folder(trained.path, folder, classes=["Dive"] * count)


def test_unknown_sources_stay_unknown_when_a_clip_cannot_be_read(train_on, tmp_path):
    flat = [f"{name}/{i}.mp4" for name in ("Dive", "Run") for i in range(6)]
    (tmp_path / "clips" / "Dive").mkdir(parents=True)
    (tmp_path / "clips" / "Dive" / "bad.mp4").write_text("no video")
    trained, _ = train_on(*flat)
    assert "sources unknown, each clip taken for one of its own: 12 clips" in trained.evaluation.split
    assert "sources: unknown, each of the 12 clips" in trained.report.read_text()
    assert "1 of 13 clips could not be read" in trained.report.read_text()
    assert "\nNot all sources are known: if test clips were cut from videos" in trained.report.read_text()


def test_empty_files_are_no_copies_of_each_other(tmp_path):
    for place in PEOPLE:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(b"" if place.endswith("1.mp4") else place.encode())
    sources = find_sources(sorted(tmp_path.rglob("*.mp4")), tmp_path, copies=True)
    assert len(set(sources.groups.tolist())) == 3
    assert sources.copies == 0


def test_a_training_that_could_not_be_scored_is_not_lost(sample_dir, tmp_path, monkeypatch):
    def interrupt(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("harkeras.workflow.evaluate", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_on_folder(sample_dir, output_dir=tmp_path, **SMALL)
    (path,) = tmp_path.iterdir()
    assert [each.name for each in path.iterdir()] == ["model.keras"]
    assert read_recipe(path).training.train_groups


def test_what_would_be_ignored_is_refused(sample_dir, tmp_path):
    for options, message in (
        ({"split_dir": tmp_path}, "split_dir is for the split 'official', got 'group'"),
        ({"flow_method": "farneback"}, "flow_method is for clips with optical flow"),
        (
            {"flow_method": "nonsense", "input_shape": (4, 64, 64, 2)},
            "flow_method must be one of 'dis', 'farneback', 'tvl1', got 'nonsense'",
        ),
        ({"epochs": 0}, "epochs must be a whole number of at least 1, got 0"),
        ({"seed": -1}, "seed must be .*, got -1"),
        ({"classes": []}, r"classes must be a list of names of folders, got \[\]"),
        ({"classes": "SittingDown"}, "classes must be a list of names of folders, got 'SittingDown'"),
    ):
        with pytest.raises(ValueError, match=message):
            train_on_folder(sample_dir, output_dir=tmp_path / "models", **SMALL | options)
    assert not (tmp_path / "models").exists() or not list((tmp_path / "models").iterdir())


def test_a_model_that_does_not_say_what_it_was_trained_on(trained, sample_dir, tmp_path):
    model = load_model(trained.path)
    old = save_model(model, tmp_path / "old.keras", recipe=replace(model.recipe, training=None))
    with pytest.raises(ValueError, match=r"old\.keras does not say what it was trained on .*--clips all"):
        evaluate_on_folder(old, sample_dir)
    evaluation = evaluate_on_folder(old, sample_dir, clips="all")
    assert "if these were among it, accuracy is overstated" in evaluation.split


def test_clips_are_read_as_the_recipe_says(trained, sample_dir, tmp_path, monkeypatch):
    model, asked = load_model(trained.path), []
    path = tmp_path / "model.keras"
    save_model(model, path, recipe=replace(model.recipe, interpolation="bilinear"))
    monkeypatch.setattr(
        "harkeras.data.loading.read_clip",
        lambda path, asked_format: asked.append(asked_format.interpolation) or read_clip(path, asked_format),
    )
    bilinear = evaluate_on_folder(path, sample_dir)
    assert asked == ["bilinear"] * 4
    assert np.abs(bilinear.probabilities - trained.evaluation.probabilities).max() > 0
    for _ in range(2):  # frames that were resized otherwise are not taken from a cache
        assert evaluate_on_folder(trained.path, sample_dir, cache=tmp_path / "a.npy").loss != bilinear.loss
        assert evaluate_on_folder(path, sample_dir, cache=tmp_path / "a.npy").loss == bilinear.loss


def test_only_what_is_scored_is_decoded(trained, sample_dir, monkeypatch):
    read = []
    monkeypatch.setattr(
        "harkeras.data.loading.read_clip",
        lambda path, *a, **k: read.append(path) or read_clip(path, *a, **k),
    )
    evaluate_on_folder(trained.path, sample_dir)
    assert len(read) == 4


def test_copies_do_not_stand_on_both_sides(sample_dir, tmp_path):
    for path in sorted(sample_dir.rglob("*_c01.mp4")):
        folder = tmp_path / "clips" / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        name = path.name.replace("_", "-")
        shutil.copy(path, folder / name)
        shutil.copy(path, folder / f"Copy of {name}")
    with pytest.warns(UserWarning, match="16 of 16 clips name no source video"):
        trained = train_on_folder(tmp_path / "clips", output_dir=tmp_path / "models", **SMALL)
    record = read_recipe(trained.path).training
    assert len(set(record.train_clips)) == len(record.train_clips) / 2
    report = trained.report.read_text()
    assert "split: sources unknown, each clip taken for one of its own: 16 clips, trained on 12" in report
    assert "sources: unknown, each of the 16 clips counts as one; 8 of the clips are copies" in report
    assert "whole source videos" not in report


def test_copies_in_a_random_split_are_counted(sample_dir, tmp_path):
    for path in sorted(sample_dir.rglob("*_c01.mp4")):
        folder = tmp_path / "clips" / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        for copy in (1, 2, 3):
            shutil.copy(path, folder / f"{copy}{path.name}")
    trained = train_on_folder(tmp_path / "clips", output_dir=tmp_path / "models", split="random", **SMALL)
    assert "6 of 6 test clips are copies of a training clip, byte for byte" in trained.report.read_text()


@pytest.mark.parametrize("argument", ["epochs", "augment", "resume", "loss"])
def test_auto_refuses_what_it_would_ignore(sample_dir, tmp_path, argument):
    with pytest.raises(ValueError, match=f"{argument} must be left out with 'auto'"):
        train_on_folder(sample_dir, output_dir=tmp_path, **{argument: 1})


def test_one_source_for_each_class_cannot_be_tested(sample_dir, tmp_path):
    for path in sorted(sample_dir.rglob("*_c01.mp4")):
        folder = tmp_path / "clips" / path.parent.name / f"camera of {path.parent.name[:4]}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / f"{len(list(folder.iterdir()))}.mp4")
    with pytest.raises(ValueError, match=r"every class has only one .*Pass --group-by"):
        train_on_folder(tmp_path / "clips", output_dir=tmp_path / "models", **SMALL)


def test_an_output_folder_that_cannot_be_written_is_told_first(sample_dir, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        train_on_folder(sample_dir, output_dir=tmp_path / "file", **SMALL)


def test_a_random_split_says_that_it_leaks(sample_dir):
    paths = sorted(sample_dir.rglob("*.mp4"))
    labels = np.array([path.parent.name == "StandingUp" for path in paths], np.int64)
    *_, words = split_clips(paths, labels, find_sources(paths), split="random")
    assert "of these sources are in training too, so accuracy is overstated" in words
    *_, words = split_clips(paths, labels, find_sources(paths), split="group")
    assert "overstated" not in words


def test_an_official_split_is_followed(sample_dir, tmp_path):
    paths = sorted(sample_dir.rglob("*.mp4"))
    labels = np.zeros(len(paths), np.int64)
    (tmp_path / "trainlist01.txt").write_text("".join(f"X/{path.stem}.avi 1\n" for path in paths[:3]))
    (tmp_path / "testlist01.txt").write_text("".join(f"X/{path.stem}.avi\n" for path in paths[3:5]))
    train, test, words = split_clips(paths, labels, find_sources(paths), split="official", split_dir=tmp_path)
    assert (train.tolist(), test.tolist()) == ([0, 1, 2], [3, 4])
    assert words.startswith("official: ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "lucky"}, "split must be 'group', 'random' or 'official', got 'lucky'"),
        ({"split": "official"}, "split_dir is missing"),
    ],
)
def test_splits_that_cannot_be_had(sample_dir, options, message):
    paths = sorted(sample_dir.rglob("*.mp4"))
    with pytest.raises(ValueError, match=message):
        split_clips(paths, np.zeros(len(paths), np.int64), find_sources(paths), **options)


def test_evaluation_refuses_what_it_cannot_score(trained, sample_dir, tmp_path):
    with pytest.raises(ValueError, match="clips must be 'recorded', 'held-out' or 'all', got 'most'"):
        evaluate_on_folder(trained.path, sample_dir, clips="most")
    bare = tmp_path / "bare.keras"
    load_model(trained.path).save(bare)
    with pytest.raises(ValueError, match=r"bare\.keras has no recipe"):
        evaluate_on_folder(bare, sample_dir)


def test_a_model_that_cannot_take_the_shape_is_refused_before_clips_are_read(sample_dir, tmp_path):
    with pytest.raises(ValueError, match="input_shape must be at least 64 x 64"):
        train_on_folder(sample_dir, "lrcn", output_dir=tmp_path, input_shape=(4, 32, 32, 3))


def test_one_class_is_refused(sample_dir, tmp_path):
    for model in ("lrcn", "auto"):
        with pytest.raises(
            ValueError, match="must hold clips of at least two classes, got only 'SittingDown'"
        ):
            train_on_folder(sample_dir, model, output_dir=tmp_path, classes=["SittingDown"])
    assert not list(tmp_path.iterdir())


def test_options_reach_the_builder(sample_dir, tmp_path):
    trained = train_on_folder(sample_dir, output_dir=tmp_path, model_options={"units": 3}, **SMALL)
    assert trained.model.get_layer("lstm").units == 3


def test_unreadable_clips_are_named_and_left_out(tmp_path):
    for name in ("Left", "Right"):
        for group in range(1, 4):
            with VideoWriter(tmp_path / "clips" / name / f"v_{name}_g{group:02d}_c01.mp4", fps=25) as writer:
                for _ in range(8):
                    writer.write(np.full((64, 64, 3), 40 * group, np.uint8))
    (tmp_path / "clips" / "Left" / "v_Left_g04_c01.mp4").write_text("not a video")
    with pytest.warns(UserWarning, match=r"1 of 7 clips were left out(.|\n)*v_Left_g04_c01\.mp4"):
        trained = train_on_folder(tmp_path / "clips", output_dir=tmp_path / "models", test_size=0.34, **SMALL)
    assert "6 clips of 3 sources" in trained.evaluation.split
