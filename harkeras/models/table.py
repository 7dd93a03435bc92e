"""The models side by side: what goes in, how large they are, how much they compute, where they are from."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import keras
from keras import layers

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
    model = getattr(model, "_functional", None) or model  # of a Sequential
    nodes = getattr(model, "_nodes_by_depth", None)
    if nodes is None:
        raise ValueError(f"model must be functional or sequential, and built, got {model.name}")
    clips: dict[int, float] = {}  # what part of a clip one item of the batch is, where not 1
    total = 0
    # A layer that is called twice, as shared towers are, has two nodes here.
    for node in (node for depth in sorted(nodes, reverse=True) for node in nodes[depth] if not node.is_input):
        inputs, outputs = node.input_tensors, node.outputs
        items = max(clips.get(id(x), 1) for x in inputs)
        total += items * _cost(node.operation, node.arguments, inputs, outputs)
        if type(node.operation).__name__ == "Reshape":  # may make one batch of all frames
            items = items * _size(inputs[0]) / _size(outputs[0])
        clips |= {id(x): items for x in outputs}
    return round(total)


def _cost(operation, arguments, inputs, outputs) -> int:
    """Multiply-adds of one call of a layer or operation, for a batch of one."""
    if isinstance(operation, keras.Model):
        return count_multiply_adds(operation)
    if isinstance(operation, layers.TimeDistributed):
        frame, out = (keras.KerasTensor((x.shape[0], *x.shape[2:])) for x in (inputs[0], outputs[0]))
        return inputs[0].shape[1] * _cost(operation.layer, None, [frame], [out])
    if isinstance(operation, layers.Bidirectional):
        both = operation.forward_layer, operation.backward_layer
        return sum(_cost(layer, None, inputs, outputs) for layer in both)
    if not isinstance(operation, layers.Layer):
        return _cost_of_operation(operation, arguments, inputs, outputs)
    for kind, count in _COSTS.items():
        if isinstance(operation, kind):
            return count(operation, inputs, outputs)
    if isinstance(operation, _UNKNOWN) or any(len(weight.shape) > 1 for weight in operation.weights):
        raise ValueError(f"cannot count the multiply-adds of the {_name(operation)} {operation.name}")
    return 0


def _conv(layer, inputs, outputs):
    """Every point of the result takes the whole kernel (..., channels of a group, filters) once."""
    return _points(outputs[0], layer.data_format) * _weights(layer.kernel)


def _conv_transpose(layer, inputs, outputs):
    return _points(inputs[0], layer.data_format) * _weights(layer.kernel)


def _separable_conv(layer, inputs, outputs):
    kernels = _weights(layer.depthwise_kernel) + _weights(layer.pointwise_kernel)
    return _points(outputs[0], layer.data_format) * kernels


def _dense(layer, inputs, outputs):
    return _size(inputs[0]) * layer.units


def _einsum_dense(layer, inputs, outputs):
    return _einsum(layer.equation, [inputs[0].shape, layer.kernel.shape])


def _attention(layer, inputs, outputs):
    """Four projections; each query times each key; each of the products times each value."""
    query, value = inputs[0], inputs[1]
    key = inputs[2] if len(inputs) > 2 else value
    heads, key_dim, value_dim = layer.num_heads, layer.key_dim, layer.value_dim or layer.key_dim
    projected = heads * (_size(query) * key_dim + _size(key) * key_dim + _size(value) * value_dim)
    projected += _size(outputs[0]) * heads * value_dim
    axes = getattr(layer, "_attention_axes", None) or range(1, len(query.shape) - 1)
    keys = math.prod(value.shape[axis] for axis in axes)
    return projected + _size(query) // query.shape[-1] * keys * heads * (key_dim + value_dim)


def _recurrent(layer, inputs, outputs):
    """At each step, the cell's kernels take the input and the state."""
    cells = getattr(layer.cell, "cells", [layer.cell])
    if not all(isinstance(cell, _CELLS) for cell in cells):
        raise ValueError(f"cannot count the multiply-adds of the cells of {layer.name}")
    return inputs[0].shape[1] * sum(_weights(c.kernel) + _weights(c.recurrent_kernel) for c in cells)


def _conv_lstm(layer, inputs, outputs):
    """As `_recurrent`, with kernels that go over all points."""
    last = -1 if layer.return_sequences else None
    shape = outputs[0].shape[:1] + outputs[0].shape[2:] if last else outputs[0].shape
    kernels = _weights(layer.cell.kernel) + _weights(layer.cell.recurrent_kernel)
    return inputs[0].shape[1] * _points(keras.KerasTensor(shape), layer.data_format) * kernels


def _nothing(layer, inputs, outputs):
    """What works on each number by itself, or looks it up."""
    return 0


# The first that fits counts.
_COSTS: dict[type | tuple[type, ...], Callable] = {
    (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose): _conv_transpose,
    (layers.SeparableConv1D, layers.SeparableConv2D): _separable_conv,
    (layers.DepthwiseConv1D, layers.DepthwiseConv2D): _conv,
    (layers.Conv1D, layers.Conv2D, layers.Conv3D): _conv,
    layers.Dense: _dense,
    layers.EinsumDense: _einsum_dense,
    layers.MultiHeadAttention: _attention,
    (layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D): _conv_lstm,
    layers.RNN: _recurrent,
    (layers.BatchNormalization, layers.LayerNormalization, layers.PReLU, layers.Embedding): _nothing,
}
_CELLS = (layers.SimpleRNNCell, layers.GRUCell, layers.LSTMCell)
_UNKNOWN = (layers.Dot, layers.Attention, layers.AdditiveAttention, layers.Lambda)


def _cost_of_operation(operation, arguments, inputs, outputs) -> int:
    """Multiply-adds of an operation of `keras.ops`; its weights, if any, are among its arguments."""
    kind, operands = type(operation).__name__, [x for x in arguments.args if hasattr(x, "shape")]
    operands += [x for x in arguments.kwargs.values() if hasattr(x, "shape")]
    if kind in ("Conv", "DepthwiseConv"):
        data_format = operation.data_format or keras.config.image_data_format()
        return _points(outputs[0], data_format) * math.prod(operands[1].shape)
    if kind == "Matmul":
        return _size(outputs[0]) * inputs[0].shape[-1]
    if kind == "Einsum":
        return _einsum(operation.subscripts, [x.shape for x in operands])
    if kind in _UNKNOWN_OPERATIONS:
        raise ValueError(f"cannot count the multiply-adds of the operation {kind}")
    return 0


_UNKNOWN_OPERATIONS = (
    "ConvTranspose",
    "Correlate",
    "Dot",
    "DotProductAttention",
    "FFT",
    "FFT2",
    "Inner",
    "IRFFT",
    "RFFT",
    "SeparableConv",
    "STFT",
    "Tensordot",
    "Vdot",
)


def _einsum(equation: str, shapes) -> int:
    """One multiply-add for each combination of all indices; the batch, of unknown size, counts as one."""
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        before, _, after = term.partition("...")
        rest = [f"...{i}" for i in range(len(term.replace("...", "")), len(shape))]
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


def _weights(variable) -> int:
    return math.prod(variable.shape)


def _name(operation) -> str:
    return f"layer {type(operation).__name__}"
