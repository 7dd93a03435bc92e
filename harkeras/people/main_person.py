"""The people in a file: followed once, and cut out of the frames that are wanted."""

from __future__ import annotations

import os
from collections import defaultdict
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from harkeras.people.crops import BoxSmoother, crop_person
from harkeras.people.everybody import Scene, view_scenes
from harkeras.people.tracking import BEGIN_SCORE, KEEP_SCORE, Box, PeopleTracker, Person
from harkeras.recipe import ClipFormat
from harkeras.video.decoding import VideoError
from harkeras.video.frame_times import ROUNDING_SECONDS
from harkeras.video.frames import DecodedFrame
from harkeras.video.reading import iter_decoded, read_view

_FILES_REMEMBERED = 10_000  # boxes take a few kilobytes each


class NobodyError(VideoError):
    """A video in which nobody is found. The message names the file."""


class Tracks(NamedTuple):
    """The people in the frames of a file, or of a range of it.

    Attributes:
        seconds: float (N,), when each frame appears.
        people: Who is in each of them.
    """

    seconds: np.ndarray
    people: tuple[tuple[Person, ...], ...]

    def row_at(self, seconds: float) -> int:
        """Return the number of the frame that is on screen at a moment."""
        return max(int(np.searchsorted(self.seconds, seconds + ROUNDING_SECONDS, side="right")) - 1, 0)


def track_file(
    video: str | os.PathLike,
    *,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    begin_score: float = BEGIN_SCORE,
) -> Tracks:
    """Follow the people in a file, or in a range of it; it is done once, as long as the file is the same.

    Args:
        video: Path of the video file.
        start_seconds: Start of the range; the first frame by default.
        end_seconds: End of the range, not included; the end of the video by default.
        begin_score: A person begins with a box of at least this score.

    Raises:
        ValueError: If the range is empty or outside the video.
        FileNotFoundError: If there is no such file.
        VideoError: If the file holds no video that can be decoded.
        ImportError: If the package `trackers` is not installed.
        OSError: If the file of YOLOX-nano cannot be had.
    """
    facts = os.stat(video)  # noqa: PTH116
    return _track(
        os.fspath(video), (facts.st_mtime_ns, facts.st_size), start_seconds, end_seconds, begin_score
    )


@lru_cache(maxsize=_FILES_REMEMBERED)
def _track(
    video: str, version: tuple[int, int], start: float | None, end: float | None, begin_score: float
) -> Tracks:
    tracker, seconds, people = PeopleTracker(begin_score=begin_score), [], []
    for frame in iter_decoded(video, start_seconds=start, end_seconds=end):
        people.append(tuple(tracker.update(frame.rgb(), frame.seconds)))
        seconds.append(frame.seconds)
    return Tracks(np.array(seconds), tuple(people))


def read_people(
    video: str | os.PathLike,
    clip_format: ClipFormat,
    *,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
) -> np.ndarray:
    """Read what a model sees of the people in a video, or in a range of it.

    Of subject "person", a square that goes along with the largest person, see `follow_person`; of "people"
    and "frame+people", one square around all who are in the frames, see `view_scenes`.

    Returns:
        uint8 RGB (T, H, W, 3).
    """
    span = {"start_seconds": start_seconds, "end_seconds": end_seconds}
    if clip_format.subject == "person":
        size, how = (clip_format.height, clip_format.width), {"interpolation": clip_format.interpolation}
        images, boxes = follow_person(video, clip_format.frames, **span)
        return np.stack([crop_person(*each, *size, **how) for each in zip(images, boxes, strict=True)])
    tracks = track_file(video, **span)
    images, moments = _read_whole(video, clip_format.frames, **span)
    found = [tuple(person.box_px for person in tracks.people[tracks.row_at(moment)]) for moment in moments]
    return view_scenes(list(map(Scene, images, found)), clip_format)


