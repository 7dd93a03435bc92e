"""CNN and LSTM: any backbone, the loss at every step, frozen weights, and frames computed once."""

import keras
import numpy as np
import pytest

from harkeras import Recipe, load_model, save_model, train
from harkeras.data.datasets import Dataset
from harkeras.inference.splitting import split_per_frame
from harkeras.models import create_cnn_lstm_model
from harkeras.models.backbones import create_backbone, list_backbones
from harkeras.models.registry import count_parameters, no_weights

SHAPE = (3, 32, 34, 3)
LIGHT = {"backbone": "mobilenet_v2_0.35", "units": 8}


def small(**options):
    keras.utils.set_random_seed(27)
    return create_cnn_lstm_model(3, SHAPE, **LIGHT | options)


def awake(**options):
    """A model whose features differ, as those of trained weights do: batch norm knows what comes in."""
    model = small(**options)
    for layer in model.layers[1].layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0
    model.layers[1](noise()[0], training=True)
    return model


def noise(count=2):
    return np.random.default_rng(0).integers(0, 256, (count, *SHAPE), np.uint8)


def run(model, clips, **options):
    return keras.ops.convert_to_numpy(model(clips, **options))


@pytest.fixture(scope="module")
def every():
    return awake(every_step=True)


@pytest.mark.parametrize("backbone", list_backbones())
def test_any_backbone_and_either_rnn(backbone):
    for rnn in ("lstm", "gru"):
        with no_weights():
            model = create_cnn_lstm_model(5, (4, 64, 64, 3), backbone=backbone, rnn=rnn, units=16)
            assert model.output_shape == (None, 5)
            assert model.layers[1].name == backbone
            features = model.layers[1].output_shape[-1]
            gates, biases = (4, 1) if rnn == "lstm" else (3, 2)
            own = 2 * features + gates * 16 * (features + 16 + biases) + 5 * 17
            assert count_parameters(model) == own + count_parameters(model.layers[1])


def test_frames_are_seen_by_the_backbone_one_by_one():
    model, clips = awake(), noise()
    features = keras.Model(model.input, model.get_layer("batch_norm").input)(clips).numpy()
    each = np.stack([run(model.layers[1], clip) for clip in clips])
    assert features.std(axis=1).mean() > 0.1
    np.testing.assert_allclose(features, each, atol=1e-4)


@pytest.mark.parametrize("every_step", [False, True])
def test_each_frame_is_computed_once_in_a_long_video(every_step):
    model, clips = awake(every_step=every_step), noise()
    encoder, head = split_per_frame(model)
    assert count_parameters(encoder) == count_parameters(model.layers[1])
    features = run(encoder, clips.reshape(-1, *SHAPE[1:])).reshape(2, 3, -1)
    np.testing.assert_allclose(run(head, features), run(model, clips), atol=1e-6)


class TestEveryStep:
    def test_has_the_weights_and_the_answer_of_the_plain_form(self, every, tmp_path):
        plain = small()
        plain.set_weights(every.get_weights())
        np.testing.assert_allclose(run(plain, noise()), run(every, noise()), atol=1e-6)

    def test_the_loss_is_the_mean_of_the_losses_at_all_steps(self, every):
        """Reported by Keras in training, and in its gradients; judged by the last step otherwise."""
        model = keras.models.clone_model(every)
        model.set_weights(every.get_weights())
        model.get_layer("logits").kernel.assign(model.get_layer("logits").kernel * 5)
        model.layers[1].trainable = False  # else its batch norm makes training see other features
        model.get_layer("batch_norm").trainable = False
        model.compile(keras.optimizers.SGD(1.0), "sparse_categorical_crossentropy", jit_compile=False)
        clips, labels = noise(), np.array([0, 2])
        logits = keras.Model(model.input, model.get_layer("logits").output)
        steps = keras.ops.softmax(logits(clips)).numpy()  # (B, T, C)
        losses = -np.log(steps[np.arange(2), :, labels])  # (B, T)
        assert np.ptp(losses) > 0.1
        assert model.evaluate(clips, labels, verbose=0) == pytest.approx(losses[:, -1].mean(), rel=1e-4)
        bias = model.get_layer("logits").bias.numpy()
        assert model.train_on_batch(clips, labels) == pytest.approx(losses.mean(), rel=1e-4)
        gradient = (steps - np.eye(3)[labels][:, None]).mean(axis=(0, 1))
        step = bias - model.get_layer("logits").bias.numpy()
        np.testing.assert_allclose(step, gradient, rtol=1e-3, atol=1e-6)

    @pytest.mark.slow
    def test_trains_and_is_saved(self, tmp_path):
        model, clips = small(every_step=True), noise(8)
        labels = np.arange(8) % 3
        history = train(
            model, Dataset(clips, labels, classes="abc"), epochs=2, validation_split=0.5, verbose=False
        )
        assert np.isfinite(history.history["val_loss"]).all()
        path = save_model(model, tmp_path / "model.keras")
        np.testing.assert_allclose(run(load_model(path), clips), run(model, clips), atol=1e-6)


def test_a_frozen_backbone_stays_as_it_is(tmp_path):
    model, clips = small(trainable=False), noise(4)
    names = {weight.path.split("/")[0] for weight in model.trainable_variables}
    assert names == {"batch_norm", "lstm", "probabilities"}
    recipe = Recipe(("a", "b", "c"), *SHAPE[:3], clip_seconds=1)
    model = load_model(save_model(model, tmp_path / "model.keras", recipe=recipe))
    before = model.layers[1].get_weights()
    model.compile(keras.optimizers.SGD(1.0), "sparse_categorical_crossentropy", jit_compile=False)
    model.train_on_batch(clips, np.array([0, 1, 2, 0]))
    for old, new in zip(before, model.layers[1].get_weights(), strict=True):
        assert np.array_equal(old, new)


def test_weights_of_the_backbone_come_from_a_file(tmp_path):
    keras.utils.set_random_seed(1)
    backbone = create_backbone("mobilenet_v2_0.35", SHAPE[1:])
    backbone.save_weights(tmp_path / "cnn.weights.h5")
    model = small(weights=tmp_path / "cnn.weights.h5")
    for ours, theirs in zip(model.layers[1].get_weights(), backbone.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rnn": "rnn"}, "rnn must be lstm or gru, got 'rnn'"),
        ({"backbone": "resnet51"}, "must be one of .*resnet50.*, got 'resnet51'"),
        ({"weights": "imagenet", "backbone": "googlenet"}, r"weights must be None or .*googlenet"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_bad_shapes_and_files():
    with pytest.raises(ValueError, match="input_shape must be at least 32 x 32 pixels, got"):
        create_cnn_lstm_model(3, (3, 31, 34, 3), backbone="mobilenet_v2_0.35")
    with pytest.raises(ValueError, match=r"input_shape must have 3 channels, got"):
        create_cnn_lstm_model(3, (3, 32, 34, 2), backbone="mobilenet_v2_0.35")
    with pytest.raises(FileNotFoundError, match=r"none\.weights\.h5"):
        small(weights="none.weights.h5")
