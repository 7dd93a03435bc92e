"""The calls that a functional model is made of. Keras has no public way to read them."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import KerasTensor


class Call(NamedTuple):
    """One call of a layer or operation while a model was built.

    Attributes:
        operation: The layer, the model inside the model, or the operation of `keras.ops`.
        arguments: All it was called with, tensors and other values, positional ones first.
        inputs: The tensors among them.
        outputs: What it gave.
    """

    operation: Any
    arguments: tuple
    inputs: list[KerasTensor]
    outputs: list[KerasTensor]


def list_calls(model: keras.Model) -> list[Call]:
    """Return the calls from the inputs of a model to its outputs, each after those that it depends on.

    A layer that is called twice, as shared towers are, is there twice. There are none in a model that is
    neither functional nor sequential, and in a sequential one that is not built.
    """
    if isinstance(model, keras.Sequential) and model.built:
        model = keras.Model(model.inputs, model.outputs, name=model.name)
    calls = []
    for _, nodes in sorted(getattr(model, "_nodes_by_depth", {}).items(), reverse=True):
        for node in nodes:
            if not node.is_input:
                arguments = (*node.arguments.args, *node.arguments.kwargs.values())
                calls.append(Call(node.operation, arguments, node.input_tensors, node.outputs))
    return calls
