"""Training with early stopping on clips of unseen sources, that can be interrupted and resumed."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from numbers import Integral, Real
from typing import Any

import keras
import numpy as np
from tqdm.keras import TqdmCallback

from harkeras.base.files import check_target
from harkeras.data.batches import Batches, ClipDataset
from harkeras.data.datasets import Dataset
from harkeras.data.sharing import Share
from harkeras.data.splits import check_seed, split_at_random, split_rows_by_group
from harkeras.recipe import Recipe
from harkeras.training._clip_recipe import clip_recipe
from harkeras.training._stopping import Stopper, settings_of
from harkeras.training.distribution import agree, find_share, on_all_devices
from harkeras.training.scoring import LabeledClips, unpack_clips

BATCH_SIZE = 4  # clips per step, where nobody says


def train(
    model: keras.Model,
    dataset: Dataset | ClipDataset,
    *,
    epochs: int = 50,
    batch_size: int | None = None,
    patience: int = 10,
    validation_split: float = 0.2,
    optimizer: keras.optimizers.Optimizer | None = None,
    loss: keras.losses.Loss | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    seed: int | None = None,
    resume: str | os.PathLike | None = None,
    distribute: bool = False,
    verbose: bool = True,
) -> keras.callbacks.History:
    """Train a model until its validation loss stops falling, and keep the best weights.

    `Dataset.for_training` says how clips are shown: augmentation, mixup, sampling, weights of classes. The
    model is compiled anew in each call. If training is cut short, by Ctrl-C or an error, the model has the
    best weights so far and a recipe, or, in the first epoch, the weights from before; then the error goes on
    to the caller.

    The seed covers the validation rows, the order of clips and all that is drawn for them. For the same
    result in every run on a machine, also call `keras.utils.set_random_seed` before building the model: it
    draws the weights and the dropout. With another number of cores TensorFlow adds in another order, and the
    weights differ.

    Args:
        model: The model; it is changed in place, and gets the attribute `recipe`.
        dataset: The clips, their labels and all that is known of them, from `create_dataset`; of arrays,
            `Dataset(features, labels, classes=["Run", "Walk"])`. Where their sources are known, validation
            clips come from sources that are not trained on.
        epochs: Number of passes over the clips, at most.
        batch_size: Clips per step; that of a `ClipDataset`, or 4, by default.
        patience: Epochs without a better validation loss after which to stop.
        validation_split: Share of the clips to validate on; with 0, the training loss decides.
        optimizer: A Keras optimizer, whose learning rate may be one of `keras.optimizers.schedules`. By
            default one of the kind and settings that the model was compiled with, or Adam at 0.001. It starts
            anew, whatever it has trained before.
        loss: A loss of Keras for probabilities, cross entropy by default. `CategoricalFocalCrossentropy` (Lin
            et al., ICCV 2017) counts clips that are named right by far for little, which helps rare classes;
            `CategoricalCrossentropy(label_smoothing=0.1)` spreads a tenth of each label over all classes.
        callbacks: Keras's, such as `TensorBoard`, `CSVLogger` or `ReduceLROnPlateau`, called after those of
            this function.
        seed: Seed of all that is drawn here; that of a `ClipDataset`, or 27, by default.
        resume: File that keeps the state of the training after each epoch. If it exists, training goes on
            from there, to the same result as without the interruption. It stays when training has ended, when
            the same call returns the same result at once: remove it when the model is saved. Clips and
            settings must be the same, but for `epochs` and the number of devices.
        distribute: Whether all devices compute a part of each batch, see `harkeras.training.distribution`:
            the GPUs of this host, and on JAX those of all processes that were joined before by
            `keras.distribution.initialize()`, each of which makes this very call. The first one shows the
            progress and writes `resume`, which all must see; `callbacks` are called in every process.
        verbose: Whether to show a progress bar.

    Returns:
        `keras.callbacks.History`, resumed epochs included; after an interruption, it is `model.history`.

    Raises:
        ValueError: If data set and model do not fit together, a number is out of its range, `batch_size` or
            `seed` is not that of the `ClipDataset`, or `resume` is of another training, or of an augmentation
            that does not say what it was made of; with `distribute`, if there are more devices than clips per
            step, the loss is no mean over clips, or the processes do not fit together.
        RuntimeError: If the loss is not a number in the first epoch; later, training ends with a warning and
            the best weights.
        VideoError: If a `ClipDataset` cannot go on.
        OSError: If the state cannot be written, for instance on a full disk; the one before remains.
    """
    batch_size, seed = _batch_size_and_seed(dataset, batch_size, seed)
    chosen = {"epochs": epochs, "batch_size": batch_size, "patience": patience, "seed": seed, "loss": loss}
    chosen |= {"validation_split": validation_split, "optimizer": optimizer, "callbacks": callbacks}
    check_options(chosen | {"distribute": distribute})
    share = find_share() if distribute else Share()
    if batch_size < share.devices:
        raise ValueError(f"batch_size must be at least the {share.devices} devices, got {batch_size}")
    if share.devices > 1 and loss is not None and loss.reduction != "sum_over_batch_size":
        raise ValueError(f"loss must have the reduction sum_over_batch_size, got {loss.reduction!r}")
    clips = unpack_clips(model, dataset)
    recipe = clip_recipe(dataset, clips.classes, getattr(model, "recipe", None))
    if dataset.presentation.joins and recipe.frames < 3:
        raise ValueError(f"joins must be 0 for clips of fewer than 3 frames, got clips of {recipe.frames}")
    training, validation = _validation_rows(dataset, validation_split, seed)
    with on_all_devices(model, share) if distribute else nullcontext(model) as network:
        # Of several devices, what fills up a batch has no weight, in the loss and in the accuracy.
        accuracy = {"metrics" if share.devices == 1 else "weighted_metrics": ["accuracy"]}
        network.compile(_optimizer(model, optimizer, network is not model), _loss(loss, dataset), **accuracy)
        batches, held_out = _batches(
            clips, dataset, training, validation, batch_size, seed, network.loss, share
        )
        settings = {}
        if resume is not None:
            check_target(resume, "resume")
            settings = settings_of(network, clips, validation, batches, patience)
        stopper = Stopper("val_loss" if held_out else "loss", patience, batches, resume, settings, callbacks)
        bar = [TqdmCallback(epochs, verbose=0)] if verbose and share.is_first else []
        _fit(network, stopper, held_out, epochs, [stopper, *bar, *callbacks], recipe)
        return network.history


def check_options(options: dict[str, Any]) -> None:
    """Raise ValueError for those of `train`'s arguments that can be judged without clips or a model."""
    known = inspect.signature(train).parameters
    unknown = sorted(options.keys() - known.keys())
    if unknown:
        raise ValueError(f"options of train must be among {', '.join(known)}, got {', '.join(unknown)}")
    values = {name: options.get(name, each.default) for name, each in known.items()}
    for name in ("epochs", "batch_size", "patience"):
        value = values[name]
        if not (isinstance(value, Integral) and value >= 1) and (value is not None or name != "batch_size"):
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
    share = values["validation_split"]
    if not (isinstance(share, Real) and 0 <= share < 1):
        raise ValueError(f"validation_split must be 0 or lie between 0 and 1, got {share!r}")
    for name, kind in (("optimizer", keras.optimizers.Optimizer), ("loss", keras.losses.Loss)):
        if not isinstance(values[name], kind | None):
            raise ValueError(f"{name} must be a Keras {name}, an object, got {values[name]!r}")
    callbacks = values["callbacks"]
    if not isinstance(callbacks, Sequence) or not all(
        isinstance(each, keras.callbacks.Callback) for each in callbacks
    ):
        raise ValueError(f"callbacks must be a sequence of Keras callbacks, got {callbacks!r}")
    if not isinstance(values["distribute"], bool):
        raise ValueError(f"distribute must be True or False, got {values['distribute']!r}")
    if values["seed"] is not None:
        check_seed(values["seed"])


