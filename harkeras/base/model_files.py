"""Where saved models lie in a folder; nothing is loaded, so that Keras is not needed to list them."""

from __future__ import annotations

import os
from pathlib import Path

# The model in the folder of a run.
MODEL_FILE = "model.keras"


def find_model_file(path: str | os.PathLike) -> Path:
    """Return the file of a model: the path itself or, of the folder of a run, `model.keras` inside."""
    path = Path(path)
    return path / MODEL_FILE if (path / MODEL_FILE).is_file() else path


def list_saved(folder: str | os.PathLike = "saved_models") -> list[Path]:
    """List what was saved in a folder, the newest first: folders of runs, and `.keras` files."""
    folder = Path(folder)
    files = [*folder.glob("*.keras"), *(run / MODEL_FILE for run in folder.glob("*/"))]
    files = [path for path in files if path.is_file() and not path.name.startswith(".")]
    files.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return [path if path.parent == folder else path.parent for path in files]


def newest_model(folder: str | os.PathLike = "saved_models") -> Path:
    """Return what was saved last in a folder: a run, that is, a folder with a model, or a `.keras` file.

    Raises:
        FileNotFoundError: If there is neither.
    """
    saved = list_saved(folder)
    if not saved:
        raise FileNotFoundError(f"no model in {folder}")
    return saved[0]
