import csv
import json
import os
from collections import deque
from dataclasses import replace
from fractions import Fraction
from itertools import groupby, pairwise

import av
import cv2
import keras
import numpy as np
import pytest
from keras import layers

import harkeras.inference.prediction
from harkeras.data.batches import ClipDataset
from harkeras.evaluation.scores import evaluate
from harkeras.inference._timeline import Segment, VideoPrediction, decide
from harkeras.inference.decisions import UNSURE, Decider, Window
from harkeras.inference.prediction import predict_image, predict_on_video, predict_single_action
from harkeras.models import create_lrcn_model
from harkeras.models.saving import save_model
from harkeras.recipe import Recipe
from harkeras.video.drawing import class_color
from harkeras.video.reading import VideoError, VideoInfo, frames_extraction, iter_frames, read_clip
from harkeras.video.writing import VideoWriter

RGB = ("red", "green", "blue")
OFF = {"smoothing_seconds": 0, "hysteresis": 0, "min_seconds": 0, "threshold": 0}
QUIET = {"progress": False}


def colour_model(frames=4, size=8):
    """A model that returns the share of each channel in the light: a red video is "red" for sure."""
    clip = keras.Input((frames, size, size, 3))
    light = layers.GlobalAveragePooling3D()(clip) + 1e-4
    return keras.Model(clip, light / keras.ops.sum(light, axis=-1, keepdims=True))


def colour_model_with_recipe(clip_seconds=1.0, classes=RGB, **values):
    model = colour_model()
    model.recipe = Recipe(classes, 4, 8, 8, clip_seconds, **values)
    return model


def pixel_model(frames=4, size=8):
    """A model to which it matters what pixels are, softmax(mean of each channel / 100)."""
    clip = keras.Input((frames, size, size, 3))
    return keras.Model(clip, layers.Softmax()(layers.GlobalAveragePooling3D()(clip) / 100))


def softmax(values):
    powers = np.exp(values - np.max(values))
    return powers / powers.sum()


@pytest.fixture
def colour_video(tmp_path):
    """`colour_video("rrg", seconds=1)`: a video that is red for two seconds, then green for one."""

    def write(letters, seconds=1.0, fps=25, height=48, width=64, name="colours.mp4"):
        with VideoWriter(tmp_path / name, fps) as writer:
            for letter in letters:
                image = np.zeros((height, width, 3), np.uint8)
                image[..., "rgb".index(letter)] = 254
                for _ in range(round(seconds * fps)):
                    writer.write(image)
        return tmp_path / name

    return write


def clip_means(clip):
    return clip.reshape(-1, 3).mean(0)


def light_shares(clip):
    return clip_means(clip) / clip_means(clip).sum()


class TestPredictSingleAction:
    def test_looks_at_frames_from_all_of_the_video(self, make_video):
        video, model = make_video(), colour_model_with_recipe(clip_seconds=2.0)
        action = predict_single_action(video, model)
        expected = light_shares(frames_extraction(video, 4, 8, 8))
        assert list(action.probabilities) == list(RGB)
        np.testing.assert_allclose(list(action.probabilities.values()), expected, atol=1e-5)
        assert action.label == RGB[expected.argmax()]
        assert action.confidence == action.probabilities[action.label]
        assert {type(value) for value in action.probabilities.values()} == {float}

    def test_range(self, colour_video):
        video, model = colour_video("rgb"), colour_model_with_recipe()
        assert predict_single_action(video, model, end_seconds=1).label == "red"
        assert predict_single_action(video, model, start_seconds=1, end_seconds=2).label == "green"
        assert predict_single_action(video, model, start_seconds=2).label == "blue"

    def test_path_and_model_in_memory_give_the_same(self, make_video, tmp_path):
        model = create_lrcn_model(3)
        path = save_model(model, tmp_path / "model.keras", recipe=Recipe(RGB, 20, 64, 64, 2.4))
        video = make_video()
        from_path, from_memory = predict_single_action(video, path), predict_single_action(video, model)
        assert from_path.label == from_memory.label
        clip = frames_extraction(video, 20, 64, 64)[None]
        for action in (from_path, from_memory, predict_single_action(str(video), str(path))):
            values = list(action.probabilities.values())
            np.testing.assert_allclose(values, model.predict(clip, verbose=0)[0], atol=1e-5)

    @pytest.mark.parametrize("channel_order", [None, "rgb", "bgr"])
    @pytest.mark.parametrize("normalize", [None, False, True])
    def test_models_from_elsewhere(self, make_video, tmp_path, normalize, channel_order):
        pixel_model().save(tmp_path / "theirs.keras")
        video = make_video(indices=range(10))
        action = predict_single_action(
            video, tmp_path / "theirs.keras", classes=RGB, normalize=normalize, channel_order=channel_order
        )
        expected = softmax(clip_means(frames_extraction(video, 4, 8, 8)) / (25500 if normalize else 100))
        if channel_order == "bgr":
            expected = expected[::-1]
        np.testing.assert_allclose(list(action.probabilities.values()), expected, rtol=1e-4)

    def test_arguments_stand_over_the_recipe(self, colour_video):
        video, model = colour_video("r"), pixel_model()
        model.recipe = recipe = Recipe(RGB, 4, 8, 8, 1.0)
        assert predict_single_action(video, model).confidence > 0.8
        assert predict_single_action(video, model, normalize=True).confidence < 0.35
        assert predict_single_action(video, model, channel_order="bgr").label == "blue"
        assert predict_single_action(video, model, classes=["x", "y", "z"]).label == "x"
        assert model.recipe is recipe

    def test_errors(self, make_video, tmp_path):
        video, model = make_video(), colour_model_with_recipe()
        with pytest.raises(FileNotFoundError, match=r"no video file at .*none\.mp4"):
            predict_single_action(tmp_path / "none.mp4", model)
        with pytest.raises(FileNotFoundError, match=r"no model file at .*none\.keras"):
            predict_single_action(video, tmp_path / "none.keras")
        with pytest.raises(ValueError, match="start_seconds must lie in the video"):
            predict_single_action(video, model, start_seconds=99)
        (tmp_path / "text.mp4").write_text("no video")
        with pytest.raises(VideoError, match=r"text\.mp4"):
            predict_single_action(tmp_path / "text.mp4", model)


