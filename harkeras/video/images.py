"""Images in memory and in files: read upright, and stretched to the size of a model."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from harkeras.recipe import Interpolation
from harkeras.video.decoding import VideoError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def is_image_name(path: Path) -> bool:
    """Tell from its name whether a file may be a picture."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def read_image(path: str | os.PathLike, height: int | None = None, width: int | None = None) -> np.ndarray:
    """Read a picture, upright as its EXIF orientation says.

    Args:
        path: A JPEG, PNG, BMP, WebP or TIFF file.
        height: Height to stretch it to, in pixels; its own by default.
        width: Width to stretch it to, in pixels; its own by default.

    Returns:
        uint8 RGB (H, W, 3)

    Raises:
        FileNotFoundError: If there is no such file.
        VideoError: If it is not a picture.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no image at {path}")
    data = np.fromfile(path, np.uint8)  # unlike imread, this opens any name on any system
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise VideoError(f"{path}: not an image that can be decoded")
    return resize_image(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), height, width)


def resize_image(
    image: np.ndarray,
    height: int | None = None,
    width: int | None = None,
    *,
    interpolation: Interpolation = "area",
) -> np.ndarray:
    """Stretch a picture (H, W, 3) to another size; a side that is not given stays as it is.

    By "area", which is bilinear where it grows, or "bilinear" in any case, as `cv2.resize` does by default.
    """
    height, width = height or image.shape[0], width or image.shape[1]
    if (height, width) == image.shape[:2]:
        return image
    smaller = interpolation == "area" and height <= image.shape[0] and width <= image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
