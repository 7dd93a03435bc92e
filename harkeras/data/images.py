"""Labeled pictures -> arrays that a model of still images can train on.

Two layouts are read: one folder per class with the pictures inside, at any depth; and that of Stanford-40
(Yao et al., "Human Action Recognition by Learning Bases of Action Attributes and Parts", ICCV 2011), 9,532
pictures of 40 actions with a fixed split and a box around the person who acts:

    JPEGImages/applauding_001.jpg
    ImageSplits/applauding_train.txt, applauding_test.txt    names of the pictures, one per line
    XMLAnnotations/applauding_001.xml                        the box

Pictures are stretched to the size of the model, whatever their shape: nothing of the scene is cut off, and
training and prediction do the same.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import numpy as np

from harkeras.data._image_lists import has_image_lists, read_image_lists
from harkeras.data.datasets import Dataset
from harkeras.data.loading import Reader
from harkeras.recipe import DEFAULT_CLIP_SECONDS
from harkeras.video.images import IMAGE_SUFFIXES, is_image_name, read_image, resize_image
from harkeras.video.reading import VideoError


def create_image_dataset(
    data_dir: str | os.PathLike,
    classes: Sequence[str] | None = None,
    *,
    split: Literal["train", "test"] | None = None,
    height: int = 224,
    width: int = 224,
    box_margin: float | None = None,
    workers: int | None = None,
    strict: bool = False,
) -> Dataset:
    """Read all pictures of a folder of classes, or of Stanford-40, into one array.

    Args:
        data_dir: Folder with one folder of pictures per class, or with Stanford-40's three folders.
        classes: Classes to take, in the order of the labels; all, sorted, by default.
        split: "train" or "test" of Stanford-40; both by default.
        height: Height in pixels to stretch pictures to.
        width: Width in pixels to stretch pictures to.
        box_margin: Cut pictures of Stanford-40 to the box of the person who acts, widened on each side by
            this share of its size, as far as the picture goes; whole pictures by default.
        workers: Threads that decode; one per core by default.
        strict: Raise on the first picture that cannot be read, instead of leaving it out with a warning.

    Returns:
        `Dataset`, which unpacks as features, labels, paths: uint8 (N, H, W, 3) RGB, int64 (N,), N paths.

    Raises:
        FileNotFoundError: If there is no such folder; with `strict`, if a picture or its box is missing.
        ValueError: If a number is out of its range, the folder has neither layout, `split` or `box_margin` is
            given for folders of classes, or a class is unknown, named twice, or without a picture that can be
            read.
        VideoError: With `strict`, if a picture or its box cannot be read.
    """
    for name, value in (("height", height), ("width", width)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    data_dir = Path(data_dir)
    boxes = None if box_margin is None else _folder_of_boxes(data_dir, box_margin)
    by_class = _images_by_class(data_dir, split)
    classes = _check_classes(classes, by_class)
    paths = [path for name in classes for path in by_class[name]]
    labels = np.repeat(np.arange(len(classes)), [len(by_class[name]) for name in classes])

    def read(path: Path) -> np.ndarray:
        image = read_image(path)
        return resize_image(
            image if boxes is None else _cut_box(image, path, boxes, box_margin), height, width
        )

    reader = Reader(paths, (height, width, 3), read, workers=workers, strict=strict, noun="image")
    features = reader.read_into_memory()
    kept = reader.check(labels, classes, stacklevel=3)
    return Dataset(
        features,
        labels[kept],
        [paths[row] for row in kept],
        classes=classes,
        streams="rgb",
        clip_seconds=DEFAULT_CLIP_SECONDS,  # images have none
    )


def _images_by_class(data_dir: Path, split: str | None) -> dict[str, list[Path]]:
    """List the pictures of each class, sorted."""
    if not data_dir.is_dir():
        raise FileNotFoundError(f"no folder at {data_dir}")
    if split not in ("train", "test", None):
        raise ValueError(f"split must be 'train', 'test' or None, got {split!r}")
    if has_image_lists(data_dir):
        return read_image_lists(data_dir, ("train", "test") if split is None else (split,))
    if split is not None:
        raise ValueError(
            f"split must be None for folders of classes, got {split!r}; {data_dir} has no ImageSplits"
        )
    folders = sorted(path for path in data_dir.iterdir() if path.is_dir() and path.name[0] not in "._")
    images = {
        folder.name: sorted(path for path in folder.rglob("*") if is_image_name(path) and path.is_file())
        for folder in folders
    }
    if not images:
        raise ValueError(
            f"{data_dir} must hold one folder of images per class, or Stanford-40's JPEGImages and "
            "ImageSplits; found no folder in it"
        )
    return images


def _check_classes(classes: Sequence[str] | None, by_class: dict[str, list[Path]]) -> list[str]:
    """Return the classes to read, each of which has pictures."""
    classes = list(by_class if classes is None else classes)
    if not classes or len(set(classes)) < len(classes):
        raise ValueError(f"classes must be different names, got {classes}")
    for name in classes:
        if name not in by_class:
            raise ValueError(f"classes must be among {', '.join(by_class)}, got {name!r}")
        if not by_class[name]:
            raise ValueError(f"the class {name!r} has no image: none ends in {', '.join(IMAGE_SUFFIXES)}")
    return classes


def _folder_of_boxes(data_dir: Path, margin: float) -> Path:
    if not margin >= 0:
        raise ValueError(f"box_margin must be at least 0, got {margin}")
    folder = data_dir / "XMLAnnotations"
    if not folder.is_dir():
        raise ValueError(
            f"box_margin must be None where there are no boxes; {data_dir} has no XMLAnnotations"
        )
    return folder


def _cut_box(image: np.ndarray, path: Path, boxes: Path, margin: float) -> np.ndarray:
    """Return what the box of a picture holds."""
    annotation = boxes / f"{path.stem}.xml"
    left, top, right, bottom = _read_box(annotation)
    height, width = image.shape[:2]
    aside, above = margin * (right - left), margin * (bottom - top)
    rows = slice(max(round(top - above), 0), min(round(bottom + above), height))
    columns = slice(max(round(left - aside), 0), min(round(right + aside), width))
    cut = image[rows, columns]
    if not cut.size:
        raise VideoError(f"{annotation}: its box lies outside the image of {width} x {height} pixels")
    return cut


def _read_box(annotation: Path) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of the first person in an annotation, in pixels."""
    if not annotation.is_file():
        raise FileNotFoundError(f"no box at {annotation}")
    try:
        box = ElementTree.parse(annotation).getroot().find("object/bndbox")
        return tuple(float(box.find(side).text) for side in ("xmin", "ymin", "xmax", "ymax"))
    except (ElementTree.ParseError, AttributeError, TypeError, ValueError) as error:
        raise VideoError(f"{annotation}: holds no object with a bndbox ({error})") from error
