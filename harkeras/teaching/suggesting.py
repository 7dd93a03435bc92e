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

With few labels, typical examples are often better than doubtful or unlike ones (Hacohen, Dekel and
Weinshall, "Active learning on a budget: opposite strategies suit high and low budgets", ICML 2022). Here they
are not: what is sought is rare, and a typical window shows that nothing happens (tests/benchmarks/README.md
has the numbers).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

Kind = Literal["sure", "doubt", "new", "held out"]
_DOUBTFUL_PER_CHOICE = 8  # how many of the smallest margins are looked at for each that is chosen
_SURE, _DOUBT = 1 / 3, 1 / 3  # shares of what is suggested; the rest is new
_REACH = 1  # windows that begin so many lengths away are joined at most


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

    def near(self, row: int, start: int, end: int) -> np.ndarray:
        """Return the windows of the same recording that begin in a range of frames: bool (W,)."""
        return (self.recording == self.recording[row]) & (self.start > start) & (self.start < end)


class Choice(NamedTuple):
    """A row of the pool, first frame and end of what it was joined to, and why it was chosen."""

    row: int
    start: int
    end: int
    kind: Kind


def choose_windows(
    pool: Pool, known: np.ndarray, count: int, frames: int, rng: np.random.Generator
) -> list[Choice]:
    """Choose windows, no two of one scene.

    Args:
        pool: All windows.
        known: float (K, P), the points of what was labeled.
        count: How many to choose; fewer where there are no more.
        frames: Length of a window.
        rng: Draws.
    """
    free, chosen = pool.free.copy(), []

    def take(row: int, kind: Kind) -> None:
        start, end = int(pool.start[row]), int(pool.start[row]) + frames
        if kind == "sure":
            start, end = _grow(pool, free, row, frames)
        chosen.append(Choice(row, start, end, kind))
        free[pool.near(row, start - frames, end)] = False

    if pool.probabilities is not None:
        labels, sure = pool.probabilities.argmax(axis=1), pool.probabilities.max(axis=1)
        for label in _in_turn(labels[free], round(_SURE * count)):
            rows = np.flatnonzero(free & (labels == label))
            if len(rows):
                asked = {int(pool.recording[each.row]) for each in chosen}
                again = np.isin(pool.recording[rows], list(asked))
                take(int(rows[np.lexsort([-sure[rows], again])[0]]), "sure")
        top = np.sort(pool.probabilities, axis=1)
        margins = top[:, -1] - top[:, -2]
        for _ in range(round(_DOUBT * count)):
            rows = np.flatnonzero(free)
            rows = rows[np.argsort(margins[rows], kind="stable")[: _DOUBTFUL_PER_CHOICE * count]]
            if len(rows):
                take(_draw_distant(pool.points, rows, known, chosen, rng), "doubt")
    while len(chosen) < count and free.any():
        take(_draw_distant(pool.points, np.flatnonzero(free), known, chosen, rng), "new")
    return chosen


def _in_turn(labels: np.ndarray, count: int) -> list[int]:
    """Return the classes that are there, one after the other, so many times in all."""
    present = np.unique(labels).tolist()
    return [present[number % len(present)] for number in range(count)] if present else []


def draw_windows(pool: Pool, count: int, frames: int, rng: np.random.Generator) -> list[Choice]:
    """Draw windows at random, one of each recording before any comes twice."""
    free, chosen = pool.free.copy(), []
    used = np.zeros(pool.recording.max(initial=0) + 1, int)
    while len(chosen) < count and free.any():
        candidates = np.flatnonzero(free)
        least = used[pool.recording[candidates]]
        row = int(rng.choice(candidates[least == least.min()]))
        start, end = int(pool.start[row]), int(pool.start[row]) + frames
        chosen.append(Choice(row, start, end, "held out"))
        used[pool.recording[row]] += 1
        free[pool.near(row, start - frames, end)] = False
    return chosen


def _draw_distant(
    points: np.ndarray, rows: np.ndarray, known: np.ndarray, chosen: list[Choice], rng: np.random.Generator
) -> int:
    """Draw one of some rows by its squared distance to the nearest point that is known or chosen."""
    centers = np.concatenate([known, points[[each.row for each in chosen]]])
    if not len(centers):
        return int(rng.choice(rows))
    products = points[rows] @ centers.T
    squares = (points[rows] ** 2).sum(axis=1)[:, None] - 2 * products + (centers**2).sum(axis=1)
    nearest = np.maximum(squares.min(axis=1), 0.0).astype(np.float64)
    return int(rng.choice(rows, p=nearest / nearest.sum())) if nearest.sum() > 0 else int(rows[0])


def _grow(pool: Pool, free: np.ndarray, row: int, frames: int) -> tuple[int, int]:
    """Join a window with free ones beside it that are taken for the same: first frame, and end, not included.

    A window is named after what fills half of it, so that a range ends in the middles of its last windows.
    """
    start = int(pool.start[row])
    rows = np.flatnonzero(pool.recording == pool.recording[row])
    labels, place = pool.probabilities[rows].argmax(axis=1), int(np.flatnonzero(rows == row)[0])
    joined = (labels == labels[place]) & free[rows] & (np.abs(pool.start[rows] - start) <= _REACH * frames)
    first = last = place
    while first > 0 and joined[first - 1]:
        first -= 1
    while last + 1 < len(rows) and joined[last + 1]:
        last += 1
    begin, end = int(pool.start[rows[first]]), int(pool.start[rows[last]]) + frames
    if first == last:
        return start, start + frames
    quarter = frames // 4  # half of the step from one window to the next
    begin += quarter if begin > 0 else 0
    return begin, end - quarter if last + 1 < len(rows) else end
