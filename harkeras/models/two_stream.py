"""Two streams: one network looks at what is there, another at how it moves, and their scores are averaged.

Simonyan and Zisserman, "Two-Stream Convolutional Networks for Action Recognition in Videos", NIPS 2014.

Networks that see stacked frames hardly beat one that sees a single frame: motion is hard to learn from raw
pixels. So this one is handed the motion. The spatial stream classifies a frame; the temporal stream
classifies a stack of L = 10 fields of optical flow (see `harkeras.video.flow`), 2L channels, and needs no
appearance at all. Their mistakes differ, and the average of both is far better than either (on UCF-101: 73.0,
83.7 and 86.9 %). It costs the flow, which takes longer than the network, and motion longer than L frames is
not seen.

Both streams are the CNN-M-2048 of Chatfield et al. (BMVC 2014), the temporal one without its second
normalization. From each flow field its mean is subtracted, which takes out most of a camera's motion. Scores
are averaged over 25 frames of the video, as they are in the paper when testing; in training it sees one.
Deviations: pixels are also divided by 255, so that Keras's usual first weights and learning rates fit.

A clip holds both in its channels, RGB first: `create_dataset(..., streams="rgb+flow")`. With 3 channels or 2L
the stream that they belong to is built alone. The paper trains each stream by itself; to put two together:
`both.set_weights(spatial.get_weights() + temporal.get_weights())`.
"""

from __future__ import annotations

import keras
from keras import Model, layers, ops

from harkeras.models.blocks import clip_input, dense_layers, local_response_normalization, scaled
from harkeras.models.registry import register

_SMALLEST = 41  # what strides and pools leave a pixel of


@register("two_stream", paper="Simonyan & Zisserman, NIPS 2014")
def create_two_stream_model(
    num_classes: int,
    input_shape: tuple[int, int, int, int] = (25, 224, 224, 23),
    *,
    width_multiplier: float = 1.0,
    dropout: float = 0.5,
) -> Model:
    """Build the two-stream network, or one of its streams, uncompiled, with random weights.

    Args:
        num_classes: Number of actions, at least 2.
        input_shape: Clip shape (frames, height, width, channels), at least 41 x 41 pixels. 3 + 2L channels
            are RGB and L fields of flow; 3 build the spatial stream alone, 2L the temporal stream.
        width_multiplier: Factor for all numbers of filters and units; 0.125 trains on a laptop.
        dropout: Share of the units dropped after each of the two dense layers, in training; the paper takes
            0.9 where it trains on little data.

    Returns:
        `keras.Model`: clips (B, T, H, W, C), RGB and flow 0-255 -> float32 probabilities (B, num_classes).

    Raises:
        ValueError: If there are fewer than 2 classes, the clip is too small or its channels are neither RGB
            nor flow, or `width_multiplier` is not positive.
    """
    clip = clip_input(num_classes, input_shape, smallest=_SMALLEST)
    channels = input_shape[-1]
    if channels < 2:
        raise ValueError(f"input_shape must have 3, 2L or 3 + 2L channels, got {tuple(input_shape)}")
    colors = 3 * (channels % 2)  # fields of flow have two channels each
    # RGB minus 117; flow, where 128 is no motion, to [-1, 1].
    scale = [1 / 255] * colors + [1 / 127] * (channels - colors)
    offset = [-117 / 255] * colors + [-128 / 127] * (channels - colors)
    x = layers.Rescaling(scale, offset, name="rescale")(clip)
    frame = keras.Input(input_shape[1:], name="frame")  # (B, H, W, C)
    scores = []
    if colors:
        rgb = frame[..., :3]
        spatial = _stream(rgb.shape[1:], num_classes, width_multiplier, dropout, name="spatial")
        scores.append(spatial(rgb))
    if channels > colors:
        flow = frame[..., colors:]
        temporal = _stream(flow.shape[1:], num_classes, width_multiplier, dropout, name="temporal")
        scores.append(temporal(flow - ops.mean(flow, axis=(1, 2), keepdims=True)))
    average = layers.Average(name="average")(scores) if len(scores) > 1 else scores[0]
    x = layers.TimeDistributed(Model(frame, average, name="streams"), name="frames")(x)  # (B, T, num_classes)
    probabilities = layers.GlobalAveragePooling1D(dtype="float32", name="probabilities")(x)
    return Model(clip, probabilities, name="two_stream")


def _stream(shape, num_classes, width_multiplier, dropout, *, name):
    """CNN-M-2048: pictures (B, H, W, C) -> probabilities (B, num_classes)."""
    picture = x = keras.Input(shape, name="picture")
    x = layers.Conv2D(scaled(96, width_multiplier), 7, 2, activation="relu", name="conv1")(x)
    x = local_response_normalization(x, beta=0.75, name="norm1")
    x = _pool(x, name="pool1")  # (B, 54, 54, 96)
    x = layers.ZeroPadding2D(1, name="pad2")(x)
    x = layers.Conv2D(scaled(256, width_multiplier), 5, 2, activation="relu", name="conv2")(x)
    if name == "spatial":
        x = local_response_normalization(x, beta=0.75, name="norm2")
    x = _pool(x, name="pool2")  # (B, 13, 13, 256)
    for i in (3, 4, 5):
        x = layers.Conv2D(
            scaled(512, width_multiplier), 3, padding="same", activation="relu", name=f"conv{i}"
        )(x)
    x = _pool(x, name="pool5")  # (B, 6, 6, 512)
    x = dense_layers(x, units=(4096, 2048), width_multiplier=width_multiplier, dropout=dropout)
    return Model(picture, layers.Dense(num_classes, activation="softmax", name="scores")(x), name=name)


def _pool(x, *, name):
    """Pool 3 x 3 with stride 2, rounding up as Caffe does: zeros beyond the edge, where no x is negative."""
    odd = [(0, 1 - size % 2) for size in x.shape[1:3]]
    return layers.MaxPooling2D(3, 2, name=name)(layers.ZeroPadding2D(odd, name=f"{name}_pad")(x))
