"""The features of clips for several inputs: how many frames of a clip a backbone is shown, and how large."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from harkeras.transfer.features import backbone_features, frame_encoder, part_sizes
from harkeras.video.reading import VideoError, VideoInfo

# Frames per clip, and the shorter side of a frame in pixels: from quick to thorough.
INPUTS = ((8, 224), (16, 224), (16, 320))
_STEP = 32  # backbones halve their maps five times


class Input(NamedTuple):
    """What a backbone is shown of a clip."""

    frames: int
    height: int
    width: int


@dataclass(frozen=True)
class FeatureTable:
    """The features of clips for each input.

    Attributes:
        video_paths: N clips, those that could be read.
        rows: int64 (N,), which of the given clips they are.
        clip_seconds: float (N,), how long they are.
        features: float32 (N, T, F) for each input.
        parts: For each part of the features, which of the F they are.
        encoders: What computed them, for each input.
    """

    video_paths: list[Path]
    rows: np.ndarray
    clip_seconds: np.ndarray
    features: dict[Input, np.ndarray]
    parts: dict[str, slice]
    encoders: dict[Input, keras.Model]

    def pick(self, given: Input, parts: Sequence[str]) -> np.ndarray:
        """Return some parts of the features of an input: float32 (N, T, F)."""
        return np.concatenate([self.features[given][..., self.parts[part]] for part in parts], axis=-1)


def read_feature_table(
    video_paths: Sequence[str | os.PathLike],
    *,
    backbone: str = "mobilenet_v2",
    weights: str | os.PathLike | None = "imagenet",
    inputs: Sequence[tuple[int, ...]] = INPUTS,
    flow: bool = False,
    cache: str | os.PathLike | None = None,
    workers: int | None = None,
) -> FeatureTable:
    """Compute the features of clips for all inputs to be tried.

    Args:
        video_paths: The clips.
        backbone: One of `harkeras.models.list_backbones()`.
        weights: As in `harkeras.transfer.features.frame_encoder`.
        inputs: For each input, frames per clip and the shorter side of a frame in pixels; the other side
            follows from the shape of most clips, in steps of 32. Or frames, height and width.
        flow: Also look at a summary of optical flow, which takes about as long again.
        cache: Folder that keeps what was computed, see `backbone_features`.
        workers: Threads that decode; one per core by default.

    Returns:
        `FeatureTable`; clips that cannot be read are named in a warning and left out.

    Raises:
        ValueError: If no clip can be read, or an argument is out of its range.
        FileNotFoundError: If there is no such file of weights.
        OSError: If the weights of ImageNet cannot be had, or the cache cannot be written.
    """
    if not inputs:
        raise ValueError("inputs must name at least one pair of frames and pixels, got none")
    video_paths, channels = list(map(Path, video_paths)), 5 if flow else 3
    infos = {row: info for row, path in enumerate(video_paths) if (info := _info(path)) is not None}
    shapes = [info.width / info.height for info in infos.values()]
    features, encoders, rows = {}, {}, np.arange(len(video_paths))
    for frames, *size in inputs:
        size = size if len(size) == 2 else _frame_size(*size, float(np.median(shapes or [1.0])))
        shape = (*size, channels)
        same = [each for each in encoders.values() if each.input_shape[1:] == shape]
        encoder = same[0] if same else frame_encoder(backbone, shape, weights=weights)
        found, kept = backbone_features(
            [video_paths[row] for row in rows], encoder, frames=frames, cache=cache, workers=workers
        )
        features = {key: each[kept] for key, each in features.items()}  # were a clip to vanish on the way
        rows = rows[kept]
        given = Input(frames, *shape[:2])
        features[given], encoders[given] = found, encoder
    ends = np.cumsum([0, *part_sizes(encoder).values()]).tolist()
    parts = {part: slice(*ends[i : i + 2]) for i, part in enumerate(part_sizes(encoder))}
    seconds = np.array([infos[row].duration_seconds for row in rows])
    paths = [video_paths[row] for row in rows]
    return FeatureTable(paths, rows, seconds, features, parts, encoders)


def _info(path: Path) -> VideoInfo | None:
    try:
        return VideoInfo.read(path)
    except (VideoError, OSError):
        return None  # `backbone_features` will say so


def _frame_size(side: int, shape: float) -> tuple[int, int]:
    """Return height and width for a shorter side and a width / height, in steps of 32."""
    longer = round(side * min(max(shape, 1 / shape), 2.0) / _STEP) * _STEP
    return (side, max(longer, side)) if shape >= 1 else (max(longer, side), side)
