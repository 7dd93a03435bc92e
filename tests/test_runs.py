"""The folder of a run: what its files say, and scoring its model again with nothing else."""

import csv
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime

import keras
import numpy as np
import pytest
from matplotlib.image import imread

from harkeras import load_model, predict_single_action, read_recipe
from harkeras.data.augment import default_augmentation
from harkeras.evaluation.held_out import evaluate_on_folder
from harkeras.evaluation.mistakes import list_mistakes, plot_mistakes
from harkeras.evaluation.plots import plot_confusion_matrix
from harkeras.evaluation.runs import create_run_folder, read_run
from harkeras.workflow import train_on_folder

pytestmark = pytest.mark.usefixtures("eager")

SMALL = {"model": "lrcn", "input_shape": (4, 64, 64, 3), "epochs": 2, "batch_size": 8, "verbose": False}
SMALL |= {"model_options": {"units": 4, "filters": (2, 2, 2, 2)}}


@pytest.fixture(scope="module")
def data_dir(sample_dir, tmp_path_factory):
    return shutil.copytree(sample_dir, tmp_path_factory.mktemp("data") / "clips")


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory):
    output_dir = tmp_path_factory.mktemp("models")
    return train_on_folder(data_dir, output_dir=output_dir, augment=default_augmentation(), **SMALL)


@pytest.fixture
def moved(data_dir, tmp_path):
    """The same clips in another folder."""
    return shutil.copytree(data_dir, tmp_path / "moved")


@pytest.fixture
def report(trained):
    return json.loads((trained.folder / "report.json").read_text())


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


