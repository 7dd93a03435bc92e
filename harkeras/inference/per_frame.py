"""A model as functions of arrays: what its first layers make of each frame alone is computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import keras
import numpy as np

from harkeras.inference._window_buffer import Clips, in_groups
from harkeras.inference.conversion import in_litert_if_better
from harkeras.inference.exported import ExportedModel
from harkeras.inference.recipe_network import to_input
from harkeras.inference.splitting import split_per_frame
from harkeras.models.compiled import compile_call
from harkeras.recipe import Recipe

# So many numbers go into a model in one call, at most: enough to keep two cores busy, and little memory.
NUMBERS_PER_CALL = 2_000_000
_WINDOWS_PER_CALL = 64  # few enough that their clips fit into memory


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
        self._quick: ClipModel | None = None
        if isinstance(model, ExportedModel):  # compiled already, in two parts or in one
            self.splits = model.splits
            self._encode = _in_pieces(model.encode) if model.splits else None
            self._classify = _in_pieces(model.answer)
            return
        parts = split_per_frame(model)
        self.splits = parts is not None
        if parts is None:
            self._encode, self._classify = None, _compile(model, recipe)
        else:
            self._encode, self._classify = _compile(parts[0], recipe), _compile(parts[1], None)

    def quicken(self) -> ClipModel:
        """Return the same model, quick at a frame at a time where it can be, with the weights of this moment.

        That is so of small models that split, or look at joints: LiteRT computes their parts.
        """
        if isinstance(self._model, ExportedModel) or not (self.splits or self._recipe.streams == "pose"):
            return self
        model = in_litert_if_better(self._model, self._recipe)
        if model is self._model:
            return self
        if self._quick is None or self._quick._model is not model:
            self._quick = ClipModel(model, self._recipe)
        return self._quick

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


def _compile(model: keras.Model, recipe: Recipe | None) -> Callable[[np.ndarray], np.ndarray]:
    """Make a function of batches of any size; with a recipe, its input is what the recipe shows."""
    dtype = "float32" if recipe is None or recipe.streams == "pose" else "uint8"
    shown = keras.KerasTensor((None, *model.input_shape[1:]), dtype)
    return _in_pieces(compile_call(model, shown, partial(to_input, recipe=recipe)))


def _in_pieces(call: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Let a function of batches take any, in pieces that fit into memory."""

    def in_pieces(x: np.ndarray) -> np.ndarray:
        size = max(NUMBERS_PER_CALL // x[0].size, 1)
        return np.concatenate([call(x[i : i + size]) for i in range(0, len(x), size)])

    return in_pieces
