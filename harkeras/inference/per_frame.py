"""A model as functions of arrays, cut in two where its first layers look at each frame alone.

What those layers make of a frame is the same in every window that holds it, and is computed once.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from harkeras.models.graph import list_calls
from harkeras.recipe import Recipe

# So many numbers go into a model in one call, at most: enough to keep two cores busy, and little memory.
_NUMBERS_PER_CALL = 2_000_000


def split_per_frame(model: keras.Model) -> tuple[keras.Model, keras.Model] | None:
    """Cut a model into a part that sees each frame alone, and a head that sees what it made of all frames.

    Args:
        model: A model that begins with a chain of `TimeDistributed` layers, with or without a `Rescaling`, or
            with layers between a `reshape` that makes one batch of all frames and one that undoes it.

    Returns:
        Encoder (B, H, W, C) -> (B, ...) and head (B, T, ...) -> (B, classes), sharing the model's weights;
        None if the model does not begin so, or something else also looks at what goes through the chain.
    """
    if len(model.inputs) > 1:
        return None
    chain, tensor = _per_frame_chain(model)
    if not any(layer.weights for layer in chain):
        return None
    frame = x = keras.Input(model.input_shape[2:])
    for layer in chain:
        x = layer(x)
    encoder = keras.Model(frame, x, name="encoder")
    if isinstance(model, keras.Sequential):
        features = keras.Input((model.input_shape[1], *encoder.output_shape[1:]))
        return encoder, keras.Sequential([features, *model.layers[len(chain) :]], name="head")
    try:
        head = keras.Model(tensor, model.output, name="head")
        # Keras before 3.14 finds out only when the head is called, with a shape that it has not met.
        head.compute_output_spec(keras.KerasTensor((1, *tensor.shape[1:])))
        return encoder, head
    except (ValueError, KeyError):  # a branch leaves the chain early: the outputs need more than its result
        return None


def _per_frame_chain(model: keras.Model) -> tuple[list[keras.layers.Layer], keras.KerasTensor]:
    """Return the layers that see each frame alone, to be called on frames, and what they make of a clip."""
    frames, chain, tensor, merged = model.input_shape[1], [], model.inputs[0], False
    cut = [], tensor
    for step, before, after in _steps(model):
        if before is not None and before is not tensor:
            break
        clip, images = (after, tensor) if merged else (tensor, after)
        if type(step).__name__ == "Reshape" and clip.shape[1:] == (frames, *images.shape[1:]):
            merged = not merged  # (B, T, ...) -> (B * T, ...), or back
        elif merged and isinstance(step, keras.layers.Layer):
            chain.append(step)
        elif isinstance(step, keras.layers.TimeDistributed):
            chain.append(step.layer)
        elif isinstance(step, keras.layers.Rescaling):
            chain.append(step.from_config(step.get_config()))
        else:
            break
        tensor = after
        if not merged:
            cut = list(chain), tensor
    return cut


def _steps(model: keras.Model) -> list[tuple]:
    """Return each layer or operation, what it looks at, and what it gives, in order.

    The layers of a Sequential follow one another, whatever tensors they name: there it is None.
    """
    if isinstance(model, keras.Sequential):
        return [(layer, None, layer.output) for layer in model.layers]
    # Not `layer.input`, which of a model inside the model is its own. No frame is alone in several inputs.
    calls = [call for call in list_calls(model) if len(call.inputs) == 1]
    return [(call.operation, call.inputs[0], call.outputs[0]) for call in calls]


def compile_parts(model: keras.Model, recipe: Recipe) -> tuple[Callable | None, Callable]:
    """Split a model if it can be, and compile it, once: the model keeps the functions for the next video.

    Returns:
        Functions of arrays: the encoder uint8 (B, H, W, C) -> (B, ...), or None, and the head
        (B, T, ...) -> (B, classes). Without an encoder, the head is the whole model, of uint8 clips.
    """
    pixels = (recipe.normalize, recipe.channel_order)
    compiled = getattr(model, "_compiled_parts", None)
    if compiled is None or compiled[0] != pixels:
        parts = split_per_frame(model)
        if parts is None:
            compiled = pixels, None, _compile(model, recipe)
        else:
            compiled = pixels, _compile(parts[0], recipe), _compile(parts[1], None)
        model._compiled_parts = compiled
    return compiled[1:]


def _compile(model: keras.Model, recipe: Recipe | None) -> Callable[[np.ndarray], np.ndarray]:
    """Make a function of batches of any size; with a recipe, its input is pixels."""

    def to_input(x):
        if recipe is not None and recipe.normalize:
            x = x / 255.0
        if recipe is not None and recipe.channel_order == "bgr":
            x = x[..., ::-1]
        return x

    dtype = tf.float32 if recipe is None else tf.uint8

    @tf.function(input_signature=[tf.TensorSpec((None, *model.input_shape[1:]), dtype)], autograph=False)
    def traced(x):
        return model(to_input(tf.cast(x, tf.float32)), training=False)

    def call(x: np.ndarray) -> np.ndarray:
        if keras.backend.backend() == "tensorflow":
            return traced(x).numpy()
        return np.asarray(model.predict_on_batch(to_input(x.astype(np.float32))))

    def in_pieces(x: np.ndarray) -> np.ndarray:
        size = max(_NUMBERS_PER_CALL // x[0].size, 1)
        return np.concatenate([call(x[i : i + size]) for i in range(0, len(x), size)])

    return in_pieces
