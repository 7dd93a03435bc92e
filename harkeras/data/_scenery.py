"""The places of the embedded data set, a room or a park, painted at random; and what is drawn with."""

from __future__ import annotations

import cv2
import numpy as np

CANVAS_HEIGHT, CANVAS_WIDTH = 300, 960  # the painted scene; the camera sees a part of it
FLOOR_Y = 232  # canvas row on which the feet stand
SUBPIXEL_BITS = 4  # OpenCV draws at fixed-point coordinates: 4 bits are sixteenths of a pixel


def subpixels(points: np.ndarray) -> np.ndarray:
    """Return pixels as the fixed-point numbers that OpenCV draws at."""
    return np.rint(points * 2**SUBPIXEL_BITS).astype(np.int32)


def scaled_color(rgb: np.ndarray, brightness: float = 1.0) -> tuple[int, ...]:
    """Return a color as OpenCV takes it."""
    return tuple(int(value) for value in np.clip(rgb * brightness, 0, 255))


def draw_ellipse(frame: np.ndarray, center: np.ndarray, axes: np.ndarray, angle: float, color: tuple) -> None:
    """Fill an ellipse; center and half axes in pixels, angle in radians."""
    center, axes = (tuple(int(v) for v in subpixels(np.asarray(value))) for value in (center, axes))
    cv2.ellipse(frame, center, axes, np.degrees(angle), 0, 360, color, -1, cv2.LINE_AA, SUBPIXEL_BITS)