class TestFiles:
    def test_a_run_holds_all_of_them(self, trained):
        assert trained.folder.name.startswith("lrcn__20")
        names = {path.name for path in trained.folder.iterdir()}
        pictures = {"loss.png", "accuracy.png", "confusion.png", "mistakes.png"}
        assert names == {"model.keras", "report.txt", "report.json", "clips.csv", "epochs.csv"} | pictures
        assert trained.path == trained.folder / "model.keras"
        assert trained.report == trained.folder / "report.txt"
        for name in pictures:
            assert imread(trained.folder / name).std() > 0.01  # something is drawn

    def test_the_text_is_for_people(self, trained):
        evaluation, text = trained.evaluation, trained.report.read_text()
        right = round(4 * evaluation.accuracy)
        assert text.startswith("lrcn, trained on 20")
        assert f"\nOf 4 clips that it was not trained on, the model named {right} right: " in text
        assert str(evaluation) in text
        assert "classes, and their clips: SittingDown (8), StandingUp (8)" in text
        assert 'sources: 4 of 16 clips, the number after "_g" in the name, the same in every class' in text
        assert "looks at 4 frames of 64 x 64 pixels (rgb), spread over clips of about " in text
        assert "\ntrained for 2 epochs\n" in text
        for line in ("epochs: 2", "batch_size: 8", "patience: 10", "seed: 27", "test_size: 0.25"):
            assert f"\n{line}\n" in text
        assert "\noptimizer: name Adam, learning_rate 0.001," in text
        assert "\nharkeras 0." in text
        wrong = 4 - right
        assert f"{wrong} test clips were named wrong" in text or "one test clip was named wrong" in text

    def test_the_report_as_plain_values(self, trained, report, data_dir):
        assert report["test"] == json.loads(json.dumps(trained.evaluation.to_dict()))
        assert report["data_dir"] == str(data_dir.absolute())
        assert report["clips"]["classes"] == {"SittingDown": 8, "StandingUp": 8}
        assert report["training"] | {"clips": 12, "epochs": 2, "interrupted": False} == report["training"]
        settings = report["settings"]
        assert (settings["model"], settings["epochs"], settings["batch_size"]) == ("lrcn", 2, 8)
        assert settings["model_options"] == {"units": 4, "filters": [2, 2, 2, 2]}
        assert (settings["seed"], settings["split"], settings["patience"]) == (27, "group", 10)
        assert settings["augment"][0].startswith("harkeras.data.")
        assert settings["optimizer"]["learning_rate"] == pytest.approx(0.001)
        assert set(report["versions"]) == {"harkeras", "keras", "tensorflow", "python"}
        assert len(report["test_clips"]) == 4
        matrix = trained.evaluation.confusion.tolist()
        lines = (trained.folder / "report.json").read_text().splitlines()
        assert any(line.strip().rstrip(",") == json.dumps(matrix[0]) for line in lines)

    def test_clips_with_their_sides(self, trained, data_dir):
        rows, record = rows_of(trained.folder / "clips.csv"), read_recipe(trained.path).training
        assert len(rows) == 16
        assert all((data_dir / row["clip"]).is_file() for row in rows)
        assert {row["source"] for row in rows if row["side"] == "train"} == set(record.train_groups)
        test = [row for row in rows if row["side"] == "test"]
        assert {row["source"] for row in test} == set(record.test_groups)
        right = [row["predicted"] == row["class"] for row in test]
        assert np.mean(right) == trained.evaluation.accuracy
        assert all(0.5 <= float(row["confidence"]) <= 1 for row in test)
        assert not any(row["predicted"] or row["confidence"] for row in rows if row["side"] == "train")

    def test_curves_as_numbers(self, trained):
        rows, history = rows_of(trained.folder / "epochs.csv"), trained.history.history
        assert [row["epoch"] for row in rows] == ["1", "2"]
        for name, values in history.items():
            assert [float(row[name]) for row in rows] == pytest.approx(values, rel=1e-4)

    def test_what_cannot_be_read_is_listed(self, data_dir, tmp_path):
        folder = shutil.copytree(data_dir, tmp_path / os.fsdecode(b"clips \xe9"))
        (folder / "SittingDown" / "v_SittingDown_g09_c01.mp4").write_text("no video")
        name = os.fsdecode(b"v_StandingUp_g01_c01 \xe9.mp4")
        (folder / "StandingUp" / "v_StandingUp_g01_c01.mp4").rename(folder / "StandingUp" / name)
        with pytest.warns(UserWarning, match="1 of 17 clips were left out"):
            trained = train_on_folder(
                folder, output_dir=tmp_path, group_by=lambda path: path.stem.split("_")[2], **SMALL
            )
        assert "1 of 17 clips could not be read" in trained.report.read_text()
        sides = {row["clip"]: row["side"] for row in rows_of(trained.folder / "clips.csv")}
        assert sides["SittingDown/v_SittingDown_g09_c01.mp4"] == "unreadable"
        assert r"StandingUp/v_StandingUp_g01_c01 \udce9.mp4" in sides
        assert r"clips \udce9" in trained.report.read_text()
        # Sources were named by a function, one of the names is not UTF-8: neither matters.
        again = evaluate_on_folder(trained.folder)
        assert again.to_dict() | {"latency_seconds": 0} == trained.evaluation.to_dict() | {
            "latency_seconds": 0
        }
        settings = json.loads((trained.folder / "report.json").read_text())["settings"]
        assert settings["group_by"].endswith("<lambda>")

    def test_a_report_that_cannot_be_written(self, data_dir, tmp_path, monkeypatch, caplog):
        def fail(*_args):
            raise OSError("no space left")

        monkeypatch.setattr("harkeras.evaluation.runs.leakage_report", fail)
        with caplog.at_level("WARNING", "harkeras"), pytest.raises(OSError, match="no space left"):
            train_on_folder(data_dir, output_dir=tmp_path, **SMALL)
        (run,) = tmp_path.iterdir()
        assert [path.name for path in run.iterdir()] == ["model.keras"]
        assert f"the report is not complete; the model lies in {run}" in caplog.text

    def test_doubts_stand_at_the_top(self, data_dir, tmp_path, trained):
        doubt = "\nClips of the same sources were trained on: with new sources, expect less.\n"
        assert doubt not in trained.report.read_text()
        leaking = train_on_folder(data_dir, output_dir=tmp_path, split="random", **SMALL)
        assert doubt in leaking.report.read_text()


class TestFolders:
    def test_two_runs_in_one_second(self, tmp_path, monkeypatch):
        class Clock(datetime):
            @classmethod
            def now(cls):
                return cls(2026, 3, 4, 5, 6, 7)

        monkeypatch.setattr("harkeras.evaluation.runs.datetime", Clock)
        with ThreadPoolExecutor(8) as pool:
            folders = list(pool.map(lambda _: create_run_folder(tmp_path / "runs", "lrcn"), range(8)))
        first = "lrcn__2026-03-04__05-06-07"
        assert {path.name for path in folders} == {first, *(f"{first}_{number}" for number in range(2, 9))}

    def test_the_name_of_a_model_made_by_a_function(self, tmp_path):
        assert create_run_folder(tmp_path, "<lambda>").name.startswith("_lambda___20")

    def test_a_run_stands_for_its_model(self, trained, data_dir):
        model = load_model(trained.folder)
        assert read_recipe(trained.folder) == model.recipe
        clip = next(data_dir.rglob("*.mp4"))
        actions = [predict_single_action(clip, path) for path in (trained.folder, trained.path, model)]
        assert len({action.confidence for action in actions}) == 1


