"""Small networks in LiteRT, for one input at a time: TensorFlow takes longer to begin than they to compute.

TensorFlow is made for batches. One frame of 64 x 64 pixels takes it 0.6 ms in the network of `lrcn`, of which
LiteRT needs 0.05; of MobileNetV2 at 96 x 96 pixels, 6 ms and 0.3. The numbers that come out are the same but
for rounding. Networks of many weights gain nothing: there the time goes into reading the weights.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from joblib import cpu_count

from harkeras.models import count_multiply_adds
from harkeras.models.unrolled import for_litert

_MOST_WEIGHTS = 4_000_000
# What a second thread takes to wake up is worth it from here on.
_MULTIPLY_ADDS_PER_THREAD = 50_000_000


def compile_lite(
    model: keras.Model, dtype: tf.DType, to_input: Callable[[Any], Any]
) -> Callable[[np.ndarray], np.ndarray] | None:
    """Make a function of batches that LiteRT computes one by one, with the weights as they are now.

    Args:
        model: A model of one input and one output.
        dtype: Of the numbers that come in.
        to_input: Function of what comes in, as float32 -> what the model takes.

    Returns:
        None where TensorFlow is better, or alone can do it: LiteRT is not installed (extra `litert`), there
        is a GPU, the model has many weights, or an operation that LiteRT does not know.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        return None
    on_cpu = keras.backend.backend() == "tensorflow" and not tf.config.list_physical_devices("GPU")
    if not on_cpu or model.count_params() > _MOST_WEIGHTS:
        return None

    try:
        copy = for_litert(model)

        @tf.function(input_signature=[tf.TensorSpec((1, *model.input_shape[1:]), dtype)], autograph=False)
        def traced(x):
            return copy(to_input(tf.cast(x, tf.float32)), training=False)

        concrete = traced.get_concrete_function()
        content = tf.lite.TFLiteConverter.from_concrete_functions([concrete], traced).convert()
    except Exception:  # whatever the converter cannot do, TensorFlow can
        return None
    interpreter = Interpreter(model_content=content, num_threads=_count_threads(model))
    interpreter.allocate_tensors()
    into, out = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    lock = threading.Lock()  # an interpreter computes one thing at a time

    def run(x: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(into, x)
        interpreter.invoke()
        return interpreter.get_tensor(out)

    def call(x: np.ndarray) -> np.ndarray:
        with lock:
            return np.concatenate([run(x[row : row + 1]) for row in range(len(x))])

    return call


def _count_threads(model: keras.Model) -> int:
    try:
        return min(cpu_count(), 1 + count_multiply_adds(model) // _MULTIPLY_ADDS_PER_THREAD)
    except ValueError:  # of a layer whose cost nobody knows
        return 1
