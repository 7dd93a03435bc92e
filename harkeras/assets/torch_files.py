"""Read the tensors that PyTorch saved, without PyTorch, and without executing anything that stands in a file.

A `.pth` or `.pt` file is a pickle: a small program, whose instructions may call any function of any package.
Python's own reader obeys them. This one knows the instructions that build numbers, text, lists and
dictionaries, and a few names that stand for tensors; it calls nothing, and refuses everything else.

The numbers lie beside the program, in a ZIP archive (since PyTorch 1.6) or one behind the other in one file
(before). A tensor is a view of them, with an offset, a shape and strides: in files that were converted from
another framework axes are often swapped that way, and whoever reads the numbers in their order gets noise.
"""

from __future__ import annotations

import math
import os
import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np
from numpy.lib.stride_tricks import as_strided

_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a file without a ZIP archive
_PROTOCOL = 1001  # the second
_WRAPPERS = 3  # dictionaries around the state dict, at most

_TYPES = {
    "Double": "f8", "Float": "f4", "Half": "f2", "BFloat16": ml_dtypes.bfloat16, "Long": "i8", "Int": "i4",
    "Short": "i2", "Char": "i1", "Byte": "u1", "Bool": "?",
}  # fmt: skip


class _Storage(NamedTuple):
    """Where numbers lie: their type, and the key of the block that holds them."""

    dtype: np.dtype
    key: str


