"""What the Sports-1M networks share: the frame CNN in one or two streams, and its dense layers.

Karpathy et al., "Large-scale Video Classification with Convolutional Neural Networks", CVPR 2014.

In the paper's shorthand, C(filters, size, stride), N for local response normalization and P for a pool of
2: C(96,11,3)-N-P-C(256,5,1)-N-P-C(384,3,1)-C(384,3,1)-C(256,3,1)-P-FC(4096)-FC(4096). This is AlexNet for
smaller pictures. The paper does not say how edges are padded; zeros all around and pools that round down
give the 7 x 7 x 256 maps it names, from 170 x 170 pixels as from the 89 x 89 of a stream without the last
pool.

Two things are not the paper's. It subtracts 117 from the pixels; here they are also divided by 255, so that
Keras's usual first weights and learning rates fit. And nothing is said of dropout there: it is AlexNet's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import keras
from keras import KerasTensor, Model, layers

from harkeras.models.blocks import classify, dense_layers, local_response_normalization, scaled

# The least height and width that the strides and pools leave a pixel of, for one stream and for two.
SMALLEST_FRAME = 22
SMALLEST_STREAMS = 20

_CONVS = ((96, 11, 3), (256, 5, 1), (384, 3, 1), (384, 3, 1), (256, 3, 1))  # filters, size, stride
_TIMES = ((4, 2), (2, 2), (2, 2), (1, 1), (1, 1))  # extent and stride in time of slow fusion
_NORMALIZED = (1, 2)
_POOLED = (1, 2, 5)


def center_pixels(clip: KerasTensor) -> KerasTensor:
    """RGB 0-255 (B, T, H, W, 3) -> the same in [-0.46, 0.54], with the mean of Sports-1M at 0."""
    return layers.Rescaling(1 / 255, offset=-117 / 255, name="rescale")(clip)


def convolutions(
    pixels_shape: tuple[int, ...], *, width_multiplier: float, last_pool: bool = True, name: str = "cnn"
) -> Model:
    """Build the five convolutions as one model, so that it can be shared and goes into one `TimeDistributed`.

    Args:
        pixels_shape: (H, W, C) for a CNN that sees one picture; (T, H, W, C) for slow fusion.
        width_multiplier: Factor for the numbers of filters.
        last_pool: Whether to pool after the last convolution; streams of half the size do not.
        name: Name of the model.

    Returns:
        `keras.Model`: pixels -> maps (B, H / 24, W / 24, F), of slow fusion with T' before H.

    Raises:
        ValueError: If `width_multiplier` is not positive.
    """
    slow = len(pixels_shape) == 4
    pool = partial(layers.MaxPooling3D, (1, 2, 2)) if slow else partial(layers.MaxPooling2D, 2)
    pixels = x = keras.Input(pixels_shape, name="pixels")
    for i, ((filters, size, stride), (extent, step)) in enumerate(zip(_CONVS, _TIMES, strict=True), start=1):
        filters = scaled(filters, width_multiplier)
        if slow:  # padded in space, valid in time
            x = layers.ZeroPadding3D((0, size // 2, size // 2), name=f"pad{i}")(x)
            kernel, strides = (extent, size, size), (step, stride, stride)
            x = layers.Conv3D(filters, kernel, strides, activation="relu", name=f"conv{i}")(x)
        else:
            x = layers.Conv2D(filters, size, stride, padding="same", activation="relu", name=f"conv{i}")(x)
        if i in _NORMALIZED:
            x = local_response_normalization(x, name=f"norm{i}")
        if i in _POOLED and (last_pool or i < len(_CONVS)):
            x = pool(name=f"pool{i}")(x)
    return Model(pixels, x, name=name)


def two_streams(pixels_shape: tuple[int, ...], *, width_multiplier: float) -> Model:
    """Build a context stream and a fovea stream, each of `convolutions` on half the height and width.

    Takes what `convolutions` takes; the maps of both streams are joined along their channels.
    """
    *time, height, width, channels = pixels_shape
    half = (*time, height // 2, width // 2, channels)
    top, left = (height - half[-3]) // 2, (width - half[-2]) // 2
    edges = ((top, height - half[-3] - top), (left, width - half[-2] - left))
    pixels = keras.Input(pixels_shape, name="pixels")
    if time:
        context = layers.AveragePooling3D((1, 2, 2), name="shrink")(pixels)
        fovea = layers.Cropping3D(((0, 0), *edges), name="crop")(pixels)
    else:
        context = layers.AveragePooling2D(2, name="shrink")(pixels)
        fovea = layers.Cropping2D(edges, name="crop")(pixels)
    streams = [
        convolutions(half, width_multiplier=width_multiplier, last_pool=False, name=stream)(x)
        for stream, x in (("context", context), ("fovea", fovea))
    ]
    return Model(pixels, layers.Concatenate(name="join")(streams), name="streams")


def classify_frames(
    x: KerasTensor,
    num_classes: int,
    cnn: Callable[[tuple[int, ...]], Model],
    *,
    width_multiplier: float,
    dropout: float,
) -> KerasTensor:
    """Clips (B, T, H, W, C) -> probabilities (B, T, num_classes), by the single-frame network."""
    frame = keras.Input(x.shape[2:], name="frame")
    y = dense_layers(cnn(frame.shape[1:])(frame), width_multiplier=width_multiplier, dropout=dropout)
    classifier = Model(frame, classify(y, num_classes), name="frame_classifier")
    return layers.TimeDistributed(classifier, name="frames")(x)
