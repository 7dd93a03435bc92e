"""Read published weights from files, without executing anything that stands in them.

PyTorch's `.pth` and `.pt` files are pickles, and unpickling runs whatever their maker wrote: they have a
reader of their own, `harkeras.assets.torch_files`. TensorFlow's checkpoints and `.safetensors` hold numbers
and names only.
"""

from __future__ import annotations

import os
import re
import tarfile
import tempfile
import zlib
from collections import Counter
from pathlib import Path

import ml_dtypes  # noqa: F401  (NumPy knows bfloat16 once it is imported)
import numpy as np
from safetensors import SafetensorError, safe_open

from harkeras.assets.torch_files import read_state_dict

# What belongs to training: counters, and what optimizers remember of each variable.
_OF_TRAINING = re.compile(
    r"(^|[./])(num_batches_tracked|global_step|save_counter|_CHECKPOINTABLE_OBJECT_GRAPH)($|/)"
    r"|/(Momentum|Adam(_1)?|RMSProp(_1)?|ExponentialMovingAverage)$|OPTIMIZER_SLOT|^optimizer/"
)
_OBJECTS = "_CHECKPOINTABLE_OBJECT_GRAPH"
_LARGEST_ARCHIVE = 8 << 30  # bytes; published checkpoints of videos have less than one hundredth
_KINDS = (
    "a checkpoint of TensorFlow (.index, .ckpt or .tar.gz), a .safetensors file, or a state dict of PyTorch "
    "(.pth, .pt)"
)


def read_variables(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read all variables of a file of weights by name, but for those that only training needs.

    Args:
        path: A TensorFlow checkpoint (its `.index` file, its prefix, or a `.ckpt` of the old format), a
            `.tar.gz` with one inside, a `.safetensors` file, or a state dict that PyTorch saved.

    Returns:
        Name of each variable -> array, in the order and the layout of the file. Numbers of a type that NumPy
        has not, such as bfloat16, come as float32.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no weights, or code, or is damaged; it names the file.
    """
    path = Path(path)
    if path.with_name(f"{path.name}.index").is_file():
        return _read_checkpoint(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; a file of weights must be {_KINDS}")
    if not path.is_file():
        raise FileNotFoundError(f"no file of weights at {path}")
    with path.open("rb") as file:  # content decides: a .ckpt may be TensorFlow's or PyTorch's
        start = file.read(9)
    if start[:2] == b"\x1f\x8b" or path.suffix in (".tgz", ".tar"):
        return _read_archive(path)
    if path.suffix == ".index":
        return _read_checkpoint(path.with_suffix(""))
    if start[8:] == b"{" or (path.suffix == ".safetensors" and start[:2] != b"PK"):
        variables = _read_safetensors(path)
    elif start[:1] == b"\x80" or start[:4] == b"PK\x03\x04":  # a pickle, alone or in a ZIP archive
        variables = read_state_dict(path)
    elif path.suffix == ".ckpt":
        return _read_checkpoint(path)
    else:
        raise ValueError(f"{path} is not a file of weights, or is damaged: it must be {_KINDS}")
    return {name: array for name, array in variables.items() if not _OF_TRAINING.search(name)}


def _read_archive(path: Path) -> dict[str, np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        try:
            with tarfile.open(path) as archive:
                _check_size(archive)
                archive.extractall(folder, filter="data")
        except (tarfile.TarError, zlib.error, EOFError, ValueError, OSError) as error:
            raise ValueError(f"{path} is not a whole .tar.gz of a TensorFlow checkpoint: {error}") from error
        prefixes = [file.with_suffix("") for file in sorted(Path(folder).rglob("*.index"))]
        prefixes = prefixes or sorted(Path(folder).rglob("*.ckpt"))
        if len(prefixes) != 1:
            raise ValueError(f"{path} must hold one TensorFlow checkpoint, got {len(prefixes)}")
        return _read_checkpoint(prefixes[0], path)


def _check_size(archive: tarfile.TarFile) -> None:
    """Read the list of members as far as they may be unpacked: a small archive can fill a disk."""
    size = 0
    for member in archive:
        size += member.size
        if size > _LARGEST_ARCHIVE:
            raise ValueError(f"it would fill more than {_LARGEST_ARCHIVE >> 30} GiB")


def _read_checkpoint(prefix: Path, archive: Path | None = None) -> dict[str, np.ndarray]:
    import tensorflow as tf

    try:
        reader = tf.train.load_checkpoint(str(prefix))
        keys = sorted(reader.get_variable_to_shape_map())
        names = _names_of_objects(reader) if _OBJECTS in keys else {}
        variables = {key: reader.get_tensor(key) for key in keys if not _OF_TRAINING.search(key)}
    except Exception as error:  # a damaged file has many kinds of them, also of Protocol Buffers
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{archive or prefix} is not a whole TensorFlow checkpoint: {reason}") from error
    return {names.get(key, key): value for key, value in variables.items()}


def _names_of_objects(reader) -> dict[str, str]:
    """For a checkpoint of TensorFlow 2, whose keys are ways through objects: key -> name of the variable."""
    from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

    graph = TrackableObjectGraph.FromString(reader.get_tensor(_OBJECTS))
    attributes = [attribute for node in graph.nodes for attribute in node.attributes if attribute.full_name]
    counts = Counter(attribute.full_name for attribute in attributes)
    return {each.checkpoint_key: each.full_name for each in attributes if counts[each.full_name] == 1}


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        with safe_open(path, "np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, AttributeError, TypeError, ValueError) as error:
        # AttributeError and TypeError: numbers of a type that neither NumPy nor ml_dtypes names so.
        raise ValueError(f"{path} is not a .safetensors file that can be read: {error}") from error
    return {name: x if x.dtype.isbuiltin == 1 else x.astype(np.float32) for name, x in arrays.items()}
