"""A model and its recipe as one network: from the bytes of frames to probabilities that mean something."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
from keras import ops

from harkeras.inference.splitting import split_per_frame
from harkeras.models.movinet import is_stream_model
from harkeras.recipe import Recipe


def with_recipe(model: keras.Model, recipe: Recipe) -> keras.Model:
    """Put before a model what its recipe does to pixels, and behind it what it does to probabilities.

    Args:
        model: A model of clips, images or joints, or a stream with states.
        recipe: Its recipe.

    Returns:
        `keras.Model`: uint8 RGB frames, or float32 joints, of the model's shape -> float32 probabilities,
        with the temperature applied. Of a stream, "clip" is uint8, and one frame at a time where the model
        leaves that open; the states are the model's.
    """
    if not is_stream_model(model):
        clip = _input(model.input_shape[1:], recipe)
        return keras.Model(clip, sharpen(model(to_input(clip, recipe)), recipe), name=model.name)
    inputs = {name: keras.Input(x.shape[1:], dtype=x.dtype, name=name) for name, x in model.input.items()}
    frames, *frame = model.input["clip"].shape[1:]
    inputs["clip"] = _input((frames or 1, *frame), recipe)
    outputs = model({**inputs, "clip": to_input(inputs["clip"], recipe)})
    probabilities = sharpen(outputs.pop("probabilities"), recipe)
    return keras.Model(inputs, {"probabilities": probabilities, **outputs}, name=model.name)


def split_with_recipe(model: keras.Model, recipe: Recipe) -> tuple[keras.Model, keras.Model] | None:
    """Cut a model as prediction does, see `split_per_frame`; each part has its share of the recipe."""
    parts = None if is_stream_model(model) else split_per_frame(model)
    if parts is None:
        return None
    encoder, head = parts
    frame = _input(encoder.input_shape[1:], recipe, name="frame")
    features = keras.Input(head.input_shape[1:], name="features")
    return (
        keras.Model(frame, encoder(to_input(frame, recipe)), name="encoder"),
        keras.Model(features, sharpen(head(features), recipe), name="head"),
    )


def exported_recipe(recipe: Recipe) -> Recipe:
    """Return what is left to do for whoever runs the exported network: what it does by itself is neutral."""
    return replace(recipe, normalize=False, channel_order="rgb", temperature=1.0)


def to_input(x: Any, recipe: Recipe | None) -> Any:
    """Turn pixels in 0-255, RGB, into float32 as a recipe asks for them; without one, into float32."""
    x = ops.cast(x, "float32")
    if recipe is not None and recipe.normalize:
        x = x / 255.0
    if recipe is not None and recipe.channel_order == "bgr":
        x = x[..., ::-1]
    return x


def sharpen(probabilities: keras.KerasTensor, recipe: Recipe) -> keras.KerasTensor:
    """Apply the temperature, as `Recipe.sharpen` does, and give float32."""
    probabilities = ops.cast(probabilities, "float32")
    if recipe.temperature == 1:
        return probabilities
    return ops.softmax(ops.log(ops.maximum(probabilities, 1e-12)) / recipe.temperature, axis=-1)


def _input(shape: tuple[int, ...], recipe: Recipe, name: str = "clip") -> keras.KerasTensor:
    return keras.Input(shape, dtype="float32" if recipe.streams == "pose" else "uint8", name=name)
