"""ConvLSTM: an LSTM whose states are images, so that it sees motion where it happens.

Shi et al., "Convolutional LSTM Network: A Machine Learning Approach for Precipitation Nowcasting", NIPS 2015.

A plain LSTM multiplies vectors; here every product is a convolution, and memory keeps its place in the
picture. Four such layers with pools between them go over the clip, and a dense layer reads what all frames
left. Very few weights, but each step waits for the one before, so it is slower than LRCN, and nothing can be
shared between overlapping windows.

The layout is that of the tutorials. Note that Keras ignored `recurrent_dropout` here before version 3.5.
"""

from __future__ import annotations

from collections.abc import Sequence

from keras import Model, layers

from harkeras.models.blocks import classify, clip_input
from harkeras.models.registry import register


@register("convlstm", paper="Shi et al., NIPS 2015")
def create_convlstm_model(
    num_classes: int,
    input_shape: tuple[int, int, int, int] = (20, 64, 64, 3),
    *,
    filters: Sequence[int] = (4, 8, 14, 16),
    recurrent_dropout: float = 0.2,
    dropout: float = 0.2,
) -> Model:
    """Build the ConvLSTM network, uncompiled, with random weights.

    Args:
        num_classes: Number of actions, at least 2.
        input_shape: Clip shape (frames, height, width, channels).
        filters: Filters of each ConvLSTM layer.
        recurrent_dropout: Share of the state dropped at each step, in training.
        dropout: Share of the pixels dropped in each frame after all layers but the last, in training.

    Returns:
        `keras.Model`: clips (B, T, H, W, 3), RGB 0-255 -> float32 probabilities (B, num_classes).

    Raises:
        ValueError: If there are fewer than 2 classes or the clip is too small.
    """
    smallest = 1
    for _ in filters:  # undo a pool (rounding up) and a valid 3x3 convolution
        smallest = 2 * smallest - 1 + 2
    clip = clip_input(num_classes, input_shape, smallest=smallest)
    x = layers.Rescaling(1 / 255, name="rescale")(clip)  # (B, T, H, W, 3) in [0, 1]
    for i, n in enumerate(filters, start=1):
        x = layers.ConvLSTM2D(
            n, 3, recurrent_dropout=recurrent_dropout, return_sequences=True, name=f"convlstm{i}"
        )(x)
        x = layers.MaxPooling3D((1, 2, 2), padding="same", name=f"pool{i}")(x)  # halves space, keeps time
        if i < len(filters):
            x = layers.Dropout(dropout, name=f"dropout{i}")(x)
    x = layers.Flatten(name="flatten")(x)  # (B, T * H' * W' * filters): every step has its say
    return Model(clip, classify(x, num_classes), name="convlstm")
