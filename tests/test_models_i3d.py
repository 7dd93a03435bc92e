import keras
import numpy as np
import pytest
from learning import losses_of, moving_bars

from harkeras.models.i3d import create_i3d_model, create_two_stream_i3d_model
from harkeras.models.registry import no_weights

SHAPE = (6, 33, 40, 3)


def clips_of(count=2, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE), np.uint8)


def flow_of(count=2, seed=1):
    return np.random.default_rng(seed).integers(1, 256, (count, *SHAPE[:3], 2), np.uint8)


def run(model, clips, **options):
    return keras.ops.convert_to_numpy(model(clips, **options))


@pytest.mark.parametrize(("channels", "parameters"), [(3, 12_689_984), (2, 12_668_032)])
def test_parameters_are_those_published(channels, parameters):
    with no_weights():
        model = create_i3d_model(400, (64, 224, 224, channels))
    assert sum(np.prod(v.shape) for v in model.trainable_variables) == parameters
    assert model.input_shape == (None, 64, 224, 224, channels)
    # The head's window is that of the paper; its answers at seven times are averaged.
    pool = model.get_layer("Logits_AvgPool3d_0a_7x7")
    assert (pool.pool_size, pool.output.shape) == ((2, 7, 7), (None, 7, 1, 1, 1024))


def test_learns():
    """Which way does the bar move? The loss falls on eight clips that are seen again and again."""
    keras.utils.set_random_seed(27)
    model = create_i3d_model(2, SHAPE, width_multiplier=0.1)
    losses = losses_of(model, *moving_bars(SHAPE), learning_rate=3e-3, steps=8)
    assert np.mean(losses[-2:]) < 0.7 * losses[0], losses


@pytest.fixture(scope="module")
def streams():
    """The network for RGB, and the one for flow."""
    keras.utils.set_random_seed(27)
    return [create_i3d_model(3, (*SHAPE[:3], channels), width_multiplier=0.1) for channels in (3, 2)]


def test_pixels_and_flow_are_scaled(streams):
    for model, values in zip(streams, ([0, 127.5, 255], [1, 128, 255]), strict=True):
        assert run(model.layers[1], np.array(values)) == pytest.approx([-1, 0, 1])


def test_streams_add_their_logits(streams):
    """The trained weights of two models, put together."""
    rgb, flow = streams
    both = create_two_stream_i3d_model(3, (*SHAPE[:3], 5), width_multiplier=0.1)
    both.get_layer("rgb").set_weights(rgb.get_weights())
    both.get_layer("flow").set_weights(flow.get_weights())
    logits = 0
    for model, clips in ((rgb, clips_of()), (flow, flow_of())):
        logits += run(keras.Model(model.input, model.get_layer("logits").output), clips)
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert run(both, np.concatenate([clips_of(), flow_of()], axis=-1)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (30, 20, 20, 2)])
def test_any_size(shape):
    probabilities = run(create_i3d_model(2, shape, width_multiplier=0.05), np.zeros((1, *shape), np.float32))
    assert probabilities.sum() == pytest.approx(1)


def test_channels():
    with pytest.raises(ValueError, match=r"must have 3 channels \(RGB\) or 2 \(flow\), got \(8, 32, 32, 4\)"):
        create_i3d_model(2, (8, 32, 32, 4))
    with pytest.raises(ValueError, match=r"must have 5 channels \(RGB and flow\), got \(8, 32, 32, 3\)"):
        create_two_stream_i3d_model(2, (8, 32, 32, 3))


def test_width_multiplier():
    with pytest.raises(ValueError, match="width_multiplier must be positive, got 0"):
        create_i3d_model(2, SHAPE, width_multiplier=0)
