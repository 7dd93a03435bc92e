"""3D-ResNet and 3D-ResNeXt: residual networks of images, with a third axis in every kernel.

Hara, Kataoka and Satoh, "Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?", CVPR 2018.

A residual block adds what its convolutions found to what came in, so that a hundred layers still train. With
3x3x3 kernels the same blocks see motion as well as shape: the clip is one block of pixels, and time is halved
along with height and width. On small collections such networks overfit (the paper shows it: UCF-101 alone is
not enough from depth 18 on), so they are meant to start from weights learned on Kinetics.

ResNeXt cuts the channels of each 3x3x3 convolution into 32 groups that do not see each other. For the same
cost the layer can be twice as wide: 101 layers weigh 48 million parameters, and this was the best network of
the paper. TensorFlow computes grouped convolutions badly on a CPU: see `speed_up_groups`.

Layers are named as in the authors' code (branch CVPR2018), with "_" for ".", and pad as PyTorch does.
Deviations: the last average pool takes whatever is left of the clip, so that any size goes in; shortcuts are
chosen per depth as in the published weights ("A" for 18 and 34 layers, "B" for all others).
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from keras import Model, layers

from harkeras.models.blocks import (
    batch_norm,
    classify,
    clip_input,
    padded_conv3d,
    residual_stages,
    standardize,
)
from harkeras.models.registry import register

_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
# Mean and deviation of each channel, in 0-255. For the paper's networks the authors subtract the mean color
# of ActivityNet and divide by nothing; in the branch "master" of their code, both are those of Kinetics.
NORMALIZATIONS = {
    "activitynet": ((114.7748, 107.7354, 99.4750), (1, 1, 1)),
    "kinetics": ((110.7975, 103.3005, 96.2625), (70.584, 69.1815, 69.7935)),
}


@register("resnet3d", paper="Hara et al., CVPR 2018")
def create_resnet3d_model(
    num_classes: int,
    input_shape: tuple[int, int, int, int] = (16, 112, 112, 3),
    *,
    depth: Literal[18, 34, 50] = 18,
    filters: int = 64,
    shortcut: Literal["A", "B"] | None = None,
    normalization: Literal["activitynet", "kinetics"] = "activitynet",
) -> Model:
    """Build 3D-ResNet, uncompiled, with random weights.

    Args:
        num_classes: Number of actions, at least 2.
        input_shape: Clip shape (frames, height, width, 3), of any size.
        depth: Number of layers: 18 or 34 (blocks of two convolutions), or 50 (1x1x1, 3x3x3, 1x1x1).
        filters: Channels of the stem and the first stage; each next one has twice as many.
        shortcut: How a block that changes the shape passes its input on: "A" by leaving out points and
            appending channels of zeros, "B" by a 1x1x1 convolution; by default "A" for 18 and 34 layers.
        normalization: "activitynet", as for the published networks of the paper (branch CVPR2018), or
            "kinetics", as in the branch "master" of the authors' code. Weights need that of their training.

    Returns:
        `keras.Model`: clips (B, T, H, W, 3), RGB 0-255 -> float32 probabilities (B, num_classes).

    Raises:
        ValueError: If there are fewer than 2 classes, the input is not a clip with 3 channels, or `depth`,
            `shortcut` or `normalization` is none of those named.
    """
    if depth not in (18, 34, 50):
        raise ValueError(f"depth must be 18, 34 or 50, got {depth!r}")
    shortcut = shortcut or ("B" if depth == 50 else "A")
    if shortcut not in ("A", "B"):
        raise ValueError(f"shortcut must be 'A' or 'B', got {shortcut!r}")
    block = partial(_bottleneck, expansion=4) if depth == 50 else _basic
    clip = clip_input(num_classes, input_shape)
    x = _stem(clip, filters, normalization)
    x = residual_stages(x, _BLOCKS[depth], filters, partial(block, shortcut=shortcut))
    return Model(clip, classify(x, num_classes), name="resnet3d")


@register("resnext3d", paper="Hara et al., CVPR 2018")
def create_resnext3d_model(
    num_classes: int,
    input_shape: tuple[int, int, int, int] = (16, 112, 112, 3),
    *,
    depth: Literal[50, 101] = 101,
    filters: int = 128,
    groups: int = 32,
    normalization: Literal["activitynet", "kinetics"] = "activitynet",
) -> Model:
    """Build 3D-ResNeXt, uncompiled, with random weights.

    Args:
        num_classes: Number of actions, at least 2.
        input_shape: Clip shape (frames, height, width, 3), of any size.
        depth: Number of layers, 50 or 101.
        filters: Channels of the grouped convolutions of the first stage; each next one has twice as many.
        groups: Into how many groups these convolutions cut their channels.
        normalization: "activitynet" or "kinetics", as in `create_resnet3d_model`.

    Returns:
        `keras.Model`: clips (B, T, H, W, 3), RGB 0-255 -> float32 probabilities (B, num_classes).

    Raises:
        ValueError: If there are fewer than 2 classes, the input is not a clip with 3 channels, `depth` is not
            50 or 101, `filters` is not a multiple of `groups`, or there is no such `normalization`.
    """
    if depth not in (50, 101):
        raise ValueError(f"depth must be 50 or 101, got {depth!r}")
    if filters % groups:
        raise ValueError(f"filters must be a multiple of groups, got {filters} and {groups}")
    clip = clip_input(num_classes, input_shape)
    x = _stem(clip, filters // 2, normalization)
    block = partial(_bottleneck, shortcut="B", expansion=2, groups=groups)
    x = residual_stages(x, _BLOCKS[depth], filters, block)
    return Model(clip, classify(x, num_classes), name="resnext3d")


def _stem(clip, filters, normalization):
    """Clips (B, T, H, W, 3) -> features (B, T / 2, H / 4, W / 4, filters)."""
    if normalization not in NORMALIZATIONS:
        raise ValueError(f"normalization must be one of {', '.join(NORMALIZATIONS)}, got {normalization!r}")
    mean, std = NORMALIZATIONS[normalization]
    x = standardize(clip, mean=mean, std=std)
    x = padded_conv3d(x, filters, 7, (1, 2, 2), name="conv1")  # (B, T, H/2, W/2, filters)
    x = layers.ReLU(name="relu")(batch_norm(x, name="bn1"))
    # Nothing is below zero after ReLU: zeros around are as good as PyTorch's minus infinity.
    return layers.MaxPooling3D(3, 2, name="maxpool")(layers.ZeroPadding3D(1, name="maxpool_pad")(x))


def _basic(x, filters, strides, *, name, shortcut):
    """Two 3x3x3 convolutions."""
    y = padded_conv3d(x, filters, 3, strides, name=f"{name}_conv1")
    y = layers.ReLU(name=f"{name}_relu1")(batch_norm(y, name=f"{name}_bn1"))
    y = padded_conv3d(y, filters, 3, name=f"{name}_conv2")
    y = batch_norm(y, name=f"{name}_bn2")
    return _add(_shortcut(x, filters, strides, name, shortcut), y, name)


def _bottleneck(x, filters, strides, *, name, shortcut, expansion, groups=1):
    """Fewer channels, a 3x3x3 convolution (in groups) on them, more channels again."""
    y = padded_conv3d(x, filters, 1, name=f"{name}_conv1")
    y = layers.ReLU(name=f"{name}_relu1")(batch_norm(y, name=f"{name}_bn1"))
    y = padded_conv3d(y, filters, 3, strides, groups=groups, name=f"{name}_conv2")
    y = layers.ReLU(name=f"{name}_relu2")(batch_norm(y, name=f"{name}_bn2"))
    y = padded_conv3d(y, filters * expansion, 1, name=f"{name}_conv3")
    y = batch_norm(y, name=f"{name}_bn3")
    return _add(_shortcut(x, filters * expansion, strides, name, shortcut), y, name)


def _add(x, y, name):
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))


def _shortcut(x, filters, strides, name, kind):
    """The block's input, in the shape of its output."""
    missing = filters - x.shape[-1]
    if strides == 1 and not missing:
        return x
    if kind == "B":
        x = padded_conv3d(x, filters, 1, strides, name=f"{name}_downsample_0")
        return batch_norm(x, name=f"{name}_downsample_1")
    if strides > 1:
        x = layers.AveragePooling3D(1, strides, name=f"{name}_downsample")(x)  # every second point
    # "channels_first" makes the layer pad the last three axes, the channels among them.
    padding = ((0, 0), (0, 0), (0, missing))
    return layers.ZeroPadding3D(padding, data_format="channels_first", name=f"{name}_zeros")(x)
