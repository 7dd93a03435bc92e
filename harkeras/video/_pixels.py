"""A decoded frame -> RGB pixels as a player shows them: upright, in the right shape, in the right colors."""

from __future__ import annotations

from fractions import Fraction

import av
import cv2
import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import Colorspace, VideoReformatter

# Matrices of H.273 that FFmpeg's scaler refuses, and what FFmpeg's own programs take instead: BT.2020 for its
# form with constant luminance, and for the others (YCgCo, ICtCp, and what is rarer) BT.601.
_REPLACED_MATRICES = {8: Colorspace.ITU601, 10: 9} | dict.fromkeys(range(11, 18), Colorspace.ITU601)
# No camera has pixels that are longer than this; a damaged header may.
_LONGEST_PIXEL = 4


# How a frame becomes upright: whether to swap its axes, then to mirror it, then to flip it.
Orientation = tuple[bool, bool, bool]


def displayed_size(
    frame: av.VideoFrame, orientation: Orientation, pixel_aspect: Fraction | None
) -> tuple[int, int]:
    """Return height and width of a frame as a player shows it: upright, with square pixels.

    Args:
        frame: The frame.
        orientation: How it becomes upright, see `read_orientation`.
        pixel_aspect: Width of a pixel by its height; None for square ones.
    """
    height, width = frame.height, frame.width
    if pixel_aspect and 1 / _LONGEST_PIXEL <= pixel_aspect <= _LONGEST_PIXEL:
        width = max(round(width * pixel_aspect), 1)
    return (width, height) if orientation[0] else (height, width)


def to_rgb(
    frame: av.VideoFrame,
    height: int,
    width: int,
    orientation: Orientation,
    reformatter: VideoReformatter,
    interpolation: str = "area",
) -> np.ndarray:
    """Convert a frame to uint8 RGB (H, W, 3), upright: by "area" in one pass, or "bilinear" as OpenCV does.

    FFmpeg's own bilinear filter looks at more pixels where it shrinks; OpenCV's looks at four.
    """
    transposed, mirrored, flipped = orientation
    if interpolation == "bilinear":
        stored = (frame.width, frame.height) if transposed else (frame.height, frame.width)
        image = to_rgb(frame, *stored, orientation, reformatter)
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    if transposed:
        height, width = width, height
    _replace_matrix(frame)
    # Averaging over areas is for making pictures smaller, and slow where they are not.
    scaling = "BILINEAR" if (width, height) == (frame.width, frame.height) else "AREA"
    image = reformatter.reformat(frame, width, height, "rgb24", interpolation=scaling, threads=1).to_ndarray()
    if not (transposed or mirrored or flipped):
        return image
    image = image.swapaxes(0, 1) if transposed else image
    return np.ascontiguousarray(image[:: -1 if flipped else 1, :: -1 if mirrored else 1])


def read_orientation(frame: av.VideoFrame) -> Orientation:
    """Return how a frame becomes upright."""
    # A frame whose side data PyAV has handed out refers to itself, and keeps its memory until Python looks
    # for such circles: a copy of 2 x 2 pixels keeps little.
    _replace_matrix(frame)
    small = frame.reformat(2, 2, "gray8", interpolation="POINT", threads=1)
    try:
        data = small.side_data.get(Type.DISPLAYMATRIX)
    except (
        ValueError
    ):  # PyAV does not know all that FFmpeg puts beside a frame, and then gives the angle only
        turns = round(frame.rotation / 90) % 4  # counter-clockwise
        return turns % 2 == 1, turns in (2, 3), turns in (1, 2)
    if data is None:
        return False, False, False
    # A point (x, y) of the stored picture is shown at (a x + c y, b x + d y).
    a, b, _, c, d = np.frombuffer(data, np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, c < 0, b < 0
    return False, a < 0, d < 0


def _replace_matrix(frame: av.VideoFrame) -> None:
    if frame.colorspace in _REPLACED_MATRICES:
        frame.colorspace = _REPLACED_MATRICES[frame.colorspace]
