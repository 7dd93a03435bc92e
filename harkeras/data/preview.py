"""A look at clips before anything is trained: those of a folder, and what filters make of one."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from harkeras.base.plot_style import styled
from harkeras.data._clip_filter import ClipFilter
from harkeras.data.augment import (
    Add,
    ElasticDeformation,
    GaussianBlur,
    HorizontalFlip,
    Multiply,
    Pan,
    Pepper,
    RandomResizedCrop,
    Salt,
    TemporalJitter,
    TimeCrop,
)
from harkeras.data.folders import list_classes, list_videos
from harkeras.recipe import read_channels
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


@styled
def plot_augmentations(
    clip: np.ndarray, filters: Sequence[ClipFilter] | None = None, *, count: int = 6, seed: int = 27
) -> Figure:
    """Draw what filters make of a clip: a row for the clip itself, and one for each filter.

    Args:
        clip: uint8 (T, H, W, 3), or with flow behind the colors, which is not drawn.
        filters: The filters; all eleven, in settings that show well, where none are given.
        count: Number of frames to draw, spread over the clip.
        seed: Seed of the draws.

    Returns:
        `matplotlib.figure.Figure`

    Raises:
        ValueError: If the clip has no colors, or `count` is below 1.
    """
    if clip.ndim != 4 or read_channels(clip.shape[-1])[0] == "flow":
        raise ValueError(f"clip must be (T, H, W, C) with colors, got {clip.shape}")
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    if filters is None:
        filters = [
            Add((30, 30)), Multiply((0.7, 0.7)), Salt((0.05, 0.05)), Pepper((0.05, 0.05)),
            GaussianBlur((1.5, 1.5)), ElasticDeformation((0.04, 0.04)), HorizontalFlip(1.0),
            RandomResizedCrop((0.6, 0.6)), Pan((0.3, 0.3)), TemporalJitter(2), TimeCrop((0.7, 0.7)),
        ]  # fmt: skip
    titles = ["the clip", *(type(each).__name__ for each in filters)]
    clips = [clip, *(each(clip[None], [seed, i])[0] for i, each in enumerate(filters))]
    shown = np.unique(np.linspace(0, len(clip) - 1, count).round().astype(int))
    figure = Figure(figsize=(1.5 * len(shown) + 2.4, 1.5 * len(clips)), layout="constrained")
    rows = figure.subplots(len(clips), len(shown), squeeze=False)
    for axes, title, changed in zip(rows, titles, clips, strict=True):
        for image, frame in zip(axes, shown, strict=True):
            image.imshow(changed[frame, ..., :3])
            image.set(xticks=[], yticks=[])
        axes[0].set_ylabel(title, rotation=0, ha="right", va="center")
    for image, frame in zip(rows[0], shown, strict=True):
        image.set_title(f"frame {frame + 1}", fontsize=12)
    return figure
