"""R(2+1)D: each 3-D convolution split into one over space and one over time; and R3D, which leaves it whole.

Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition", CVPR 2018.

A 3x3x3 kernel learns what moves and how at once. Here a 1x3x3 kernel looks at each frame, a 3x1x1 kernel then
looks along time at every point, and a ReLU stands between the two: twice as many non-linearities for the same
number of weights (the width between the two is chosen so), and a loss that is easier to bring down. The paper
finds it better than 3D-ResNet at equal size, and it is what small collections of clips are mostly fine-tuned
from today. The cost: every layer writes its features twice, so it needs more memory and time than `resnet3d`.

R3D is the paper's network to compare with: the same blocks, with 3x3x3 kernels. It differs from `resnet3d` in
its stem, which is lower and has no max pool, so that four times as many points reach the blocks.

The layout is that of torchvision's `r2plus1d_18` and `r3d_18`, whose weights are the ones in use: a stem
without max pool, and one width between the two halves for both convolutions of a block, where the paper
computes it for each. Layers are named as there, with "_" for ".". Convolutions pad as PyTorch does.
"""

from __future__ import annotations

from functools import partial

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

_BLOCKS = (2, 2, 2, 2)  # of each stage
_MEAN = tuple(255 * mean for mean in (0.43216, 0.394666, 0.37645))  # of Kinetics
_STD = tuple(255 * std for std in (0.22803, 0.22145, 0.216989))


@register("r2plus1d", paper="Tran et al., CVPR 2018")
def create_r2plus1d_model(
    num_classes: int, input_shape: tuple[int, int, int, int] = (16, 112, 112, 3), *, filters: int = 64
) -> Model:
    """Build R(2+1)D with 18 layers, uncompiled, with random weights.

    Args:
        num_classes: Number of actions, at least 2.
        input_shape: Clip shape (frames, height, width, 3), of any size.
        filters: Channels of the first stage; each next one has twice as many.

    Returns:
        `keras.Model`: clips (B, T, H, W, 3), RGB 0-255 -> float32 probabilities (B, num_classes).

    Raises:
        ValueError: If there are fewer than 2 classes or the input is not a clip with 3 channels.
    """
    clip = clip_input(num_classes, input_shape)
    x = standardize(clip, mean=_MEAN, std=_STD)
    x = padded_conv3d(x, 45, (1, 7, 7), (1, 2, 2), name="stem_0")  # (B, T, H/2, W/2, 45)
    x = layers.ReLU(name="stem_2")(batch_norm(x, name="stem_1"))
    x = padded_conv3d(x, filters, (3, 1, 1), name="stem_3")  # (B, T, H/2, W/2, filters)
    x = layers.ReLU(name="stem_5")(batch_norm(x, name="stem_4"))
    x = residual_stages(x, _BLOCKS, filters, partial(_block, convolve=_conv2plus1d))
    return Model(clip, classify(x, num_classes), name="r2plus1d")


@register("r3d", paper="Tran et al., CVPR 2018")
def create_r3d_model(
    num_classes: int, input_shape: tuple[int, int, int, int] = (16, 112, 112, 3), *, filters: int = 64
) -> Model:
    """Build R3D with 18 layers, uncompiled, with random weights; else as `create_r2plus1d_model`."""
    clip = clip_input(num_classes, input_shape)
    x = standardize(clip, mean=_MEAN, std=_STD)
    x = padded_conv3d(x, filters, (3, 7, 7), (1, 2, 2), name="stem_0")  # (B, T, H/2, W/2, filters)
    x = layers.ReLU(name="stem_2")(batch_norm(x, name="stem_1"))
    x = residual_stages(x, _BLOCKS, filters, partial(_block, convolve=_conv3d))
    return Model(clip, classify(x, num_classes), name="r3d")


def _block(x, filters, strides, *, name, convolve):
    """Two convolutions, whole or each in its two halves, and a shortcut."""
    channels = x.shape[-1]
    # As many as give the two halves together the weights of one 3x3x3 convolution.
    between = (channels * filters * 27) // (channels * 9 + 3 * filters)
    y = convolve(x, filters, between, strides, name=f"{name}_conv1_0")
    y = layers.ReLU(name=f"{name}_conv1_2")(batch_norm(y, name=f"{name}_conv1_1"))
    y = convolve(y, filters, between, 1, name=f"{name}_conv2_0")
    y = batch_norm(y, name=f"{name}_conv2_1")
    if strides > 1:
        x = padded_conv3d(x, filters, 1, strides, name=f"{name}_downsample_0")
        x = batch_norm(x, name=f"{name}_downsample_1")
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))


def _conv2plus1d(x, filters, between, strides, *, name):
    x = padded_conv3d(x, between, (1, 3, 3), (1, strides, strides), name=f"{name}_0")
    x = layers.ReLU(name=f"{name}_2")(batch_norm(x, name=f"{name}_1"))
    return padded_conv3d(x, filters, (3, 1, 1), (strides, 1, 1), name=f"{name}_3")


def _conv3d(x, filters, _between, strides, *, name):
    return padded_conv3d(x, filters, 3, strides, name=name)
