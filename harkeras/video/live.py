"""A camera, a stream, or a file at its own speed: the newest frame, and what happens to the source.

A thread of its own takes each frame as it comes, and keeps the last one only: whoever looks is never behind
by more than a frame, however long the last look took. Frames that nobody asks for are decoded, but not
converted.

Seconds count from the first frame. Those of a camera or a stream are by the clock of this machine at the
moment of arrival, because clocks in cameras jump; those of a file are its own.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np

from harkeras.recipe import Interpolation
from harkeras.video._connections import Connection, Picture, connect, name_source
from harkeras.video.decoding import VideoError

# From one try to open a lost source to the next: the first of these at first, twice as long each time.
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.5, 30.0
# Without a frame for so long, a source that goes on had a gap.
_GAP_SECONDS = 2.0
# The time of day is set when it moves by more than this against the clock that counts seconds.
_SET_SECONDS = 2.0
# Damage is told anew after so long without.
_SOUND_SECONDS = 30.0
# A picture that is due later than this is behind a jump of the source's clock.
_LONGEST_LEAD_SECONDS = 60.0
_LEAST_STEP_SECONDS = 0.001
_FRAMES_OF_RATE = 30


def _now() -> datetime:
    return datetime.now().astimezone()


SourceEventKind = Literal["lost", "back", "gap", "frozen", "moving", "resized", "damaged", "clock"]


@dataclass(frozen=True)
class SourceEvent:
    """Something that happens to a source, told once.

    Attributes:
        kind: "lost" when nothing comes any more, and "back" with the next frame; "gap" after a pause;
            "frozen" when the picture stands still, and "moving" when it no longer does; "resized"; "damaged"
            for what cannot be decoded; "clock" when the time of day was set.
        seconds: When, on the clock of the source.
        time: The same as time of day, with its time zone.
        message: What happened, in words.
    """

    kind: SourceEventKind
    seconds: float
    time: datetime
    message: str


class LiveFrame:
    """A frame of a source, converted when it is asked for, in any thread.

    Attributes:
        seconds: When it came, on the clock of the source, increasing.
        time: The same as time of day, with its time zone.
    """

    def __init__(self, seconds: float, time: datetime, picture: Picture, lock: threading.Lock):
        """Keep the picture; nothing is converted yet."""
        self.seconds, self.time = seconds, time
        self._picture, self._lock = picture, lock

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels as displayed."""
        return self._picture.size

    @property
    def image(self) -> np.ndarray:
        """The pixels as displayed, uint8 RGB (H, W, 3)."""
        return self.rgb()

    def rgb(
        self, height: int | None = None, width: int | None = None, *, interpolation: Interpolation = "area"
    ) -> np.ndarray:
        """Return uint8 RGB (H, W, 3) in the given size; as displayed by default."""
        with self._lock:  # one converter serves all frames
            return self._picture.rgb(height, width, interpolation=interpolation)


