"""The recipe that follows from the clips that a model is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from harkeras.data.batches import ClipDataset
from harkeras.data.datasets import Dataset
from harkeras.recipe import DEFAULT_CLIP_SECONDS, Recipe, Streams, count_channels


def agreed(name: str, value: Any, own: Any, kind: str) -> Any:
    """Return a setting that may be said twice, by an argument and by a data set, but not differently."""
    if value is not None and own is not None and value != own:
        raise ValueError(f"{name} is {own!r} in the {kind}, got {value!r}: say it once")
    return own if value is None else value


def clip_recipe(
    features: Any,
    classes: Sequence[str],
    *,
    streams: Streams | None = None,
    clip_seconds: float | None = None,
    flow_method: str | None = None,
) -> Recipe:
    """Make the recipe of a model that is trained on clips.

    Args:
        features: A `Dataset` or `ClipDataset`, which know what they hold; or clips (N, T, H, W, C), images
            (N, H, W, C), which are clips of one frame, or joints (N, T, K, 2 or 3).
        classes: Names of the classes.
        streams: What an array holds. By default, uint8 of 3 channels is "rgb" and of 1 channel "gray"; joints
            in floats are "pose".
        clip_seconds: How long the clips are; what a data set knows, or 4 seconds, by default.
        flow_method: How the flow was computed.

    Raises:
        ValueError: If it cannot be told what the clips hold, or the arguments contradict the data set.
    """
    if isinstance(features, Dataset | ClipDataset):
        kind = type(features).__name__
        streams = agreed("streams", streams, features.streams, kind)
        flow_method = agreed("flow_method", flow_method, features.flow_method, kind)
    if isinstance(features, ClipDataset):
        clip_seconds = agreed("clip_seconds", clip_seconds, features.clip_seconds, kind)
        clip_seconds = features.median_seconds() if clip_seconds is None else clip_seconds
    elif isinstance(features, Dataset):
        clip_seconds = features.clip_seconds if clip_seconds is None else clip_seconds
        features = features.features
    streams = _streams(features) if streams is None else streams
    return Recipe(
        tuple(classes),
        **_sizes(features.shape, streams),
        clip_seconds=DEFAULT_CLIP_SECONDS if clip_seconds is None else clip_seconds,
        streams=streams,
        flow_method=flow_method or "dis",
        normalize=streams == "rgb" and _is_normalized(features),
    )


def _streams(features: Any) -> Streams:
    """Tell what an array of clips holds, where that can be told."""
    shape, dtype = tuple(features.shape), features.dtype
    if dtype == np.uint8 and len(shape) in (4, 5) and shape[-1] in (1, 3):
        return "rgb" if shape[-1] == 3 else "gray"
    if np.issubdtype(dtype, np.floating) and len(shape) == 4 and shape[-1] in (2, 3):
        return "pose"
    raise ValueError(
        "streams must say what the clips hold: 'rgb', 'gray', 'flow' (moves to the right and down, in turn), "
        f"'rgb+flow' or 'pose' (joints); it cannot be told of {dtype} {shape}"
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
    if isinstance(features, ClipDataset) or not np.issubdtype(features.dtype, np.floating):
        return False
    return float(np.max(features[:16])) <= 1
