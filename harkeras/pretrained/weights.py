"""Weights that others published, put into models of this package.

The layers of the models are named after those of the code the weights were made with, so a converter is
little more than a rule from their names to ours. Three things differ between frameworks: kernels of PyTorch
have their axes in another order, its "weight" is a kernel or a scale depending on the layer, and a dense
layer after a flattened block of features depends on the order in which that was flattened.

A network that got 99 of 100 kernels answers nonsense with confidence. So every variable of the source must
find its place, and every weight of the model must be given once, with equal shapes; else nothing is changed,
and the error names what is missing and what is left over.
"""

from __future__ import annotations

import os
import re
import warnings

import keras
import numpy as np
from keras import layers

from harkeras.models import create_googlenet_model, inflate
from harkeras.pretrained._weight_files import read_variables
from harkeras.pretrained._weight_names import PARTS, SOURCES

# Names that the last layers with weights have in the models that published weights fit.
HEAD_LAYERS = ("probabilities", "Logits_Conv3d_0c_1x1")
_NORM_PARTS = {"kernel": "gamma", "bias": "beta"}


def load_weights(
    model: keras.Model, path: str | os.PathLike, *, source: str | None = None, head: bool = True
) -> keras.Model:
    """Put published weights into a model; all of them fit, or nothing is changed.

    Weights of Inception-v1 for images may be put into I3D: they are inflated, and the last layer stays as it
    is.

    Args:
        model: A model of this package, built as the source's is: `create_i3d_model`, `create_c3d_model`,
            `create_resnet3d_model`, `create_resnext3d_model`, `create_r2plus1d_model`, `create_r3d_model`,
            `create_movinet_model`, or `create_googlenet_model(..., batch_norm=True)`.
        path: The file, see `harkeras.assets.find_asset`: a TensorFlow checkpoint, a state dict of PyTorch, or
            `.safetensors`.
        source: Whose weights these are, one of `SOURCES`; told from the names and shapes by default, where
            they can tell. They cannot for C3D ("c3d" if learned in Caffe, "c3d_pytorch") and 3D-ResNet
            ("resnet3d" for the networks of the paper, "resnet3d_master" for the later branch of its code).
        head: Whether to load the last layer too. False leaves it as it is, for a model of other classes.

    Returns:
        The same model.

    Raises:
        ValueError: If the file holds no weights, its names are of no known source or of two, or they do not
            fit the model one to one, or the model was built otherwise than the source's.
        FileNotFoundError: If there is no such file.

    Example:
        >>> model = create_r3d_model(4)  # four classes of one's own
        >>> load_weights(model, find_asset("r3d_18"), head=False)
    """
    if source is not None and source not in SOURCES:
        raise ValueError(f"source must be one of {', '.join(SOURCES)}, got {source!r}")
    for layer in model.layers:
        if isinstance(layer, keras.Model) and layer.weights:
            raise ValueError(
                f"model must be one network, got {model.name} with {layer.name} inside; load into each with "
                f"load_weights(model.get_layer({layer.name!r}), ...)"
            )
    variables = read_variables(path)
    source = source or _recognize(variables, path)
    _check_build(model, source, path)
    if source == "inception_v1" and len(model.input_shape) == 5:
        _inflate_into(model, variables, path)
    else:
        _assign(model, variables, source, head, path)
    return model


def _recognize(variables, path):
    """Return the name of the one source whose names these are."""
    names = [name for name, source in SOURCES.items() if any(re.search(source.sign, v) for v in variables)]
    if not names:
        known = ", ".join(source.about for source in SOURCES.values())
        raise ValueError(f"{path} must have the names of one of {known}; got {_some(variables)}")
    name = names[0] if len(names) == 1 else _tell_apart(variables)
    if name is None:
        choices = " or ".join(f"{name!r} ({SOURCES[name].about})" for name in names)
        raise ValueError(
            f"source must be {choices} for {path}: its names and shapes are those of both, and the networks "
            "compute different things"
        )
    return name


def _tell_apart(variables):
    """Return the source of weights whose names two sources use, where shapes can tell, else None."""
    if len(variables.get("fc8.bias", ())) == 487:  # the classes of Sports-1M, learned in Caffe alone
        return "c3d"
    first, second = (variables.get(f"layer1.0.conv{i}.weight") for i in (1, 2))
    if first is not None and second is not None and second.shape[1] < first.shape[0]:
        return "resnet3d"  # in groups: 3D-ResNeXt, which is wider in the other branch and fits no model here
    return None


def _check_build(model, source, path):
    """Raise ValueError if the model does with pixels or pools what the source's network does not."""
    activations = {getattr(layer, "activation", None) for layer in model.layers}
    if source == "movinet_pytorch" and keras.activations.hard_sigmoid in activations:
        warnings.warn(
            f"{path} is taken for a conversion of the authors' weights, learned with the hard sigmoid of "
            "this model, x / 6 + 0.5; MoViNet-pytorch has another, x / 5 + 0.5: what was trained with it "
            "would answer wrongly here",
            stacklevel=3,
        )
    if SOURCES[source].built is None:
        return
    argument, value = SOURCES[source].built
    layer_of = {layer.name: layer for layer in model.layers}
    if argument == "pools" and "pool5" in layer_of:
        actual = "pytorch" if "pool5_pad" in layer_of else "caffe"
    elif argument == "normalization" and "rescale" in layer_of:
        actual = "activitynet" if np.all(np.equal(layer_of["rescale"].scale, 1)) else "kinetics"
    else:
        return  # another network, whose names will not fit
    if actual != value:
        raise ValueError(
            f"model must be built with {argument}={value!r} for {path} ({SOURCES[source].about}), got one "
            f"with {argument}={actual!r}"
        )


