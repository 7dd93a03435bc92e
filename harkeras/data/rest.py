"""The time of recordings in which nothing was labeled, as ranges of a class of its own.

A model that knows falls and walks alone names an idle room one of the two. What "nothing" looks like there is
in the recordings already: all that nobody labeled.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
from tqdm import tqdm

from harkeras.data._annotation_files import Annotation, to_label
from harkeras.data._clip_index import class_of
from harkeras.data._video_folder import shown
from harkeras.video.frame_times import ROUNDING_SECONDS
from harkeras.video.reading import VideoInfo


def list_rest(
    annotations: Iterable[Annotation],
    label: str,
    *,
    clip_seconds: float | None = None,
    margin_seconds: float = 0.5,
    locate: Callable[[str], Path] = Path,
) -> list[Annotation]:
    """List the time that no annotation of a video covers, in pieces of one length.

    Pieces are as long as other clips, so that the length of a clip does not tell its class, and lie side by
    side; what remains is left out. A video without any annotation may not have been looked at, and gives
    none; neither does one that cannot be read.

    Args:
        annotations: All ranges of the videos.
        label: The class of the pieces, such as "Nothing".
        clip_seconds: Length of a piece; the median of the annotations' by default.
        margin_seconds: What to leave out beside each annotation, as people label borders roughly.
        locate: Where the file of a video is that an annotation names.

    Returns:
        Annotations, video by video, of the person of the video's own, where these name but one.

    Raises:
        ValueError: If `label` can be no class or is one of the annotations', or a number is out of its range.
    """
    annotations, label = list(annotations), to_label(label)
    for other in {annotation.label for annotation in annotations}:
        if class_of(other).casefold() == class_of(label).casefold():
            raise ValueError(
                f"rest must be no label of the annotations, got {label!r}, and there is {other!r}"
            )
    if not 0 <= margin_seconds < math.inf:
        raise ValueError(f"rest_margin_seconds must be a finite number of at least 0, got {margin_seconds}")
    if clip_seconds is None:
        lengths = [each.end_seconds - each.start_seconds for each in annotations]
        lengths = [length for length in lengths if 0 < length < math.inf]
        clip_seconds = round(float(np.median(lengths)), 3) if lengths else math.inf
    if not clip_seconds > 0:
        raise ValueError(f"rest_seconds must be positive, got {clip_seconds}")
    ranges_of = defaultdict(list)
    for annotation in annotations:
        ranges_of[annotation.video_key].append(annotation)
    pieces = []
    for video, ranges in tqdm(ranges_of.items(), "Looking for the rest", unit="video"):
        try:
            duration = VideoInfo.read(locate(video)).duration_seconds
        except (OSError, ValueError, RuntimeError):  # it is said of its annotations
            continue
        people = {each.person for each in ranges}
        person = people.pop() if len(people) == 1 else ""
        for start, end in _gaps(ranges, duration, margin_seconds):
            for number in range(math.floor((end - start) / clip_seconds + ROUNDING_SECONDS)):
                times = (round(start + step * clip_seconds, 3) for step in (number, number + 1))
                pieces.append(Annotation(ranges[0].video, *times, label, person, f"rest of {shown(video)}"))
    return pieces


def _gaps(ranges: list[Annotation], duration: float, margin_seconds: float) -> list[tuple[float, float]]:
    """Return the time between ranges, without a margin; one that is reversed covers its time too."""
    times = [(each.start_seconds, each.end_seconds) for each in ranges]
    covered = sorted(sorted(pair) for pair in times if not np.isnan(pair).any())
    borders, last = [(-math.inf, -margin_seconds)], -margin_seconds
    for start, end in covered:
        last = max(last, end)
        borders.append((start, last))
    borders.append((duration + margin_seconds, math.inf))
    gaps = [(end + margin_seconds, start - margin_seconds) for (_, end), (start, _) in pairwise(borders)]
    gaps = [(max(start, 0.0), min(end, duration)) for start, end in gaps]
    return [(start, end) for start, end in gaps if end > start]
