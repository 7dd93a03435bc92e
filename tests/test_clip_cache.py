"""A cache whose process is killed at any step goes on or starts anew, and never gives wrong pixels."""

import os
import sys
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harkeras.data import _clip_cache
from harkeras.data._clip_cache import through_cache

SHAPE = (1, 2, 2, 3)
BAD = "unreadable"


def clip_of(content, setting):
    """The pixels of a file: all of one value, that of its content."""
    return np.full(SHAPE, zlib.crc32(f"{content}{setting}".encode()) % 251, np.uint8)


def open_cache(cache, folder, setting):
    """Open the cache of a folder; check that each clip has the pixels of its file, and that none is
    missing."""
    videos = sorted(folder.iterdir())
    contents = [path.read_text() for path in videos]

    def read(rows):
        for row in rows:
            yield BAD if contents[row] == BAD else clip_of(contents[row], setting)

    reader = SimpleNamespace(paths=videos, shape=SHAPE, dtype=np.dtype(np.uint8), read=read, strict=False)
    array, skipped = through_cache(cache, [setting], reader, folder)
    expected = [clip_of(content, setting) for content in contents if content != BAD]
    assert np.array_equal(array, np.reshape(expected, (-1, *SHAPE)))
    assert skipped == {row: BAD for row, content in enumerate(contents) if content == BAD}


def run(cache, folder, setting, kill_at):
    """Open the cache in a process of its own, which is gone without a word at a line of the module."""
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    left = kill_at

    def trace(frame, event, _):
        nonlocal left
        if frame.f_code.co_filename != _clip_cache.__file__:
            return None
        left -= event == "line"
        if not left:
            os._exit(9)
        return trace

    try:
        sys.settrace(trace)
        open_cache(cache, folder, setting)
        os._exit(0)
    finally:
        os._exit(1)


CHANGES = st.none() | st.tuples(
    st.sampled_from(["a.mp4", "b.mp4", "d.mp4"]), st.sampled_from(["1", "2", BAD])
)
# A run that is left alone passes about 190 lines; the first clip is whole after about 100.
LINES = st.integers(80, 220) | st.integers(1, 80)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(CHANGES, st.sampled_from("xy"), LINES), min_size=1, max_size=4))
def test_a_cache_that_is_killed_at_any_step(tmp_path_factory, runs):
    folder = tmp_path_factory.mktemp("videos")
    cache = tmp_path_factory.mktemp("cache") / "features.npy"
    for name in "abc":
        (folder / f"{name}.mp4").write_text(name)
    for change, setting, kill_at in runs:
        if change is not None:
            (folder / change[0]).write_text(change[1])
        assert run(cache, folder, setting, kill_at) in (0, 9)
    open_cache(cache, folder, "x")
    # The journal stays where a run ended between giving the array its name and removing the journal; with its
    # part, where a run of the other setting was killed and the array of this one was whole before.
    left = {path.name for path in cache.parent.iterdir()} - {".features.npy.lock", ".features.npy.journal"}
    parted = any(setting == "y" for _, setting, _ in runs)
    assert left - ({".features.npy.part"} if parted else set()) == {"features.npy"}


@pytest.mark.parametrize("kill_at", [1, 10**6])
def test_a_run_is_killed_or_ends(tmp_path, kill_at):
    """Else the test above would prove nothing."""
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "a.mp4").write_text("0")
    assert run(tmp_path / "features.npy", folder, "x", kill_at) == (9 if kill_at == 1 else 0)
