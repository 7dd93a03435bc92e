"""A look at a folder of clips before anything is trained."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from harkeras.base.plot_style import styled
from harkeras.data.folders import list_classes, list_videos
from harkeras.video.reading import iter_frames


@styled
def plot_clips(
    data_dir: str | os.PathLike, classes: Sequence[str] | None = None, *, count: int = 20, seed: int = 27
) -> Figure:
    """Draw the first frames of clips of randomly chosen classes, with their labels.

    Args:
        data_dir: Folder with one folder of clips per class.
        classes: Classes to choose from; all by default.
        count: Number of clips; where there are fewer classes, they come again with other clips.
        seed: Seed of the choice.

    Returns:
        `matplotlib.figure.Figure`

    Raises:
        FileNotFoundError: If there is no such folder, or none for one of the classes.
        ValueError: If `count` is below 1, or a class has no clip.
        VideoError: If a chosen clip cannot be read.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    classes = list_classes(data_dir) if classes is None else list(classes)
    videos, labels = list_videos(data_dir, classes)
    rng = np.random.default_rng(seed)
    by_class = [rng.permutation(np.flatnonzero(labels == label)) for label in rng.permutation(len(classes))]
    rounds = [rows[turn] for turn in range(max(map(len, by_class))) for rows in by_class if turn < len(rows)]
    chosen = rounds[:count]
    columns = min(5, len(chosen))
    grid = (-(-len(chosen) // columns), columns)
    figure = Figure(figsize=(2.4 * columns, 2.1 * grid[0]), layout="constrained")
    for axes in figure.subplots(*grid, squeeze=False).flat:
        axes.axis("off")
    for axes, row in zip(figure.axes, chosen, strict=False):
        axes.imshow(next(iter_frames(videos[row])).image)
        axes.set_title(classes[labels[row]])
    return figure
