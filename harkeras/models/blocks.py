"""What two or more models share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from numbers import Integral

import keras
import numpy as np
from keras import KerasTensor, Model, layers, ops

# Of a clip: as float32, 4 GB. What is larger is a slip of the pen, and ends somewhere inside TensorFlow.
_MOST_NUMBERS = 2**30


def clip_input(num_classes: int, input_shape: Sequence[int], *, smallest: int = 1) -> KerasTensor:
    """Check a builder's first two arguments and make the input of a model that classifies clips.

    Args:
        num_classes: Number of actions.
        input_shape: Clip shape (frames, height, width, channels).
        smallest: Least height and width in pixels that the model's convolutions and pools leave something of.

    Returns:
        Symbolic float32 clips (B, T, H, W, 3); uint8 is cast when it comes in.

    Raises:
        ValueError: If there are fewer than 2 classes, or the shape is not that of a clip, or too small.
    """
    check_num_classes(num_classes)
    _check_shape(input_shape, "four positive integers (frames, height, width, channels)", 4, smallest)
    return keras.Input(input_shape, name="clip")


def image_input(input_shape: Sequence[int], *, smallest: int = 1) -> KerasTensor:
    """Check the shape of images and make the input of a model that sees one.

    Args:
        input_shape: Image shape (height, width, channels).
        smallest: Least height and width in pixels that the model's convolutions and pools leave something of.

    Returns:
        Symbolic float32 images (B, H, W, C); uint8 is cast when it comes in.

    Raises:
        ValueError: If the shape is not that of an image, or too small.
    """
    _check_shape(input_shape, "three positive integers (height, width, channels)", 3, smallest)
    return keras.Input(input_shape, name="image")


def check_num_classes(num_classes: int) -> None:
    """Raise ValueError if there are fewer than 2 classes."""
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes}")


def _check_shape(input_shape, expected, count, smallest):
    if len(input_shape) != count or not all(isinstance(size, Integral) and size > 0 for size in input_shape):
        raise ValueError(f"input_shape must be {expected}, got {input_shape}")
    shape = tuple(input_shape)
    if math.prod(shape) > _MOST_NUMBERS:
        raise ValueError(f"input_shape must have at most {_MOST_NUMBERS:,} numbers, got {shape}")
    if min(shape[-3:-1]) < smallest:
        raise ValueError(f"input_shape must be at least {smallest} x {smallest} pixels, got {shape}")


def classify(x: KerasTensor, num_classes: int) -> KerasTensor:
    """Features (B, F) -> float32 probabilities (B, num_classes)."""
    return layers.Dense(num_classes, activation="softmax", dtype="float32", name="probabilities")(x)


def dense_layers(
    x: KerasTensor,
    *,
    width_multiplier: float,
    dropout: float,
    units: Sequence[int] = (4096, 4096),
    first: int = 6,
) -> KerasTensor:
    """Maps of any shape -> features (B, F), through the dense layers of AlexNet and its kin.

    Args:
        x: Maps (B, ..., C).
        width_multiplier: Factor for the numbers of units.
        dropout: Share of the units dropped after each layer, in training.
        units: Units of each layer.
        first: Number of the first layer, in the names of all.
    """
    x = layers.Flatten(name="flatten")(x)
    for i, size in enumerate(units, start=first):
        x = layers.Dense(scaled(size, width_multiplier), activation="relu", name=f"fc{i}")(x)
        x = layers.Dropout(dropout, name=f"dropout{i}")(x)
    return x


def standardize(x: KerasTensor, *, mean: Sequence[float], std: Sequence[float]) -> KerasTensor:
    """Pixels 0-255, minus `mean` and divided by `std`, channel by channel.

    Args:
        x: Clips (B, T, H, W, C) or images (B, H, W, C).
        mean: What to subtract from each channel, in 0-255.
        std: What to divide each channel by after that, in 0-255.

    Raises:
        ValueError: If there is another number of channels.
    """
    if x.shape[-1] != len(mean):
        raise ValueError(f"input_shape must have {len(mean)} channels, got {tuple(x.shape[1:])}")
    scale = [1 / s for s in std]
    return layers.Rescaling(scale, [-m * s for m, s in zip(mean, scale, strict=True)], name="rescale")(x)


def local_response_normalization(
    x: KerasTensor, *, name: str, k: float = 2, n: int = 5, alpha: float = 1e-4, beta: float = 0.5
) -> KerasTensor:
    """Divide each value by (k + alpha * the sum of squares over n neighboring channels) ** beta.

    Krizhevsky et al., NIPS 2012. Keras has no such layer; these operations are saved with the model, and
    summing by a convolution is faster than by shifted slices, also backwards. As in that paper, and unlike
    Caffe, alpha is not divided by n; channels beyond the first and the last count as zeros.
    """
    maps = keras.Input(x.shape[1:], dtype="float32", name="maps")
    lines = ops.reshape(ops.square(maps), (-1, math.prod(x.shape[1:-1]), x.shape[-1], 1))  # of channels
    sums = ops.reshape(ops.conv(lines, np.ones((1, n, 1, 1), "float32"), padding="same"), (-1, *x.shape[1:]))
    return Model(maps, maps * ops.power(k + alpha * sums, -beta), name=name)(x)


def padded_conv3d(
    x: KerasTensor,
    filters: int,
    kernel_size: int | tuple[int, int, int],
    strides: int | tuple[int, int, int] = 1,
    *,
    name: str,
    groups: int = 1,
) -> KerasTensor:
    """Convolve without bias, with as many zeros on the left as on the right, which is how PyTorch pads.

    "same" in Keras does so only for a stride of 1; for a stride of 2 it puts the odd zero on the right, and
    every tap of a kernel that was learned in PyTorch would be off by one pixel.

    Args:
        x: Features (B, T, H, W, C).
        filters: Number of channels to make.
        kernel_size: Three odd numbers, or one for all.
        strides: Three numbers, or one for all.
        name: Name of the convolution.
        groups: Into how many groups channels are cut; see `speed_up_groups`.
    """
    kernel_size, strides = ((n,) * 3 if isinstance(n, int) else n for n in (kernel_size, strides))
    same = all(k == 1 or s == 1 for k, s in zip(kernel_size, strides, strict=True))
    if not same:
        x = layers.ZeroPadding3D([k // 2 for k in kernel_size], name=f"{name}_pad")(x)
    conv = layers.Conv3D(
        filters,
        kernel_size,
        strides,
        padding="same" if same else "valid",
        groups=groups,
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(2, "fan_out", "untruncated_normal"),
        name=name,
    )
    if groups > 1:
        _speed_up(conv)
    return conv(x)


def batch_norm(x: KerasTensor, *, name: str) -> KerasTensor:
    """Batch normalization with PyTorch's constants."""
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)


