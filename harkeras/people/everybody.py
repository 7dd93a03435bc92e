"""What a model sees of all people together: one square around everybody in a clip, at rest for its length.

A fight is no single person. A square around all who are in it leaves the rest of the picture out, and shows
them larger. It is the same in all frames of a clip, so that only people move in it; with each window of a
stream, it is chosen anew.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harkeras.people.crops import crop_person
from harkeras.people.tracking import Box, PeopleTracker
from harkeras.recipe import Interpolation
from harkeras.video.frames import VideoFrame, mark_through


class Scene:
    """A frame as displayed, uint8 RGB (H, W, 3), and the boxes of the people in it."""

    __slots__ = ("boxes", "image")

    def __init__(self, image: np.ndarray, boxes: Sequence[Box]):
        """Keep them."""
        self.image, self.boxes = image, boxes


def crop_everybody(
    scenes: Sequence[Scene], height: int, width: int, *, interpolation: Interpolation = "area"
) -> np.ndarray:
    """Cut one square around all people of a clip out of each of its frames.

    Args:
        scenes: T frames of one size; where nobody is in any of them, the square holds all of the picture.
        height: Height of the crops in pixels.
        width: Width of the crops in pixels.
        interpolation: How to resize, see `resize_image`.

    Returns:
        uint8 RGB (T, height, width, 3).
    """
    rows, columns = scenes[0].image.shape[:2]
    boxes = np.array([box for scene in scenes for box in scene.boxes] or [(0, 0, columns, rows)], float)
    boxes = boxes.clip(0, [columns, rows, columns, rows])
    union = (*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist())
    how = {"margin": 0.0, "interpolation": interpolation}
    return np.stack([crop_person(scene.image, union, height, width, **how) for scene in scenes])


class EverybodyView:
    """Frames one after another, each with the people in it, who are followed: a `FrameView`.

    Args:
        tracker: Who finds and follows people; a `PeopleTracker()` by default.
    """

    def __init__(self, tracker: PeopleTracker | None = None):
        """Start with no frame."""
        self._tracker = tracker or PeopleTracker()

    def frames_needed(self, wanted: np.ndarray) -> np.ndarray:
        """Mark all frames from the first wanted one to the last: bool (N,) -> bool (N,)."""
        return mark_through(wanted)

    def read(self, frame: VideoFrame, index: int, wanted: bool) -> np.ndarray | None:
        """Look for people in the next frame; if it is wanted, return a `Scene`, as an array object ()."""
        image = frame.rgb()
        people = self._tracker.update(image, frame.seconds)
        if not wanted:
            return None
        scene = np.empty((), object)
        scene[()] = Scene(image, [person.box_px for person in people])
        return scene
