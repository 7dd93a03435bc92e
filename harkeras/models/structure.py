"""A picture of a model's layers."""

from __future__ import annotations

import os
import shutil
import warnings
from importlib.util import find_spec
from pathlib import Path

import keras

from harkeras.base.files import write_text, written_whole

_FORMATS = (".png", ".svg", ".pdf", ".jpg", ".jpeg", ".gif", ".dot")


def plot_model_structure(model: keras.Model, path: str | os.PathLike) -> Path:
    """Draw the layers of a model with their shapes, or list them where Graphviz is not installed.

    Args:
        model: The model.
        path: The picture to write; its suffix says the format, such as `.png`, `.svg` or `.pdf`.

    Returns:
        The file written: `path`, or the same name with the suffix `.txt` for the list of layers, after a
        warning that says how to install what is missing.

    Raises:
        ValueError: If the suffix is none that Graphviz draws, or there is something at `path` that is no
            regular file.
        OSError: If the file cannot be written.
    """
    path = Path(path)
    if path.suffix not in _FORMATS:
        raise ValueError(f"path must end in {', '.join(_FORMATS)}, got {path}")
    missing = _missing()
    if missing:
        path = path.with_suffix(".txt")
        warnings.warn(f"{path} lists the layers; to draw them, {missing}", stacklevel=2)
        lines: list[str] = []
        model.summary(line_length=180, expand_nested=True, print_fn=lines.append)
        write_text(path, "\n".join(lines) + f"\n\nTo draw this model, {missing}.\n")
        return path
    options = {"show_shapes": True, "show_layer_names": True, "expand_nested": True, "dpi": 100}
    graph = keras.utils.model_to_dot(model, **options)
    graph.set("splines", "spline")  # Keras asks for right angles, at which some versions of dot fail
    with written_whole(path) as partial:
        graph.write(str(partial), format=path.suffix[1:])
    return path


def _missing() -> str:
    """Say how to install what drawing needs; nothing if all is there."""
    graphviz = "install Graphviz (apt install graphviz, brew install graphviz, or graphviz.org/download)"
    steps = {'run pip install "harkeras[plot]"': find_spec("pydot"), graphviz: shutil.which("dot")}
    return " and ".join(step for step, place in steps.items() if place is None)
