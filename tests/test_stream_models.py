"""A model with a memory in a stream: the stream of MoViNet."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from test_models_movinet import SHAPE, clips_of, fill

from harkeras.inference import ActionStream, predict_on_video, predict_single_action, push_together
from harkeras.inference._stream_models import ChunkModel
from harkeras.inference.resolve import resolve_model
from harkeras.models import create_movinet_model, create_movinet_stream_model
from harkeras.models.movinet import is_stream_model
from harkeras.models.saving import load_model, save_model
from harkeras.recipe import Recipe

RECIPE = Recipe(("a", "b", "c", "d"), *SHAPE[:3], 1.0)


@pytest.fixture(scope="module")
def causal():
    return fill(create_movinet_model(4, SHAPE, causal=True, width_multiplier=0.25))


def stream_of(causal, frames):
    stream = create_movinet_stream_model(4, (frames, *SHAPE[1:]), width_multiplier=0.25)
    stream.set_weights(causal.get_weights())
    return stream


@pytest.fixture(scope="module")
def model(causal):
    return stream_of(causal, None)


@pytest.fixture(scope="module")
def saved(causal, tmp_path_factory):
    return save_model(stream_of(causal, None), tmp_path_factory.mktemp("saved") / "s.keras", recipe=RECIPE)


def frames_of(count):
    return clips_of(1, (count, *SHAPE[1:]))[0]


def run_through(model, images, seconds, chunk, stride_seconds=0.3):
    stream, windows = ActionStream(model, RECIPE, stride_seconds=stride_seconds), []
    for i in range(0, len(images), chunk):
        windows += stream.push(images[i : i + chunk], seconds[i : i + chunk])
    return windows + stream.finish(seconds[-1] + 0.04)


def assert_alike(windows, expected):
    assert [window[:2] for window in windows] == [window[:2] for window in expected]
    for window, other in zip(windows, expected, strict=True):
        np.testing.assert_allclose(window.probabilities, other.probabilities, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 60])
@pytest.mark.parametrize("count", [60, 20], ids=["long", "shorter than a window"])
def test_windows_are_those_of_the_causal_model(causal, model, chunk, count):
    images, seconds = frames_of(count), np.arange(count) / 25
    seconds[30:] += 20  # a gap
    expected = run_through(causal, images, seconds, 60)
    assert np.ptp([window.probabilities for window in expected], axis=0).max() > 0.001 or len(expected) == 1
    assert_alike(run_through(model, images, seconds, chunk), expected)


def test_what_is_left_out_is_forgotten(model):
    images, seconds = frames_of(60), np.arange(60) / 25
    every = run_through(model, images, seconds, 60, stride_seconds=0.1)
    stream = ActionStream(model, RECIPE, stride_seconds=0.1)
    windows = stream.push(images[:40], seconds[:40], newest_only=True)
    windows += stream.push(images[40:], seconds[40:], newest_only=True)
    assert len(stream._buffer._memory) <= 11  # those that have begun
    ends = [window.end_seconds for window in windows]
    assert_alike(windows, [window for window in every if window.end_seconds in ends])
    assert len(windows) == 2


def test_a_model_of_single_frames(causal):
    images, seconds = frames_of(40), np.arange(40) / 25
    expected = run_through(causal, images, seconds, 40)
    assert_alike(run_through(stream_of(causal, 1), images, seconds, 40), expected)


def test_a_frame_is_computed_when_the_next_one_comes(model, monkeypatch):
    """So that no work is left to the end of a window."""
    lengths = []
    run = ChunkModel._run
    monkeypatch.setattr(
        ChunkModel,
        "_run",
        lambda self, clips, states: lengths.append(clips.shape[:2]) or run(self, clips, states),
    )
    stream = ActionStream(model, RECIPE)
    assert stream.stride_seconds == 0.5
    images = frames_of(80)
    for i in range(80):
        stream.push(images[i : i + 1], [i / 25])
    assert {frames for _, frames in lengths} == {1}
    assert max(windows for windows, _ in lengths) <= 2
    assert len(stream._buffer._memory) <= 3


def test_a_clock_that_is_set_back_starts_with_an_empty_memory(causal, model):
    images = frames_of(60)
    answers = []
    for each in (causal, model):
        stream = ActionStream(each, RECIPE)
        stream.push(images[:20], np.arange(20) / 25)
        answers.append(stream.push(images[20:], np.arange(40) / 25 - 10))
    assert_alike(*answers)
    assert answers[0]


def test_streams_together(causal, model):
    streams = [ActionStream(model, RECIPE) for _ in range(2)]
    twins = [ActionStream(causal, RECIPE) for _ in range(2)]
    images = clips_of(2, (50, *SHAPE[1:]))
    for i in range(50):
        there = slice(0, 2) if i > 9 else slice(0, 1)
        windows = push_together(streams[there], images[there, i], i / 25)
        expected = push_together(twins[there], images[there, i], i / 25)
        for some, others in zip(windows, expected, strict=True):
            assert_alike(some, others)


def test_a_saved_stream_model_is_used_as_any_other(causal, saved, make_video):
    model = load_model(saved)
    assert is_stream_model(model)
    assert model.recipe == RECIPE
    video = make_video(indices=range(90))
    causal.recipe = RECIPE
    expected = predict_on_video(video, causal, stride_seconds=0.4, progress=False)
    prediction = predict_on_video(video, model, stride_seconds=0.4, progress=False)
    np.testing.assert_allclose(prediction.probabilities, expected.probabilities, atol=1e-5)
    assert [row.label for row in prediction.segments] == [row.label for row in expected.segments]
    for end in (1.2, 3.6):
        one, other = (predict_single_action(video, each, end_seconds=end) for each in (model, causal))
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)


class TestErrors:
    def test_chunks_of_several_frames(self, causal):
        with pytest.raises(
            ValueError, match="model must take chunks of any length, or of one frame, got chunks of 3"
        ):
            ActionStream(stream_of(causal, 3), RECIPE)

    def test_without_a_recipe(self, causal):
        with pytest.raises(
            ValueError, match="model must have a recipe, that of its causal twin, got a stream model"
        ):
            resolve_model(stream_of(causal, None), classes=RECIPE.classes)

    def test_images(self, causal):
        with pytest.raises(ValueError, match=r"model must take images \(B, H, W, C\), got a stream model"):
            resolve_model(stream_of(causal, None), images=True)

    def test_recipes_of_other_models(self, saved, tmp_path):
        model = load_model(saved)
        with pytest.raises(ValueError, match="the recipe's clips are"):
            save_model(model, tmp_path / "m.keras", recipe=replace(RECIPE, height=99))
        with pytest.raises(ValueError, match="classes must name the model's 4 outputs, got 2"):
            resolve_model(saved, classes=("a", "b"))
        with pytest.raises(ValueError, match="input_shape must be what the model takes"):
            resolve_model(saved, input_shape=(1, 2, 3, 3))


def test_what_is_no_stream_model():
    clip, other = keras.Input((2, 3)), keras.Input((2, 3))
    assert not is_stream_model(keras.Model([clip, other], clip + other))
    assert not is_stream_model(keras.Sequential())
