"""Models of the same layers for smaller clips, or on a smaller backbone: untrained, to be timed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import keras

from harkeras.inference.exported import ExportedModel
from harkeras.inference.splitting import split_per_frame
from harkeras.models.movinet import is_stream_model
from harkeras.recipe import Recipe
from harkeras.transfer.features import frame_encoder

_SMALL_BACKBONE = "mobilenet_v2_0.35"


def smaller_models(
    model: keras.Model | ExportedModel, recipe: Recipe
) -> Iterator[tuple[str, keras.Model, Recipe]]:
    """Yield models of the same layers for smaller clips, with random weights, as far as they can be built."""
    if isinstance(model, ExportedModel) or recipe.streams == "pose" or is_stream_model(model):
        return
    shapes = {}
    for share in (0.75, 0.5):
        height, width = (max(round(share * size), 1) for size in (recipe.height, recipe.width))
        shapes[f"frames of {height} x {width} pixels"] = {"height": height, "width": width}
    if recipe.frames > 1:
        shapes[f"{recipe.frames // 2} frames per window"] = {"frames": recipe.frames // 2}
    for change, sizes in shapes.items():
        smaller = replace(recipe, **sizes)
        built = _rebuild(model, smaller.clip_shape)
        if built is not None:
            yield change, built, smaller
    parts = split_per_frame(model)
    frame = recipe.clip_shape[1:]
    if parts is not None and recipe.streams == "rgb" and min(frame[:2]) >= 32:
        encoder = frame_encoder(_SMALL_BACKBONE, frame, weights=None)
        if encoder.count_params() < parts[0].count_params():
            built = _rebuild(model, recipe.clip_shape, encoder)
            if built is not None:
                yield f"the backbone {_SMALL_BACKBONE}", built, recipe


def _rebuild(
    model: keras.Model, clip_shape: tuple[int, ...], encoder: keras.Model | None = None
) -> keras.Model | None:
    """Build the layers of a model anew for clips of another shape; None where they insist on theirs."""
    clip = keras.Input(clip_shape)
    try:
        parts = split_per_frame(model)
        if parts is None:
            return keras.Model(clip, _copy(model, clip.shape)(clip), name=model.name)
        encoder = _copy(parts[0], (None, *clip_shape[1:])) if encoder is None else encoder
        features = keras.layers.TimeDistributed(encoder)(clip)
        return keras.Model(clip, _copy(parts[1], features.shape)(features), name=model.name)
    except (ValueError, TypeError):  # of a reshape to a fixed size, of a clip that its pools use up
        return None


def _copy(model: keras.Model, shape: tuple[int | None, ...]) -> keras.Model:
    """Build the layers of a model, and of the models in it, anew for inputs of another shape."""

    def call(layer, *args, **options):
        if isinstance(layer, keras.Model):
            layer = _copy(layer, args[0].shape)
        return layer(*args, **options)

    def copy_layer(layer):
        return layer if isinstance(layer, keras.Model) else layer.from_config(layer.get_config())

    options = {"clone_function": copy_layer, "call_function": call}
    if isinstance(model, keras.Sequential):
        options = {}
    return keras.models.clone_model(model, input_tensors=keras.Input(shape[1:]), **options)
