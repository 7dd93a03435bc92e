"""What a container says about time -> one strictly increasing time for each decoded frame.

Containers lie: streams are joined without new times, clocks jump by a day, AVI has no times of display at
all. Three rules make of this a time line that everything else can stand on:

- The order in which the decoder gives its frames is the order in which they are shown. Where times disagree,
  they are sorted; the frames are not.
- Where times jump, the next piece goes on one frame after the last. A jump is a step back, or a pause longer
  than ten minutes; in formats that are made to be joined (MPEG-TS, MPEG-PS, Ogg) longer than ten seconds and
  three frames. Shorter pauses are real: a recorder that waits for motion, a slide show.
- The time line is therefore bounded by the number of frames, whatever a damaged header says: no frame stays
  on screen longer than the longest pause.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

# A frame counts as on screen at its own time, whatever the rounding of seconds.
ROUNDING_SECONDS = 1e-6
# FFmpeg's own bound for formats that may be joined, such as MPEG-TS, is 10 s; for others 30 hours, which
# would let 30 frames last longer than a month.
LONGEST_PAUSE_SECONDS = 600.0
LONGEST_PAUSE_SECONDS_WHERE_JOINED = 10.0
# FFmpeg's tolerance for decoding times that step back without a new piece.
STEP_BACK_SECONDS = 0.1
LONGEST_PAUSE_FRAMES_WHERE_JOINED = 3
SHORTEST_FRAME_SECONDS = 1e-5  # ten times the rounding


def join_pieces(
    times: Sequence[int | None], period: int, longest: int, step_back: int
) -> tuple[list[int | None], bool]:
    """Return what to add to the times of each packet, so that the pieces of a joined file follow each other.

    Args:
        times: Decoding times of the packets in the order of the file, in ticks; None where unknown.
        period: Usual time from frame to frame, in ticks.
        longest: Longest pause that is real, in ticks.
        step_back: Longest step back that starts no piece, in ticks.

    Returns:
        The offset for each packet in ticks, None where a time fits nowhere; and whether the file's own times
        are in order.
    """
    offsets, offset, last, in_order = [], 0, None, True
    for before, time, after in zip([None, *times], times, [*times[1:], None], strict=False):
        if time is not None:
            if _is_stray(before, time, after, period):
                offsets.append(None)
                in_order = False
                continue
            step = 0 if last is None else time + offset - last
            in_order &= 0 <= step <= longest
            if not -step_back <= step <= longest:
                offset = last + period - time
            last = time + offset if last is None else max(last, time + offset)
        offsets.append(offset)
    return offsets, in_order


def _is_stray(before: int | None, time: int, after: int | None, period: int) -> bool:
    """Whether a time alone is wrong: those around it follow each other without it."""
    if before is None or after is None:
        return False
    return 0 < after - before <= 3 * period and not before <= time <= after


def increasing_times(times: Sequence[int | None], period: int, longest: int, shortest: int) -> np.ndarray:
    """Return a strictly increasing time for each frame.

    Times that increase already stay as they are. Missing and repeated ones are spread between those around.

    Args:
        times: Times of the frames in the decoder's order, in ticks; None where unknown.
        period: Usual time from frame to frame, in ticks, at least `shortest`.
        longest: Longest pause that is real, in ticks.
        shortest: Shortest time between frames, in ticks, at least 1.

    Returns:
        int64 (N,) in ticks, each at least `shortest` and at most `longest + shortest` after the last.
    """
    known = [row for row, time in enumerate(times) if time is not None]
    anchors, values, last = [], [], None
    offset = 0
    for row, time in zip(known, sorted(times[row] for row in known), strict=True):
        if last is not None:
            if time + offset - last > longest:
                offset = last + period - time
            if time + offset - last < shortest:
                continue  # a repeated time tells nothing
        last = time + offset
        anchors.append(row)
        values.append(last)
    if not anchors:
        return np.arange(len(times), dtype=np.int64) * period
    rows, first = np.arange(len(times)), values[0]
    relative = np.interp(rows, anchors, [value - first for value in values])
    relative += (np.minimum(rows - anchors[0], 0) + np.maximum(rows - anchors[-1], 0)) * period
    ticks = np.rint(relative).astype(np.int64)
    # Where more frames than ticks lie between two anchors, they push the later ones on.
    ticks = np.maximum.accumulate(ticks - rows * shortest) + rows * shortest
    return ticks + first


def usual_period(times: Sequence[int | None], longest: int) -> int | None:
    """Return the median step between decoding times, in ticks; None if no step is sane."""
    known = [time for time in times if time is not None]
    steps = sorted(after - time for time, after in pairwise(known) if 0 < after - time <= longest)
    return steps[len(steps) // 2] if steps else None


def check_range(
    start_seconds: float | None, end_seconds: float | None, first_seconds: float, duration_seconds: float
) -> tuple[float, float]:
    """Return the half-open range of a video to read: all of it by default, from the first frame on.

    A range that ends before the first frame starts at 0, where that frame stands in.

    Args:
        start_seconds: Start of the range, or None.
        end_seconds: End of the range, or None; one behind the video's is the video's.
        first_seconds: When the first frame appears.
        duration_seconds: When the last frame goes.

    Raises:
        ValueError: If the range is empty or does not start in the video.
    """
    start = start_seconds
    if start is None:
        start = 0.0 if end_seconds is not None and end_seconds <= first_seconds else first_seconds
    if not 0 <= start < duration_seconds:
        raise ValueError(
            f"start_seconds must lie in the video, 0 to {duration_seconds:.3f}, got {start_seconds}"
        )
    if end_seconds is None:
        return start, duration_seconds
    if not end_seconds > start:
        raise ValueError(f"end_seconds must be greater than start_seconds ({start}), got {end_seconds}")
    return start, min(end_seconds, duration_seconds)
