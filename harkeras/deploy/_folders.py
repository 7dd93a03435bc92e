"""A folder that is written whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harkeras.base.files import naming, partial_name


@contextmanager
def folder_written_whole(path: str | os.PathLike) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; when the block ends, it gets that name.

    Raises:
        ValueError: If `path` is there and is no empty folder: what lies in it may be somebody's.
        OSError: If it cannot be written.
    """
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"path must be a new folder, got {path}, which is there")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_name(path)
    try:
        with naming(path):
            partial.mkdir()
            yield partial
            partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
