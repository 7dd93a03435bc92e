"""What is drawn on a frame: the action as a caption, and the whole video as a strip of colors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

# Okabe and Ito's colors, which color-blind people can tell apart.
_COLORS = (
    (0, 158, 115),
    (230, 159, 0),
    (86, 180, 233),
    (213, 94, 0),
    (204, 121, 167),
    (240, 228, 66),
    (0, 114, 178),
)
_GRAY = (150, 150, 150)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_CAPITAL_PX = 21  # height of a capital letter of this font at scale 1
# A text that does not fit shrinks to this share of its size, and is cut after that.
_SMALLEST = 0.6


def class_color(label: str, classes: Sequence[str]) -> tuple[int, int, int]:
    """Return the RGB color of a class: seven in turn; gray for labels that are none."""
    return _COLORS[list(classes).index(label) % len(_COLORS)] if label in classes else _GRAY


def draw_caption(image: np.ndarray, label: str, text: str, color: tuple[int, int, int]) -> None:
    """Draw a label and a short text on a dark box in the upper left corner.

    OpenCV 5 writes the letters of most scripts; OpenCV 4 knows ASCII alone and shows others as "?".

    Args:
        image: uint8 RGB (H, W, 3), changed in place.
        label: The label, cut if both do not fit into the width.
        text: What follows it, such as "87%"; may be empty.
        color: RGB of the bar at the left.
    """
    height, width = image.shape[:2]
    text = _render_caption(label, text, height, width)
    bar = max(text.shape[0] // 6, 2)
    box = image[: text.shape[0], : text.shape[1] + bar]
    box //= 4  # what is behind stays visible
    box[:, :bar] = color
    np.maximum(box[:, bar:], text[:, : box.shape[1] - bar], out=box[:, bar:])


@lru_cache(maxsize=64)
def _render_caption(label: str, text: str, height: int, width: int) -> np.ndarray:
    """Render light letters on black, uint8 (h, w, 1); a caption stays for many frames, so it is kept."""
    size = max(0.055 * min(height, width), 9)  # height of a capital letter in pixels
    room = width - 3 * size
    whole = f"{label} {text}".strip()
    fits = room / _text_width(whole, size / _CAPITAL_PX)
    size *= min(max(fits, _SMALLEST), 1)
    scale = size / _CAPITAL_PX
    while label and _text_width(whole, scale) > room:
        label = label[:-1]
        whole = f"{label.rstrip()}... {text}".strip()
    pad = round(0.75 * size)  # holds the parts of letters below the line, too
    canvas = np.zeros((round(size) + 2 * pad, _text_width(whole, scale) + 2 * pad), np.uint8)
    origin = (pad, canvas.shape[0] - pad)
    cv2.putText(canvas, whole, origin, _FONT, scale, 255, _thickness(scale), cv2.LINE_AA)
    return canvas[..., None]


def _thickness(scale: float) -> int:
    return max(round(1.5 * scale), 1)


def _text_width(text: str, scale: float) -> int:
    return cv2.getTextSize(text, _FONT, scale, _thickness(scale))[0][0]


class TimelineStrip:
    """The whole video as a strip along the lower edge: a color per label, and a mark at the present moment.

    Args:
        height: Height of the frames to draw on.
        width: Width of the frames to draw on.
        stops: Where each color ends, as shares of the video's duration, increasing; the last is 1.
        colors: As many RGB colors.
    """

    def __init__(
        self, height: int, width: int, stops: Sequence[float], colors: Sequence[tuple[int, int, int]]
    ):
        """Draw the strip once; frames get copies."""
        self._strip = np.zeros((max(height // 30, 6), width, 3), np.uint8)
        start = 0
        for stop, color in zip(stops, colors, strict=True):
            self._strip[:, start : round(stop * width)] = color
            start = round(stop * width)
        self._strip[0] = 0  # a dark line towards the picture
        self._dim = self._strip // 2

    def draw(self, image: np.ndarray, position: float) -> None:
        """Draw the strip on uint8 RGB (H, W, 3), in place; `position`, 0 to 1, is how much has passed."""
        height, width = self._strip.shape[:2]
        now, half = round(position * width), max(width // 300, 1)
        area = image[-height:]
        area[:, :now], area[:, now:] = self._strip[:, :now], self._dim[:, now:]
        area[:, max(now - half, 0) : now + half] = 255
