"""The main job in one call, on rendered clips."""

import numpy as np
import pytest

from harkeras import VideoWriter, load_model, read_recipe
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
