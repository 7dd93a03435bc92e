"""One file per model: a plain `.keras` file, which Keras alone can open, with the recipe inside."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import keras
import numpy as np

import harkeras.data.augment  # noqa: F401  registers the layers that a saved model may hold
from harkeras.base.files import naming, partial_name, publish, resolve_target
from harkeras.base.model_files import MODEL_FILE, find_model_file
from harkeras.models.blocks import speed_up_groups
from harkeras.models.movinet import is_stream_model
from harkeras.recipe import Recipe

_MEMBER = "recipe.json"
_MEMBERS = ("config.json", "metadata.json", "model.weights.h5")
_MOST_JSON_BYTES = 64_000_000  # unpacked; real ones take some kilobytes


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
        path: A `.keras` file, which replaces an older one. Or a folder, that is, a path without suffix or a
            folder that exists: the file in it is named after the model, the time, and `loss` and `accuracy`
            if given, and replaces none.
        recipe: What the model must be shown; the one that `train` or `load_model` left on the model by
            default.
        loss: Loss on the test clips, for the name.
        accuracy: Accuracy on the test clips, in [0, 1], for the name.

    Returns:
        The path of the file.

    Raises:
        ValueError: If there is no recipe, it is of another model, or `path` asks for another format.
        OSError: If the file cannot be written, for instance on a full disk; an older one then remains.
    """
    recipe = recipe or getattr(model, "recipe", None)
    if recipe is None:
        raise ValueError(
            "recipe is missing: pass a Recipe, or a model that went through train() or load_model()"
        )
    check_recipe(model, recipe)
    path = Path(path)
    named = path.suffix == ".keras"
    if not named:
        # "v1.0" is a folder, "model.pkl" another format
        if any(map(str.isalpha, path.suffix)) and not path.is_dir():
            raise ValueError(f"path must be a .keras file or a folder, got {path}")
        path = path / _default_name(model.name, loss, accuracy)
    target = resolve_target(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_name(target, ".keras")  # Keras insists on the suffix
    try:
        with naming(path):
            model.save(partial)
            with zipfile.ZipFile(partial, "a") as file:
                file.writestr(_MEMBER, recipe.to_json())
            published = publish(partial, target, overwrite=named)
    finally:
        partial.unlink(missing_ok=True)
    model.recipe = recipe
    return path if named else path.with_name(published.name)


def load_model(path: str | os.PathLike) -> keras.Model:
    """Load a `.keras` file, or that of a run's folder; its recipe, if any, is the model's attribute `recipe`.

    The file is checked for damage first. Nothing that is written in it is executed: Keras's safe mode stays
    on, so that a model with a `Lambda` layer is refused.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no `.keras` file, a damaged or an unsafe one, or its recipe is of another model.
    """
    path, recipe = find_model_file(path), read_recipe(path)
    _check_archive(path)
    try:
        model = keras.saving.load_model(path, safe_mode=True)
    except OSError as error:
        if error.errno is not None:  # of the disk, not of the content
            raise
        raise _not_a_model(path, error) from error
    except Exception as error:  # whatever Keras stumbles over: the content is anything that someone wrote
        raise _not_a_model(path, error) from error
    model = speed_up_groups(model)
    if recipe is not None:
        with _naming_file(path):
            check_recipe(model, recipe)
    model.recipe = recipe
    return model


def read_recipe(path: str | os.PathLike) -> Recipe | None:
    """Read the recipe from a `.keras` file, or a run's folder, without loading the model; None if none.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no `.keras` file, or its recipe is damaged.
    """
    path = find_model_file(path)
    with _opened(path) as file:
        if _MEMBER not in file.namelist():
            return None
        text = _read_json(file, _MEMBER)
    with _naming_file(path):
        return Recipe.from_json(text)


def _check_archive(path: Path) -> None:
    """Raise ValueError unless all members of a `.keras` file are there and have their checksums."""
    with _opened(path) as file:
        missing = set(_MEMBERS) - set(file.namelist())
        if missing:
            raise ValueError(f"it has no {', '.join(sorted(missing))}")
        for name in _MEMBERS[:2]:
            _read_json(file, name)
        damaged = file.testzip()
        if damaged is not None:
            raise ValueError(f"{damaged} is damaged")


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a file as a `.keras` archive; what it trips over inside becomes one ValueError with its name."""
    if "\0" in str(path):
        raise ValueError(f"path must be that of a .keras file, got {str(path)!r}, which has a null byte")
    if path.is_dir():
        raise ValueError(
            f"{path} must be a .keras file or the folder of a run, got a folder without {MODEL_FILE}; a "
            "SavedModel opens with keras.layers.TFSMLayer"
        )
    if not path.is_file():
        raise FileNotFoundError(f"no model file at {path}")
    try:
        with path.open("rb") as content, zipfile.ZipFile(content) as file:
            yield file
    except OSError as error:
        if error.filename is not None:  # of opening it
            raise
        raise _not_a_model(path, error) from error
    except Exception as error:  # zipfile has a dozen errors for damage: a wrong sum, length, method, ...
        raise _not_a_model(path, error) from error


def _read_json(file: zipfile.ZipFile, name: str) -> str:
    size = file.getinfo(name).file_size
    if size > _MOST_JSON_BYTES:
        raise ValueError(f"{name} unpacks to {size} bytes")
    return file.read(name).decode()


def _not_a_model(path: Path, error: Exception) -> ValueError:
    reason = " ".join(str(error).split())[:500] or type(error).__name__
    hint = (
        " (harkeras opens no .h5: pass the model that keras.saving.load_model gives)"
        if path.suffix in (".h5", ".hdf5")
        else ""
    )
    return ValueError(f"{path} must be a .keras file, as Keras 3 writes it{hint}: {reason}")


@contextmanager
def _naming_file(path: Path) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def check_recipe(model: keras.Model, recipe: Recipe) -> None:
    """Raise ValueError if the classes of a recipe are not the model's, or its clips not what it takes."""
    check_classes(model, recipe.classes)
    shape, clip = model.input_shape, recipe.clip_shape
    if is_stream_model(model):
        shape = (None, None, *model.input["clip"].shape[2:])  # of chunks, which may have any length
    if isinstance(shape, list | dict):
        return  # of a model with several inputs, which no recipe tells
    image = recipe.streams != "pose" and recipe.frames == 1 and len(shape) == 4
    clip = clip[1:] if image else clip
    fits = len(shape) == len(clip) + 1 and all(
        size is None or size == wanted for size, wanted in zip(shape[1:], clip, strict=True)
    )
    if not fits:
        raise ValueError(f"the recipe's clips are {clip}, and the model takes {shape[1:]}")


def check_classes(model: keras.Model, classes: Sequence[str]) -> None:
    """Raise ValueError if the class names are not as many as the model's outputs."""
    shape = model.output["probabilities"].shape if is_stream_model(model) else model.output_shape
    if shape[-1] != len(classes):
        outputs = shape[-1]
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
