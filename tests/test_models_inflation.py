"""googlenet and inflate."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from learning import losses_of

from harkeras.models.googlenet import create_googlenet_model
from harkeras.models.i3d import create_i3d_model
from harkeras.models.inflation import inflate
from harkeras.models.registry import no_weights


def run(model, x, **options):
    return keras.ops.convert_to_numpy(model(x, **options))


def images_of(count=2, shape=(33, 40, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def still(images, frames):
    return np.repeat(images[:, None], frames, axis=1)


def lively(model, seed=0):
    """Statistics as after training, so that batch norm does something and biases are not zero."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.beta.assign(rng.uniform(-0.2, 0.4, layer.beta.shape))
            layer.moving_mean.assign(rng.uniform(-0.2, 0.2, layer.beta.shape))
            layer.moving_variance.assign(rng.uniform(0.2, 0.5, layer.beta.shape))
        elif isinstance(layer, layers.Conv2D) and layer.use_bias:
            layer.bias.assign(rng.uniform(-0.2, 0.2, layer.bias.shape))
    return model


class TestGoogLeNet:
    def test_parameters_are_those_published(self):
        with no_weights():
            model = create_googlenet_model(1000)
        assert model.count_params() == 6_998_552
        assert (model.input_shape, model.output_shape) == ((None, 224, 224, 3), (None, 1000))

    def test_response_normalization_is_that_of_caffe(self):
        """After the first pool and before the second, and not beside batch norm."""
        model = create_googlenet_model(2, (32, 32, 3), width_multiplier=0.1)
        names = [layer.name for layer in model.layers]
        found = [i for i, name in enumerate(names) if name.startswith("LocalRespNorm")]
        assert [names[i - 1] for i in found] == ["MaxPool_2a_3x3", "Conv2d_2c_3x3"]
        assert [names[i + 1] for i in found] == ["Conv2d_2b_1x1_conv_2d", "MaxPool_3a_3x3"]
        maps = np.random.default_rng(0).uniform(0, 300, (2, 8, 8, 6)).astype(np.float32)
        expected = tf.nn.local_response_normalization(maps, depth_radius=2, bias=1, alpha=2e-5, beta=0.75)
        np.testing.assert_allclose(run(model.get_layer(names[found[0]]), maps), expected, rtol=1e-5)
        names = [layer.name for layer in create_googlenet_model(2, (32, 32, 3), batch_norm=True).layers]
        assert not any(name.startswith("LocalRespNorm") for name in names)

    def test_weighs_what_i3d_weighs_without_its_third_axis(self):
        with no_weights():
            image, clip = create_googlenet_model(400, batch_norm=True), create_i3d_model(400)
        expected = [v.shape[1:] if len(v.shape) == 5 else v.shape for v in clip.trainable_variables]
        expected[-2] = expected[-2][-2:]  # a 1x1x1 convolution there, a dense layer here
        assert [v.shape for v in image.trainable_variables] == expected

    def test_learns(self):
        keras.utils.set_random_seed(27)
        model = create_googlenet_model(2, (32, 32, 3), width_multiplier=0.1, batch_norm=True, dropout=0)
        images, labels = images_of(8, (32, 32, 3)) // 4, np.arange(8) % 2
        images[labels == 1, :16] += 150
        losses = losses_of(model, images, labels, learning_rate=3e-3, steps=8)
        assert np.mean(losses[-2:]) < 0.7 * losses[0], losses

    def test_refusals(self):
        with pytest.raises(ValueError, match="num_classes must be at least 2, got 1"):
            create_googlenet_model(1)
        with pytest.raises(ValueError, match=r"input_shape must be three positive integers \(height, width"):
            create_googlenet_model(2, (16, 112, 112, 3))
        with pytest.raises(ValueError, match="width_multiplier must be positive, got -1"):
            create_googlenet_model(2, width_multiplier=-1)


