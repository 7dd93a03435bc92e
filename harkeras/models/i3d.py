"""I3D: an Inception network for images, inflated: every kernel gets a third axis, time.

Carreira and Zisserman, "Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset", CVPR 2017.

A good 2-D network is known and trained; why design a 3-D one from nothing? I3D keeps the layers of GoogLeNet
and turns each NxN kernel into NxNxN, so that even its weights can be taken over (see `inflation.py`). The
first two pools leave time alone, since a network that halves time as fast as space loses motion before it has
seen it. The clip is long, 64 frames, and the head averages the answers along it.

Two such networks, one for RGB and one for optical flow, are trained apart and their logits added: flow still
helps a network that could find motion by itself (on UCF-101: 84.5 % RGB, 90.6 % flow, 93.4 % both, without
Kinetics). What it costs is time: a forward pass takes far longer than one of 3D-ResNeXt on 16 small frames,
and the flow (TV-L1 in the paper) takes longer than both.

The layout, the names of the layers ("_" for "/") and the padding (TensorFlow's "same") are those of the code
the authors released. Its quirks are kept: the "5x5" branch is 3x3x3, and batch norm has no scale. One name is
mended: it calls the second convolution of Mixed_5b's Branch_2 Conv3d_0a_3x3 where all others say 0b.
Deviation: the head's average pool, 2x7x7 there, spans whatever height and width are left.
"""

from __future__ import annotations

import keras
from keras import Model, layers

from harkeras.models.blocks import INCEPTION_FILTERS, clip_input, scaled
from harkeras.models.registry import register


@register("i3d", paper="Carreira & Zisserman, CVPR 2017")
def create_i3d_model(
    num_classes: int,
    input_shape: tuple[int, int, int, int] = (64, 224, 224, 3),
    *,
    dropout: float = 0.5,
    width_multiplier: float = 1.0,
) -> Model:
    """Build one stream of I3D, uncompiled, with random weights.

    Args:
        num_classes: Number of actions, at least 2.
        input_shape: Clip shape (frames, height, width, channels), of any size. 3 channels are RGB, 0-255,
            and 2 are optical flow as `create_dataset(..., streams="flow", flow_fields=1)` gives it, 128 where
            nothing moves; both are scaled to [-1, 1] by the first layer.
        dropout: Share of the features dropped before the last layer, in training.
        width_multiplier: Factor for the number of filters of every layer; less than 1 for a lighter network.

    Returns:
        `keras.Model`: clips (B, T, H, W, C) -> float32 probabilities (B, num_classes).

    Raises:
        ValueError: If there are fewer than 2 classes, the input is not a clip with 3 or 2 channels, or
            `width_multiplier` is not positive.
    """
    clip = clip_input(num_classes, input_shape)
    logits = _logits(clip, num_classes, dropout, width_multiplier)
    return Model(clip, layers.Softmax(dtype="float32", name="probabilities")(logits), name="i3d")


@register("two_stream_i3d", paper="Carreira & Zisserman, CVPR 2017")
def create_two_stream_i3d_model(
    num_classes: int,
    input_shape: tuple[int, int, int, int] = (64, 224, 224, 5),
    *,
    dropout: float = 0.5,
    width_multiplier: float = 1.0,
) -> Model:
    """Build both streams of I3D, uncompiled, with random weights; their logits are added.

    The paper trains the streams apart. To put trained ones together:
    `model.get_layer("rgb").set_weights(rgb_model.get_weights())`, and "flow" in the same way.

    Args:
        num_classes: Number of actions, at least 2.
        input_shape: Clip shape (frames, height, width, 5): RGB, and one field of flow, as
            `create_dataset(..., streams="rgb+flow", flow_fields=1)` gives them.
        dropout: Share of the features dropped before the last layer of each stream, in training.
        width_multiplier: Factor for the number of filters of every layer.

    Returns:
        `keras.Model`: clips (B, T, H, W, 5), RGB and flow 0-255 -> float32 probabilities (B, num_classes).

    Raises:
        ValueError: If there are fewer than 2 classes, the input is not a clip of 5 channels, or
            `width_multiplier` is not positive.
    """
    clip = clip_input(num_classes, input_shape)
    if clip.shape[-1] != 5:
        raise ValueError(f"input_shape must have 5 channels (RGB and flow), got {tuple(input_shape)}")
    logits = []
    for name, channels in (("rgb", clip[..., :3]), ("flow", clip[..., 3:])):
        stream = keras.Input(channels.shape[1:], name="clip")
        logits.append(
            Model(stream, _logits(stream, num_classes, dropout, width_multiplier), name=name)(channels)
        )
    logits = layers.Add(name="add")(logits)  # (B, num_classes)
    return Model(clip, layers.Softmax(dtype="float32", name="probabilities")(logits), name="two_stream_i3d")


