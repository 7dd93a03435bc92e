"""Draw the moving figures of the embedded data set: body, clothes, chair and camera.

Lengths of the body are in body heights, so that one set of numbers serves every camera distance. The world
has x to the front of the figure, y up from the floor and z towards the camera; `project` takes it to pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

from harkeras.data._scenery import (
    CANVAS_WIDTH,
    FLOOR_Y,
    SUBPIXEL_BITS,
    bright_color,
    draw_ellipse,
    paint_park,
    paint_room,
    scaled_color,
    subpixels,
    vivid_color,
)

HEIGHT, WIDTH = 240, 320
_DUSK = 0.42  # brightness of the place

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

# (from joint, to joint, radius at each end in body heights, color's name), the farthest first.
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
    colors: dict[str, np.ndarray]  # float RGB
    canvas: np.ndarray  # (CANVAS_HEIGHT, CANVAS_WIDTH or more, 3) uint8 RGB: the painted background


def create_scene(rng: np.random.Generator) -> Scene:
    """Draw a group's person, place and camera at random.

    It is dusk, and a lamp shines on the person: a bright figure before a dark ground. Without this contrast a
    small network needs hundreds of groups, and many more epochs, to learn what is figure and what is ground.
    """
    skins = ((241, 205, 178), (224, 172, 134), (190, 132, 92), (141, 90, 58), (120, 78, 55))
    hairs = ((50, 40, 38), (92, 60, 34), (176, 134, 74), (150, 150, 150), (120, 50, 30))
    colors = {
        "skin": np.array(skins[rng.integers(len(skins))], float),
        "hair": np.array(hairs[rng.integers(len(hairs))], float),
        "shirt": bright_color(rng, 190, 250),
        "trousers": bright_color(rng, 130, 200),
        "shoes": bright_color(rng, 150, 240),
        "chair": vivid_color(rng, 90, 130),
    }
    return Scene(
        speed=rng.uniform(0.9, 1.12),
        body_px=rng.uniform(155, 190),
        bulk=rng.uniform(1.0, 1.3),
        turn=rng.uniform(-0.3, 0.3),
        follow=rng.choice([0.0, 0.5, 0.9]),
        shake_px=rng.choice([0.0, 0.3, 0.6]),
        zoom_per_second=rng.uniform(-0.03, 0.03),
        colors=colors,
        canvas=cv2.convertScaleAbs(paint_room(rng) if rng.random() < 0.65 else paint_park(rng), alpha=_DUSK),
    )


def forward_kinematics(angles: np.ndarray) -> np.ndarray:
    """Turn joint angles into joint positions, the floor under the lowest joint.

    The lowest joint also stays where it is on the floor from one frame to the next; this moves the body
    forward at just the speed at which the feet do not slip.

    Args:
        angles: (T, len(ANGLES)) float, radians against the vertical, positive to the front; the last one,
            `lift`, is the height of the feet over the floor in body heights.

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
        place(f"shoulder_{side}", "neck", 0.03, -angle["torso"], 0.085 * z)
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
    center = np.array([(joints[:, 0, 0].min() + joints[:, 0, 0].max()) / 2, 0.0, 0.0])
    # A place ends somewhere: on a long way its mirror image continues it.
    margin = max(0, int(np.ptp(joints[:, 0, 0]) / 2 * scene.body_px + WIDTH - CANVAS_WIDTH / 2))
    canvas = cv2.copyMakeBorder(scene.canvas, 0, 0, margin, margin, cv2.BORDER_REFLECT_101)
    scene = scene._replace(canvas=canvas)
    for x in chairs:
        _draw_chair(scene, x - center[0], direction)
    points = project(joints - center, scene, direction)  # (T, J, 2) canvas pixels
    shadows = project((joints - center) * [1, 0, 1], scene, direction)
    camera = _move_camera(points, scene, rng, fps)  # (T, 3): zoom, left, top
    zoom = camera[:, 0]
    points = (points - camera[:, None, 1:]) * zoom[:, None, None]
    shadows = (shadows - camera[:, None, 1:]) * zoom[:, None, None]
    parts = _outline_parts(points, scene, zoom)
    noise = rng.normal(0, 3.0, (4, HEIGHT, WIDTH, 3)).astype(np.int8)
    for t, (scale, left, top) in enumerate(camera):
        view = np.array([[scale, 0, -scale * left], [0, scale, -scale * top]])
        frame = cv2.warpAffine(canvas, view, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT_101)
        _draw_shadow(frame, shadows[t])
        for outlines, color in parts:
            cv2.fillConvexPoly(frame, outlines[t], color, cv2.LINE_AA, SUBPIXEL_BITS)
        _draw_head(frame, points[t], scene, scene.body_px * scale, direction)
        # Each frame takes one of a few noise pictures: fresh noise would take longer than everything else.
        yield cv2.add(frame, noise[rng.integers(len(noise))], dtype=cv2.CV_8U)


