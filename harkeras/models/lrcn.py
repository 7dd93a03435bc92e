"""LRCN: a small CNN reads each frame, an LSTM reads the sequence of what it saw.

Donahue et al., "Long-term Recurrent Convolutional Networks for Visual Recognition and Description", CVPR
2015.

The CNN turns a frame into a short vector, the same CNN for every frame (`TimeDistributed`); the LSTM goes
over the vectors in order and its last state names the action. Both are learned together, end to end.
Because a frame's vector does not depend on its neighbors, a long video needs each frame encoded only once,
whatever the overlap of the windows: this is what makes LRCN fast in `predict_on_video`. What it cannot see is
motion finer than its vectors keep.

The paper puts an AlexNet before the LSTM and averages the outputs of all steps; this is the small form of the
tutorials: four convolutions trained from scratch, and the last step alone.
"""

from __future__ import annotations

import math

import keras
from keras import Model, layers

from harkeras.models.blocks import classify, clip_input
from harkeras.models.registry import register

_POOLS = (4, 4, 2, 2)


@register("lrcn", paper="Donahue et al., CVPR 2015")
def create_lrcn_model(
    num_classes: int,
    input_shape: tuple[int, int, int, int] = (20, 64, 64, 3),
    *,
    filters: tuple[int, int, int, int] = (16, 32, 64, 64),
    units: int = 32,
    dropout: float = 0.25,
) -> Model:
    """Build LRCN, uncompiled, with random weights.

    Args:
        num_classes: Number of actions, at least 2.
        input_shape: Clip shape (frames, height, width, channels), at least 64 x 64 pixels.
        filters: Filters of the four convolutions.
        units: Size of the LSTM's state.
        dropout: Share of the feature maps dropped after each of the first three convolutions, in training.

    Returns:
        `keras.Model`: clips (B, T, H, W, 3), RGB 0-255 -> float32 probabilities (B, num_classes).

    Raises:
        ValueError: If there are fewer than 2 classes, the clip is too small, or `filters` does not name four
            numbers.
    """
    if len(filters) != len(_POOLS):
        raise ValueError(f"filters must name {len(_POOLS)} numbers, got {filters}")
    clip = clip_input(num_classes, input_shape, smallest=math.prod(_POOLS))
    x = layers.Rescaling(1 / 255, name="rescale")(clip)  # (B, T, H, W, 3) in [0, 1]
    # One TimeDistributed around the whole CNN, not one around each layer: a quarter of the time in training.
    cnn = _frame_cnn(input_shape[1:], filters, dropout)
    x = layers.TimeDistributed(cnn, name="frames")(x)  # (B, T, 64): one vector per frame
    x = layers.LSTM(units, name="lstm")(x)  # (B, units): what the sequence meant
    return Model(clip, classify(x, num_classes), name="lrcn")


def _frame_cnn(frame_shape, filters, dropout):
    """Frames (B, H, W, 3) in [0, 1] -> vectors (B, 64 for 64 x 64 pixels)."""
    frame = x = keras.Input(frame_shape, name="frame")
    for i, (n, pool) in enumerate(zip(filters, _POOLS, strict=True), start=1):
        x = layers.Conv2D(n, 3, padding="same", activation="relu", name=f"conv{i}")(x)
        x = layers.MaxPooling2D(pool, name=f"pool{i}")(x)
        if i < len(filters):
            x = layers.Dropout(dropout, name=f"dropout{i}")(x)
    return Model(frame, layers.Flatten(name="flatten")(x), name="frame_cnn")