@pytest.mark.parametrize("predict", [predict_single_action, predict_on_video])
class TestRecipes:
    def test_classes_missing(self, make_video, predict):
        with pytest.raises(ValueError, match="classes are missing: the model has no recipe"):
            predict(make_video(), colour_model())

    def test_classes_do_not_fit(self, make_video, predict):
        with pytest.raises(ValueError, match=r"classes must name the model's 3 outputs, got 2: \['a', 'b'"):
            predict(make_video(), colour_model(), classes=["a", "b"])
        with pytest.raises(ValueError, match="classes must name the model's 3 outputs, got 2"):
            predict(make_video(), colour_model_with_recipe(classes=("a", "b")))

    @pytest.mark.parametrize("shape", [(8, 8, 3), (None, 8, 8, 3), (8, 8), (2, 4, 8, 8, 3)])
    def test_input_is_no_clip(self, make_video, predict, shape):
        clip = keras.Input(shape)
        x = layers.Reshape((-1, shape[-1]))(clip) if None not in shape else layers.GlobalAvgPool3D()(clip)
        x = layers.GlobalAvgPool1D()(x) if x.ndim == 3 else x
        model = keras.Model(clip, layers.Dense(3, activation="softmax")(x))
        with pytest.raises(
            ValueError, match=r"model must take clips \(B, T, H, W, C\) of fixed size, .* got"
        ):
            predict(make_video(), model, classes=RGB)

    def test_wrong_values(self, make_video, predict):
        with pytest.raises(ValueError, match="channel_order must be one of 'rgb', 'bgr', got 'gbr'"):
            predict(make_video(), colour_model(), classes=RGB, channel_order="gbr", normalize=False)