class TestEvaluationOfARun:
    def test_it_needs_nothing_else(self, trained):
        again = evaluate_on_folder(trained.folder)
        for text in (again, trained.evaluation):
            assert "split: by source video: 16 clips of 4 sources" in str(text)
        assert again.to_dict() | {"latency_seconds": 0, "loss": 0} == trained.evaluation.to_dict() | {
            "latency_seconds": 0,
            "loss": 0,
        }

    def test_a_folder_that_has_moved(self, trained, moved, report, tmp_path):
        run = shutil.copytree(trained.folder, tmp_path / "run")
        report["data_dir"] = str(tmp_path / "nowhere")
        (run / "report.json").write_text(json.dumps(report))
        with pytest.raises(
            FileNotFoundError, match=r"no folder at .*nowhere, where the clips of the run were"
        ):
            evaluate_on_folder(run)
        assert evaluate_on_folder(run, moved).accuracy == trained.evaluation.accuracy

    def test_clips_that_are_missing_or_changed_are_named(self, trained, moved, report):
        places = [clip["clip"] for clip in report["test_clips"]]
        (moved / places[0]).unlink()
        with (moved / places[1]).open("ab") as file:
            file.write(b"\0\0\0\x10free" + bytes(8))
        with (
            pytest.warns(
                UserWarning, match=rf"1 of 4 test clips of the run are missing in .*\n  {places[0]}$"
            ),
            pytest.warns(UserWarning, match=rf"1 of 4 test clips of the run have changed.*\n  {places[1]}$"),
        ):
            again = evaluate_on_folder(trained.folder, moved)
        assert len(again.labels) == 3
        assert "; 3 of these 4 were scored again, 1 of them changed since: the report says 0." in again.split

    def test_a_training_clip_in_the_place_of_a_test_clip_is_not_scored(self, trained, moved, report):
        record = read_recipe(trained.path).training
        shutil.copy(moved / f"{record.train_paths[0]}.mp4", moved / report["test_clips"][0]["clip"])
        with pytest.warns(UserWarning, match=r"have changed since"):
            assert len(evaluate_on_folder(trained.folder, moved).labels) == 3

    def test_other_clips_of_the_folder(self, trained, moved):
        assert len(evaluate_on_folder(trained.folder, clips="all").labels) == 16
        assert len(evaluate_on_folder(trained.folder, moved, clips="held-out").labels) == 4
        with pytest.raises(ValueError, match="must hold test clips of the run, got none of 4"):
            evaluate_on_folder(trained.folder, moved / "SittingDown")

    def test_what_means_nothing_is_refused(self, trained, data_dir, tmp_path):
        with pytest.raises(ValueError, match="classes, cache must be left out where the test clips of a run"):
            evaluate_on_folder(trained.folder, classes=["a", "b"], cache=tmp_path / "a.npy")
        with pytest.raises(
            ValueError, match=r"data_dir is missing: .*model\.keras is not the folder of a run"
        ):
            evaluate_on_folder(trained.path)
        with pytest.raises(FileNotFoundError, match="no model file at nowhere, nor the folder of a run"):
            evaluate_on_folder("nowhere")
        with pytest.raises(ValueError, match=r"clips must not be recorded: .*model\.keras is not the folder"):
            evaluate_on_folder(trained.path, data_dir, clips="recorded")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"format": 2}, "it has format 2, and this version reads 1"),
            ({"test_clips": 5}, "TypeError"),
            ({"test_clips": [dict.fromkeys(("clip", "class", "source", "digest"))]}, "TypeError"),
            ({"test_clips": [{"clip": "a.mp4"}]}, "KeyError"),
            ({"test": {}}, "KeyError"),
            (
                {"test_clips": [dict.fromkeys(("class", "source", "digest"), "a") | {"clip": "../a"}]},
                "outside",
            ),
        ],
    )
    def test_damaged_reports(self, report, tmp_path, change, message):
        (tmp_path / "report.json").write_text(json.dumps(report | change))
        with pytest.raises(
            ValueError, match=f"report.json must be a report that harkeras wrote: .*{message}"
        ):
            read_run(tmp_path)
        (tmp_path / "report.json").write_text("{")
        with pytest.raises(
            ValueError, match=r"report.json must be a report that harkeras wrote: JSONDecodeError"
        ):
            read_run(tmp_path)

    def test_where_there_is_no_report(self, tmp_path, trained):
        assert read_run(tmp_path) is None
        assert read_run(trained.path) is None


