"""The same network in PyTorch, with the same random weights, gives the same probabilities.

The networks stand in torch_networks.py.
"""

import keras
import pytest

from harkeras.models.c3d import create_c3d_model
from harkeras.models.i3d import create_i3d_model
from harkeras.models.r2plus1d import create_r2plus1d_model, create_r3d_model
from harkeras.models.resnet3d import create_resnet3d_model, create_resnext3d_model

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch (the CPU build)")
from torch import nn  # noqa: E402
from torch_networks import C3D, I3D, R3D, Hara, R2Plus1D, assert_same_outputs, randomize  # noqa: E402

pytestmark = pytest.mark.slow


def copy_weights(network, model):
    """Every weight of the PyTorch network into the layer of the same name; none may be left over."""
    left = {layer.name for layer in model.layers if layer.weights}
    for path, module in network.named_modules():
        name = {"fc": "probabilities"}.get(path, path.replace(".", "_"))
        if isinstance(module, nn.Conv3d):
            weights = [module.weight.permute(2, 3, 4, 1, 0), module.bias]
        elif isinstance(module, nn.Linear):
            weights = [module.weight.T, module.bias]
        elif isinstance(module, nn.BatchNorm3d):
            if not model.get_layer(name).scale:
                nn.init.ones_(module.weight)
            gamma = module.weight if model.get_layer(name).scale else None
            weights = [gamma, module.bias, module.running_mean, module.running_var]
        else:
            continue
        model.get_layer(name).set_weights([w.detach().numpy() for w in weights if w is not None])
        left.remove(name)
    assert not left


CASES = {
    "c3d": (create_c3d_model, {"width_multiplier": 0.125}, lambda: C3D(5), (16, 112, 112, 3)),
    "i3d": (create_i3d_model, {}, lambda: I3D(5, 3), (17, 65, 48, 3)),
    "i3d flow": (create_i3d_model, {}, lambda: I3D(5, 2), (16, 40, 64, 2)),
    "r2plus1d": (create_r2plus1d_model, {}, lambda: R2Plus1D(5), (8, 40, 47, 3)),
    "r3d": (create_r3d_model, {}, lambda: R3D(5), (8, 40, 47, 3)),
    "resnet3d 18": (create_resnet3d_model, {}, lambda: Hara(5, (2, 2, 2, 2), 64, 64, "A"), (16, 64, 47, 3)),
    "resnet3d 18 B": (
        create_resnet3d_model,
        {"shortcut": "B"},
        lambda: Hara(5, (2, 2, 2, 2), 64, 64, "B"),
        (7, 64, 64, 3),
    ),
    "resnet3d 34": (
        create_resnet3d_model,
        {"depth": 34},
        lambda: Hara(5, (3, 4, 6, 3), 64, 64, "A"),
        (8, 32, 32, 3),
    ),
    "resnet3d 50": (
        create_resnet3d_model,
        {"depth": 50},
        lambda: Hara(5, (3, 4, 6, 3), 64, 64, "B", 4),
        (8, 33, 48, 3),
    ),
    "resnext3d 50": (
        create_resnext3d_model,
        {"depth": 50},
        lambda: Hara(5, (3, 4, 6, 3), 64, 128, "B", 2, 32),
        (8, 64, 47, 3),
    ),
    "resnext3d 101": (
        create_resnext3d_model,
        {"depth": 101},
        lambda: Hara(5, (3, 4, 23, 3), 64, 128, "B", 2, 32),
        (16, 64, 64, 3),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_same_outputs_as_pytorch(case):
    builder, options, create_network, shape = CASES[case]
    keras.utils.set_random_seed(27)
    network, model = randomize(create_network()), builder(5, shape, **options)
    copy_weights(network, model)
    trainable = sum(p.numel() for p in network.parameters())
    unscaled = sum(
        layer.moving_mean.shape[0]
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization) and not layer.scale
    )
    assert sum(v.numpy().size for v in model.trainable_variables) == trainable - unscaled
    assert_same_outputs(model, network)