class TestPredictOnVideo:
    def test_timeline(self, colour_video):
        video = colour_video("rgbr", seconds=4)
        prediction = predict_on_video(video, colour_model_with_recipe(), **QUIET)
        assert [segment.label for segment in prediction.segments] == ["red", "green", "blue", "red"]
        borders = [segment.start_seconds for segment in prediction.segments]
        np.testing.assert_allclose(borders, [0, 4, 8, 12], atol=0.3)
        assert prediction.segments[-1].end_seconds == 16
        assert all(0.8 < segment.confidence <= 1 for segment in prediction.segments)

    def test_causal_is_what_a_stream_decides(self, colour_video):
        video, model = colour_video("rgbbrgrbbgr", seconds=0.9), colour_model_with_recipe(clip_seconds=2.0)
        whole, causal = (predict_on_video(video, model, causal=causal, **QUIET) for causal in (False, True))
        windows = [
            Window(*times, row) for times, row in zip(causal.windows, causal.probabilities, strict=True)
        ]
        expected = decide(Decider(RGB, 1.0), windows, VideoInfo.read(video).duration_seconds)
        assert causal == expected
        assert causal.segments != whole.segments
        assert np.array_equal(causal.probabilities, whole.probabilities)

    def test_windows_are_predicted_as_clips(self, make_video):
        video, model = make_video(fps=Fraction(30000, 1001)), colour_model_with_recipe()
        prediction = predict_on_video(video, model, stride_seconds=0.31, **QUIET)
        np.testing.assert_allclose(prediction.windows, [[0, 1], [0.31, 1.31], [0.62, 1.62], [0.93, 1.93]])
        assert prediction.classes == RGB
        assert prediction.probabilities.dtype == np.float32
        for (start, end), probabilities in zip(prediction.windows, prediction.probabilities, strict=True):
            action = predict_single_action(video, model, start_seconds=start, end_seconds=end)
            np.testing.assert_allclose(probabilities, list(action.probabilities.values()), atol=1e-6)

    def test_defaults(self, make_video):
        prediction = predict_on_video(make_video(), colour_model_with_recipe(), **QUIET)
        np.testing.assert_allclose(prediction.windows[:, 0], np.arange(3) * 0.5, atol=1e-9)
        video = make_video("long.mp4", indices=range(120))
        known = {"normalize": True, "channel_order": "rgb", "clip_seconds": 4}
        prediction = predict_on_video(video, colour_model(), classes=RGB, **known, **QUIET)
        np.testing.assert_allclose(prediction.windows, [[0, 4]])

    def test_clip_seconds_stands_over_the_recipe(self, make_video):
        model = colour_model_with_recipe()
        prediction = predict_on_video(make_video(), model, clip_seconds=2.0, **QUIET)
        np.testing.assert_allclose(prediction.windows[0], [0, 2])

    @pytest.mark.parametrize("indices", [range(1), range(9), range(60)])
    def test_video_no_longer_than_a_window_is_one_clip(self, make_video, indices):
        video = make_video(indices=indices)
        model = colour_model_with_recipe(clip_seconds=2.4)
        prediction = predict_on_video(video, model, **QUIET, **OFF)
        action = predict_single_action(video, model)
        (segment,) = prediction.segments
        assert segment == (
            0,
            pytest.approx(len(indices) / 25),
            action.label,
            pytest.approx(action.confidence),
        )
        np.testing.assert_allclose(prediction.windows, [[0, len(indices) / 25]])
        np.testing.assert_allclose(
            prediction.probabilities[0], list(action.probabilities.values()), atol=1e-6
        )

    def test_everything_off_is_arg_max(self, colour_video):
        video = colour_video("rgbbrgrbbgr", seconds=0.7)
        prediction = predict_on_video(video, colour_model_with_recipe(), **QUIET, **OFF)
        runs = [label for label, _ in groupby(RGB[i] for i in prediction.probabilities.argmax(1))]
        assert len(runs) > 6
        assert [segment.label for segment in prediction.segments] == runs

    @pytest.mark.parametrize("settings", [{}, OFF, {"threshold": 0.55, "min_seconds": 0}])
    def test_segments_are_contiguous(self, colour_video, settings):
        video = colour_video("rgbbrgrbbgr", seconds=0.7, fps=30000 / 1001)
        segments = predict_on_video(video, colour_model_with_recipe(), **QUIET, **settings).segments
        assert segments[0].start_seconds == 0
        assert segments[-1].end_seconds == VideoInfo.read(video).duration_seconds
        for one, other in pairwise(segments):
            assert one.start_seconds < one.end_seconds == other.start_seconds
            assert one.label != other.label
        assert all(type(value) in (float, str) for segment in segments for value in segment)

    def test_unsure(self, colour_video):
        video, model = colour_video("rgrg", seconds=0.2), colour_model_with_recipe(clip_seconds=0.8)
        (segment,) = predict_on_video(video, model, threshold=0.9, **QUIET).segments
        assert segment.label == UNSURE
        assert segment.confidence == pytest.approx(0.5, abs=0.05)  # of the best class

    def test_label_at(self):
        segments = [Segment(0.0, 1.0, "a", 0.5), Segment(1.0, 2.5, "b", 0.6), Segment(2.5, 3.0, "a", 0.7)]
        prediction = VideoPrediction(segments, ("a", "b"), *[np.zeros((1, 2))] * 2, *[np.zeros(1)] * 2)
        moments = {0: 0, 0.99: 0, 1: 1, 2.4999: 1, 2.5: 2, 2.9: 2, 3: 2}
        assert all(prediction.label_at(seconds) is segments[i] for seconds, i in moments.items())

    @pytest.mark.parametrize("settings", [{}, OFF, {"threshold": 0.9}])
    def test_probabilities_of_segments_and_moments(self, colour_video, settings):
        video = colour_video("rgbbrgrbbgr", seconds=0.7, fps=30000 / 1001)
        prediction = predict_on_video(video, colour_model_with_recipe(), **QUIET, **settings)
        for segment in prediction.segments:
            means = prediction.probabilities_of(segment)
            assert list(means) == list(RGB)
            assert sum(means.values()) == pytest.approx(1)
            if segment.label != UNSURE:
                assert means[segment.label] == pytest.approx(segment.confidence)
        moments = prediction.moments
        for k in (0, 3, len(moments) - 1):
            assert prediction.probability_at("green", moments[k]) == pytest.approx(prediction.smoothed[k, 1])
        between = prediction.probability_at("blue", (moments[3] + moments[4]) / 2)
        assert between == pytest.approx(prediction.smoothed[3:5, 2].mean())
        assert prediction.probability_at("red", -1) == pytest.approx(prediction.smoothed[0, 0])
        assert prediction.probability_at("red", 99) == pytest.approx(prediction.smoothed[-1, 0])

    def test_damaged_video(self, make_video):
        video = make_video("cut.ts", range(100))
        data = bytearray(video.read_bytes())
        data[len(data) // 2 : len(data) // 2 + 2000] = bytes(2000)
        video.write_bytes(data)
        with pytest.warns(UserWarning, match=r"cut\.ts"):
            prediction = predict_on_video(video, colour_model_with_recipe(), stride_seconds=0.25, **QUIET)
        assert len(prediction.windows) >= 8

    def test_first_frames_that_do_not_decode(self, make_video):
        video = make_video("cut.mkv", gop=30)
        data, start = bytearray(video.read_bytes()), 2000
        data[start : start + 1500] = bytes(1500)
        video.write_bytes(data)
        with pytest.warns(UserWarning, match=r"cut\.mkv"):
            prediction = predict_on_video(video, colour_model_with_recipe(), **QUIET)
        assert len(prediction.windows)

    def test_progress(self, make_video, tmp_path, capsys):
        video, model = make_video(indices=range(10)), colour_model_with_recipe()
        predict_on_video(video, model, tmp_path / "out.mp4", progress=False)
        assert capsys.readouterr() == ("", "")
        predict_on_video(video, model, tmp_path / "out.mp4")
        out, err = capsys.readouterr()
        assert not out
        assert "Recognizing" in err
        assert "Writing" in err
        assert "10/10" in err

    @pytest.mark.real_data
    def test_lrcn_gives_what_the_whole_model_gives_on_every_window(self, real_data):
        model = create_lrcn_model(2)
        model.recipe = Recipe(("Fight", "NoFight"), 20, 64, 64, 1.0)
        for video in sorted(real_data.glob("videos/*.mp4"))[:3]:
            prediction = predict_on_video(video, model, stride_seconds=0.31, **QUIET)
            ranges = {"start_seconds": prediction.windows[:, 0], "end_seconds": prediction.windows[:, 1]}
            clips = [
                frames_extraction(video, **dict(zip(ranges, map(float, window), strict=True)))
                for window in zip(*ranges.values(), strict=True)
            ]
            expected = model.predict(np.stack(clips), verbose=0)
            np.testing.assert_allclose(prediction.probabilities, expected, atol=1e-5)

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("stride_seconds", 0, "stride_seconds must be positive, got 0"),
            ("smoothing_seconds", -1, "smoothing_seconds must be at least 0, got -1"),
            ("min_seconds", -1, "min_seconds must be at least 0, got -1"),
            ("hysteresis", 2, "hysteresis must lie in 0 to 1, got 2"),
            ("threshold", -0.5, "threshold must lie in 0 to 1, got -0.5"),
            ("clip_seconds", 0, "clip_seconds must be .*, got 0"),
        ],
    )
    def test_numbers_out_of_range(self, make_video, tmp_path, name, value, message):
        with pytest.raises(ValueError, match=message):
            predict_on_video(make_video(), colour_model_with_recipe(), tmp_path / "out.mp4", **{name: value})
        assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]

    def test_missing_and_unreadable_files(self, make_video, tmp_path):
        with pytest.raises(FileNotFoundError, match="no video file at"):
            predict_on_video(tmp_path / "none.mp4", colour_model_with_recipe(), tmp_path / "out.mp4")
        with pytest.raises(FileNotFoundError, match="no model file at"):
            predict_on_video(make_video(), tmp_path / "none.keras")
        (tmp_path / "text.mp4").write_text("no video")
        with pytest.raises(VideoError, match=r"text\.mp4"):
            predict_on_video(tmp_path / "text.mp4", colour_model_with_recipe())


