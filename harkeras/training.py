"""Training with early stopping on clips of unseen sources, that can be interrupted and resumed."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import keras
import numpy as np
from tqdm.keras import TqdmCallback

from harkeras._stopping import Stopper
from harkeras.batches import Augmentation, Batches, ClipDataset, Sampling, class_weights
from harkeras.flow import FlowMethod
from harkeras.recipe import DEFAULT_CLIP_SECONDS, Recipe, read_channels
from harkeras.saving import check_clips
from harkeras.schedules import Schedule, step_schedule
from harkeras.splits import split_at_random, split_rows_by_group

Loss = Literal["cross_entropy", "focal"]


def train(
    model: keras.Model,
    features: np.ndarray | ClipDataset,
    labels: np.ndarray | None = None,
    *,
    classes: Sequence[str],
    groups: np.ndarray | None = None,
    clip_seconds: float = DEFAULT_CLIP_SECONDS,
    flow_method: FlowMethod = "dis",
    epochs: int = 50,
    batch_size: int = 4,
    patience: int = 10,
    validation_split: float = 0.2,
    learning_rate: float | Schedule | None = None,
    optimizer: keras.optimizers.Optimizer | None = None,
    loss: Loss = "cross_entropy",
    label_smoothing: float = 0.0,
    class_weight: dict[int, float] | Literal["balanced"] | None = None,
    sampling: Sampling = "natural",
    mixup: float = 0.0,
    augment: Augmentation | None = None,
    seed: int = 27,
    resume: str | os.PathLike | None = None,
    verbose: bool = True,
) -> keras.callbacks.History:
    """Train a model until its validation loss stops falling, and keep the best weights.

    A model that is not compiled, or is given an optimizer, is compiled with it and the loss. Ctrl-C ends the
    training, not the program: the model then has the best weights so far, and a recipe, and can be evaluated
    and saved.

    The seed covers the validation rows, the order of clips and all that is drawn for them. For the same
    result in every run, also call `keras.utils.set_random_seed` before building the model: it draws the
    weights and the dropout.

    Args:
        model: The model; it is changed in place, and gets the attribute `recipe`.
        features: Clips (N, T, H, W, C), as `create_dataset` gives them, also memory-mapped; images (N, H, W,
            3); or a `ClipDataset`, which brings its labels, flow method and length of clips.
        labels: int (N,), their classes.
        classes: Names of the classes, for the recipe.
        groups: (N,), the source of each clip, so that validation clips come from unseen sources; a random
            choice without.
        clip_seconds: Median duration of the clips, for the recipe: the window to see in a long video.
        flow_method: How the flow in the clips was computed, for the recipe.
        epochs: Number of passes over the clips, at most.
        batch_size: Clips per step.
        patience: Epochs without a better validation loss after which to stop.
        validation_split: Share of the clips to validate on; with 0, the training loss decides.
        learning_rate: Learning rate of the optimizer, or a schedule of `harkeras.schedules`; 0.001 by
            default, or what the model was compiled with.
        optimizer: A Keras optimizer; Adam by default, or what the model was compiled with. One that has
            trained another model starts anew, with the same settings.
        loss: "focal" (Lin et al., ICCV 2017, gamma 2) counts clips that are named right by far for little,
            which helps rare classes where the common ones are easy.
        label_smoothing: Share of each label that is spread over all classes, in [0, 1); 0.1 is common.
        class_weight: Weight of each class in the loss, in training and validation; "balanced" takes those of
            `class_weights`.
        sampling: "balanced" shows every class equally often, the clips of rare ones again and again.
        mixup: Mix clips and their labels in pairs, by weights from Beta(mixup, mixup) (Zhang et al., ICLR
            2018); 0.2 is common, 0 is none.
        augment: Function that changes training clips at random, see `harkeras.augment`.
        seed: Seed of all that is drawn here.
        resume: File that keeps the state of the training after each epoch. If it exists, training goes on
            from there, to the same result as without the interruption; when training ends by itself, it is
            removed. Of the settings, only `epochs` may differ.
        verbose: Whether to show a progress bar.

    Returns:
        `keras.callbacks.History`, resumed epochs included.

    Raises:
        ValueError: If clips, labels, classes and model do not fit together, a number is out of its range, a
            compiled model meets another loss or mixup, or `resume` is of another training.
        RuntimeError: If the loss is not a number in the first epoch; later, training ends with a warning and
            the best weights.
        OSError: If the state cannot be written, for instance on a full disk; the one before remains.
    """
    if isinstance(features, ClipDataset):
        labels, flow_method = features.labels, features.flow_method
        clip_seconds = features.clip_seconds or clip_seconds
    labels = check_clips(model, features, labels, classes)
    if groups is not None and len(groups) != len(labels):
        raise ValueError(f"groups must be as many as clips, got {len(groups)} and {len(labels)}")
    for name, value in (("epochs", epochs), ("batch_size", batch_size), ("patience", patience)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    recipe = _recipe(classes, features.shape, clip_seconds, flow_method)
    training, validation = _validation_rows(labels, groups, validation_split, seed)
    if sampling not in ("natural", "balanced"):
        raise ValueError(f"sampling must be 'natural' or 'balanced', got {sampling!r}")
    if class_weight == "balanced":
        class_weight = class_weights(labels[training], len(classes))
    if class_weight is not None and class_weight.keys() != set(range(len(classes))):
        raise ValueError(f"class_weight must have the keys 0 to {len(classes) - 1}, got {class_weight}")
    schedule = step_schedule(learning_rate, ()) if isinstance(learning_rate, float | int) else learning_rate
    soft = _compile(model, optimizer, loss, label_smoothing, mixup)
    if schedule is not None:
        model.optimizer.learning_rate = schedule(0, [])
    targets = np.eye(len(classes), dtype=np.float32)[labels] if soft else labels
    drawn = {"seed": seed, "sampling": sampling, "mixup": mixup, "augment": augment}
    batches = Batches(features, targets, training, batch_size, **drawn, weights=class_weight)
    settings = {
        "classes": list(classes),
        "clips": list(features.shape),
        "labels and validation clips": _digest(labels, validation),
        "model": [list(weight.shape) for weight in model.weights],
        "optimizer": {key: value for key, value in model.optimizer.get_config().items() if key != "name"},
        "batch_size": batch_size,
        "patience": patience,
        "seed": seed,
        "loss": [
            loss,
            label_smoothing,
            sampling,
            mixup,
            augment is not None,
            list((class_weight or {}).values()),
        ],
    }
    monitor = "val_loss" if len(validation) else "loss"
    stopper = Stopper(monitor, patience, batches, schedule, resume, settings)
    stopper.resume(model)
    held_out = (
        Batches(features, targets, validation, batch_size, weights=class_weight) if len(validation) else None
    )
    try:
        model.fit(
            batches,
            validation_data=held_out,
            epochs=stopper.last_epoch(epochs),
            initial_epoch=len(stopper.logs),
            shuffle=False,  # Batches has shuffled; Keras would draw from Python's global random numbers
            callbacks=[stopper, *([TqdmCallback(epochs, verbose=0)] if verbose else [])],
            verbose=0,
        )
    except KeyboardInterrupt:
        kept = "the unfinished first epoch"
        if stopper.best_weights is not None:
            model.set_weights(stopper.best_weights)
            kept = f"epoch {stopper.best_epoch + 1} of {len(stopper.logs)}"
        warnings.warn(f"training was interrupted; the model has the weights of {kept}", stacklevel=2)
    else:
        if resume is not None:
            Path(resume).unlink(missing_ok=True)
    model.recipe = recipe
    return stopper.history(model)


def _recipe(
    classes: Sequence[str], shape: Sequence[int], clip_seconds: float, flow_method: FlowMethod
) -> Recipe:
    """Make the recipe for clips (N, T, H, W, C) or images (N, H, W, C), which are clips of one frame."""
    *frames, height, width, channels = shape[1:]
    facts = (*(frames or [1]), height, width, clip_seconds)
    streams, flow_fields = read_channels(channels)
    return Recipe(tuple(classes), *facts, streams=streams, flow_fields=flow_fields, flow_method=flow_method)


def _compile(model: keras.Model, optimizer, loss: Loss, label_smoothing: float, mixup: float) -> bool:
    """Compile the model if need be, and return whether its loss takes float labels (B, classes)."""
    if loss not in ("cross_entropy", "focal"):
        raise ValueError(f"loss must be 'cross_entropy' or 'focal', got {loss!r}")
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must lie in 0 to 1, 1 excluded, got {label_smoothing}")
    if mixup < 0:
        raise ValueError(f"mixup must not be negative, got {mixup}")
    soft = bool(loss == "focal" or label_smoothing or mixup)
    if model.compiled and optimizer is None:
        if soft:
            raise ValueError(
                "loss, label_smoothing and mixup need a model that is not compiled, or an optimizer: it has "
                "a loss already"
            )
        return False
    if optimizer is not None and optimizer.built:
        optimizer = type(optimizer).from_config(optimizer.get_config())
    losses = keras.losses
    if loss == "focal":
        function = losses.CategoricalFocalCrossentropy(alpha=1.0, label_smoothing=label_smoothing)
    elif soft:
        function = losses.CategoricalCrossentropy(label_smoothing=label_smoothing)
    else:
        function = "sparse_categorical_crossentropy"
    model.compile(optimizer or keras.optimizers.Adam(), loss=function, metrics=["accuracy"])
    return soft


def _validation_rows(labels, groups, validation_split: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    if validation_split == 0:
        return np.arange(len(labels)), np.arange(0)
    if not 0 < validation_split < 1:
        raise ValueError(f"validation_split must be 0 or lie between 0 and 1, got {validation_split}")
    if groups is None:
        return split_at_random(labels, labels, test_size=validation_split, seed=seed)
    return split_rows_by_group(labels, np.asarray(groups), test_size=validation_split, seed=seed)


def _digest(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"|".join(array.astype(np.int64).tobytes() for array in arrays)).hexdigest()
