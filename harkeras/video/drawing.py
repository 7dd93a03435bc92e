"""What is drawn on a frame: the action as a caption, and the whole video as a strip of colors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal, get_args

import cv2
import numpy as np

Color = tuple[int, int, int]
# Where a caption stands.
Caption = Literal["top-left", "top-right", "bottom-left", "bottom-right", "none"]

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
COLOR_COUNT = len(_COLORS)
_GRAY = (150, 150, 150)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_CAPITAL_PX = 21  # height of a capital letter of this font at scale 1
# A label that does not fit shrinks to this share of its size, and is cut after that.
_SMALLEST = 0.6
# Frames of fewer lines have no room for small letters.
_LINES_FOR_LETTERS = 180
# Seconds between two times on the strip: the first of these that leaves them room, or whole days.
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200)
_DAY_SECONDS = 86400


def class_color(label: str, classes: Sequence[str]) -> Color:
    """Return the RGB color of a class: seven in turn; gray for labels that are none."""
    return _COLORS[list(classes).index(label) % COLOR_COUNT] if label in classes else _GRAY


def person_color(number: int) -> Color:
    """Return the RGB color of a person: seven in turn."""
    return _COLORS[(number - 1) % COLOR_COUNT]


def check_caption(caption: str) -> None:
    """Raise ValueError unless there is such a place for a caption."""
    if caption not in get_args(Caption):
        raise ValueError(f"caption must be one of {', '.join(get_args(Caption))}, got {caption!r}")


def draw_caption(
    image: np.ndarray,
    label: str,
    probability: float | None,
    color: Color,
    *,
    corner: Caption = "top-left",
    margin_px: int = 0,
) -> None:
    """Draw a label and its probability on a dark box in a corner.

    OpenCV 5 writes the letters of most scripts; OpenCV 4 knows ASCII alone and shows others as "?".

    Args:
        image: uint8 RGB (H, W, 3), changed in place.
        label: The label, cut if both do not fit into the width.
        probability: What follows it as a percentage, 0 to 1; None for a label that has none.
        color: RGB of the bar at the side.
        corner: Where it stands; with "none", nothing is drawn.
        margin_px: What to keep free below it in a lower corner.
    """
    if corner == "none":
        return
    height, width = image.shape[:2]
    percentage = None if probability is None else round(100 * probability)
    text = _render_caption(label, percentage, height, width)
    bar = max(text.shape[0] // 6, 2)
    box_height, box_width = text.shape[0], min(text.shape[1] + bar, width)
    top = 0 if corner.startswith("top") else max(height - margin_px - box_height, 0)
    left = 0 if corner.endswith("left") else width - box_width
    box = image[top : top + box_height, left : left + box_width]
    box //= 4  # what is behind stays visible
    edge, room = (box[:, :bar], box[:, bar:]) if left == 0 else (box[:, -bar:], box[:, :-bar])
    edge[:] = color
    np.maximum(room, text[: room.shape[0], : room.shape[1]], out=room)


def draw_person(
    image: np.ndarray, box_px: Sequence[float], label: str, probability: float | None, color: Color
) -> None:
    """Draw a box around a person, and the label and its probability above it, or inside if there is no room.

    Args:
        image: uint8 RGB (H, W, 3), changed in place.
        box_px: Left, top, right and bottom in pixels; it may reach beyond the picture.
        label: The label, cut if both do not fit into the width of the picture.
        probability: What follows it as a percentage, 0 to 1; None for a label that has none.
        color: RGB of the box.
    """
    height, width = image.shape[:2]
    left, top, right, bottom = (round(value) for value in box_px)
    cv2.rectangle(image, (left, top), (right, bottom), color, max(round(min(height, width) / 160), 1))
    percentage = None if probability is None else round(100 * probability)
    text = _render_caption(label, percentage, round(0.7 * height), round(0.7 * width))
    rows, columns = min(text.shape[0], height), min(text.shape[1], width)
    y = min(max(top - rows, 0), height - rows)
    x = min(max(left, 0), width - columns)
    room = image[y : y + rows, x : x + columns]
    room //= 4
    np.maximum(room, text[:rows, :columns], out=room)
    room[-2:] = color


@lru_cache(maxsize=128)
def _render_caption(label: str, percentage: int | None, height: int, width: int) -> np.ndarray:
    """Render light letters on black, uint8 (h, w, 3), as wide for 7% as for 100%; they are used often."""
    size = max(0.045 * min(height, width), 9)  # height of a capital letter in pixels
    room = width - 3 * size
    text, widest = ("", "") if percentage is None else (f" {percentage}%", " 100%")
    size *= min(max(room / _text_width(label + widest, size), _SMALLEST), 1)
    label = _cut(label, room - _text_width(widest, size), size)
    pad = round(0.75 * size)  # holds the parts of letters below the line, too
    canvas = np.zeros((round(size) + 2 * pad, _text_width(label + widest, size) + 2 * pad), np.uint8)
    _write(canvas, label + text, pad, canvas.shape[0] - pad, size)
    return np.repeat(canvas[..., None], 3, axis=-1)  # far faster to put on a picture than one channel


def _cut(text: str, room_px: float, size: float) -> str:
    """Return a text, cut at its end if it does not fit."""
    if _text_width(text, size) <= room_px:
        return text
    while text and _text_width(f"{text.rstrip()}...", size) > room_px:
        text = text[:-1]
    return f"{text.rstrip()}..."


def _write(canvas: np.ndarray, text: str, left: int, base: int, size: float, color=255) -> None:
    scale = size / _CAPITAL_PX
    cv2.putText(canvas, text, (left, base), _FONT, scale, color, _thickness(scale), cv2.LINE_AA)


def _text_width(text: str, size: float) -> int:
    scale = size / _CAPITAL_PX
    return cv2.getTextSize(text, _FONT, scale, _thickness(scale))[0][0]


def _thickness(scale: float) -> int:
    return max(round(1.5 * scale), 1)


class TimelineStrip:
    """The whole video along the lower edge: a color per label, times, names, and a mark at the moment.

    Above the strip stand the names of the labels that hold longest, as far as they fit. Frames of less than
    180 lines have no room for letters and get the colors alone.

    Args:
        height: Height of the frames to draw on.
        width: Width of the frames to draw on.
        ends_seconds: When each part of the video ends, increasing; the first begins at 0.
        labels: As many labels.
        colors: RGB of each label.

    Attributes:
        covered_px: How much of the picture's lower edge is drawn on.
    """

    def __init__(
        self,
        height: int,
        width: int,
        ends_seconds: Sequence[float],
        labels: Sequence[str],
        colors: Mapping[str, Color],
    ):
        """Draw the strip once; frames get copies."""
        size = max(0.022 * min(height, width), 6.5)  # height of a digit in pixels
        with_letters = height >= _LINES_FOR_LETTERS
        self._duration = ends_seconds[-1]
        strip = np.zeros((round(1.9 * size) if with_letters else 6, width, 3), np.uint8)
        held, start = dict.fromkeys(labels, 0.0), 0.0
        for end, label in zip(ends_seconds, labels, strict=True):
            strip[:, self._column(start, width) : self._column(end, width)] = colors[label]
            held[label] += end - start
            start = end
        strip[0] = 0  # a dark line towards the picture
        self._past, self._future = strip, strip // 2
        self._legend, self._squares = np.zeros((0, 0, 3), np.uint8), []
        if with_letters:
            times = _render_times(self._duration, width, size)
            self._past, self._future = (_with_letters(part, times) for part in (self._past, self._future))
            longest_first = sorted(held, key=held.__getitem__, reverse=True)
            self._legend, places = _render_legend(longest_first, width, size)
            self._squares = [
                (place, colors[label]) for place, label in zip(places, longest_first, strict=False)
            ]
        self.covered_px = len(strip) + len(self._legend)

    def draw(self, image: np.ndarray, seconds: float) -> None:
        """Draw on uint8 RGB (H, W, 3), in place; what has passed until `seconds` is bright."""
        height, width = self._past.shape[:2]
        now, half = self._column(seconds, width), max(width // 300, 1)
        area = image[-height:]
        area[:, :now], area[:, now:] = self._past[:, :now], self._future[:, now:]
        area[:, max(now - 2 * half, 0) : now + 2 * half] //= 3
        area[:, max(now - half, 0) : now + half] = 255
        box = image[-self.covered_px : -height, : self._legend.shape[1]]
        box //= 4
        np.maximum(box, self._legend, out=box)
        for place, color in self._squares:
            box[place] = color

    def _column(self, seconds: float, width: int) -> int:
        return min(round(seconds / self._duration * width), width)


def _render_times(duration: float, width: int, size: float) -> np.ndarray:
    """Render a mark and its time at multiples of a round number of seconds, light on black, uint8 (h, w)."""
    canvas = np.zeros((round(1.9 * size), width), np.uint8)
    widest = _text_width(_clock(duration), size)
    room = 3 * widest / width * duration
    step = next((step for step in _STEPS if step >= room), _DAY_SECONDS * math.ceil(room / _DAY_SECONDS))
    for seconds in np.arange(step, duration, step):
        left, text = round(seconds / duration * width), _clock(seconds)
        beside = left + round(0.5 * size)
        if beside + _text_width(text, size) < width:
            canvas[round(1.1 * size) :, left : left + max(round(size / 8), 1)] = 255
            _write(canvas, text, beside, round(1.45 * size), size)
    return canvas


def _clock(seconds: float) -> str:
    """Return m:ss, or h:mm:ss from an hour on."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _with_letters(strip: np.ndarray, letters: np.ndarray) -> np.ndarray:
    """Put light letters on a strip, with a dark rim that sets them off from bright colors."""
    around = np.lib.stride_tricks.sliding_window_view(np.pad(letters, 1), (3, 3))
    rim = around.max(axis=(2, 3))[..., None] / 255
    return np.maximum((strip * (1 - 0.8 * rim)).astype(np.uint8), letters[..., None])


def _render_legend(
    labels: Sequence[str], width: int, size: float
) -> tuple[np.ndarray, list[tuple[slice, slice]]]:
    """Render as many names as fit, light on black, uint8 (h, w, 3), and say where their squares belong."""
    square, gap, base = round(size), round(0.5 * size), round(1.5 * size)
    canvas = np.zeros((round(2 * size), width), np.uint8)
    left, squares = gap, []
    for number, label in enumerate(labels, 1):
        name, others = _cut(label, width / 2, size), len(labels) - number
        end = left + square + gap + _text_width(name, size)
        if end + (2 * gap + _text_width(f"+{others}", size) if others else 0) > width:
            _write(canvas, f"+{others + 1}", left, base, size)
            left += _text_width(f"+{others + 1}", size) + gap
            break
        squares.append((slice(base - square, base), slice(left, left + square)))
        _write(canvas, name, left + square + gap, base, size)
        left = end + 2 * gap
    return np.repeat(canvas[:, :left, None], 3, axis=-1), squares