class TestTimeline:
    @pytest.fixture
    def video(self, colour_video):
        return colour_video("rg", seconds=2)

    def test_csv(self, video, tmp_path):
        model = colour_model_with_recipe(classes=("röd, ja", 'g"rün', "синий"))
        path = tmp_path / "new" / "timeline.CSV"
        segments = predict_on_video(video, model, timeline=path, **QUIET).segments
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        assert header == ["start_seconds", "end_seconds", "label", "confidence"]
        assert [row[2] for row in rows] == ["röd, ja", 'g"rün']
        for row, segment in zip(rows, segments, strict=True):
            assert float(row[0]) == pytest.approx(segment.start_seconds, abs=0.0005)
            assert float(row[1]) == pytest.approx(segment.end_seconds, abs=0.0005)
            assert float(row[3]) == pytest.approx(segment.confidence, abs=0.00005)

    def test_json(self, video, tmp_path):
        model = colour_model_with_recipe(classes=("röd", "g", "b"))
        path = tmp_path / "timeline.JSON"
        segments = predict_on_video(video, model, timeline=str(path), **QUIET).segments
        text = path.read_text(encoding="utf-8")
        assert "röd" in text
        assert [Segment(**values) for values in json.loads(text)] == segments

    @pytest.mark.parametrize("name", ["timeline.txt", "timeline", "out.mp4"])
    def test_wrong_suffix(self, video, tmp_path, name):
        with pytest.raises(ValueError, match=f"timeline must end in .csv or .json, got .*{name}"):
            predict_on_video(video, colour_model_with_recipe(), timeline=tmp_path / name)

    def test_folder_that_cannot_be_made(self, video):
        with pytest.raises(OSError, match=r"colours\.mp4"):
            predict_on_video(video, colour_model_with_recipe(), timeline=video / "timeline.csv", **QUIET)

    def test_an_error_leaves_the_older_file(self, video, tmp_path, monkeypatch):
        path = tmp_path / "timeline.csv"
        path.write_text("older")
        monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("full disk")))
        with pytest.raises(OSError, match="full disk"):
            predict_on_video(video, colour_model_with_recipe(), timeline=path, **QUIET)
        assert path.read_text() == "older"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["colours.mp4", "timeline.csv"]


