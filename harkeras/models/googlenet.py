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

from harkeras.models._inception import inception
from harkeras.models.blocks import check_num_classes, classify, image_input
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
    x = inception(x, width_multiplier=width_multiplier, batch_norm=batch_norm)
    x = layers.GlobalAveragePooling2D(name="avgpool")(x)  # (B, 1024)
    x = classify(layers.Dropout(dropout, name="dropout")(x), num_classes)
    return Model(image, x, name="googlenet")
