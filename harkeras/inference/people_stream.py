"""A model over time for each person in a picture: crops or joints of each go through windows of their own."""

from __future__ import annotations

import time
from dataclasses import replace

import keras
import numpy as np

from harkeras.inference.decisions import Window
from harkeras.inference.streaming import ActionStream, push_together
from harkeras.people.crops import BoxSmoother, crop_person
from harkeras.people.pose import PoseEstimator, PoseTracker
from harkeras.people.tracking import PeopleTracker, Person
from harkeras.recipe import Recipe


class PeopleStream:
    """Follow the people in frames as they come, and slide a model over each of them.

    What is computed of all people at a moment is computed at once.

    A person who is no longer found is forgotten, and the windows that are left are finished; what is kept
    does not grow with the stream.

    Args:
        model: The model, whose outputs are probabilities.
        recipe: What it must be shown: of people's crops, or of their joints.
        tracker: Who follows the people; a `PeopleTracker()` by default.
        estimator: What finds joints, for a model of joints, see `find_joints`; MoveNet by default.
        stride_seconds: Time between windows, see `ActionStream`.

    Attributes:
        people: The people in the last frame.
        took: Seconds that the last frame took: to find the people in it, to cut them out, and to name what
            they do.

    Raises:
        ValueError: As `ActionStream`; or if the model looks at optical flow, which crops do not have.
        ImportError: If the package `trackers` is not installed.

    Example:
        >>> stream = PeopleStream(model, model.recipe)
        >>> for frame in iter_frames("street.mp4"):
        ...     for number, window in stream.push(frame.image, frame.seconds):
        ...         print(number, window.end_seconds, window.probabilities)
    """

    def __init__(
        self,
        model: keras.Model,
        recipe: Recipe,
        *,
        tracker: PeopleTracker | None = None,
        estimator: PoseEstimator | None = None,
        stride_seconds: float | None = None,
    ):
        """Start with nobody."""
        if recipe.streams not in ("rgb", "pose"):
            raise ValueError(f"recipe must be of streams 'rgb' or 'pose' for people, got {recipe.streams!r}")
        recipe = replace(recipe, subject="person")  # whatever it learned from, it looks at one at a time
        self.recipe, self._estimator = recipe, estimator
        self._tracker = tracker or PeopleTracker()
        self._stream = ActionStream(model, recipe, stride_seconds=stride_seconds)
        self.stride_seconds = self._stream.stride_seconds
        self._followed: dict[int, _Followed] = {}
        self.people: list[Person] = []
        self.took = 0.0, 0.0, 0.0

    def warm_up(self) -> None:
        """Compile what a long stream needs, before its first frame comes, see `ActionStream.warm_up`."""
        self._stream.warm_up()

    def push(
        self, image: np.ndarray, seconds: float, *, newest_only: bool = False
    ) -> list[tuple[int, Window]]:
        """Take the next frame in, and return the windows that are complete, with the person's number.

        Args:
            image: uint8 RGB (H, W, 3), in full size.
            seconds: When it appears.
            newest_only: Compute the last complete window of each person alone, see `ActionStream.push`.

        Raises:
            ValueError: If the image is no uint8 RGB, or the detector gives something else than boxes.
        """
        began = time.perf_counter()
        self.people = self._tracker.update(image, seconds)
        found = time.perf_counter()
        numbers = {person.number for person in self.people}
        windows = []
        for number in self._followed.keys() - numbers:
            windows += self._finish(number, self._followed[number].seconds)
        views = [self._follow(person).view(image, person, seconds) for person in self.people]
        cut = time.perf_counter()
        if views:
            streams = [self._followed[person.number].stream for person in self.people]
            complete = push_together(streams, np.stack(views), seconds, newest_only=newest_only)
            for person, several in zip(self.people, complete, strict=True):
                windows += [(person.number, window) for window in several]
        self.took = found - began, cut - found, time.perf_counter() - cut
        return windows

    @property
    def joints(self) -> dict[int, np.ndarray]:
        """The joints of each of the people by number, float32 (K, 3), for a model of joints; else empty."""
        found = {person.number: self._followed[person.number].joints for person in self.people}
        return {number: joints for number, joints in found.items() if joints is not None}

    def _follow(self, person: Person) -> _Followed:
        if person.number not in self._followed:
            stream = self._stream.anew()
            self._followed[person.number] = _Followed(stream, self.recipe, self._estimator)
        return self._followed[person.number]

    def finish(self, end_seconds: float) -> list[tuple[int, Window]]:
        """Return the windows that are left when the video ends, and start anew."""
        here, windows = {person.number for person in self.people}, []
        for number in sorted(self._followed):
            windows += self._finish(number, end_seconds if number in here else self._followed[number].seconds)
        self.people = []
        return windows

    def _finish(self, number: int, seconds: float) -> list[tuple[int, Window]]:
        followed = self._followed.pop(number)
        return [(number, window) for window in followed.stream.finish(seconds)]


class _Followed:
    """One person: the model's windows, and what it sees."""

    def __init__(self, stream: ActionStream, recipe: Recipe, estimator: PoseEstimator | None):
        self.stream, self._recipe, self.seconds = stream, recipe, 0.0
        self._smoother, self.joints = BoxSmoother(), None
        self._pose = PoseTracker(estimator=estimator) if recipe.streams == "pose" else None

    def view(self, image: np.ndarray, person: Person, seconds: float) -> np.ndarray:
        """Return the crop uint8 (H, W, 3), or the joints float32 (K, D)."""
        self.seconds, recipe = seconds, self._recipe
        if self._pose is not None:
            self.joints = self._pose.update(image, seconds, person.box_px)
            return self.joints[:, : recipe.coordinates]
        box = self._smoother.update(person.box_px, seconds)
        return crop_person(image, box, recipe.height, recipe.width, interpolation=recipe.interpolation)
