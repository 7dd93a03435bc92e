"""Clips with their frames in another order: shuffled, played backwards, frozen; optical flow follows suit.

A frame with flow carries the L fields that led up to it (see `harkeras.video.flow`). So the order of frames
is not all: a clip played backwards has the fields of its stacks backwards too, and each motion turned round.
The stacks of a clip are therefore laid out as one line of fields, in which a field that several frames carry
comes once; the line is reordered, and stacks are taken from it at the places where the frames were.
"""

from __future__ import annotations

from itertools import takewhile
from typing import Literal, get_args

import numpy as np

from harkeras.recipe import Streams

Order = Literal["in_order", "shuffled", "reversed", "frozen"]
ORDERS: tuple[Order, ...] = get_args(Order)

_NO_MOTION = 128  # of a stored field


def reorder(clip: np.ndarray, order: Order, streams: Streams, rng: np.random.Generator) -> np.ndarray:
    """Return a clip with its frames, and the motion in its flow, in another order.

    Shuffling moves each field to another place; what moves in it is left as it is, because the flow between
    frames that never followed each other cannot be known.

    Args:
        clip: (T, H, W, C), or joints (T, K, D).
        order: "shuffled", "reversed", "frozen" to the middle frame, whose flow is none, or "in_order".
        streams: What the clip holds.
        rng: For the shuffling.

    Returns:
        An array like `clip`.
    """
    if order == "in_order":
        return clip
    images = {"flow": 0, "rgb+flow": 3}.get(streams, clip.shape[-1])  # channels in front of the flow
    reordered = clip[..., :images][_frame_order(len(clip), order, rng)]
    if images == clip.shape[-1]:
        return reordered
    stacks = _reorder_flow(clip[..., images:], order, rng)
    return np.concatenate([reordered, stacks], axis=-1)


def _frame_order(frames: int, order: Order, rng: np.random.Generator) -> np.ndarray:
    if order == "reversed":
        return np.arange(frames)[::-1]
    return rng.permutation(frames) if order == "shuffled" else np.full(frames, frames // 2)


def _reorder_flow(stacks: np.ndarray, order: Order, rng: np.random.Generator) -> np.ndarray:
    """Reorder stacks of fields (T, H, W, 2L)."""
    if order == "frozen":
        return np.full_like(stacks, _NO_MOTION)
    line, ends = _lay_out(stacks)
    if order == "shuffled":
        line = [line[i] for i in rng.permutation(len(line))]
    else:
        line = [_turned_round(field) for field in line[::-1]]
    return _stack(line, ends, stacks)


def _turned_round(field: np.ndarray) -> np.ndarray:
    """Return minus a stored field (H, W, 2): 128 + v becomes 128 - v."""
    return np.clip(2 * _NO_MOTION - field.astype(np.float32), 1, 255).astype(field.dtype)


def _lay_out(stacks: np.ndarray) -> tuple[list[np.ndarray], list[int]]:
    """Lay stacks (T, H, W, 2L) out as a line of fields (H, W, 2), and say how many lead up to each frame.

    Fields that two frames share are known by being equal. Where frames are further apart than L, the fields
    between them are not known, and the line goes on without them. At the start of a video, where there are
    fewer than L, the first one stood for those that are missing; the first frame had none.
    """
    fields = stacks.shape[-1] // 2
    names: dict[bytes, int] = {}  # equal fields have one number
    numbers = [
        [names.setdefault(stack[..., 2 * i : 2 * i + 2].tobytes(), len(names)) for i in range(fields)]
        for stack in stacks
    ]
    places: list[tuple[int, int]] = []  # of each field in the line: its frame, and where in the stack
    ends = []
    for frame, stack in enumerate(numbers):
        if frame == 0 and len(stacks) > 1 and (stacks[0] == _NO_MOTION).all():
            ends.append(0)
            continue
        if places:
            last = numbers[frame - 1]
            new = next((k for k in range(fields) if last[k:] == stack[: fields - k]), fields)
        else:
            new = fields + 1 - sum(1 for _ in takewhile(stack[0].__eq__, stack))
        places += [(frame, i) for i in range(fields - new, fields)]
        ends.append(len(places))
    return [stacks[frame, ..., 2 * i : 2 * i + 2] for frame, i in places], ends


def _stack(line: list[np.ndarray], ends: list[int], like: np.ndarray) -> np.ndarray:
    """Take stacks from a line of fields: those that lead up to each end, the first for what is missing."""
    fields, still = like.shape[-1] // 2, np.full((*like.shape[1:-1], 2), _NO_MOTION, like.dtype)
    stacks = []
    for end in ends:
        known = line[max(end - fields, 0) : end] or [still]
        stacks.append(np.concatenate([known[0]] * (fields - len(known)) + known, axis=-1))
    return np.stack(stacks)