def project(points: np.ndarray, scene: Scene, direction: int) -> np.ndarray:
    """Project world points (..., 3) in body heights to canvas pixels (..., 2): x, y."""
    x, y, z = points[..., 0] * direction, points[..., 1], points[..., 2]
    across = x * np.cos(scene.turn) + z * np.sin(scene.turn)
    towards_camera = z * np.cos(scene.turn) - x * np.sin(scene.turn)
    # The camera looks down a little: what is nearer stands lower in the picture.
    pixels = scene.body_px * np.stack([across, 0.12 * towards_camera - y], axis=-1)
    return pixels + np.array([scene.canvas.shape[1] / 2, FLOOR_Y])


def _move_camera(points: np.ndarray, scene: Scene, rng: np.random.Generator, fps: float) -> np.ndarray:
    """Return (T, 3): zoom, and the left and top edge of the picture on the canvas in pixels."""
    frames = len(points)
    path = _smooth(points[:, 0, 0], 6.0)
    span = np.ptp(path)
    # However fast the figure is, it must not leave the picture; and a runner shall not be told by his
    # position alone, so the camera goes along with him.
    follow = max(scene.follow, 1 - rng.uniform(0.3, 0.6) * WIDTH / max(span, 1.0))
    middle = (path.min() + path.max()) / 2
    seconds = (np.arange(frames) - frames / 2) / fps
    zoom = 1 + np.clip(scene.zoom_per_second * rng.choice([-1, 1]) * seconds, -0.06, 0.06)
    center = np.stack([middle + follow * (path - middle), np.full(frames, FLOOR_Y - 0.36 * HEIGHT)], axis=-1)
    center += [rng.uniform(-0.06, 0.06) * WIDTH, rng.uniform(-0.02, 0.02) * HEIGHT]
    for axis in range(2):
        center[:, axis] += _smooth(rng.normal(0, 4 * scene.shake_px, frames), 3.0)
    return np.column_stack([zoom, center - np.array([WIDTH, HEIGHT]) / 2 / zoom[:, None]])


def _outline_parts(points: np.ndarray, scene: Scene, zoom: np.ndarray) -> list[tuple[np.ndarray, tuple]]:
    """Return the body as polygons in drawing order: outlines (T, K, 2) int32 in sub-pixels, and their color.

    Each part is drawn twice, a dark shape and a smaller bright one on it, which looks like light from above.
    """
    radius_px = scene.body_px * scene.bulk * zoom  # (T,)
    shapes = []
    for start, end, radius_start, radius_end, name in _PARTS:
        a, b = points[:, _JOINT[start]], points[:, _JOINT[end]]
        shade = 0.68 if "far" in start else 1.0
        for size, brightness in ((1.0, 0.78), (0.68, 1.05)):
            size_px = size * radius_px
            up = np.stack([0 * radius_px, (1 - size) * -0.4 * radius_start * radius_px], axis=-1)
            outline = _capsules(a + up, b + up, radius_start * size_px, radius_end * size_px)
            shapes.append((outline, scaled_color(scene.colors[name], shade * brightness)))
    return shapes


