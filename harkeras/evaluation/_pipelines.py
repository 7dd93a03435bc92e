"""From a frame to a decision, and how long each step of it takes."""

from __future__ import annotations

import time
from itertools import cycle, islice

import keras
import numpy as np

from harkeras.inference.decisions import Decider
from harkeras.inference.people_stream import PeopleStream
from harkeras.inference.streaming import ActionStream
from harkeras.people.clips import create_view
from harkeras.people.tracking import Box, PeopleTracker, Person
from harkeras.recipe import Recipe
from harkeras.video.frames import VideoFrame

Took = tuple[float, float, float, float]


class PicturePipeline:
    """Look at whole pictures.

    Attributes:
        stride_seconds: Time between windows.
        has_answered: Whether there was a window yet.
    """

    def __init__(self, model: keras.Model, recipe: Recipe, stride_seconds: float | None):
        """Compile the model."""
        self._stream = ActionStream(model, recipe, stride_seconds=stride_seconds)
        self._stream.warm_up()
        self.stride_seconds, self.has_answered = self._stream.stride_seconds, False
        self._view, self._index = create_view(recipe.clip_format), 0
        self._decider = Decider(recipe.classes, self.stride_seconds)

    def step(self, frame: VideoFrame) -> Took:
        """Take the next frame in; return the seconds of preprocessing, people, inference and decision."""
        marks = [time.perf_counter()]
        image = self._view.read(frame, self._index, True)
        marks.append(time.perf_counter())
        windows = self._stream.push(image[None], [frame.seconds])
        marks.append(time.perf_counter())
        for window in windows:
            self._decider.update(window)
        marks.append(time.perf_counter())
        self._index += 1
        self.has_answered |= bool(windows)
        preprocessing, inference, decision = np.diff(marks).tolist()
        return preprocessing, 0.0, inference, decision


class PeoplePipeline:
    """Look at each person in pictures.

    Args:
        model: The model.
        recipe: What it must be shown.
        stride_seconds: Time between windows; see `ActionStream` for the default.
        tracker: Who finds and follows people.

    Attributes:
        stride_seconds: Time between windows.
        has_answered: Whether there was a window yet.
        people: Those in the last frame.
    """

    def __init__(
        self, model: keras.Model, recipe: Recipe, stride_seconds: float | None, tracker: PeopleTracker
    ):
        """Compile the model."""
        self._stream = PeopleStream(model, recipe, stride_seconds=stride_seconds, tracker=tracker)
        self._stream.warm_up()
        self.stride_seconds, self.has_answered = self._stream.stride_seconds, False
        self._classes, self._deciders = recipe.classes, {}
        self.people: list[Person] = []

    def step(self, frame: VideoFrame) -> Took:
        """Take the next frame in; return the seconds of preprocessing, people, inference and decision."""
        began = time.perf_counter()
        image = frame.rgb()
        converted = time.perf_counter()
        windows = self._stream.push(image, frame.seconds)
        pushed = time.perf_counter()
        for number, window in windows:
            if number not in self._deciders:
                self._deciders[number] = Decider(self._classes, self.stride_seconds)
            self._deciders[number].update(window)
        decided = time.perf_counter()
        self.people = self._stream.people
        self.has_answered |= bool(windows)
        found, cut, inferred = self._stream.took
        return converted - began + cut, found, inferred, decided - pushed


class Crowd(PeopleTracker):
    """Find people as ever, and pretend that they are so many: the same ones several times over, or fewer.

    Args:
        count: How many.
        boxes: Of people who were found before.
    """

    def __init__(self, count: int, boxes: list[Box]):
        """Start with those who were found."""
        super().__init__()
        self._count, self._boxes = count, boxes

    def update(self, image: np.ndarray, seconds: float) -> list[Person]:
        """Find the people in the next frame, and return so many."""
        self._boxes = [person.box_px for person in super().update(image, seconds)] or self._boxes
        boxes = islice(cycle(self._boxes), self._count)
        return [Person(number, box, 1.0) for number, box in enumerate(boxes, 1)]


class ReplayedFrame:
    """A frame that is shown again at another time."""

    def __init__(self, frame: VideoFrame, seconds: float):
        """Keep the frame."""
        self._frame, self.seconds, self.size, self.rgb = frame, seconds, frame.size, frame.rgb
