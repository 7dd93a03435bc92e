"""Inflation: a network that was trained on images becomes one for clips, weights and all.

Carreira and Zisserman, "Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset", CVPR 2017.

A clip in which nothing moves is an image, so a network for clips should say of it what the network for images
says. Repeat each NxN kernel N times along time and divide it by N: on equal frames the sum over time is then
the old one. Pools, batch norm and dense layers do as they did. Training on clips starts from there and only
has to learn what motion adds.

At the two ends of a clip this needs care: a kernel that reaches past the first frame meets zeros, and the
answer is no longer that of the image. `edges="repeat"` shows it the first frame again instead, and a still
clip of any length gets exactly the image's answer. `edges="zeros"` is what I3D does: exact only at the steps
in time whose kernels, through all layers, never reach an end.
"""

from __future__ import annotations

from typing import Literal

import keras
import numpy as np
from keras import Model, layers

_TWINS = {
    layers.Conv2D: layers.Conv3D,
    layers.MaxPooling2D: layers.MaxPooling3D,
    layers.AveragePooling2D: layers.AveragePooling3D,
    layers.GlobalAveragePooling2D: layers.GlobalAveragePooling3D,
    layers.GlobalMaxPooling2D: layers.GlobalMaxPooling3D,
}
_POOLS = (layers.MaxPooling2D, layers.AveragePooling2D)
_UNCHANGED = (
    layers.InputLayer,
    layers.Activation,
    layers.Add,
    layers.BatchNormalization,
    layers.Concatenate,
    layers.Dense,
    layers.Dropout,
    layers.ReLU,
    layers.Rescaling,
    layers.Softmax,
)


def inflate(
    image_model: Model, frames: int, *, flat_pools: int = 2, edges: Literal["zeros", "repeat"] = "zeros"
) -> Model:
    """Turn a model of images into a model of clips that gives the same answer where nothing moves.

    Args:
        image_model: A functional model, images (B, H, W, C) -> anything, that ends its convolutions in a
            global pool.
        frames: Number of frames of the clips.
        flat_pools: How many of the first pools leave time alone; all others, and every convolution, reach and
            step through time as far as they do through height. The paper's choice is 2.
        edges: What kernels see before the first and after the last frame: "zeros", as in I3D, or "repeat".

    Returns:
        `keras.Model`: clips (B, frames, H, W, C) -> what `image_model` gives. Layers have the same names.

    Raises:
        ValueError: If `edges` is neither of the two, or the model has a layer that has no twin in 3-D.
    """
    if edges not in ("zeros", "repeat"):
        raise ValueError(f"edges must be 'zeros' or 'repeat', got {edges!r}")
    pools = [layer.name for layer in image_model.layers if isinstance(layer, _POOLS)]
    flat = pools[:flat_pools]

    def call(layer, x, **arguments):
        if isinstance(layer, layers.Conv3D) and layer.padding == "valid":
            x = _pad(x, layer, image_model.get_layer(layer.name).padding, edges)
        return layer(x, **arguments)

    _, height, width, channels = image_model.input_shape
    clip = keras.Input((frames, height, width, channels), name="clip")
    model = keras.models.clone_model(
        image_model,
        input_tensors=clip,
        clone_function=lambda layer: _twin(layer, flat=layer.name in flat, edges=edges),
        call_function=call,
    )
    for layer in image_model.layers:
        weights = layer.get_weights()
        if isinstance(layer, layers.Conv2D):
            n = model.get_layer(layer.name).kernel_size[0]
            weights[0] = np.repeat(weights[0][None] / n, n, axis=0)
        if weights:
            model.get_layer(layer.name).set_weights(weights)
    return model


def _twin(layer, *, flat, edges):
    """The layer that does to clips what `layer` does to images, without its weights."""
    config = layer.get_config()
    if type(layer) in _TWINS:
        for key in ("kernel_size", "pool_size", "strides", "dilation_rate"):
            if key in config:
                config[key] = (1 if flat else config[key][0], *config[key])
        if edges == "repeat" and config.get("padding") == "same" and isinstance(layer, layers.Conv2D):
            config["padding"] = "valid"  # `_pad` does the padding
        return _TWINS[type(layer)].from_config(config)
    if isinstance(layer, _UNCHANGED):
        if config.get("axis") in (3, [3]):
            config["axis"] = -1
        return type(layer).from_config(config)
    if isinstance(layer, Model) and not layer.weights:  # operations, such as a normalization over channels
        return layers.TimeDistributed(layer, name=layer.name)
    raise ValueError(
        f"image_model has a layer that cannot be inflated: {layer.name} ({type(layer).__name__})"
    )


def _pad(x, conv, padding, edges):
    """Pad clips (B, T, H, W, C) for a "valid" convolution that stands for one with another `padding`."""
    margins = []  # before and after, in time, height and width; an odd one goes after, as TensorFlow does it
    for size, kernel, stride, dilation in zip(
        x.shape[1:4], conv.kernel_size, conv.strides, conv.dilation_rate, strict=True
    ):
        reach = (kernel - 1) * dilation + 1
        missing = max((-(-size // stride) - 1) * stride + reach - size, 0)
        margins.append((missing // 2, missing - missing // 2))
    time, *space = margins
    if padding == "same":
        x = layers.ZeroPadding3D([(0, 0), *space], name=f"{conv.name}_pad")(x)
    if edges == "zeros":
        return layers.ZeroPadding3D([time, (0, 0), (0, 0)], name=f"{conv.name}_pad_time")(x)
    if time == (0, 0):
        return x
    last = x.shape[1] - 1
    before = layers.Cropping3D([(0, last), (0, 0), (0, 0)], name=f"{conv.name}_first_frame")(x)
    after = layers.Cropping3D([(last, 0), (0, 0), (0, 0)], name=f"{conv.name}_last_frame")(x)
    frames = [before] * time[0] + [x] + [after] * time[1]
    return layers.Concatenate(axis=1, name=f"{conv.name}_repeat")(frames)
