"""The head first, then the last layers of the backbone at a smaller learning rate."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers, ops

from harkeras.data.datasets import Dataset
from harkeras.models import create_cnn_lstm_model, create_single_frame_model
from harkeras.models.saving import load_model, save_model
from harkeras.training.fine_tuning import TwoRates, find_backbone, fine_tune, release
from harkeras.training.loop import train
from harkeras.transfer.features import frame_encoder
from harkeras.transfer.heads import create_head, join

CLASSES = ["dark", "bright"]
ONE_EPOCH = {"epochs": 1, "batch_size": 4, "validation_split": 0, "verbose": False}


@pytest.fixture(scope="module")
def clips():
    labels = np.arange(8) % 2
    noise = np.random.default_rng(0).integers(0, 120, (8, 3, 8, 8, 3))
    return (noise + 120 * labels.reshape(-1, 1, 1, 1, 1)).astype(np.uint8), labels


@pytest.fixture(scope="module")
def dataset(clips):
    return Dataset(*clips, classes=CLASSES)


def build():
    """A frozen backbone of three convolutions with batch norm; a dense layer on the mean of the frames."""
    image = x = keras.Input((8, 8, 3))
    for name in ("first", "second", "third"):
        x = layers.Conv2D(4, 3, name=name, activation="relu")(x)
        x = layers.BatchNormalization(name=f"{name}_bn")(x)
    backbone = keras.Model(image, layers.GlobalAveragePooling2D()(x), name="backbone")
    backbone.trainable = False
    clip = keras.Input((3, 8, 8, 3))
    x = backbone(ops.reshape(clip / 255, (-1, 8, 8, 3)))
    x = ops.mean(ops.reshape(x, (-1, 3, 4)), axis=1)
    x = layers.BatchNormalization(name="head_bn")(x)
    return keras.Model(clip, layers.Dense(2, activation="softmax", name="probabilities")(x))


def moved(model, work):
    """Return the layers of the model whose weights `work` changes."""
    before = {weight.path: np.array(weight) for weight in model.weights}
    work()
    return {
        weight.path.split("/")[-2]
        for weight in model.weights
        if not np.array_equal(weight, before[weight.path])
    }


def test_frozen_then_released(dataset):
    model = build()
    head = {"head_bn", "probabilities"}
    assert moved(model, lambda: train(model, dataset, **ONE_EPOCH)) == head
    one = moved(model, lambda: fine_tune(model, dataset, last_layers=1, **ONE_EPOCH))
    assert one == head | {"third"}
    every = moved(model, lambda: fine_tune(model, dataset, last_layers=1000, **ONE_EPOCH))
    assert every == head | {"first", "second", "third"}  # batch norm stays
    assert moved(model, lambda: train(model, dataset, **ONE_EPOCH)) == head  # frozen again


def test_two_rates():
    slow, fast = keras.Variable([1.0], name="slow"), keras.Variable([1.0], name="fast")
    optimizer = TwoRates([0], 0.1, 0.5)
    optimizer.apply([ops.convert_to_tensor([2.0]), ops.convert_to_tensor([2.0])], [slow, fast])
    assert 1 - float(fast[0]) == pytest.approx(0.5, rel=1e-4)
    assert 1 - float(slow[0]) == pytest.approx(0.05, rel=1e-4)


def test_options_of_train_and_a_plain_file(clips, dataset, tmp_path):
    model = build()
    train(model, Dataset(*clips, classes=CLASSES, clip_seconds=2.5), **ONE_EPOCH)
    focal = keras.losses.CategoricalFocalCrossentropy(label_smoothing=0.1)
    history = fine_tune(model, Dataset(*clips), **ONE_EPOCH | {"epochs": 2}, loss=focal)
    assert len(history.history["loss"]) == 2
    assert model.recipe.clip_seconds == 2.5
    assert type(model.optimizer) is keras.optimizers.Adam
    path = save_model(model, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as of an optimizer of other weights than those that learn
        loaded = load_model(path)
    assert np.array_equal(loaded.predict(clips[0], verbose=0), model.predict(clips[0], verbose=0))


def test_goes_on_after_an_interruption(dataset, tmp_path):
    def run(epochs, augment=None, **options):
        keras.utils.set_random_seed(1)
        model = build()
        fine_tune(model, dataset.for_training(augment=augment), **ONE_EPOCH | {"epochs": epochs}, **options)
        return model

    class PulledPlug(Exception):
        """The end of a process."""

    class PullPlug(keras.layers.Layer):
        calls = 0

        def __call__(self, clips, seed):
            self.calls += 1
            if self.calls == 6:
                raise PulledPlug
            return clips

    pull_plug = PullPlug()
    state = tmp_path / "state"
    with pytest.raises(PulledPlug):
        run(3, resume=state, augment=pull_plug)
    assert state.exists()
    with pytest.raises(ValueError, match="optimizer"):
        run(3, resume=state, augment=pull_plug, backbone_factor=0.5)
    again, whole = run(3, resume=state, augment=pull_plug), run(3)
    for mine, theirs in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


def test_backbones_of_the_library():
    name = "mobilenet_v2_0.35"
    encoder = frame_encoder(name, (32, 32, 3), weights=None, parts=("last",))
    # A head with more weights than the backbone has.
    joined = join(encoder, create_head("mean_std", 400, (3, encoder.output_shape[-1])))
    lstm = create_cnn_lstm_model(2, (3, 32, 32, 3), backbone=name, units=4, trainable=False)
    single = create_single_frame_model(2, (3, 32, 32, 3), backbone=name, trainable=False)
    for model, head in ((joined, 2), (lstm, 7), (single, 2)):
        released = release(find_backbone(model), 2)
        assert {weight.path.split("/")[-2] for weight in released} == {"Conv_1", "block_16_project"}
        assert len(model.trainable_weights) == len(released) + head


def test_refusals(clips, dataset):
    model = build()
    with pytest.raises(ValueError, match="last_layers must be at least 1, got 0"):
        fine_tune(model, dataset, last_layers=0, **ONE_EPOCH)
    with pytest.raises(ValueError, match="backbone_factor must lie in 0 to 1, 0 excluded, got 2"):
        fine_tune(model, dataset, backbone_factor=2, **ONE_EPOCH)
    assert not find_backbone(model)[0].trainable_weights
    with pytest.raises(ValueError, match="labels must lie in 0 to 1, got 0 to 2"):
        fine_tune(model, Dataset(clips[0], 2 * clips[1], classes=CLASSES), **ONE_EPOCH)
    assert not find_backbone(model)[0].trainable_weights
    before = model.get_weights()
    with pytest.raises(RuntimeError, match="loss is nan in the first epoch"):
        fine_tune(model, dataset, **ONE_EPOCH, learning_rate=np.nan)
    assert all(map(np.array_equal, before, model.get_weights()))
    assert type(model.optimizer) is keras.optimizers.Adam
    flat = keras.Sequential([keras.Input((3, 8, 8, 3)), layers.Flatten(), layers.Dense(2, name="dense")])
    with pytest.raises(ValueError, match="model must stand on a backbone, a model among its layers, got seq"):
        fine_tune(flat, dataset, **ONE_EPOCH)
