"""Which windows to ask about next: some that are surely right, some in doubt, some unlike all that is known.

- "sure": the most probable windows of each class in turn. They are quickly confirmed, and where one is wrong,
  the answer is worth the most.
- "doubt": the smallest margins between the two most probable classes (Scheffer, Decomain and Wrobel, "Active
  hidden Markov models for information extraction", IDA 2001; Settles, "Active learning literature survey",
  2009), and among the many of them a diverse choice.
- "new": what is unlike anything labeled and each other.

Diverse is the choice of k-means++ (Arthur and Vassilvitskii, SODA 2007), as batches are drawn in BADGE (Ash
et al., "Deep batch active learning by diverse, uncertain gradient lower bounds", ICLR 2020): each window is
drawn with a probability that grows with the squared distance to the nearest one that is known or chosen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

Kind = Literal["sure", "doubt", "new", "held out"]
_DOUBTFUL_PER_CHOICE = 8  # how many of the smallest margins are looked at for each that is chosen
_LONGEST_WINDOWS = 4  # a suggestion is at most so many windows long


class Suggestion(NamedTuple):
    """A range of a recording to ask about.

    Attributes:
        video: The recording.
        start_seconds: Start of the range.
        end_seconds: End, not included.
        label: What the model takes it for; empty where it was not asked.
        confidence: How probable that is, in [0, 1].
        kind: Why it is asked about: "sure", "doubt", "new", see the top of this module; or "held out", drawn
            at random to score models on.
    """

    video: Path
    start_seconds: float
    end_seconds: float
    label: str
    confidence: float
    kind: Kind


class Pool(NamedTuple):
    """The windows of recordings that may be asked about.

    Attributes:
        recording: int (W,), which recording each window is of.
        start: int (W,), its first frame.
        points: float (W, P), where it lies among the others.
        free: bool (W,), whether nothing is known of it yet.
        probabilities: float (W, classes), what a head says of it; None before anything was learned.
    """

    recording: np.ndarray
    start: np.ndarray
    points: np.ndarray
    free: np.ndarray
    probabilities: np.ndarray | None

    def near(self, row: int, frames: int) -> np.ndarray:
        """Return the windows of the same recording that begin within some frames: bool (W,)."""
        same = self.recording == self.recording[row]
        return same & (np.abs(self.start - self.start[row]) <= frames)


def choose_windows(
    pool: Pool, known: np.ndarray, count: int, frames: int, rng: np.random.Generator
) -> list[tuple[int, Kind]]:
    """Choose windows, no two of one scene.

    Args:
        pool: All windows.
        known: float (K, P), the points of what was labeled.
        count: How many to choose; fewer where there are no more.
        frames: Length of a window.
        rng: Draws.

    Returns:
        Rows of the pool, and why each was chosen.
    """
    free, chosen = pool.free.copy(), []

    def take(row: int, kind: Kind) -> None:
        chosen.append((row, kind))
        free[pool.near(row, 2 * frames)] = False

    if pool.probabilities is not None:
        for row in _surest(pool, free, count // 3, frames):
            take(row, "sure")
        top = np.sort(pool.probabilities, axis=1)
        margins = top[:, -1] - top[:, -2]
        for _ in range(count // 3):
            rows = np.flatnonzero(free)
            rows = rows[np.argsort(margins[rows], kind="stable")[: _DOUBTFUL_PER_CHOICE * count]]
            if len(rows):
                take(_draw_distant(pool.points, rows, known, chosen, rng), "doubt")
    while len(chosen) < count and free.any():
        take(_draw_distant(pool.points, np.flatnonzero(free), known, chosen, rng), "new")
    return chosen


def draw_windows(pool: Pool, count: int, frames: int, rng: np.random.Generator) -> list[tuple[int, Kind]]:
    """Draw windows at random, one of each recording before any comes twice."""
    free, rows = pool.free.copy(), []
    used = np.zeros(pool.recording.max(initial=0) + 1, int)
    while len(rows) < count and free.any():
        candidates = np.flatnonzero(free)
        least = used[pool.recording[candidates]]
        row = int(rng.choice(candidates[least == least.min()]))
        rows.append(row)
        used[pool.recording[row]] += 1
        free[pool.near(row, frames)] = False
    return [(row, "held out") for row in rows]


def _surest(pool: Pool, free: np.ndarray, count: int, frames: int) -> list[int]:
    """Return the most probable windows of each class in turn, of a recording once before any comes twice."""
    rows, free = [], free.copy()
    labels, sure = pool.probabilities.argmax(axis=1), pool.probabilities.max(axis=1)
    used = np.zeros((pool.recording.max(initial=0) + 1, pool.probabilities.shape[1]), int)
    while len(rows) < count and free.any():
        for label in np.unique(labels[free]):
            candidates = np.flatnonzero(free & (labels == label))
            if not len(candidates) or len(rows) == count:
                continue
            best = np.lexsort([-sure[candidates], used[pool.recording[candidates], label]])[0]
            row = int(candidates[best])
            rows.append(row)
            used[pool.recording[row], label] += 1
            free[pool.near(row, 2 * frames)] = False
    return rows


def _draw_distant(
    points: np.ndarray, rows: np.ndarray, known: np.ndarray, chosen: list, rng: np.random.Generator
) -> int:
    """Draw one of some rows by its squared distance to the nearest point that is known or chosen."""
    centers = np.concatenate([known, points[[row for row, _ in chosen]]])
    if not len(centers):
        return int(rng.choice(rows))
    products = points[rows] @ centers.T
    squares = (points[rows] ** 2).sum(axis=1)[:, None] - 2 * products + (centers**2).sum(axis=1)
    nearest = np.maximum(squares.min(axis=1), 0.0).astype(np.float64)
    return int(rng.choice(rows, p=nearest / nearest.sum())) if nearest.sum() > 0 else int(rows[0])


def grow_range(pool: Pool, row: int, frames: int, count: int, *, alone: bool) -> tuple[int, int]:
    """Join a window with those beside it that are taken for the same: first frame, and end, not included.

    A window is named after what fills half of it, so that a range ends in the middles of its last windows.

    Args:
        pool: All windows.
        row: The window.
        frames: Length of a window.
        count: Frames of the recording.
        alone: Whether it stays alone, as it is in doubt.
    """
    start = int(pool.start[row])
    if alone:
        return start, min(start + frames, count)
    rows = np.flatnonzero(pool.recording == pool.recording[row])
    rows = rows[np.argsort(pool.start[rows])]
    labels, place = pool.probabilities[rows].argmax(axis=1), int(np.flatnonzero(rows == row)[0])
    same = (labels == labels[place]) & pool.free[rows]
    first = last = place
    while (
        first > 0 and same[first - 1] and start - pool.start[rows[first - 1]] < _LONGEST_WINDOWS / 2 * frames
    ):
        first -= 1
    while last + 1 < len(rows) and same[last + 1]:
        if pool.start[rows[last + 1]] - start >= _LONGEST_WINDOWS / 2 * frames:
            break
        last += 1
    if first == last:
        return start, min(start + frames, count)
    half = frames // 4  # half of the step from one window to the next
    begin = int(pool.start[rows[first]]) + frames // 2 - half
    end = int(pool.start[rows[last]]) + frames // 2 + half
    at_start, at_end = pool.start[rows[first]] == 0, pool.start[rows[last]] + frames >= count
    return (0 if at_start else begin), (count if at_end else min(end, count))
