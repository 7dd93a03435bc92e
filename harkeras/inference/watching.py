"""Watch a camera, a stream or a file: what happens in it becomes events, while it happens.

A look at the newest frames is never late by more than itself: what came meanwhile waits as the few small
pictures that the next window needs, and windows that have passed are not computed. Where the model keeps up,
it sees what `predict_on_video(..., causal=True)` shows it of a file, and says the same.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Unpack

import keras
import numpy as np

from harkeras.inference._lookers import Moment, PeopleLooker, PictureLooker
from harkeras.inference.conversion import Runtime
from harkeras.inference.decisions import UNSURE, check_settings
from harkeras.inference.events import ActionEvent, EventRules
from harkeras.inference.resolve import ForeignModel, ResolvedModel, resolve_model
from harkeras.inference.sinks import EventSink
from harkeras.people.tracking import PeopleTracker, Person
from harkeras.video.addresses import check_source, is_stream
from harkeras.video.drawing import class_color, draw_caption, draw_person, person_color
from harkeras.video.live import LiveFrame, LiveVideo, SourceEvent
from harkeras.video.reading import VideoInfo, iter_decoded

# How soon a request to stop is heard.
_LONGEST_WAIT_SECONDS = 0.2
# Moments of one stream follow each other unless they are further apart than this many windows and strides.
_GAP_WINDOWS = 2


@dataclass(frozen=True)
class WatchState:
    """What is seen at a moment.

    Attributes:
        seconds: The moment, on the clock of the source: when the newest frame came.
        time: The same as time of day, with its time zone.
        label: The label that holds; "unsure" before there is one. Of several people, of the one in `people`
            whose label was decided on last; "unsure" when that one has gone.
        confidence: Its probability.
        fps: Frames per second that the source sends.
        lag_seconds: From when the newest frame came to when all was said of it.
        frame: The newest frame.
        people: The people in it, where each is watched.
        labels: Number of a person -> label and probability; that of the whole picture is None.
    """

    seconds: float
    time: datetime
    label: str
    confidence: float
    fps: float
    lag_seconds: float
    frame: LiveFrame
    people: tuple[Person, ...]
    labels: dict[int | None, tuple[str, float]]


def watch(
    source: int | str | os.PathLike,
    model: str | os.PathLike | keras.Model,
    *,
    actions: Sequence[str] | None = None,
    on_seconds: float = 1.0,
    off_seconds: float = 1.0,
    seconds: float | None = None,
    per_person: bool = False,
    tracker: PeopleTracker | None = None,
    real_time: bool = True,
    sinks: Sequence[EventSink] = (),
    on_state: Callable[[WatchState], None] | None = None,
    stop: threading.Event | None = None,
    stride_seconds: float | None = None,
    smoothing_seconds: float = 0.5,
    hysteresis: float = 0.1,
    min_seconds: float = 0.5,
    threshold: float = 0.5,
    runtime: Runtime | None = None,
    **foreign: Unpack[ForeignModel],
) -> Generator[ActionEvent | SourceEvent, None, None]:
    """Watch a source, and yield what happens, while it happens.

    Frames are sampled by their times as in training, whatever the rate of the camera. A source that goes away
    is waited for. However it ends, actions that still hold end with it, and `sinks` are told so.

    Args:
        source: Number of a camera, the address of a stream (RTSP, HTTP or whatever FFmpeg opens), or a file,
            which is played at its own speed.
        model: Path of a `.keras` file or of a run, one of `list_pretrained()`, or a model in memory.
        actions: The actions to watch for; all classes by default.
        on_seconds: How long an action must hold to begin, see `EventRules`.
        off_seconds: How long it must be gone to end.
        seconds: How long to watch; until the source ends by default, which a camera never does.
        per_person: Whether to follow each person in the picture, and watch everyone's actions; a model that
            was trained on people is shown them in any case.
        tracker: Who finds and follows people; a `PeopleTracker()` by default.
        real_time: With False, a file is looked at as fast as it goes, and nothing is left out.
        sinks: Where events go as well; whoever opened them closes them.
        on_state: Called after each look, in the thread that takes the events.
        stop: Ends watching when it is set, within 0.2 s and a look.
        stride_seconds: Time from one window to the next; see `ActionStream` for the default.
        smoothing_seconds: Average the probabilities of windows over this time; 0 for none.
        hysteresis: A new label must lead by this much; 0 for nothing.
        min_seconds: A label must last this long; 0 for none.
        threshold: Under this probability the label is "unsure"; 0 for never.
        runtime: The engine that computes the model, "keras", "onnx" or "litert", see `predict_on_video`.
        **foreign: What a recipe would say, for a model without one, see `ForeignModel`.

    Yields:
        `ActionEvent` when an action begins or ends, and `SourceEvent` when something happens to the source.

    Raises:
        FileNotFoundError: If there is no such file or model.
        ValueError: If `seconds` is not positive, `real_time` is False and the source no file, `actions`
            are no classes, or another argument is out of its range or does not fit the model.
        VideoError: If the source cannot be opened, or a file not decoded.
        ImportError: If people are followed and the package `trackers` is not installed, or the engine.

    Example:
        >>> for event in watch(0, "saved_models/run", actions=["Falling"]):
        ...     print(event.kind, event.time)
    """
    check_source(source)
    if seconds is not None and not seconds > 0:
        raise ValueError(f"seconds must be positive, got {seconds}")
    if not real_time and is_stream(source):
        raise ValueError(f"real_time must be True for a source that is no file, got {source}")
    resolved = resolve_model(model, runtime=runtime, **foreign)
    recipe = resolved.recipe
    settings: dict[str, Any] = {
        "smoothing_seconds": smoothing_seconds,
        "hysteresis": hysteresis,
        "min_seconds": min_seconds,
        "threshold": threshold,
    }
    check_settings(1.0 if stride_seconds is None else stride_seconds, **settings)
    rules = EventRules(
        classes=recipe.classes, on_seconds=on_seconds, off_seconds=off_seconds, actions=actions
    )
    people = per_person or recipe.subject == "person"
    looker = create_looker(resolved, rules, people, tracker, stride_seconds, settings)
    watcher = _Watcher(looker, rules, sinks, on_state)
    return (watcher.watch if real_time else watcher.read)(source, seconds, stop or threading.Event())


def create_looker(
    resolved: ResolvedModel,
    rules: EventRules,
    per_person: bool,
    tracker: PeopleTracker | None = None,
    stride_seconds: float | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> PictureLooker | PeopleLooker:
    """Make what looks at frames, and tell the rules how far its moments may lie apart.

    Args:
        resolved: The model.
        rules: What its moments will go through.
        per_person: Whether to look at each person.
        tracker: Who finds and follows people.
        stride_seconds: Time between windows, see `ActionStream`.
        settings: Of `Decider`.
    """
    model, recipe, _ = resolved
    made_of = (model, recipe, stride_seconds, {**settings, "thresholds": recipe.thresholds})
    looker = PeopleLooker(*made_of, tracker) if per_person else PictureLooker(*made_of)
    rules.gap_seconds = max(rules.gap_seconds, _GAP_WINDOWS * (recipe.clip_seconds + looker.stride_seconds))
    return looker


class _Watcher:
    """From frames to events: looks at frames, applies the rules, and tells the sinks."""

    def __init__(
        self,
        looker: PictureLooker | PeopleLooker,
        rules: EventRules,
        sinks: Sequence[EventSink],
        on_state: Callable[[WatchState], None] | None,
    ):
        self._looker, self._rules, self._sinks, self._on_state = looker, rules, sinks, on_state
        self._labels: dict[int | None, tuple[str, float]] = {}
        self._shown = UNSURE, 0.0
        self._frame: LiveFrame | None = None  # the last one that was looked at

    def watch(
        self, source: int | str | os.PathLike, seconds: float | None, stop: threading.Event
    ) -> Generator[ActionEvent | SourceEvent, None, None]:
        """Look at the newest frames of a live source."""
        looker = self._looker
        each_frame = looker.sample if looker.samples_quickly else None
        try:
            with LiveVideo(source, each_frame=each_frame) as live:
                until = math.inf if seconds is None else time.monotonic() + seconds
                while not (stop.is_set() or live.ended or time.monotonic() >= until):
                    frame = live.newest(_LONGEST_WAIT_SECONDS)
                    for event in live.events():
                        yield event
                        if event.kind == "lost":
                            yield from self._end_all()
                    if frame is None:
                        continue
                    if each_frame is None:
                        looker.sample(frame)
                    yield from self._take(looker.look(frame), frame)
                    self._tell_state(live.fps, live.elapsed_seconds() - frame.seconds)
                if live.ended:
                    yield from self._finish(live.end_seconds)
            yield from self._end_all()
        finally:
            self._end_all()

    def read(
        self, source: int | str | os.PathLike, seconds: float | None, stop: threading.Event
    ) -> Generator[ActionEvent | SourceEvent, None, None]:
        """Look at all of a file, as fast as it goes."""
        info = VideoInfo.read(str(source))
        end = min(math.inf if seconds is None else seconds, info.duration_seconds)
        began, lock = datetime.now().astimezone(), threading.Lock()
        try:
            for picture in iter_decoded(info.path, end_seconds=end):
                if stop.is_set():
                    break
                at = began + timedelta(seconds=picture.seconds)
                frame = LiveFrame(picture.seconds, at, picture, lock)
                self._looker.sample(frame)
                yield from self._take(self._looker.look(frame, at_all=True), frame)
                self._tell_state(info.fps, 0.0)
            else:
                yield from self._finish(end, at_all=True)
            yield from self._end_all()
        finally:
            self._end_all()

    def _take(self, moments: list[Moment], frame: LiveFrame) -> list[ActionEvent]:
        """Apply the rules to what was said, show the frame to the sinks, and then tell them the events."""
        self._frame = frame
        events = []
        for label, confidence, seconds, at, person in moments:
            self._labels[person] = self._shown = label, confidence
            events += self._rules.update(label, confidence, seconds, at, person)
        for number in self._looker.gone:
            if self._labels.pop(number, None) is self._shown:
                self._shown = UNSURE, 0.0
            events += self._rules.finish_person(number, frame.seconds, frame.time)
        self._show(frame)
        return self._tell(events)

    def _finish(self, end_seconds: float | None, *, at_all: bool = False) -> list[ActionEvent]:
        """Say what is left when the source ends."""
        if self._frame is None:
            return []
        end = self._frame.seconds if end_seconds is None else end_seconds
        moments = self._looker.finish(self._frame, end, at_all=at_all)
        events = []
        for label, confidence, seconds, at, person in moments:
            events += self._rules.update(label, confidence, seconds, at, person)
        at = self._frame.time + timedelta(seconds=end - self._frame.seconds)
        return self._tell(events + self._rules.finish(end, at))

    def _end_all(self) -> list[ActionEvent]:
        """End what is open, because the source is lost or nobody watches any longer."""
        if self._frame is None:
            return []
        return self._tell(self._rules.finish(self._frame.seconds, self._frame.time))

    def _show(self, frame: LiveFrame) -> None:
        showing = [sink for sink in self._sinks if sink.needs_frames]
        if not showing:
            return
        image, (label, confidence) = frame.image, self._labels.get(None, (None, 0.0))
        draw_people(image, self._looker.people, self._labels)
        for sink in showing:
            sink.on_frame(image, frame.seconds, label, confidence)

    def _tell(self, events: list[ActionEvent]) -> list[ActionEvent]:
        for event in events:
            for sink in self._sinks:
                sink.on_event(event)
        return events

    def _tell_state(self, fps: float, lag_seconds: float) -> None:
        if self._on_state is not None and self._frame is not None:
            frame, people = self._frame, tuple(self._looker.people)
            self._on_state(
                WatchState(
                    frame.seconds,
                    frame.time,
                    *self._shown,
                    fps,
                    lag_seconds,
                    frame,
                    people,
                    dict(self._labels),
                )
            )


def draw_state(state: WatchState, classes: Sequence[str]) -> np.ndarray:
    """Draw what is seen on the newest frame: uint8 RGB (H, W, 3)."""
    image = state.frame.image
    draw_people(image, state.people, state.labels)
    if None in state.labels:
        label, confidence = state.labels[None]
        draw_caption(image, label, None if label == UNSURE else confidence, class_color(label, classes))
    return image


def draw_people(
    image: np.ndarray, people: Sequence[Person], labels: Mapping[int | None, tuple[str, float]]
) -> None:
    """Draw a box around each person, with the label that holds, on uint8 RGB (H, W, 3), in place."""
    for number, box, _ in people:
        label, confidence = labels.get(number, (UNSURE, 0.0))
        share = None if label == UNSURE else confidence
        draw_person(image, box, f"{number} {label}", share, person_color(number))
