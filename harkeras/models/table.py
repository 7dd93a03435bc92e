"""The models side by side: what goes in, how large they are, how much they compute, where they are from."""

from __future__ import annotations

import math
from typing import NamedTuple

import keras
from keras import layers

from harkeras.models.graph import list_calls
from harkeras.models.registry import count_parameters, create_model, list_models, no_weights, source_of


class ModelRow(NamedTuple):
    """A model as it is built by default.

    Attributes:
        name: What `create_model` knows it by.
        input_shape: Clip shape (frames, height, width, channels), or (frames, keypoints, values), or image
            shape (height, width, channels).
        parameters: Trainable parameters.
        multiply_adds: For one clip or image; see `count_multiply_adds`.
        paper: Where it was published.
        file: The file that builds it, from the top of the repository.
    """

    name: str
    input_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    paper: str
    file: str


def model_table(num_classes: int = 4) -> list[ModelRow]:
    """Build every registered model with its defaults, without weights, and measure it.

    Args:
        num_classes: Number of actions, at least 2.

    Returns:
        One row per model, those of clips first, sorted by name.
    """
    rows = []
    for name in list_models() + list_models("images"):
        with no_weights():
            model = create_model(name, num_classes)
            size = count_parameters(model), count_multiply_adds(model)
        rows.append(ModelRow(name, model.input_shape[1:], *size, *source_of(name)))
    return rows


def count_multiply_adds(model: keras.Model) -> int:
    """Count what a model computes for one clip or image, from the shapes of its layers alone.

    Counted is each multiplication by a weight, and in attention of tokens by each other, with the addition
    that goes with it; most papers on video call this number FLOPs, and some twice this number. Not counted is
    what costs little beside it: biases, activations, pools, sums, and normalization (unless written as a
    convolution).

    Args:
        model: A functional or sequential model whose shapes are known but for the batch.

    Returns:
        Multiply-adds of one forward pass for a batch of one.

    Raises:
        ValueError: If a shape is unknown, or there is a layer or operation of unknown cost.
    """
    calls = list_calls(model)
    if not calls:
        raise ValueError(f"model must be functional or sequential, and built, got {model.name}")
    clips: dict[int, float] = {}  # how many items of the batch one clip has become, where not 1
    total = 0.0
    for operation, arguments, inputs, outputs in calls:
        items = max(clips.get(id(x), 1) for x in inputs)
        if isinstance(operation, layers.Layer):
            total += items * _cost_of_layer(operation, inputs, outputs)
        else:
            total += items * _cost_of_operation(operation, arguments, inputs, outputs)
        if type(operation).__name__ == "Reshape":  # may make one batch of all frames
            items = items * _size(inputs[0]) / _size(outputs[0])
        clips |= {id(x): items for x in outputs}
    return round(total)


_CONVOLUTIONS = (
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
    layers.SeparableConv1D,
    layers.SeparableConv2D,
)
_TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
_CONV_LSTMS = (layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D)
_CELLS = (layers.SimpleRNNCell, layers.GRUCell, layers.LSTMCell)
# What works on each number by itself, or looks it up.
_FREE = (layers.BatchNormalization, layers.LayerNormalization, layers.PReLU, layers.Embedding)
_UNKNOWN = (layers.Dot, layers.Attention, layers.AdditiveAttention, layers.Lambda)


def _cost_of_layer(layer, inputs, outputs) -> int:
    """Multiply-adds of one call of a layer, for a batch of one."""
    if isinstance(layer, keras.Model):
        return count_multiply_adds(layer)
    if isinstance(layer, layers.TimeDistributed):
        frame, out = (keras.KerasTensor((x.shape[0], *x.shape[2:])) for x in (inputs[0], outputs[0]))
        return inputs[0].shape[1] * _cost_of_layer(layer.layer, [frame], [out])
    if isinstance(layer, layers.Bidirectional):
        both = layer.forward_layer, layer.backward_layer
        return sum(_cost_of_layer(each, inputs, outputs) for each in both)
    if isinstance(layer, layers.EinsumDense):
        return _einsum(layer.equation, [inputs[0].shape, layer.kernel.shape])
    if isinstance(layer, layers.MultiHeadAttention):
        return _attention(layer, inputs, outputs)
    if isinstance(layer, _FREE):
        return 0
    places = _kernel_uses(layer, inputs[0], outputs[0])
    if places is not None:
        return places * sum(math.prod(w.shape) for w in layer.weights if w.name.endswith("kernel"))
    if isinstance(layer, _UNKNOWN) or any(len(weight.shape) > 1 for weight in layer.weights):
        raise ValueError(f"cannot count the multiply-adds of the layer {type(layer).__name__} {layer.name}")
    return 0