class LiveVideo:
    """The newest frame of a camera, a stream, or a file at its own speed; opened by a `with` block.

    A camera or stream that goes away is waited for, for ever, and opened again: at first every half second,
    then more and more seldom, up to every 30 seconds.

    Args:
        source: Number of a camera, the address of a stream (RTSP, HTTP with MJPEG, HLS or whatever FFmpeg
            opens), or a file.
        each_frame: Called with every frame in the thread that decodes; it must be quick.
        frozen_seconds: A camera or stream whose picture stands still for so long is frozen.
        clock: Seconds that only ever increase.
        now: The time of day, with its time zone.

    Attributes:
        end_seconds: When the source ends on its clock; None for one that does not.

    Raises:
        FileNotFoundError: If there is no such file, at the beginning of the block.
        VideoError: If the source cannot be opened there, or, later, a file not decoded.
        ValueError: If `frozen_seconds` is not positive.

    Example:
        >>> with LiveVideo("rtsp://camera.local/stream") as live:
        ...     while (frame := live.newest(10)) is not None:
        ...         print(frame.seconds, frame.image.shape)
    """

    def __init__(
        self,
        source: int | str | os.PathLike,
        *,
        each_frame: Callable[[LiveFrame], None] | None = None,
        frozen_seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = _now,
    ):
        """Remember what to open."""
        if not frozen_seconds > 0:
            raise ValueError(f"frozen_seconds must be positive, got {frozen_seconds}")
        self.source, self.name = source, name_source(source)
        self.end_seconds: float | None = None
        self._each_frame, self._frozen_seconds = each_frame, frozen_seconds
        self._clock, self._now = clock, now
        self._changed, self._stopped = threading.Condition(), threading.Event()
        self._converting = threading.Lock()
        self._newest: LiveFrame | None = None  # not yet handed out
        self._events: deque[SourceEvent] = deque()
        self._error: Exception | None = None
        self._ended = False
        self._began: float | None = None  # what the clock said at second 0
        self._shift = 0.0  # from the source's own clock to this machine's
        self._last: LiveFrame | None = None
        self._recent: deque[float] = deque(maxlen=_FRAMES_OF_RATE)
        self._lost = False
        self._pixels, self._still_since, self._is_frozen = b"", 0.0, False
        self._damaged_at = -np.inf
        self._set_by: float | None = None  # the time of day minus the clock

    def __enter__(self) -> LiveVideo:
        """Open the source, and begin to take frames."""
        self._connection: Connection = connect(self.source)
        self.end_seconds = self._connection.end_seconds
        self._thread = threading.Thread(target=self._run, name=f"frames of {self.name}", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Let go of the source; a source that is silent at this moment is left to its time-out."""
        self._stopped.set()
        self._thread.join(1.0)

    @property
    def fps(self) -> float:
        """Frames per second that came lately, 0 while there are less than two."""
        recent = list(self._recent)
        span = recent[-1] - recent[0] if len(recent) > 1 else 0.0
        return (len(recent) - 1) / span if span > 0 else 0.0

    def elapsed_seconds(self) -> float:
        """Return what the clock of the source says now."""
        return 0.0 if self._began is None else self._clock() - self._began

    def newest(self, timeout_seconds: float | None = None) -> LiveFrame | None:
        """Wait for a frame that is newer than the last one that was given, and return it.

        Returns:
            The newest frame; None if none came in time, there is something to tell (`events`), or the source
            has ended.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._newest or self._ended or self._error or self._events, timeout_seconds
            )
            if self._error is not None:
                raise self._error
            frame, self._newest = self._newest, None
            return frame

    def events(self) -> list[SourceEvent]:
        """Return what happened to the source since the last call."""
        with self._changed:
            events = list(self._events)
            self._events.clear()
            return events

    @property
    def ended(self) -> bool:
        """Whether the source has come to its end, and its last frame was given."""
        with self._changed:
            return self._ended and self._newest is None

    # In the thread of the source

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                reason = self._read()
                self._connection.close()
                if self._stopped.is_set() or self.end_seconds is not None:
                    break
                self._reopen(reason)
        except Exception as error:  # what fails here is told where frames are taken
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _read(self) -> str:
        """Take frames until there are no more, and say why."""
        try:
            for seconds, picture, pixels in self._connection.pictures(self._tell_damage):
                if self._connection.own_clock:
                    self._wait_until_due(seconds)
                if self._stopped.is_set():
                    break
                self._take(seconds, picture, pixels)
        except OSError as error:
            return str(error)
        return "it ended"

    def _reopen(self, reason: str) -> None:
        if not self._lost:
            self._lost = True
            self._wait_seconds = _FIRST_WAIT_SECONDS
            self._tell("lost", f"{self.name} is lost ({reason}); waiting for it")
        while not self._stopped.wait(self._wait_seconds):
            self._wait_seconds = min(2 * self._wait_seconds, _LONGEST_WAIT_SECONDS)
            try:
                self._connection = connect(self.source)
                return
            except (VideoError, OSError):
                continue

    def _wait_until_due(self, seconds: float) -> None:
        if self._began is None:
            self._began, self._shift = self._clock() - seconds, 0.0
        lead = self._began + self._shift + seconds - self._clock()
        if self.end_seconds is None and not -_GAP_SECONDS < lead < _LONGEST_LEAD_SECONDS:
            self._shift -= lead  # the source's clock was set, or its next piece came late
        elif lead > 0:
            self._stopped.wait(lead)

    def _take(self, seconds: float, picture: Picture, pixels: bytes) -> None:
        arrived, now = self._clock(), self._now()
        if self._began is None:
            self._began = arrived
        last = self._last
        if self.end_seconds is None:
            seconds = arrived - self._began
            if last is not None and seconds < last.seconds + _LEAST_STEP_SECONDS:  # it never goes back
                self._began -= last.seconds + _LEAST_STEP_SECONDS - seconds
                seconds = last.seconds + _LEAST_STEP_SECONDS
        frame = LiveFrame(seconds, now, picture, self._converting)
        if self.end_seconds is None:
            self._look_at_times(frame, arrived)
            self._look_at_pixels(frame, pixels)
        if last is not None and last.size != frame.size:
            before, after = (f"{size[1]} x {size[0]}" for size in (last.size, frame.size))
            self._tell("resized", f"{self.name} now sends {after} pixels, before {before}", frame)
        self._last = frame
        self._recent.append(arrived)
        if self._each_frame is not None:
            self._each_frame(frame)
        with self._changed:
            self._newest = frame
            self._changed.notify_all()

    def _look_at_times(self, frame: LiveFrame, arrived: float) -> None:
        step = 0.0 if self._last is None else frame.seconds - self._last.seconds
        set_by = frame.time.timestamp() - arrived
        moved = 0.0 if self._set_by is None else set_by - self._set_by
        self._set_by = set_by
        if self._lost:
            self._lost = False
            self._recent.clear()
            self._tell("back", f"{self.name} is back after {step:.1f} s", frame)
        elif step > _GAP_SECONDS:
            self._tell("gap", f"{self.name} sent nothing for {step:.1f} s", frame)
        if abs(moved) > _SET_SECONDS:
            self._tell("clock", f"the clock of this machine was set by {moved:+.0f} s", frame)

    def _look_at_pixels(self, frame: LiveFrame, pixels: bytes) -> None:
        if pixels != self._pixels:
            self._pixels, self._still_since = pixels, frame.seconds
            if self._is_frozen:
                self._is_frozen = False
                self._tell("moving", f"the picture of {self.name} moves again", frame)
        elif not self._is_frozen and frame.seconds - self._still_since >= self._frozen_seconds:
            self._is_frozen = True
            still = frame.seconds - self._still_since
            self._tell("frozen", f"the picture of {self.name} has stood still for {still:.0f} s", frame)

    def _tell_damage(self, reason: str) -> None:
        now = self.elapsed_seconds()
        if now - self._damaged_at > _SOUND_SECONDS:
            self._tell("damaged", f"{self.name} sends what cannot be decoded ({reason})")
        self._damaged_at = now

    def _tell(self, kind: SourceEventKind, message: str, frame: LiveFrame | None = None) -> None:
        moment = (self.elapsed_seconds(), self._now()) if frame is None else (frame.seconds, frame.time)
        with self._changed:
            self._events.append(SourceEvent(kind, *moment, message))
            self._changed.notify_all()
