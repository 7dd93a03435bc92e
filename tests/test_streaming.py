import gc
import os
import subprocess
import sys
import tracemalloc
import weakref
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from harkeras.inference._window_buffer import frames_on_screen
from harkeras.inference.decisions import Decider
from harkeras.inference.splitting import split_per_frame
from harkeras.inference.streaming import ActionStream, push_together
from harkeras.models import create_convlstm_model, create_lrcn_model, create_pose_lstm_model
from harkeras.models.saving import save_model
from harkeras.recipe import Recipe
from harkeras.video._scans import Scan
from harkeras.video.reading import VideoInfo, frames_extraction, iter_frames

NTSC = Fraction(30000, 1001)
VARIABLE = np.cumsum([40, 17, 33, 250, 5, 80] * 10)  # milliseconds
VIDEOS = {
    "cfr.mp4": {},
    "ntsc.mp4": {"fps": NTSC, "b_frames": 2},
    "ntsc.avi": {"fps": NTSC, "codec": "mpeg4"},  # times in whole frames
    "ntsc.mkv": {"fps": NTSC},  # times in whole milliseconds
    "vfr.mp4": {"ticks": VARIABLE, "time_base": Fraction(1, 1000)},
    "vfr.mkv": {"ticks": VARIABLE, "time_base": Fraction(1, 1000)},
    "rotated.mov": {"rotation": 90},
}
CLASSES = ("Fight", "NoFight", "Walk")


def pixels_model(frames=5, size=12, *, per_frame=True):
    """A model whose "probabilities" are the very pixels that it was shown, and the recipe of it."""
    clip = x = keras.Input((frames, size, size, 3))
    if per_frame:
        same = layers.DepthwiseConv2D(1, depthwise_initializer="ones", use_bias=False)
        x = layers.TimeDistributed(same)(x)
    model = keras.Model(clip, layers.Flatten()(x))
    return model, Recipe(tuple(map(str, range(frames * size * size * 3))), frames, size, size, 1.0)


def tutorial_model(frames=6, size=32):
    """LRCN as the tutorials write it: Sequential, no Rescaling."""
    pool = layers.MaxPooling2D
    return keras.Sequential(
        [
            keras.Input((frames, size, size, 3)),
            layers.TimeDistributed(layers.Conv2D(8, (3, 3), padding="same", activation="relu")),
            layers.TimeDistributed(pool((4, 4))),
            layers.TimeDistributed(layers.Dropout(0.25)),
            layers.TimeDistributed(layers.Conv2D(16, (3, 3), padding="same", activation="relu")),
            layers.TimeDistributed(pool((4, 4))),
            layers.TimeDistributed(layers.Flatten()),
            layers.LSTM(16),
            layers.Dense(3, activation="softmax"),
        ]
    )


def small_lrcn():
    return create_lrcn_model(3, (6, 64, 64, 3))


def inner_model(frames=4, size=16):
    inner = keras.Sequential(
        [
            keras.Input((size, size, 3)),
            layers.Conv2D(4, 3),
            layers.BatchNormalization(),
            layers.GlobalMaxPooling2D(),
        ]
    )
    clip = keras.Input((frames, size, size, 3))
    x = layers.TimeDistributed(inner)(layers.Rescaling([1 / 255, 0.01, 0.02], offset=[0, 1, -1])(clip))
    return keras.Model(clip, layers.Dense(3, activation="softmax")(layers.GRU(5)(x)))


def branching_model(where, frames=4, size=16):
    clip = keras.Input((frames, size, size, 3))
    maps = layers.TimeDistributed(layers.Conv2D(4, 3))(clip)
    vectors = layers.TimeDistributed(layers.GlobalMaxPooling2D())(maps)
    other = layers.GlobalAveragePooling3D()({"input": clip, "middle": maps}[where])
    x = layers.Concatenate()([layers.LSTM(4)(vectors), other])
    return keras.Model(clip, layers.Dense(3, activation="softmax")(x))


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def read(video, size=12):
    frames = list(iter_frames(video, height=size, width=size))
    return np.stack([frame.image for frame in frames]), np.array([frame.seconds for frame in frames])


def stream_all(stream, images, seconds, end_seconds, chunk=32):
    windows = []
    for i in range(0, len(images), chunk):
        windows += stream.push(images[i : i + chunk], seconds[i : i + chunk])
    return windows + stream.finish(end_seconds)