class TestMistakes:
    @pytest.fixture
    def evaluation(self, trained):
        probabilities = np.array([[0.6, 0.4], [0.1, 0.9], [0.3, 0.7], [0.2, 0.8]], np.float32)
        labels = np.array([0, 0, 0, 1])
        named = probabilities.argmax(axis=1)
        return replace(trained.evaluation, labels=labels, named=named, probabilities=probabilities)

    def test_the_surest_come_first(self, evaluation):
        rows, sure = list_mistakes(evaluation)
        assert rows.tolist() == [1, 2]
        np.testing.assert_allclose(sure, [0.6, 0.9, 0.7, 0.8], rtol=1e-6)

    def test_each_shows_frames_classes_and_name(self, evaluation, data_dir):
        paths = sorted(data_dir.rglob("*.mp4"))[:4]
        figure = plot_mistakes(evaluation, paths)
        first, second = figure.axes
        assert first.get_title(loc="left") == f"SittingDown, named StandingUp (90%)\n{paths[1].name}"
        assert second.get_title(loc="left") == f"SittingDown, named StandingUp (70%)\n{paths[2].name}"
        assert first.images[0].get_array().shape == (180, 4 * 240 + 3 * 4, 3)
        assert [label.get_text()[-2:] for label in first.get_xticklabels()] == [" s"] * 4
        assert figure.get_suptitle() == "2 of 4 test clips were named wrong, the surest first"
        figure = plot_mistakes(evaluation, paths, names=["a", "b" * 200, "c", "d"], most=1)
        assert len(figure.axes) == 1
        assert len(figure.axes[0].get_title(loc="left").splitlines()[1]) == 64
        assert figure.get_suptitle().endswith("named wrong, here the 1 of which the model was surest")

    def test_a_clip_that_is_gone(self, evaluation, tmp_path):
        figure = plot_mistakes(evaluation, [tmp_path / f"{i}.mp4" for i in range(4)])
        assert "cannot be read: " in figure.axes[0].texts[0].get_text()

    def test_none(self, evaluation, data_dir):
        paths = sorted(data_dir.rglob("*.mp4"))[:4]
        assert plot_mistakes(replace(evaluation, named=evaluation.labels), paths) is None

    def test_errors(self, evaluation):
        with pytest.raises(ValueError, match="video_paths must be one per clip, got 2 for 4 clips"):
            plot_mistakes(evaluation, ["a.mp4", "b.mp4"])
        with pytest.raises(ValueError, match="most must be at least 1, got 0"):
            plot_mistakes(evaluation, ["a.mp4"] * 4, most=0)

    def test_names_are_no_formulas(self, evaluation, data_dir, tmp_path):
        classes = (r"$\frac$", "a$b$")
        paths = sorted(data_dir.rglob("*.mp4"))[:4]
        plot_mistakes(replace(evaluation, classes=classes), paths, names=[r"$\x$"] * 4).savefig(
            tmp_path / "a.png"
        )
        plot_confusion_matrix(np.eye(2, dtype=int), classes).savefig(tmp_path / "b.png")


def test_a_perfect_run_has_no_mistakes_to_show(data_dir, tmp_path, monkeypatch):
    import harkeras.workflow

    evaluate = harkeras.workflow.evaluate

    def all_right(model, dataset):
        evaluation = evaluate(model, dataset)
        return replace(evaluation, named=evaluation.labels, accuracy=1.0)

    monkeypatch.setattr("harkeras.workflow.evaluate", all_right)
    callback = keras.callbacks.ReduceLROnPlateau()
    trained = train_on_folder(data_dir, output_dir=tmp_path, callbacks=[callback], **SMALL)
    assert "no test clip was named wrong, so there is no mistakes.png" in trained.report.read_text()
    assert not (trained.folder / "mistakes.png").exists()
    settings = json.loads((trained.folder / "report.json").read_text())["settings"]
    assert settings["callbacks"] == ["ReduceLROnPlateau"]
