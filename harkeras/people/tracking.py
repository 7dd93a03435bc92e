"""Who is who from frame to frame: detections in some frames, a number for each person in all of them.

ByteTrack (Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box", ECCV 2022), as
the package `trackers` has it (extra `people`): a Kalman filter says where each person will be, sure boxes are
given to the nearest of these places, and then those that are not sure to whoever is left. A new person begins
with a sure box. Whoever is not found for a while (behind another one, on the floor) keeps the number; so does
who is then found where nobody was expected, but where the last box was.

Detection is what costs, so that it is done in every third frame or so; between two of them a box goes on as
it has been going.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harkeras.people.detection import PeopleDetector, detect_people
from harkeras.video.reading import Frame, iter_frames

if TYPE_CHECKING:
    from supervision import Detections

Box = tuple[float, float, float, float]

# Boxes that are less sure than the second belong to nobody, and those that are less sure than the first begin
# nobody.
BEGIN_SCORE, KEEP_SCORE = 0.4, 0.1
_LOST_SECONDS = 4.0  # so long is a person who is not found waited for: those who lie are seldom found
_LONGEST_STEP_SECONDS = 2.0  # after a longer pause, or when the clock goes back, everybody is new
_LEAST_OVERLAP = 0.1  # of a box and the place where a person is expected
_SAME_PLACE = 0.2  # share of the smaller box: who stood lies over no more of that place
# Nobody appears out of nothing: who does so away from the borders, about as high as who was lost, and no
# further away than so many heights, and as many more for each second, is the same person.
_REACH, _REACH_A_SECOND, _HEIGHT_RATIO = 0.5, 1.0, 1.5
_PART = 0.5  # share of a box that is not sure: so much of it on a surer one, and it is a part of that person


class Person(NamedTuple):
    """A person in a frame.

    Attributes:
        number: From 1 on, the same in all frames; no number is given twice.
        box_px: Left, top, right and bottom in pixels; it may reach beyond the picture.
        score: Of the last detection, 0 to 1.
    """

    number: int
    box_px: Box
    score: float


class PeopleTracker:
    """Follow the people in a video from frame to frame.

    What it keeps does not grow with the video.

    Args:
        detector: Function of an image -> boxes of people, see `detect_people`; YOLOX-nano by default.
        every: Look for people in every so many frames, at least 1.
        begin_score: A person begins with a box of at least this score.
        keep_score: Boxes of a lower score are left out.

    Raises:
        ValueError: If `every` is below 1, or a score is not in 0 to 1.
        ImportError: If the package `trackers` is not installed.

    Example:
        >>> tracker = PeopleTracker()
        >>> for frame in iter_frames("street.mp4"):
        ...     for person in tracker.update(frame.image, frame.seconds):
        ...         print(frame.seconds, person.number, person.box_px)
    """

    def __init__(
        self,
        *,
        detector: PeopleDetector | None = None,
        every: int = 3,
        begin_score: float = BEGIN_SCORE,
        keep_score: float = KEEP_SCORE,
    ):
        """Start with nobody."""
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        for name, value in (("begin_score", begin_score), ("keep_score", keep_score)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must lie in 0 to 1, got {value}")
        self._detector, self._every = detector, every
        self._begin_score, self._keep_score = begin_score, keep_score
        self._taken = 0  # numbers given before the last start
        self._start_anew()

    def _start_anew(self) -> None:
        try:
            from trackers import ByteTrackTracker
        except ImportError as error:
            raise ImportError('people are followed by trackers: pip install "harkeras[people]"') from error
        # Times are passed to it, so that the rate means nothing; buffers are in frames of 30 a second.
        self._tracker = ByteTrackTracker(
            lost_track_buffer=round(30 * _LOST_SECONDS),
            track_activation_threshold=self._begin_score,
            high_conf_det_threshold=self._begin_score,
            minimum_consecutive_frames=1,
            minimum_iou_threshold=_LEAST_OVERLAP,
        )
        self._frames, self._seconds = 0, -math.inf
        self._people: dict[int, _Motion] = {}

    def update(self, image: np.ndarray, seconds: float) -> list[Person]:
        """Find the people in the next frame.

        Args:
            image: uint8 RGB (H, W, 3).
            seconds: When it appears. After a pause of more than two seconds, or when the clock goes back,
                everybody gets a new number.

        Returns:
            The people in it in the order of their numbers.

        Raises:
            ValueError: If the image is no uint8 RGB, or the detector gives something else than boxes.
            OSError: If there is no detector, and the file of YOLOX-nano cannot be had.
        """
        if self._frames and not 0 < seconds - self._seconds <= _LONGEST_STEP_SECONDS:
            self._taken += max((track.number for track in self._people.values()), default=0)
            self._start_anew()
        if self._frames % self._every == 0:
            self._detect(image, seconds)
        self._frames, self._seconds = self._frames + 1, seconds
        height, width = image.shape[:2]
        people = sorted(motion.at(seconds, self._taken) for motion in self._people.values())
        return [person for person in people if _touches(person.box_px, height, width)]

    def _detect(self, image: np.ndarray, seconds: float) -> None:
        """Look for people, and give each box that is found to somebody."""
        import supervision

        boxes = detect_people(image, threshold=self._keep_score, detector=self._detector)
        boxes = boxes[[self._may_be_somebody(box, boxes, seconds) for box in boxes]]
        detections = supervision.Detections(xyxy=boxes[:, :4], confidence=boxes[:, 4])
        found = self._tracker.update(detections, timestamp=seconds)
        scores = (
            dict(zip(found.tracker_id.tolist(), found.confidence.tolist(), strict=True)) if len(found) else {}
        )
        scores |= self._find_again(found, scores, seconds, image.shape[1::-1])
        people = {}
        for track in self._tracker.tracks:
            number = int(track.tracker_id)
            if number < 0:  # seen once; the next detection makes it somebody
                continue
            if number in scores:
                box, before = track.get_state_bbox(), self._people.get(number)
                people[number] = _Motion(number + 1, box, scores[number], seconds, before)
            else:  # not found: expected where the last box was, and no longer on the way
                people[number] = self._people[number].rest()
        self._people = people

    def _may_be_somebody(self, box: np.ndarray, boxes: np.ndarray, seconds: float) -> bool:
        """Say whether a box is sure enough to begin with, or lies where somebody was, or went.

        An arm or a half of somebody, found once more, would else be taken for who is hidden behind.
        """
        if box[4] >= self._begin_score:
            return True
        if any(_common(box, other) >= _PART * _area(box) for other in boxes if other[4] > box[4]):
            return False
        return any(
            _overlap(box[:4], np.array(place)) >= _SAME_PLACE
            for motion in self._people.values()
            for place in (motion.box, motion.at(seconds, 0).box_px)
        )

    def _find_again(
        self, found: Detections, known: Collection[int], seconds: float, size: tuple[int, int]
    ) -> dict[int, float]:
        """Give boxes that are nobody's to those who were lost just there, or near; return scores by number.

        The tracker waits for them where they were going, which is elsewhere for somebody who has stopped, and
        who goes behind another one seems to go to where last something of them was to be seen.
        """
        scores = {}
        free = [row for row in range(len(found)) if found.tracker_id[row] < 0]
        for track in list(self._tracker.tracks):
            number = int(track.tracker_id)
            if number not in self._people or number in known or not free:
                continue
            lost = self._people[number]
            fits = [max(_overlap(box, lost.box), lost.reach(box, seconds, size)) for box in found.xyxy[free]]
            if max(fits) < _SAME_PLACE:
                continue
            row = free.pop(int(np.argmax(fits)))
            track.update(found.xyxy[row])
            scores[number] = float(found.confidence[row])
            self._tracker.tracks = [
                each
                for each in self._tracker.tracks
                if each.tracker_id >= 0 or not np.allclose(each.get_state_bbox(), found.xyxy[row], atol=1)
            ]
        return scores


class _Motion:
    """Where a person was at the last detection, and how the box moves."""

    def __init__(self, number: int, box: np.ndarray, score: float, seconds: float, before: _Motion | None):
        self.number, self.box, self.score, self.seconds = number, box, score, seconds
        self.speed = np.zeros(4)  # pixels a second, of each side
        if before is not None:
            self.speed = (box - before.box) / (seconds - before.seconds)

    def rest(self) -> _Motion:
        """Return the person where the box was at the last detection, and stays."""
        return _Motion(self.number, self.box, self.score, self.seconds, None)

    def reach(self, box: np.ndarray, seconds: float, size: tuple[int, int]) -> float:
        """Say whether a box may be that person, who was lost: 1 for the same place, 0 for out of reach."""
        heights = sorted((self.box[3] - self.box[1], box[3] - box[1]))
        sides = [side for each in (self.box, box) for side in (each[0], size[0] - each[2])]
        if min(sides) <= 0 or heights[1] > _HEIGHT_RATIO * heights[0]:
            return 0.0
        away = np.linalg.norm((self.box[:2] + self.box[2:] - box[:2] - box[2:]) / 2)
        furthest = (_REACH + _REACH_A_SECOND * (seconds - self.seconds)) * heights[1]
        return max(1 - (1 - _SAME_PLACE) * float(away) / furthest, 0.0)

    def at(self, seconds: float, taken: int) -> Person:
        """Return the person at a moment after the last detection."""
        box = self.box + self.speed * (seconds - self.seconds)
        return Person(taken + self.number, tuple(box.tolist()), self.score)


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Return the share of the smaller of two boxes that lies in the larger one."""
    return _common(one, other) / max(min(_area(one), _area(other)), 1e-9)


