import keras
import numpy as np
import pytest
from learning import fit, moving_blocks

from harkeras.models.c3d import create_c3d_model
from harkeras.models.registry import no_weights

SHAPE = (8, 16, 16, 3)


@pytest.mark.parametrize(("classes", "parameters"), [(487, 79_991_015), (101, 78_409_573)])
def test_parameters_are_those_published(classes, parameters):
    with no_weights():
        model = create_c3d_model(classes)
    assert model.count_params() == parameters
    assert model.get_layer("pool5").output.shape[1:] == (1, 4, 4, 512)


@pytest.mark.parametrize("shape", [(1, 16, 16, 3), (7, 17, 30, 3), (17, 16, 33, 3)])
def test_takes_any_size(shape):
    """Pools round up, so that no row, column or frame at the end is lost."""
    keras.utils.set_random_seed(27)  # of so few filters, all may be dead
    model = create_c3d_model(3, shape, width_multiplier=1 / 32)
    rounded = [-(-shape[0] // 16), *(-(-size // 32) for size in shape[1:3])]
    assert model.get_layer("pool5").output.shape[1:4] == tuple(rounded)
    clips = np.random.default_rng(0).integers(0, 256, (1, *shape), np.uint8)
    changed = clips.copy()
    changed[:, -1, -1, -1] = 255 - changed[:, -1, -1, -1]
    assert not np.array_equal(model(clips), model(changed))


def test_mean_color_is_zero():
    rescale = create_c3d_model(2, SHAPE, width_multiplier=1 / 64).get_layer("rescale")
    assert np.abs(rescale(np.full((1, 1, 1, 1, 3), [102, 98, 90]))).max() < 1e-6


def test_learns_to_tell_motions_apart():
    keras.utils.set_random_seed(1)
    model = create_c3d_model(2, SHAPE, width_multiplier=0.125, dropout=0)
    _, accuracy, loss = fit(model, *moving_blocks(8, 16), epochs=15)
    assert (accuracy, loss) == (1, pytest.approx(0, abs=0.2))


def test_raises():
    with pytest.raises(
        ValueError, match=r"input_shape must be at least 16 x 16 pixels, got \(8, 15, 16, 3\)"
    ):
        create_c3d_model(2, (8, 15, 16, 3))
    with pytest.raises(ValueError, match="input_shape must have 3 channels, got"):
        create_c3d_model(2, (8, 16, 16, 2))
    with pytest.raises(ValueError, match="width_multiplier must be positive, got 0"):
        create_c3d_model(2, SHAPE, width_multiplier=0)
    with pytest.raises(ValueError, match="pools must be 'caffe' or 'pytorch', got 'up'"):
        create_c3d_model(2, SHAPE, pools="up")
    with pytest.raises(ValueError, match="must have at least 16 frames with pools='pytorch'"):
        create_c3d_model(2, (15, 112, 112, 3), width_multiplier=1 / 64, pools="pytorch")
    with pytest.raises(ValueError, match="num_classes must be at least 2, got 1"):
        create_c3d_model(1)
