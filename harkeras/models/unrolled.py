"""The same network in fewer kinds of layers, for engines that have less than Keras has."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
from keras import layers, ops

from harkeras.models.blocks import all_layers, speed_up_groups


def for_onnx(model: keras.Model) -> keras.Model:
    """Copy a model for ONNX, which has LSTM and GRU, but runs a ConvLSTM as a slow loop, and has no erfc."""
    return _finish(_clone(model, _copy), layers.ConvLSTM2D)


def for_litert(model: keras.Model) -> keras.Model:
    """Copy a model for LiteRT's own operations, which have no loop over time and no 3-D pool."""

    def copied(layer: keras.layers.Layer) -> keras.layers.Layer:
        if isinstance(layer, layers.MaxPooling3D | layers.AveragePooling3D):
            return _PoolInTwo(layer, name=layer.name)
        return _copy(layer)

    return _finish(_clone(model, copied), layers.RNN)


def _clone(model: keras.Model, copied: Callable[[keras.layers.Layer], keras.layers.Layer]) -> keras.Model:
    copy = keras.models.clone_model(model, clone_function=copied, recursive=True)
    copy.set_weights(model.get_weights())
    return speed_up_groups(copy)


def _copy(layer: keras.layers.Layer) -> keras.layers.Layer:
    # A function in the model has no weights, and Keras makes none of its description.
    return layer if isinstance(layer, layers.Lambda) else type(layer).from_config(layer.get_config())


def _finish(copy: keras.Model, unrolled: type[keras.layers.Layer]) -> keras.Model:
    """Change layers of a copy at any depth, those inside of others too: of a kind, loops become steps."""
    for layer in all_layers(copy):
        if isinstance(layer, layers.RNN):
            for cell in getattr(layer.cell, "cells", [layer.cell]):
                # Keras draws the masks even where nothing is dropped, and engines cannot keep a seed.
                cell.dropout = cell.recurrent_dropout = 0.0
        if isinstance(layer, unrolled):
            layer.unroll = True  # one step after the other instead of a loop
        if getattr(layer, "activation", None) is keras.activations.gelu:
            layer.activation = _gelu
    return copy


def _gelu(x: keras.KerasTensor) -> keras.KerasTensor:
    return 0.5 * x * (1 + ops.erf(x / np.sqrt(2).astype("float32")))


class _PoolInTwo(layers.Layer):
    """A 3-D pool made of two 2-D pools: over height and width, then over time.

    The largest of the largest is the largest; and a mean of means is the mean, since at a border, too, each
    frame counts as many points.
    """

    def __init__(self, pool: layers.MaxPooling3D | layers.AveragePooling3D, name: str):
        super().__init__(name=name)
        self._pool = pool
        kind = layers.MaxPooling2D if isinstance(pool, layers.MaxPooling3D) else layers.AveragePooling2D
        (frames, *size), (step, *strides) = pool.pool_size, pool.strides
        self._over_frame = kind(tuple(size), tuple(strides), pool.padding)
        self._over_time = kind((frames, 1), (step, 1), pool.padding)

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        frames, height, width, channels = x.shape[1:]
        x = self._over_frame(ops.reshape(x, (-1, height, width, channels)))
        height, width = x.shape[1:3]
        x = self._over_time(ops.reshape(x, (-1, frames, height * width, channels)))
        return ops.reshape(x, (-1, x.shape[1], height, width, channels))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return self._pool.compute_output_shape(input_shape)
