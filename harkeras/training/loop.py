"""Training with early stopping on clips of unseen sources, that can be interrupted and resumed."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras
import numpy as np
from tqdm.keras import TqdmCallback

from harkeras.base.files import check_target
from harkeras.data.batches import Augmentation, Batches, ClipDataset, Sampling, class_weights
from harkeras.data.datasets import Dataset
from harkeras.data.splits import split_at_random, split_rows_by_group
from harkeras.recipe import Recipe, Streams
from harkeras.training._clip_recipe import agreed, clip_recipe
from harkeras.training._options import check_values
from harkeras.training._stopping import Stopper, settings_of
from harkeras.training.schedules import Logs
from harkeras.training.scoring import unpack_clips
from harkeras.video.flow import FlowMethod

Loss = Literal["cross_entropy", "focal"]
LearningRate = float | Callable[[int, Logs], float] | keras.optimizers.schedules.LearningRateSchedule


def train(
    model: keras.Model,
    features: np.ndarray | Dataset | ClipDataset,
    labels: np.ndarray | None = None,
    *,
    classes: Sequence[str] | None = None,
    groups: np.ndarray | None = None,
    streams: Streams | None = None,
    clip_seconds: float | None = None,
    flow_method: FlowMethod | None = None,
    epochs: int = 50,
    batch_size: int | None = None,
    patience: int = 10,
    validation_split: float = 0.2,
    learning_rate: LearningRate | None = None,
    optimizer: keras.optimizers.Optimizer | None = None,
    loss: Loss = "cross_entropy",
    label_smoothing: float = 0.0,
    class_weight: dict[int, float] | Literal["balanced"] | None = None,
    sampling: Sampling = "natural",
    mixup: float = 0.0,
    augment: Augmentation | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    seed: int | None = None,
    resume: str | os.PathLike | None = None,
    verbose: bool = True,
) -> keras.callbacks.History:
    """Train a model until its validation loss stops falling, and keep the best weights.

    The model is compiled with the loss that is asked for here; whoever has a loss of his own compiles and
    calls `fit`. If training is cut short, by Ctrl-C or an error, the model has the best weights so far and a
    recipe, or, in the first epoch, the weights from before; then the error goes on to the caller.

    The seed covers the validation rows, the order of clips and all that is drawn for them. For the same
    result in every run on a machine, also call `keras.utils.set_random_seed` before building the model: it
    draws the weights and the dropout. With another number of cores TensorFlow adds in another order, and the
    weights differ.

    Args:
        model: The model; it is changed in place, and gets the attribute `recipe`.
        features: A `Dataset`, which brings all that is known of its clips; clips (N, T, H, W, C) in an array,
            also a memory-mapped one; images (N, H, W, C); joints (N, T, K, 2 or 3); or a `ClipDataset`, which
            brings its labels.
        labels: int (N,), the classes of an array.
        classes: Names of the classes, for the recipe; those of a `Dataset`, or of the recipe that the model
            has already, by default.
        groups: (N,), the source of each clip, so that validation clips come from unseen sources; those of a
            `Dataset`, if there are two, or else a random choice, by default.
        streams: What the clips of an array hold, for the recipe: "rgb", "gray", "flow", "rgb+flow" or "pose".
            Without it, uint8 of 3 channels is RGB, of 1 channel gray; floats (N, T, K, 2 or 3) are joints.
        clip_seconds: Median duration of the clips, for the recipe: the window to see in a long video. What a
            data set knows, or 4, by default.
        flow_method: How the flow in an array was computed, for the recipe; "dis" by default.
        epochs: Number of passes over the clips, at most.
        batch_size: Clips per step; that of a `ClipDataset`, or 4, by default.
        patience: Epochs without a better validation loss after which to stop.
        validation_split: Share of the clips to validate on; with 0, the training loss decides.
        learning_rate: Learning rate of the optimizer, a schedule of `harkeras.training.schedules`, or one of
            Keras; that of the optimizer by default.
        optimizer: A Keras optimizer. By default one of the kind and settings that the model was compiled
            with, or Adam at 0.001. It starts anew, whatever it has trained before.
        loss: "focal" (Lin et al., ICCV 2017, gamma 2) counts clips that are named right by far for little,
            which helps rare classes where the common ones are easy.
        label_smoothing: Share of each label that is spread over all classes, in [0, 1); 0.1 is common.
        class_weight: Weight of each class in the loss, in training and validation; "balanced" takes those of
            `class_weights`.
        sampling: "balanced" shows every class equally often, the clips of rare ones again and again.
        mixup: Mix clips and their labels in pairs, by weights from Beta(mixup, mixup) (Zhang et al., ICLR
            2018); 0.2 is common, 0 is none.
        augment: Function that changes training clips at random, see `harkeras.data.augment`.
        callbacks: Keras's, such as `keras.callbacks.CSVLogger`, called after those of this function.
        seed: Seed of all that is drawn here; that of a `ClipDataset`, or 27, by default.
        resume: File that keeps the state of the training after each epoch. If it exists, training goes on
            from there, to the same result as without the interruption. It stays when training has ended, when
            the same call returns the same result at once: remove it when the model is saved. Clips and
            settings must be the same, but for `epochs`.
        verbose: Whether to show a progress bar.

    Returns:
        `keras.callbacks.History`, resumed epochs included; after an interruption, it is `model.history`.

    Raises:
        ValueError: If clips, labels, classes and model do not fit together, a number is out of its range,
            something is said twice and differently, `resume` is of another training, or of a schedule or an
            augmentation that do not say what they were made of.
        RuntimeError: If the loss is not a number in the first epoch; later, training ends with a warning and
            the best weights.
        VideoError: If a `ClipDataset` cannot go on.
        OSError: If the state cannot be written, for instance on a full disk; the one before remains.
    """
    batch_size, seed = _batch_size_and_seed(features, batch_size, seed)
    chosen = {"epochs": epochs, "batch_size": batch_size, "patience": patience, "seed": seed, "loss": loss}
    chosen |= {"validation_split": validation_split, "label_smoothing": label_smoothing, "sampling": sampling}
    chosen |= {"learning_rate": learning_rate, "optimizer": optimizer, "class_weight": class_weight}
    chosen |= {"mixup": mixup, "augment": augment, "callbacks": callbacks}
    about = {"streams": streams, "clip_seconds": clip_seconds, "flow_method": flow_method}
    check_options(chosen | about)
    clips = unpack_clips(model, features, labels, classes)
    if groups is None and isinstance(features, Dataset) and len(np.unique(features.groups)) > 1:
        groups = features.groups
    if groups is not None and len(groups) != len(clips.labels):
        raise ValueError(f"groups must be as many as clips, got {len(groups)} and {len(clips.labels)}")
    recipe = clip_recipe(features, clips.classes, **about)
    training, validation = _validation_rows(clips.labels, groups, validation_split, seed)
    class_weight = _class_weight(class_weight, clips.labels[training], len(clips.classes))
    soft = bool(loss == "focal" or label_smoothing or mixup)
    _compile(model, _optimizer(model, optimizer, learning_rate), loss, label_smoothing, soft)
    targets = np.eye(len(clips.classes), dtype=np.float32)[clips.labels] if soft else clips.labels
    drawn = {"seed": seed, "sampling": sampling, "mixup": mixup, "augment": augment}
    batches = Batches(clips.features, targets, training, batch_size, **drawn, weights=class_weight)
    held_out = None
    if len(validation):
        held_out = Batches(clips.features, targets, validation, batch_size, weights=class_weight)
    schedule = learning_rate if _counts_epochs(learning_rate) else None
    settings = {}
    if resume is not None:
        drawn |= {"label_smoothing": label_smoothing, "class_weight": class_weight, "loss": loss}
        check_target(resume, "resume")
        settings = settings_of(model, clips, validation, drawn, schedule, batch_size, patience)
    stopper = Stopper("val_loss" if held_out else "loss", patience, batches, schedule, resume, settings)
    bar = [TqdmCallback(epochs, verbose=0)] if verbose else []
    _fit(model, stopper, held_out, epochs, [stopper, *bar, *callbacks], recipe)
    return model.history


def check_options(options: dict[str, Any]) -> None:
    """Raise ValueError for those of `train`'s arguments that can be judged without clips or a model."""
    known = inspect.signature(train).parameters
    unknown = sorted(options.keys() - known.keys())
    if unknown:
        raise ValueError(f"options of train must be among {', '.join(known)}, got {', '.join(unknown)}")
    check_values(options, {name: each.default for name, each in known.items()})