class TestInflate:
    @pytest.mark.parametrize(("frames", "batch_norm"), [(1, True), (6, True), (9, False)])
    def test_a_still_clip_gets_the_answer_of_the_image(self, frames, batch_norm):
        keras.utils.set_random_seed(27)
        image_model = lively(
            create_googlenet_model(5, (33, 40, 3), width_multiplier=0.1, batch_norm=batch_norm)
        )
        model = inflate(image_model, frames, edges="repeat")
        assert model.input_shape == (None, frames, 33, 40, 3)
        expected = run(image_model, images_of())
        assert np.ptp(expected, axis=1).min() > 0.01
        np.testing.assert_allclose(run(model, still(images_of(), frames)), expected, atol=1e-4)

    def test_with_zeros_the_middle_of_a_long_still_clip_does(self):
        """As I3D pads: where no kernel reaches an end, the features are the image's; at the ends not."""
        keras.utils.set_random_seed(27)
        image_model = lively(create_googlenet_model(5, (32, 32, 3), width_multiplier=0.1, batch_norm=True))
        model = inflate(image_model, 160)
        x = still(images_of(1, (32, 32, 3)), 160)
        image_features = keras.Model(image_model.input, image_model.get_layer("Mixed_4b").output)
        features = keras.Model(model.input, model.get_layer("Mixed_4b").output)
        expected, actual = run(image_features, x[:, 0]), run(features, x)
        assert actual.shape[1] == 40
        scale = np.abs(expected).max()
        np.testing.assert_allclose(actual[:, 20] / scale, expected / scale, atol=1e-4)
        assert np.abs(actual[:, 0] - expected).max() > 0.01 * scale

    def test_googlenet_becomes_i3d(self):
        """The inflated network and I3D with the same weights are one, up to the head."""
        keras.utils.set_random_seed(27)
        shape = (9, 33, 40, 3)
        image_model = lively(create_googlenet_model(5, shape[1:], width_multiplier=0.1, batch_norm=True))
        model, i3d = inflate(image_model, shape[0]), create_i3d_model(5, shape, width_multiplier=0.1)
        for layer in model.layers:
            name = layer.name.replace("Conv2d", "Conv3d").replace("conv_2d", "conv_3d")
            if layer.weights and name != "probabilities":
                i3d.get_layer(name).set_weights(layer.get_weights())
        clips = np.random.default_rng(0).integers(0, 256, (2, *shape), np.uint8)
        ours, theirs = (
            run(keras.Model(m.input, m.get_layer("Mixed_5c").output), clips) for m in (i3d, model)
        )
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours / scale, theirs / scale, atol=1e-4)

    @pytest.mark.parametrize("edges", ["zeros", "repeat"])
    def test_other_layers(self, edges):
        """A valid and a dilated convolution, an addition, an average pool; time is padded all the same."""
        image = keras.Input((20, 24, 3))
        x = layers.Conv2D(4, 5, strides=2, activation="relu", name="valid")(image)
        y = layers.Conv2D(4, 3, dilation_rate=2, padding="same", name="dilated")(x)
        x = layers.AveragePooling2D(2, name="pool")(layers.Add(name="add")([x, y]))
        x = layers.BatchNormalization(axis=3, name="bn")(layers.Concatenate(axis=3, name="both")([x, x]))
        image_model = keras.Model(image, layers.GlobalMaxPooling2D(name="max")(x))
        model = inflate(image_model, 8, flat_pools=0, edges=edges)
        assert model.get_layer("valid").output.shape == (None, 4, 8, 10, 4)
        assert model.get_layer("pool").output.shape == (None, 2, 4, 5, 4)
        if edges == "repeat":
            images = images_of(2, (20, 24, 3)) / np.float32(255)
            expected = run(image_model, images)
            np.testing.assert_allclose(run(model, still(images, 8)), expected, atol=1e-4)

    def test_saves_and_loads(self, tmp_path):
        image = keras.Input((8, 9, 3))
        x = layers.Conv2D(4, 3, padding="same", name="conv")(image)
        model = inflate(keras.Model(image, layers.GlobalMaxPooling2D(name="max")(x)), 5, edges="repeat")
        model.save(tmp_path / "model.keras")
        clips = still(images_of(1, (8, 9, 3)), 5)
        again = keras.saving.load_model(tmp_path / "model.keras")
        np.testing.assert_allclose(run(again, clips), run(model, clips), rtol=1e-6)

    def test_refusals(self):
        model = create_googlenet_model(2, (32, 32, 3), width_multiplier=0.05)
        with pytest.raises(ValueError, match="edges must be 'zeros' or 'repeat', got 'mirror'"):
            inflate(model, 4, edges="mirror")
        image = keras.Input((8, 8, 3))
        flat = keras.Model(image, layers.Flatten(name="flat")(image))
        with pytest.raises(ValueError, match=r"layer that cannot be inflated: flat \(Flatten\)"):
            inflate(flat, 4)
