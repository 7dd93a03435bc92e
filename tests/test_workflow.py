"""The main job in one call, on rendered clips."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from harkeras import VideoWriter, create_sample_dataset, load_model, read_recipe, save_model
from harkeras.flow import read_clip
from harkeras.sources import find_sources
from harkeras.splits import split_clips
from harkeras.workflow import evaluate_on_folder, train_on_folder

SMALL = {"model": "lrcn", "input_shape": (4, 64, 64, 3), "epochs": 1, "batch_size": 8, "verbose": False}


@pytest.fixture(scope="module")
def trained(sample_dir, tmp_path_factory):
    return train_on_folder(sample_dir, output_dir=tmp_path_factory.mktemp("models"), **SMALL)


def test_model_and_report_are_written_together(trained):
    assert trained.path.name.startswith("lrcn__")
    assert f"accuracy_{trained.evaluation.accuracy:.4f}" in trained.path.name
    names = [path.name.removeprefix(trained.path.stem) for path in trained.report]
    assert names == ["__report.txt", "__loss.png", "__accuracy.png", "__confusion.png"]
    report = trained.report[0].read_text()
    assert report.startswith(f"{trained.evaluation}\n")
    assert "classes, and their clips: SittingDown (8), StandingUp (8)" in report
    assert "trained: lrcn on clips of 4 x 64 x 64 x 3 from " in report
    assert "seed 27, epochs 1, batch_size 8" in report
    assert 'sources: 4 of 16 clips, the number after "_g" in the name, the same in every class' in report
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in trained.report[1:])
    assert not list(trained.path.parent.glob(".*"))


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
    assert again.split.startswith("4 of 16 clips, which the model was not trained on (group split, seed 27)")
    assert "left out: 12 that it was trained on, 0 more of their sources; 0 of the clips" in again.split
    assert all(0 < seconds < 60 for seconds in (*again.latency_seconds, *trained.evaluation.latency_seconds))
    assert "one clip takes the model" in trained.report[0].read_text()
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


def test_a_model_that_does_not_say_what_it_was_trained_on(trained, sample_dir, tmp_path):
    model = load_model(trained.path)
    old = save_model(model, tmp_path / "old.keras", recipe=replace(model.recipe, training=None))
    with pytest.raises(ValueError, match=r"old\.keras does not say what it was trained on .*--clips all"):
        evaluate_on_folder(old, sample_dir)
    evaluation = evaluate_on_folder(old, sample_dir, clips="all")
    assert "if these were among it, accuracy is overstated" in evaluation.split


def test_only_what_is_scored_is_decoded(trained, sample_dir, monkeypatch):
    read = []
    monkeypatch.setattr(
        "harkeras.datasets.read_clip", lambda path, *a, **k: read.append(path) or read_clip(path, *a, **k)
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
    report = trained.report[0].read_text()
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
    assert "6 of 6 test clips are copies of a training clip, byte for byte" in trained.report[0].read_text()


@pytest.mark.parametrize("argument", ["epochs", "augment", "resume", "loss"])
def test_auto_refuses_what_it_would_ignore(sample_dir, tmp_path, argument):
    with pytest.raises(ValueError, match=f"{argument} must be left out with 'auto'"):
        train_on_folder(sample_dir, output_dir=tmp_path, **{argument: None})


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
    with pytest.raises(ValueError, match="clips must be 'held-out' or 'all', got 'most'"):
        evaluate_on_folder(trained.path, sample_dir, clips="most")
    bare = tmp_path / "bare.keras"
    load_model(trained.path).save(bare)
    with pytest.raises(ValueError, match=r"bare\.keras has no recipe"):
        evaluate_on_folder(bare, sample_dir)


def test_a_model_that_cannot_take_the_shape_is_refused_before_clips_are_read(sample_dir, tmp_path):
    with pytest.raises(ValueError, match="input_shape must be at least 64 x 64"):
        train_on_folder(sample_dir, "lrcn", output_dir=tmp_path, input_shape=(4, 32, 32, 3))


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
