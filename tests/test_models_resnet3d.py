"""resnet3d, resnext3d and r2plus1d."""

import keras
import numpy as np
import pytest
from learning import losses_of, moving_bars

from harkeras.models.blocks import padded_conv3d, speed_up_groups
from harkeras.models.r2plus1d import create_r2plus1d_model
from harkeras.models.registry import no_weights
from harkeras.models.resnet3d import create_resnet3d_model, create_resnext3d_model

# Builder, options, classes, trainable parameters: published, or those of the network in test_models_torch.py.
PUBLISHED = {
    "resnet3d 18": (create_resnet3d_model, {}, 400, 33_235_280),
    "resnet3d 34": (create_resnet3d_model, {"depth": 34}, 400, 63_544_912),
    "resnet3d 50": (create_resnet3d_model, {"depth": 50}, 400, 47_018_576),
    "resnext3d 50": (create_resnext3d_model, {"depth": 50}, 400, 26_685_264),
    "resnext3d 101": (create_resnext3d_model, {}, 400, 48_340_816),
    "r2plus1d": (create_r2plus1d_model, {}, 400, 31_505_325),
}
SMALL = {
    "resnet3d": (create_resnet3d_model, {"filters": 4}),
    "resnext3d": (create_resnext3d_model, {"depth": 50, "filters": 8, "groups": 4}),
    "r2plus1d": (create_r2plus1d_model, {"filters": 4}),
}
SHAPE = (5, 34, 36, 3)


def clips_of(count=2, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE), np.uint8)


def run(model, clips, **options):
    return keras.ops.convert_to_numpy(model(clips, **options))


def calm(model):
    """Scale the first kernel, so that fresh weights do not drive the softmax to 0 and 1."""
    features = keras.Model(model.input, model.get_layer("avgpool").output)
    kernel = model.trainable_variables[0]
    kernel.assign(kernel / np.abs(run(features, clips_of())).max())
    return model


@pytest.fixture(scope="module", params=SMALL)
def model(request):
    builder, options = SMALL[request.param]
    keras.utils.set_random_seed(27)
    return calm(builder(3, SHAPE, **options))


@pytest.mark.parametrize("case", PUBLISHED)
def test_parameters_are_those_published(case):
    builder, options, classes, parameters = PUBLISHED[case]
    with no_weights():
        model = builder(classes, **options)
    assert sum(np.prod(v.shape) for v in model.trainable_variables) == parameters
    assert model.input_shape == (None, 16, 112, 112, 3)
    assert model.output_shape == (None, classes)


class TestEveryModel:
    """What holds for every model is in test_models.py; this is how they learn."""

    def test_learns(self, model):
        """Which way does the bar move? The loss falls on eight clips that are seen again and again."""
        losses = losses_of(model, *moving_bars(SHAPE), learning_rate=3e-3, steps=8)
        assert np.mean(losses[-2:]) < 0.7 * losses[0], losses

    def test_smallest_clip(self, model):
        builder, options = SMALL[model.name]
        model = builder(2, (1, 1, 1, 3), **options)
        assert run(model, np.zeros((1, 1, 1, 1, 3), np.uint8)).sum() == pytest.approx(1)


def test_pixels_lose_their_mean():
    for builder, mean, std in (
        (create_resnet3d_model, (114.7748, 107.7354, 99.4750), 1),
        (create_r2plus1d_model, (110.2008, 100.63983, 95.99475), (58.14765, 56.46975, 55.332195)),
    ):
        rescale = builder(2, SHAPE, filters=2).layers[1]
        pixels = np.array([[0.0, 128, 255], [1, 2, 3]])
        assert run(rescale, pixels) == pytest.approx((pixels - mean) / std, abs=1e-4)


class TestPaddedConvolution:
    def test_zeros_are_on_both_sides(self):
        """With an even size and a stride of 2, Keras's "same" would start at the first point."""
        clip = keras.Input((4, 4, 4, 1))
        model = keras.Model(clip, padded_conv3d(clip, 1, 3, 2, name="conv"))
        kernel = np.zeros((3, 3, 3, 1, 1), np.float32)
        kernel[0, 0, 0] = 1  # shows the point before
        model.get_layer("conv").set_weights([kernel])
        points = np.arange(64, dtype=np.float32).reshape(1, 4, 4, 4, 1)
        shown = run(model, points)[0, ..., 0]
        assert shown.tolist() == [[[0, 0], [0, 0]], [[0, 0], [0, points[0, 1, 1, 1, 0]]]]

    def test_stride_of_one_keeps_the_size(self):
        clip = keras.Input((4, 5, 6, 2))
        assert padded_conv3d(clip, 3, (3, 1, 5), name="conv").shape == (None, 4, 5, 6, 3)

    @pytest.mark.parametrize("strides", [1, 2])
    def test_groups_are_those_of_keras(self, strides):
        clip = keras.Input((3, 4, 4, 8))
        fast = keras.Model(clip, padded_conv3d(clip, 16, 3, strides, groups=4, name="conv"))
        plain = keras.models.clone_model(fast)
        plain.set_weights(fast.get_weights())
        assert fast.get_layer("conv").kernel.shape == (3, 3, 3, 2, 16)
        points = np.random.default_rng(0).normal(size=(2, 3, 4, 4, 8)).astype(np.float32)
        expected = run(plain, points)
        assert run(fast, points) == pytest.approx(expected, abs=1e-5)
        assert "convolution_op" not in vars(plain.get_layer("conv"))
        outer = keras.Sequential([clip, plain])
        assert speed_up_groups(outer) is outer
        assert "convolution_op" in vars(plain.get_layer("conv"))
        assert run(outer, points) == pytest.approx(expected, abs=1e-5)


class TestRefusals:
    @pytest.mark.parametrize(
        "builder", [create_resnet3d_model, create_resnext3d_model, create_r2plus1d_model]
    )
    def test_input(self, builder):
        with pytest.raises(ValueError, match="num_classes must be at least 2, got 1"):
            builder(1)
        with pytest.raises(ValueError, match=r"input_shape must be four positive integers \(frames, height"):
            builder(2, (64, 64, 3))
        with pytest.raises(ValueError, match=r"input_shape must have 3 channels, got \(4, 32, 32, 2\)"):
            builder(2, (4, 32, 32, 2))

    def test_depth(self):
        with pytest.raises(ValueError, match="normalization must be one of activitynet, kinetics, got 'x'"):
            create_resnet3d_model(2, (2, 16, 16, 3), normalization="x")
        with pytest.raises(ValueError, match="depth must be 18, 34 or 50, got 101"):
            create_resnet3d_model(2, depth=101)
        with pytest.raises(ValueError, match="depth must be 50 or 101, got 18"):
            create_resnext3d_model(2, depth=18)

    def test_shortcut(self):
        with pytest.raises(ValueError, match="shortcut must be 'A' or 'B', got 'C'"):
            create_resnet3d_model(2, shortcut="C")

    def test_filters(self):
        with pytest.raises(ValueError, match="filters must be a multiple of groups, got 48 and 32"):
            create_resnext3d_model(2, filters=48)
