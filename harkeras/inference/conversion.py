"""The same model in another engine, in memory: what `runtime=` asks for, and long streams do by themselves.

TensorFlow is made for batches: it takes longer to begin than a small network to compute. One frame of 64 x
64 pixels takes it 0.6 ms in the network of `lrcn`, of which LiteRT needs 0.05; of MobileNetV2 at 96 x 96
pixels, 6 ms and 0.3. The numbers that come out are the same but for rounding. Networks of many weights gain
nothing in LiteRT: there the time goes into reading the weights.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import keras
import numpy as np
from joblib import cpu_count

from harkeras.base.checks import check_choice
from harkeras.inference.exported import ExportedModel
from harkeras.inference.network_files import convert_to_litert, write_onnx
from harkeras.inference.recipe_network import exported_recipe, split_with_recipe, with_recipe
from harkeras.inference.runtimes import (
    KerasNetwork,
    LiteRTNetwork,
    Network,
    find_interpreter,
    find_onnx_runtime,
    load_network,
)
from harkeras.models import count_multiply_adds
from harkeras.recipe import Recipe

Runtime = Literal["keras", "onnx", "litert"]

_logger = logging.getLogger("harkeras")
_MOST_WEIGHTS = 4_000_000
# What a second thread takes to wake up is worth it from here on.
_MULTIPLY_ADDS_PER_THREAD = 50_000_000


def in_runtime(
    model: keras.Model | ExportedModel, recipe: Recipe, runtime: Runtime | None
) -> keras.Model | ExportedModel:
    """Return a model as another engine computes it, with the weights of this moment.

    It is cut in two where its first layers see each frame alone, so that each frame is still computed once,
    and kept with the model: asked again, it is not converted again, as long as the weights are the same.

    Args:
        model: A model that `resolve_model` has checked.
        recipe: Its recipe.
        runtime: "keras", "onnx" or "litert"; None for the model as it is.

    Raises:
        ImportError: If the engine is not installed; it says which extra brings it.
        RuntimeError: If another engine is asked for, and Keras does not run on TensorFlow.
        ValueError: If there is no such engine, the model cannot be converted, or was exported for another.
    """
    if runtime is None:
        return model
    check_choice("runtime", runtime, get_args(Runtime))
    if isinstance(model, ExportedModel):
        if model.runtime != runtime:
            raise ValueError(
                f"runtime must be left out for {model.name}, which was exported for {model.runtime}, got "
                f"{runtime!r}"
            )
        return model
    key = runtime, recipe, _fingerprint(model)
    kept = getattr(model, "_kept_in_runtime", None)
    if kept is None or kept[0] != key:
        kept = key, _convert(model, recipe, runtime)
        model._kept_in_runtime = kept
    return kept[1]


def in_litert_if_better(model: keras.Model, recipe: Recipe) -> keras.Model | ExportedModel:
    """Return a model in LiteRT where that is quicker at one frame at a time, or else as it is.

    That is so of few weights, on a CPU; LiteRT must be installed (extra `litert`) and know all operations.
    """
    on_cpu = keras.backend.backend() == "tensorflow" and not _has_gpu()
    if not on_cpu or model.count_params() > _MOST_WEIGHTS:
        return model
    try:
        return in_runtime(model, recipe, "litert")
    except (ImportError, ValueError) as error:  # whatever LiteRT cannot do, TensorFlow can
        _logger.info("%s stays in TensorFlow: %s", model.name, error)
        return model


def _has_gpu() -> bool:
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def _fingerprint(model: keras.Model) -> bytes:
    """Tell the weights of a model from any others."""
    digest = hashlib.sha256()
    for weight in model.weights:
        digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(weight)))
    return digest.digest()


def _convert(model: keras.Model, recipe: Recipe, runtime: Runtime) -> ExportedModel:
    # The temperature is left to the recipe, which may be another one for the same model.
    inside, left = replace(recipe, temperature=1.0), exported_recipe(recipe)
    left = replace(left, temperature=recipe.temperature)
    parts = split_with_recipe(model, inside) or (with_recipe(model, inside),)
    *encoder, network = [_to_network(part, left, runtime) for part in parts]
    return ExportedModel.of_networks(model.name, network, *encoder)


def _to_network(model: keras.Model, recipe: Recipe, runtime: Runtime) -> Network:
    if runtime == "keras":
        return KerasNetwork(model, recipe)
    if runtime == "litert":
        return _to_litert(model, recipe)
    find_onnx_runtime()  # before the work
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        write_onnx(model, path, recipe)
        return load_network(path, threads=_count_threads(model))


def _to_litert(model: keras.Model, recipe: Recipe) -> LiteRTNetwork:
    interpreter_class = find_interpreter()
    content, outputs = convert_to_litert(model)
    interpreter = interpreter_class(model_content=content, num_threads=_count_threads(model))
    interpreter.allocate_tensors()
    inputs = {each["name"]: each for each in interpreter.get_input_details()}
    indices = [each["index"] for each in interpreter.get_output_details()]
    return LiteRTNetwork(interpreter, recipe, inputs, dict(zip(outputs, indices, strict=True)))


def _count_threads(model: keras.Model) -> int:
    try:
        return min(cpu_count(), 1 + count_multiply_adds(model) // _MULTIPLY_ADDS_PER_THREAD)
    except ValueError:  # of a layer whose cost nobody knows
        return 1
