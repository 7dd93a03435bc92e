"""A model as functions of arrays, cut in two where its first layers look at each frame alone.

What those layers make of a frame is the same in every window that holds it, and is computed once.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from harkeras.inference._lite import compile_lite
from harkeras.inference._window_buffer import Clips, in_groups
from harkeras.inference.exported import ExportedModel
from harkeras.models.graph import list_calls
from harkeras.recipe import Recipe

# So many numbers go into a model in one call, at most: enough to keep two cores busy, and little memory.
NUMBERS_PER_CALL = 2_000_000
_WINDOWS_PER_CALL = 64  # few enough that their clips fit into memory


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


class ClipModel:
    """A compiled model that answers windows; where it can be split, each frame's features are computed once.

    Attributes:
        splits: Whether it is split.
        keeps_memory: False: it answers when all frames of a window are there.
    """

    keeps_memory = False

    def __init__(self, model: keras.Model | ExportedModel, recipe: Recipe):
        """Split the model if it can be, and compile it."""
        self._model, self._recipe = model, recipe
        self._quick: tuple[bytes, ClipModel] | None = None  # and the weights for which it was made
        if isinstance(model, ExportedModel):  # compiled already, in two parts or in one
            self.splits = model.splits
            self._encode = _in_pieces(model.encode) if model.splits else None
            self._classify = _in_pieces(model.answer)
            return
        self._parts = split_per_frame(model)
        self.splits = self._parts is not None
        if self._parts is None:
            self._encode, self._classify = None, _compile(model, recipe)
        else:
            self._encode, self._classify = _compile(self._parts[0], recipe), _compile(self._parts[1], None)

    def quicken(self) -> ClipModel:
        """Return the same model, quick at a frame at a time where it can be, with the weights of this moment.

        That is so of small models that split, or look at joints: LiteRT computes their parts.
        """
        if isinstance(self._model, ExportedModel):
            return self
        weights = _fingerprint(self._model)
        if self._quick is None or self._quick[0] != weights:
            quick = copy.copy(self)
            if self._parts is not None:
                quick._encode = compile_lite(self._parts[0], *_input_of(self._recipe)) or self._encode
                quick._classify = compile_lite(self._parts[1], *_input_of(None)) or self._classify
            elif self._recipe.streams == "pose":
                quick._classify = compile_lite(self._model, *_input_of(self._recipe)) or self._classify
            self._quick = weights, quick
        return self._quick[1]

    def classify(self, clips: np.ndarray) -> np.ndarray:
        """Answer whole clips (B, T, ...): float32 probabilities (B, classes)."""
        if self._encode is None:
            return self._classify(clips)
        features = self._encode(clips.reshape(-1, *clips.shape[2:]))
        return self._classify(features.reshape(*clips.shape[:2], *features.shape[1:]))

    def answer(self, clips: Sequence[Clips]) -> list[np.ndarray]:
        """Answer windows of one stream or several, at least one, in as few calls as memory allows.

        Returns:
            For each of the `Clips`, probabilities (W, classes).
        """
        answers = []
        for group in in_groups(clips, _WINDOWS_PER_CALL):
            if self._encode is not None:
                self._encode_missing(group)
            probabilities = self._classify(np.concatenate(list(map(self._gather, group))))
            answers.append(probabilities)
        borders = np.cumsum([len(each.starts) for each in clips])[:-1]
        return np.split(np.concatenate(answers), borders)

    def _gather(self, clips: Clips) -> np.ndarray:
        """Return what the head sees of windows: (W, T, ...)."""
        kept = [clips.frames[row] for row in clips.rows.flat]
        values = np.stack([frame.image if self._encode is None else frame.features for frame in kept])
        return values.reshape(*clips.rows.shape, *values.shape[1:])

    def _encode_missing(self, group: Sequence[Clips]) -> None:
        kept = [clips.frames[row] for clips in group for row in sorted(set(clips.rows.flat))]
        missing = list({id(frame): frame for frame in kept if frame.features is None}.values())
        if missing:
            features = self._encode(np.stack([frame.image for frame in missing]))
            for frame, feature in zip(missing, features, strict=True):
                frame.features, frame.image = feature, None


def to_input(x: Any, recipe: Recipe | None) -> Any:
    """Turn float32 pixels in 0-255, RGB, into those that a recipe asks for; without one, into themselves."""
    if recipe is not None and recipe.normalize:
        x = x / 255.0
    if recipe is not None and recipe.channel_order == "bgr":
        x = x[..., ::-1]
    return x


def _input_of(recipe: Recipe | None) -> tuple[tf.DType, Callable[[Any], Any]]:
    """Return the type of what a recipe shows, or of features without one, and what makes the input of it."""
    dtype = tf.float32 if recipe is None or recipe.streams == "pose" else tf.uint8
    return dtype, partial(to_input, recipe=recipe)


def _fingerprint(model: keras.Model) -> bytes:
    """Tell the weights of a model from any others."""
    digest = hashlib.sha256()
    for weight in model.weights:
        digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(weight)))
    return digest.digest()


def _compile(model: keras.Model, recipe: Recipe | None) -> Callable[[np.ndarray], np.ndarray]:
    """Make a function of batches of any size; with a recipe, its input is what the recipe shows."""
    dtype, prepare = _input_of(recipe)

    @cache  # the function with its types settled is called in half the time
    def traced() -> Callable:
        @tf.function(input_signature=[tf.TensorSpec((None, *model.input_shape[1:]), dtype)], autograph=False)
        def function(x):
            return model(prepare(tf.cast(x, tf.float32)), training=False)

        return function.get_concrete_function()

    def call(x: np.ndarray) -> np.ndarray:
        if keras.backend.backend() == "tensorflow":
            return traced()(tf.constant(x)).numpy()
        return np.asarray(model.predict_on_batch(to_input(x.astype(np.float32), recipe)))

    return _in_pieces(call)


def _in_pieces(call: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Let a function of batches take any, in pieces that fit into memory."""

    def in_pieces(x: np.ndarray) -> np.ndarray:
        size = max(NUMBERS_PER_CALL // x[0].size, 1)
        return np.concatenate([call(x[i : i + size]) for i in range(0, len(x), size)])

    return in_pieces
