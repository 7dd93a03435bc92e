"""What a model says of labeled clips, as it is: where evaluation and calibration begin."""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from typing import NamedTuple

import keras
import numpy as np

from harkeras.base.workers import in_order
from harkeras.data.batches import ClipDataset
from harkeras.data.datasets import Dataset
from harkeras.models.saving import check_clips
from harkeras.video.reading import VideoError

_TOLERANCE = 0.02  # of sums of probabilities in half precision


class LabeledClips(NamedTuple):
    """What a model is scored on: the model that is asked, clips, int (N,) labels, and classes.

    The clips are (N, T, H, W, C), or what is indexed like them, or a `ClipDataset`; or the features of their
    frames (N, T, F), where only the head of a model is asked.
    """

    model: keras.Model
    features: np.ndarray | ClipDataset
    labels: np.ndarray
    classes: tuple[str, ...]


def unpack_clips(model: keras.Model, dataset: Dataset | ClipDataset) -> LabeledClips:
    """Return what a model is asked about a data set.

    Raises:
        ValueError: If it is no data set; if neither it nor the model's recipe names the classes, or it has
            those of the model in another order; if there is no clip, or clips, labels, classes and model do
            not fit together.
    """
    if not isinstance(dataset, Dataset | ClipDataset):
        raise ValueError(
            f"dataset must be a Dataset or a ClipDataset, got {type(dataset).__name__}; arrays become one by "
            "Dataset(features, labels, classes=[...])"
        )
    recipe, classes = getattr(model, "recipe", None), dataset.classes
    if not classes:
        if recipe is None:
            raise ValueError("classes is missing: neither the data set nor a recipe of the model names them")
        classes = recipe.classes
    if recipe is not None and classes != recipe.classes and set(classes) == set(recipe.classes):
        raise ValueError(f"classes must be in the model's order, {list(recipe.classes)}, got {list(classes)}")
    asked, features = dataset.for_model(model)
    return LabeledClips(asked, features, check_clips(asked, features, dataset.labels, classes), classes)


def raw_probabilities(
    model: keras.Model, features: np.ndarray | ClipDataset, *, batch_size: int = 16
) -> tuple[np.ndarray, np.ndarray]:
    """Return what a model says by itself, without the temperature of its recipe.

    Args:
        model: The model.
        features: Clips (N, T, H, W, C), read batch by batch; or a `ClipDataset`, whose clips are decoded
            ahead, in parallel, and go through the model in batches, whichever videos they are of.
        batch_size: Clips per step.

    Returns:
        The rows of the N clips that were scored, all but the videos that cannot be read; and float32 (N, K,
        classes), for each of the K clips per video of a `ClipDataset`; else K is 1.

    Raises:
        ValueError: If the model's outputs are no probabilities.
        VideoError: If no video of a `ClipDataset` can be read, or, where it is strict, if any cannot.
    """
    if isinstance(features, ClipDataset):
        return _of_videos(model, features, batch_size)
    starts = range(0, features.shape[0], batch_size)
    batches = (np.asarray(features[i : i + batch_size]) for i in starts)
    probabilities = np.concatenate([_ask(model, clips) for clips in batches])
    return np.arange(len(probabilities)), probabilities[:, None]


def _of_videos(model: keras.Model, videos: ClipDataset, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    shape = len(videos.labels), len(videos.places), model.output_shape[-1]
    probabilities = np.full(shape, np.nan, np.float32)
    wanted = [(row, number) for row in range(shape[0]) for number in range(shape[1])]
    clips = in_order(lambda key: videos.try_to_read(key[0], videos.places[key[1]]), wanted, videos.threads)
    with closing(clips):
        readable = ((key, clip) for key, clip in zip(wanted, clips, strict=True) if clip is not None)
        while batch := list(islice(readable, batch_size)):
            keys, pixels = zip(*batch, strict=True)
            probabilities[tuple(np.transpose(keys))] = _ask(model, np.stack(pixels))
    rows = np.array([row for row in range(shape[0]) if row not in videos.unreadable], int)
    if not len(rows):
        raise VideoError(f"no video can be read, the first of {shape[0]}: {videos.unreadable[0]}")
    return rows, probabilities[rows]


def prepare_clips(model: keras.Model, clips: np.ndarray) -> np.ndarray:
    """Turn clips as they are read into what the model's recipe says that it expects.

    Frames of files are uint8, 0-255; clips of floats are taken to be scaled as the model wants them.
    """
    recipe = getattr(model, "recipe", None)
    if recipe is None:
        return clips
    if recipe.normalize and np.issubdtype(clips.dtype, np.integer):
        clips = clips.astype(np.float32) / 255
    return clips[..., ::-1] if recipe.channel_order == "bgr" else clips


def _ask(model: keras.Model, clips: np.ndarray) -> np.ndarray:
    """Return probabilities float32 (B, classes) of clips (B, T, H, W, C)."""
    probabilities = np.asarray(model.predict_on_batch(prepare_clips(model, clips)), np.float32)
    if probabilities.ndim != 2:
        raise ValueError(f"model must give one answer per clip, (B, classes), got {probabilities.shape}")
    sums = probabilities.sum(axis=1)
    if not (probabilities.min() > -_TOLERANCE and np.abs(sums - 1).max() < _TOLERANCE):  # NaN is neither
        raise ValueError(
            f"model must answer with probabilities that add up to 1, got {probabilities.min():.3g} to "
            f"{probabilities.max():.3g}, with sums of {sums.min():.3g} to {sums.max():.3g}; behind "
            "logits, put a softmax: keras.Model(model.input, keras.layers.Softmax()(model.output))"
        )
    return probabilities
