"""A model as a compiled function of arrays, on whichever backend Keras runs.

`model.predict_on_batch` is made for batches of one size; each other size is traced, or on JAX compiled, anew.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import keras
import numpy as np
from keras import tree

Arrays = Any  # an array, or a dictionary of arrays by the names of the inputs


def compile_call(
    model: keras.Model, inputs: Any, prepare: Callable[[Any], Any] | None = None
) -> Callable[[Arrays], Arrays]:
    """Make a function of batches of any size, compiled at its first call, with the weights of each call.

    Args:
        model: The model; what it does in training alone is left out.
        inputs: `keras.KerasTensor` of what comes in, or a dictionary of them; of their shapes, None may vary.
        prepare: Function of such tensors -> what the model takes; it is compiled with the model. By default
            they are turned into float32.

    Returns:
        Function of NumPy arrays, or a dictionary of them, that gives what the model gives, as NumPy has it.
    """
    prepare = prepare or _to_float32
    backends = {"tensorflow": _on_tensorflow, "jax": _on_jax}
    return backends.get(keras.backend.backend(), _on_any)(model, inputs, prepare)


def _to_float32(inputs: Any) -> Any:
    return tree.map_structure(lambda x: keras.ops.cast(x, "float32"), inputs)


def _on_tensorflow(model: keras.Model, inputs: Any, prepare: Callable) -> Callable[[Arrays], Arrays]:
    import tensorflow as tf

    signature = tree.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), inputs)

    @cache  # the function with its types settled is called in half the time
    def traced() -> Callable:
        @tf.function(input_signature=[signature], autograph=False)
        def function(x):
            return model(prepare(x), training=False)

        return function.get_concrete_function()

    def call(arrays: Arrays) -> Arrays:
        outputs = traced()(tree.map_structure(tf.constant, arrays))
        return tree.map_structure(lambda output: output.numpy(), outputs)

    return call


def _on_jax(model: keras.Model, inputs: Any, prepare: Callable) -> Callable[[Arrays], Arrays]:
    import jax

    @jax.jit
    def function(trainable, non_trainable, x):
        return model.stateless_call(trainable, non_trainable, prepare(x), training=False)[0]

    varies = any(x.shape[0] is None for x in tree.flatten(inputs))

    def call(arrays: Arrays) -> Arrays:
        count = len(tree.flatten(arrays)[0])
        # JAX compiles for each size: rows that nobody looks at keep it to one of two times the other.
        missing = (1 << (count - 1).bit_length()) - count if varies else 0
        if missing:
            arrays = tree.map_structure(lambda x: np.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1)), arrays)
        trainable, other = (
            [each.value for each in group]
            for group in (model.trainable_variables, model.non_trainable_variables)
        )
        outputs = function(trainable, other, arrays)
        return tree.map_structure(lambda output: np.asarray(output)[:count], outputs)

    return call


def _on_any(model: keras.Model, inputs: Any, prepare: Callable) -> Callable[[Arrays], Arrays]:
    def call(arrays: Arrays) -> Arrays:
        return model.predict_on_batch(prepare(tree.map_structure(keras.ops.convert_to_tensor, arrays)))

    return call