def _capsules(a: np.ndarray, b: np.ndarray, radius_a: np.ndarray, radius_b: np.ndarray) -> np.ndarray:
    """Outline a limb with round ends: centers (T, 2) and radii (T,) to (T, 16, 2) int32 in sub-pixels."""
    along = np.arctan2(b[:, 1] - a[:, 1], b[:, 0] - a[:, 0])[:, None]  # (T, 1)
    half_circle = np.linspace(-np.pi / 2, np.pi / 2, 8)
    ends = []
    for center, radius, turned in ((b, radius_b, 0.0), (a, radius_a, np.pi)):
        angle = along + turned + half_circle  # (T, 8)
        rim = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * radius[:, None, None]
        ends.append(center[:, None] + rim)
    return subpixels(np.concatenate(ends, axis=1))


def _draw_head(frame: np.ndarray, points: np.ndarray, scene: Scene, body_px: float, direction: int) -> None:
    """Draw hair, face and nose; the nose tells which way the figure looks."""
    head = points[_JOINT["head"]]
    up = head - points[_JOINT["neck"]]
    up /= np.hypot(*up)
    front = np.array([-up[1], up[0]]) * direction
    angle = np.arctan2(up[1], up[0])
    radius = _HEAD_RADIUS * body_px
    for forward, upward, long, short, name, brightness in (
        (-0.12, 0.12, 1.12, 1.0, "hair", 1.0),
        (0.25, -0.2, 0.9, 0.8, "skin", 1.0),
        (1.0, -0.25, 0.25, 0.2, "skin", 0.9),
    ):
        center = head + (forward * front + upward * up) * radius
        axes = np.array([long, short]) * radius
        draw_ellipse(frame, center, axes, angle, scaled_color(scene.colors[name], brightness))


def _draw_shadow(frame: np.ndarray, feet: np.ndarray) -> None:
    """Darken the floor in place under the joints' projection (J, 2)."""
    left, right, y = feet[:, 0].min(), feet[:, 0].max(), feet[:, 1].mean()
    half = (right - left) / 2 + 8
    top, bottom = (int(np.clip(row, 0, frame.shape[0])) for row in (y - 14, y + 15))
    floor = frame[top:bottom]
    for size, darkness in ((1.0, 0.15), (0.75, 0.2)):
        dark = floor.copy()
        center = ((left + right) / 2, y - top)
        draw_ellipse(dark, center, (size * half, size * 9), 0.0, (15, 15, 20))
        cv2.addWeighted(dark, darkness, floor, 1 - darkness, 0, dst=floor)


def _draw_chair(scene: Scene, x: float, direction: int) -> None:
    """Draw a chair on the scene's canvas, in place; a figure with its pelvis at `x` can sit on it."""
    back, front, side, top = x - 0.13, x + 0.14, 0.11, 0.52

    def beam(end: float, z: float, brightness: float) -> None:
        foot, head = project(np.array([[(end, 0, z)], [(end, _SEAT_HEIGHT, z)]]), scene, direction)
        radius = np.array([0.014 * scene.body_px])
        outline = _capsules(foot, head, radius, radius)[0]
        color = scaled_color(scene.colors["chair"], brightness)
        cv2.fillConvexPoly(scene.canvas, outline, color, cv2.LINE_AA, SUBPIXEL_BITS)

    def board(corners: list[tuple[float, float, float]], brightness: float) -> None:
        outline = subpixels(project(np.array(corners), scene, direction))
        edge, face = (scaled_color(scene.colors["chair"], brightness * light) for light in (0.8, 1.0))
        cv2.polylines(scene.canvas, [outline], True, edge, 5, cv2.LINE_AA, SUBPIXEL_BITS)
        cv2.fillConvexPoly(scene.canvas, outline, face, cv2.LINE_AA, SUBPIXEL_BITS)

    for end in (back, front):
        beam(end, -side, 0.6)
    tilted = back - 0.02
    seat = _SEAT_HEIGHT
    board([(back, seat, -side), (back, seat, side), (tilted, top, side), (tilted, top, -side)], 0.85)
    board([(back, seat, -side), (back, seat, side), (front, seat, side), (front, seat, -side)], 1.1)
    for end in (back, front):
        beam(end, side, 0.95)
