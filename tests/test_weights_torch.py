"""Networks in PyTorch with random weights, saved as their authors save them: ours then answer the same."""

import keras
import pytest

from harkeras.models import (
    create_c3d_model,
    create_i3d_model,
    create_r2plus1d_model,
    create_r3d_model,
    create_resnet3d_model,
    create_resnext3d_model,
)
from harkeras.pretrained.weights import load_weights

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch (the CPU build)")
from torch_networks import (  # noqa: E402
    I3D,
    R3D,
    CaffeC3D,
    Hara,
    R2Plus1D,
    TorchC3D,
    assert_same_outputs,
    randomize,
)

pytestmark = pytest.mark.slow

UNITS_OF_PYTORCH_I3D = {
    "Branch_0_Conv3d_0a_1x1": "b0",
    "Branch_1_Conv3d_0a_1x1": "b1a",
    "Branch_1_Conv3d_0b_3x3": "b1b",
    "Branch_2_Conv3d_0a_1x1": "b2a",
    "Branch_2_Conv3d_0b_3x3": "b2b",
    "Branch_3_Conv3d_0b_1x1": "b3b",
    "Logits_Conv3d_0c_1x1": "logits.conv3d",
    "conv_3d": "conv3d",
    "batch_norm": "bn",
}


def plain(network):
    """As torchvision and DavideA/c3d-pytorch save."""
    return network.state_dict()


def hara(network):
    """As kenshohara/3D-ResNets-PyTorch saves: trained on several GPUs, in the midst of training."""
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    return {"epoch": 200, "arch": "resnet-18", "state_dict": state, "optimizer": optimizer.state_dict()}


def pytorch_i3d(network):
    """As piergiaj/pytorch-i3d names."""
    state = {}
    for name, value in network.state_dict().items():
        parts = [UNITS_OF_PYTORCH_I3D.get(part, part) for part in name.split(".")]
        state[".".join(parts)] = value
    return state


def jfzhang95(network):
    """As jfzhang95/pytorch-video-recognition names; it has no last layer."""
    numbers = {"conv1": 0, "conv2": 3, "conv3a": 6, "conv3b": 8, "conv4a": 11, "conv4b": 13, "conv5a": 16}
    numbers |= {"conv5b": 18}
    names = {name: f"features.{i}" for name, i in numbers.items()}
    names |= {"fc6": "classifier.0", "fc7": "classifier.3"}
    state = {}
    for name, value in network.state_dict().items():
        layer, _, part = name.rpartition(".")
        if layer in names:
            state[f"{names[layer]}.{part}"] = value
    return state


