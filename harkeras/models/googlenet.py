"""GoogLeNet (Inception-v1): look at the same features in four ways, side by side.

Szegedy et al., "Going Deeper with Convolutions", CVPR 2015.

A block sends its input through a 1x1, a 3x3 and a 5x5 convolution and a pool, and lays the results one
behind the other: the network need not decide how large a thing is. Convolutions of 1x1 before the large ones
thin the channels out, which makes 22 layers cost 7 million parameters, a ninth of AlexNet's, with better
answers. The way to the first layers is long, so in the paper two auxiliary classifiers look out of the middle
in training, and are thrown away afterwards; they are left out here.

It classifies images, not clips: one frame at a time, or as the network that `inflate` turns into I3D. For
that, `batch_norm=True` builds the later variant whose twin I3D is: batch norm (without scale) in place of
biases and of local response normalization, 3x3 in place of 5x5, and a last max pool of 2x2.

The paper draws the local response normalization without its constants: they are those of the network's copy
in Caffe's model zoo. One deviation: pixels are scaled to [-1, 1], where that copy subtracts the mean alone;
on such small numbers this normalization does little.
"""

from __future__ import annotations

from keras import Model, layers

from harkeras.models.blocks import (
    INCEPTION_FILTERS,
    check_num_classes,
    classify,
    image_input,
    local_response_normalization,
    scaled,
)
from harkeras.models.registry import register


@register("googlenet", paper="Szegedy et al., CVPR 2015", images=True)
def create_googlenet_model(
    num_classes: int,
    input_shape: tuple[int, int, int] = (224, 224, 3),
    *,
    batch_norm: bool = False,
    dropout: float = 0.4,
    width_multiplier: float = 1.0,
) -> Model:
    """Build GoogLeNet, uncompiled, with random weights.

    Args:
        num_classes: Number of classes, at least 2.
        input_shape: Image shape (height, width, 3), of any size.
        batch_norm: Build the variant that I3D is the twin of.
        dropout: Share of the features dropped before the last layer, in training.
        width_multiplier: Factor for the number of filters of every layer.

    Returns:
        `keras.Model`: images (B, H, W, 3), RGB 0-255 -> float32 probabilities (B, num_classes).

    Raises:
        ValueError: If there are fewer than 2 classes, the shape is not that of an image or too small, or
            `width_multiplier` is not positive.
    """
    check_num_classes(num_classes)
    image = image_input(input_shape)
    x = layers.Rescaling(1 / 127.5, -1, name="rescale")(image)
    x = _unit(x, scaled(64, width_multiplier), 7, batch_norm, 2, name="Conv2d_1a_7x7")  # (B, H/2, W/2, 64)
    x = _pool(x, 3, 2, name="MaxPool_2a_3x3")
    if not batch_norm:
        x = _normalize(x, name="LocalRespNorm_2a")
    x = _unit(x, scaled(64, width_multiplier), 1, batch_norm, name="Conv2d_2b_1x1")
    x = _unit(x, scaled(192, width_multiplier), 3, batch_norm, name="Conv2d_2c_3x3")
    if not batch_norm:
        x = _normalize(x, name="LocalRespNorm_2c")
    x = _pool(x, 3, 2, name="MaxPool_3a_3x3")  # (B, H/8, W/8, 192)
    for block, filters in INCEPTION_FILTERS.items():
        if block == "4b":
            x = _pool(x, 3, 2, name="MaxPool_4a_3x3")  # (B, H/16, W/16, 480)
        elif block == "5b":
            size = 2 if batch_norm else 3
            x = _pool(x, size, 2, name=f"MaxPool_5a_{size}x{size}")  # (B, H/32, W/32, 832)
        x = _mixed(x, [scaled(n, width_multiplier) for n in filters], batch_norm, name=f"Mixed_{block}")
    x = layers.GlobalAveragePooling2D(name="avgpool")(x)  # (B, 1024)
    x = classify(layers.Dropout(dropout, name="dropout")(x), num_classes)
    return Model(image, x, name="googlenet")


def _mixed(x, filters, batch_norm, *, name):
    large = 3 if batch_norm else 5
    b0 = _unit(x, filters[0], 1, batch_norm, name=f"{name}_Branch_0_Conv2d_0a_1x1")
    b1 = _unit(x, filters[1], 1, batch_norm, name=f"{name}_Branch_1_Conv2d_0a_1x1")
    b2 = _unit(x, filters[3], 1, batch_norm, name=f"{name}_Branch_2_Conv2d_0a_1x1")
    b1 = _unit(b1, filters[2], 3, batch_norm, name=f"{name}_Branch_1_Conv2d_0b_3x3")
    b2 = _unit(b2, filters[4], large, batch_norm, name=f"{name}_Branch_2_Conv2d_0b_{large}x{large}")
    b3 = _pool(x, 3, 1, name=f"{name}_Branch_3_MaxPool_0a_3x3")
    b3 = _unit(b3, filters[5], 1, batch_norm, name=f"{name}_Branch_3_Conv2d_0b_1x1")
    return layers.Concatenate(name=name)([b0, b1, b2, b3])


def _unit(x, filters, kernel_size, batch_norm, strides=1, *, name):
    """Convolution (and batch norm), ReLU."""
    options = {"padding": "same", "use_bias": not batch_norm, "name": f"{name}_conv_2d"}
    x = layers.Conv2D(filters, kernel_size, strides, **options)(x)
    if batch_norm:
        x = layers.BatchNormalization(momentum=0.999, epsilon=1e-3, scale=False, name=f"{name}_batch_norm")(x)
    return layers.ReLU(name=name)(x)


def _pool(x, pool_size, strides, *, name):
    return layers.MaxPooling2D(pool_size, strides, padding="same", name=name)(x)


def _normalize(x, *, name):
    """Local response normalization with the constants of Caffe, which divides alpha by n."""
    return local_response_normalization(x, name=name, k=1, n=5, alpha=1e-4 / 5, beta=0.75)
