"""The frames that the windows of a stream still need, and which windows are complete: no model yet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from harkeras.video.frame_times import ROUNDING_SECONDS


class KeptFrame:
    """A frame as it came and, once they were computed, its features in place of it."""

    __slots__ = ("features", "image")

    def __init__(self, image: np.ndarray):
        """Keep the frame."""
        self.image: np.ndarray | None = image
        self.features: np.ndarray | None = None


class Clips(NamedTuple):
    """Windows of one stream, and the frames that they look at.

    Attributes:
        starts: float (W,), where they start, in seconds.
        clip_seconds: How long they are.
        rows: int (W, T), which of the frames each looks at; -1 for those that are not known yet.
        frames: The frames.
        number: Number of the first window in the stream.
        memory: Number of a window -> what a model keeps of it, if it does.
        complete: Whether all of their frames are known.
    """

    starts: np.ndarray
    clip_seconds: float
    rows: np.ndarray
    frames: list[KeptFrame]
    number: int
    memory: dict[int, Any]
    complete: bool

    def part(self, first: int, stop: int) -> Clips:
        """Return some of the windows."""
        starts, rows = self.starts[first:stop], self.rows[first:stop]
        return self._replace(starts=starts, rows=rows, number=self.number + first)

    def newest(self) -> Clips:
        """Return the last of the windows, and forget what is kept of the others."""
        last = max(len(self.starts) - 1, 0)
        for number in range(self.number, self.number + last):
            self.memory.pop(number, None)
        return self.part(last, last + 1)


def in_groups(clips: Iterable[Clips], windows: int) -> Iterator[list[Clips]]:
    """Cut and join windows, in order, into groups of at most so many."""
    group: list[Clips] = []
    room = windows
    for each in clips:
        first = 0
        while first < len(each.starts):
            part = each.part(first, first + room)
            first += len(part.starts)
            room -= len(part.starts)
            group.append(part)
            if not room:
                yield group
                group, room = [], windows
    if group:
        yield group


class WindowBuffer:
    """Keep the frames of a stream for as long as windows need them.

    The behavior in time is written in `ActionStream`.

    Args:
        frames: Frames T per window.
        clip_seconds: Length of a window.
        stride_seconds: Time from the start of one window to that of the next.
    """

    def __init__(self, frames: int, clip_seconds: float, stride_seconds: float):
        """Start with no frame."""
        self._count_frames = frames
        self._clip_seconds, self._stride_seconds = clip_seconds, stride_seconds
        self._gap_seconds = 2 * (clip_seconds + stride_seconds)
        self._start_anew()

    def _start_anew(self) -> None:
        self._seconds = np.empty(0)  # (n,) when each of the frames at hand appears
        self._frames: list[KeptFrame] = []
        self._first: float | None = None  # when the first frame appeared
        self._count = 0  # windows since then
        self._memory: dict[int, Any] = {}

    def check(self, seconds: Sequence[float] | np.ndarray, count: int) -> np.ndarray:
        """Return the times of the next frames as float64 (count,); raise ValueError if they cannot be."""
        times = np.asarray(seconds, np.float64)
        if times.shape != (count,):
            raise ValueError(f"seconds must increase and be one per frame, got {seconds}")
        if not np.isfinite(times).all():
            raise ValueError(f"seconds must be finite numbers, got {seconds}")
        steps = self._steps(times)
        if ((steps <= 0) & (steps >= -self._clip_seconds)).any():
            behind = f" after a frame at {self._seconds[-1]}" if self._frames else ""
            raise ValueError(f"seconds must increase and be one per frame, got {seconds}{behind}")
        return times

    def _steps(self, times: np.ndarray) -> np.ndarray:
        return np.diff(np.concatenate([self._seconds[-1:], times]))

    def push(self, images: np.ndarray, times: np.ndarray) -> list[Clips]:
        """Take in frames whose times were checked, and return the windows that are complete."""
        steps = self._steps(times)
        breaks = (steps > self._gap_seconds) | (steps < 0)
        if not breaks.any():
            return [self._take_in(images, times)] if len(times) else []
        begins = np.flatnonzero(breaks) + 1 - len(self._seconds[-1:])  # behind a gap or a jump of the clock
        clips = []
        for part in np.split(np.arange(len(times)), begins):
            if not len(part):
                continue
            if part[0] in begins:
                clips += self._end_before_gap(times[part[0]])
            clips.append(self._take_in(images[part], times[part]))
        return clips

    def begun(self) -> Clips:
        """Return the windows that have begun and are not complete, as far as their frames are known."""
        if self._first is None:
            return Clips(np.empty(0), self._clip_seconds, np.empty((0, 0)), [], 0, {}, complete=False)
        last = float(self._seconds[-1])
        starts = self._starts(self._first, self._count, last + self._clip_seconds)
        rows = frames_on_screen(self._seconds, starts, self._clip_seconds, self._count_frames)
        # Of what the last frame is on screen for, a nearer one may come.
        rows = np.where(rows == len(self._seconds) - 1, -1, rows)
        known = rows[:, 0] >= 0
        rows, starts = rows[known], starts[known]
        return Clips(
            starts, self._clip_seconds, rows, self._frames, self._count, self._memory, complete=False
        )

    def finish(self, end_seconds: float) -> list[Clips]:
        """Return the windows that are left when the video ends, and start anew."""
        if not math.isfinite(end_seconds):
            raise ValueError(f"end_seconds must be a finite number, got {end_seconds}")
        if self._first is None:
            return []
        last = float(self._seconds[-1])
        if end_seconds < last:
            raise ValueError(f"end_seconds must not lie before the last frame, at {last}, got {end_seconds}")
        end_seconds = min(end_seconds, last + self._gap_seconds)
        starts, clip_seconds = self._new_starts(end_seconds), self._clip_seconds
        if not self._count and end_seconds > self._first:
            starts, clip_seconds = np.array([self._first]), end_seconds - self._first
            self._memory = {}  # what was computed of it is of other frames
        clips = self._clips(starts, clip_seconds)
        self._start_anew()
        return [clips]

    def frames_needed(self, frame_seconds: np.ndarray, end_seconds: float) -> np.ndarray:
        """Mark the frames of a whole video that some window looks at, see `ActionStream.frames_needed`."""
        count = len(frame_seconds)
        needed = np.zeros(count, bool)
        steps = np.diff(frame_seconds, append=end_seconds)
        pauses = np.flatnonzero(steps > self._gap_seconds / 2)
        needed[pauses] = needed[np.minimum(pauses + 1, count - 1)] = True
        begins = np.flatnonzero(steps[:-1] > self._gap_seconds) + 1
        for first, stop in pairwise([0, *begins, count]):
            seconds = frame_seconds[first:stop]
            end = seconds[-1] + self._clip_seconds
            if stop == count:
                end = min(end_seconds, seconds[-1] + self._gap_seconds)
            starts, length = self._starts(seconds[0], 0, end), self._clip_seconds
            if not len(starts):
                starts, length = seconds[:1], end - seconds[0]
            needed[first] = True
            for i in range(0, len(starts), 1024):
                rows = frames_on_screen(seconds, starts[i : i + 1024], length, self._count_frames)
                needed[first + rows] = True
        return needed

    def _starts(self, first: float, skip: int, end_seconds: float) -> np.ndarray:
        """Return where the windows start that end by `end_seconds`, without the first `skip` of them."""
        room = end_seconds - first - self._clip_seconds + ROUNDING_SECONDS
        return first + self._stride_seconds * np.arange(skip, math.floor(room / self._stride_seconds) + 1)

    def _new_starts(self, end_seconds: float) -> np.ndarray:
        starts = self._starts(self._first, self._count, end_seconds)
        self._count += len(starts)
        return starts

    def _clips(self, starts: np.ndarray, clip_seconds: float) -> Clips:
        rows = frames_on_screen(self._seconds, starts, clip_seconds, self._count_frames)
        number = self._count - len(starts)
        return Clips(starts, clip_seconds, rows, self._frames, number, self._memory, complete=True)

    def _end_before_gap(self, next_seconds: float) -> list[Clips]:
        """Return the windows that began before a gap, and start anew; there are none if the clock was set."""
        last, clips = self._seconds[-1], []
        if next_seconds > last:
            clips.append(self._clips(self._new_starts(last + self._clip_seconds), self._clip_seconds))
        self._start_anew()
        return clips

    def _take_in(self, images: np.ndarray, times: np.ndarray) -> Clips:
        """Take in frames that follow the last one without a gap."""
        if self._first is None:
            self._first = float(times[0])
        self._seconds = np.concatenate([self._seconds, times])
        self._frames = [*self._frames, *map(KeptFrame, images)]
        clips = self._clips(self._new_starts(times[-1]), self._clip_seconds)
        self._forget()
        return clips

    def _forget(self) -> None:
        """Drop the frames that no later window will see."""
        start = self._first + self._count * self._stride_seconds + ROUNDING_SECONDS
        old = max(int(np.searchsorted(self._seconds, start, side="right")) - 1, 0)
        self._seconds, self._frames = self._seconds[old:], self._frames[old:]


def frames_on_screen(
    frame_seconds: np.ndarray, starts: np.ndarray, clip_seconds: float, frames: int
) -> np.ndarray:
    """Choose the frames of windows as `frames_extraction` does: those at the middles of equal parts.

    Args:
        frame_seconds: float (N,), when each frame appears, increasing.
        starts: float (W,), where the windows start.
        clip_seconds: Length of a window.
        frames: Frames T per window.

    Returns:
        int (W, T), indices of frames.
    """
    middles = starts[:, None] + (np.arange(frames) + 0.5) * clip_seconds / frames + ROUNDING_SECONDS
    return np.maximum(np.searchsorted(frame_seconds, middles, side="right") - 1, 0)