def _logits(clip, num_classes, dropout, width_multiplier):
    """Clips (B, T, H, W, C) -> logits (B, num_classes)."""
    channels = clip.shape[-1]
    if channels not in (2, 3):
        raise ValueError(f"input_shape must have 3 channels (RGB) or 2 (flow), got {tuple(clip.shape[1:])}")
    scale, offset = (1 / 127.5, -1) if channels == 3 else (1 / 127, -128 / 127)
    x = layers.Rescaling(scale, offset, name="rescale")(clip)
    x = _unit(x, scaled(64, width_multiplier), 7, 2, name="Conv3d_1a_7x7")  # (B, T/2, H/2, W/2, 64)
    x = _pool(x, (1, 3, 3), (1, 2, 2), name="MaxPool3d_2a_3x3")
    x = _unit(x, scaled(64, width_multiplier), 1, name="Conv3d_2b_1x1")
    x = _unit(x, scaled(192, width_multiplier), 3, name="Conv3d_2c_3x3")
    x = _pool(x, (1, 3, 3), (1, 2, 2), name="MaxPool3d_3a_3x3")  # (B, T/2, H/8, W/8, 192)
    for block, filters in INCEPTION_FILTERS.items():
        if block == "4b":
            x = _pool(x, 3, 2, name="MaxPool3d_4a_3x3")  # (B, T/4, H/16, W/16, 480)
        elif block == "5b":
            x = _pool(x, 2, 2, name="MaxPool3d_5a_2x2")  # (B, T/8, H/32, W/32, 832)
        x = _mixed(x, [scaled(n, width_multiplier) for n in filters], name=f"Mixed_{block}")
    _, frames, height, width, _ = x.shape
    x = layers.AveragePooling3D((min(2, frames), height, width), 1, name="Logits_AvgPool3d_0a_7x7")(x)
    x = layers.Dropout(dropout, name="Logits_Dropout3d_0b")(x)  # (B, T/8 - 1, 1, 1, 1024)
    x = layers.Conv3D(num_classes, 1, name="Logits_Conv3d_0c_1x1")(x)
    return layers.GlobalAveragePooling3D(name="logits")(x)  # (B, num_classes): the mean along time


def _mixed(x, filters, *, name):
    """Look at the same features in four ways, side by side."""
    b0 = _unit(x, filters[0], 1, name=f"{name}_Branch_0_Conv3d_0a_1x1")
    b1 = _unit(x, filters[1], 1, name=f"{name}_Branch_1_Conv3d_0a_1x1")
    b2 = _unit(x, filters[3], 1, name=f"{name}_Branch_2_Conv3d_0a_1x1")
    b1 = _unit(b1, filters[2], 3, name=f"{name}_Branch_1_Conv3d_0b_3x3")
    b2 = _unit(b2, filters[4], 3, name=f"{name}_Branch_2_Conv3d_0b_3x3")
    b3 = _pool(x, 3, 1, name=f"{name}_Branch_3_MaxPool3d_0a_3x3")
    b3 = _unit(b3, filters[5], 1, name=f"{name}_Branch_3_Conv3d_0b_1x1")
    return layers.Concatenate(name=name)([b0, b1, b2, b3])


def _unit(x, filters, kernel_size, strides=1, *, name):
    """Convolution without bias, batch norm without scale, ReLU."""
    options = {"padding": "same", "use_bias": False, "name": f"{name}_conv_3d"}
    x = layers.Conv3D(filters, kernel_size, strides, **options)(x)
    x = layers.BatchNormalization(momentum=0.999, epsilon=1e-3, scale=False, name=f"{name}_batch_norm")(x)
    return layers.ReLU(name=name)(x)


def _pool(x, pool_size, strides, *, name):
    return layers.MaxPooling3D(pool_size, strides, padding="same", name=name)(x)