class TestAnnotatedVideo:
    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("cfr.mp4", {}),
            ("ntsc.avi", {"fps": Fraction(30000, 1001), "codec": "mpeg4"}),
            ("vfr.mkv", {"ticks": np.cumsum([40, 17, 33, 250, 5, 80] * 10), "time_base": Fraction(1, 1000)}),
            (
                "bursts.mkv",
                {"ticks": [i // 2 * 5000 + i % 2 for i in range(60)], "time_base": Fraction(1, 1000)},
            ),
            ("rotated.mov", {"rotation": 90}),
            ("odd.mkv", {"height": 239, "width": 321, "pix_fmt": "yuv444p"}),
            ("tiny.mp4", {"height": 16, "width": 16}),
            ("one.mp4", {"indices": range(1)}),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_frames_and_times_are_those_of_the_video(self, make_video, tmp_path, name, options):
        video, output = make_video(name, **options), tmp_path / "out.mp4"
        predict_on_video(video, colour_model_with_recipe(), output, **QUIET)
        before, after = VideoInfo.read(video), VideoInfo.read(output)
        assert after.frame_count == before.frame_count
        np.testing.assert_allclose(after.frame_seconds, before.frame_seconds, atol=0.0005)
        assert (after.height, after.width) == (
            before.height + before.height % 2,
            before.width + before.width % 2,
        )
        with av.open(str(output)) as container:
            context = container.streams.video[0].codec_context
            assert (context.name, context.pix_fmt) == ("h264", "yuv420p")

    def test_what_stands_behind_is_the_frame(self, make_video, tmp_path):
        video, output = make_video(height=240, width=320), tmp_path / "out.mp4"
        predict_on_video(video, colour_model_with_recipe(), output, **QUIET)
        for before, after in zip(iter_frames(video), iter_frames(output), strict=True):
            middle = np.abs(before.image.astype(int) - after.image)[70:220]
            assert np.median(middle) < 8

    def test_label_strip_and_playhead_are_seen(self, colour_video, tmp_path):
        thickness = 0.05 if int(cv2.__version__.split(".")[0]) >= 5 else 0.03  # share of the box
        video, output = colour_video("bg", seconds=2, height=240, width=320), tmp_path / "out.mp4"
        predict_on_video(video, colour_model_with_recipe(), output, **QUIET)
        frames = [frame.image.astype(int) for frame in iter_frames(output)]
        for frame, background in ((frames[0], (0, 0, 254)), (frames[-1], (0, 254, 0))):
            corner = frame[:30, :80]
            assert (corner.min(2) > 180).mean() > thickness  # white letters
            assert (np.abs(frame[60:200] - background).max(2) < 20).mean() > 0.99
        left, right = frames[50][-4, 40], frames[50][-4, 280]
        assert np.abs(left - right).max() > 60  # two labels, two colours
        for index in (25, 50, 75):
            light = frames[index][-6:].min((0, 2))
            assert np.abs(light.argmax() - 320 * index / 100) <= 3

    def test_no_caption_changes_while_the_label_holds(self, colour_video, tmp_path):
        video, output = colour_video("r", seconds=2), tmp_path / "out.mp4"
        predict_on_video(video, colour_model_with_recipe(), output, **QUIET)
        corners = np.stack([frame.image[:10].astype(int) for frame in iter_frames(output)])
        assert np.abs(corners - corners[0]).max() < 60

    def test_the_percentage_follows_the_moment(self, tmp_path, monkeypatch):
        """Red fades out: from sure to half, in one segment; the text changes five times a second."""
        with VideoWriter(tmp_path / "fade.mp4", 25) as writer:
            for number in range(100):
                image = np.zeros((48, 64, 3), np.uint8)
                image[..., 0], image[..., 1] = 200, 2 * number
                writer.write(image)
        drawn = []

        def note(image, label, probability, *_, **__):
            drawn.append((label, probability))

        monkeypatch.setattr("harkeras.inference._annotated_video.draw_caption", note)
        settings = {"threshold": 0, "hysteresis": 1.0}
        prediction = predict_on_video(
            tmp_path / "fade.mp4", colour_model_with_recipe(), tmp_path / "out.mp4", **settings, **QUIET
        )
        assert len(prediction.segments) == 1
        values = [probability for label, probability in drawn if label == "red"]
        assert len(values) == 100
        assert values == sorted(values, reverse=True)
        assert values[0] > 0.8
        assert values[-1] < 0.6
        assert len(set(values)) <= 21
        assert values[52] == pytest.approx(prediction.probability_at("red", 2.0))

    @pytest.mark.parametrize("caption", ["top-left", "top-right", "bottom-left", "bottom-right", "none"])
    def test_the_caption_stands_where_it_is_wanted(self, colour_video, tmp_path, caption):
        video = colour_video("r", height=240, width=320)
        predict_on_video(video, colour_model_with_recipe(), tmp_path / "out.mp4", caption=caption, **QUIET)
        (frame,) = iter_frames(tmp_path / "out.mp4", every_seconds=1)
        light = frame.image.min(axis=-1) > 150  # letters
        corners = {"top-left": light[:22, :100], "top-right": light[:22, -100:]}
        corners |= {"bottom-left": light[190:212, :100], "bottom-right": light[190:212, -100:]}
        assert [name for name, corner in corners.items() if corner.any()] == (
            [] if caption == "none" else [caption]
        )

    def test_wrong_caption(self, make_video, tmp_path):
        with pytest.raises(ValueError, match=r"caption must be one of top-left, .*, none, got 'middle'"):
            predict_on_video(make_video(), colour_model_with_recipe(), tmp_path / "out.mp4", caption="middle")
        assert not (tmp_path / "out.mp4").exists()

    def test_of_many_classes_each_that_is_named_has_a_color_of_its_own(self):
        classes = tuple(f"class {number}" for number in range(400))
        named = [classes[number] for number in (3, 10, 17, 24, 31)]  # seven apart
        segments = [Segment(k, k + 1, label, 0.9) for k, label in enumerate((*named, UNSURE))]
        prediction = VideoPrediction(segments, classes, *[np.zeros((1, 2))] * 2, *[np.zeros(1)] * 2)
        colors = prediction.label_colors()
        assert list(colors) == [*named, UNSURE]
        assert len(set(colors.values())) == 6
        prediction = replace(prediction, classes=(*named, "other"))
        assert all(
            color == class_color(label, prediction.classes)
            for label, color in prediction.label_colors().items()
        )

    @pytest.mark.parametrize("older", [False, True])
    def test_an_error_leaves_no_half_file_and_the_older_one(self, make_video, tmp_path, monkeypatch, older):
        video, output = make_video(), tmp_path / "out.mp4"
        if older:
            output.write_text("older")
        names = sorted(path.name for path in tmp_path.iterdir())
        write, written = VideoWriter.write, []

        def fail_at_last(writer, image, seconds):
            if len(written) == 30:
                raise OSError("full disk")
            written.append(seconds)
            write(writer, image, seconds)

        monkeypatch.setattr(VideoWriter, "write", fail_at_last)
        with pytest.raises(OSError, match=r"full disk|out\.mp4"):
            predict_on_video(video, colour_model_with_recipe(), output, **QUIET)
        assert len(written) == 30
        assert sorted(path.name for path in tmp_path.iterdir()) == names
        assert not older or output.read_text() == "older"

    def test_output_that_cannot_be_written_is_known_before_the_work(self, make_video, tmp_path, monkeypatch):
        (tmp_path / "file").touch()
        monkeypatch.setattr(harkeras.inference.prediction, "slide", None)
        with pytest.raises(OSError, match="file"):
            predict_on_video(make_video(), colour_model_with_recipe(), tmp_path / "file" / "out.mp4")

    def test_output_must_not_be_the_video(self, make_video, tmp_path, monkeypatch):
        video, model = make_video(), colour_model_with_recipe()
        (tmp_path / "link.mp4").symlink_to(video)
        monkeypatch.chdir(tmp_path)
        (tmp_path / "second.mp4").hardlink_to(video)
        before = video.read_bytes()
        for output in (video, tmp_path / "link.mp4", "clip.mp4", tmp_path / "." / "clip.mp4", "second.mp4"):
            with pytest.raises(
                ValueError, match=r"output must not replace .*, which this run reads or writes"
            ):
                predict_on_video(video, model, output)
        assert video.read_bytes() == before

    @pytest.mark.browser
    @pytest.mark.parametrize("options", [{}, {"height": 239, "width": 321}], ids=["even", "odd"])
    def test_plays_in_a_browser(self, colour_video, tmp_path, play_in_browser, options):
        video = colour_video("rg", seconds=0.4, **options)
        predict_on_video(video, colour_model_with_recipe(), tmp_path / "clip.mp4", **QUIET)
        result = play_in_browser(tmp_path / "clip.mp4")
        assert "error" not in result, result
        assert result["seconds"] == pytest.approx(0.8, abs=0.05)
        assert np.abs(np.array(result["colour"][:3]) - (0, 254, 0)).max() <= 8


class TestWindowsOfOneAction:
    """A model sees clips as long as it was trained on, in one long video as in many short ones."""

    def test_a_long_video_is_seen_in_windows(self, make_video):
        video, model = make_video(indices=range(200)), colour_model_with_recipe(clip_seconds=1.5)
        answers = [
            light_shares(frames_extraction(video, 4, 8, 8, start_seconds=start, end_seconds=start + 1.5))
            for start in np.linspace(0, 8 - 1.5, 6)  # six of 1.5 s, which just cover 8 s
        ]
        action = predict_single_action(video, model)
        np.testing.assert_allclose(list(action.probabilities.values()), np.mean(answers, axis=0), atol=1e-5)

    @pytest.mark.parametrize(("start", "end"), [(0.5, 5.3), (1.013, 7.777), (3.2, None), (None, 4.1)])
    def test_and_so_is_a_range(self, make_video, start, end):
        video, model = make_video(indices=range(200)), colour_model_with_recipe()
        first, last = start or 0, end or 8
        starts = np.linspace(first, last - 1, int(np.ceil(last - first - 1e-6)))
        spans = [{"start_seconds": s, "end_seconds": s + 1} for s in starts]
        answers = [light_shares(frames_extraction(video, 4, 8, 8, **span)) for span in spans]
        action = predict_single_action(video, model, start_seconds=start, end_seconds=end)
        np.testing.assert_allclose(list(action.probabilities.values()), np.mean(answers, axis=0), atol=1e-5)

    @pytest.mark.parametrize("streams", ["gray", "flow", "rgb+flow"])
    def test_whatever_the_clips_hold(self, make_video, streams):
        video, fields = make_video(indices=range(120)), 0 if streams == "gray" else 2
        recipe = Recipe(("a", "b"), 3, 16, 24, 1.0, streams=streams, flow_fields=fields)
        clip = keras.Input(recipe.clip_shape)
        x = layers.Dense(2, activation="softmax")(layers.Flatten()(layers.Rescaling(1 / 255)(clip)))
        model = keras.Model(clip, x)
        model.recipe = recipe
        action = predict_single_action(video, model, start_seconds=1.3, end_seconds=4.3)
        spans = [{"start_seconds": s, "end_seconds": s + 1} for s in (1.3, 2.3, 3.3)]
        clips = np.stack([read_clip(video, recipe.clip_format, **span) for span in spans])
        expected = model.predict(clips, verbose=0).mean(axis=0)
        np.testing.assert_allclose(list(action.probabilities.values()), expected, atol=1e-4)

    @pytest.mark.parametrize(("seconds", "windows"), [(2.0, 1), (3.0, 1), (3.2, 2)])
    def test_up_to_one_and_a_half_windows_are_one_clip(self, make_video, seconds, windows):
        video, model = make_video(indices=range(round(25 * seconds))), colour_model_with_recipe(2.0)
        if windows == 1:
            expected = light_shares(frames_extraction(video, 4, 8, 8))
        else:
            spans = [{"start_seconds": s, "end_seconds": s + 2} for s in (0, seconds - 2)]
            expected = np.mean([light_shares(frames_extraction(video, 4, 8, 8, **s)) for s in spans], axis=0)
        action = predict_single_action(video, model)
        np.testing.assert_allclose(list(action.probabilities.values()), expected, atol=1e-5)

    def test_clip_seconds_can_be_passed(self, colour_video):
        """What lies between four frames that are spread over eight seconds is seen in windows of one."""
        video, model = colour_video("rrrrgrrr"), colour_model_with_recipe(clip_seconds=8.0)
        assert predict_single_action(video, model).probabilities["green"] < 0.01
        action = predict_single_action(video, model, clip_seconds=1.0)
        assert action.probabilities["green"] == pytest.approx(1 / 8, abs=0.02)

    @pytest.mark.parametrize("value", [-0.1, 8.0, float("nan")])
    def test_ranges_outside(self, make_video, value):
        video, model = make_video(indices=range(200)), colour_model_with_recipe()
        with pytest.raises(ValueError, match=r"start_seconds must lie in the video, 0 to 8\.000, got"):
            predict_single_action(video, model, start_seconds=value)
        with pytest.raises(ValueError, match=r"end_seconds must be greater than start_seconds \(1\), got"):
            predict_single_action(video, model, start_seconds=1, end_seconds=min(value, 1.0))


def test_temperature_works_before_the_mean_everywhere(colour_video):
    """It divides the logits of one clip: evaluation, timelines and single actions agree."""
    video, model = colour_video("rgrrrb", 0.5, fps=24), colour_model_with_recipe(temperature=3.0)
    plain = colour_model_with_recipe()
    options = {"frames": 4, "height": 8, "width": 8, "clip_seconds": 1.0, "clips_per_video": 3}
    clips = ClipDataset([video], np.array([0]), **options)
    raw = model.predict(np.stack([clips.try_to_read(0, place) for place in clips.places]), verbose=0)
    expected = model.recipe.sharpen(raw).mean(axis=0)
    np.testing.assert_allclose(evaluate(model, clips).probabilities[0], expected, atol=1e-5)
    assert np.abs(model.recipe.sharpen(raw.mean(axis=0)) - expected).max() > 1e-3  # the other way round
    windows = predict_on_video(video, plain, stride_seconds=1.0, **QUIET).probabilities
    expected = model.recipe.sharpen(windows)
    sharp = predict_on_video(video, model, stride_seconds=1.0, **QUIET).probabilities
    np.testing.assert_allclose(sharp, expected, atol=1e-5)
    action = predict_single_action(video, model)  # the same three windows
    np.testing.assert_allclose(list(action.probabilities.values()), expected.mean(axis=0), atol=1e-5)


class TestEquality:
    def test_predictions_are_compared_whole(self, make_video):
        video, model = make_video(), colour_model_with_recipe()
        one, other = (predict_on_video(video, model, **QUIET) for _ in range(2))
        assert one == other
        assert one != replace(other, probabilities=1 - other.probabilities)
        assert one != replace(other, windows=other.windows[1:])
        assert one != replace(other, segments=[])
        assert one != predict_on_video(video, model, **QUIET, classes=["x", "y", "z"])
        assert one != "prediction"


class TestInterpolation:
    @staticmethod
    def resized(video, frames, height, width):
        """Frames as `cv2.resize` gives them by default, of those that are decoded."""
        images = [frame.image for frame in iter_frames(video)]
        rows = [int((k + 0.5) * len(images) / frames + 1e-6) for k in range(frames)]
        return np.stack([cv2.resize(images[row], (width, height)) for row in rows])

    @pytest.mark.parametrize("size", [(64, 64), (17, 31), (100, 300)])
    @pytest.mark.parametrize("options", [{}, {"rotation": 90}], ids=["upright", "rotated"])
    def test_bilinear_is_what_opencv_does(self, make_video, size, options):
        video = make_video("clip.mov", height=120, width=200, **options)
        clip = frames_extraction(video, 5, *size, interpolation="bilinear")
        np.testing.assert_array_equal(clip, self.resized(video, 5, *size))
        assert (clip != frames_extraction(video, 5, *size)).any()

    @pytest.mark.parametrize("predict", [predict_single_action, predict_on_video])
    def test_it_reaches_the_model(self, make_video, predict):
        video = make_video(height=120, width=200, indices=range(25))
        pixels = keras.Input((2, 9, 9, 3))
        x = layers.Flatten()(pixels) / 100
        model, count = keras.Model(pixels, layers.Softmax()(x)), 2 * 9 * 9 * 3
        classes = [str(i) for i in range(count)]
        options = {"classes": classes, "normalize": False, "channel_order": "rgb", "clip_seconds": 1.0}
        for interpolation in ("area", "bilinear"):
            prediction = predict(video, model, interpolation=interpolation, **options)
            probabilities = getattr(prediction, "probabilities", None)
            if predict is predict_single_action:
                probabilities = list(probabilities.values())
            clip = frames_extraction(video, 2, 9, 9, interpolation=interpolation)
            np.testing.assert_allclose(np.ravel(probabilities), softmax(clip.ravel() / 100), rtol=1e-3)

    def test_of_images(self):
        image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
        pixels = keras.Input((9, 9, 3))
        model = keras.Model(pixels, layers.Softmax()(layers.Flatten()(pixels) / 100))
        options = {"classes": [str(i) for i in range(243)], "normalize": False, "channel_order": "rgb"}
        action = predict_image(image, model, interpolation="bilinear", **options)
        expected = softmax(cv2.resize(image, (9, 9)).ravel() / 100)
        np.testing.assert_allclose(list(action.probabilities.values()), expected, rtol=1e-3)

    @pytest.mark.real_data
    def test_the_answers_of_the_tutorials_loop(self, real_data):
        """It reads with OpenCV, keeps BGR, resizes, divides by 255, and asks of the last T frames."""
        frames, size = 20, 64
        model = keras.Sequential(
            [
                keras.Input((frames, size, size, 3)),
                layers.TimeDistributed(layers.Conv2D(8, 3, padding="same", activation="relu")),
                layers.TimeDistributed(layers.MaxPooling2D(4)),
                layers.TimeDistributed(layers.Flatten()),
                layers.LSTM(16),
                layers.Dense(3, activation="softmax"),
            ]
        )
        for video in sorted(real_data.glob("videos/*.mp4"))[:3]:
            reader, queue, answers = cv2.VideoCapture(str(video)), deque(maxlen=frames), []
            while (read := reader.read())[0]:
                queue.append(cv2.resize(read[1], (size, size)) / 255)
                if len(queue) == frames:
                    answers.append(model(np.stack(queue)[None].astype(np.float32))[0])
            fps = VideoInfo.read(video).fps
            options = {"normalize": True, "channel_order": "bgr", "interpolation": "bilinear"}
            prediction = predict_on_video(
                video,
                model,
                classes=RGB,
                clip_seconds=frames / fps,
                stride_seconds=1 / fps,
                **options,
                **QUIET,
            )
            assert len(prediction.probabilities) == len(answers) > 10
            np.testing.assert_allclose(prediction.probabilities, answers, atol=1e-4)
            assert (prediction.probabilities.argmax(axis=1) == np.argmax(answers, axis=1)).all()


class TestOutputs:
    @pytest.mark.parametrize("timeline", ["same.csv", "link.csv", "./same.csv", "folder/../same.csv"])
    def test_no_output_replaces_another(self, make_video, tmp_path, monkeypatch, timeline):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "folder").mkdir()
        (tmp_path / "link.csv").symlink_to("same.csv")
        with pytest.raises(ValueError, match=r"output must not replace .*, which this run reads or writes"):
            predict_on_video(make_video(), colour_model_with_recipe(), "same.csv", timeline=timeline)
        assert not (tmp_path / "same.csv").exists()

    @pytest.mark.parametrize("argument", ["output", "timeline"])
    def test_nor_the_model(self, make_video, tmp_path, argument):
        path = save_model(colour_model_with_recipe(), tmp_path / "model.keras")
        before = path.read_bytes()
        target = tmp_path / ("link.csv" if argument == "timeline" else "link.mp4")
        for link in (target.symlink_to, target.hardlink_to):
            link(path)
            with pytest.raises(ValueError, match=f"{argument} must not replace .*model.keras"):
                predict_on_video(make_video(), path, **{argument: target})
            target.unlink()
        assert path.read_bytes() == before

    @pytest.mark.parametrize("argument", ["output", "timeline"])
    def test_pipes_and_folders(self, make_video, tmp_path, argument):
        suffix = ".csv" if argument == "timeline" else ".mp4"
        os.mkfifo(tmp_path / f"pipe{suffix}")
        (tmp_path / f"folder{suffix}").mkdir()
        for name in ("pipe", "folder"):
            with pytest.raises(ValueError, match=f"{argument} must be a regular file, got .*{name}"):
                predict_on_video(
                    make_video(), colour_model_with_recipe(), **{argument: tmp_path / (name + suffix)}
                )

    def test_a_suffix_that_is_not_written_is_known_before_the_model_is_loaded(self, make_video, tmp_path):
        with pytest.raises(ValueError, match=r"path must end in \.mp4, .*got .*out\.avi"):
            predict_on_video(make_video(), tmp_path / "none.keras", tmp_path / "out.avi")

    def test_no_cell_is_a_formula(self, colour_video, tmp_path):
        model = colour_model_with_recipe(classes=("=cmd|calc", "-1+1", "@x"))
        predict_on_video(colour_video("rgb"), model, timeline=tmp_path / "t.csv", **OFF, **QUIET)
        with (tmp_path / "t.csv").open(newline="") as file:
            assert [row[2] for row in csv.reader(file)][1:] == ["'=cmd|calc", "'-1+1", "'@x"]


class TestPictures:
    @pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp", "tiff", "gif", "mp4"])
    def test_are_no_videos(self, tmp_path, coded_frame, suffix):
        path = tmp_path / f"picture.{suffix}"
        if suffix == "gif":
            with av.open(str(path), "w") as container:
                stream = container.add_stream("gif", rate=10)
                stream.height, stream.width, stream.pix_fmt = 64, 96, "rgb8"
                frame = av.VideoFrame.from_ndarray(coded_frame(5), format="rgb24").reformat(format="rgb8")
                container.mux(stream.encode(frame) + stream.encode(None))
        else:
            path.write_bytes(cv2.imencode(".jpg" if suffix == "mp4" else f".{suffix}", coded_frame(5))[1])
        for predict in (predict_single_action, predict_on_video):
            with pytest.raises(
                ValueError, match=r"must be a video, got .*, a picture .*harkeras\.predict_image"
            ):
                predict(path, colour_model_with_recipe())

    def test_a_gif_that_moves_is_one(self, tmp_path, make_video):
        video = make_video("moving.gif", range(10), codec="gif", pix_fmt="rgb8", fps=10)
        assert predict_single_action(video, colour_model_with_recipe()).label in RGB


class TestTimesOfOutputs:
    """Whatever times a file has, its annotated copy can be written, every frame at its time."""

    @pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
    @pytest.mark.parametrize(
        "ticks",
        [
            [i // 2 * 40_000 + i % 2 for i in range(40)],  # two at once, a microsecond apart
            [i * 40_000 + (i > 20) * 3600 * 10**6 for i in range(40)],
            [i for i in range(40)],
        ],
        ids=["bursts", "gap", "a million per second"],
    )
    def test_no_frame_is_lost(self, make_video, tmp_path, ticks, suffix):
        video = make_video("clip.mkv", range(40), ticks=ticks, time_base=Fraction(1, 10**6))
        output = (tmp_path / "out").with_suffix(suffix)
        predict_on_video(video, colour_model_with_recipe(), output, **QUIET)
        before, after = VideoInfo.read(video), VideoInfo.read(output)
        assert after.frame_count == before.frame_count
        np.testing.assert_allclose(after.frame_seconds, before.frame_seconds, atol=0.09)

    def test_pictures_that_begin_after_the_sound(self, make_video, tmp_path):
        """Times of the timeline hold in the copy, whose first frame stands from 0 on."""
        ticks = [25 + i for i in range(60)]
        video = make_video("late.mp4", ticks=ticks, time_base=Fraction(1, 25), audio_seconds=3)
        prediction = predict_on_video(video, colour_model_with_recipe(), tmp_path / "out.mp4", **QUIET)
        before, after = VideoInfo.read(video), VideoInfo.read(tmp_path / "out.mp4")
        assert before.frame_seconds[0] == pytest.approx(1, abs=0.03)
        np.testing.assert_allclose(after.frame_seconds[1:], before.frame_seconds[1:], atol=0.002)
        assert prediction.windows[0, 0] == before.frame_seconds[0]
        assert prediction.segments[-1].end_seconds == before.duration_seconds

    def test_a_stream_that_changes_its_size(self, tmp_path, encode):
        parts = [encode(tmp_path / f"{h}.ts", range(25), height=h, width=w) for h, w in ((64, 96), (32, 48))]
        video = tmp_path / "both.ts"
        video.write_bytes(b"".join(part.read_bytes() for part in parts))
        predict_on_video(video, colour_model_with_recipe(), tmp_path / "out.mp4", **QUIET)
        after = VideoInfo.read(tmp_path / "out.mp4")
        assert (after.height, after.width, after.frame_count) == (64, 96, VideoInfo.read(video).frame_count)