def assert_same_windows(some, others, tolerance=1e-6):
    assert [window[:2] for window in some] == [window[:2] for window in others]
    for one, other in zip(some, others, strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=tolerance)


class TestSplitPerFrame:
    @pytest.mark.parametrize("trained", [False, True], ids=["random", "trained"])
    @pytest.mark.parametrize("build", [small_lrcn, tutorial_model, inner_model])
    def test_parts_equal_the_whole_on_every_window(self, build, trained):
        model = build()
        _, frames, height, width, _ = model.input_shape
        if trained:
            model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
            model.fit(noise(8, frames, height, width, 3) / 255, np.arange(8) % 3, epochs=3, verbose=0)
        stream = ActionStream(model, Recipe(CLASSES, frames, height, width, 1.0), stride_seconds=0.09)
        images, seconds = noise(60, height, width, 3), np.arange(60) / 25
        windows = stream_all(stream, images, seconds, 60 / 25)
        assert len(windows) == 16
        rows = frames_on_screen(seconds, np.array([window.start_seconds for window in windows]), 1.0, frames)
        expected = model.predict(images[rows].astype(np.float32), verbose=0)
        np.testing.assert_allclose([window.probabilities for window in windows], expected, atol=1e-5)
        assert split_per_frame(model) is not None

    def test_model_saved_and_loaded_without_recipe(self, tmp_path):
        model = tutorial_model()
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        clips = noise(3, 6, 32, 32, 3).astype(np.float32)
        encoder, head = split_per_frame(loaded)
        features = np.asarray(encoder(clips.reshape(-1, 32, 32, 3))).reshape(3, 6, -1)
        np.testing.assert_allclose(head(features), model(clips), atol=1e-5)

    @pytest.mark.parametrize("build", [small_lrcn, tutorial_model])
    def test_model_remains_as_it_was(self, tmp_path, build):
        model = build()
        clips = noise(1, *model.input_shape[1:]).astype(np.float32)
        before = model.predict(clips, verbose=0)
        for _ in range(3):
            encoder, head = split_per_frame(model)
            assert encoder.count_params() + head.count_params() == model.count_params()
        model.save(tmp_path / "model.keras")
        np.testing.assert_array_equal(model.predict(clips, verbose=0), before)
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(loaded.predict(clips, verbose=0), before)

    @pytest.mark.parametrize(
        "build",
        [
            lambda: create_convlstm_model(3, (4, 32, 32, 3)),
            lambda: branching_model("input"),
            lambda: branching_model("middle"),
            lambda: pixels_model(per_frame=False)[0],
        ],
        ids=["convlstm", "branch from the input", "branch from the middle", "no weights"],
    )
    def test_models_that_cannot_be_split(self, build):
        assert split_per_frame(build()) is None

    @pytest.mark.parametrize(
        "build", [lambda: create_convlstm_model(3, (4, 32, 32, 3)), lambda: branching_model("middle")]
    )
    def test_whole_models_give_what_predict_gives(self, build):
        model = build()
        _, frames, height, width, _ = model.input_shape
        stream = ActionStream(model, Recipe(CLASSES, frames, height, width, 1.0), stride_seconds=0.1)
        images, seconds = noise(50, height, width, 3), np.arange(50) / 25
        windows = stream_all(stream, images, seconds, 2.0)
        assert len(windows) == 11
        rows = frames_on_screen(seconds, np.array([window.start_seconds for window in windows]), 1.0, frames)
        expected = model.predict(images[rows], verbose=0)
        np.testing.assert_allclose([window.probabilities for window in windows], expected, atol=1e-6)


