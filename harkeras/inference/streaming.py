"""Frames in, decisions out: a model slides over a video, and each frame's features are computed once.

A model sees windows as long as its training clips, sampled as they were. Overlapping windows share frames;
where the first layers of a model look at each frame alone, as in LRCN, what they make of a frame is kept and
used in every window that holds it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import keras
import numpy as np

from harkeras.inference.decisions import MIN_STRIDE_SECONDS, Window, check_stride
from harkeras.inference.per_frame import compile_parts
from harkeras.recipe import Recipe
from harkeras.video.frame_times import ROUNDING_SECONDS


class ActionStream:
    """Slide a model over frames as they come.

    Its memory does not grow with the stream: it keeps the frames of one window, and what the model made of
    them. A pause longer than twice a window and its stride is a gap, and so is a clock that was set back by
    more than a window. Windows that began before a gap are finished; the next one starts with the first frame
    behind it.

    Args:
        model: The model, whose outputs are probabilities.
        recipe: What it must be shown.
        stride_seconds: Time from the start of one window to that of the next, at least 0.001. By default the
            distance of the frames in a window where each frame's features are computed once, so that every
            frame looked at serves in as many windows as possible; half a window for models that have to
            look at each window as a whole, as 3D convolutions do.

    Raises:
        ValueError: If `stride_seconds` or the recipe's `clip_seconds` is out of its range, or the model looks
            at joints instead of frames.

    Example:
        >>> stream = ActionStream(model, model.recipe)
        >>> for frame in iter_frames("long.mp4", height=64, width=64):
        ...     for window in stream.push(frame.image[None], [frame.seconds]):
        ...         print(window.end_seconds, window.probabilities)
    """

    def __init__(self, model: keras.Model, recipe: Recipe, *, stride_seconds: float | None = None):
        """Split the model where it can be, and compile it."""
        if recipe.streams == "pose":
            raise ValueError("recipe must be of frames (T, H, W, C), got one of joints (streams 'pose')")
        if recipe.clip_seconds < MIN_STRIDE_SECONDS:
            raise ValueError(
                f"clip_seconds must be at least {MIN_STRIDE_SECONDS}, the length of a window, got "
                f"{recipe.clip_seconds}"
            )
        self.recipe = recipe
        self._encode, self._classify = compile_parts(model, recipe)
        if stride_seconds is None:
            parts = recipe.frames if self._encode is not None else 2
            stride_seconds = max(recipe.clip_seconds / parts, MIN_STRIDE_SECONDS)
        check_stride(stride_seconds)
        self.stride_seconds = stride_seconds
        self._gap_seconds = 2 * (recipe.clip_seconds + stride_seconds)
        self._start_anew()

    def _start_anew(self) -> None:
        self._seconds = np.empty(0)  # (n,) when each of the frames at hand appears
        self._images: list[np.ndarray | None] = []  # n frames, None once encoded
        self._features: list[np.ndarray | None] = []  # n vectors or maps, None until a window needs them
        self._first = None  # when the first frame appeared
        self._count = 0  # windows since then

    def push(self, frames: np.ndarray, seconds: Sequence[float] | np.ndarray) -> list[Window]:
        """Take frames in, and return the windows that are complete.

        After an error, the stream is as it was before, and goes on with the next frames.

        Args:
            frames: uint8 (B, H, W, C), in the size of the recipe; C is 3 for RGB, or as `FlowStack` gives
                them.
            seconds: float (B,), when they appear, increasing.

        Raises:
            ValueError: If the frames are of another size or type, or their times are no finite numbers, not
                one per frame, or do not increase.
        """
        size = (self.recipe.height, self.recipe.width, self.recipe.channels)
        if frames.shape[1:] != size or frames.dtype != np.uint8:
            raise ValueError(
                f"frames must be uint8 (B, {', '.join(map(str, size))}), got {frames.dtype} {frames.shape}"
            )
        times = np.asarray(seconds, np.float64)
        if times.shape != frames.shape[:1]:
            raise ValueError(f"seconds must increase and be one per frame, got {seconds}")
        if not np.isfinite(times).all():
            raise ValueError(f"seconds must be finite numbers, got {seconds}")
        last = self._seconds[-1:]
        steps = np.diff(np.concatenate([last, times]))
        if ((steps <= 0) & (steps >= -self.recipe.clip_seconds)).any():
            behind = f" after a frame at {last[0]}" if len(last) else ""
            raise ValueError(f"seconds must increase and be one per frame, got {seconds}{behind}")
        breaks = (steps > self._gap_seconds) | (steps < 0)
        begins = np.flatnonzero(breaks) + 1 - len(last)  # the frames behind a gap or a jump of the clock
        windows = []
        for part in np.split(np.arange(len(times)), begins):
            if not len(part):
                continue
            if part[0] in begins:
                windows += self._end_before_gap(times[part[0]])
            windows += self._take_in(frames[part], times[part])
        return windows

    def finish(self, end_seconds: float) -> list[Window]:
        """Return the windows that are left when the video ends at `end_seconds`, and start anew.

        A video shorter than one window is seen as one clip, its frames spread over what there is.

        Raises:
            ValueError: If `end_seconds` is no finite number, or lies before the last frame.
        """
        if not math.isfinite(end_seconds):
            raise ValueError(f"end_seconds must be a finite number, got {end_seconds}")
        if self._first is None:
            return []
        last = float(self._seconds[-1])
        if end_seconds < last:
            raise ValueError(f"end_seconds must not lie before the last frame, at {last}, got {end_seconds}")
        end_seconds = min(end_seconds, last + self._gap_seconds)
        starts, clip_seconds = self._new_starts(end_seconds), self.recipe.clip_seconds
        if not self._count and end_seconds > self._first:
            starts, clip_seconds = np.array([self._first]), end_seconds - self._first
        windows = self._predict(starts, clip_seconds)
        self._start_anew()
        return windows

    def classify(self, clips: np.ndarray) -> np.ndarray:
        """Name whole clips: uint8 (B, T, H, W, C) -> float32 probabilities (B, classes).

        Raises:
            ValueError: If the model answers with what is no number.
        """
        if self._encode is None:
            return self._sharpen(self._classify(clips))
        features = self._encode(clips.reshape(-1, *clips.shape[2:]))
        return self._sharpen(self._classify(features.reshape(*clips.shape[:2], *features.shape[1:])))

    def frames_needed(self, frame_seconds: np.ndarray, end_seconds: float) -> np.ndarray:
        """Mark the frames of a whole video that some window looks at; no others need be pushed.

        Args:
            frame_seconds: float (N,), when each frame of the video appears, increasing.
            end_seconds: When the video ends.

        Returns:
            bool (N,). The first frame is always among them, because it says when the first window starts; so
            are those beside long pauses, which tell a gap from frames that are left out.
        """
        clip_seconds, count = self.recipe.clip_seconds, len(frame_seconds)
        needed = np.zeros(count, bool)
        steps = np.diff(frame_seconds, append=end_seconds)
        pauses = np.flatnonzero(steps > self._gap_seconds / 2)
        needed[pauses] = needed[np.minimum(pauses + 1, count - 1)] = True
        begins = np.flatnonzero(steps[:-1] > self._gap_seconds) + 1
        for first, stop in pairwise([0, *begins, count]):
            seconds = frame_seconds[first:stop]
            end = seconds[-1] + clip_seconds
            if stop == count:
                end = min(end_seconds, seconds[-1] + self._gap_seconds)
            starts, length = self._starts(seconds[0], 0, end), clip_seconds
            if not len(starts):
                starts, length = seconds[:1], end - seconds[0]
            needed[first] = True
            for i in range(0, len(starts), 1024):
                rows = frames_on_screen(seconds, starts[i : i + 1024], length, self.recipe.frames)
                needed[first + rows] = True
        return needed

    def _starts(self, first: float, skip: int, end_seconds: float) -> np.ndarray:
        """Return where the windows start that end by `end_seconds`, without the first `skip` of them."""
        room = end_seconds - first - self.recipe.clip_seconds + ROUNDING_SECONDS
        return first + self.stride_seconds * np.arange(skip, math.floor(room / self.stride_seconds) + 1)

    def _new_starts(self, end_seconds: float) -> np.ndarray:
        starts = self._starts(self._first, self._count, end_seconds)
        self._count += len(starts)
        return starts

    def _end_before_gap(self, next_seconds: float) -> list[Window]:
        """Return the windows that began before a gap, and start anew; there are none if the clock was set."""
        last, windows = self._seconds[-1], []
        if next_seconds > last:
            clip_seconds = self.recipe.clip_seconds
            windows = self._predict(self._new_starts(last + clip_seconds), clip_seconds)
        self._start_anew()
        return windows

    def _take_in(self, frames: np.ndarray, times: np.ndarray) -> list[Window]:
        """Take in frames that follow the last one without a gap."""
        if self._first is None:
            self._first = float(times[0])
        self._seconds = np.concatenate([self._seconds, times])
        self._images += list(frames)
        self._features += [None] * len(frames)
        windows = self._predict(self._new_starts(times[-1]), self.recipe.clip_seconds)
        self._forget()
        return windows

    def _predict(self, starts: np.ndarray, clip_seconds: float) -> list[Window]:
        windows = []
        for i in range(0, len(starts), 64):  # few enough that their clips fit into memory
            batch = starts[i : i + 64]
            rows = frames_on_screen(self._seconds, batch, clip_seconds, self.recipe.frames)  # (W, T)
            used, where = np.unique(rows, return_inverse=True)
            values = self._images if self._encode is None else self._encode_missing(used)
            clips = np.stack([values[row] for row in used])[where.reshape(rows.shape)]
            probabilities = self._sharpen(self._classify(clips))
            windows += map(Window, batch.tolist(), (batch + clip_seconds).tolist(), probabilities)
        return windows

    def _sharpen(self, probabilities: np.ndarray) -> np.ndarray:
        """Apply the recipe's temperature to each window by itself: it belongs to the model's own logits."""
        if not np.isfinite(probabilities).all():
            raise ValueError("model must answer with finite numbers, got NaN or infinity")
        return self.recipe.sharpen(probabilities.astype(np.float32, copy=False))

    def _encode_missing(self, used: np.ndarray) -> list[np.ndarray | None]:
        missing = [row for row in used if self._features[row] is None]
        if missing:
            features = self._encode(np.stack([self._images[row] for row in missing]))
            for row, feature in zip(missing, features, strict=True):
                self._features[row], self._images[row] = feature, None
        return self._features

    def _forget(self) -> None:
        """Drop the frames that no later window will see."""
        start = self._first + self._count * self.stride_seconds + ROUNDING_SECONDS
        old = max(int(np.searchsorted(self._seconds, start, side="right")) - 1, 0)
        self._seconds = self._seconds[old:]
        del self._images[:old], self._features[:old]


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
