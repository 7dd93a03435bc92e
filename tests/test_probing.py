import keras
import numpy as np
import pytest
from keras import layers

from harkeras.models import create_c3d_model
from harkeras.probing import (
    early_recognition,
    grad_cam,
    motion_report,
    plot_early_recognition,
    plot_grad_cam,
)
from harkeras.recipe import Recipe

CLASSES = ("darker", "brighter")


def order_model():
    """Names "brighter" if the last frame is brighter than the first."""
    clip = keras.Input((5, 4, 4, 3))
    step = keras.ops.mean(clip[:, -1] - clip[:, 0], axis=(1, 2, 3))[:, None]
    brighter = keras.ops.sigmoid(step - 1)  # what does not change is darker
    return keras.Model(clip, keras.ops.concatenate([1 - brighter, brighter], axis=1))


def ramps():
    ramp = (np.arange(5, dtype=np.uint8) * 40)[:, None, None, None] + np.zeros((5, 4, 4, 3), np.uint8)
    return np.stack([ramp[::-1], ramp, ramp[::-1], ramp]), np.array([0, 1, 0, 1])


class TestMotionReport:
    def test_a_model_that_reads_the_order(self):
        report = motion_report(order_model(), *ramps(), classes=CLASSES)
        assert (report.in_order, report.reversed, report.frozen) == (1, 0, 0.5)
        assert str(report).splitlines()[1].split() == ["in", "order", "1.000"]

    def test_a_model_that_does_not(self):
        clip = keras.Input((5, 4, 4, 3))
        mean = layers.GlobalAveragePooling3D()(clip)[:, :2]
        report = motion_report(keras.Model(clip, keras.ops.softmax(mean / 255)), *ramps(), classes=CLASSES)
        assert report.in_order == report.shuffled == report.reversed

    def test_tuned_thresholds_count(self):
        model, (features, labels) = order_model(), ramps()
        features //= 40  # 0.05 for "darker" where it is brighter
        assert motion_report(model, features, labels, classes=CLASSES).in_order == 1
        model.recipe = Recipe(CLASSES, 5, 4, 4, 1.0, thresholds={"darker": 0.01})
        assert motion_report(model, features, labels, classes=CLASSES).in_order == 0.5

    def test_refusals(self):
        with pytest.raises(ValueError, match="labels must be 4 integers"):
            motion_report(order_model(), ramps()[0], np.zeros(3, int), classes=CLASSES)


class TestEarlyRecognition:
    def test_more_is_seen_more_is_known(self, make_video):
        """Frames whose index is coded in their pixels: the last one decides."""
        video = make_video(indices=range(40))
        clip = keras.Input((4, 16, 16, 3))
        last = keras.ops.mean(clip[:, -1], axis=(1, 2, 3))[:, None]
        model = keras.Model(clip, keras.ops.concatenate([last * 0 + 1e-9, last + 1], axis=1))
        model.recipe = Recipe(CLASSES, 4, 16, 16, 1.0)
        shares, accuracies = early_recognition(model, [video, video], np.array([1, 0]), shares=(0.25, 1))
        assert shares.tolist() == [0.25, 1]
        assert accuracies.tolist() == [0.5, 0.5]
        axes = plot_early_recognition(shares, accuracies, chance=0.5).axes[0]
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("seen of each clip (%)", "accuracy")
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["model", "chance"]

    def test_refusals(self, make_video):
        model = order_model()
        with pytest.raises(ValueError, match="model must have a recipe"):
            early_recognition(model, [], np.array([]))
        model.recipe = Recipe(CLASSES, 5, 4, 4, 1.0)
        with pytest.raises(ValueError, match="labels must be one per video, got 2 and 1 videos"):
            early_recognition(model, [make_video()], np.array([0, 1]))
        with pytest.raises(ValueError, match=r"shares must lie over 0 and up to 1, got \[0.0\]"):
            early_recognition(model, [make_video()], np.array([0]), shares=[0])


class TestGradCam:
    def model(self):
        """Sees brightness; class 1 is "something bright"."""
        clip = x = keras.Input((6, 32, 32, 3))
        x = layers.Rescaling(1 / 255)(x)
        x = layers.Conv3D(1, 3, padding="same", use_bias=False, kernel_initializer="ones", name="conv")(x)
        x = layers.MaxPooling3D((1, 4, 4), name="pool")(x)
        x = layers.GlobalMaxPooling3D()(x)
        x = keras.ops.sigmoid(x - 40)
        return keras.Model(clip, keras.ops.concatenate([1 - x, x], axis=1))

    def test_finds_where_and_when(self):
        clip = np.zeros((6, 32, 32, 3), np.uint8)
        clip[3:5, 4:12, 20:28] = 255
        heat = grad_cam(self.model(), clip, class_row=1)
        assert (heat.shape, heat.dtype, heat.max()) == ((6, 32, 32), np.float32, pytest.approx(1, abs=0.2))
        when, row, column = np.unravel_index(heat.argmax(), heat.shape)
        assert when in (3, 4)
        assert 2 <= row < 14
        assert 18 <= column < 30
        figure = plot_grad_cam(clip, heat, "bright", count=3)
        assert [axes.get_title() for axes in figure.axes if axes.get_title()] == [
            "frame 1",
            "frame 3",
            "frame 6",
        ]

    def test_of_a_network(self):
        model = create_c3d_model(3, (4, 32, 32, 3), width=1 / 16)
        clip = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
        heat = grad_cam(model, clip)
        assert heat.shape == (4, 32, 32)
        assert np.isfinite(heat).all()

    def test_refusals(self):
        model = self.model()
        clip = np.zeros((6, 32, 32, 3), np.uint8)
        with pytest.raises(ValueError, match=r"clip must be \(6, 32, 32, 3\), got \(5, 32, 32, 3\)"):
            grad_cam(model, clip[:5])
        with pytest.raises(ValueError, match="layer must be one that gives maps"):
            grad_cam(model, clip, layer="none")
        with pytest.raises(ValueError, match="heat must be"):
            plot_grad_cam(clip, np.zeros((1, 2, 3)))
