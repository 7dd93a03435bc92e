"""The 17 joints of COCO: their names, the limbs between them, and how they are drawn."""

from __future__ import annotations

import cv2
import numpy as np

from harkeras.video.drawing import Color

COCO_JOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear",
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
    "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
# Pairs of joints with a limb between them.
COCO_LIMBS = (
    (0, 1), (0, 2), (1, 3), (2, 4), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12), (11, 12),
    (11, 13), (13, 15), (12, 14), (14, 16),
)  # fmt: skip
# Of the left side, the right side, and what lies between, in colors that color-blind people can tell apart.
_LEFT, _RIGHT, _MIDDLE = (86, 180, 233), (230, 159, 0), (240, 240, 240)


def draw_skeleton(image: np.ndarray, joints: np.ndarray, color: Color | None = None) -> None:
    """Draw joints and the limbs between those that are there.

    Args:
        image: uint8 RGB (H, W, 3), changed in place.
        joints: float (17, 3), x and y in pixels and a score, which is 0 for a joint that is missing, in the
            order of `COCO_JOINTS`. Of another number of joints, points alone are drawn.
        color: RGB of all of it; by default blue for the person's left side, orange for the right.
    """
    width = max(round(min(image.shape[:2]) / 160), 1)
    limbs = COCO_LIMBS if len(joints) == len(COCO_JOINTS) else ()
    for start, end in limbs:
        if joints[start, 2] > 0 and joints[end, 2] > 0:
            _line(image, joints[start], joints[end], (0, 0, 0), width + 2)  # a rim, on bright clothes
    for start, end in limbs:
        if joints[start, 2] > 0 and joints[end, 2] > 0:
            _line(image, joints[start], joints[end], color or _side_color(start, end), width)
    for number, joint in enumerate(joints):
        if joint[2] > 0:
            side = color or (_side_color(number, number) if limbs else _MIDDLE)
            cv2.circle(image, _pixel(joint), width + 1, side, -1, cv2.LINE_AA)


def _side_color(start: int, end: int) -> Color:
    sides = {COCO_JOINTS[number].partition("_")[0] for number in (start, end)} - {"nose"}
    return {frozenset({"left"}): _LEFT, frozenset({"right"}): _RIGHT}.get(frozenset(sides), _MIDDLE)


def _line(image: np.ndarray, start: np.ndarray, end: np.ndarray, color: Color, width: int) -> None:
    cv2.line(image, _pixel(start), _pixel(end), color, width, cv2.LINE_AA)


def _pixel(joint: np.ndarray) -> tuple[int, int]:
    return round(float(joint[0])), round(float(joint[1]))
