"""The frames of a video with the labels of a prediction drawn on them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from harkeras._timeline import VideoPrediction
from harkeras.decisions import UNSURE
from harkeras.drawing import TimelineStrip, class_colour, draw_caption
from harkeras.video import VideoInfo, iter_decoded

# Rates that a file can be written with. A player shows no more frames; their times are kept up to 4 us.
_LOWEST_FPS, _HIGHEST_FPS = 0.001, 1000


def output_fps(info: VideoInfo) -> float:
    """Return the frame rate, or one fine enough for the writer to keep apart frames that come in bursts."""
    shortest = np.diff(info.frame_seconds).min(initial=1 / info.fps)
    return float(np.clip(max(info.fps, 1 / (100 * shortest)), _LOWEST_FPS, _HIGHEST_FPS))


def annotated_frames(info: VideoInfo, prediction: VideoPrediction) -> Iterator[tuple[np.ndarray, float]]:
    """Decode a video, and draw on its frames, all in the size that the video is shown at.

    Yields:
        uint8 RGB (H, W, 3), and when it appears in seconds.
    """
    segments, duration = prediction.segments, info.duration_seconds
    colours = [class_colour(segment.label, prediction.classes) for segment in segments]
    stops = [segment.end_seconds / duration for segment in segments]
    strip = TimelineStrip(info.height, info.width, stops, colours)
    for frame in iter_decoded(info.path):
        image = frame.rgb(info.height, info.width)  # a stream may change its size
        segment = prediction.label_at(frame.seconds)
        colour = class_colour(segment.label, prediction.classes)
        confidence = "" if segment.label == UNSURE else f"{segment.confidence:.0%}"
        draw_caption(image, segment.label, confidence, colour)
        strip.draw(image, frame.seconds / duration)
        yield image, frame.seconds