def _kernel_uses(layer, x, output) -> int | None:
    """How many times a layer multiplies by each number of its kernels; None if it is of another kind."""
    if isinstance(layer, _TRANSPOSED):
        return _points(x, layer.data_format)
    if isinstance(layer, _CONVOLUTIONS):
        return _points(output, layer.data_format)
    if isinstance(layer, layers.Dense):
        return _points(x, "channels_last")
    if isinstance(layer, _CONV_LSTMS):  # the same at each step, which gives one of the maps
        shape = (None, *output.shape[2:]) if layer.return_sequences else output.shape
        return x.shape[1] * _points(keras.KerasTensor(shape), layer.data_format)
    if isinstance(layer, layers.RNN):
        if not all(isinstance(cell, _CELLS) for cell in getattr(layer.cell, "cells", [layer.cell])):
            raise ValueError(f"cannot count the multiply-adds of the cells of {layer.name}")
        return x.shape[1]
    return None


def _attention(layer, inputs, outputs) -> int:
    """Four projections; each query times each key; each of the products times each value."""
    query, value = inputs[:2]
    key = inputs[2] if len(inputs) > 2 else value
    heads, key_dim, value_dim = layer.num_heads, layer.key_dim, layer.value_dim or layer.key_dim
    projected = heads * (_size(query) * key_dim + _size(key) * key_dim + _size(value) * value_dim)
    projected += _size(outputs[0]) * heads * value_dim
    axes = layer.get_config()["attention_axes"] or range(1, len(query.shape) - 1)
    keys = math.prod(value.shape[axis] for axis in axes)
    return projected + _points(query, "channels_last") * keys * heads * (key_dim + value_dim)


_UNKNOWN_OPERATIONS = frozenset(
    "ConvTranspose Correlate Dot DotProductAttention FFT FFT2 Inner IRFFT RFFT SeparableConv STFT Tensordot "
    "Vdot".split()
)


def _cost_of_operation(operation, arguments, inputs, outputs) -> int:
    """Multiply-adds of an operation of `keras.ops`; its weights, if any, are among its arguments."""
    kind, shapes = type(operation).__name__, [x.shape for x in arguments if hasattr(x, "shape")]
    if kind in ("Conv", "DepthwiseConv"):
        data_format = operation.data_format or keras.config.image_data_format()
        return _points(outputs[0], data_format) * math.prod(shapes[1])
    if kind == "Matmul":
        return _size(outputs[0]) * inputs[0].shape[-1]
    if kind == "Einsum":
        return _einsum(operation.subscripts, shapes)
    if kind in _UNKNOWN_OPERATIONS:
        raise ValueError(f"cannot count the multiply-adds of the operation {kind}")
    return 0


def _einsum(equation: str, shapes) -> int:
    """One multiply-add for each combination of all indices; the batch, of unknown size, counts as one."""
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        before, _, after = term.partition("...")
        rest = [f"...{i}" for i in range(len(before + after), len(shape))]
        for index, size in zip([*before, *rest, *after], shape, strict=True):
            sizes[index] = max(sizes.get(index, 1), size or 1)
    return math.prod(sizes.values())


def _points(tensor, data_format: str) -> int:
    """Number of places in maps (B, ..., C), or (B, C, ...)."""
    return _size(tensor) // tensor.shape[-1 if data_format == "channels_last" else 1]


def _size(tensor) -> int:
    """Numbers in one item of a batch."""
    if None in tensor.shape[1:]:
        raise ValueError(f"shapes must be known but for the batch, got {tuple(tensor.shape)}")
    return math.prod(tensor.shape[1:])
