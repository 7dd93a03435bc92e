"""Stanford-40's layout: all pictures in one folder, and lists that say which shows what."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

PICTURES, _LISTS = "JPEGImages", "ImageSplits"


def has_image_lists(data_dir: Path) -> bool:
    """Tell whether a folder has the layout."""
    return (data_dir / _LISTS).is_dir()


def read_image_lists(data_dir: Path, sides: tuple[str, ...] = ("train", "test")) -> dict[str, list[Path]]:
    """Read the lists, one per class and side, "train" or "test".

    Returns:
        The pictures of each class, both sorted.

    Raises:
        ValueError: If there is no list.
    """
    images = defaultdict(set)
    for side in sides:
        for path in (data_dir / _LISTS).glob(f"*_{side}.txt"):
            names = path.read_text(encoding="utf-8").split()
            images[path.name.removesuffix(f"_{side}.txt")] |= {data_dir / PICTURES / name for name in names}
    if not images:
        raise ValueError(f"{data_dir / _LISTS} must hold files named <action>_train.txt, found none")
    return {name: sorted(paths) for name, paths in sorted(images.items())}
