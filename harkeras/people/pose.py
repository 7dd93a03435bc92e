"""The joints of a person: MoveNet on a square of the picture, and from frame to frame where it was last seen.

MoveNet (Votel and Li, "Next-Generation Pose Detection with MoveNet and TensorFlow.js", TensorFlow Blog 2021)
names 17 joints of one person in a picture of 192 x 192 pixels; its published int8 file takes a few
milliseconds on one core. The picture is never squeezed into that square: what is missing is black.

As its authors do for videos, `PoseTracker` looks at the whole first frame, and then at a square around the
body that it has found, in which the person is larger and the joints are better; when the body is lost, it
looks at the whole frame again. Joints tremble from frame to frame; a One-Euro filter holds those that rest.

MoveNet runs in LiteRT, the extra `pose`. Any function of an image can stand in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from harkeras.assets.store import find_asset
from harkeras.people._one_euro import OneEuroFilter
from harkeras.people.skeleton import COCO_JOINTS

# An image uint8 RGB (H, W, 3) -> joints float (K, 3): x and y in its pixels, and a score, 0 to 1.
PoseEstimator = Callable[[np.ndarray], np.ndarray]

# A joint of a lower score is missing; so low a one MoveNet's authors take for a guess.
JOINT_THRESHOLD = 0.2
_SIDE = 192  # of MoveNet's input, in pixels
_BOX_MARGIN = 0.15  # around a person's box, as a share of its longer side
# After so long a pause, or when the clock goes back, a person is looked for anew.
_LONGEST_STEP_SECONDS = 1.0
# Of the One-Euro filter, speeds in sides of the square around the person.
_MIN_CUTOFF_HZ, _BETA, _SPEED_CUTOFF_HZ = 2.5, 30.0, 2.5
# How far the square around a body reaches from its hips, beyond torso and body, as MoveNet's authors do it.
_TORSO_REACH, _BODY_REACH = 1.9, 1.2
_SHOULDERS, _HIPS = (5, 6), (11, 12)

Square = tuple[float, float, float]  # left, top and side in pixels; it may reach beyond the picture


class MoveNet:
    """MoveNet SinglePose Lightning: an image -> 17 joints of the one person in it.

    It can be called from several threads at once.

    Args:
        path: The `.tflite` file; the published one by default, from `find_asset("movenet_lightning")`.

    Raises:
        ImportError: If LiteRT is not installed.
        OSError: If the file is not here and cannot be downloaded.
    """

    def __init__(self, path: str | Path | None = None):
        """Find the file."""
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise ImportError('joints are found by LiteRT: pip install "harkeras[pose]"') from error
        self._make, self._path = Interpreter, Path(path or find_asset("movenet_lightning"))
        self._idle: list = []  # interpreters, one for each call at the same time

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Find joints in an image uint8 RGB (H, W, 3): float32 (17, 3), x and y in pixels, and a score."""
        height, width = image.shape[:2]
        side = max(height, width)
        square = ((width - side) / 2, (height - side) / 2, float(side))
        y, x, score = self._infer(cut_square(image, square, _SIDE)).T
        return np.stack([square[0] + x * side, square[1] + y * side, score], axis=-1)

    def _infer(self, pixels: np.ndarray) -> np.ndarray:
        """Run the network: uint8 (192, 192, 3) -> float32 (17, 3), y and x in shares of the side, score."""
        interpreter = self._idle.pop() if self._idle else self._start()
        try:
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels[None])
            interpreter.invoke()
            return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0, 0]
        finally:
            self._idle.append(interpreter)

    def _start(self):
        # One thread: two are slower for so small a network, and clips are read side by side.
        interpreter = self._make(str(self._path), num_threads=1)
        interpreter.allocate_tensors()
        return interpreter


@lru_cache(maxsize=1)
def default_estimator() -> MoveNet:
    """Return MoveNet, whose file is found and checked once.

    The errors are those of `MoveNet`.
    """
    return MoveNet()


def ensure_estimator(estimator: PoseEstimator | None) -> PoseEstimator:
    """Return the estimator, or MoveNet: before the long work, so that what is missing is said once.

    The errors are those of `MoveNet`.
    """
    return estimator or default_estimator()


def estimator_name(estimator: PoseEstimator | None) -> str:
    """Return what an estimator is called, for a cache that must know which one made its joints."""
    if estimator is None:
        return "movenet_lightning"
    kind = estimator if hasattr(estimator, "__qualname__") else type(estimator)
    return f"{kind.__module__}.{kind.__qualname__}"


def cut_square(image: np.ndarray, square: Square, size: int | None = None) -> np.ndarray:
    """Cut a square out of an image; what lies beyond its edges is black.

    Args:
        image: uint8 RGB (H, W, 3).
        square: Left, top and side in pixels.
        size: Side to resize to; as it is by default.

    Returns:
        uint8 (size, size, 3).
    """
    left, top, side = (round(value) for value in square)
    inside = image[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)]
    scale = 1 if size is None else size / side
    pixels = np.zeros((round(side * scale), round(side * scale), 3), np.uint8)
    if inside.size:
        rows, columns = (max(round(length * scale), 1) for length in inside.shape[:2])
        if (rows, columns) != inside.shape[:2]:
            how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            inside = cv2.resize(inside, (columns, rows), interpolation=how)
        first, start = round(max(-top, 0) * scale), round(max(-left, 0) * scale)
        part = pixels[first : first + rows, start : start + columns]
        part[:] = inside[: part.shape[0], : part.shape[1]]
    return pixels


