import os
import pickle

import pytest

from harkeras.base.storage import Folder, is_remote, open_remote

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")


@pytest.fixture
def memory():
    """A file system that nobody else uses."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


@pytest.fixture(params=["disk", "memory"])
def folder(request, tmp_path, memory):
    return Folder(tmp_path / "a" if request.param == "disk" else "memory://bucket/a")


def test_what_is_written_is_read(folder):
    assert folder.read("deep/x.json") is None
    folder.write("deep/x.json", b"one")
    folder.write("deep/x.json", b"two")
    assert pickle.loads(pickle.dumps(folder)).read("deep/x.json") == b"two"
    folder.check("deep/x.json", "output_dir")
    assert folder.read("deep/x.json") == b"two"


def test_nothing_half_written_has_a_name(memory, monkeypatch, tmp_path):
    folder = Folder("memory://bucket/a")
    folder.write("x", b"old")

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(memory), "mv", fail)
    with pytest.raises(OSError, match="No space left"):
        folder.write("x", b"new")
    assert [memory.cat_file(path) for path in memory.find("/bucket")] == [b"old"]

    monkeypatch.setattr(os, "fsync", fail)
    folder = Folder(tmp_path)
    with pytest.raises(OSError, match="No space left"):
        folder.write("x", b"new")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("place", "remote"),
    [
        ("s3://bucket/clips/*.mp4", True),
        ("memory://a", True),
        ("https://x.org/a.mp4", False),
        ("rtsp://camera", False),
        ("clips/a.mp4", False),
        ("C:\\clips", False),
    ],
)
def test_addresses(place, remote):
    assert is_remote(place) is remote


def test_no_folder(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="must be a folder, got a file"):
        Folder(tmp_path / "file")
    with pytest.raises(ValueError, match="Protocol not known"):
        Folder("nowhere://x")
    monkeypatch.setitem(__import__("sys").modules, "fsspec.core", None)
    with pytest.raises(ImportError, match=r'pip install "harkeras\[storage\]"'):
        open_remote("memory://x")
