"""Draw the moving figures of the embedded data set: body, clothes, room or park, chair and camera.

Lengths of the body are in body heights, so that one set of numbers serves every camera distance. The world has x to
the right, y up from the floor and z towards the camera; `project` takes it to pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

HEIGHT, WIDTH = 240, 320
CANVAS_HEIGHT, CANVAS_WIDTH = 300, 960  # the painted scene; the camera sees a part of it
FLOOR_Y = 232  # canvas row on which the feet stand
_SUBPIXEL_BITS = 4  # OpenCV draws at fixed-point coordinates: 4 bits are sixteenths of a pixel

ANGLES = (
    "torso", "head", "arm_near", "forearm_near", "arm_far", "forearm_far",
    "thigh_near", "shin_near", "thigh_far", "shin_far", "lift",
)  # fmt: skip
JOINTS = (
    "pelvis", "neck", "head",
    "shoulder_near", "elbow_near", "hand_near", "shoulder_far", "elbow_far", "hand_far",
    "hip_near", "knee_near", "heel_near", "toe_near", "hip_far", "knee_far", "heel_far", "toe_far",
)  # fmt: skip
_JOINT = {name: index for index, name in enumerate(JOINTS)}
_TORSO, _NECK, _UPPER_ARM, _FOREARM, _THIGH, _SHIN, _FOOT = 0.30, 0.11, 0.165, 0.17, 0.245, 0.25, 0.11
_HEAD_RADIUS, _SEAT_HEIGHT = 0.068, 0.225

# (from joint, to joint, radius at each end in body heights, colour's name), the farthest first.
_PARTS = [
    ("shoulder_far", "elbow_far", 0.036, 0.028, "shirt"),
    ("elbow_far", "hand_far", 0.026, 0.022, "skin"),
    ("hip_far", "knee_far", 0.058, 0.042, "trousers"),
    ("knee_far", "heel_far", 0.040, 0.028, "trousers"),
    ("heel_far", "toe_far", 0.030, 0.020, "shoes"),
    ("hip_near", "knee_near", 0.060, 0.044, "trousers"),
    ("knee_near", "heel_near", 0.042, 0.030, "trousers"),
    ("heel_near", "toe_near", 0.031, 0.021, "shoes"),
    ("neck", "head", 0.034, 0.030, "skin"),
    ("pelvis", "neck", 0.066, 0.078, "shirt"),
    ("shoulder_near", "elbow_near", 0.038, 0.030, "shirt"),
    ("elbow_near", "hand_near", 0.028, 0.024, "skin"),
]


class Scene(NamedTuple):
    """What all clips of one group share: who, where, from which camera, how fast."""

    speed: float  # factor on the pace of every motion
    body_px: float  # body height in canvas pixels
    bulk: float  # factor on the thickness of the limbs
    turn: float  # radians between the path and the image plane
    follow: float  # 0: the camera stands still; 1: it keeps the figure in the middle
    shake_px: float  # standard deviation of a hand-held camera
    zoom_per_second: float
    colours: dict[str, np.ndarray]  # float RGB
    canvas: np.ndarray  # (CANVAS_HEIGHT, CANVAS_WIDTH, 3) uint8 RGB: the painted background


def create_scene(rng: np.random.Generator) -> Scene:
    """Draw a group's person, place and camera at random."""
    skins = ((241, 205, 178), (224, 172, 134), (190, 132, 92), (141, 90, 58), (95, 61, 42))
    hairs = ((40, 30, 25), (92, 60, 34), (176, 134, 74), (150, 150, 150), (120, 50, 30))
    colours = {
        "skin": np.array(skins[rng.integers(len(skins))], float),
        "hair": np.array(hairs[rng.integers(len(hairs))], float),
        "shirt": _vivid_colour(rng, 90, 240),
        "trousers": _vivid_colour(rng, 30, 130),
        "shoes": _vivid_colour(rng, 20, 230),
        "chair": _vivid_colour(rng, 60, 170),
    }
    return Scene(
        speed=rng.uniform(0.88, 1.14),
        body_px=rng.uniform(135, 180),
        bulk=rng.uniform(0.92, 1.22),
        turn=rng.uniform(-0.35, 0.35),
        follow=rng.choice([0.0, 0.5, 0.9]),
        shake_px=rng.choice([0.0, 0.4, 0.8]),
        zoom_per_second=rng.uniform(-0.03, 0.03),
        colours=colours,
        canvas=_paint_room(rng) if rng.random() < 0.65 else _paint_park(rng),
    )


def _vivid_colour(rng: np.random.Generator, darkest: float, brightest: float) -> np.ndarray:
    """Return a random RGB colour (3,) whose strongest channel lies between the two values."""
    colour = rng.uniform(0.15, 1.0, 3)
    return colour / colour.max() * rng.uniform(darkest, brightest)


