"""One model for many threads: what they ask at the same time is computed in one call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import numpy as np

from harkeras.inference._window_buffer import Clips
from harkeras.recipe import Recipe


class CompiledModel(Protocol):
    """A model that answers windows, as `ClipModel` does.

    Attributes:
        splits: Whether each frame is computed once.
        keeps_memory: Whether windows that have only begun are computed as far as they are known.
    """

    splits: bool
    keeps_memory: bool

    def quicken(self) -> CompiledModel:
        """Return the same model, quick at a frame at a time where it can be."""

    def classify(self, clips: np.ndarray) -> np.ndarray:
        """Answer whole clips (B, T, ...): float32 probabilities (B, classes)."""

    def answer(self, clips: Sequence[Clips]) -> list[np.ndarray]:
        """Answer windows: for each of the `Clips`, probabilities (W, classes)."""


class _Question(NamedTuple):
    is_of_windows: bool
    items: Sequence[Any]  # clips, or `Clips`
    answer: Future


class SharedModel:
    """A compiled model that many threads use at once.

    All is computed in one thread, because not every engine can compute two things at a time. What is asked
    meanwhile waits, and is then computed together, which costs less than one after the other. Nobody is
    waited for: who asks alone is answered at once.

    Args:
        model: The compiled model.
        recipe: What it must be shown.
        most_together: How many questions are answered together, at most.
        on_call: Is told of each call how many questions it answers.
    """

    def __init__(
        self,
        model: CompiledModel,
        recipe: Recipe,
        *,
        most_together: int = 16,
        on_call: Callable[[int], None] | None = None,
    ):
        """Start with no question."""
        self.recipe = recipe
        self.splits, self.keeps_memory = model.splits, model.keeps_memory
        self._model, self._most, self._on_call = model, most_together, on_call
        self._waiting: list[_Question] = []
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "model")

    def quicken(self) -> SharedModel:
        """Return itself: several frames at a time are what it is quick at."""
        return self

    def classify(self, clips: np.ndarray) -> np.ndarray:
        """Answer whole clips (B, T, ...): float32 probabilities (B, classes)."""
        return np.stack(self._ask(_Question(False, clips, Future())))

    def answer(self, clips: Sequence[Clips]) -> list[np.ndarray]:
        """Answer windows: for each of the `Clips`, probabilities (W, classes)."""
        return self._ask(_Question(True, clips, Future()))

    def close(self) -> None:
        """End the thread, when all that was asked is answered."""
        self._thread.shutdown()

    def _ask(self, question: _Question) -> list[np.ndarray]:
        with self._lock:
            self._waiting.append(question)
        self._thread.submit(self._answer_next)
        return question.answer.result()

    def _answer_next(self) -> None:
        """Answer what has waited longest, and what is like it; there may be nothing left."""
        with self._lock:
            alike = [each for each in self._waiting if each.is_of_windows == self._waiting[0].is_of_windows]
            questions = alike[: self._most]
            self._waiting = [each for each in self._waiting if not any(each is other for other in questions)]
        if not questions:
            return
        try:
            if self._on_call is not None:
                self._on_call(len(questions))
            together = [item for question in questions for item in question.items]
            if questions[0].is_of_windows:
                answers = self._model.answer(together)
            else:
                answers = list(self._model.classify(np.stack(together)))
        except BaseException as error:
            for question in questions:
                question.answer.set_exception(error)
            return
        first = 0
        for question in questions:
            stop = first + len(question.items)
            question.answer.set_result(answers[first:stop])
            first = stop