def follow_person(
    video: str | os.PathLike,
    frames: int,
    *,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
) -> tuple[list[np.ndarray], list[Box]]:
    """Follow the largest person of a video, or of a range of it, and return frames spread evenly over it.

    The errors are those of `find_largest`.

    Args:
        video: Path of the video file.
        frames: Number of frames T.
        start_seconds: Start of the range; the first frame by default.
        end_seconds: End of the range, not included; the end of the video by default.

    Returns:
        T frames, uint8 RGB (H, W, 3), as displayed, and the smoothed square around the person in each: left,
        top, right and bottom in pixels.
    """
    span = {"start_seconds": start_seconds, "end_seconds": end_seconds}
    tracks, boxes = find_largest(video, **span)
    smoother = BoxSmoother()
    squares = list(map(smoother.update, boxes, tracks.seconds.tolist()))
    images, moments = _read_whole(video, frames, **span)
    return images, [squares[tracks.row_at(moment)] for moment in moments]


def find_largest(
    video: str | os.PathLike, *, start_seconds: float | None = None, end_seconds: float | None = None
) -> tuple[Tracks, list[Box]]:
    """Return where the largest person of a video, or of a range of it, is in each frame.

    The largest is who covers most pixels, over all frames. Where nobody is surely a person, whoever may be
    one is taken: who lies on the floor is followed in a stream since before the fall, of which a clip may
    show nothing.

    Raises:
        ValueError: If the range is empty or outside the video.
        FileNotFoundError: If there is no such file.
        NobodyError: If nobody is found in it, a kind of `VideoError`.
        VideoError: If the file holds no video that can be decoded.
        ImportError: If the package `trackers` is not installed.
        OSError: If the file of YOLOX-nano cannot be had.
    """
    span = {"start_seconds": start_seconds, "end_seconds": end_seconds}
    for begin_score in (BEGIN_SCORE, KEEP_SCORE):
        tracks = track_file(video, begin_score=begin_score, **span)
        boxes = list_largest(tracks.people)
        if boxes is not None:
            return tracks, boxes
    raise NobodyError(f"{video}: nobody was found in it")


def list_largest(people: tuple[tuple[Person, ...], ...]) -> list[Box] | None:
    """Return the box of the largest person in each frame; None if there is nobody at all.

    In frames in which this person is not found, it stays where it was before, or will be first.

    Args:
        people: The people in each frame.
    """
    areas: dict[int, float] = defaultdict(float)
    for person in (person for frame in people for person in frame):
        left, top, right, bottom = person.box_px
        areas[person.number] += (right - left) * (bottom - top)
    if not areas:
        return None
    largest, boxes = max(areas, key=areas.__getitem__), []
    for frame in people:
        before = boxes[-1] if boxes else None
        boxes.append(next((person.box_px for person in frame if person.number == largest), before))
    first = next(box for box in boxes if box is not None)
    return [first if box is None else box for box in boxes]


def _read_whole(
    video: str | os.PathLike, frames: int, **span: float | None
) -> tuple[list[np.ndarray], list[float]]:
    """Return frames spread evenly over a video or a range, as displayed, and when they appear."""
    views: list[_WholeView] = []

    def make_view() -> _WholeView:
        views.append(_WholeView())  # the last one is the one that counts
        return views[-1]

    rows = read_view(video, frames, make_view, **span).tolist()
    return [views[-1].images[row] for row in rows], [views[-1].seconds[row] for row in rows]


class _WholeView:
    """Keeps the frames that are wanted as they are displayed; what it returns is their number."""

    def __init__(self) -> None:
        """Start with no frame."""
        self.images: list[np.ndarray] = []
        self.seconds: list[float] = []

    def frames_needed(self, wanted: np.ndarray) -> np.ndarray:
        """Mark the frames that are wanted."""
        return wanted

    def read(self, frame: DecodedFrame, index: int, wanted: bool) -> np.ndarray | None:
        """Keep the next frame, and return its number: int ()."""
        self.images.append(frame.rgb())
        self.seconds.append(frame.seconds)
        return np.array(len(self.images) - 1)
