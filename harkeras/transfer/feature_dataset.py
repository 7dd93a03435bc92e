"""The features of clips for several inputs: how many frames of a clip a backbone is shown, and how large."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, NamedTuple

import keras
import numpy as np

from harkeras.data.datasets import Dataset
from harkeras.data.folders import ClipFolder, read_folder
from harkeras.transfer.features import (
    ChosenBackbone,
    backbone_features,
    choose_backbone,
    frame_encoder,
    part_sizes,
)
from harkeras.video.reading import VideoError, VideoInfo

_logger = logging.getLogger("harkeras")

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
        features: float32 (M, T, F) for each input.
        parts: For each part of the features, which of the F they are.
        encoders: What computed them, for each input.
        rows: int (N,), which of the M clips are meant.
        backbone: What they are of.
    """

    features: dict[Input, np.ndarray]
    parts: dict[str, slice]
    encoders: dict[Input, keras.Model]
    rows: np.ndarray
    backbone: ChosenBackbone
    dtype: ClassVar = np.float32

    @property
    def shape(self) -> tuple[int]:
        """The number of clips (N,)."""
        return (len(self.rows),)

    def __getitem__(self, rows: np.ndarray) -> FeatureTable:
        """Return a view of some clips."""
        return replace(self, rows=self.rows[rows])

    def pick(self, given: Input, parts: Sequence[str]) -> np.ndarray:
        """Return some parts of the features of an input: float32 (N, T, F)."""
        features = self.features[given]
        return np.concatenate([features[self.rows, :, self.parts[part]] for part in parts], axis=-1)


class FeatureDataset(Dataset):
    """Labeled clips, of which only the features are kept: what `train_auto` takes.

    A model that it made is scored on them by `evaluate`: only its head is asked.
    """

    features: FeatureTable

    def _rows_of_features(self, rows: np.ndarray) -> FeatureTable:
        return self.features[rows]

    def for_model(self, model: keras.Model) -> tuple[keras.Model, np.ndarray]:
        """Return the head of a model, and the features (N, T, F) that it looks at.

        Raises:
            ValueError: If the model does not stand on an encoder of these features.
        """
        given, layers = Input(*model.input_shape[1:4]), {layer.name: layer for layer in model.layers}
        encoders = [layer for name, layer in layers.items() if name.endswith("_features")]
        if given not in self.features.encoders or "head" not in layers or not encoders:
            raise ValueError(
                f"model must stand on one of the encoders of these features, got {model.name}; read the "
                "clips with create_dataset"
            )
        return layers["head"], self.features.pick(given, list(part_sizes(encoders[0])))


def create_feature_dataset(
    data_dir: str | os.PathLike | ClipFolder,
    *,
    backbone: str | None = None,
    weights: str | os.PathLike | None = "imagenet",
    inputs: Sequence[tuple[int, ...]] = INPUTS,
    flow: bool = False,
    cache: str | os.PathLike | None = None,
    workers: int | None = None,
) -> FeatureDataset:
    """Compute the features of the clips of a folder for all inputs to be tried.

    Args:
        data_dir: Folder with one folder of clips per class, or what `read_folder` found in it.
        backbone: One of `harkeras.models.list_backbones()`; by default one with weights on this machine, see
            `harkeras.models.backbones.find_backbone`. Which it is, is logged (logger "harkeras").
        weights: As in `harkeras.transfer.features.frame_encoder`.
        inputs: For each input, frames per clip and the shorter side of a frame in pixels; the other side
            follows from the shape of most clips, in steps of 32. Or frames, height and width.
        flow: Also look at a summary of optical flow, which takes about as long again.
        cache: Folder that keeps what was computed, see `backbone_features`.
        workers: Threads that decode; one per core by default.

    Returns:
        `FeatureDataset`; clips that cannot be read are named in a warning and left out.

    Raises:
        ValueError: If no clip can be read, or an argument is out of its range.
        FileNotFoundError: If there is no such folder, or no such file of weights.
        OSError: If the weights of ImageNet cannot be had, or the cache cannot be written.
    """
    if not inputs:
        raise ValueError("inputs must name at least one pair of frames and pixels, got none")
    chosen = choose_backbone(backbone, weights)
    _logger.info("%s", chosen)
    folder = data_dir if isinstance(data_dir, ClipFolder) else read_folder(data_dir)
    video_paths, channels = folder.video_paths, 5 if flow else 3
    infos = {row: info for row, path in enumerate(video_paths) if (info := _info(path)) is not None}
    shapes = [info.width / info.height for info in infos.values()]
    features, encoders, rows = {}, {}, np.arange(len(video_paths))
    for frames, *size in inputs:
        size = size if len(size) == 2 else _frame_size(*size, float(np.median(shapes or [1.0])))
        shape = (*size, channels)
        same = [each for each in encoders.values() if each.input_shape[1:] == shape]
        encoder = same[0] if same else frame_encoder(chosen.name, shape, weights=weights)
        found, kept = backbone_features(
            [video_paths[row] for row in rows], encoder, frames=frames, cache=cache, workers=workers
        )
        features = {key: each[kept] for key, each in features.items()}  # were a clip to vanish on the way
        rows = rows[kept]
        given = Input(frames, *shape[:2])
        features[given], encoders[given] = found, encoder
    ends = np.cumsum([0, *part_sizes(encoder).values()]).tolist()
    parts = {part: slice(*ends[i : i + 2]) for i, part in enumerate(part_sizes(encoder))}
    return FeatureDataset(
        FeatureTable(features, parts, encoders, np.arange(len(rows)), chosen),
        folder.labels[rows],
        [video_paths[row] for row in rows],
        classes=folder.classes,
        sources=folder.sources[rows],
        streams="rgb+flow" if flow else "rgb",
    )


def _info(path: Path) -> VideoInfo | None:
    try:
        return VideoInfo.read(path)
    except (VideoError, OSError):
        return None  # `backbone_features` will say so


def _frame_size(side: int, shape: float) -> tuple[int, int]:
    """Return height and width for a shorter side and a width / height, in steps of 32."""
    longer = round(side * min(max(shape, 1 / shape), 2.0) / _STEP) * _STEP
    return (side, max(longer, side)) if shape >= 1 else (max(longer, side), side)
