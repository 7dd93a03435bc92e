"""Frames of a source whose end nobody knows -> those that windows look at, as they come."""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np

from harkeras.people.clips import create_view
from harkeras.recipe import Recipe
from harkeras.video.frame_times import ROUNDING_SECONDS
from harkeras.video.frames import VideoFrame

# Times of frames and of windows are computed in other orders of additions.
_TOLERANCE_SECONDS = 1e-9


class Samples(NamedTuple):
    """What a stream must be shown next.

    Attributes:
        images: uint8 (H, W, C), or float32 (K, D) each.
        seconds: When each of them appears.
        anew: Whether they follow nothing that was shown before.
    """

    images: list[np.ndarray]
    seconds: list[float]
    anew: bool


class FrameSampler:
    """Choose the frames that `ActionStream` needs, as its `frames_needed` does for a whole file.

    A frame is looked at if it is on screen in the middle of a part of some window, which is known when the
    next one comes. Besides these, the stream gets the first frame, those on both sides of a long pause, and
    the one with which a window is complete. What it has not taken waits, for no longer than what is a gap to
    it; then all begins anew. One thread may sample and another take.

    Args:
        recipe: What the model must be shown.
        stride_seconds: Time between windows.
    """

    def __init__(self, recipe: Recipe, stride_seconds: float):
        """Start with no frame."""
        self._view = create_view(recipe.clip_format)
        self._clip, self._stride = recipe.clip_seconds, stride_seconds
        self._gap = 2 * (recipe.clip_seconds + stride_seconds)
        self._middles = (np.arange(recipe.frames) + 0.5) * recipe.clip_seconds / recipe.frames
        self._lock = threading.Lock()
        self._images: list[np.ndarray] = []
        self._seconds: list[float] = []
        self._anew = False
        self._first: float | None = None  # when the first window begins
        self._held: VideoFrame | None = None  # on screen until the next one comes
        self._is_read = False  # whether the stream has it already
        self._index = 0

    def push(self, frame: VideoFrame) -> None:
        """Take the next frame in, and convert what is needed of it and of the one before."""
        self._drop_old(frame.seconds)
        now, held = frame.seconds, self._held
        step = 0.0 if held is None else now - held.seconds
        if held is not None and not self._is_read:
            self._read(held, step > self._gap / 2 or self._is_between(self._middles, held.seconds, now))
        self._index += 1
        if held is not None and held.size != frame.size:
            self._index += 1  # flow has nothing to compare with
        if self._first is None or step > self._gap or step < -self._clip:
            self._first, begins = now, True
        else:
            begins = step > self._gap / 2
            # A window that ends at this moment ends before a frame that appears just then.
            ends = np.array([self._clip])
            begins |= held is not None and self._is_between(
                ends, held.seconds + 2 * ROUNDING_SECONDS, now + 2 * ROUNDING_SECONDS
            )
        self._held, self._is_read = frame, begins
        if begins:
            self._read(frame, True)

    def finish(self) -> None:
        """Read the last frame, which is on screen until the end."""
        if self._held is not None and not self._is_read:
            self._read(self._held, True)
            self._is_read = True

    @property
    def waiting(self) -> int:
        """How many frames the stream has not been shown yet."""
        return len(self._images)

    def take(self) -> Samples:
        """Return what the stream has not been shown yet."""
        with self._lock:
            samples = Samples(self._images, self._seconds, self._anew)
            self._images, self._seconds, self._anew = [], [], False
            return samples

    def _is_between(self, offsets: np.ndarray, begin: float, end: float) -> bool:
        """Tell whether a moment, `offsets` from the start of any window, lies in [begin, end)."""
        begin, end = (moment - self._first - ROUNDING_SECONDS for moment in (begin, end))
        windows = np.maximum(np.ceil((begin - offsets - _TOLERANCE_SECONDS) / self._stride), 0)
        return bool((offsets + windows * self._stride < end + _TOLERANCE_SECONDS).any())

    def _read(self, frame: VideoFrame, wanted: bool) -> None:
        image = self._view.read(frame, self._index, wanted)
        if image is not None:
            with self._lock:
                self._images.append(image)
                self._seconds.append(frame.seconds)

    def _drop_old(self, now: float) -> None:
        with self._lock:
            if self._seconds and now - self._seconds[0] > self._gap:
                self._images, self._seconds, self._anew = [], [], True
                self._first, self._held = None, None
