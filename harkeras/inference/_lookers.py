"""What a model says of a source at each moment: of the whole picture, or of each person in it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

import keras
import numpy as np

from harkeras.inference._sampling import FrameSampler
from harkeras.inference.decisions import Decider, Window
from harkeras.inference.people_stream import PeopleStream
from harkeras.inference.streaming import ActionStream
from harkeras.people.tracking import PeopleTracker, Person
from harkeras.recipe import Recipe
from harkeras.video.live import LiveFrame


class Moment(NamedTuple):
    """What is shown of a person, or of the whole picture, when a window comes to its end."""

    label: str
    confidence: float
    seconds: float
    time: datetime
    person: int | None


class PictureLooker:
    """Look at whole pictures.

    Args:
        model: The model.
        recipe: What it must be shown.
        stride_seconds: Time between windows, see `ActionStream`.
        settings: Of `Decider`.

    Attributes:
        stride_seconds: Time between windows.
        samples_quickly: Whether `sample` is quick enough for the thread that decodes.
        people: The people in the last frame: none are looked for.
        gone: Nobody goes.
    """

    people: tuple[Person, ...] = ()
    gone: tuple[int, ...] = ()

    def __init__(
        self, model: keras.Model, recipe: Recipe, stride_seconds: float | None, settings: dict[str, Any]
    ):
        """Compile the model, and compute once what is computed later."""
        self._stream = ActionStream(model, recipe, stride_seconds=stride_seconds)
        self._stream.warm_up()
        self.stride_seconds = self._stream.stride_seconds
        self._decider = Decider(recipe.classes, self.stride_seconds, **settings)
        self._sampler = FrameSampler(recipe, self.stride_seconds)
        self.samples_quickly = recipe.streams in ("rgb", "gray")
        self._last: Window | None = None

    def sample(self, frame: LiveFrame) -> None:
        """Take in each frame, before anything looks at it."""
        self._sampler.push(frame)

    def look(self, frame: LiveFrame, *, at_all: bool = False) -> list[Moment]:
        """Return what is to say since the last look.

        Args:
            frame: The newest frame.
            at_all: Look at all windows. Otherwise at the newest one alone, which then stands for those that
                have passed since the last look.
        """
        images, seconds, anew = self._sampler.take()
        if anew:
            self._stream = self._stream.anew()
        if not images:
            return []
        windows = self._stream.push(np.stack(images), seconds, newest_only=not at_all)
        return self._decide(windows, frame)

    def finish(self, frame: LiveFrame, end_seconds: float, *, at_all: bool = False) -> list[Moment]:
        """Return what is left to say when the source ends."""
        self._sampler.finish()
        images, seconds, anew = self._sampler.take()
        if anew:
            self._stream = self._stream.anew()
        windows = self._stream.push(np.stack(images), seconds, newest_only=not at_all) if images else []
        return self._decide(windows + self._stream.finish(max(end_seconds, frame.seconds)), frame)

    def _decide(self, windows: list[Window], frame: LiveFrame) -> list[Moment]:
        moments = []
        for window in windows:
            for each in _fill(self._last, window, self.stride_seconds):
                moments.append(_make_moment(self._decider, each, frame, None))
            self._last = window
        return moments


class PeopleLooker:
    """Look at each person in the newest frames; what it has in common with `PictureLooker` is the same there.

    Attributes:
        people: The people in the last frame.
        gone: Numbers of those who were left out of it for the first time.
    """

    samples_quickly = True

    def __init__(
        self,
        model: keras.Model,
        recipe: Recipe,
        stride_seconds: float | None,
        settings: dict[str, Any],
        tracker: PeopleTracker | None = None,
    ):
        """Compile the model, and compute once what is computed later."""
        self._stream = PeopleStream(model, recipe, tracker=tracker, stride_seconds=stride_seconds)
        self._stream.warm_up()
        self.stride_seconds = self._stream.stride_seconds
        self._make_decider = lambda: Decider(recipe.classes, self.stride_seconds, **settings)
        self._deciders: dict[int, Decider] = {}
        self._last: dict[int, Window] = {}
        self.people: list[Person] = []
        self.gone: list[int] = []

    def sample(self, frame: LiveFrame) -> None:
        """Leave the frame as it is: people are looked for in the newest one."""

    def look(self, frame: LiveFrame, *, at_all: bool = False) -> list[Moment]:
        """Return what is to say since the last look."""
        windows = self._stream.push(frame.image, frame.seconds, newest_only=not at_all)
        moments = self._decide(windows, frame)
        self.people = self._stream.people
        here = {person.number for person in self.people}
        self.gone = [number for number in self._deciders if number not in here]
        for number in self.gone:
            del self._deciders[number]
            self._last.pop(number, None)
        return moments

    def finish(self, frame: LiveFrame, end_seconds: float, *, at_all: bool = False) -> list[Moment]:
        """Return what is left to say when the source ends."""
        return self._decide(self._stream.finish(max(end_seconds, frame.seconds)), frame)

    def _decide(self, windows: list[tuple[int, Window]], frame: LiveFrame) -> list[Moment]:
        moments = []
        for number, window in windows:
            decider = self._deciders.setdefault(number, self._make_decider())
            for each in _fill(self._last.get(number), window, self.stride_seconds):
                moments.append(_make_moment(decider, each, frame, number))
            self._last[number] = window
        return moments


def _fill(last: Window | None, window: Window, stride_seconds: float) -> list[Window]:
    """Return a window, and before it those that were left out since the last one, as if they were like it."""
    missing = 0
    if last is not None and 0 < window.start_seconds - last.start_seconds:
        missing = round((window.start_seconds - last.start_seconds) / stride_seconds) - 1
    length = window.end_seconds - window.start_seconds
    if missing * stride_seconds > 2 * (length + stride_seconds):  # a gap, not a slow model
        missing = 0
    starts = [window.start_seconds - step * stride_seconds for step in range(missing, 0, -1)]
    return [*(Window(start, start + length, window.probabilities) for start in starts), window]


def _make_moment(decider: Decider, window: Window, frame: LiveFrame, person: int | None) -> Moment:
    label = decider.update(window)
    time = frame.time - timedelta(seconds=frame.seconds - window.end_seconds)
    return Moment(label, decider.confidence, window.end_seconds, time, person)