def _batch_size_and_seed(features, batch_size: int | None, seed: int | None) -> tuple[int, int]:
    """Return what the call, a `ClipDataset` or neither says of both."""
    default = 4
    if isinstance(features, ClipDataset):
        batch_size = agreed("batch_size", batch_size, features.asked_batch_size, "ClipDataset")
        seed = agreed("seed", seed, features.seed, "ClipDataset")
        default = features.batch_size
    return default if batch_size is None else batch_size, 27 if seed is None else seed


def _class_weight(class_weight, labels: np.ndarray, num_classes: int) -> dict[int, float] | None:
    if class_weight == "balanced":
        return class_weights(labels, num_classes)
    if class_weight is not None and class_weight.keys() != set(range(num_classes)):
        raise ValueError(f"class_weight must have the keys 0 to {num_classes - 1}, got {class_weight}")
    return class_weight


def _counts_epochs(learning_rate: LearningRate | None) -> bool:
    """Whether it is a function of the epoch, not a number or a schedule of Keras, which counts steps."""
    return callable(learning_rate) and not isinstance(
        learning_rate, keras.optimizers.schedules.LearningRateSchedule
    )


def _optimizer(model: keras.Model, optimizer, learning_rate: LearningRate | None):
    """Return an optimizer that starts anew, with the learning rate of the first epoch."""
    if optimizer is None:
        optimizer = model.optimizer if model.compiled else keras.optimizers.Adam()
    if optimizer.built:
        optimizer = type(optimizer).from_config(optimizer.get_config())
    if _counts_epochs(learning_rate):
        learning_rate = learning_rate(0, [])
    if learning_rate is not None:
        try:
            optimizer.learning_rate = learning_rate
        except TypeError as error:
            raise ValueError(
                f"learning_rate is a schedule in the optimizer, got {learning_rate!r}: say it once"
            ) from error
    return optimizer


