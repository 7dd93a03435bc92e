"""C3D: convolutions in space and time, 3 x 3 x 3 throughout, from the first layer to the last.

Tran et al., "Learning Spatiotemporal Features with 3D Convolutional Networks", ICCV 2015.

What VGG is to pictures: one small kernel, repeated, and pools that halve what is left, here also in time.
The first pool leaves time alone, so that motion is not merged away before it has been seen. The features of
the dense layers transfer well to other tasks with a linear classifier on top. The price is 80 million
parameters, most of them in the two dense layers: it needs a large data set or published weights, and much
time, as nothing can be shared between overlapping windows.

Layers and sizes are those of the authors' Caffe model, whose pools round up: `padding="same"` does so, and
is how the last pool makes 4 x 4 of 7 x 7. Two well-known networks in PyTorch, those of
jfzhang95/pytorch-video-recognition and DavideA/c3d-pytorch, have pools that round down, and come to 4 x 4 by
a border of one point around the last one. Its windows lie elsewhere then: weights learned with one kind of
pools are wrong with the other.

The authors subtract the mean of all training clips, pixel by pixel; here it is one mean color, as in ports of
the model, and values are divided by 255, so that Keras's usual first weights fit.
"""

from __future__ import annotations

from typing import Literal

from keras import Model, layers

from harkeras.models.blocks import classify, clip_input, dense_layers, scaled, standardize
from harkeras.models.registry import register

_STAGES = {"1": (64, "a"), "2": (128, "a"), "3": (256, "ab"), "4": (512, "ab"), "5": (512, "ab")}
_MEAN_COLOR = (102, 98, 90)  # red, green, blue


@register("c3d", paper="Tran et al., ICCV 2015")
def create_c3d_model(
    num_classes: int,
    input_shape: tuple[int, int, int, int] = (16, 112, 112, 3),
    *,
    width_multiplier: float = 1.0,
    dropout: float = 0.5,
    pools: Literal["caffe", "pytorch"] = "caffe",
) -> Model:
    """Build C3D, uncompiled, with random weights.

    Args:
        num_classes: Number of actions, at least 2.
        input_shape: Clip shape (frames, height, width, 3), at least 16 x 16 pixels. With 16 frames or fewer,
            one step in time is left in the end.
        width_multiplier: Factor for all numbers of filters and units; 0.125 trains on a laptop.
        dropout: Share of the units dropped after each of the two dense layers, in training.
        pools: "caffe" rounds up, as in the authors' network; "pytorch" rounds down and pads the last pool, as
            in the networks of jfzhang95 and DavideA. What `load_weights` puts in must have been learned so.

    Returns:
        `keras.Model`: clips (B, T, H, W, 3), RGB 0-255 -> float32 probabilities (B, num_classes).

    Raises:
        ValueError: If there are fewer than 2 classes, the clip is too small or not RGB, or `width_multiplier`
            is not positive; if `pools` is neither, or leaves nothing of a clip of so few frames when it
            rounds down.
    """
    if pools not in ("caffe", "pytorch"):
        raise ValueError(f"pools must be 'caffe' or 'pytorch', got {pools!r}")
    # The pools round up and would take any size, but the last convolutions look at 16 x 16 pixels a point.
    clip = clip_input(num_classes, input_shape, smallest=16)
    x = standardize(clip, mean=_MEAN_COLOR, std=(255, 255, 255))  # (B, T, H, W, 3), the mean color at 0
    for stage, (filters, letters) in _STAGES.items():
        filters = scaled(filters, width_multiplier)
        for letter in letters:
            x = layers.Conv3D(filters, 3, padding="same", activation="relu", name=f"conv{stage}{letter}")(x)
        size = (1, 2, 2) if stage == "1" else (2, 2, 2)
        x = _pool(x, size, pools, f"pool{stage}")
    # Of the default clip, x is now (B, 1, 4, 4, 512).
    x = dense_layers(x, width_multiplier=width_multiplier, dropout=dropout)
    return Model(clip, classify(x, num_classes), name="c3d")


def _pool(x, size, pools, name):
    if pools == "caffe":
        return layers.MaxPooling3D(size, padding="same", name=name)(x)
    if x.shape[1] < size[0]:
        raise ValueError(
            f"input_shape must have at least 16 frames with pools='pytorch', and {name} got none"
        )
    if name == "pool5":  # nothing is below zero after ReLU: zeros are as good as PyTorch's minus infinity
        x = layers.ZeroPadding3D((0, 1, 1), name="pool5_pad")(x)
    return layers.MaxPooling3D(size, name=name)(x)
