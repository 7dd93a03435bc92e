import keras
import numpy as np
import pytest

from harkeras.models import create_two_stream_model
from harkeras.models.registry import count_parameters, no_weights

SHAPE = (3, 48, 50)


def run(model, clips):
    return keras.ops.convert_to_numpy(model(clips))


def clips_of(channels, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (2, *SHAPE, channels), np.uint8)


def test_spatial_stream_is_cnn_m_2048():
    """As published with ImageNet's 1000 classes: 6 x 6 x 512 features, 353 MB of float32."""
    with no_weights():
        model = create_two_stream_model(1000, (1, 224, 224, 3))
    frame = model.get_layer("frames").layer.get_layer("spatial")
    assert [frame.get_layer(f"pool{i}").output.shape[1] for i in (1, 2, 5)] == [54, 13, 6]
    assert count_parameters(model) == 92_469_864


def test_two_trained_streams_make_one_model():
    """The average of what each says alone."""
    keras.utils.set_random_seed(27)
    spatial, temporal, both = (
        create_two_stream_model(3, (*SHAPE, n), width_multiplier=0.05) for n in (3, 4, 7)
    )
    both.set_weights(spatial.get_weights() + temporal.get_weights())
    clips = clips_of(7)
    expected = (run(spatial, clips[..., :3]) + run(temporal, clips[..., 3:])) / 2
    assert run(both, clips) == pytest.approx(expected, abs=1e-6)


def test_camera_motion_is_taken_out():
    """The mean of each field makes no difference, what moves against it does."""
    model = create_two_stream_model(3, (*SHAPE, 4), width_multiplier=0.05)
    flow = clips_of(4) // 2 + 20
    panned = flow + np.array([40, 10, 0, 50], np.uint8)
    assert run(model, panned) == pytest.approx(run(model, flow), abs=1e-5)
    assert np.abs(run(model, flow[:, :, ::-1]) - run(model, flow)).max() > 1e-5


@pytest.mark.parametrize("shape", [(1, 41, 41, 3), (2, 90, 43, 2), (3, 64, 128, 5)])
def test_any_size(shape):
    assert run(
        create_two_stream_model(2, shape, width_multiplier=0.05), np.zeros((1, *shape), np.uint8)
    ).sum() == pytest.approx(1)


def test_channels():
    with pytest.raises(ValueError, match=r"must have 3, 2L or 3 \+ 2L channels, got \(3, 64, 64, 1\)"):
        create_two_stream_model(2, (3, 64, 64, 1))