class _Tensor(NamedTuple):
    """A view of a storage: the first arguments of `torch._utils._rebuild_tensor_v2`."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_state_dict(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read the tensors of a state dict that PyTorch saved, alone or as "state_dict" inside a checkpoint.

    Args:
        path: The file, of any version since PyTorch 0.1.10.

    Returns:
        Name of each tensor -> array, C-contiguous, in the order and the layout of the file. bfloat16, which
        NumPy has not, comes as float32. "module." before all names, of a network that was trained on several
        GPUs, is left out.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds anything but tensors and plain values, or no tensors, or is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file of weights at {path}")
    try:
        content, blocks = (_read_archive if zipfile.is_zipfile(path) else _read_legacy)(path)
        state = _find_tensors(content)
        size = path.stat().st_size
        return {str(name).removeprefix("module."): _view(x, blocks, size) for name, x in state.items()}
    except Exception as error:  # a damaged file may raise any kind
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ValueError(f"{path} is not a state dict of PyTorch with tensors alone: {reason}") from error


def _find_tensors(content: Any) -> dict[Any, _Tensor]:
    """Return the tensors of a dictionary by name, or of the one called "state_dict" inside it."""
    for _ in range(_WRAPPERS):
        if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
            content = content["state_dict"]
    if not isinstance(content, dict):
        raise ValueError(f"it holds no state dict, but {type(content).__name__}")
    tensors = {name: value for name, value in content.items() if isinstance(value, _Tensor)}
    if not tensors:
        raise ValueError("it holds no tensors, neither at its top nor as 'state_dict'")
    return tensors


def _read_archive(path: Path) -> tuple[Any, dict[str, bytes]]:
    """Read a ZIP archive: the content, and the blocks of numbers by key."""
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
        if size > path.stat().st_size:  # PyTorch does not compress: a small file could fill the memory
            raise ValueError(f"it would unpack to {size} bytes")
        (program,) = (name for name in archive.namelist() if name.split("/")[-1] == "data.pkl")
        folder = program.removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError("its numbers are big-endian")
        with archive.open(program) as file:
            content, storages = _unpickle(file)
        return content, {key: archive.read(f"{folder}data/{key}") for key in storages}


def _read_legacy(path: Path) -> tuple[Any, dict[str, bytes]]:
    """Read five pickles and the blocks of numbers behind them."""
    with path.open("rb") as file:
        if _unpickle(file)[0] != _MAGIC or _unpickle(file)[0] != _PROTOCOL:
            raise ValueError("it begins as no file of PyTorch does")
        if _unpickle(file)[0].get("little_endian") is not True:
            raise ValueError("its numbers are big-endian")
        content, storages = _unpickle(file)
        blocks, left = {}, path.stat().st_size
        for key in _unpickle(file)[0]:
            size = int.from_bytes(file.read(8), "little") * storages[key].itemsize
            if size > left:
                raise ValueError("it was cut short")
            blocks[key] = file.read(size)
            left -= size
    return content, blocks


def _view(tensor: _Tensor, blocks: dict[str, bytes], file_bytes: int) -> np.ndarray:
    """Return the numbers of a tensor in the order of its axes."""
    storage, offset, shape, strides = tensor
    for numbers in ([offset], shape, strides):
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError(f"a tensor has the offset, shape or strides {numbers}")
    if math.prod(shape) * storage.dtype.itemsize > file_bytes:
        raise ValueError(f"a tensor of shape {shape} is larger than the file")
    if 0 in shape:
        return np.zeros(shape, storage.dtype)
    numbers = np.frombuffer(blocks[storage.key], storage.dtype)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if last >= len(numbers):
        raise ValueError(f"a tensor of shape {shape} reaches beyond its {len(numbers)} numbers")
    steps = [stride * storage.dtype.itemsize for stride in strides]
    array = as_strided(numbers[offset:], shape, steps)
    return np.array(array, np.float32 if storage.dtype == ml_dtypes.bfloat16 else None, order="C")


def _rebuild_tensor(storage, offset, shape, strides, *_) -> _Tensor:
    """Stand for `torch._utils._rebuild_tensor` and `_rebuild_tensor_v2`."""
    if not isinstance(storage, _Storage):
        raise ValueError("a tensor has no storage")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


# What a name in the file stands for; those of storages stand for the type of their numbers.
_NAMES: dict[str, Callable | np.dtype] = {
    "collections OrderedDict": dict,
    "torch._utils _rebuild_tensor": _rebuild_tensor,
    "torch._utils _rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils _rebuild_parameter": lambda tensor, *_: tensor,
    **{f"torch {name}Storage": np.dtype(dtype) for name, dtype in _TYPES.items()},
}
_IGNORED = {"PROTO", "FRAME"}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LAST_OF_TUPLE = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_OPERANDS = {
    "BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE",
    "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES",
}  # fmt: skip


class _Machine:
    """Builds what the instructions of a pickle describe."""

    def __init__(self):
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, np.dtype] = {}

    def run(self, name: str, operand: Any) -> None:
        """Follow one instruction.

        Raises:
            ValueError: If it is none of those that tensors and plain values need.
        """
        stack = self.stack
        if name in _IGNORED:
            return
        if name in _OPERANDS:
            stack.append(operand)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if name == "MEMOIZE" else operand] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[operand])
        elif name == "MARK":
            self.marks.append(len(stack))
        elif name in _LAST_OF_TUPLE:
            stack.append(tuple(self._pop(_LAST_OF_TUPLE[name])))
        elif name in ("TUPLE", "LIST"):
            stack.append((tuple if name == "TUPLE" else list)(self._pop()))
        elif name in ("APPEND", "APPENDS"):
            items = self._pop(1 if name == "APPEND" else None)
            self._top(list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = self._pop(2 if name == "SETITEM" else None)
            self._top(dict).update(zip(items[::2], items[1::2], strict=True))
        else:
            self._build(name, operand)

    def _build(self, name: str, operand: Any) -> None:
        """Follow an instruction that stands for a call, of which only those of tensors have a meaning."""
        if name == "GLOBAL":
            if operand not in _NAMES:
                raise ValueError(f"it names {operand.replace(' ', '.')}, which is no part of a tensor")
            self.stack.append(_NAMES[operand])
        elif name == "BINPERSID":
            (said,) = self._pop(1)
            kind, dtype, key, *_ = said
            if kind != "storage" or not isinstance(dtype, np.dtype):
                raise ValueError(f"it refers to {kind}, which is no storage of numbers")
            if self.storages.setdefault(str(key), dtype) != dtype:
                raise ValueError(f"storage {key} has two types")
            self.stack.append(_Storage(dtype, str(key)))
        elif name == "REDUCE":
            function, arguments = self._pop(2)
            if not any(function is each for each in _NAMES.values()) or isinstance(function, np.dtype):
                raise ValueError("it calls what is no part of a tensor")
            self.stack.append(function(*arguments))
        elif name == "BUILD":  # the versions of modules, which PyTorch keeps beside a state dict
            self._pop(1)
            self._top(dict)
        else:
            raise ValueError(f"it has the instruction {name}, which no tensor needs")

    def _pop(self, count: int | None = None) -> list[Any]:
        """Take the last items from the stack, by default those behind the last mark."""
        start = self.marks.pop() if count is None else len(self.stack) - count
        if not 0 <= start <= len(self.stack):
            raise ValueError("its instructions take more than there is")
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def _top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise ValueError(f"its instructions take a {type(self.stack[-1]).__name__} for a {kind.__name__}")
        return self.stack[-1]


def _unpickle(file: BinaryIO) -> tuple[Any, dict[str, np.dtype]]:
    """Read one pickle; return its content, and the type of each storage that it refers to."""
    machine = _Machine()
    for instruction, operand, _ in pickletools.genops(file):
        if instruction.name != "STOP":
            machine.run(instruction.name, operand)
    (content,) = machine.stack
    return content, machine.storages
