"""Models that answer windows in a way of their own.

Those that take a video chunk by chunk and hand their memory on, as the stream of MoViNet does; and those that
see a square around all people of a window.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Sequence
from functools import partial

import keras
import numpy as np

from harkeras.inference._window_buffer import Clips
from harkeras.inference.exported import ExportedModel
from harkeras.inference.per_frame import NUMBERS_PER_CALL, ClipModel
from harkeras.inference.recipe_network import to_input
from harkeras.models.compiled import compile_call
from harkeras.models.movinet import create_movinet_states
from harkeras.people.everybody import view_scenes
from harkeras.recipe import Recipe

States = dict[str, np.ndarray]


class _Memory:
    """How far a window was computed: its frames so far, what the model keeps of them, and its answer."""

    def __init__(self, states: States):
        self.done = 0
        self.states = states
        self.probabilities: np.ndarray | None = None


class ChunkModel:
    """A compiled model with a memory, which answers windows: a frame is computed as soon as it is certain.

    What such a model says is of all that it has seen, and its means forget nothing; in a long stream it would
    go on naming what was long ago. So each window starts with an empty memory, and those that overlap go
    through the model side by side. The answers are those of the causal model on whole clips; what is gained
    is that the work comes evenly, a frame at a time, and not all at the end of a window.

    Attributes:
        splits: False: a frame is computed for each window that looks at it.
        keeps_memory: True: windows that have only begun are computed as far as they are known.
    """

    splits, keeps_memory = False, True

    def __init__(self, model: keras.Model | ExportedModel, recipe: Recipe):
        """Compile the model; it must take chunks of any length, or single frames."""
        self._model, self._recipe = model, recipe
        if isinstance(model, ExportedModel):
            self._create_states, self._run = model.create_states, model.follow
            return
        self._create_states = partial(create_movinet_states, model)
        frames, *frame = model.input["clip"].shape[1:]
        if frames not in (None, 1):
            raise ValueError(
                f"model must take chunks of any length, or of one frame, got chunks of {frames} frames"
            )
        self._frames, self._frame_size = frames, int(np.prod(frame))
        inputs = {name: keras.KerasTensor((None, *x.shape[1:]), x.dtype) for name, x in model.input.items()}
        inputs["clip"] = keras.KerasTensor((None, frames, *frame), "uint8")
        self._call = compile_call(model, inputs, lambda x: {**x, "clip": to_input(x["clip"], recipe)})

    def quicken(self) -> ChunkModel:
        """Return itself: it is as quick as it can be."""
        return self

    def classify(self, clips: np.ndarray) -> np.ndarray:
        """Answer whole clips (B, T, H, W, C): float32 probabilities (B, classes)."""
        return self._run(clips, self._create_states(len(clips)))[0]

    def answer(self, clips: Sequence[Clips]) -> list[np.ndarray]:
        """Answer windows of one stream or several; of frames that are not known yet, none is waited for.

        Returns:
            For each of the `Clips`, probabilities (W, classes), of the frames so far.
        """
        windows: list[list[_Memory]] = []
        jobs = defaultdict(list)  # number of new frames -> windows and those frames
        for each in clips:
            windows.append([])
            for number, rows in enumerate(each.rows, each.number):
                memory = each.memory.setdefault(number, _Memory(self._create_states(1)))
                windows[-1].append(memory)
                new = rows[memory.done : np.count_nonzero(rows >= 0)]
                if len(new):
                    jobs[len(new)].append((memory, np.stack([each.frames[row].image for row in new])))
        for job in jobs.values():
            self._go_on(*zip(*job, strict=True))
        for each in clips:
            for number in range(each.number, each.number + len(each.rows)):
                if each.complete:
                    del each.memory[number]
        return [np.stack([memory.probabilities for memory in memories]) for memories in windows]

    def _go_on(self, memories: Sequence[_Memory], images: Sequence[np.ndarray]) -> None:
        """Show windows their next frames, as many to each."""
        states = {name: np.concatenate([m.states[name] for m in memories]) for name in memories[0].states}
        probabilities, states = self._run(np.stack(images), states)
        for row, memory in enumerate(memories):
            memory.done += len(images[0])
            memory.states = {name: state[row : row + 1] for name, state in states.items()}
            memory.probabilities = probabilities[row]

    def _run(self, clips: np.ndarray, states: States) -> tuple[np.ndarray, States]:
        """Show the model clips (B, T, H, W, C) in pieces; return its last answer and its new states."""
        length = self._frames or max(NUMBERS_PER_CALL // (len(clips) * self._frame_size), 1)
        for first in range(0, clips.shape[1], length):
            states = self._call({"clip": clips[:, first : first + length], **states})
            probabilities = states.pop("probabilities")
        return probabilities, states


class EverybodyModel:
    """A compiled model of all people together, whose windows each have a square of their own.

    Attributes:
        splits: False: what is made of a frame in one window serves in no other.
        keeps_memory: False: it answers when all frames of a window are there.
    """

    splits, keeps_memory = False, False

    def __init__(self, model: keras.Model, recipe: Recipe):
        """Compile the model."""
        self._model, self._recipe = ClipModel(model, recipe), recipe
        self.classify = self._model.classify

    def quicken(self) -> EverybodyModel:
        """Return the same model, quick where it can be, with the weights of this moment."""
        quick = copy.copy(self)
        quick._model = self._model.quicken()
        quick.classify = quick._model.classify
        return quick

    def answer(self, clips: Sequence[Clips]) -> list[np.ndarray]:
        """Answer windows of one stream or several: for each of the `Clips`, probabilities (W, classes)."""
        answers = []
        for each in clips:
            # One by one: a clip may be large, and next to the model a call costs nothing.
            scenes = ([each.frames[row].image for row in rows] for rows in each.rows)
            crops = (view_scenes(several, self._recipe) for several in scenes)
            answers.append(np.concatenate([self.classify(clip[None]) for clip in crops]))
        return answers
