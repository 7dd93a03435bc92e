import re
import warnings

import keras
import numpy as np
import pytest
from keras import layers

from harkeras.inference.prediction import predict_image, predict_on_video, predict_single_action
from harkeras.recipe import Recipe
from harkeras.video.writing import VideoWriter

CLASSES = ("red", "green", "blue")
PREDICT = pytest.mark.parametrize("predict", [predict_single_action, predict_on_video])


def pixel_model(scale=100.0, *, rescaling=False):
    """softmax(mean of each channel / scale): what it says depends on the range and the order of channels."""
    clip = x = keras.Input((4, 8, 8, 3))
    if rescaling:
        x = layers.TimeDistributed(keras.Sequential([layers.Rescaling(1 / 255)]))(x)
    return keras.Model(clip, layers.Softmax()(layers.GlobalAveragePooling3D()(x) / scale))


def warning_of(predict, *args, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        predict(*args, classes=CLASSES, **options)
    (message,) = [str(each.message) for each in caught] or [""]
    return message


@pytest.fixture
def red_video(tmp_path):
    """Two seconds of red."""
    with VideoWriter(tmp_path / "red.mp4", 25) as writer:
        for _ in range(50):
            writer.write(np.full((32, 48, 3), (250, 10, 90), np.uint8))
    return tmp_path / "red.mp4"


@PREDICT
class TestOfVideos:
    def test_both_kinds_of_both_are_tried_and_told(self, red_video, predict):
        message = warning_of(predict, red_video, pixel_model())
        assert message.startswith("the model has no recipe, and these options were not passed: normalize and")
        kinds = re.findall(
            r"normalize=(\w+), channel_order='(\w+)' names (\w+) at (\d\.\d\d)( \(as taken\))?( \(surest\))?",
            message,
        )
        assert [kind[:3] for kind in kinds] == [
            ("False", "rgb", "red"),
            ("False", "bgr", "blue"),
            ("True", "rgb", "red"),
            ("True", "bgr", "blue"),
        ]
        confidences = [float(kind[3]) for kind in kinds]
        assert confidences[0] == pytest.approx(0.77, abs=0.03)
        assert confidences[2] == pytest.approx(0.33, abs=0.02)
        assert kinds[0][4]
        assert sum(bool(kind[5]) for kind in kinds) == 1
        assert "that a model is sure of a wrong answer is common" in message

    @pytest.mark.parametrize("name", ["normalize", "channel_order"])
    def test_what_is_passed_is_not_asked_for(self, red_video, predict, name):
        value = {"normalize": True, "channel_order": "bgr"}[name]
        model = pixel_model(0.4 if name == "normalize" else 100)
        message = warning_of(predict, red_video, model, **{name: value})
        other = {"normalize": "channel_order", "channel_order": "normalize"}[name]
        assert f"were not passed: {other}; on this input" in message
        assert f"{name}=" not in message

    def test_nothing_is_said_where_all_is_known(self, red_video, predict):
        known = {"normalize": False, "channel_order": "rgb"}
        assert not warning_of(predict, red_video, pixel_model(), **known)
        model = pixel_model()
        model.recipe = Recipe(CLASSES, 4, 8, 8, 4.0)
        assert not warning_of(predict, red_video, model)

    def test_nor_where_it_makes_no_difference(self, red_video, predict):
        assert not warning_of(predict, red_video, pixel_model(1e6))

    def test_a_model_that_rescales_expects_0_to_255(self, red_video, predict):
        message = warning_of(predict, red_video, pixel_model(0.4, rescaling=True))
        assert "were not passed: channel_order; on" in message
        assert not warning_of(predict, red_video, pixel_model(0.4, rescaling=True), channel_order="rgb")

    def test_clip_seconds(self, make_video, predict):
        video, known = make_video(indices=range(120)), {"normalize": False, "channel_order": "rgb"}
        message = warning_of(predict, video, pixel_model(), **known)
        assert "clip_seconds (its clips are taken to be 4 s long)" in message
        assert not warning_of(predict, video, pixel_model(), clip_seconds=2.0, **known)


def test_of_images():
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, layers.Softmax()(layers.GlobalAveragePooling2D()(image) / 100))
    red = np.full((8, 8, 3), (250, 10, 90), np.uint8)
    message = warning_of(predict_image, red, model)
    assert "normalize=False, channel_order='bgr' names blue at 0.77" in message
    assert not warning_of(predict_image, red, model, normalize=False, channel_order="rgb")
