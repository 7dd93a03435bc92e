"""Networks that left Keras, run by the engines that phones, browsers and servers have.

`harkeras.deploy.export_model` writes them. Each is one file with its recipe inside: ONNX keeps it among its
metadata, LiteRT in a ZIP archive behind the network, as its own metadata are kept. `runtime=` makes them in
memory.
"""

from __future__ import annotations

import os
import threading
import zipfile
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from joblib import cpu_count

from harkeras.models.compiled import compile_call
from harkeras.recipe import Recipe

RECIPE_KEY = "harkeras.recipe"  # in ONNX's metadata
RECIPE_FILE = "recipe.json"  # in the archive behind a LiteRT file, in a SavedModel's assets.extra
NEXT = "next_"  # before the name of a state that an ONNX network gives
SUFFIXES = (".onnx", ".tflite")  # of networks that are one file


class Network(Protocol):
    """A network in some engine.

    Attributes:
        runtime: Name of the engine.
        recipe: What it must be shown, and what its outputs mean.
        inputs: Name of each input -> its shape, with None for what may vary, and its dtype.
    """

    runtime: str
    recipe: Recipe
    inputs: dict[str, tuple[tuple[int | None, ...], np.dtype]]

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Give each input its array; return each output's by name."""
        ...


def load_network(path: str | os.PathLike, *, threads: int | None = None) -> Network:
    """Open a `.onnx` or `.tflite` file, or the folder of a SavedModel, that `export_model` wrote.

    Args:
        path: The file or folder.
        threads: How many threads the engine uses; all cores by default.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If the engine is not installed; it says which extra brings it.
        ValueError: If it is no such file, or has no recipe.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no exported model at {path}")
    if is_saved_model(path):
        return _SavedModel(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"path must be a .onnx or .tflite file or the folder of a SavedModel, got {path}")
    return _OnnxNetwork(path, threads) if path.suffix == ".onnx" else LiteRTNetwork.of_file(path, threads)


def is_saved_model(path: Path) -> bool:
    """Whether a folder holds a SavedModel."""
    return (path / "saved_model.pb").is_file()


def has_recipe(saved_model: Path) -> bool:
    """Whether a SavedModel has a recipe, and thus was exported here."""
    return (saved_model / "assets.extra" / RECIPE_FILE).is_file()


class _OnnxNetwork:
    """A network in ONNX Runtime."""

    runtime = "onnx"

    def __init__(self, path: Path, threads: int | None):
        onnxruntime = find_onnx_runtime()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the engine's errors have no common class
            raise ValueError(f"{path} must be a network in ONNX: {str(error)[:300]}") from error
        text = self._session.get_modelmeta().custom_metadata_map.get(RECIPE_KEY)
        self.recipe = _read_recipe(path, text)
        self.inputs = {
            each.name: (
                tuple(size if isinstance(size, int) else None for size in each.shape),
                np.dtype({"tensor(float)": "float32"}.get(each.type, each.type[len("tensor(") : -1])),
            )
            for each in self._session.get_inputs()
        }
        self._outputs = [each.name for each in self._session.get_outputs()]

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Give each input its array; return each output's by name."""
        return dict(zip(self._outputs, self._session.run(None, inputs), strict=True))


class LiteRTNetwork:
    """A network in LiteRT, of one clip at a time."""

    runtime = "litert"

    def __init__(
        self, interpreter: Any, recipe: Recipe, inputs: dict[str, dict[str, Any]], outputs: dict[str, int]
    ):
        """Take a network over.

        Args:
            interpreter: An `ai_edge_litert.interpreter.Interpreter`, with its tensors allocated.
            recipe: What the network must be shown, and what its outputs mean.
            inputs: Name of each input -> what the interpreter says of it.
            outputs: Name of each output -> its index.
        """
        self.recipe, self._interpreter, self._outputs = recipe, interpreter, outputs
        self.inputs = {
            name: (tuple(map(int, d["shape"])), np.dtype(d["dtype"])) for name, d in inputs.items()
        }
        self._indices = {name: d["index"] for name, d in inputs.items()}
        self._lock = threading.Lock()  # an interpreter computes one thing at a time

    @classmethod
    def of_file(cls, path: Path, threads: int | None) -> LiteRTNetwork:
        """Open a file that `export_model` wrote."""
        interpreter_class = find_interpreter()
        try:
            with zipfile.ZipFile(path) as archive:
                text = archive.read(RECIPE_FILE).decode()
        except (zipfile.BadZipFile, KeyError, UnicodeDecodeError):
            text = None
        recipe = _read_recipe(path, text)
        try:
            interpreter = interpreter_class(str(path), num_threads=threads or cpu_count())
            interpreter.allocate_tensors()
            signature = interpreter.get_signature_runner()
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"{path} must be a network in LiteRT: {str(error)[:300]}") from error
        outputs = {name: each["index"] for name, each in signature.get_output_details().items()}
        return cls(interpreter, recipe, signature.get_input_details(), outputs)

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Give each input its array, row by row; return each output's by name."""
        (count,) = {len(array) for array in inputs.values()}
        with self._lock:
            rows = [self._run({name: x[i : i + 1] for name, x in inputs.items()}) for i in range(count)]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    def _run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        for name, array in inputs.items():
            self._interpreter.set_tensor(self._indices[name], array)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}


def find_onnx_runtime() -> Any:
    """Return the module of ONNX Runtime; raise ImportError if it is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError('ONNX needs onnxruntime: pip install "harkeras[onnx]"') from error
    return onnxruntime


def find_interpreter() -> Any:
    """Return LiteRT's class of interpreters; raise ImportError if it is not installed."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ImportError('LiteRT needs ai-edge-litert: pip install "harkeras[litert]"') from error
    return Interpreter


class _SavedModel:
    """A network in TensorFlow."""

    runtime = "saved_model"

    def __init__(self, path: Path):
        import tensorflow as tf

        recipe = path / "assets.extra" / RECIPE_FILE
        self.recipe = _read_recipe(path, recipe.read_text(encoding="utf-8") if has_recipe(path) else None)
        self._model = tf.saved_model.load(path)
        self._run = self._model.signatures["serving_default"]
        inputs = self._run.structured_input_signature[1]
        self.inputs = {name: (tuple(x.shape), np.dtype(x.dtype.as_numpy_dtype)) for name, x in inputs.items()}

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Give each input its array; return each output's by name."""
        return {name: output.numpy() for name, output in self._run(**inputs).items()}


class KerasNetwork:
    """A network that stays in Keras."""

    runtime = "keras"

    def __init__(self, model: keras.Model, recipe: Recipe):
        """Compile the network for any number of clips at a time."""
        self.recipe, self._model = recipe, model
        self.inputs = {x.name: (tuple(x.shape), np.dtype(x.dtype)) for x in model.inputs}
        shown = {x.name: keras.KerasTensor((None, *x.shape[1:]), x.dtype) for x in model.inputs}
        if not isinstance(model.input, dict):
            (shown,) = shown.values()
        self._compiled = compile_call(model, shown, lambda inputs: inputs)

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Give each input its array; return each output's by name."""
        if not isinstance(self._model.input, dict):
            (inputs,) = inputs.values()
        outputs = self._compiled(inputs)
        outputs = outputs if isinstance(outputs, dict) else {"probabilities": outputs}
        return {name: np.asarray(output) for name, output in outputs.items()}


def _read_recipe(path: Path, text: str | None) -> Recipe:
    if text is None:
        raise ValueError(
            f"{path} has no recipe: what harkeras.export_model writes has one; of a network of others, build "
            "the model in Keras and load the weights into it"
        )
    try:
        return Recipe.from_json(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
