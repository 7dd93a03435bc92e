"""Watch frames that somebody else brings, one at a time: those that come to a service, or to a robot."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from threading import Lock
from typing import NamedTuple, Unpack

import keras
import numpy as np

from harkeras.inference._lookers import Moment
from harkeras.inference.decisions import UNSURE
from harkeras.inference.events import ActionEvent, EventRules
from harkeras.inference.resolve import ForeignModel, resolve_model
from harkeras.inference.watching import create_looker
from harkeras.people.tracking import PeopleTracker, Person
from harkeras.recipe import Interpolation
from harkeras.video.images import resize_image
from harkeras.video.live import LiveFrame


class FrameState(NamedTuple):
    """What is seen when a frame has come.

    Attributes:
        seconds: When the frame appeared.
        label: The label that holds, "unsure" before there is one; of several people, that of whom was decided
            on last.
        confidence: Its probability.
        people: The people in the frame, where each is watched.
        labels: Number of a person -> label and probability; that of the whole picture is None.
        events: What has begun or ended.
    """

    seconds: float
    label: str
    confidence: float
    people: tuple[Person, ...]
    labels: dict[int | None, tuple[str, float]]
    events: list[ActionEvent]


class FrameWatcher:
    """Watch frames as they are brought: what `watch` does with a source that it opens by itself.

    Of the frames of a file it says what `predict_on_video(..., causal=True)` says. Labels are decided as
    `Decider` does by default.

    Args:
        model: Path of a `.keras` file or of a run, one of `list_pretrained()`, or a model in memory.
        actions: The actions whose beginnings and ends are told; all classes by default.
        on_seconds: How long an action must hold to begin, see `EventRules`.
        off_seconds: How long it must be gone to end.
        per_person: Whether to follow each person in the picture; a model that was trained on people is shown
            them in any case.
        tracker: Who finds and follows people; a `PeopleTracker()` by default.
        stride_seconds: Time from one window to the next; see `ActionStream` for the default.
        **foreign: What a recipe would say, for a model without one, see `ForeignModel`.

    Raises:
        FileNotFoundError: If there is no such model.
        ValueError: If `actions` are no classes, or another argument is out of its range or does not fit the
            model.
        ImportError: If people are followed and the package `trackers` is not installed.

    Example:
        >>> watcher = FrameWatcher("saved_models/run")
        >>> for seconds, image in my_frames:
        ...     print(watcher.push(image, seconds).label)
    """

    def __init__(
        self,
        model: str | os.PathLike | keras.Model,
        *,
        actions: Sequence[str] | None = None,
        on_seconds: float = 1.0,
        off_seconds: float = 1.0,
        per_person: bool = False,
        tracker: PeopleTracker | None = None,
        stride_seconds: float | None = None,
        **foreign: Unpack[ForeignModel],
    ):
        """Compile the model."""
        resolved = resolve_model(model, **foreign)
        recipe = resolved.recipe
        self._rules = EventRules(
            classes=recipe.classes, on_seconds=on_seconds, off_seconds=off_seconds, actions=actions
        )
        people = per_person or recipe.subject == "person"
        self._looker = create_looker(resolved, self._rules, people, tracker, stride_seconds)
        self._labels: dict[int | None, tuple[str, float]] = {}
        self._shown = UNSURE, 0.0
        self._last: LiveFrame | None = None
        self._lock = Lock()

    def push(self, image: np.ndarray, seconds: float) -> FrameState:
        """Take in the next frame.

        Args:
            image: uint8 RGB (H, W, 3), of any size; nobody may change it later.
            seconds: When it appears, later than the frame before. A long pause is a gap.

        Raises:
            ValueError: If it is no such image, or `seconds` is no finite number or does not increase. The
                frame is then left out.
        """
        if image.dtype != np.uint8 or image.shape[2:] != (3,) or not image.size:
            raise ValueError(f"image must be uint8 RGB (H, W, 3), got {image.dtype} {image.shape}")
        last = -math.inf if self._last is None else self._last.seconds
        if not last < seconds < math.inf:
            raise ValueError(f"seconds must be finite and increase, got {seconds} after {last}")
        now = datetime.now().astimezone()
        frame = LiveFrame(seconds, now, _Picture(image), self._lock)
        self._last = frame
        self._looker.sample(frame)
        events = self._take(self._looker.look(frame, at_all=True))
        for number in self._looker.gone:
            if self._labels.pop(number, None) is self._shown:
                self._shown = UNSURE, 0.0
            events += self._rules.finish_person(number, seconds, now)
        return FrameState(seconds, *self._shown, tuple(self._looker.people), dict(self._labels), events)

    def finish(self, end_seconds: float | None = None) -> list[ActionEvent]:
        """Return what is left to tell when the last frame goes, by default when it came."""
        if self._last is None:
            return []
        end = max(self._last.seconds, -math.inf if end_seconds is None else end_seconds)
        events = self._take(self._looker.finish(self._last, end, at_all=True))
        return events + self._rules.finish(end, self._last.time + timedelta(seconds=end - self._last.seconds))

    def _take(self, moments: list[Moment]) -> list[ActionEvent]:
        events = []
        for label, confidence, seconds, at, person in moments:
            self._labels[person] = self._shown = label, confidence
            events += self._rules.update(label, confidence, seconds, at, person)
        return events


class _Picture:
    """An image in memory, as a frame of a camera has one."""

    def __init__(self, image: np.ndarray):
        self._image = image
        self.size = image.shape[:2]

    def rgb(
        self, height: int | None = None, width: int | None = None, *, interpolation: Interpolation = "area"
    ) -> np.ndarray:
        return resize_image(self._image, height, width, interpolation=interpolation)
