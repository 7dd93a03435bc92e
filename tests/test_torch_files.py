"""Files of PyTorch are read without it, as it reads them, and nothing that stands in them is executed."""

import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from published_files import save_torch

from harkeras.assets.torch_files import read_state_dict

RNG = np.random.default_rng(27)
KERNEL = RNG.normal(size=(4, 3, 5, 5)).astype(np.float32)
FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


@FORMATS
def test_axes_that_were_swapped(tmp_path, zipped):
    """The numbers lie in another order than the axes of the tensor, as in files converted from TensorFlow."""
    theirs = np.ascontiguousarray(KERNEL.transpose(2, 3, 1, 0))  # (H, W, in, out), as TensorFlow has them
    strides = [theirs.strides[axis] // 4 for axis in (3, 2, 0, 1)]
    views = [("swapped", "theirs", 0, KERNEL.shape, strides)]
    views += [
        ("part", "theirs", 7, (2, 3), (10, 1)),
        ("scalar", "theirs", 5, (), ()),
        ("none", "theirs", 0, (0, 3), (3, 1)),
    ]
    state = read_state_dict(save_torch(tmp_path / "x.pth", {"theirs": theirs}, views, zipped=zipped))
    assert list(state) == ["theirs", "swapped", "part", "scalar", "none"]
    np.testing.assert_array_equal(state["swapped"], KERNEL)
    assert state["swapped"].flags.c_contiguous
    flat = theirs.ravel()
    np.testing.assert_array_equal(state["part"], [flat[7:10], flat[17:20]])
    assert (state["scalar"].shape, state["scalar"]) == ((), flat[5])
    assert state["none"].shape == (0, 3)


@FORMATS
@pytest.mark.parametrize(
    ("view", "reason"),
    [
        ((0, (301,), (1,)), "reaches beyond its 300 numbers"),
        ((1, (2, 150), (150, 1)), "reaches beyond its 300 numbers"),
        ((-1, (2,), (1,)), "has the offset, shape or strides"),
        ((0, (-2,), (1,)), "has the offset, shape or strides"),
        ((10, (3,), (-1,)), "has the offset, shape or strides"),
        ((0, (10**6, 10**6), (0, 0)), "larger than the file"),
        ((0, (2, 2), (1,)), "zip"),
    ],
)
def test_a_tensor_stays_inside_its_numbers(tmp_path, zipped, view, reason):
    path = save_torch(tmp_path / "x.pth", {"a": KERNEL}, [("b", "a", *view)], zipped=zipped)
    with pytest.raises(
        ValueError, match=rf"x\.pth is not a state dict of PyTorch with tensors alone: .*{reason}"
    ):
        read_state_dict(path)


class Call:
    """Pickled, a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "call", [Call(eval, "open('executed', 'w')"), Call(open, "executed", "w"), Call(np.dtype, "f4")]
)
def test_nothing_is_executed(tmp_path, monkeypatch, protocol, call):
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps({"a": call}, protocol)
    start = [pickle.dumps(each, 2) for each in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    (tmp_path / "legacy.pth").write_bytes(b"".join([*start, content, pickle.dumps([], 2)]))
    with zipfile.ZipFile("zipped.pth", "w") as archive:
        archive.writestr("archive/data.pkl", content)
    for name in ("legacy.pth", "zipped.pth"):
        with pytest.raises(ValueError, match=rf"{name} is not .*: it (names|has the instruction) "):
            read_state_dict(name)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"a": 3}, "it holds no tensors"),
        ([1, 2], "it holds no state dict, but list"),
        (OrderedDict(a=1), "it holds no tensors"),
    ],
)
def test_what_is_no_state_dict(tmp_path, content, reason):
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(content, 2))
    with pytest.raises(ValueError, match=rf"x\.pth is not .*: {reason}"):
        read_state_dict(tmp_path / "x.pth")


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file of weights at .*x\.pth"):
        read_state_dict(tmp_path / "x.pth")


@FORMATS
def test_as_pytorch_reads(tmp_path, zipped):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    names = "float64 float32 float16 int64 int32 int16 int8 uint8 bool".split()
    state = OrderedDict({name: torch.arange(24).reshape(2, 3, 4).to(getattr(torch, name)) for name in names})
    state["swapped"] = state["float32"].permute(2, 0, 1)
    state["shared"] = state["float32"][1, 1:]
    state["bfloat16"] = torch.linspace(-3, 3, 7).bfloat16()
    state["parameter"] = torch.nn.Parameter(torch.ones(3)[:2])
    state["empty"] = torch.zeros(0, 3)
    state._metadata = {"": {"version": 2}}
    checkpoint = {"epoch": 3, "best": 0.5, "state_dict": {f"module.{k}": v for k, v in state.items()}}
    for content in (state, checkpoint):
        torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
        read = read_state_dict(tmp_path / "x.pth")
        assert list(read) == list(state)
        for name, tensor in state.items():
            expected = (tensor.float() if name == "bfloat16" else tensor).detach().numpy()
            assert (read[name].dtype, read[name].shape) == (expected.dtype, expected.shape)
            np.testing.assert_array_equal(read[name], expected)


def test_without_pytorch(tmp_path):
    path = save_torch(tmp_path / "x.pth", {"a": KERNEL})
    code = f"""
import sys
from harkeras.assets.torch_files import read_state_dict
assert read_state_dict({str(path)!r})["a"].shape == (4, 3, 5, 5)
assert not {{"torch", "tensorflow", "keras"}} & set(sys.modules)"""
    subprocess.run([sys.executable, "-c", code], check=True)
