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

from harkeras.models._inception import inception
from harkeras.models.blocks import clip_input
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

    The arguments are those of `create_i3d_model`, but the 5 channels of a clip are RGB and one field of flow,
    as `create_dataset(..., streams="rgb+flow", flow_fields=1)` gives them.

    Returns:
        `keras.Model`: clips (B, T, H, W, 5), RGB and flow 0-255 -> float32 probabilities (B, num_classes).

    Raises:
        ValueError: As `create_i3d_model`, and if the input is not a clip of 5 channels.
    """
    clip = clip_input(num_classes, input_shape)
    if clip.shape[-1] != 5:
        raise ValueError(f"input_shape must have 5 channels (RGB and flow), got {tuple(input_shape)}")
    logits = []
    for name, channels in (("rgb", clip[..., :3]), ("flow", clip[..., 3:])):
        stream = keras.Input(channels.shape[1:], name="clip")
        network = Model(stream, _logits(stream, num_classes, dropout, width_multiplier), name=name)
        logits.append(network(channels))
    logits = layers.Add(name="add")(logits)  # (B, num_classes)
    return Model(clip, layers.Softmax(dtype="float32", name="probabilities")(logits), name="two_stream_i3d")


def _logits(clip, num_classes, dropout, width_multiplier):
    """Clips (B, T, H, W, C) -> logits (B, num_classes)."""
    channels = clip.shape[-1]
    if channels not in (2, 3):
        raise ValueError(f"input_shape must have 3 channels (RGB) or 2 (flow), got {tuple(clip.shape[1:])}")
    scale, offset = (1 / 127.5, -1) if channels == 3 else (1 / 127, -128 / 127)
    x = layers.Rescaling(scale, offset, name="rescale")(clip)
    x = inception(x, width_multiplier=width_multiplier)  # (B, T/8, H/32, W/32, 1024)
    _, frames, height, width, _ = x.shape
    x = layers.AveragePooling3D((min(2, frames), height, width), 1, name="Logits_AvgPool3d_0a_7x7")(x)
    x = layers.Dropout(dropout, name="Logits_Dropout3d_0b")(x)  # (B, T/8 - 1, 1, 1, 1024)
    x = layers.Conv3D(num_classes, 1, name="Logits_Conv3d_0c_1x1")(x)
    return layers.GlobalAveragePooling3D(name="logits")(x)  # (B, num_classes): the mean along time
