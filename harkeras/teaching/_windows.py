"""Windows over the features of a recording: what the head of a model is shown of some seconds."""

from __future__ import annotations

import numpy as np
from keras import Model, ops
from numpy.lib.stride_tricks import sliding_window_view

from harkeras.teaching._frame_features import FRAME_RATE
from harkeras.transfer.heads import create_head

HEAD = "mean_std_diff"  # of all statistics, as `auto` has it; regularization weighs them
_MOST_OF_A_RANGE = 8
_PROJECTED = 64
_BLOCK = 256  # windows that are computed at once


class Windows:
    """The windows of the recordings of a project, of one length; what was computed is kept in memory.

    Args:
        frames: Frames T of a window.
        width: Features F of a frame.
    """

    def __init__(self, frames: int, width: int):
        """Build what computes the statistics; nothing is read yet."""
        self.frames, self.stride = frames, max(frames // 2, 1)
        head = create_head(HEAD, 2, (frames, width))
        self._seen = Model(head.input, head.get_layer("statistics").output)
        self._grids: dict[str, np.ndarray] = {}
        self._single: dict[tuple[str, int], np.ndarray] = {}

    @property
    def seconds(self) -> float:
        """Length of a window."""
        return self.frames / FRAME_RATE

    def starts(self, features: np.ndarray) -> np.ndarray:
        """Return at which frames the windows of a recording begin: int (W,), half a window apart."""
        last = max(len(features) - self.frames, 0)
        return np.unique(np.append(np.arange(0, last + 1, self.stride), last))

    def grid(self, video: str, features: np.ndarray) -> np.ndarray:
        """Return the statistics of all windows of a recording: float32 (W, D)."""
        if video not in self._grids:
            self._grids[video] = self._statistics(features, self.starts(features))
        return self._grids[video]

    def of_range(self, video: str, features: np.ndarray, start: float, end: float) -> np.ndarray:
        """Return the statistics of windows spread over a range: float32 (W, D), one if it is short."""
        begins = self._begins(len(features), start * FRAME_RATE, end * FRAME_RATE)
        missing = [begin for begin in begins if (video, begin) not in self._single]
        for begin, numbers in zip(missing, self._statistics(features, missing), strict=True):
            self._single[video, begin] = numbers
        return np.stack([self._single[video, begin] for begin in begins])

    def _begins(self, count: int, start: float, end: float) -> list[int]:
        """Return the first frames of windows inside a range; of one around its middle if it is shorter."""
        last = max(count - self.frames, 0)
        if end - start <= self.frames:
            return [int(np.clip(round((start + end - self.frames) / 2), 0, last))]
        number = min(int(np.ceil((end - start) / self.stride)) - 1, _MOST_OF_A_RANGE)
        begins = np.linspace(start, end - self.frames, max(number, 2)).round()
        return np.unique(np.clip(begins, 0, last)).astype(int).tolist()

    def _statistics(self, features: np.ndarray, starts) -> np.ndarray:
        if not len(starts):
            return np.empty((0, 0), np.float32)
        if len(features) < self.frames:  # of a recording that is shorter, frames are repeated evenly
            rows = (np.arange(self.frames) + 0.5) * len(features) // self.frames
            features = features[rows.astype(int)]
        windows = sliding_window_view(features, self.frames, axis=0).transpose(0, 2, 1)  # (_, T, F), a view
        blocks = [starts[first : first + _BLOCK] for first in range(0, len(starts), _BLOCK)]
        numbers = [self._seen(windows[np.asarray(block)].astype(np.float32)) for block in blocks]
        return np.concatenate([ops.convert_to_numpy(each) for each in numbers])


def project_down(numbers: np.ndarray, seed: int) -> np.ndarray:
    """Return standardized numbers (W, D) on fewer random axes, where distances stay nearly the same.

    Johnson and Lindenstrauss, "Extensions of Lipschitz mappings into a Hilbert space", 1984.
    """
    axes = np.random.default_rng(seed).normal(size=(numbers.shape[1], _PROJECTED)).astype(np.float32)
    scale = numbers.std(axis=0)
    standard = (numbers - numbers.mean(axis=0)) / np.where(scale > 0, scale, 1.0)
    return standard @ (axes / np.sqrt(_PROJECTED))
