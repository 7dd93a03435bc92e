"""What a candidate of `harkeras.transfer.auto` costs with every clip that it names.

Nearly all of it is the backbone, and a head that looks at its middle alone needs nothing that comes behind.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import keras
import numpy as np

from harkeras.models import count_multiply_adds
from harkeras.models.compiled import compile_call
from harkeras.transfer.features import PARTS, keep_parts
from harkeras.video.flow import flow_size, optical_flow

_CALLS = 3
# DIS takes as long for a field of flow as a backbone for so many multiply-adds: 5 ms on two cores.
_MULTIPLY_ADDS_OF_FLOW = 150_000_000


class Cost(NamedTuple):
    """What the encoder of a candidate takes for one clip; a head on top of it takes next to nothing.

    Attributes:
        multiply_adds: Counted, so that a choice by it is the same on every machine.
        milliseconds: Measured on this one, the median of some calls, decoding apart.
    """

    multiply_adds: int
    milliseconds: float

    def plus(self, other: Cost) -> Cost:
        """Return what both take together."""
        return Cost(*map(sum, zip(self, other, strict=True)))


def needed_parts(parts: Iterable[str]) -> tuple[str, ...]:
    """Leave out what costs nothing more: a network passes the middle on its way to the last maps."""
    return tuple(part for part in PARTS if part in parts and (part != "middle" or "last" not in parts))


def measure_cost(encoder: keras.Model, frames: int, parts: Sequence[str]) -> Cost:
    """Count and time what an encoder computes for one clip, if a head looks at some of its parts alone.

    Args:
        encoder: What `harkeras.transfer.features.frame_encoder` built.
        frames: Frames of a clip.
        parts: Some of the parts of the encoder.
    """
    shortened = keep_parts(encoder, parts)
    clip = np.zeros((frames, *shortened.input_shape[1:]), np.uint8)
    encode = compile_call(shortened, keras.KerasTensor(clip.shape, "uint8"))
    seconds = _median_seconds(lambda: encode(clip))
    multiply_adds = count_multiply_adds(shortened)
    if "flow" in parts:
        images = np.random.default_rng(0).integers(
            0, 256, (2, *flow_size(*shortened.input_shape[1:3]), 3), dtype=np.uint8
        )
        seconds += frames * _median_seconds(lambda: optical_flow(*images))
        multiply_adds += _MULTIPLY_ADDS_OF_FLOW
    return Cost(frames * multiply_adds, 1000 * seconds)


def _median_seconds(call) -> float:
    times = []
    for _ in range(_CALLS + 1):  # the first one prepares what the others use
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))
