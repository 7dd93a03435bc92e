"""The one person of a clip who is meant by its label: followed, and cut out of the frames."""

from __future__ import annotations

import os
from collections import defaultdict
from functools import partial

import numpy as np

from harkeras.people.crops import BoxSmoother, crop_person
from harkeras.people.tracking import BEGIN_SCORE, KEEP_SCORE, Box, PeopleTracker, Person
from harkeras.recipe import ClipFormat
from harkeras.video.decoding import VideoError
from harkeras.video.frames import DecodedFrame, mark_through
from harkeras.video.reading import read_view


class NobodyError(VideoError):
    """A video in which nobody is found. The message names the file."""


def read_person(
    video: str | os.PathLike,
    clip_format: ClipFormat,
    *,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
) -> np.ndarray:
    """Read the largest person of a video, or of a range of it: a square that goes along, see `follow_person`.

    Returns:
        uint8 RGB (T, H, W, 3).
    """
    span = {"start_seconds": start_seconds, "end_seconds": end_seconds}
    images, boxes = follow_person(video, clip_format.frames, **span)
    size, how = (clip_format.height, clip_format.width), {"interpolation": clip_format.interpolation}
    return np.stack([crop_person(*each, *size, **how) for each in zip(images, boxes, strict=True)])


def follow_person(
    video: str | os.PathLike,
    frames: int,
    *,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
) -> tuple[list[np.ndarray], list[Box]]:
    """Follow the largest person of a video, or of a range of it, and return frames spread evenly over it.

    People are followed through all frames between the first and the last that are wanted. The largest is who
    covers most pixels, over all of them. In frames in which this person is not found, the square stands where
    it was before, or will be first. Where nobody is surely a person, whoever may be one is taken: who lies on
    the floor is followed in a stream since before the fall, of which a clip may show nothing.

    Args:
        video: Path of the video file.
        frames: Number of frames T.
        start_seconds: Start of the range; the first frame by default.
        end_seconds: End of the range, not included; the end of the video by default.

    Returns:
        T frames, uint8 RGB (H, W, 3), as displayed, and the smoothed square around the person in each: left,
        top, right and bottom in pixels.

    Raises:
        ValueError: If the range is empty or outside the video.
        FileNotFoundError: If there is no such file.
        NobodyError: If nobody is found in it, a kind of `VideoError`.
        VideoError: If the file holds no video that can be decoded.
        ImportError: If the package `trackers` is not installed.
        OSError: If the file of YOLOX-nano cannot be had.
    """
    views: list[_PeopleView] = []

    def make_view(begin_score: float) -> _PeopleView:
        views.append(_PeopleView(begin_score))  # the last one is the one that counts
        return views[-1]

    span = {"start_seconds": start_seconds, "end_seconds": end_seconds}
    for begin_score in (BEGIN_SCORE, KEEP_SCORE):
        rows = read_view(video, frames, partial(make_view, begin_score), **span).tolist()
        view = views[-1]
        boxes = follow_largest(view.people, view.seconds)
        if boxes is not None:
            return [view.images[row] for row in rows], [boxes[row] for row in rows]
    raise NobodyError(f"{video}: nobody was found in it")


class _PeopleView:
    """Follows people through frames, and keeps those that are wanted; what it returns is their number."""

    def __init__(self, begin_score: float):
        """Start with no frame."""
        self._tracker = PeopleTracker(begin_score=begin_score)
        self.images: dict[int, np.ndarray] = {}
        self.people: list[list[Person]] = []
        self.seconds: list[float] = []

    def frames_needed(self, wanted: np.ndarray) -> np.ndarray:
        """Mark all frames from the first wanted one to the last: bool (N,) -> bool (N,)."""
        return mark_through(wanted)

    def read(self, frame: DecodedFrame, index: int, wanted: bool) -> np.ndarray | None:
        """Look at the next frame; if it is wanted, keep it and return its number: int ()."""
        image, number = frame.rgb(), len(self.people)
        self.people.append(self._tracker.update(image, frame.seconds))
        self.seconds.append(frame.seconds)
        if not wanted:
            return None
        self.images[number] = image
        return np.array(number)


def follow_largest(people: list[list[Person]], seconds: list[float]) -> list[Box] | None:
    """Return the smoothed square around the largest person in each frame; None if there is nobody at all.

    Args:
        people: The people in each frame.
        seconds: When each frame appears.
    """
    areas: dict[int, float] = defaultdict(float)
    for person in (person for frame in people for person in frame):
        left, top, right, bottom = person.box_px
        areas[person.number] += (right - left) * (bottom - top)
    if not areas:
        return None
    largest, smoother, boxes = max(areas, key=areas.__getitem__), BoxSmoother(), []
    for frame, moment in zip(people, seconds, strict=True):
        box = next((person.box_px for person in frame if person.number == largest), None)
        boxes.append(smoother.update(box, moment) if box is not None else boxes[-1] if boxes else None)
    first = next(box for box in boxes if box is not None)
    return [first if box is None else box for box in boxes]
