"""A decoded frame -> RGB pixels as a player shows them: upright, in the right shape, in the right colors."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import av
import cv2
import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import Colorspace, VideoReformatter

from harkeras.recipe import Interpolation

# Matrices of H.273 that FFmpeg's scaler refuses, and what FFmpeg's own programs take instead: BT.2020 for its
# form with constant luminance, and for the others (YCgCo, ICtCp, and what is rarer) BT.601.
_REPLACED_MATRICES = {8: Colorspace.ITU601, 10: 9} | dict.fromkeys(range(11, 18), Colorspace.ITU601)
# No camera has pixels that are longer than this; a damaged header may.
_LONGEST_PIXEL = 4


class Converter:
    """Makes the decoded frames of a stream upright, square and RGB.

    Args:
        pixel_aspect: Width of a pixel by its height; None for square ones.
    """

    def __init__(self, pixel_aspect: Fraction | None):
        """Start with no frame."""
        plausible = pixel_aspect and 1 / _LONGEST_PIXEL <= pixel_aspect <= _LONGEST_PIXEL
        self._pixel_aspect = pixel_aspect if plausible else 1
        self._reformatter = VideoReformatter()
        self._orientations: dict[int, _Orientation] = {}  # by the angle, of which streams have one or two

    def displayed_size(self, frame: av.VideoFrame) -> tuple[int, int]:
        """Return height and width of a frame as a player shows it: upright, with square pixels."""
        height, width = frame.height, max(round(frame.width * self._pixel_aspect), 1)
        return (width, height) if self._orientation(frame).transposed else (height, width)

    def to_rgb(
        self, frame: av.VideoFrame, height: int, width: int, interpolation: Interpolation = "area"
    ) -> np.ndarray:
        """Convert a frame to uint8 RGB (H, W, 3): by "area" in one pass, or "bilinear" as OpenCV does.

        FFmpeg's own bilinear filter looks at more pixels where it shrinks; OpenCV's looks at four.
        """
        transposed, mirrored, flipped = self._orientation(frame)
        if interpolation == "bilinear":
            stored = (frame.width, frame.height) if transposed else (frame.height, frame.width)
            image = self.to_rgb(frame, *stored)
            return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        if transposed:
            height, width = width, height
        _replace_matrix(frame)
        # Averaging over areas is for making pictures smaller, and slow where they are not.
        scaling = "BILINEAR" if (width, height) == (frame.width, frame.height) else "AREA"
        reformatted = self._reformatter.reformat(
            frame, width, height, "rgb24", interpolation=scaling, threads=1
        )
        image = reformatted.to_ndarray()
        if not (transposed or mirrored or flipped):
            return image
        image = image.swapaxes(0, 1) if transposed else image
        return np.ascontiguousarray(image[:: -1 if flipped else 1, :: -1 if mirrored else 1])

    def _orientation(self, frame: av.VideoFrame) -> _Orientation:
        if frame.rotation not in self._orientations:
            self._orientations[frame.rotation] = _read_orientation(frame)
        return self._orientations[frame.rotation]


class _Orientation(NamedTuple):
    """How a frame becomes upright: whether to swap its axes, then to mirror it, then to flip it."""

    transposed: bool
    mirrored: bool
    flipped: bool


def _read_orientation(frame: av.VideoFrame) -> _Orientation:
    # A frame whose side data PyAV has handed out refers to itself, and keeps its memory until Python looks
    # for such circles: a copy of 2 x 2 pixels keeps little.
    _replace_matrix(frame)
    small = frame.reformat(2, 2, "gray8", interpolation="POINT", threads=1)
    try:
        data = small.side_data.get(Type.DISPLAYMATRIX)
    except ValueError:  # PyAV does not know all that FFmpeg puts beside a frame; it knows the angle
        turns = round(frame.rotation / 90) % 4  # counter-clockwise
        return _Orientation(turns % 2 == 1, turns in (2, 3), turns in (1, 2))
    if data is None:
        return _Orientation(False, False, False)
    # A point (x, y) of the stored picture is shown at (a x + c y, b x + d y).
    a, b, _, c, d = np.frombuffer(data, np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return _Orientation(True, c < 0, b < 0)
    return _Orientation(False, a < 0, d < 0)


def _replace_matrix(frame: av.VideoFrame) -> None:
    if frame.colorspace in _REPLACED_MATRICES:
        frame.colorspace = _REPLACED_MATRICES[frame.colorspace]
