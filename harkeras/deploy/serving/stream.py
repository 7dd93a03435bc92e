"""A camera over a WebSocket: JPEG frames come in, what is seen goes out."""

from __future__ import annotations

import io
import json
import math
import time
from typing import Any

import numpy as np
from PIL import Image

from harkeras.base.text import printable
from harkeras.deploy.serving.limits import ServiceLimits
from harkeras.inference.frame_watcher import FrameState, FrameWatcher

_MOST_TEXT = 1000  # characters of a message


class StreamError(ValueError):
    """Why a message is left out; the connection goes on."""


class FrameClock:
    """Say when frames appear, and count them.

    Args:
        fps: Frames per second; without, frames that bring no time appear when they come.
        most_per_second: How many may come.
    """

    def __init__(self, fps: float | None, most_per_second: float):
        """Start with no frame."""
        self._fps, self._most = fps, most_per_second
        self._began = self._filled = time.monotonic()
        self._room = max(most_per_second, 1.0)
        self._count = 0
        self.next_seconds: float | None = None  # what the client has said of the next frame

    @property
    def end_seconds(self) -> float | None:
        """When the last frame goes; None where nobody knows."""
        return None if self._fps is None else self._count / self._fps

    def tick(self) -> float:
        """Return when a frame appears that has just come.

        Raises:
            StreamError: If there are more in a second than may be; the clock goes on all the same.
        """
        now = time.monotonic()
        self._room = min(self._room + (now - self._filled) * self._most, max(self._most, 1.0))
        self._filled = now
        seconds, self.next_seconds = self.next_seconds, None
        if seconds is None:
            seconds = now - self._began if self._fps is None else self._count / self._fps
        self._count += 1
        if self._room < 1:
            raise StreamError(f"more than {self._most:g} frames in a second: this one is left out")
        self._room -= 1
        return seconds


def read_jpeg(data: bytes, limits: ServiceLimits) -> np.ndarray:
    """Decode a JPEG: uint8 RGB (H, W, 3).

    Raises:
        StreamError: If it is too large, or cannot be decoded.
    """
    if len(data) > limits.frame_bytes:
        raise StreamError(f"a frame may have {limits.frame_megabytes:g} megabytes, got {len(data) / 1e6:.1f}")
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            if image.width * image.height > limits.pixels:
                raise StreamError(
                    f"a frame may have {limits.pixels} pixels, got {image.width} x {image.height}"
                )
            return np.asarray(image.convert("RGB"))
    except StreamError:
        raise
    except Exception as error:  # a damaged picture can raise anything
        raise StreamError(f"the frame is no JPEG that can be decoded: {error}") from error


def read_text(text: str) -> dict[str, Any]:
    """Read a message that is no frame: `{"seconds": 1.5}` of the next frame, or `{"end": true}`.

    Raises:
        StreamError: If it is neither.
    """
    try:
        message = json.loads(text[:_MOST_TEXT])
    except ValueError:
        message = None
    if isinstance(message, dict):
        seconds = message.get("seconds")
        if isinstance(seconds, int | float) and not isinstance(seconds, bool) and abs(seconds) < math.inf:
            return {"seconds": float(seconds)}
        if message.get("end") is True:
            return {"end": True}
    raise StreamError('a text must be {"seconds": 1.5}, the time of the next frame, or {"end": true}')


class FrameStream:
    """One connection.

    Args:
        watcher: What looks at its frames.
        clock: When they appear.
        limits: How large they may be.
    """

    def __init__(self, watcher: FrameWatcher, clock: FrameClock, limits: ServiceLimits):
        """Start with no frame."""
        self._watcher, self._clock, self._limits = watcher, clock, limits

    def take_frame(self, data: bytes) -> dict[str, Any]:
        """Look at a frame, and return what is seen.

        Raises:
            StreamError: If it is left out.
        """
        seconds = self._clock.tick()
        image = read_jpeg(data, self._limits)
        try:
            return _describe(self._watcher.push(image, seconds))
        except ValueError as error:
            raise StreamError(str(error)) from error

    def take_text(self, text: str) -> dict[str, Any] | None:
        """Take in the time of the next frame; or return what is left to tell, when the client ends.

        Raises:
            StreamError: If the text is neither.
        """
        message = read_text(text)
        if "end" in message:
            events = [event.to_dict() for event in self._watcher.finish(self._clock.end_seconds)]
            return {"kind": "end", "events": events}
        self._clock.next_seconds = message["seconds"]
        return None


def problem(error: StreamError) -> dict[str, Any]:
    """Return what a client is told of a message that is left out."""
    return {"kind": "problem", "detail": printable(error)}


def _describe(state: FrameState) -> dict[str, Any]:
    people = [
        {"number": number, "box_px": [round(float(x), 1) for x in box], "label": label, "confidence": share}
        for number, box, _ in state.people
        for label, share in [state.labels.get(number, ("unsure", 0.0))]
    ]
    return {
        "kind": "state",
        "seconds": state.seconds,
        "label": state.label,
        "confidence": state.confidence,
        "people": people,
        "events": [event.to_dict() for event in state.events],
    }


def open_stream(model: Any, fps: float | None, limits: ServiceLimits) -> FrameStream:
    """Make what answers the frames of one connection."""
    return FrameStream(FrameWatcher(model), FrameClock(fps, limits.frames_per_second), limits)
