"""Clips on disk or elsewhere, a file for each: for data sets that many workers write and many hosts read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harkeras.base.array_files import ArrayFiles
from harkeras.base.workers import in_order


class Kept(NamedTuple):
    """Name of the file of a clip."""

    name: str


class ClipFiles:
    """An array of clips (N, T, H, W, C) that are read from their files when they are asked for.

    Args:
        files: Where they are.
        names: The N files.
        dtype: Of the clips.
    """

    def __init__(self, files: ArrayFiles, names: Sequence[str], dtype: np.dtype):
        """Read nothing yet."""
        self._files, self._names, self.dtype = files, np.array(names), dtype
        self.shape = (len(names), *files.shape)

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self._names)

    def __getitem__(self, rows: int | slice | np.ndarray) -> np.ndarray:
        """Read some of the clips, in threads."""
        names = self._names[rows]
        if names.ndim == 0:
            return self._read(str(names))
        clips = np.empty((len(names), *self.shape[1:]), self.dtype)
        for row, clip in enumerate(in_order(self._read, names.tolist())):
            clips[row] = clip
        return clips

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        """Read all of them into memory."""
        return np.asarray(self[:], dtype=dtype)

    def _read(self, name: str) -> np.ndarray:
        clip = self._files.read(name)
        if clip is None:
            raise OSError(f"{self._files.folder.path(name)} is missing or damaged: call create_dataset again")
        return clip


def keep_clip(read: Callable[[Path], np.ndarray | str], files: ArrayFiles, path: Path) -> Kept | str:
    """Write the file of a clip where there is none, and return its name, or why there is none."""
    name = files.name(path)
    if files.read(name) is None:
        clip = read(path)
        if isinstance(clip, str):
            return clip
        files.write(name, clip)
    return Kept(str(name))