def _batch_size_and_seed(dataset, batch_size: int | None, seed: int | None) -> tuple[int, int]:
    """Return what the call, a `ClipDataset` or neither says of both."""
    default = BATCH_SIZE
    if isinstance(dataset, ClipDataset):
        batch_size = _agreed("batch_size", batch_size, dataset.asked_batch_size)
        seed = _agreed("seed", seed, dataset.seed)
        default = dataset.batch_size
    return default if batch_size is None else batch_size, 27 if seed is None else seed


def _agreed(name: str, value: int | None, own: int | None) -> int | None:
    """Return a setting that may be said twice, by an argument and by a data set, but not differently."""
    if value is not None and own is not None and value != own:
        raise ValueError(f"{name} is {own!r} in the ClipDataset, got {value!r}: say it once")
    return own if value is None else value


def _optimizer(model: keras.Model, optimizer: keras.optimizers.Optimizer | None, on_devices: bool):
    """Return an optimizer that starts anew; of several devices, all of it must be made on them."""
    if optimizer is None:
        optimizer = model.optimizer if model.compiled else keras.optimizers.Adam()
    return type(optimizer).from_config(optimizer.get_config()) if optimizer.built or on_devices else optimizer


def _loss(loss: keras.losses.Loss | None, dataset: Dataset | ClipDataset) -> keras.losses.Loss:
    """Return the loss, by default one that takes what the labels are."""
    if loss is not None:
        return loss
    if dataset.presentation.mixup:
        return keras.losses.CategoricalCrossentropy()
    return keras.losses.SparseCategoricalCrossentropy()


def _batches(
    clips: LabeledClips,
    dataset: Dataset | ClipDataset,
    training: np.ndarray,
    validation: np.ndarray,
    batch_size: int,
    seed: int,
    loss: keras.losses.Loss,
    share: Share,
) -> tuple[Batches, Batches | None]:
    """Return batches to train on and to validate on, with labels as the loss takes them."""
    labels, num_classes = clips.labels, len(clips.classes)
    weights = dataset.presentation.weigh(labels[training], num_classes)
    if not isinstance(loss, keras.losses.SparseCategoricalCrossentropy):
        labels = np.eye(num_classes, dtype=np.float32)[labels]  # (N, classes)
    batches = Batches(
        clips.features,
        labels,
        training,
        batch_size,
        seed=seed,
        presentation=dataset.presentation,
        weights=weights,
        groups=dataset.sources.groups,
        share=share,
    )
    if not len(validation):
        return batches, None
    return batches, Batches(clips.features, labels, validation, batch_size, weights=weights, share=share)


def _fit(model: keras.Model, stopper: Stopper, held_out, epochs: int, callbacks, recipe: Recipe) -> None:
    """Let Keras train; whatever happens, the best weights so far, or those from before, are in place."""
    before = model.get_weights()
    try:
        stopper.resume(model)
        agree(stopper.batches.share, [len(stopper.logs)], "resume must name a file of the same epochs")
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


def _validation_rows(
    dataset: Dataset | ClipDataset, validation_split: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    labels, sources = np.asarray(dataset.labels), dataset.sources
    if validation_split == 0:
        return np.arange(len(labels)), np.arange(0)
    if sources.known.any():
        return split_rows_by_group(labels, sources.groups, test_size=validation_split, seed=seed)
    return split_at_random(labels, labels, test_size=validation_split, seed=seed)
