"""The video transformer: the paper's size, its tokens, and what it makes of time."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from learning import fit

from harkeras.models import count_multiply_adds, create_video_transformer_model
from harkeras.models.registry import count_parameters, no_weights

SMALL = {"units": 8, "heads": 2, "depths": (1, 1), "tubelet": (2, 8, 8), "convolutions": 0}


def small(shape=(4, 16, 24, 3), **options):
    keras.utils.set_random_seed(27)
    return create_video_transformer_model(3, shape, **SMALL | options)


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape).astype("float32")


def layer_output(model, name, clips):
    return keras.Model(model.input, model.get_layer(name).output)(clips).numpy()


def test_size_of_the_paper():
    """Table 2 of the paper: ViViT-B/16x2, factorized encoder, 115.1 million parameters, 284.4 GFLOPs."""
    options = {"tubelet": (2, 16, 16), "units": 768, "heads": 12, "depths": (12, 4), "convolutions": 0}
    with no_weights():
        model = create_video_transformer_model(400, (32, 224, 224, 3), **options)
        assert count_parameters(model) / 1e6 == pytest.approx(115.1, abs=0.05)
        assert count_multiply_adds(model) / 1e9 == pytest.approx(284.4, rel=0.005)


def test_a_token_sees_its_own_tubelet():
    model, clips = small(), noise(1, 4, 16, 24, 3)
    before = layer_output(model, "tokens", clips)
    assert before.shape == (1, 2, 6, 8)
    clips[0, 3, 9, 17] = 0  # in the second moment, lower right: token 5 of 0 to 5
    changed = np.abs(layer_output(model, "tokens", clips) - before).max(axis=(0, 3)) > 1e-6
    assert changed.tolist() == [[False] * 6, [False] * 5 + [True]]


def test_attention_in_space_stays_within_its_moment():
    model, clips = small(), noise(1, 4, 16, 24, 3)
    before = layer_output(model, "space_norm", clips)
    assert before.shape == (1, 2, 8)
    clips[0, 3] = 255 - clips[0, 3]
    changed = np.abs(layer_output(model, "space_norm", clips) - before).reshape(2, -1).max(axis=1) > 1e-6
    assert changed.tolist() == [False, True]


def test_clips_of_a_batch_do_not_see_each_other():
    model, clips = small(dropout=0), noise(3, 4, 16, 24, 3)
    together = model(clips).numpy()
    for i in range(3):
        np.testing.assert_allclose(model(clips[i : i + 1]).numpy()[0], together[i], atol=1e-6)


def test_convolutions_leave_the_tokens_as_many():
    plain, convolutional = small(), small(convolutions=2)
    assert convolutional.get_layer("tokens").output.shape == plain.get_layer("tokens").output.shape
    assert convolutional.get_layer("tubelets").kernel_size == (2, 2, 2)


@pytest.mark.parametrize("name", ["space", "time"])
def test_without_positions_order_is_lost(name):
    """What keeps the order of moments, and the place of tokens, is what the positions have learnt."""
    model, clips = small(dropout=0), noise(1, 4, 16, 24, 3)
    if name == "time":  # moments of two frames in the other order
        shuffled = clips.reshape(1, 2, 2, 16, 24, 3)[:, ::-1].reshape(clips.shape)
    else:  # the upper tubelets below
        shuffled = np.concatenate([clips[:, :, 8:], clips[:, :, :8]], axis=2)
    before = model(clips).numpy()
    assert np.abs(model(shuffled).numpy() - before).max() > 1e-5
    positions = model.get_layer(f"{name}_positions").embeddings
    positions.assign(tf.zeros_like(positions))
    np.testing.assert_allclose(model(shuffled).numpy(), model(clips).numpy(), atol=1e-6)


@pytest.mark.slow
def test_learns_the_order_of_frames():
    """The same two pictures in either order are two classes."""
    keras.utils.set_random_seed(27)
    model = create_video_transformer_model(2, (4, 16, 16, 3), **SMALL | {"units": 32, "dropout": 0})
    clip = np.repeat(noise(2, 16, 16, 3), 2, axis=0)
    clips, labels = np.stack([clip, clip[::-1]]), np.array([0, 1])
    _, _, loss = fit(model, clips, labels, learning_rate=3e-3, epochs=100)
    assert loss < 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (5, 16, 24, 3)}, r"input_shape must be multiples of the tubelet \(2, 8, 8\), got \(5, 16"),
        ({"shape": (4, 16, 20, 3)}, r"input_shape must be multiples of the tubelet"),
        ({"shape": (4, 16, 4, 3)}, r"input_shape must be at least 8 x 8 pixels, got"),
        ({"tubelet": (2, 8)}, r"tubelet must be 3 positive integers, got \(2, 8\)"),
        ({"tubelet": (0, 8, 8)}, r"tubelet must be 3 positive integers, got"),
        ({"depths": (1, 2, 3)}, r"depths must be 2 positive integers, got \(1, 2, 3\)"),
        ({"convolutions": 4}, r"tubelet must be a multiple of 2 \*\* convolutions .*, got \(2, 8, 8\) and 4"),
        ({"units": 9}, "units must be a multiple of heads, got 9 units and 2 heads"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)
