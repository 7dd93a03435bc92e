"""A recording as a live stream would have shown it: which label stood there at each moment."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np

from harkeras.inference._timeline import Segment, decide
from harkeras.inference._video_windows import read_info, slide
from harkeras.inference.decisions import Decider
from harkeras.inference.streaming import ActionStream
from harkeras.inference.whole_file import decide_whole

_LATER = 1e9  # seconds; later than any recording ends


class Moment(NamedTuple):
    """What is shown from this moment to the next."""

    seconds: float
    label: str
    confidence: float


class Replay(NamedTuple):
    """What a stream shows of a recording.

    Attributes:
        moments: What it shows at each moment at which a window comes to its end, in order.
        segments: The timeline that it leaves, in which labels are dated back to their beginnings.
        seconds: Length of the recording.
    """

    moments: list[Moment]
    segments: list[Segment]
    seconds: float


def replay(
    video: str | os.PathLike, stream: ActionStream, *, causal: bool = True, threshold: float = 0.5
) -> Replay:
    """Send a recording through a stream, as fast as it goes.

    Args:
        video: Path of the video.
        stream: A stream at its beginning; it is there again afterwards.
        causal: Whether to decide as a live stream does; else on the whole file, see `predict_on_video`, where
            the moments are those of the timeline.
        threshold: Under this probability the label is "unsure".

    Raises:
        FileNotFoundError: If there is no such video.
        ValueError: If it is a picture.
        VideoError: If it cannot be decoded.
    """
    info, recipe = read_info(video), stream.recipe
    end, stride = info.duration_seconds, stream.stride_seconds
    try:
        windows = slide(info, stream, float(info.frame_seconds[0]), end)
    except BaseException:
        stream.finish(_LATER)  # the frames before the error are of no other recording
        raise
    if causal:
        options = {"threshold": threshold, "thresholds": recipe.thresholds}
        decider = Decider(recipe.classes, stride, **options)
        moments = [
            Moment(window.end_seconds, decider.update(window), decider.confidence) for window in windows
        ]
        return Replay(moments, decide(Decider(recipe.classes, stride, **options), windows, end).segments, end)
    options = {"stride_seconds": stride, "smoothing_seconds": recipe.clip_seconds, "threshold": threshold}
    segments = decide_whole(windows, recipe, end, **options, hysteresis=0.1, min_seconds=0.5).segments
    moments = [
        Moment(float(seconds), label, confidence)
        for start, until, label, confidence in segments
        for seconds in np.arange(start, until, stride)
    ]
    return Replay(moments, segments, end)
