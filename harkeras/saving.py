"""One file per model: a plain `.keras` file, which Keras alone can open, with the recipe inside."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import keras
import numpy as np

import harkeras.augment  # noqa: F401  registers the layers that a saved model may hold
from harkeras.models import speed_up_groups
from harkeras.recipe import Recipe

_MEMBER = "recipe.json"


def save_model(
    model: keras.Model,
    path: str | os.PathLike = "saved_models",
    *,
    recipe: Recipe | None = None,
    loss: float | None = None,
    accuracy: float | None = None,
) -> Path:
    """Save a model and its recipe in one `.keras` file.

    Args:
        model: The model.
        path: A `.keras` file, or a folder, where the file is named after the model, the time, and `loss` and
            `accuracy` if given.
        recipe: What the model must be shown; the one that `train` or `load_model` left on the model by
            default.
        loss: Loss on the test clips, for the name.
        accuracy: Accuracy on the test clips, in [0, 1], for the name.

    Returns:
        The path of the file.

    Raises:
        ValueError: If there is no recipe, it names another number of classes than the model has outputs, or
            `path` asks for another format.
        OSError: If the file cannot be written, for instance on a full disk; an older one then remains.
    """
    recipe = recipe or getattr(model, "recipe", None)
    if recipe is None:
        raise ValueError(
            "recipe is missing: pass a Recipe, or a model that went through train() or load_model()"
        )
    check_classes(model, recipe.classes)
    path = Path(path)
    if path.suffix in (".h5", ".hdf5"):
        raise ValueError(f"path must be a .keras file or a folder, got {path}")
    if path.suffix != ".keras":
        path = path / _default_name(model.name, loss, accuracy)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.part.keras")  # Keras insists on the suffix
    try:
        model.save(partial)
        with zipfile.ZipFile(partial, "a") as file:
            file.writestr(_MEMBER, recipe.to_json())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    model.recipe = recipe
    return path


def load_model(path: str | os.PathLike) -> keras.Model:
    """Load a `.keras` file; its recipe, if it has one, is the model's attribute `recipe`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no `.keras` file.
    """
    recipe = read_recipe(path)
    try:
        model = speed_up_groups(keras.saving.load_model(path))
    except KeyError as error:  # a zip file of something else
        raise ValueError(f"{path} must be a .keras file, as Keras 3 writes it") from error
    model.recipe = recipe
    return model


def read_recipe(path: str | os.PathLike) -> Recipe | None:
    """Read the recipe from a `.keras` file without loading the model; None if it has none.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no `.keras` file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no model file at {path}")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} must be a .keras file, as Keras 3 writes it")
    with zipfile.ZipFile(path) as file:
        return Recipe.from_json(file.read(_MEMBER).decode()) if _MEMBER in file.namelist() else None


def check_classes(model: keras.Model, classes: Sequence[str]) -> None:
    """Raise ValueError if the class names are not as many as the model's outputs."""
    if model.output_shape[-1] != len(classes):
        outputs = model.output_shape[-1]
        raise ValueError(
            f"classes must name the model's {outputs} outputs, got {len(classes)}: {list(classes)}"
        )


def check_clips(
    model: keras.Model, features: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> np.ndarray:
    """Return the labels as an array; raise ValueError if model, clips, labels and classes do not fit."""
    check_classes(model, classes)
    labels = np.asarray(labels)
    if model.input_shape[1:] != features.shape[1:]:
        raise ValueError(f"features must be clips {model.input_shape[1:]}, got {features.shape[1:]}")
    count = features.shape[0]  # what is not an array may count batches as its length
    if not count:
        raise ValueError("features must hold at least one clip, got none")
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be {count} integers, got {labels.dtype} {labels.shape}")
    if labels.min() < 0 or labels.max() >= len(classes):
        raise ValueError(f"labels must lie in 0 to {len(classes) - 1}, got {labels.min()} to {labels.max()}")
    return labels


def _default_name(name: str, loss: float | None, accuracy: float | None) -> str:
    parts = [name, f"{datetime.now():%Y-%m-%d_%H-%M-%S}"]
    scores = {"loss": loss, "accuracy": accuracy}
    parts += [f"{key}_{value:.4f}" for key, value in scores.items() if value is not None]
    return "__".join(parts) + ".keras"
