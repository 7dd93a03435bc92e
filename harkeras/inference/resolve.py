"""From a path, a name or a model in memory to a checked model and its recipe."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict, Unpack

import keras

from harkeras.base.model_files import find_model_file
from harkeras.inference._foreign_models import (
    check_model_file,
    prepare_model,
    read_streams,
    with_probabilities,
)
from harkeras.inference._shared_model import SharedModel
from harkeras.inference.conversion import Runtime, in_runtime
from harkeras.inference.exported import ExportedModel, is_exported
from harkeras.models import list_models
from harkeras.models.movinet import is_stream_model
from harkeras.models.saving import check_classes, check_recipe, load_model, read_recipe
from harkeras.pretrained.published import list_pretrained, load_pretrained
from harkeras.recipe import DEFAULT_CLIP_SECONDS, Interpolation, Recipe, Streams

_OF_CLIPS_ALONE = ("clip_seconds", "streams")


class ForeignModel(TypedDict, total=False):
    """What a recipe would say of a model, for one that was made elsewhere: keywords of what takes a model.

    What is None counts as not passed.

    Attributes:
        classes: Names of the model's outputs, in order.
        clip_seconds: How long the training clips were; 4 by default.
        normalize: Whether the model expects pixels in [0, 1].
        channel_order: "bgr" if it was trained on frames as OpenCV reads them.
        streams: "flow" or "rgb+flow" if it sees optical flow.
        interpolation: "bilinear" if its frames went through `cv2.resize` as it is by default; "area" by
            default.
        input_shape: (T, H, W, C), or (H, W, C) of images, if it leaves sizes open.

    Example:
        >>> predict_on_video("street.mp4", "theirs.keras", classes=["Walking", "Running"], normalize=True)
    """

    classes: Sequence[str] | None
    clip_seconds: float | None
    normalize: bool | None
    channel_order: Literal["rgb", "bgr"] | None
    streams: Streams | None
    interpolation: Interpolation | None
    input_shape: tuple[int, ...] | None


class ResolvedModel(NamedTuple):
    """A model that takes clips or images and gives probabilities.

    Attributes:
        model: The model, whose outputs are probabilities.
        recipe: What it must be shown.
        assumed: Names of the options that nobody passed and no recipe holds.
    """

    model: keras.Model | ExportedModel | SharedModel
    recipe: Recipe
    assumed: frozenset[str]


def resolve_model(
    model: str | os.PathLike | keras.Model,
    *,
    images: bool = False,
    runtime: Runtime | None = None,
    **foreign: Unpack[ForeignModel],
) -> ResolvedModel:
    """Load a model where a path or a name is given, check what it takes and gives, and find its recipe.

    Args:
        model: Path of a `.keras` file or of a run's folder, or of what `export_model` wrote, one of
            `list_pretrained()`, or a model in memory.
        images: Whether it must take images instead of clips.
        runtime: The engine that computes it: "keras", "onnx" or "litert", see `in_runtime`. By default what
            it is made for, which is Keras for a `.keras` file.
        **foreign: What a recipe would say; what is not None stands over the recipe.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If the engine is not installed.
        RuntimeError: If another engine is asked for, and Keras does not run on TensorFlow.
        ValueError: If there is no recipe and no `classes`, they do not fit the model, it takes or gives
            something else, or cannot be computed by that engine.
        TypeError: If there is no such option.
    """
    _check_names(foreign, images)
    if isinstance(model, SharedModel) and runtime is not None:
        raise ValueError(f"runtime is passed to share_model for a shared model, got {runtime!r}")
    resolved = _resolve(model, images, foreign)
    return resolved._replace(model=in_runtime(resolved.model, resolved.recipe, runtime))


def _resolve(
    model: str | os.PathLike | keras.Model | ExportedModel, images: bool, foreign: ForeignModel
) -> ResolvedModel:
    loaded = load_named(model) if isinstance(model, str | os.PathLike) else model
    options = {name: value for name, value in foreign.items() if value is not None}
    if isinstance(loaded, SharedModel):
        if options or images:
            raise ValueError(
                f"a shared model takes clips, and its options are passed to share_model, got {images=}, "
                f"{options}"
            )
        return ResolvedModel(loaded, loaded.recipe, frozenset())
    input_shape = options.pop("input_shape", None)
    recipe, assumed = getattr(loaded, "recipe", None), frozenset()
    if isinstance(loaded, ExportedModel):
        return _resolve_exported(loaded, images, input_shape, options)
    if is_stream_model(loaded):
        return _resolve_stream_model(loaded, recipe, images, input_shape, options)
    if recipe is not None:
        _check_recipe_streams(recipe, images)
        recipe = replace(recipe, **options)
        shape = recipe.clip_shape[1:] if images else recipe.clip_shape
        prepared = prepare_model(loaded, shape, images=images, joints=recipe.streams == "pose")
        if prepared.input_shape[1:] != shape:
            raise ValueError(
                f"recipe must fit the model, which takes {prepared.input_shape[1:]}, got {shape}"
            )
    else:
        prepared = prepare_model(loaded, input_shape, images=images)
        shape = prepared.input_shape[1:]
        if prepared.output_shape[-1] == 1 and len(options.get("classes", "")) == 1:
            raise ValueError(
                "classes must name both meanings of the model's one output, the low and the high one, got "
                f"{options['classes']}"
            )
        recipe = _make_recipe(shape, options)
        assumed = frozenset({"clip_seconds", "normalize", "channel_order"}) - options.keys()
    if input_shape is not None and tuple(input_shape) != shape:
        raise ValueError(f"input_shape must be what the model takes, {shape}, got {input_shape}")
    prepared = with_probabilities(prepared, normalize=recipe.normalize)
    check_classes(prepared, recipe.classes)
    return ResolvedModel(prepared, recipe, assumed)


def _check_names(names: Iterable[str], images: bool) -> None:
    """Raise TypeError for a keyword that is no option of a model of clips, or of images."""
    known = [name for name in ForeignModel.__annotations__ if not images or name not in _OF_CLIPS_ALONE]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise TypeError(f"got an unexpected keyword argument {unknown[0]!r}; of a model: {', '.join(known)}")


def load_named(model: str | os.PathLike) -> keras.Model | ExportedModel:
    """Load a model from its path, or a published one by its name."""
    if str(model) in list_pretrained() and not Path(model).exists():
        return load_pretrained(str(model))
    check_model_exists(model)
    if is_exported(model):
        return ExportedModel(model)
    path = find_model_file(model)
    check_model_file(path)
    return load_model(path)


def find_recipe(model: str | os.PathLike) -> Recipe | None:
    """Read the recipe of a model from its path, without loading a Keras model; None where there is none.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no file of a model, or its recipe is damaged.
    """
    return ExportedModel(model).recipe if is_exported(model) else read_recipe(model)


def check_model_exists(model: str | os.PathLike) -> None:
    """Raise FileNotFoundError for what is neither a file, or folder, nor a published model."""
    name = str(model)
    if Path(model).exists() or name in list_pretrained():
        return
    if name in (*list_models(), *list_models("images")):
        raise FileNotFoundError(
            f"no model file at {name}: {name} is an architecture without weights; train it first, with "
            f"'harkeras train FOLDER --model {name}', or pass a .keras file"
        )
    raise FileNotFoundError(f"no model file at {name}; published models: {', '.join(list_pretrained())}")


def _resolve_exported(
    model: ExportedModel, images: bool, input_shape: tuple[int, ...] | None, options: dict[str, Any]
) -> ResolvedModel:
    """Check a model in another engine, which had its recipe from the beginning."""
    recipe = replace(model.recipe, **options)
    if images != model.takes_images:
        takes = "images" if model.takes_images else "clips"
        raise ValueError(f"model must take {'images' if images else 'clips'}, got one of {takes}")
    fixed = {"streams", "normalize", "channel_order"} & options.keys()
    if any(getattr(recipe, name) != getattr(model.recipe, name) for name in fixed):
        raise ValueError(f"{', '.join(sorted(fixed))} must be left out: an exported model does so by itself")
    shape = recipe.clip_shape[1:] if images else recipe.clip_shape
    if input_shape is not None and tuple(input_shape) != shape:
        raise ValueError(f"input_shape must be what the model takes, {shape}, got {input_shape}")
    if len(recipe.classes) != len(model.recipe.classes):
        wanted, got = len(model.recipe.classes), len(recipe.classes)
        raise ValueError(f"classes must name the model's {wanted} outputs, got {got}")
    return ResolvedModel(model, recipe, frozenset())


def _resolve_stream_model(
    model: keras.Model,
    recipe: Recipe | None,
    images: bool,
    input_shape: tuple[int, ...] | None,
    options: dict[str, Any],
) -> ResolvedModel:
    """Check a model that takes chunks and states; only a recipe says how far apart its frames are."""
    if images or recipe is None:
        wanted = "take images (B, H, W, C)" if images else "have a recipe, that of its causal twin"
        raise ValueError(f"model must {wanted}, got a stream model{'' if images else ' without one'}")
    recipe = replace(recipe, **options)
    check_recipe(model, recipe)
    if input_shape is not None and tuple(input_shape) != recipe.clip_shape:
        raise ValueError(f"input_shape must be what the model takes, {recipe.clip_shape}, got {input_shape}")
    return ResolvedModel(model, recipe, frozenset())


def _check_recipe_streams(recipe: Recipe, images: bool) -> None:
    if images and recipe.streams not in ("rgb", "gray"):
        raise ValueError(f"model must take images (B, H, W, 3) of fixed size, got {recipe.streams!r} clips")


def _make_recipe(shape: tuple[int, ...], options: dict[str, Any]) -> Recipe:
    """Make the recipe of a model that has none, from the shape of its input and the options."""
    if "classes" not in options:
        raise ValueError(
            "classes are missing: the model has no recipe, pass the names of its outputs in order. What else "
            "it expects cannot be told either: normalize=True if it was trained on pixels in [0, 1], "
            "channel_order='bgr' if on frames as OpenCV reads them, clip_seconds if its clips were not about "
            f"{DEFAULT_CLIP_SECONDS:.0f} s long"
        )
    streams, flow_fields = read_streams(shape, options.get("streams"))
    frames, height, width = shape[:3] if len(shape) == 4 else (1, *shape[:2])
    options = {"clip_seconds": DEFAULT_CLIP_SECONDS} | options | {"streams": streams}
    return Recipe(frames=frames, height=height, width=width, flow_fields=flow_fields, **options)