SOURCES = {
    "c3d": "c3d",
    "c3d pytorch": "c3d_pytorch",
    "c3d pytorch, other size": "c3d_pytorch",
    "hara resnet 18": "resnet3d",
    "hara resnet 50": "resnet3d",
    "hara resnet 18 of master": "resnet3d_master",
    "hara resnet 50 of master": "resnet3d_master",
}
CASES = {
    "c3d": (create_c3d_model, {"width_multiplier": 0.125}, lambda: CaffeC3D(5), (16, 112, 112, 3), plain),
    "c3d pytorch": (
        create_c3d_model,
        {"width_multiplier": 0.125, "pools": "pytorch"},
        lambda: TorchC3D(5),
        (16, 112, 112, 3),
        plain,
    ),
    "c3d pytorch, other size": (
        create_c3d_model,
        {"width_multiplier": 0.125, "pools": "pytorch"},
        lambda: TorchC3D(5),
        (17, 115, 127, 3),
        plain,
    ),
    "hara resnet 18 of master": (
        create_resnet3d_model,
        {"shortcut": "B", "normalization": "kinetics"},
        lambda: Hara(5, (2, 2, 2, 2), 64, 64, "B", master=True),
        (8, 40, 47, 3),
        hara,
    ),
    "hara resnet 50 of master": (
        create_resnet3d_model,
        {"depth": 50, "normalization": "kinetics"},
        lambda: Hara(5, (3, 4, 6, 3), 64, 64, "B", 4, master=True),
        (8, 33, 48, 3),
        hara,
    ),
    "pytorch-i3d": (create_i3d_model, {}, lambda: I3D(5, 3), (17, 65, 48, 3), pytorch_i3d),
    "pytorch-i3d flow": (create_i3d_model, {}, lambda: I3D(5, 2), (16, 40, 64, 2), pytorch_i3d),
    "r2plus1d_18": (create_r2plus1d_model, {}, lambda: R2Plus1D(5), (8, 40, 47, 3), plain),
    "r3d_18": (create_r3d_model, {}, lambda: R3D(5), (8, 40, 47, 3), plain),
    "hara resnet 18": (
        create_resnet3d_model,
        {},
        lambda: Hara(5, (2, 2, 2, 2), 64, 64, "A"),
        (8, 40, 47, 3),
        hara,
    ),
    "hara resnet 50": (
        create_resnet3d_model,
        {"depth": 50},
        lambda: Hara(5, (3, 4, 6, 3), 64, 64, "B", 4),
        (8, 33, 48, 3),
        hara,
    ),
    "hara resnext 101": (
        create_resnext3d_model,
        {},
        lambda: Hara(5, (3, 4, 23, 3), 64, 128, "B", 2, 32),
        (16, 64, 64, 3),
        hara,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_same_outputs_after_conversion(case, tmp_path):
    builder, options, create_network, shape, save = CASES[case]
    network = randomize(create_network())
    torch.save(save(network), tmp_path / "published.pth")
    model = builder(5, shape, **options)
    assert load_weights(model, tmp_path / "published.pth", source=SOURCES.get(case)) is model
    assert_same_outputs(model, network)


def test_c3d_by_numbers_has_no_last_layer(tmp_path):
    network = randomize(CaffeC3D(5))
    torch.save(jfzhang95(network), tmp_path / "c3d-pretrained.pth")
    model = create_c3d_model(5, width_multiplier=0.125)
    with pytest.raises(ValueError, match=r"missing for the model: probabilities/bias, probabilities/kernel;"):
        load_weights(model, tmp_path / "c3d-pretrained.pth")
    load_weights(model, tmp_path / "c3d-pretrained.pth", head=False)
    last = network.fc8.weight.detach().numpy().T, network.fc8.bias.detach().numpy()
    model.get_layer("probabilities").set_weights(last)
    assert_same_outputs(model, network)


@pytest.mark.parametrize(
    ("source", "pools"), [("c3d", "pytorch"), ("c3d_pytorch", "caffe")], ids=["caffe", "pytorch"]
)
def test_c3d_of_the_other_framework_is_refused(source, pools, tmp_path):
    torch.save(randomize(TorchC3D(5)).state_dict(), tmp_path / "x.pth")
    model = create_c3d_model(5, width_multiplier=0.125, pools=pools)
    with pytest.raises(ValueError, match=rf"model must be built with pools=.*, got one with pools='{pools}'"):
        load_weights(model, tmp_path / "x.pth", source=source)


def test_a_file_that_would_run_code_is_refused(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("the file was executed",))

    torch.save({"state_dict": {"conv5b.weight": Trap()}}, tmp_path / "trap.pth")
    with pytest.raises(ValueError, match=r"trap.pth is not a state dict of PyTorch with tensors alone"):
        load_weights(create_c3d_model(5, (16, 16, 16, 3), width_multiplier=0.01), tmp_path / "trap.pth")


def test_what_is_no_state_dict(tmp_path):
    model = create_r3d_model(2, (2, 16, 16, 3), filters=2)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"list.pth is not a state dict .* it holds no state dict, but list"):
        load_weights(model, tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(
        ValueError, match=r"text.pth is not a file of weights, or is damaged: it must be a checkpoint of"
    ):
        load_weights(model, tmp_path / "text.pth")
    before = keras.ops.convert_to_numpy(model.weights[0])
    network = randomize(R3D(5))
    torch.save(network.state_dict(), tmp_path / "wide.pth")
    with pytest.raises(
        ValueError, match=r"of another shape: stem.0.weight is \(3, 7, 7, 3, 64\) where stem_0 has"
    ):
        load_weights(model, tmp_path / "wide.pth")
    assert (keras.ops.convert_to_numpy(model.weights[0]) == before).all()
