"""The candidate that `harkeras.transfer.auto` has chosen, fitted to clips."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from harkeras.recipe import Recipe, read_channels
from harkeras.transfer._trials import Trial
from harkeras.transfer._views import side_by_side
from harkeras.transfer.feature_dataset import FeatureDataset
from harkeras.transfer.features import PARTS, keep_parts, part_sizes
from harkeras.transfer.heads import average_heads, create_head, fit_head, join


def fit_model(chosen: Trial, dataset: FeatureDataset, seed: int) -> keras.Model:
    """Fit the chosen heads to all clips, and put them on an encoder that gives what they look at."""
    encoders, places, width = [], {}, 0
    for given in dict.fromkeys(chosen.inputs):
        looks_at = [parts for each, parts in zip(chosen.inputs, chosen.parts, strict=True) if each == given]
        used = [part for part in PARTS if any(part in parts for parts in looks_at)]
        encoders.append(keep_parts(dataset.features.encoders[given], used))
        for part, size in part_sizes(encoders[-1]).items():
            places[given, part] = slice(width, width + size)
            width += size
    # A copy: whoever tunes the model must not change the table.
    encoder = side_by_side(encoders, chosen.input.subject.split("+"))
    encoder.trainable = False
    slices = [
        [places[given, part] for part in parts]
        for given, parts in zip(chosen.inputs, chosen.parts, strict=True)
    ]
    model = join(encoder, average_heads(_fit_heads(chosen, dataset, seed), slices, width))
    streams, flow_fields = read_channels(encoder.input_shape[-1])
    model.recipe = Recipe(
        dataset.classes,
        *chosen.input[:3],
        dataset.clip_seconds,
        streams=streams,
        flow_fields=flow_fields,
        subject=chosen.input.subject,
    )
    return model


def _fit_heads(chosen: Trial, dataset: FeatureDataset, seed: int) -> list[keras.Model]:
    """Fit the heads of a trial to all clips of a data set."""
    heads, looks_at = [], zip(chosen.inputs, chosen.parts, strict=True)
    for name, each, strength in zip(chosen.heads, looks_at, chosen.strengths, strict=True):
        values = dataset.features.pick(*each)
        head = create_head(name, len(dataset.classes), values.shape[1:])
        heads.append(fit_head(head, values, dataset.labels, strength=strength or 1.0, seed=seed))
    return heads


def learn_and_predict(
    chosen: Trial, dataset: FeatureDataset, seed: int, rows: np.ndarray, others: np.ndarray
) -> np.ndarray:
    """Fit the heads of a trial to some rows; return what they say of others, float (M, classes)."""
    heads, tested = _fit_heads(chosen, dataset[rows], seed), dataset[others].features
    return np.mean(
        [
            ops.convert_to_numpy(head(tested.pick(*each), training=False))
            for head, *each in zip(heads, chosen.inputs, chosen.parts, strict=True)
        ],
        axis=0,
    )