def forward_kinematics(angles: np.ndarray) -> np.ndarray:
    """Turn joint angles into joint positions, the floor under the lowest joint.

    The lowest joint also stays where it is on the floor from one frame to the next; this moves the body forward
    at just the speed at which the feet do not slip.

    Args:
        angles: (T, len(ANGLES)) float, radians against the vertical, positive to the front; `lift` in body heights.

    Returns:
        (T, len(JOINTS), 3) float: x, y, z in body heights; x starts at 0.
    """
    angle = dict(zip(ANGLES, np.moveaxis(angles, -1, 0), strict=True))
    joints = np.zeros((len(angles), len(JOINTS), 3))

    def place(name: str, origin: str, length: float, angle: np.ndarray, z: float = 0.0) -> None:
        step = np.stack([np.sin(angle), -np.cos(angle), np.full_like(angle, z)], axis=-1)
        joints[:, _JOINT[name]] = joints[:, _JOINT[origin]] + step * [length, length, 1]

    place("neck", "pelvis", _TORSO, np.pi - angle["torso"])
    place("head", "neck", _NECK, np.pi - angle["torso"] - angle["head"])
    for side, z in (("near", 1.0), ("far", -1.0)):
        place(f"shoulder_{side}", "neck", 0.03, angle["torso"] * -1, 0.085 * z)
        place(f"elbow_{side}", f"shoulder_{side}", _UPPER_ARM, angle[f"arm_{side}"])
        place(f"hand_{side}", f"elbow_{side}", _FOREARM, angle[f"forearm_{side}"])
        place(f"hip_{side}", "pelvis", 0.0, angle["torso"], 0.045 * z)
        place(f"knee_{side}", f"hip_{side}", _THIGH, angle[f"thigh_{side}"])
        place(f"heel_{side}", f"knee_{side}", _SHIN, angle[f"shin_{side}"])
        # The ankle gives way a little: the foot follows only a part of the shin's turn.
        place(f"toe_{side}", f"heel_{side}", _FOOT, np.pi / 2 + 0.6 * angle[f"shin_{side}"])
    _stand_on_floor(joints, angle["lift"])
    return joints


def _stand_on_floor(joints: np.ndarray, lift: np.ndarray) -> None:
    """Shift joints (T, J, 3) in place: lowest joint on the floor, and not slipping."""
    radius = np.full(len(JOINTS), 0.03)
    radius[[_JOINT["pelvis"], _JOINT["neck"], _JOINT["head"]]] = 0.066, 0.07, _HEAD_RADIUS
    clearance = joints[:, :, 1] - radius
    lowest = clearance.argmin(axis=1)
    frames = np.arange(1, len(joints))
    step = joints[frames - 1, lowest[1:], 0] - joints[frames, lowest[1:], 0]
    forward = np.concatenate([[0.0], np.cumsum(step)])
    joints[:, :, 0] += _smooth(forward, 2.0)[:, None]
    joints[:, :, 1] += (lift - clearance.min(axis=1))[:, None]


def _smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    """Blur values (T,) by a Gaussian of `sigma` frames, the ends continued in a straight line."""
    reach = int(3 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    padded = np.pad(values, reach, mode="reflect", reflect_type="odd")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")


def render_figure(
    joints: np.ndarray,
    scene: Scene,
    rng: np.random.Generator,
    *,
    fps: float,
    direction: int,
    chairs: list[float],
) -> Iterator[np.ndarray]:
    """Draw a moving figure frame by frame.

    Args:
        joints: (T, len(JOINTS), 3) float, world coordinates in body heights.
        scene: The group's looks and camera.
        rng: Source of the camera's shake and the sensor's noise.
        fps: Frames per second, for the speed of the zoom.
        direction: 1 to face right, -1 to face left.
        chairs: Where chairs stand, world x in body heights.

    Yields:
        (HEIGHT, WIDTH, 3) uint8 RGB frames.
    """
    centre = np.array([(joints[:, 0, 0].min() + joints[:, 0, 0].max()) / 2, 0.0, 0.0])
    canvas = scene.canvas.copy()
    for x in chairs:
        _draw_chair(canvas, scene, x - centre[0], direction)
    points = project(joints - centre, scene, direction)  # (T, J, 2)
    camera = _move_camera(points, scene, rng, fps)  # (T, 3): zoom, left, top
    zoom = camera[:, :1, None]
    points = (points - camera[:, None, 1:]) * zoom
    radius_px = scene.body_px * scene.bulk * zoom[:, 0, 0]
    parts = [
        (_capsules(points, a, b, radius_a * radius_px, radius_b * radius_px), _shades(scene, colour, a))
        for a, b, radius_a, radius_b, colour in _PARTS
    ]
    noise = rng.normal(0, 3.0, (4, HEIGHT, WIDTH, 3)).astype(np.int8)
    for t, (z, left, top) in enumerate(camera):
        view = np.array([[z, 0, -z * left], [0, z, -z * top]])
        frame = cv2.warpAffine(canvas, view, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT_101)
        _draw_shadow(frame, points[t], (FLOOR_Y - top) * z, radius_px[t])
        for outlines, colours in parts:
            for outline, colour in zip(outlines[t], colours, strict=True):
                cv2.fillConvexPoly(frame, outline, colour, cv2.LINE_AA, _SUBPIXEL_BITS)
            if colours is parts[8][1]:  # the head sits between the neck and the torso
                _draw_head(frame, points[t], scene, scene.body_px * z, direction)
        yield cv2.add(frame, noise[rng.integers(len(noise))], dtype=cv2.CV_8U)