class TestWindows:
    @pytest.fixture(params=VIDEOS)
    def video(self, request, make_video):
        return make_video(request.param, **VIDEOS[request.param])

    @pytest.mark.parametrize("needed_only", [True, False], ids=["needed frames", "all frames"])
    @pytest.mark.parametrize("stride", [None, "frame", 0.1234, 1.5])
    def test_frames_are_those_of_frames_extraction(self, video, stride, needed_only):
        info = VideoInfo.read(video)
        model, recipe = pixels_model()
        for clip_seconds in (1.0, 0.777):
            recipe = Recipe(recipe.classes, 5, 12, 12, clip_seconds)
            stream = ActionStream(model, recipe, stride_seconds=1 / info.fps if stride == "frame" else stride)
            images, seconds = read(video)
            needed = np.full(len(images), True)
            if needed_only:
                needed = stream.frames_needed(info.frame_seconds, info.duration_seconds)
            windows = stream_all(stream, images[needed], seconds[needed], info.duration_seconds)
            count = int((info.duration_seconds - clip_seconds + 1e-6) // stream.stride_seconds) + 1
            starts = stream.stride_seconds * np.arange(count)
            assert [window.start_seconds for window in windows] == starts.tolist()
            assert [window.end_seconds for window in windows] == (starts + clip_seconds).tolist()
            for window in windows:
                clip = frames_extraction(
                    video, 5, 12, 12, start_seconds=window.start_seconds, end_seconds=window.end_seconds
                )
                np.testing.assert_array_equal(window.probabilities.reshape(clip.shape), clip)

    @pytest.mark.parametrize("frames", [1, 5, 100])
    @pytest.mark.parametrize(
        ("indices", "clip_seconds"), [(range(1), 1.0), (range(10), 1.0), (range(25), 1.0), (range(60), 2.4)]
    )
    def test_video_that_is_no_longer_than_a_window_is_one_clip(
        self, make_video, indices, clip_seconds, frames
    ):
        video = make_video(indices=indices)
        model, recipe = pixels_model(frames)
        stream = ActionStream(model, Recipe(recipe.classes, frames, 12, 12, clip_seconds))
        images, seconds = read(video)
        (window,) = stream_all(stream, images, seconds, len(indices) / 25)
        assert window[:2] == (0, pytest.approx(len(indices) / 25))
        clip = frames_extraction(video, frames, 12, 12)
        np.testing.assert_array_equal(window.probabilities.reshape(clip.shape), clip)
        needed = stream.frames_needed(seconds, len(indices) / 25)
        assert needed.sum() == len(set(np.flatnonzero(needed)) | {0})

    def test_needed_frames(self):
        stream = ActionStream(*pixels_model(), stride_seconds=1.0)
        needed = stream.frames_needed(np.arange(100) / 25, 4.0)
        middles = {int(25 * start + 2.5 + 5 * k) for start in range(4) for k in range(5)}
        assert set(np.flatnonzero(needed)) == middles | {0}

    def test_frames_on_screen(self):
        rows = frames_on_screen(np.array([0, 0.1, 0.35, 0.6]), np.array([0.0, 0.3]), 0.4, 2)
        assert rows.tolist() == [[1, 1], [2, 3]]  # on screen at 0.1 and 0.3, at 0.4 and 0.6
        assert frames_on_screen(np.array([0.5, 0.6]), np.array([0.0]), 0.2, 2).tolist() == [[0, 0]]

    def test_no_window_looks_behind_the_end(self):
        stream = ActionStream(*pixels_model(), stride_seconds=0.02)
        windows = stream_all(stream, noise(51, 12, 12, 3), np.arange(51) / 25, 51 / 25)
        assert len(windows) == 53
        assert windows[-1].end_seconds == pytest.approx(51 / 25)


# One model for each number of frames, because a model is compiled once.
COUNTING = {frames: pixels_model(frames, 1) for frames in (1, 2, 5)}


class TestSampling:
    """A window of a stream shows the frames that a reader picks from that part of a file, whatever its
    times."""

    @settings(max_examples=60, deadline=None)
    @given(
        steps=st.lists(st.sampled_from([1, 33, 40, 250, 2000]) | st.integers(1, 9000), max_size=60),
        last=st.integers(1, 3000),
        delay=st.sampled_from([0, 70]),
        frames=st.sampled_from(list(COUNTING)),
        clip_seconds=st.sampled_from([1.0, 0.777]) | st.floats(0.01, 5),
        stride_seconds=st.sampled_from([None, 0.04, 1.5]) | st.floats(0.05, 4),
        chunk=st.integers(1, 60),
        needed_only=st.booleans(),
    )
    def test_windows_against_sampling(
        self, steps, last, delay, frames, clip_seconds, stride_seconds, chunk, needed_only
    ):
        ticks = np.cumsum([delay, *steps])
        scan = Scan(Fraction(1, 1000), ticks, 0, int(ticks[-1]) + last, np.array([0]), False)
        model, recipe = COUNTING[frames]
        recipe = replace(recipe, clip_seconds=clip_seconds)
        stream = ActionStream(model, recipe, stride_seconds=stride_seconds)
        rows = np.arange(len(ticks))
        if needed_only:
            rows = np.flatnonzero(stream.frames_needed(scan.seconds, scan.end_seconds))
        images = np.repeat(rows, 3).reshape(-1, 1, 1, 3).astype(np.uint8)  # each shows its number
        windows = stream_all(stream, images, scan.seconds[rows], scan.end_seconds, chunk)
        assert windows
        for window in windows:
            assert window.end_seconds <= scan.end_seconds + 1e-5
            sampled = scan.spread(frames, window.start_seconds, window.end_seconds)
            shown = window.probabilities.reshape(frames, 3)[:, 0].astype(int)
            assert ticks[shown].tolist() == sampled.tolist()


class TestPush:
    @pytest.mark.parametrize("per_frame", [True, False], ids=["split", "whole"])
    def test_blocks_of_any_size_give_the_same(self, per_frame):
        model, recipe = pixels_model(per_frame=per_frame)
        images, seconds = noise(90, 12, 12, 3), np.arange(90) / 25
        expected = None
        for chunk in (90, 1, 2, 7, 32, 89):
            stream = ActionStream(model, recipe, stride_seconds=0.07)
            windows = stream_all(stream, images, seconds, 3.6, chunk)
            expected = expected or windows
            assert_same_windows(windows, expected, tolerance=0)

    def test_lrcn_one_by_one_equals_blocks(self):
        model = small_lrcn()
        recipe = Recipe(CLASSES, 6, 64, 64, 1.0)
        images, seconds = noise(50, 64, 64, 3), np.arange(50) / 25
        windows = [
            stream_all(ActionStream(model, recipe, stride_seconds=0.1), images, seconds, 2.0, chunk)
            for chunk in (1, 50)
        ]
        assert_same_windows(*windows)

    def test_many_windows_at_once_go_through_in_pieces(self, monkeypatch):
        monkeypatch.setattr("harkeras.inference.per_frame.NUMBERS_PER_CALL", 3 * 5 * 12 * 12 * 3)
        model, recipe = pixels_model(per_frame=False)
        images, seconds = noise(100, 12, 12, 3), np.arange(100) / 25
        windows = stream_all(ActionStream(model, recipe, stride_seconds=0.04), images, seconds, 4.0, 100)
        assert len(windows) == 76
        last = windows[-1].probabilities.reshape(5, 12, 12, 3)
        np.testing.assert_array_equal(last, images[[77, 82, 87, 92, 97]])

    @pytest.mark.parametrize("per_frame", [True, False], ids=["split", "whole"])
    def test_the_newest_window_alone(self, per_frame):
        model, recipe = pixels_model(per_frame=per_frame)
        images, seconds = noise(90, 12, 12, 3), np.arange(90) / 25
        every = stream_all(ActionStream(model, recipe, stride_seconds=0.1), images, seconds, 3.6)
        stream, newest = ActionStream(model, recipe, stride_seconds=0.1), []
        for i in range(0, 90, 15):
            newest += stream.push(images[i : i + 15], seconds[i : i + 15], newest_only=True)
        assert len(newest) == 5
        expected = [[w for w in every if w.end_seconds <= seconds[i] + 1e-6][-1] for i in range(29, 90, 15)]
        assert_same_windows(newest, expected, tolerance=0)

    def test_a_window_comes_as_soon_as_its_end_is_reached(self):
        stream = ActionStream(*pixels_model())
        images = noise(27, 12, 12, 3)
        counts = [len(stream.push(images[i : i + 1], [7 + i / 25])) for i in range(27)]
        assert counts == [0] * 25 + [1, 0]

    def test_time_starts_with_the_first_frame(self):
        stream = ActionStream(*pixels_model())
        (window,) = stream.push(noise(26, 12, 12, 3), 7 + np.arange(26) / 25)
        assert window[:2] == (7.0, 8.0)

    def test_each_needed_frame_is_encoded_once(self, make_video, index_of):
        model, recipe = pixels_model()
        stream = ActionStream(model, recipe, stride_seconds=0.6)
        encode, encoded = stream._model._encode, []
        stream._model._encode = lambda images: encoded.extend(map(index_of, images)) or encode(images)
        stream_all(stream, *read(make_video(indices=range(100))), 4.0, chunk=9)
        wanted = {int(15 * k + 2.5 + 5 * i) for k in range(6) for i in range(5)}
        assert sorted(encoded) == sorted(wanted)

    @pytest.mark.parametrize("per_frame", [True, False], ids=["split", "whole"])
    @pytest.mark.parametrize("stride", [0.2, 3.0])
    def test_frames_of_the_past_are_forgotten(self, per_frame, stride):
        model, recipe = pixels_model(per_frame=per_frame)
        stream = ActionStream(model, recipe, stride_seconds=stride)
        alive = []
        for i in range(100):
            block = noise(10, 12, 12, 3)
            stream.push(block, (10 * i + np.arange(10)) / 25)
            alive.append(weakref.ref(block))
            del block
            # A window is 25 frames: three blocks, and those that it begins and ends in.
            assert sum(reference() is not None for reference in alive) <= 5
            assert len(stream._buffer._frames) == len(stream._buffer._seconds) <= 36

    def test_empty_block(self):
        stream = ActionStream(*pixels_model())
        assert stream.push(noise(0, 12, 12, 3), []) == []
        assert stream.finish(1.0) == []

    @pytest.mark.parametrize(
        "frames",
        [noise(2, 12, 13, 3), noise(12, 12, 3), noise(2, 12, 12, 1), noise(2, 12, 12, 3) / 255],
        ids=["size", "rank", "channels", "type"],
    )
    def test_wrong_frames(self, frames):
        stream = ActionStream(*pixels_model())
        with pytest.raises(ValueError, match=r"frames must be uint8 \(B, 12, 12, 3\), got \w+ \("):
            stream.push(frames, [0.0, 0.1])

    @pytest.mark.parametrize("seconds", [[0.0, 0.0], [1.0, 0.5], [0.0], [0.0, 0.1, 0.2]])
    def test_wrong_seconds(self, seconds):
        stream = ActionStream(*pixels_model())
        with pytest.raises(ValueError, match="seconds must increase and be one per frame, got"):
            stream.push(noise(2, 12, 12, 3), seconds)

    def test_seconds_increase_from_block_to_block(self):
        stream = ActionStream(*pixels_model())
        stream.push(noise(1, 12, 12, 3), [0.5])
        with pytest.raises(ValueError, match="seconds must increase"):
            stream.push(noise(1, 12, 12, 3), [0.5])

    @pytest.mark.parametrize("stride", [0, -1, float("nan")])
    def test_wrong_stride(self, stride):
        with pytest.raises(ValueError, match=f"stride_seconds must be positive, got {stride}"):
            ActionStream(*pixels_model(), stride_seconds=stride)

    @pytest.mark.parametrize("stride", [1e-300, 1e-9, float("inf")])
    def test_stride_without_end(self, stride):
        with pytest.raises(ValueError, match=r"stride_seconds must be finite and at least 0\.001"):
            ActionStream(*pixels_model(), stride_seconds=stride)

    def test_windows_without_length(self):
        model, recipe = pixels_model()
        with pytest.raises(ValueError, match=r"clip_seconds must be at least 0\.001, .*got 1e-09"):
            ActionStream(model, replace(recipe, clip_seconds=1e-9))

    def test_joints(self):
        model = create_pose_lstm_model(3, (6, 15, 3), filters=4, units=4)
        recipe = Recipe(CLASSES, 6, None, None, 1.0, streams="pose", joints=15, coordinates=3)
        stream = ActionStream(model, recipe)
        assert stream.stride_seconds == pytest.approx(1 / 6)
        joints = np.random.default_rng(0).uniform(0, 200, (60, 15, 3)).astype(np.float32)
        seconds = np.arange(60) / 25
        windows = stream_all(stream, joints, seconds, 2.4, chunk=7)
        rows = frames_on_screen(seconds, np.array([window.start_seconds for window in windows]), 1.0, 6)
        expected = model.predict(joints[rows], verbose=0)
        np.testing.assert_allclose([window.probabilities for window in windows], expected, atol=1e-5)
        with pytest.raises(ValueError, match=r"frames must be float32 \(B, 15, 3\), got float64 \(2, 15, 3"):
            stream.push(np.zeros((2, 15, 3)), [3.0, 3.1])

    def test_model_that_gives_no_numbers(self):
        clip = keras.Input((4, 8, 8, 3))
        model = keras.Model(clip, keras.ops.log(layers.GlobalAvgPool3D()(clip) - 300))
        stream = ActionStream(model, Recipe(CLASSES, 4, 8, 8, 1.0))
        with pytest.raises(ValueError, match="model must answer with finite numbers"):
            stream.push(noise(26, 8, 8, 3), np.arange(26) / 25)

    def test_default_stride(self):
        """The distance of frames where each is computed once, half a window where all are, each time."""
        assert ActionStream(*pixels_model()).stride_seconds == pytest.approx(0.2)
        assert ActionStream(*pixels_model(per_frame=False)).stride_seconds == pytest.approx(0.5)


# Compiled once, for all that hypothesis tries.
TOGETHER = {per_frame: pixels_model(2, 3, per_frame=per_frame) for per_frame in (True, False)}


class TestPushTogether:
    @settings(max_examples=30, deadline=None)
    @given(
        present=st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=40),
        gap=st.sampled_from([0, 3, 100]),
        per_frame=st.booleans(),
        temperature=st.sampled_from([1.0, 2.0]),
    )
    def test_each_stream_gives_what_it_gives_alone(self, present, gap, per_frame, temperature):
        """Streams come and go: each is there in some of the frames."""
        model, recipe = TOGETHER[per_frame]
        recipe = replace(recipe, temperature=temperature)
        together, alone = [[ActionStream(model, recipe) for _ in range(3)] for _ in "ab"]
        images, windows, expected = noise(len(present), 3, 3, 3, 3), [[], [], []], [[], [], []]
        for i, row in enumerate(present):
            seconds = i / 5 + gap * (i > len(present) / 2)
            there = np.flatnonzero(row)
            several = push_together([together[k] for k in there], images[i, there], seconds)
            for k, new in zip(there, several, strict=True):
                windows[k] += new
                expected[k] += alone[k].push(images[i, [k]], [seconds])
        for k in range(3):
            assert_same_windows(windows[k], expected[k], tolerance=1e-5)

    def test_what_streams_have_in_common_is_computed_in_one_call(self):
        model, recipe = pixels_model()
        streams = [ActionStream(model, recipe) for _ in range(4)]
        calls = {"_encode": [], "_classify": []}
        for name in calls:
            function = getattr(streams[0]._model, name)
            setattr(
                streams[0]._model,
                name,
                lambda x, function=function, name=name: calls[name].append(len(x)) or function(x),
            )
        images = noise(60, 4, 12, 12, 3)
        counts = [[len(each) for each in push_together(streams, images[i], i / 25)] for i in range(60)]
        complete = [row for row in counts if any(row)]
        assert complete == [[1] * 4] * len(complete)
        assert calls["_classify"] == [4] * len(complete)
        assert calls["_encode"] == [20] + [4] * (len(complete) - 1)

    def test_nobody_is_there(self):
        assert push_together([], np.empty((0, 12, 12, 3), np.uint8), 1.0) == []

    def test_errors_come_before_any_stream_has_taken_its_frame(self):
        model, recipe = pixels_model()
        streams = [ActionStream(model, recipe) for _ in range(2)]
        streams[1].push(noise(1, 12, 12, 3), [0.5])
        images = noise(2, 12, 12, 3)
        with pytest.raises(ValueError, match="seconds must increase and be one per frame, got"):
            push_together(streams, images, 0.4)
        with pytest.raises(ValueError, match="seconds must be finite numbers"):
            push_together(streams, images, float("nan"))
        with pytest.raises(ValueError, match="frames must be one for each of 2 streams, got 1"):
            push_together(streams, images[:1], 1.0)
        with pytest.raises(ValueError, match=r"frames must be uint8 \(B, 12, 12, 3\), got float64"):
            push_together(streams, images / 255, 1.0)
        with pytest.raises(ValueError, match="streams must be different ones, got one of them twice"):
            push_together([streams[0]] * 2, images, 1.0)
        with pytest.raises(ValueError, match="streams must be of one model, got several"):
            push_together([streams[0], ActionStream(*pixels_model())], images, 1.0)
        assert streams[0].finish(10.0) == []


