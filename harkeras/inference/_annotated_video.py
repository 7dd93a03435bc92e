"""The frames of a video with the labels of a prediction drawn on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from harkeras.base.progress import Progress, progress_bar
from harkeras.base.workers import one_ahead
from harkeras.inference._timeline import VideoPrediction
from harkeras.inference.decisions import UNSURE
from harkeras.people.skeleton import draw_skeleton
from harkeras.video.drawing import Caption, TimelineStrip, draw_caption
from harkeras.video.reading import VideoInfo, iter_decoded
from harkeras.video.writing import VideoWriter

# A percentage that changes with every frame cannot be read.
_READABLE_SECONDS = 0.2


def write_annotated(
    info: VideoInfo,
    prediction: VideoPrediction,
    writer: VideoWriter,
    *,
    caption: Caption,
    joints: Sequence[tuple[float, np.ndarray]] | None = None,
    progress: Progress,
) -> None:
    """Write a video with its labels, and with skeletons if there are joints, to an open file.

    They come at the times of the timeline, see `write_drawn`.
    """
    write_drawn(annotated_frames(info, prediction, caption, joints), info, writer, progress=progress)


def write_drawn(
    frames: Iterable[tuple[np.ndarray, float]], info: VideoInfo, writer: VideoWriter, *, progress: Progress
) -> None:
    """Write the frames of a video, drawn on, to an open file.

    The first frame stands from 0 on, even if sound begins before the pictures. Frames that the file cannot
    tell apart are moved apart.
    """
    earliest = None
    for image, seconds in progress_bar(frames, "Writing", info.frame_count, progress, unit="frame"):
        seconds = 0.0 if earliest is None else max(seconds, earliest)
        writer.write(image, seconds)
        earliest = seconds + writer.least_step_seconds


def annotated_frames(
    info: VideoInfo,
    prediction: VideoPrediction,
    caption: Caption,
    joints: Sequence[tuple[float, np.ndarray]] | None = None,
) -> Iterator[tuple[np.ndarray, float]]:
    """Decode a video, and draw on its frames, all in the size that the video is shown at.

    Args:
        info: The video.
        prediction: What was named in it.
        caption: Where the label stands.
        joints: When frames appear, and the joints (K, 3) in them.

    Yields:
        uint8 RGB (H, W, 3), and when it appears in seconds.
    """
    colors = prediction.label_colors()
    ends, labels = zip(
        *((segment.end_seconds, segment.label) for segment in prediction.segments), strict=True
    )
    joints_at = dict(joints or ())
    strip = TimelineStrip(info.height, info.width, ends, labels, colors)
    # Decoded in a thread, drawn on in this one: OpenCV 5 reads its font anew in each thread.
    for image, seconds in one_ahead((frame.rgb(), frame.seconds) for frame in iter_decoded(info.path)):
        label, probability = caption_at(prediction, seconds)
        if seconds in joints_at:
            draw_skeleton(image, joints_at[seconds])
        draw_caption(image, label, probability, colors[label], corner=caption, margin_px=strip.covered_px)
        strip.draw(image, seconds)
        yield image, seconds


def caption_at(prediction: VideoPrediction, seconds: float) -> tuple[str, float | None]:
    """Return the label at a moment and its probability, which "unsure" has none of."""
    label = prediction.label_at(seconds).label
    if label == UNSURE:
        return label, None
    return label, prediction.probability_at(label, seconds - seconds % _READABLE_SECONDS)
