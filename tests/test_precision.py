"""Training in 16 bits: what comes out computes in 32, and the caller's policy is what it was."""

import keras
import numpy as np
import pytest

from harkeras.data.datasets import Dataset
from harkeras.models import create_cnn_lstm_model, create_convlstm_model, create_lrcn_model
from harkeras.training import precision
from harkeras.training.precision import choose_policy, in_single_precision, mixed_precision
from harkeras.training.trainer import NetworkTrainer

SMALL = {"filters": (2, 2, 2, 2), "units": 2}


def layers_of(model):
    return [layer for layer in model._flatten_layers() if not isinstance(layer, keras.layers.InputLayer)]


@pytest.mark.parametrize(
    ("capability", "policy"), [(None, "mixed_bfloat16"), (7, "mixed_float16"), (9, "mixed_bfloat16")]
)
def test_policy_by_device(monkeypatch, capability, policy):
    monkeypatch.setattr(precision, "_compute_capability", lambda: capability)
    assert choose_policy() == policy


def test_the_policy_of_the_caller_comes_back():
    with mixed_precision():
        assert keras.config.dtype_policy().name == choose_policy()
    with pytest.raises(ZeroDivisionError), mixed_precision():
        1 / 0  # noqa: B018
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize(
    ("builder", "shape", "options"),
    [
        (create_lrcn_model, (2, 64, 64, 3), SMALL),
        (create_convlstm_model, (2, 15, 17, 3), {"filters": (2, 3)}),
        (create_cnn_lstm_model, (2, 32, 34, 3), {"units": 2}),
    ],
)
def test_the_same_layers_in_32_bits(builder, shape, options):
    with mixed_precision():
        mixed = builder(3, shape, **options)
    assert {layer.compute_dtype for layer in layers_of(mixed)} == {"bfloat16", "float32"}
    single = in_single_precision(mixed)
    assert {layer.compute_dtype for layer in layers_of(single)} == {"float32"}
    assert [layer.name for layer in single.layers] == [layer.name for layer in mixed.layers]
    assert [weight.shape for weight in single.weights] == [weight.shape for weight in mixed.weights]


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_trains_in_16_bits_and_gives_32(eager, monkeypatch, policy):
    monkeypatch.setattr(precision, "choose_policy", lambda: policy)
    labels = np.arange(12) % 2
    clips = np.repeat(labels, 2 * 64 * 64 * 3).reshape(12, 2, 64, 64, 3).astype(np.uint8) * 100 + 50
    trainer = NetworkTrainer(
        "lrcn", SMALL, input_shape=clips.shape[1:], mixed_precision=True, epochs=2, verbose=False
    )
    assert trainer.settings["mixed_precision"]
    seen = []
    fit = trainer.fit

    def spied(model, dataset, *, seed):
        seen.append({layer.compute_dtype for layer in layers_of(model)})
        fit(model, dataset, seed=seed)
        seen.append(model.get_weights())

    trainer.fit = spied
    training = trainer.train(Dataset(clips, labels, classes=("dark", "bright")), seed=3)
    assert seen[0] == {policy.removeprefix("mixed_"), "float32"}
    model = training.model
    assert {layer.compute_dtype for layer in layers_of(model)} == {"float32"}
    assert all(map(np.array_equal, model.get_weights(), seen[1]))
    assert model.recipe.classes == ("dark", "bright")
    assert training.history.epoch == [0, 1]
    assert type(model.optimizer) is keras.optimizers.Adam
    assert int(model.optimizer.iterations) == 6
    assert keras.config.dtype_policy().name == "float32"


def test_what_it_may_be():
    with pytest.raises(ValueError, match="mixed_precision must be True or False, got 'float16'"):
        NetworkTrainer("lrcn", mixed_precision="float16")
