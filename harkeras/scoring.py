"""What a model says of labeled clips, as it is: where evaluation and calibration begin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np

from harkeras.batches import ClipDataset
from harkeras.datasets import Dataset
from harkeras.saving import check_clips


class LabeledClips(NamedTuple):
    """Clips that a model can be scored on: (N, T, H, W, C) or a `ClipDataset`, int (N,) labels, classes."""

    features: np.ndarray | ClipDataset
    labels: np.ndarray
    classes: tuple[str, ...]


def unpack_clips(
    model: keras.Model,
    features: np.ndarray | Dataset | ClipDataset,
    labels: np.ndarray | None = None,
    classes: Sequence[str] | None = None,
) -> LabeledClips:
    """Return clips, labels and classes of arrays or of a data set, which brings its labels.

    Args:
        model: The model that is asked.
        features: Clips (N, T, H, W, C), or what is indexed like them; a `Dataset`; or a `ClipDataset`.
        labels: int (N,), the classes of clips that are no data set.
        classes: Names of the classes; those of the model's recipe or of the data set by default.

    Raises:
        ValueError: If labels are missing, or come beside a data set; if nobody names the classes, or a data
            set has those of the model in another order; if there is no clip, or clips, labels, classes and
            model do not fit together.
    """
    recipe = getattr(model, "recipe", None)
    if isinstance(features, Dataset | ClipDataset):
        if labels is not None:
            raise ValueError("labels must not come beside a data set, which has its own")
        labels = features.labels
    elif labels is None:
        raise ValueError("labels is missing: the classes of the clips, int (N,)")
    if isinstance(features, Dataset):
        features, classes = features.features, features.classes if classes is None else classes
    if classes is None:
        if recipe is None:
            raise ValueError("classes is missing: the model has no recipe that names them")
        classes = recipe.classes
    classes = tuple(classes)
    if recipe is not None and classes != recipe.classes and set(classes) == set(recipe.classes):
        raise ValueError(f"classes must be in the model's order, {list(recipe.classes)}, got {list(classes)}")
    return LabeledClips(features, check_clips(model, features, labels, classes), classes)


def raw_probabilities(
    model: keras.Model, features: np.ndarray | ClipDataset, *, batch_size: int = 16
) -> np.ndarray:
    """Return what a model says by itself, without the temperature of its recipe.

    Args:
        model: The model.
        features: Clips (N, T, H, W, C), read batch by batch; or a `ClipDataset`, read video by video.
        batch_size: Clips per step; without meaning for a `ClipDataset`.

    Returns:
        float32 (N, K, classes), for each of the K clips per video of a `ClipDataset`; else K is 1.
    """
    if isinstance(features, ClipDataset):
        clips = (features.read_all(row) for row in range(len(features.labels)))
        return np.stack([np.asarray(model.predict_on_batch(each)) for each in clips])
    starts = range(0, features.shape[0], batch_size)
    batches = (np.asarray(features[i : i + batch_size]) for i in starts)
    return np.concatenate([np.asarray(model.predict_on_batch(clips)) for clips in batches])[:, None]