def _common(one: np.ndarray, other: np.ndarray) -> float:
    """Return the area that two boxes have in common."""
    sides = np.minimum(one[2:4], other[2:4]) - np.maximum(one[:2], other[:2])
    return float(np.prod(np.maximum(sides, 0)))


def _area(box: np.ndarray) -> float:
    return float(np.prod(box[2:4] - box[:2]))


def _touches(box: Box, height: int, width: int) -> bool:
    """Say whether some of a box lies in the picture."""
    left, top, right, bottom = box
    return left < min(right, width) and top < min(bottom, height) and right > 0 and bottom > 0


def track_people(
    video: str | os.PathLike, *, tracker: PeopleTracker | None = None
) -> Iterator[tuple[Frame, list[Person]]]:
    """Follow the people in a video file.

    Args:
        video: Path of the video.
        tracker: What follows them; a `PeopleTracker()` by default.

    Yields:
        Each frame, with its time and its pixels, uint8 RGB (H, W, 3), and the people in it.

    Raises:
        FileNotFoundError: If there is no such file.
        VideoError: If the file holds no video that can be decoded.
        ImportError: If the package `trackers` is not installed.
        OSError: If the file of YOLOX-nano is needed and cannot be had.
    """
    tracker = tracker or PeopleTracker()
    for frame in iter_frames(video):
        yield frame, tracker.update(frame.image, frame.seconds)
