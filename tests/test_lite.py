"""Small networks in LiteRT: the same answers as by TensorFlow, and TensorFlow where LiteRT cannot."""

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import keras
import numpy as np
import pytest
from keras import layers, ops

from harkeras.inference import ActionStream, push_together
from harkeras.inference.conversion import convert_to_litert
from harkeras.models import create_lrcn_model, create_pose_lstm_model
from harkeras.recipe import Recipe
from harkeras.transfer.heads import create_head, join

pytest.importorskip("ai_edge_litert", reason='needs LiteRT: pip install "harkeras[litert]"')
CLASSES = ("a", "b", "c")


def small_lrcn():
    return create_lrcn_model(3, (4, 64, 64, 3), filters=(4, 4, 6, 8), units=5)


def head_on_a_backbone(name):
    image = keras.Input((20, 22, 3))
    x = layers.SeparableConv2D(12, 5, 4)(layers.Rescaling(1 / 127.5, -1)(image))
    x = layers.GlobalAveragePooling2D()(layers.Activation("relu6")(layers.BatchNormalization()(x)))
    return join(keras.Model(image, x, name="encoder"), create_head(name, 3, (4, 12), units=6))


def gru_on_frames(change=None):
    clip = keras.Input((4, 20, 22, 3))
    x = layers.TimeDistributed(layers.Conv2D(5, 3, 4))(clip)
    if change is not None:
        x = layers.TimeDistributed(layers.Lambda(change))(x)
    x = layers.TimeDistributed(layers.GlobalMaxPooling2D())(x)
    return keras.Model(clip, layers.Dense(3, activation="softmax")(layers.GRU(5)(layers.Rescaling(0.01)(x))))


def recipe_of(model, **options):
    return Recipe(CLASSES, *model.input_shape[1:4], 1.0, **options)


def push_all(stream, count=14):
    recipe, rng = stream.recipe, np.random.default_rng(0)
    shape, seconds = (count, *recipe.clip_shape[1:]), 0.2 * np.arange(count)
    frames = rng.integers(0, 256, shape, np.uint8)
    if recipe.streams == "pose":
        frames = rng.uniform(0, 200, shape).astype(np.float32)
    windows = []
    for frame, second in zip(frames, seconds, strict=True):
        windows += stream.push(frame[None], [second])
    windows += stream.finish(seconds[-1] + 0.2)
    return np.stack([window.probabilities for window in windows])


def warm(model, recipe=None):
    stream = ActionStream(model, recipe or recipe_of(model))
    stream.warm_up()
    return stream


@pytest.fixture
def converted(monkeypatch):
    """The names of the networks that were converted for LiteRT."""
    names = []

    def convert_and_note(model):
        result = convert_to_litert(model)
        names.append(model.name)
        return result

    monkeypatch.setattr("harkeras.inference.conversion.convert_to_litert", convert_and_note)
    return names


@pytest.mark.parametrize(
    ("build", "options"),
    [
        (small_lrcn, {}),
        (gru_on_frames, {"normalize": True}),
        (gru_on_frames, {"channel_order": "bgr"}),
        (partial(head_on_a_backbone, "mean_std_diff"), {}),
        (partial(head_on_a_backbone, "lstm"), {}),
        (partial(head_on_a_backbone, "tcn"), {}),
    ],
    ids=["lrcn", "pixels in 0 to 1", "bgr", "statistics", "bidirectional lstm", "tcn"],
)
def test_it_says_the_same(build, options, converted):
    model = build()
    recipe = recipe_of(model, **options)
    expected = push_all(ActionStream(model, recipe))
    assert np.ptp(expected, axis=0).max() > 1e-4
    np.testing.assert_allclose(push_all(warm(model, recipe)), expected, atol=1e-5)
    assert converted == ["encoder", "head"]


def test_a_model_of_joints(converted):
    model = create_pose_lstm_model(3, (6, 5, 3), filters=4, units=4)
    recipe = Recipe(CLASSES, 6, None, None, 1.0, streams="pose", joints=5, coordinates=3)
    expected = push_all(ActionStream(model, recipe))
    np.testing.assert_allclose(push_all(warm(model, recipe)), expected, atol=1e-5)
    assert converted == [model.name]


def test_recurrent_layers_are_as_before():
    model = head_on_a_backbone("lstm")
    warm(model)
    bidirectional = model.get_layer("lstm").get_layer("lstm")
    assert not bidirectional.forward_layer.unroll
    assert not bidirectional.backward_layer.unroll


def test_weights_are_those_of_the_moment(converted):
    model = gru_on_frames()
    first = warm(model)
    before = push_all(first.anew())
    model.set_weights([2 * weight for weight in model.get_weights()])
    np.testing.assert_array_equal(push_all(first.anew()), before)
    expected = push_all(ActionStream(model, recipe_of(model)))
    assert abs(expected - before).max() > 1e-3
    np.testing.assert_allclose(push_all(warm(model)), expected, atol=1e-5)
    assert len(converted) == 4
    warm(model)
    assert len(converted) == 4  # nothing has changed


def test_streams_that_come_of_one_go_on_together():
    first = warm(gru_on_frames())
    streams = [first.anew(), first.anew()]
    frames = np.random.default_rng(0).integers(0, 256, (14, 20, 22, 3), np.uint8)
    windows = []
    for i, frame in enumerate(frames):
        windows += push_together(streams, np.stack([frame, frame]), 0.2 * i)[1]
    expected = push_all(first.anew())[: len(windows)]
    np.testing.assert_allclose([window.probabilities for window in windows], expected, atol=1e-6)


def test_two_threads_with_one_model():
    stream = warm(small_lrcn())
    expected = push_all(stream.anew(), 60)
    with ThreadPoolExecutor(2) as pool:
        for probabilities in pool.map(lambda _: push_all(stream.anew(), 60), range(6)):
            np.testing.assert_array_equal(probabilities, expected)


def test_what_litert_does_not_know_is_left_to_tensorflow(converted, caplog):
    caplog.set_level("INFO", "harkeras")
    model = gru_on_frames(lambda x: ops.erfinv(ops.tanh(x / 1000)))
    expected = push_all(ActionStream(model, recipe_of(model)))
    np.testing.assert_allclose(push_all(warm(model)), expected, atol=1e-5)
    assert converted == []
    assert "stays in TensorFlow: encoder cannot be converted for LiteRT: " in caplog.text
    assert "Erfinv" in caplog.text


@pytest.mark.parametrize("reason", ["not installed", "many weights", "a GPU"])
def test_where_tensorflow_does_it_all(reason, converted, monkeypatch):
    if reason == "not installed":
        monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    elif reason == "many weights":
        monkeypatch.setattr("harkeras.inference.conversion._MOST_WEIGHTS", 10)
    else:
        monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda kind: [kind])
    model = gru_on_frames()
    expected = push_all(ActionStream(model, recipe_of(model)))
    np.testing.assert_allclose(push_all(warm(model)), expected, atol=1e-5)
    assert converted == []


def test_other_models_are_left_as_they_are(converted):
    clip = keras.Input((4, 20, 22, 3))
    x = layers.GlobalAveragePooling3D()(layers.Conv3D(3, 3)(layers.Rescaling(0.01)(clip)))
    model = keras.Model(clip, layers.Dense(3, activation="softmax")(x))
    expected = push_all(ActionStream(model, recipe_of(model)))
    np.testing.assert_allclose(push_all(warm(model)), expected, atol=1e-6)
    assert converted == []