def _assign(model, variables, source, head, path):
    """Give each weight of the model the one variable that belongs there, after checking them all."""
    weights = {(layer.name, weight.name): weight for layer in model.layers for weight in layer.weights}
    arrays = _translate(model, variables, source)
    if not head:
        weights, arrays = ({k: v for k, v in d.items() if k[0] not in HEAD_LAYERS} for d in (weights, arrays))
    problems = {
        "missing for the model": sorted(f"{layer}/{part}" for layer, part in weights.keys() - arrays.keys()),
        "left over in the file": [arrays[key][0] for key in arrays.keys() - weights.keys()],
        "of another shape": [
            f"{arrays[key][0]} is {arrays[key][1].shape} where {key[0]} has {tuple(weights[key].shape)}"
            for key in weights
            if key in arrays and arrays[key][1].shape != tuple(weights[key].shape)
        ],
    }
    problems = [f"{problem}: {_some(names)}" for problem, names in problems.items() if names]
    if problems:
        hint = "; head=False leaves the last layer out" if head else ""
        raise ValueError(
            f"{path} ({SOURCES[source].about}) must fit the model {model.name}: {'; '.join(problems)}{hint}"
        )
    for key, weight in weights.items():
        weight.assign(arrays[key][1])


def _some(names):
    """Name a few of many."""
    names = list(names)
    return ", ".join(names[:4]) + (f", ... ({len(names)} in all)" if len(names) > 4 else "")


def _translate(model, variables, source):
    """Return (layer, weight) -> (name in the file, array laid out as the layer's weight)."""
    rule = SOURCES[source]
    ours = {layer.name: layer for layer in model.layers}
    arrays = {}
    for name, array in variables.items():
        path, _, part = name.replace("/", ".").rpartition(".")
        path, part = name[: len(path)], PARTS.get(part, part)
        layer = rule.layer(path)
        if isinstance(ours.get(layer), layers.BatchNormalization):
            part, array = _NORM_PARTS.get(part, part), array.reshape(-1)
        elif part == "kernel":
            array = _kernel(array, ours.get(layer), rule.torch)
        if (layer, part) in arrays:
            raise ValueError(f"{name} and {arrays[layer, part][0]} are both for {layer}/{part}")
        arrays[layer, part] = name, array
    if source == "i3d_pytorch":
        _fold_scales(arrays, ours)
    elif source in ("c3d", "c3d_pytorch"):
        _undo_caffe(arrays, ours)
    return arrays


def _kernel(array, layer, torch):
    """Lay out a kernel as Keras does: (..., in, out)."""
    if torch and array.ndim > 1:
        array = np.moveaxis(array, (0, 1), (-1, -2))  # from (out, in, ...)
    ours = tuple(getattr(getattr(layer, "kernel", None), "shape", ()))
    # A convolution of one point may be a dense layer here, and one of images one of clips, one frame long.
    same = [n for n in array.shape if n > 1] == [n for n in ours if n > 1]
    return array.reshape(ours) if ours and same else array


def _fold_scales(arrays, ours):
    """I3D's batch norm has no scale, PyTorch's has: multiply the kernel before it, and its mean, instead."""
    for layer, part in list(arrays):
        norm = ours.get(layer)
        if part != "gamma" or getattr(norm, "scale", True):
            continue
        conv = layer.replace("_batch_norm", "_conv_3d")
        _, scale = arrays.pop((layer, part))
        for key in ((conv, "kernel"), (layer, "moving_mean")):
            if key in arrays:
                arrays[key] = arrays[key][0], arrays[key][1] * scale


def _undo_caffe(arrays, ours):
    """C3D sees blue first and 0-255, in PyTorch too, and flattens channels before time, height and width."""
    name, kernel = arrays.get(("conv1a", "kernel"), (None, None))
    if name is not None:
        arrays["conv1a", "kernel"] = name, kernel[..., ::-1, :] * 255
    name, kernel = arrays.get(("fc6", "kernel"), (None, None))
    if name is not None and "flatten" in ours:
        *block, channels = ours["flatten"].input.shape[1:]
        if kernel.shape[0] == channels * np.prod(block):
            kernel = kernel.reshape(channels, *block, -1)
            arrays["fc6", "kernel"] = name, np.moveaxis(kernel, 0, -2).reshape(-1, kernel.shape[-1])


def _inflate_into(model, variables, path):
    """Load Inception-v1 into its image network, inflate that, and take over what stands before its head."""
    _, frames, *image = model.input_shape
    flat = create_googlenet_model(2, tuple(image), batch_norm=True)
    _assign(flat, variables, "inception_v1", False, path)
    inflated = {
        layer.name.replace("2d", "3d"): layer.get_weights()
        for layer in inflate(flat, frames).layers
        if layer.weights and layer.name not in HEAD_LAYERS
    }
    own = {layer.name for layer in model.layers if layer.weights and layer.name not in HEAD_LAYERS}
    if own != inflated.keys():
        raise ValueError(f"the model must be I3D, whose layers Inception-v1 has for images, got {model.name}")
    for name, weights in inflated.items():
        model.get_layer(name).set_weights(weights)
