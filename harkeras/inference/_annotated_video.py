"""The frames of a video with the labels of a prediction drawn on them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from tqdm.auto import tqdm

from harkeras.base.workers import one_ahead
from harkeras.inference._timeline import VideoPrediction
from harkeras.inference.decisions import UNSURE
from harkeras.video.drawing import TimelineStrip, class_color, draw_caption
from harkeras.video.reading import VideoInfo, iter_decoded
from harkeras.video.writing import VideoWriter


def write_annotated(
    info: VideoInfo, prediction: VideoPrediction, writer: VideoWriter, *, progress: bool
) -> None:
    """Write a video with its labels to an open file, at the times of the timeline.

    The first frame stands from 0 on, even if sound begins before the pictures. Frames that the file cannot
    tell apart are moved apart.
    """
    frames = one_ahead(annotated_frames(info, prediction))
    earliest = None
    for image, seconds in tqdm(frames, "Writing", info.frame_count, unit="frame", disable=not progress):
        seconds = 0.0 if earliest is None else max(seconds, earliest)
        writer.write(image, seconds)
        earliest = seconds + writer.least_step_seconds


def annotated_frames(info: VideoInfo, prediction: VideoPrediction) -> Iterator[tuple[np.ndarray, float]]:
    """Decode a video, and draw on its frames, all in the size that the video is shown at.

    Yields:
        uint8 RGB (H, W, 3), and when it appears in seconds.
    """
    segments, duration = prediction.segments, info.duration_seconds
    colors = [class_color(segment.label, prediction.classes) for segment in segments]
    stops = [segment.end_seconds / duration for segment in segments]
    strip = TimelineStrip(info.height, info.width, stops, colors)
    for frame in iter_decoded(info.path):
        image = frame.rgb()
        segment = prediction.label_at(frame.seconds)
        color = class_color(segment.label, prediction.classes)
        confidence = "" if segment.label == UNSURE else f"{segment.confidence:.0%}"
        draw_caption(image, segment.label, confidence, color)
        strip.draw(image, min(frame.seconds / duration, 1))
        yield image, frame.seconds