def _compile(model: keras.Model, optimizer, loss: Loss, label_smoothing: float, soft: bool) -> None:
    """Compile a model, with a loss that takes labels (B, classes) in floats if `soft`, else integers (B,)."""
    if loss == "focal":
        function = keras.losses.CategoricalFocalCrossentropy(alpha=1.0, label_smoothing=label_smoothing)
    elif soft:
        function = keras.losses.CategoricalCrossentropy(label_smoothing=label_smoothing)
    else:
        function = "sparse_categorical_crossentropy"
    model.compile(optimizer, loss=function, metrics=["accuracy"])


def _fit(model: keras.Model, stopper: Stopper, held_out, epochs: int, callbacks, recipe: Recipe) -> None:
    """Let Keras train; whatever happens, the best weights so far, or those from before, are in place."""
    before = model.get_weights()
    try:
        stopper.resume(model)
        model.fit(
            stopper.batches,
            validation_data=held_out,
            epochs=stopper.last_epoch(epochs),
            initial_epoch=len(stopper.logs),
            shuffle=False,  # Batches has shuffled; Keras would draw from Python's global random numbers
            callbacks=callbacks,
            verbose=0,
        )
    except BaseException as error:
        best = stopper.best_weights
        model.set_weights(before if best is None else best)
        if best is not None:
            model.recipe = recipe
            stopper.history(model)
        if best is not None and isinstance(error, KeyboardInterrupt):
            warnings.warn(
                f"training was interrupted; the model has the weights of epoch {stopper.best_epoch + 1} of "
                f"{len(stopper.logs)}",
                stacklevel=3,
            )
        for each in callbacks:
            if isinstance(each, TqdmCallback):
                each.on_train_end()  # or the bar is drawn once more, behind the error
        cause = stopper.batches.error or (held_out and held_out.error)
        if cause and isinstance(error, Exception):
            raise cause from None
        raise
    model.recipe = recipe
    stopper.history(model)


def _validation_rows(labels, groups, validation_split: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    if validation_split == 0:
        return np.arange(len(labels)), np.arange(0)
    if groups is None:
        return split_at_random(labels, labels, test_size=validation_split, seed=seed)
    return split_rows_by_group(labels, np.asarray(groups), test_size=validation_split, seed=seed)
