"""Where the people in a picture are: YOLOX-nano, or any function of an image in its place.

Ge et al., "YOLOX: Exceeding YOLO Series in 2021", 2021. The published file knows the 80 classes of COCO, of
which one is taken here: person. It runs in OpenCV's own `dnn`, in about 20 ms on two cores. Of people who
stand it is sure; of those who lie on the floor, bent over or cut off by the edge of the picture it says 0.1
to 0.3. A threshold that leaves out every false box leaves them out, too: `PeopleTracker` begins with boxes
that are sure, and goes on with those that are not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from harkeras.assets.store import find_asset

# An image uint8 RGB (H, W, 3) -> boxes float (N, 5): left, top, right, bottom in its pixels, score, 0 to 1.
PeopleDetector = Callable[[np.ndarray], np.ndarray]

_SIDE, _STRIDES = 416, (8, 16, 32)  # of the network's input, and of the grids of its output, in pixels
_PAD = 114  # gray, around pictures that are no square
_PERSON = 5  # column of the output: left, top, width, height, is it an object, is it a person, ...
_LEAST_SCORE, _MOST_OVERLAP = 0.05, 0.45


class YoloxNano:
    """YOLOX-nano: an image -> the people in it.

    It can be called from several threads at once.

    Args:
        path: The `.onnx` file; the published one by default, from `find_asset("yolox_nano")`.

    Raises:
        OSError: If the file is not here and cannot be downloaded.
    """

    def __init__(self, path: str | Path | None = None):
        """Find the file."""
        self._path = Path(path or find_asset("yolox_nano"))
        self._idle: list[cv2.dnn.Net] = []  # networks, one for each call at the same time
        grids = [np.indices((_SIDE // stride,) * 2)[::-1].reshape(2, -1).T for stride in _STRIDES]
        self._corners = np.concatenate(grids).astype(np.float32)  # (3549, 2): x and y of each cell
        self._strides = np.repeat(_STRIDES, [len(grid) for grid in grids])[:, None].astype(np.float32)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Find people in an image uint8 RGB (H, W, 3): float32 (N, 5), the surest first."""
        scale = _SIDE / max(image.shape[:2])
        height, width = (max(round(length * scale), 1) for length in image.shape[:2])
        pixels = np.full((_SIDE, _SIDE, 3), _PAD, np.uint8)
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        pixels[:height, :width] = cv2.resize(image, (width, height), interpolation=how)
        network = self._idle.pop() if self._idle else cv2.dnn.readNetFromONNX(str(self._path))
        try:
            network.setInput(cv2.dnn.blobFromImage(pixels, swapRB=True))  # BGR, 0-255, (1, 3, 416, 416)
            output = network.forward()[0]  # (3549, 85)
        finally:
            self._idle.append(network)
        scores = output[:, 4] * output[:, _PERSON]
        rows = np.flatnonzero(scores > _LEAST_SCORE)
        centers = (output[rows, :2] + self._corners[rows]) * self._strides[rows] / scale
        sizes = np.exp(output[rows, 2:4]) * self._strides[rows] / scale
        corners = centers - sizes / 2
        kept = cv2.dnn.NMSBoxes(
            np.concatenate([corners, sizes], axis=1).tolist(),
            scores[rows].tolist(),
            _LEAST_SCORE,
            _MOST_OVERLAP,
        )
        kept = np.array(kept, int).reshape(-1)
        boxes = np.concatenate([corners, corners + sizes, scores[rows, None]], axis=1)[kept]
        boxes[:, :4] = np.clip(boxes[:, :4], 0, [*image.shape[1::-1]] * 2)
        return boxes.astype(np.float32)


@lru_cache(maxsize=1)
def default_detector() -> YoloxNano:
    """Return YOLOX-nano, whose file is found and checked once.

    The errors are those of `YoloxNano`.
    """
    return YoloxNano()


def detect_people(
    image: np.ndarray, *, threshold: float = 0.3, detector: PeopleDetector | None = None
) -> np.ndarray:
    """Find the people in a picture.

    Args:
        image: uint8 RGB (H, W, 3).
        threshold: Boxes of a lower score are left out. People on the floor get 0.1 to 0.3.
        detector: Function of an image uint8 RGB (H, W, 3) -> boxes (N, 5) of people, as below; YOLOX-nano by
            default.

    Returns:
        float32 (N, 5): left, top, right and bottom in pixels, and the score, 0 to 1; the surest first.

    Raises:
        ValueError: If the image is no uint8 RGB, `threshold` is not in 0 to 1, or the detector gives
            something else than boxes.
        OSError: If there is no detector, and the file of YOLOX-nano cannot be had.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image must be uint8 RGB (H, W, 3), got {image.dtype} {image.shape}")
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must lie in 0 to 1, got {threshold}")
    boxes = np.asarray((detector or default_detector())(image), np.float32)
    if not boxes.size:
        return np.empty((0, 5), np.float32)
    if boxes.ndim != 2 or boxes.shape[1] != 5 or not np.isfinite(boxes).all():
        raise ValueError(
            "detector must give boxes (N, 5) of finite numbers: left, top, right, bottom, score, got "
            f"{boxes.shape}"
        )
    boxes = boxes[np.argsort(-boxes[:, 4], kind="stable")]
    return boxes[boxes[:, 4] >= threshold]