def _gradient(rows: int, top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Return (rows, CANVAS_WIDTH, 3) float, fading from one RGB color to another."""
    fade = np.linspace(0, 1, rows)[:, None, None]
    return np.broadcast_to((1 - fade) * top + fade * bottom, (rows, CANVAS_WIDTH, 3))


def _texture(rng: np.random.Generator, cell_px: int, strength: float) -> np.ndarray:
    """Return cloudy noise (CANVAS_HEIGHT, CANVAS_WIDTH, 1) with spots of about `cell_px`."""
    small = rng.normal(0, strength, (CANVAS_HEIGHT // cell_px, CANVAS_WIDTH // cell_px)).astype(np.float32)
    return cv2.resize(small, (CANVAS_WIDTH, CANVAS_HEIGHT), interpolation=cv2.INTER_CUBIC)[..., None]


def _paint_ground(rng: np.random.Generator, far: np.ndarray, near: np.ndarray, horizon: int) -> np.ndarray:
    """Return a canvas, uint8 RGB: `far` above the row `horizon`, `near` below it, both with texture."""
    above = _gradient(horizon, far * 1.05, far * 0.9)
    below = _gradient(CANVAS_HEIGHT - horizon, near * 0.85, near * 1.1)
    canvas = np.concatenate([above, below]) + _texture(rng, 30, 5.0) + _texture(rng, 3, 3.0)
    return np.clip(canvas, 0, 255).astype(np.uint8, order="C")


def paint_room(rng: np.random.Generator) -> np.ndarray:
    """Paint a room: wall, skirting board, floor, pictures, a door or window, a cupboard."""
    wall, floor = _muted_color(rng, 190, 235), _muted_color(rng, 150, 205)
    horizon = int(rng.integers(178, 200))
    canvas = _paint_ground(rng, wall, floor, horizon)
    cv2.rectangle(canvas, (0, horizon - 6), (CANVAS_WIDTH, horizon), scaled_color(wall, 0.7), -1)
    for x in range(-600, CANVAS_WIDTH + 600, int(rng.integers(50, 90))):  # boards run towards the viewer
        outer = int(CANVAS_WIDTH / 2 + (x - CANVAS_WIDTH / 2) * 1.8)
        cv2.line(canvas, (x, horizon), (outer, CANVAS_HEIGHT), scaled_color(floor, 0.85), 1, cv2.LINE_AA)
    x = int(rng.integers(0, 60))
    while x < CANVAS_WIDTH:
        width, height = int(rng.integers(35, 90)), int(rng.integers(35, 80))
        kind = rng.choice(["picture", "window", "cupboard", "nothing"], p=[0.4, 0.15, 0.2, 0.25])
        color = 0.55 * wall + 0.45 * vivid_color(rng, 80, 220)
        if kind == "cupboard":
            box = (x, horizon - int(0.9 * height)), (x + width, horizon + 4)
            cv2.rectangle(canvas, *box, scaled_color(color, 0.9), -1)
            cv2.rectangle(canvas, *box, scaled_color(color, 0.7), 2)
        elif kind != "nothing":
            top = int(rng.integers(40, 70))
            box = (x, top), (x + width, top + height)
            inside = np.array([205.0, 225, 240]) if kind == "window" else color
            cv2.rectangle(canvas, *box, scaled_color(inside), -1)
            cv2.rectangle(canvas, *box, scaled_color(wall, 0.7 if kind == "picture" else 1.25), 3)
            cv2.line(
                canvas, (x + width // 2, top), (x + width // 2, top + height), scaled_color(inside, 0.8), 2
            )
        x += width + int(rng.integers(25, 80))
    return cv2.GaussianBlur(canvas, (3, 3), 0)


def paint_park(rng: np.random.Generator) -> np.ndarray:
    """Paint a park: sky, bushes and trees, grass and a path."""
    sky = np.array([rng.uniform(185, 215), rng.uniform(205, 230), rng.uniform(225, 250)])
    grass = np.array([rng.uniform(140, 175), rng.uniform(175, 200), rng.uniform(110, 140)])
    horizon = int(rng.integers(150, 180))
    canvas = _paint_ground(rng, sky, grass, horizon)
    for _ in range(60):  # a row of bushes
        center = (rng.uniform(0, CANVAS_WIDTH), horizon + rng.uniform(-12, 4))
        axes = rng.uniform((12, 8), (34, 18))
        draw_ellipse(canvas, center, axes, 0.0, scaled_color(grass, rng.uniform(0.75, 0.92)))
    for _ in range(int(rng.integers(4, 9))):
        x, height = rng.uniform(0, CANVAS_WIDTH), rng.uniform(60, 100)
        trunk = (int(x - 4), int(horizon - height)), (int(x + 4), horizon + 8)
        cv2.rectangle(canvas, *trunk, (150, 128, 108), -1)
        for _ in range(8):
            crown = (x + rng.uniform(-22, 22), horizon - height + rng.uniform(-22, 18))
            axes = rng.uniform((12, 10), (24, 18))
            draw_ellipse(canvas, crown, axes, 0.0, scaled_color(grass, rng.uniform(0.75, 0.92)))
    path = _muted_color(rng, 190, 225)
    cv2.rectangle(canvas, (0, FLOOR_Y - 18), (CANVAS_WIDTH, FLOOR_Y + 26), scaled_color(path), -1)
    grain = canvas + _texture(rng, 3, 4.0)
    return cv2.GaussianBlur(np.clip(grain, 0, 255).astype(np.uint8, order="C"), (3, 3), 0)


def vivid_color(rng: np.random.Generator, darkest: float, brightest: float) -> np.ndarray:
    """Return a random RGB color (3,) whose strongest channel lies between the two values."""
    color = rng.uniform(0.15, 1.0, 3)
    return color / color.max() * rng.uniform(darkest, brightest)


def bright_color(rng: np.random.Generator, darkest: float, brightest: float) -> np.ndarray:
    """Return a random RGB color (3,) like `vivid_color`, but lighter: no channel is near zero."""
    return rng.uniform(0.45, 1.0, 3) * rng.uniform(darkest, brightest)


def _muted_color(rng: np.random.Generator, darkest: float, brightest: float) -> np.ndarray:
    """Return a random RGB color (3,) near gray."""
    return rng.uniform(0.82, 1.0, 3) * rng.uniform(darkest, brightest)
