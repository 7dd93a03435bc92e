"""Read published weights from files, without executing anything that stands in them.

PyTorch's `.pth` and `.pt` files are pickles, and unpickling runs whatever their maker wrote. So they are read
by PyTorch itself in the mode that builds tensors and plain containers and refuses all else. TensorFlow's
checkpoints and `.safetensors` hold numbers and names only.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import tarfile
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

# What belongs to training: counters, and what optimizers remember of each variable.
_OF_TRAINING = re.compile(
    r"(^|[./])(num_batches_tracked|global_step|save_counter|_CHECKPOINTABLE_OBJECT_GRAPH)($|/)"
    r"|/(Momentum|Adam(_1)?|RMSProp(_1)?|ExponentialMovingAverage)$|OPTIMIZER_SLOT|^optimizer/"
)
_OBJECTS = "_CHECKPOINTABLE_OBJECT_GRAPH"
_SAFE_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1", "BOOL": "?"}


def read_variables(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read all variables of a file of weights by name, but for those that only training needs.

    Args:
        path: A TensorFlow checkpoint (its `.index` file, its prefix, or a `.ckpt` of the old format), a
            `.tar.gz` with one inside, a `.safetensors` file, or a state dict that PyTorch saved.

    Returns:
        Name of each variable -> array, in the order and the layout of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no weights, or code.
        ImportError: If it needs PyTorch, which is not installed.
    """
    path = Path(path)
    if path.name.endswith((".tar.gz", ".tgz")) and path.is_file():
        with tempfile.TemporaryDirectory() as folder, tarfile.open(path) as archive:
            archive.extractall(folder, filter="data")
            return _read_checkpoint(_find_checkpoint(Path(folder), path))
    if path.with_name(f"{path.name}.index").is_file():
        return _read_checkpoint(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file of weights at {path}")
    if path.suffix == ".index":
        return _read_checkpoint(path.with_suffix(""))
    if path.suffix == ".ckpt":
        return _read_checkpoint(path)
    variables = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    return {name: array for name, array in variables.items() if not _OF_TRAINING.search(name)}


def _find_checkpoint(folder: Path, archive: Path) -> Path:
    found = [file.with_suffix("") for file in sorted(folder.rglob("*.index"))]
    found = found or sorted(folder.rglob("*.ckpt"))
    if len(found) != 1:
        raise ValueError(f"{archive} must hold one TensorFlow checkpoint, got {len(found)}")
    return found[0]


def _read_checkpoint(prefix: Path) -> dict[str, np.ndarray]:
    import tensorflow as tf

    try:
        reader = tf.train.load_checkpoint(str(prefix))
        keys = sorted(reader.get_variable_to_shape_map())
        names = _names_of_objects(reader) if _OBJECTS in keys else {}
        return {names.get(key, key): reader.get_tensor(key) for key in keys if not _OF_TRAINING.search(key)}
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise ValueError(f"{prefix} is not a whole TensorFlow checkpoint: {error}") from error


def _names_of_objects(reader) -> dict[str, str]:
    """For a checkpoint of TensorFlow 2, whose keys are ways through objects: key -> name of the variable."""
    from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

    graph = TrackableObjectGraph.FromString(reader.get_tensor(_OBJECTS))
    found = [each for node in graph.nodes for each in node.attributes if each.full_name]
    counts = Counter(each.full_name for each in found)
    return {each.checkpoint_key: each.full_name for each in found if counts[each.full_name] == 1}


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Read the format of Hugging Face: the length of a JSON header, the header, and plain numbers."""
    content = path.read_bytes()
    try:
        start = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:start])
        header.pop("__metadata__", None)
        return {name: _tensor(content[start:], entry) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a .safetensors file that can be read: {error}") from error


def _tensor(numbers: bytes, entry: dict) -> np.ndarray:
    if entry["dtype"] not in _SAFE_DTYPES:
        raise ValueError(f"numbers must be of type {', '.join(_SAFE_DTYPES)}, got {entry['dtype']}")
    first, end = entry["data_offsets"]
    return np.frombuffer(numbers[first:end], _SAFE_DTYPES[entry["dtype"]]).reshape(entry["shape"])


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f'reading {path} needs PyTorch: pip install "harkeras[torch]", or have the file converted to '
            ".safetensors"
        ) from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"{path} is not a state dict of PyTorch with tensors alone: {reason}") from error
    while isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a state dict, got {type(content).__name__}")
    tensors = {name: value for name, value in content.items() if isinstance(value, torch.Tensor)}
    # "module." stands before the names of a network that was trained on several GPUs.
    return {name.removeprefix("module."): tensor.numpy() for name, tensor in tensors.items()}
