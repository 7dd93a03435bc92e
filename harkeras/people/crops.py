"""What a model sees of one person: a square around the box, which goes along smoothly."""

from __future__ import annotations

import math

import cv2
import numpy as np

from harkeras.people._one_euro import OneEuroFilter
from harkeras.people.tracking import Box
from harkeras.recipe import Interpolation
from harkeras.video.images import resize_image

# Around a box, as a share of its longer side: arms and legs, and where a person is about to go.
MARGIN = 0.2
# Raised when the same frames would give other boxes or crops; caches of what was made of crops know it.
CROPS_VERSION = 4
# Of the One-Euro filter, speeds in sides of the square: at rest it averages over 0.4 s, and who runs off at
# two sides a second gets no further ahead of it than the margin.
_MIN_CUTOFF_HZ, _BETA, _SPEED_CUTOFF_HZ = 0.4, 1.0, 0.3


def crop_person(
    image: np.ndarray,
    box_px: Box,
    height: int,
    width: int,
    *,
    margin: float = MARGIN,
    interpolation: Interpolation = "area",
) -> np.ndarray:
    """Cut a person out of a picture: what lies around the box, in the shape of the crop, not squeezed.

    Args:
        image: uint8 RGB (H, W, 3).
        box_px: Left, top, right and bottom in pixels; it may reach beyond the picture, whose border is
            repeated there.
        height: Height of the crop in pixels.
        width: Width of the crop in pixels.
        margin: Room on each side, as a share of the longer side of the box.
        interpolation: How to resize, see `resize_image`.

    Returns:
        uint8 RGB (height, width, 3).

    Raises:
        ValueError: If `margin` is negative, or the box is no four finite numbers.
    """
    if not 0 <= margin < math.inf:
        raise ValueError(f"margin must be at least 0, got {margin}")
    box = np.asarray(box_px, float)
    if box.shape != (4,) or not np.isfinite(box).all():
        raise ValueError(f"box_px must be left, top, right and bottom in pixels, got {box_px}")
    side = max(box[2] - box[0], box[3] - box[1], 1) * (1 + 2 * margin)
    # The shorter side of the crop holds the square around the person.
    rows = side * max(height / width, 1)
    columns = side * max(width / height, 1)
    top, left = (box[1] + box[3] - rows) / 2, (box[0] + box[2] - columns) / 2
    y, above, below = _span(round(top), max(round(rows), 1), image.shape[0])
    x, before, behind = _span(round(left), max(round(columns), 1), image.shape[1])
    crop = cv2.copyMakeBorder(image[y, x], above, below, before, behind, cv2.BORDER_REPLICATE)
    return resize_image(crop, height, width, interpolation=interpolation)


def _span(first: int, count: int, size: int) -> tuple[slice, int, int]:
    """Return which of `size` rows are among `count` from `first` on, and how many lie on each side."""
    start = min(max(first, 0), size - 1)
    stop = min(max(first + count, 1), size)
    before = min(start - first, count - 1) if first < 0 else 0
    return slice(start, stop), before, count - before - (stop - start)


class BoxSmoother:
    """Hold the box of one person still against the trembling of detections, looking at the past alone."""

    def __init__(self) -> None:
        """Start with no box."""
        self._filter = OneEuroFilter(_MIN_CUTOFF_HZ, _BETA, _SPEED_CUTOFF_HZ)
        self._square: list[float] | None = None  # center x and y, side
        self._seconds = 0.0

    def update(self, box_px: Box, seconds: float) -> Box:
        """Return a square around the person, smoothed: left, top, right and bottom in pixels."""
        left, top, right, bottom = box_px
        side = max(right - left, bottom - top)
        step_seconds = seconds - self._seconds
        if self._square is None or step_seconds > 0:
            square = np.array([[(left + right) / 2, (top + bottom) / 2, side]], float)
            self._square = self._filter.update(square, step_seconds or 1.0, max(side, 1.0))[0].tolist()
            self._seconds = seconds
        x, y, side = self._square
        return x - side / 2, y - side / 2, x + side / 2, y + side / 2