def find_joints(
    image: np.ndarray,
    box_px: tuple[float, float, float, float] | None = None,
    *,
    estimator: PoseEstimator | None = None,
) -> np.ndarray:
    """Find the joints of one person in a picture.

    Args:
        image: uint8 RGB (H, W, 3).
        box_px: Left, top, right and bottom of the person in pixels: a square around it is looked at. The
            whole picture by default.
        estimator: Function of an image uint8 RGB (H, W, 3) -> joints (K, 3), x and y in its pixels, score;
            MoveNet by default.

    Returns:
        float32 (17, 3), or (K, 3): x and y in pixels of the picture, and the score of each joint as it is.

    Raises:
        ValueError: If the image is no uint8 RGB, or the estimator gives something else than joints.
        ImportError: If there is no estimator, and LiteRT is not installed.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image must be uint8 RGB (H, W, 3), got {image.dtype} {image.shape}")
    return _find_in(image, None if box_px is None else _around_box(box_px), estimator)


def _find_in(image: np.ndarray, square: Square | None, estimator: PoseEstimator | None) -> np.ndarray:
    """Find joints in a square of an image, or in all of it."""
    estimator = ensure_estimator(estimator)
    seen = image if square is None else cut_square(image, square)
    joints = np.array(estimator(seen), np.float32)
    if joints.ndim != 2 or joints.shape[1] != 3 or not np.isfinite(joints).all():
        raise ValueError(
            f"estimator must give joints (K, 3) of finite numbers: x, y, score, got {joints.shape}"
        )
    if square is not None:
        joints[:, :2] += np.round(square[:2])
    return joints


def _around_box(box_px: tuple[float, float, float, float]) -> Square:
    left, top, right, bottom = box_px
    side = max(right - left, bottom - top, 1) * (1 + 2 * _BOX_MARGIN)
    return (left + right - side) / 2, (top + bottom - side) / 2, side


class PoseTracker:
    """Follow the joints of one person from frame to frame.

    Args:
        estimator: Function of an image -> joints, see `find_joints`; MoveNet by default.
        threshold: Joints of a lower score are missing: x, y and score are 0.
        smooth: Whether joints that rest are held still.

    Raises:
        ValueError: If `threshold` is not a number in 0 to 1.

    Example:
        >>> tracker = PoseTracker()
        >>> for frame in iter_frames("squats.mp4"):
        ...     joints = tracker.update(frame.image, frame.seconds)
    """

    def __init__(
        self,
        *,
        estimator: PoseEstimator | None = None,
        threshold: float = JOINT_THRESHOLD,
        smooth: bool = True,
    ):
        """Start with nobody."""
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be a number in 0 to 1, got {threshold}")
        self._estimator, self._threshold, self._smooth = estimator, threshold, smooth
        self._start_anew()

    def _start_anew(self) -> None:
        self._square: Square | None = None
        self._filter = OneEuroFilter(_MIN_CUTOFF_HZ, _BETA, _SPEED_CUTOFF_HZ)
        self._seconds: float | None = None

    def update(
        self, image: np.ndarray, seconds: float, box_px: tuple[float, float, float, float] | None = None
    ) -> np.ndarray:
        """Find the joints in the next frame.

        Args:
            image: uint8 RGB (H, W, 3).
            seconds: When it appears. After a pause of more than a second, or when the clock goes back, the
                person is looked for anew.
            box_px: Left, top, right and bottom of the person, where a tracker of people knows it. Otherwise a
                square around the last joints is looked at, or the whole frame where they are not known.

        Returns:
            float32 (17, 3), or as many joints as the estimator gives: x and y in pixels, and the score.
        """
        if self._seconds is not None and not 0 < seconds - self._seconds <= _LONGEST_STEP_SECONDS:
            self._start_anew()
        square = self._square if box_px is None else _around_box(box_px)
        joints = _find_in(image, square, self._estimator)
        self._square = _around_body(joints, *image.shape[:2])
        missing = joints[:, 2] < self._threshold
        if self._smooth:
            side = max(image.shape[:2]) if square is None else square[2]
            points = np.where(missing[:, None], np.nan, joints[:, :2])
            step_seconds = 1.0 if self._seconds is None else seconds - self._seconds
            joints[:, :2] = self._filter.update(points, step_seconds, side)
        self._seconds = seconds
        joints[missing] = 0
        return joints


def _around_body(joints: np.ndarray, height: int, width: int) -> Square | None:
    """Return the square in which to look for a body in the next frame, or None for the whole of it.

    Both sides of the body count by their best joint: there must be a shoulder and a hip.
    """
    seen = joints[:, 2] > JOINT_THRESHOLD
    if len(joints) != len(COCO_JOINTS) or not (seen[list(_SHOULDERS)].any() and seen[list(_HIPS)].any()):
        return None
    center = joints[list(_HIPS), :2].mean(axis=0)
    away = np.abs(joints[:, :2] - center)
    torso = away[[*_SHOULDERS, *_HIPS]].max()
    reach = max(_TORSO_REACH * torso, _BODY_REACH * away[seen].max())
    reach = min(reach, np.abs([*center, *(center - [width, height])]).max())
    if 2 * reach >= max(height, width):
        return None
    return float(center[0] - reach), float(center[1] - reach), float(2 * reach)
