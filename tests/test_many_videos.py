import csv
import json
import shutil

import keras
import numpy as np
import pytest
from keras import layers

from harkeras.inference import predict_on_video, predict_on_videos, predict_single_action
from harkeras.models.saving import save_model
from harkeras.recipe import Recipe
from harkeras.video.reading import VideoInfo
from harkeras.video.writing import VideoWriter
from harkeras.video.youtube import DownloadedVideo, DownloadError

RGB = ("red", "green", "blue")
QUIET = {"progress": False}


def make_model():
    """A model that returns the share of each channel in the light."""
    clip = keras.Input((4, 8, 8, 3))
    light = layers.GlobalAveragePooling3D()(clip) + 1e-4
    model = keras.Model(clip, light / keras.ops.sum(light, axis=-1, keepdims=True))
    model.recipe = Recipe(RGB, 4, 8, 8, 1.0)
    return model


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three videos and two that are none, in `videos`; the model is in memory."""
    monkeypatch.chdir(tmp_path)
    for name, letters in (("a.mp4", "rrg"), ("deep/a.mp4", "b"), ("deep/c.mkv", "gggb")):
        path = tmp_path / "videos" / name
        with VideoWriter(path, 25) as writer:
            for letter in letters:
                image = np.zeros((48, 64, 3), np.uint8)
                image[..., "rgb".index(letter)] = 254
                for _ in range(25):
                    writer.write(image)
    (tmp_path / "videos" / "bad.mp4").write_text("no video")
    return tmp_path / "videos"


def read_rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class TestPredictOnVideos:
    def test_each_is_predicted_as_if_it_were_alone(self, folder):
        model = make_model()
        results = list(predict_on_videos("videos", model, **QUIET))
        assert [result.video for result in results] == [
            "videos/a.mp4",
            "videos/bad.mp4",
            "videos/deep/a.mp4",
            "videos/deep/c.mkv",
        ]
        for result in results:
            if not result.error:
                assert result.prediction == predict_on_video(result.video, model, **QUIET)
                assert result.seconds == VideoInfo.read(result.video).duration_seconds
        assert [result.action and result.action.label for result in results] == ["red", None, "blue", "green"]

    def test_a_bad_file_is_a_result_with_its_reason(self, folder):
        results = list(predict_on_videos(["videos/bad.mp4", "none.mp4", "0", folder], make_model(), **QUIET))
        assert [bool(result.error) for result in results] == [True, True, True, False, False, False]
        assert results[0].error.startswith("not a video")
        assert "no video file at none.mp4" in results[1].error
        assert "got '0', a camera" in results[2].error
        assert all(result.prediction is None and result.action is None for result in results[:3])

    def test_a_picture(self, folder, coded_frame):
        import cv2

        cv2.imwrite("p.jpg", coded_frame(1))
        (result,) = predict_on_videos("p.jpg", make_model(), **QUIET)
        assert "p.jpg, a picture" in result.error

    def test_outputs_and_table(self, folder, tmp_path):
        files = {"video_dir": "out/videos", "timeline_dir": "out/timelines", "table": "out/table.csv"}
        results = list(predict_on_videos("videos", make_model(), **files, top=2, **QUIET))
        written = sorted(
            path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")
        )
        assert written == [
            "table.csv",
            "timelines/a.csv",
            "timelines/deep/a.csv",
            "timelines/deep/c.csv",
            "videos/a.mp4",
            "videos/deep/a.mp4",
            "videos/deep/c.mp4",
        ]
        rows = read_rows(tmp_path / "out" / "table.csv")
        assert [row["video"] for row in rows] == [result.video for result in results]
        for row, result in zip(rows, results, strict=True):
            assert row["error"] == result.error
            if result.error:
                assert {row[name] for name in ("seconds", "action", "top_1", "output", "timeline")} == {""}
                continue
            assert float(row["seconds"]) == pytest.approx(result.seconds, abs=1e-3)
            assert row["action"] == row["top_1"] == result.action.label
            assert float(row["held_seconds"]) == pytest.approx(result.action.seconds, abs=1e-3)
            assert float(row["confidence"]) == pytest.approx(result.action.confidence, abs=1e-4)
            assert float(row["probability_1"]) >= float(row["probability_2"]) >= 0
            assert VideoInfo.read(row["output"]).duration_seconds == pytest.approx(result.seconds)
            assert read_rows(tmp_path / row["timeline"])[0]["top_1"] in RGB

    def test_what_holds_longest(self, folder):
        """The parts of a label count together; being unsure is no action, unless nothing else is named."""
        with VideoWriter(folder / "mixed.mp4", 25) as writer:
            for letters in ("r", "rgb", "rgb", "r", "rgb", "rgb", "rgb"):
                image = np.zeros((48, 64, 3), np.uint8)
                for letter in letters:
                    image[..., "rgb".index(letter)] = 200
                for _ in range(25):
                    writer.write(image)
        (result,) = predict_on_videos(folder / "mixed.mp4", make_model(), causal=True, **QUIET)
        held = {action.label: action for action in result.prediction.held_actions()}
        assert held["unsure"].seconds > held["red"].seconds > 1
        assert result.action == held["red"]
        segments = [segment for segment in result.prediction.segments if segment.label == "red"]
        assert len(segments) == 2
        seconds = [segment.end_seconds - segment.start_seconds for segment in segments]
        assert result.action.seconds == pytest.approx(sum(seconds))
        mean = np.average([segment.confidence for segment in segments], weights=seconds)
        assert result.action.confidence == pytest.approx(mean)

    def test_single(self, folder, tmp_path):
        model = make_model()
        results = list(predict_on_videos("videos", model, single=True, table="t.csv", top=9, **QUIET))
        for result in results:
            if not result.error:
                assert result.prediction == predict_single_action(result.video, model)
                assert result.action == (
                    result.prediction.label,
                    result.seconds,
                    result.prediction.confidence,
                )
                assert len(result.most_probable(9)) == 3
        assert [row["action"] for row in read_rows(tmp_path / "t.csv")] == ["red", "", "blue", "green"]

    def test_the_model_is_loaded_once_and_options_reach_it(self, folder, tmp_path, monkeypatch):
        path, calls = save_model(make_model(), tmp_path / "model.keras"), []
        module = "harkeras.inference.resolve"
        from harkeras.inference import resolve

        load = resolve.load_model
        monkeypatch.setattr(f"{module}.load_model", lambda *args: calls.append(args) or load(*args))
        results = list(
            predict_on_videos("videos", path, classes=["x", "y", "z"], stride_seconds=0.25, **QUIET)
        )
        assert len(calls) == 1
        assert results[0].action.label == "x"
        assert np.diff(results[0].prediction.windows[:, 0]) == pytest.approx(0.25)

    @pytest.mark.filterwarnings("always")
    def test_what_was_assumed_is_told_once(self, folder):
        clip = keras.Input((4, 8, 8, 3))
        model = keras.Model(clip, layers.Softmax()(layers.GlobalAveragePooling3D()(clip) / 100))
        with pytest.warns(UserWarning, match="these options were not passed") as caught:
            list(predict_on_videos("videos", model, classes=RGB, **QUIET))
        assert sum("were not passed" in str(warning.message) for warning in caught) == 1

    def test_the_table_is_there_after_each_video(self, folder, tmp_path):
        results = predict_on_videos("videos", make_model(), table="t.csv", **QUIET)
        for count in (1, 2, 3):
            next(results)
            assert len(read_rows(tmp_path / "t.csv")) == count
        results.close()
        assert len(read_rows(tmp_path / "t.csv")) == 3

    def test_ctrl_c_keeps_what_is_done(self, folder, tmp_path, monkeypatch):
        results = predict_on_videos("videos", make_model(), video_dir="out", table="t.csv", **QUIET)
        next(results)

        def interrupt(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr("harkeras.inference._video_tasks.predict_on_video", interrupt)
        next(results)  # the bad one
        with pytest.raises(KeyboardInterrupt):
            next(results)
        assert (tmp_path / "out" / "a.mp4").exists()
        assert [row["error"] != "" for row in read_rows(tmp_path / "t.csv")] == [False, True]

    def test_urls(self, folder, monkeypatch):
        def download(url, output_dir, progress):
            if "none" in url:
                raise DownloadError(f"could not download {url}: offline")
            return DownloadedVideo(folder / "a.mp4", "A")

        monkeypatch.setattr("harkeras.inference._video_tasks.download_youtube_videos", download)
        urls = ["https://x.org/film.mp4", "https://x.org/none.mp4", "https://x.org/live.m3u8"]
        one, two, three = predict_on_videos(urls, make_model(), video_dir="out", **QUIET)
        assert (one.video, one.output.name, one.action.label) == (urls[0], "film.mp4", "red")
        assert one.output.exists()
        assert "offline" in two.error
        assert "a stream" in three.error

    def test_cells_are_no_formulas_and_names_steer_no_terminal(self, folder, tmp_path):
        shutil.move(folder / "a.mp4", folder / "=1+\x1b[31m.mp4")
        list(predict_on_videos("videos", make_model(), table="t.csv", classes=["=a", "b", "c"], **QUIET))
        text = (tmp_path / "t.csv").read_text()
        assert "\x1b" not in text
        assert "'=a" in text

    def test_outputs_replace_no_input(self, folder):
        before = (folder / "a.mp4").read_bytes()
        for target in ("videos", folder / "deep" / ".."):
            with pytest.raises(ValueError, match="video_dir must be another folder than that of the videos"):
                predict_on_videos("videos", make_model(), video_dir=target)
        with pytest.raises(ValueError, match=r"table must not replace .*a\.csv"):
            predict_on_videos("videos", make_model(), timeline_dir="out", table="out/a.csv")
        assert (folder / "a.mp4").read_bytes() == before

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"videos": []}, ValueError, "videos must name at least one"),
            ({"videos": "*.webm"}, FileNotFoundError, "no video matches"),
            ({"model": "none.keras"}, FileNotFoundError, "no model file at none.keras"),
            ({"video_dir": "out.mp4"}, ValueError, "video_dir must be a folder .* got out.mp4"),
            ({"timeline_dir": "videos/a.mp4"}, ValueError, "timeline_dir must be a folder"),
            ({"table": "t.txt"}, ValueError, "table must end in .csv, got t.txt"),
            ({"table": "videos/a.mp4/t.csv"}, OSError, "a.mp4"),
            ({"top": -1}, ValueError, "top must be at least 0, got -1"),
            ({"single": True, "video_dir": "out"}, ValueError, "must be left out with single"),
            ({"single": True, "per_person": True}, ValueError, "per_person must be left out with single"),
            ({"caption": "middle"}, ValueError, "caption must be one of"),
            ({"hysteresis": 2}, ValueError, "hysteresis must lie in 0 to 1, got 2"),
            ({"stride_seconds": 0}, ValueError, "stride_seconds must be positive, got 0"),
            ({"classes": ["x", "y"]}, ValueError, "classes must name the model's 3 outputs, got 2"),
        ],
    )
    def test_arguments_are_checked_at_once(self, folder, arguments, error, message):
        arguments = {"videos": "videos", "model": make_model()} | arguments
        with pytest.raises(error, match=message):
            predict_on_videos(**arguments)

    def test_progress(self, folder, capsys):
        list(predict_on_videos("videos", make_model(), **QUIET))
        assert capsys.readouterr() == ("", "")
        list(predict_on_videos("videos", make_model()))
        assert "4/4" in capsys.readouterr().err


class TestTop:
    def test_of_a_timeline(self, folder, tmp_path):
        model = make_model()
        for suffix in ("json", "csv"):
            path = tmp_path / f"t.{suffix}"
            prediction = predict_on_video("videos/a.mp4", model, timeline=path, top=2, **QUIET)
        segments = json.loads((tmp_path / "t.json").read_text())
        rows = read_rows(tmp_path / "t.csv")
        assert len(segments) == len(rows) == len(prediction.segments) == 2
        for segment, read, row in zip(prediction.segments, segments, rows, strict=True):
            means = prediction.probabilities_of(segment)
            labels = sorted(means, key=means.get, reverse=True)[:2]
            assert [each["label"] for each in read["top"]] == labels == [row["top_1"], row["top_2"]]
            assert read["top"][1]["probability"] == pytest.approx(means[labels[1]])
            assert float(row["probability_2"]) == pytest.approx(means[labels[1]], abs=1e-4)
            assert read["label"] == labels[0]

    def test_more_than_there_are(self, folder, tmp_path):
        predict_on_video("videos/a.mp4", make_model(), timeline=tmp_path / "t.json", top=9, **QUIET)
        assert len(json.loads((tmp_path / "t.json").read_text())[0]["top"]) == 3

    def test_wrong_number(self, folder):
        with pytest.raises(ValueError, match="top must be at least 0, got -1"):
            predict_on_video("videos/a.mp4", make_model(), top=-1)
