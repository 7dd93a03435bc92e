"""What a model sees of all people together: one square around everybody in a clip, at rest for its length.

A fight is no single person. A square around all who are in it leaves the rest of the picture out, and shows
them larger. It is the same in all frames of a clip, so that only people move in it; with each window of a
stream, it is chosen anew. What is left out tells something, too: a model may see the whole frame beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harkeras.people.crops import crop_person
from harkeras.people.tracking import Box, PeopleTracker
from harkeras.recipe import ClipFormat, Interpolation, Recipe
from harkeras.video.frames import VideoFrame, mark_through
from harkeras.video.images import resize_image


class Scene:
    """A frame as displayed, uint8 RGB (H, W, 3), and the boxes of the people in it."""

    __slots__ = ("boxes", "image")

    def __init__(self, image: np.ndarray, boxes: Sequence[Box]):
        """Keep them."""
        self.image, self.boxes = image, boxes


def view_scenes(scenes: Sequence[Scene], clip_format: ClipFormat | Recipe) -> np.ndarray:
    """Show a model of all people together a clip.

    Args:
        scenes: T frames of one size.
        clip_format: What a clip holds: of subject "people", what `crop_everybody` cuts out; of
            "frame+people", the whole frame and that square, to its right, or below it in a clip that is
            higher than wide.

    Returns:
        uint8 RGB (T, H, W, 3).
    """
    height, width = clip_format.height, clip_format.width
    how: dict[str, Interpolation] = {"interpolation": clip_format.interpolation}
    if clip_format.subject == "people":
        return crop_everybody(scenes, height, width, **how)
    side, along = min(height, width), int(width > height)
    size = (height, width - side) if along else (height - side, width)
    frames = np.stack([resize_image(scene.image, *size, **how) for scene in scenes])
    return np.concatenate([frames, crop_everybody(scenes, side, side, **how)], axis=1 + along)


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