class TestTimes:
    """Nothing that a clock does stops a stream, or makes it work or remember without end."""

    @pytest.fixture(params=[True, False], ids=["split", "whole"])
    def stream(self, request):
        return ActionStream(*pixels_model(per_frame=request.param), stride_seconds=0.2)

    @staticmethod
    def expect_windows(stream, first, count=6):
        """Push two seconds from `first` on, which go on with the stream, and see their windows."""
        images, seconds = noise(51, 12, 12, 3), first + np.arange(51) / 25
        windows = stream.push(images, seconds)[-count:]
        starts = first + 0.2 * np.arange(count)
        np.testing.assert_allclose([window.start_seconds for window in windows], starts, atol=1e-5)
        rows = frames_on_screen(seconds, starts, 1.0, 5)
        shown = [window.probabilities.reshape(5, 12, 12, 3) for window in windows]
        np.testing.assert_array_equal(shown, images[rows])

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_no_number(self, stream, value):
        for seconds in ([value, 0.0], [0.0, value]):
            with pytest.raises(ValueError, match=r"seconds must be finite numbers, got \["):
                stream.push(noise(2, 12, 12, 3), seconds)
        self.expect_windows(stream, 0.0)
        with pytest.raises(ValueError, match="seconds must be finite"):
            stream.push(noise(1, 12, 12, 3), [value])
        with pytest.raises(ValueError, match="end_seconds must be a finite number, got"):
            stream.finish(value)

    def test_a_step_back_is_refused_and_the_stream_goes_on(self):
        model, recipe = pixels_model()
        images, seconds = noise(90, 12, 12, 3), np.arange(90) / 25
        expected = stream_all(ActionStream(model, recipe), images, seconds, 3.6)
        stream, windows = ActionStream(model, recipe), []
        for i in range(90):
            windows += stream.push(images[i : i + 1], seconds[i : i + 1])
            for wrong in ([seconds[i]], [seconds[i] - 0.5], [seconds[i] + 0.1, seconds[i]]):
                with pytest.raises(ValueError, match="seconds must increase and be one per frame, got"):
                    stream.push(images[: len(wrong)], wrong)
        assert_same_windows(windows + stream.finish(3.6), expected, tolerance=0)

    @pytest.mark.parametrize("later", [60.0, 3600.0, 1e8, 1e12])
    @pytest.mark.parametrize("at_once", [True, False])
    def test_windows_of_a_gap_are_never_computed(self, stream, later, at_once):
        images, seconds = noise(51, 12, 12, 3), np.arange(51) / 25
        times = np.concatenate([seconds, later + seconds])
        if at_once:
            windows = stream.push(np.concatenate([images, images]), times)
        else:
            windows = stream.push(images, seconds) + stream.push(images, later + seconds)
        windows += stream.finish(later + 2.04)
        starts = np.array([window.start_seconds for window in windows])
        np.testing.assert_allclose(starts[:11], 0.2 * np.arange(11))  # those that began before it
        np.testing.assert_allclose(starts[11:], later + 0.2 * np.arange(6), rtol=1e-12, atol=1e-5)

    @pytest.mark.parametrize("back", [1.5, 100.0, 1e8])
    def test_a_clock_that_is_set_back(self, stream, back):
        self.expect_windows(stream, 1000.0)
        self.expect_windows(stream, 1002.0 - back)

    def test_a_clock_that_leaps_and_returns(self, stream):
        self.expect_windows(stream, 0.0)
        stream.push(noise(1, 12, 12, 3), [1e15])
        self.expect_windows(stream, 2.04)

    def test_short_pauses_are_no_gap(self, stream):
        """Of a frame that stays for two windows, all windows are named."""
        images = noise(40, 12, 12, 3)
        seconds = np.arange(40) / 25 + 2.0 * (np.arange(40) >= 20)
        windows = stream_all(stream, images, seconds, 3.6)
        np.testing.assert_allclose([window.start_seconds for window in windows], 0.2 * np.arange(14))

    @pytest.mark.parametrize("clip_seconds", [1.0, 0.3])
    @pytest.mark.parametrize("stride", [0.1, 1.0, 3.0])
    @pytest.mark.parametrize("seed", range(4))
    def test_frames_that_are_not_needed_change_nothing(self, stride, clip_seconds, seed):
        """With pauses of any length: what is pushed of a file gives the windows that all frames give."""
        rng = np.random.default_rng(seed)
        steps = rng.choice(
            [0.01, 0.04, 0.5, 2.0, 7.0, 9.0, 500.0], 80, p=[0.2, 0.4, 0.2, 0.1, 0.05, 0.03, 0.02]
        )
        seconds = np.cumsum(steps) - steps[0]
        end = seconds[-1] + rng.choice([0.04, 3.0, 100.0])
        model, recipe = pixels_model()
        recipe = replace(recipe, clip_seconds=clip_seconds)
        images, streams = (
            noise(80, 12, 12, 3),
            [ActionStream(model, recipe, stride_seconds=stride) for _ in "ab"],
        )
        needed = streams[0].frames_needed(seconds, end)
        expected = stream_all(streams[0], images, seconds, end)
        assert_same_windows(
            stream_all(streams[1], images[needed], seconds[needed], end), expected, tolerance=0
        )

    def test_memory_follows_frames_and_not_times(self, stream):
        tracemalloc.start()
        try:
            stream.push(noise(2, 12, 12, 3), [0.0, 1e15])
            needed = stream.frames_needed(np.array([0.0, 0.04, 1e8, 1e15]), 1e18)
            stream.finish(1e18)
            assert tracemalloc.get_traced_memory()[1] < 5_000_000
        finally:
            tracemalloc.stop()
        assert needed.all()

    def test_finish_before_the_start(self, stream):
        stream.push(noise(2, 12, 12, 3), [5.0, 5.04])
        with pytest.raises(
            ValueError, match=r"end_seconds must not lie before the last frame, at 5.04, got 3"
        ):
            stream.finish(3.0)
        (window,) = stream.finish(5.08)
        assert window[:2] == (5.0, pytest.approx(5.08))

    def test_after_the_end_a_stream_starts_anew(self, stream):
        self.expect_windows(stream, 0.0)
        stream.finish(2.04)
        assert stream.finish(2.04) == []
        self.expect_windows(stream, 0.5)

    def test_one_frame_of_no_duration_has_no_window(self, stream):
        stream.push(noise(1, 12, 12, 3), [5.0])
        assert stream.finish(5.0) == []


