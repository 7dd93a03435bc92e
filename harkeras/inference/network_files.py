"""One function per format: a network that has its recipe in it -> a file, by Keras's own exporters."""

from __future__ import annotations

import logging
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import keras
import numpy as np

from harkeras.base.keras_state import require_tensorflow
from harkeras.inference.runtimes import NEXT, RECIPE_FILE, RECIPE_KEY
from harkeras.models.unrolled import for_litert, for_onnx
from harkeras.recipe import Recipe

Precision = Literal["float32", "float16", "int8"]
# What a network is shown to find the range of its numbers: a dictionary of arrays (1, ...) at a time.
Calibration = list[dict[str, np.ndarray]]


def write_onnx(model: keras.Model, path: Path, recipe: Recipe) -> None:
    """Write `path`, for any number of clips at a time.

    Raises:
        ImportError: If tf2onnx is not installed.
        RuntimeError: If Keras does not run on TensorFlow.
        ValueError: If ONNX cannot hold the model.
    """
    try:
        import onnx
        import tf2onnx  # noqa: F401  which Keras calls
    except ImportError as error:
        raise ImportError('writing ONNX needs tf2onnx: pip install "harkeras[onnx]"') from error
    with _converting(model.name, "ONNX", "tf2onnx", "tensorflow"):
        model = for_onnx(model)
        outputs = model.output if isinstance(model.output, dict) else {"probabilities": model.output}
        # In lists: of dictionaries, tf2onnx loses the order.
        model = keras.Model(model.inputs, list(outputs.values()))
        signature = [keras.InputSpec(x.dtype, (None, *x.shape[1:]), name=x.name) for x in model.inputs]
        model.export(path, format="onnx", verbose=False, input_signature=[signature])
        network = onnx.load(path)
        # Inputs and outputs share one space of names, and both have the states of a stream.
        names = ["probabilities", *(f"{NEXT}{name}" for name in outputs if name != "probabilities")]
        _rename(network.graph, dict(zip([x.name for x in network.graph.output], names, strict=True)))
        onnx.helper.set_model_props(network, {RECIPE_KEY: recipe.to_json()})
        onnx.checker.check_model(network)
        onnx.save(network, path)


def _rename(graph, names: dict[str, str]) -> None:
    """Rename tensors of an ONNX graph, wherever they are used."""
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for output in graph.output:
        output.name = names[output.name]


def write_litert(
    model: keras.Model, path: Path, recipe: Recipe, precision: Precision, calibration: Calibration
) -> None:
    """Write `path`, for one clip at a time, of LiteRT's own operations alone.

    Raises:
        RuntimeError: If Keras does not run on TensorFlow.
        ValueError: If LiteRT cannot hold the model.
    """
    import tensorflow as tf

    operations = tf.lite.OpsSet.TFLITE_BUILTINS
    options: dict = {"target_spec": {"supported_ops": [operations]}}
    if precision != "float32":
        options["optimizations"] = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        options["target_spec"]["supported_types"] = [tf.float16]
    if precision == "int8":
        options["representative_dataset"] = lambda: iter(calibration)
    with _converting(model.name, "LiteRT", "tensorflow"):
        model = for_litert(model)
        model.export(path, format="litert", verbose=False, input_signature=_signature(model, 1), **options)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(RECIPE_FILE, recipe.to_json())


def convert_to_litert(model: keras.Model) -> tuple[bytes, list[str]]:
    """Convert a network for one clip at a time in memory, which takes a third of the time of a file.

    Returns:
        What LiteRT's interpreter takes, whose inputs have the names of the model's; and the names of its
        outputs, in order.

    Raises:
        RuntimeError: If Keras does not run on TensorFlow.
        ValueError: If it cannot be converted.
    """
    import tensorflow as tf

    with _converting(model.name, "LiteRT", "tensorflow"):
        copy = for_litert(model)
        specs = [tf.TensorSpec((1, *x.shape[1:]), x.dtype, name=x.name) for x in copy.inputs]
        outputs = copy.output if isinstance(copy.output, dict) else {"probabilities": copy.output}
        in_order = keras.Model(copy.inputs, list(outputs.values()))

        @tf.function(input_signature=specs, autograph=False)
        def traced(*inputs):
            return in_order(list(inputs), training=False)

        concrete = traced.get_concrete_function()
        content = tf.lite.TFLiteConverter.from_concrete_functions([concrete], traced).convert()
    return content, list(outputs)


def write_saved_model(model: keras.Model, path: Path, recipe: Recipe) -> None:
    """Write the folder `path`; what TensorFlow does not know goes into its `assets.extra`."""
    model.export(path, format="tf_saved_model", verbose=False, input_signature=_signature(model, None))
    extra = path / "assets.extra"
    extra.mkdir()
    (extra / RECIPE_FILE).write_text(recipe.to_json(), encoding="utf-8")


def _signature(model: keras.Model, batch_size: int | None) -> list:
    specs = {x.name: keras.InputSpec(x.dtype, (batch_size, *x.shape[1:]), name=x.name) for x in model.inputs}
    return [specs] if isinstance(model.input, dict) else list(specs.values())


@contextmanager
def _converting(name: str, engine: str, *loggers: str) -> Iterator[None]:
    """Keep converters from telling of each step; what fails raises a ValueError."""
    require_tensorflow(f"a conversion for {engine}")
    levels = {logger: logging.getLogger(logger).level for logger in loggers}
    try:
        for logger in loggers:
            logging.getLogger(logger).setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except OSError:  # of the file
        raise
    except Exception as error:  # the converters' errors have no common class
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{name} cannot be converted for {engine}: {reason}") from error
    finally:
        for logger, level in levels.items():
            logging.getLogger(logger).setLevel(level)
