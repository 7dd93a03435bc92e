"""Whom a model has learned from, as one picture: a square around the person who was taken of each clip."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from harkeras.base.plot_style import styled
from harkeras.base.workers import in_order_with_bar
from harkeras.data.datasets import Dataset
from harkeras.people.main_person import follow_person
from harkeras.people.tracking import Box
from harkeras.video.images import resize_image
from harkeras.video.reading import VideoError

_COLUMNS = 6
_FRAME_HEIGHT = 160  # pixels
_COLOR = "#ffd92f"


@styled
def plot_people(dataset: Dataset, frames: int, *, most: int = 36, workers: int | None = None) -> Figure:
    """Draw the middle of clips, spread evenly over all, and the square that a model of people sees of it.

    Args:
        dataset: Clips of files, read with subject "person".
        frames: Number of frames T that the model sees of a clip.
        most: Number of clips to draw.
        workers: Threads that look for people; one per core by default.

    Returns:
        `matplotlib.figure.Figure`

    Raises:
        ValueError: If `most` is below 1.
    """
    if most < 1:
        raise ValueError(f"most must be at least 1, got {most}")
    count = len(dataset)
    rows = np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int)).tolist()
    paths = [Path(dataset.video_paths[row]) for row in rows]
    columns = min(_COLUMNS, len(rows))
    grid = (-(-len(rows) // columns), columns)
    figure = Figure(figsize=(2.3 * columns, 1.9 * grid[0] + 0.5), layout="constrained")
    figure.subplots(*grid, squeeze=False)
    for axes in figure.axes:
        axes.axis("off")
    middles = in_order_with_bar(partial(_read_middle, frames), paths, "Drawing who was taken", workers)
    for middle, row, path, axes in zip(middles, rows, paths, figure.axes, strict=False):
        title = f"{dataset.classes[dataset.labels[row]]}\n{path.name}"
        axes.set_title(title, fontsize=6, loc="left", parse_math=False)
        if isinstance(middle, str):
            axes.text(0, 0.5, middle[:60], fontsize=6, parse_math=False)
            continue
        image, (left, top, right, bottom) = middle
        axes.imshow(image)
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, color=_COLOR, lw=1.5))
    shown = f", here {len(rows)}" if len(rows) < count else ""
    figure.suptitle(f"Who was looked at in {count} clips{shown}: the middle of each", fontsize=10)
    return figure


def _read_middle(frames: int, path: Path) -> tuple[np.ndarray, Box] | str:
    """Return the middle frame of a clip, made small, and the square in it; or why there is none."""
    try:
        images, boxes = follow_person(path, frames)
    except (VideoError, OSError) as error:  # since it was read
        return str(error)
    image, box = images[frames // 2], boxes[frames // 2]
    height, width = image.shape[:2]
    scale = _FRAME_HEIGHT / height
    image = resize_image(image, _FRAME_HEIGHT, max(round(scale * width), 1))
    return image, tuple(scale * side for side in box)
