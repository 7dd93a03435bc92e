"""Optical flow: where each pixel of a frame came from, the motion itself as a picture.

Simonyan and Zisserman, "Two-Stream Convolutional Networks for Action Recognition in Videos", NIPS 2014.

A network finds it hard to learn from raw frames what moves. A field of flow says it outright: for each pixel,
how far it went from one frame to the next, to the right and down. The papers feed stacks of L such fields, 2L
channels: here a frame carries the L fields that led up to it, so that a camera has them as well as a file.

- Fields lie between frames that follow each other in the video, however far apart the frames of a clip are.
- A pixel is that of a picture whose shorter side is 256, the size that I3D takes it at, so that one motion
  has one number in a large and in a small video. It is clipped to +-20 and stored as uint8: 128 is no motion,
  1 and 255 are -20 and +20 pixels. Flow then costs no more memory than frames; models rescale it by
  themselves.
- DIS (Kroeger et al., ECCV 2016) is as good as the slow methods for this, and fast. Farneback (2003) is
  smoother. TV-L1 (Zach et al., 2007) is what the papers used, and comes with opencv-contrib-python.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import cv2
import numpy as np

from harkeras.base.plot_style import styled
from harkeras.recipe import FlowMethod, read_channels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIMIT_PX = 20  # of a picture whose shorter side is 256
_REFERENCE_SIDE = 256
# Flow is computed at this size: twice the size takes four times as long, and hardly changes an 8-bit field.
_SHORTER_SIDE = 160


def optical_flow(first: np.ndarray, second: np.ndarray, method: FlowMethod = "dis") -> np.ndarray:
    """Return how far each pixel moves from one frame to the next.

    Args:
        first: uint8 RGB (H, W, 3).
        second: The next frame, of the same size.
        method: "dis", "farneback", or "tvl1", which needs opencv-contrib-python.

    Returns:
        float32 (H, W, 2) in pixels: to the right, and down.

    Raises:
        ValueError: If the frames are not uint8 RGB of one size, or there is no such method.
        ImportError: If OpenCV has no TV-L1.
    """
    for frame in (first, second):
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape != first.shape or frame.shape[2] != 3:
            raise ValueError(
                f"frames must be uint8 (H, W, 3) of one size, got {first.dtype} {first.shape} and "
                f"{second.dtype} {second.shape}"
            )
    return _calculator(method)(to_gray(first), to_gray(second))


class FlowStack:
    """The last L fields of flow, frame after frame: for files, long videos and cameras alike.

    Args:
        height: Height of the fields in pixels.
        width: Width of the fields in pixels.
        fields: Number of fields L.
        method: "dis", "farneback", or "tvl1", which needs opencv-contrib-python.

    Raises:
        ValueError: If there is no such method.
        ImportError: If OpenCV has no TV-L1.
    """

    def __init__(self, height: int, width: int, *, fields: int = 10, method: FlowMethod = "dis"):
        """Start with no frame."""
        self.height, self.width, self.fields = height, width, fields
        self._calculate = _calculator(method)
        self._stack: deque[np.ndarray] = deque(maxlen=fields)  # uint8 (H, W, 2)
        self._last, self._index = None, None  # the last frame, gray, and its number

    def frames_needed(self, wanted: np.ndarray) -> np.ndarray:
        """Mark the frames that lead up to the wanted ones, and these: bool (N,) -> bool (N,)."""
        following = np.convolve(wanted[::-1], np.ones(self.fields + 1))[: len(wanted)][::-1]
        return following > 0

    def push(self, image: np.ndarray, index: int) -> None:
        """Take the frame number `index` in, uint8 RGB (H', W', 3) in the size that `flow_size` says."""
        gray = to_gray(image)
        if self._index is None or index != self._index + 1:  # nothing to compare with
            self._stack.clear()
        else:
            field = self._calculate(self._last, gray) * (_REFERENCE_SIDE / min(gray.shape))
            field = cv2.resize(field, (self.width, self.height), interpolation=cv2.INTER_AREA)
            self._stack.append(to_uint8(field))
        self._last, self._index = gray, index

    def beside(self, image: np.ndarray | None = None) -> np.ndarray:
        """Return the fields, oldest first, behind an image if given: uint8 (H, W, 2L) or (H, W, 3 + 2L)."""
        known = self._stack or [np.full((self.height, self.width, 2), 128, np.uint8)]
        missing = [known[0]] * (self.fields - len(known))
        return np.concatenate([*([] if image is None else [image]), *missing, *known], axis=-1)


def flow_size(height: int, width: int) -> tuple[int, int]:
    """Return the height and width to compute the flow of a video at."""
    scale = min(1, _SHORTER_SIDE / min(height, width))
    return max(round(height * scale), 1), max(round(width * scale), 1)


def to_uint8(field: np.ndarray) -> np.ndarray:
    """Clip a field in pixels to +-20 and store it in 8 bits, in steps of 0.16 pixels; 128 is no motion."""
    return np.round(np.clip(field, -LIMIT_PX, LIMIT_PX) * (127 / LIMIT_PX) + 128).astype(np.uint8)


def from_uint8(field: np.ndarray) -> np.ndarray:
    """Return a stored field in pixels, float32."""
    return (field.astype(np.float32) - 128) * (LIMIT_PX / 127)


@styled
def plot_flow(clip: np.ndarray, *, count: int = 6) -> Figure:
    """Draw the flow of a clip in color: the hue is the direction, the strength of the color the speed.

    Args:
        clip: uint8 (T, H, W, C), as `flow_extraction` gives it; frames, if it has them, are drawn above their
            flow.
        count: Number of frames to draw, spread over the clip; of each, the latest field.

    Returns:
        `matplotlib.figure.Figure`

    Raises:
        ValueError: If the clip has no such channels, or `count` is below 1.
    """
    from matplotlib.figure import Figure

    streams = read_channels(clip.shape[-1])[0] if clip.ndim == 4 else None
    if streams not in ("flow", "rgb+flow"):
        raise ValueError(f"clip must be (T, H, W, C) with 2L or 3 + 2L channels, got {clip.shape}")
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    shown = np.unique(np.linspace(0, len(clip) - 1, count).round().astype(int))
    fields = from_uint8(clip[shown, ..., -2:])
    fastest = max(float(np.linalg.norm(fields, axis=-1).max()), 1e-6)
    rows = [[flow_to_rgb(field, fastest) for field in fields]]
    if streams == "rgb+flow":
        rows.insert(0, list(clip[shown, ..., :3]))
    figure = Figure(figsize=(2 * len(shown) + 1.4, 1.8 * len(rows)), layout="constrained")
    grid = figure.add_gridspec(len(rows), len(shown) + 1)
    for r, images in enumerate(rows):
        for c, image in enumerate(images):
            axes = figure.add_subplot(grid[r, c])
            axes.imshow(image)
            axes.set_axis_off()
            if r == 0:
                axes.set_title(f"frame {shown[c] + 1}", fontsize=12)
    _draw_legend(figure.add_subplot(grid[-1, -1]), fastest)
    return figure


def _draw_legend(axes, fastest: float) -> None:
    """Draw the color of every direction, as a disc whose rim is the fastest motion."""
    y, x = np.mgrid[-1:1:101j, -1:1:101j]
    disc = flow_to_rgb(np.stack([x, y], axis=-1), 1.0)
    disc[x**2 + y**2 > 1] = 255
    axes.imshow(disc)
    axes.set_axis_off()
    text = f"hue: direction\nrim: {fastest:.1f} px per frame\n(short side 256 px)"
    axes.text(
        0.5, 1.05, text, fontsize=10, ha="center", va="bottom", transform=axes.transAxes, in_layout=False
    )


def flow_to_rgb(field: np.ndarray, fastest: float) -> np.ndarray:
    """Color a field: hue by direction, white where nothing moves, full color at the speed `fastest`.

    Args:
        field: float (H, W, 2), to the right and down.
        fastest: Speed of the full color, in the unit of the field.

    Returns:
        uint8 RGB (H, W, 3).
    """
    x, y = field[..., 0], field[..., 1]
    hue = np.degrees(np.arctan2(y, x)) % 360
    strength = np.minimum(np.hypot(x, y) / fastest, 1)
    hsv = np.stack([hue, strength, np.ones_like(hue)], axis=-1).astype(np.float32)
    return np.round(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).astype(np.uint8)


def to_gray(image: np.ndarray) -> np.ndarray:
    """Return a uint8 RGB frame (H, W, 3) without its colors: uint8 (H, W)."""
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def _calculator(method: FlowMethod) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Make the function of two gray frames (H, W) that returns a field (H, W, 2)."""
    if method == "farneback":
        return lambda first, second: cv2.calcOpticalFlowFarneback(
            first,
            second,
            None,
            pyr_scale=0.5,
            levels=3,
            winsize=15,
            iterations=3,
            poly_n=5,
            poly_sigma=1.2,
            flags=0,
        )
    if method == "dis":
        calculator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    elif method == "tvl1":
        if not hasattr(cv2, "optflow"):
            raise ImportError(
                "flow by TV-L1 needs opencv-contrib-python in place of opencv-python: "
                "pip uninstall opencv-python && pip install opencv-contrib-python"
            )
        calculator = cv2.optflow.DualTVL1OpticalFlow.create()
    else:
        raise ValueError(f"method must be 'dis', 'farneback' or 'tvl1', got {method!r}")
    return lambda first, second: calculator.calc(first, second, None)
