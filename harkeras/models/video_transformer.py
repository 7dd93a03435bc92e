"""Video transformer: no convolution looks for edges; tokens look at each other, first in space, then in time.

Arnab et al., "ViViT: A Video Vision Transformer", ICCV 2021: its second form, the factorized encoder.

The clip is cut into tubelets, small boxes of a few frames, and each becomes a token: a vector, by one linear
projection (a convolution that strides as far as its kernel reaches). In attention each token asks all others
which of them matter to it and takes from those, so what happens in opposite corners can meet in the first
layer. The price grows with the square of the number of tokens; 3136 of them, as in 32 frames of 224 x 224
pixels, are too many. Hence two transformers: one lets the tokens of the same moment look at each other, and a
class token sums the moment up; the other lets the moments look at each other, and its class token names the
action. The paper finds this form the fastest but one, and as accurate as attention over all tokens.

A transformer knows nothing of what is near or before: positions are learned and added, and without those in
time, a clip played backwards would be the same to it. Having to learn what convolutions are born with, it
needs much data. The paper starts from image transformers trained on 14 million pictures and then learns from
240,000 clips. From scratch, on a few hundred clips, its network stays at chance. Two small convolutions
before the projection (Xiao et al., "Early Convolutions Help Transformers See Better", NeurIPS 2021), here
over space and time, are what it takes to learn from so little: of the rendered clips it then names 96 %. With
convolutions over space alone it names what a still picture can tell, and not the direction of a motion.

The paper's ViViT-B/16x2 (115 million parameters, 284 G multiply-adds) is `input_shape=(32, 224, 224, 3),
tubelet=(2, 16, 16), units=768, heads=12, depths=(12, 4), convolutions=0`. The defaults are a small one that
trains on a laptop. Deviations: those convolutions; dropout in every block where the paper drops whole blocks.
"""

from __future__ import annotations

from numbers import Integral

import keras
from keras import Model, layers, ops

from harkeras.models.blocks import classify, clip_input
from harkeras.models.registry import register


@register("video_transformer", paper="Arnab et al., ICCV 2021")
def create_video_transformer_model(
    num_classes: int,
    input_shape: tuple[int, int, int, int] = (16, 64, 64, 3),
    *,
    tubelet: tuple[int, int, int] = (2, 8, 8),
    units: int = 64,
    heads: int = 4,
    depths: tuple[int, int] = (2, 2),
    convolutions: int = 2,
    dropout: float = 0.1,
) -> Model:
    """Build the video transformer, uncompiled, with random weights.

    Args:
        num_classes: Number of actions, at least 2.
        input_shape: Clip shape (frames, height, width, channels), each of the first three a multiple of the
            tubelet's.
        tubelet: Frames, height and width of what becomes one token.
        units: Size of a token, a multiple of `heads`.
        heads: How many questions a token asks at once in each attention.
        depths: Number of blocks in space, and in time.
        convolutions: Convolutions of 3 x 3 x 3 before the projection, each of which halves height and width;
            0 is the paper's network.
        dropout: Share of the numbers dropped from the tokens and after each half of a block, in training.

    Returns:
        `keras.Model`: clips (B, T, H, W, 3), RGB 0-255 -> float32 probabilities (B, num_classes).

    Raises:
        ValueError: If there are fewer than 2 classes, the clip is too small or cannot be cut into tubelets,
            or an option is not as described.
    """
    _check(tubelet, units, heads, depths, convolutions)
    clip = clip_input(num_classes, input_shape, smallest=max(tubelet[1:]))
    if any(size % part for size, part in zip(input_shape, tubelet, strict=False)):
        raise ValueError(f"input_shape must be multiples of the tubelet {tuple(tubelet)}, got {input_shape}")
    frames, height, width = (size // part for size, part in zip(input_shape, tubelet, strict=False))
    x = layers.Rescaling(1 / 127.5, -1, name="rescale")(clip)
    for i in range(convolutions):
        filters = max(units >> (convolutions - i), 1)
        options = {"strides": (1, 2, 2), "padding": "same", "activation": "relu"}
        x = layers.Conv3D(filters, 3, **options, name=f"conv{i + 1}")(x)
    left = (tubelet[0], tubelet[1] >> convolutions, tubelet[2] >> convolutions)
    x = layers.Conv3D(units, left, left, name="tubelets")(x)  # (B, T', H', W', units)
    x = layers.Reshape((frames, height * width, units), name="tokens")(x)  # (B, T', N, units)
    x = _encode(x, heads, depths[0], dropout, name="space")  # (B, T', units): one vector per moment
    x = _encode(x, heads, depths[1], dropout, name="time")  # (B, units)
    return Model(clip, classify(x, num_classes), name="video_transformer")


def _check(tubelet, units, heads, depths, convolutions):
    """Raise ValueError for options that Keras would take, or refuse with a riddle."""
    for name, values, count in (("tubelet", tubelet, 3), ("depths", depths, 2)):
        if len(values) != count or not all(isinstance(n, Integral) and n > 0 for n in values):
            raise ValueError(f"{name} must be {count} positive integers, got {values}")
    if convolutions < 0 or any(size % 2**convolutions for size in tubelet[1:]):
        raise ValueError(
            f"tubelet must be a multiple of 2 ** convolutions in height and width, got {tuple(tubelet)} and "
            f"{convolutions} convolutions"
        )
    if heads < 1 or units < 1 or units % heads:
        raise ValueError(f"units must be a multiple of heads, got {units} units and {heads} heads")


def _encode(x, heads, depth, dropout, *, name):
    """Let N tokens (B, ..., N, units) look at each other; return what a class token sees (B, ..., units).

    The class token is a row of zeros put before the others: the position added to it is what it has learned.
    """
    x = ops.pad(x, [[0, 0]] * (x.ndim - 2) + [[1, 0], [0, 0]])  # (B, ..., 1 + N, units)
    index = ops.cumsum(ops.ones_like(x[:1, ..., 0], dtype="int32"), axis=-1) - 1  # 0, 1, ... N
    initializer = keras.initializers.RandomNormal(stddev=0.02)
    position = layers.Embedding(x.shape[-2], x.shape[-1], initializer, name=f"{name}_positions")(index)
    x = layers.Dropout(dropout, name=f"{name}_dropout")(x + position)
    for i in range(1, depth + 1):
        x = _block(x, heads, dropout, name=f"{name}{i}")
    return layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm")(x[..., 0, :])


def _block(x, heads, dropout, *, name):
    """Tokens ask each other, then each thinks for itself; what comes out is added to what went in."""
    units = x.shape[-1]
    y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm1")(x)
    # Only among the N tokens of one moment: whatever stands before them is another clip or moment.
    attention = layers.MultiHeadAttention(
        heads, units // heads, attention_axes=x.ndim - 2, name=f"{name}_attention"
    )
    y = layers.Dropout(dropout, name=f"{name}_dropout1")(attention(y, y))
    x = layers.Add(name=f"{name}_add1")([x, y])
    y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm2")(x)
    y = layers.Dense(4 * units, activation="gelu", name=f"{name}_dense1")(y)
    y = layers.Dense(units, name=f"{name}_dense2")(y)
    y = layers.Dropout(dropout, name=f"{name}_dropout2")(y)
    return layers.Add(name=f"{name}_add2")([x, y])
