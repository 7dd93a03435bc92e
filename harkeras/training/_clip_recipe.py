"""The recipe that follows from the clips that a model is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from harkeras.data.batches import ClipDataset
from harkeras.data.datasets import Dataset
from harkeras.recipe import DEFAULT_CLIP_SECONDS, Recipe, Streams, count_channels


def clip_recipe(dataset: Dataset | ClipDataset, classes: Sequence[str], known: Recipe | None) -> Recipe:
    """Make the recipe of a model that is trained on clips.

    Args:
        dataset: The clips.
        classes: Names of the classes.
        known: The recipe that the model has already, for what the data set does not know.

    Raises:
        ValueError: If the clips are no clips of the data set's streams.
    """
    if isinstance(dataset, ClipDataset):
        return Recipe(tuple(classes), clip_seconds=dataset.median_seconds(), **vars(dataset.clip_format))
    streams, features = dataset.check_streams(known.streams if known else None), dataset.features
    return Recipe(
        tuple(classes),
        **_sizes(features.shape, streams),
        clip_seconds=dataset.clip_seconds or (known.clip_seconds if known else DEFAULT_CLIP_SECONDS),
        streams=streams,
        flow_method=dataset.flow_method or (known.flow_method if known else "dis"),
        subject=dataset.subject,
        normalize=streams == "rgb" and _is_normalized(features),
    )


def _sizes(shape: Sequence[int], streams: Streams) -> dict[str, int | None]:
    """Return the sizes in a recipe of clips (N, T, H, W, C), images (N, H, W, C) or joints (N, T, K, D)."""
    if streams == "pose":
        if len(shape) != 4 or shape[-1] not in (2, 3):
            raise ValueError(
                f"joints must be (N, frames, joints, 2 or 3) for streams 'pose', got {tuple(shape)}"
            )
        _, frames, joints, coordinates = shape
        return {"frames": frames, "height": None, "width": None, "joints": joints, "coordinates": coordinates}
    frames, height, width, channels = (1, *shape[1:])[-4:] if len(shape) in (4, 5) else (0, 0, 0, 0)
    flow_fields = 0
    if streams in ("flow", "rgb+flow"):
        flow_fields = (channels - 3 * (streams == "rgb+flow")) // 2
    if count_channels(streams, max(flow_fields, 1)) != channels:
        raise ValueError(f"streams {streams!r} has another number of channels than the clips {tuple(shape)}")
    return {"frames": frames, "height": height, "width": width, "flow_fields": flow_fields}


def _is_normalized(features: Any) -> bool:
    """Whether pixels are floats in [0, 1], as `frames_extraction(normalize=True)` gives them."""
    return np.issubdtype(features.dtype, np.floating) and float(np.max(features[:16])) <= 1