def residual_stages(
    x: KerasTensor, stages: Sequence[int], filters: int, block: Callable[..., KerasTensor]
) -> KerasTensor:
    """Features (B, T, H, W, C) -> features (B, F), through stages of residual blocks.

    Args:
        x: Features.
        stages: Blocks of each stage; from the second on, the first block halves time, height and width.
        filters: Channels of the first stage; each next one has twice as many.
        block: Builds one, `block(x, filters, strides, name=...)`.
    """
    for stage, count in enumerate(stages):
        for i in range(count):
            strides = 2 if stage > 0 and i == 0 else 1
            x = block(x, filters * 2**stage, strides, name=f"layer{stage + 1}_{i}")
    return layers.GlobalAveragePooling3D(name="avgpool")(x)


def all_layers(layer: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """Yield a model or layer and all that are inside, at any depth."""
    yield layer
    inner = ("layers", "layer", "forward_layer", "backward_layer")
    for each in keras.tree.flatten([getattr(layer, name, None) for name in inner]):
        if isinstance(each, keras.layers.Layer):
            yield from all_layers(each)


def set_batch_norm_momentum(model: keras.Model, momentum: float) -> keras.Model:
    """Set how long the running means of a model's batch norm remember, to train from scratch on few clips.

    I3D, GoogLeNet, MobileNet and MoViNet were trained for 100,000s of steps, with a momentum of 0.99 or
    0.999. In the few hundred steps of a small data set such means hardly leave their first values, and a
    network that has learned its training clips answers at random once it uses them. 0.9 follows quickly.

    Args:
        model: Any model; changed in place, also in the models inside it.
        momentum: Share of the old mean that each step keeps, between 0 and 1.

    Returns:
        The same model.

    Raises:
        ValueError: If `momentum` is not between 0 and 1.
    """
    if not 0 < momentum < 1:
        raise ValueError(f"momentum must lie between 0 and 1, got {momentum}")
    for layer in all_layers(model):
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = momentum
    return model


def speed_up_groups(model: keras.Model) -> keras.Model:
    """Make the grouped 3-D convolutions of a model fast on a CPU; the builders have done so already.

    A `Conv3D` with groups goes through XLA on a CPU, which is slow and slower still in training. One small
    convolution per group gives the same numbers; where every channel is a group of its own ("depthwise"), 2-D
    depthwise convolutions do, one for each frame that a kernel spans, shifted and added up. The layer remains
    a plain `Conv3D` with one kernel, and is saved as such: a file opens without harkeras. What a file cannot
    keep is the detour, so a model that was loaded is passed through here once.

    Measured on two cores, forward and with gradients, for a layer of 128 channels in 32 groups on 8 x 28 x 28
    points: `Conv3D(groups=32)` 1082 and 6032 ms; one dense kernel with zeros between the groups 50 and 149;
    one convolution per group 10 and 56. Grouped 2-D convolutions of TensorFlow, added up along time, are as
    fast, but have no gradient where TensorFlow runs without oneDNN. ResNeXt-50 learns from one clip of
    16 x 112 x 112 in 0.64 s where it took 15.8. A depthwise layer, 3x3x3 on 50 x 22 x 22 points of 80
    channels: 826 and 2509 ms as it is, 8 and 39 with the detour (46 and 58 without oneDNN).

    Args:
        model: Any model; changed in place, also in the models inside it.

    Returns:
        The same model.
    """
    for layer in all_layers(model):
        if isinstance(layer, layers.Conv3D) and layer.groups > 1:
            _speed_up(layer)
    return model


def _speed_up(conv):
    """Replace the operation of a grouped convolution by one that has equal numbers."""
    if conv.data_format != "channels_last":
        return
    # Every channel alone; TensorFlow's 2-D depthwise convolutions have one stride for both axes.
    depthwise = (
        conv.groups == conv.filters
        and conv.strides[0] == 1
        and conv.strides[1] == conv.strides[2]
        and conv.dilation_rate == (1, 1, 1)
    )

    def convolution_op(inputs, kernel):
        if depthwise and inputs.shape[-1] == conv.groups:
            return _depthwise(inputs, kernel, conv.strides[1], conv.padding)
        options = {"strides": conv.strides, "padding": conv.padding, "dilation_rate": conv.dilation_rate}
        parts = ops.split(inputs, conv.groups, axis=-1)
        kernels = ops.split(kernel, conv.groups, axis=-1)
        convolved = [ops.conv(x, k, **options) for x, k in zip(parts, kernels, strict=True)]
        return ops.concatenate(convolved, axis=-1)

    conv.convolution_op = convolution_op


def _depthwise(x, kernel, stride, padding):
    """Convolve (B, T, H, W, C) with a kernel (kT, kH, kW, 1, C) by 2-D convolutions that know no time."""
    _, frames, height, width, channels = ops.shape(x)
    depth, *size = kernel.shape[:3]
    if size == [1, 1] and stride == 1:  # along time alone: points take the place of columns
        x = ops.reshape(x, (-1, frames, height * width, channels))
        x = ops.depthwise_conv(x, ops.reshape(kernel, (depth, 1, channels, 1)), 1, padding)
        return ops.reshape(x, (-1, ops.shape(x)[1], height, width, channels))
    x = ops.reshape(x, (-1, height, width, channels))
    total = 0
    for i in range(depth):
        tap = ops.depthwise_conv(x, ops.reshape(kernel[i], (*size, channels, 1)), stride, padding)
        tap = ops.reshape(tap, (-1, frames, *ops.shape(tap)[1:]))
        # Padding what was convolved is faster than cutting what is to be: the gradient of a cut is slow.
        total += ops.pad(tap, ((0, 0), (depth - 1 - i, i), (0, 0), (0, 0), (0, 0))) if depth > 1 else tap
    if depth == 1:
        return total
    if padding == "valid":
        return total[:, depth - 1 : frames]
    start = depth // 2
    return total[:, start : start + frames]


def scaled(size: int, width_multiplier: float) -> int:
    """Multiply a number of filters or units by a factor; at least 1 is left.

    Raises:
        ValueError: If the factor is not positive.
    """
    if not width_multiplier > 0:
        raise ValueError(f"width_multiplier must be positive, got {width_multiplier}")
    return max(1, round(size * width_multiplier))