@pytest.mark.slow
def test_a_hundred_thousand_windows_in_constant_memory():
    clip = keras.Input((2, 4, 4, 1))
    model = keras.Model(clip, layers.Dense(2, activation="softmax")(layers.Flatten()(clip)))
    recipe = Recipe(("a", "b"), 2, 4, 4, 0.2, streams="gray")
    stream, decider = ActionStream(model, recipe, stride_seconds=0.04), Decider(recipe.classes, 0.04)
    block, counted = noise(50, 4, 4, 1), 0

    def run(first, blocks):
        windows = 0
        for i in range(first, first + blocks):
            for window in stream.push(block, (50 * i + np.arange(50)) / 25):
                decider.update(window)
                windows += 1
        return windows

    run(0, 100)
    tracemalloc.start()
    try:
        run(100, 10)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        counted = run(110, 2000)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert counted == 100_000
    assert grown < 100_000


def test_a_model_in_memory_is_compiled_once_and_follows_its_weights(tmp_path):
    model = small_lrcn()
    recipe = Recipe(CLASSES, *model.input_shape[1:4], clip_seconds=1.0)
    before = ActionStream(model, recipe)
    model.set_weights([weights + 0.01 for weights in model.get_weights()])
    again = ActionStream(model, recipe)
    assert again._model is before._model
    clips = noise(2, *model.input_shape[1:])
    np.testing.assert_allclose(again.classify(clips), model.predict(clips, verbose=0), atol=1e-6)
    other = ActionStream(model, replace(recipe, normalize=True))
    assert other._model is not before._model
    model.save(tmp_path / "model.keras")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_other_backends_give_the_same(tmp_path, backend):
    """Keras chooses its backend once per process."""
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    model = create_lrcn_model(3, (4, 64, 64, 3))
    save_model(model, tmp_path / "model.keras", recipe=Recipe(CLASSES, 4, 64, 64, 1.0))
    code = f"""
import numpy as np
from harkeras import ActionStream, load_model
model = load_model({str(tmp_path / "model.keras")!r})
frames = np.random.default_rng(0).integers(0, 256, (51, 64, 64, 3), np.uint8)
windows = ActionStream(model, model.recipe).push(frames, np.arange(51) / 25)
np.save({str(tmp_path / "answers.npy")!r}, [window.probabilities for window in windows])
"""
    environment = os.environ | {"KERAS_BACKEND": backend}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=Path(__file__).parents[1])
    stream = ActionStream(model, Recipe(CLASSES, 4, 64, 64, 1.0))
    windows = stream.push(noise(51, 64, 64, 3), np.arange(51) / 25)
    answers = np.load(tmp_path / "answers.npy")
    np.testing.assert_allclose(answers, [window.probabilities for window in windows], atol=1e-5)
