"""Training with early stopping on clips of unseen sources, that can be interrupted and resumed."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from tqdm.keras import TqdmCallback

from harkeras.recipe import Recipe
from harkeras.saving import check_classes
from harkeras.splits import split_at_random, split_rows_by_group

# How long training clips are taken to be where nobody says; those of UCF are mostly of 3 to 7 seconds.
DEFAULT_CLIP_SECONDS = 4.0


def train(
    model: keras.Model,
    features: np.ndarray,
    labels: np.ndarray,
    *,
    classes: Sequence[str],
    groups: np.ndarray | None = None,
    clip_seconds: float = DEFAULT_CLIP_SECONDS,
    epochs: int = 50,
    batch_size: int = 4,
    patience: int = 10,
    validation_split: float = 0.2,
    learning_rate: float = 1e-3,
    seed: int = 27,
    resume: str | os.PathLike | None = None,
    verbose: bool = True,
) -> keras.callbacks.History:
    """Train a model until its validation loss stops falling, and keep the best weights.

    A model that is not compiled is compiled with Adam and cross entropy. Ctrl-C ends the training, not the
    program: the model then has the best weights so far, and a recipe, and can be evaluated and saved.

    The seed covers the validation rows and the order of clips. For the same result in every run, also call
    `keras.utils.set_random_seed` before building the model: it draws the weights and the dropout.

    Args:
        model: The model; it is changed in place, and gets the attribute `recipe`.
        features: Clips (N, T, H, W, 3), RGB 0-255, also memory-mapped.
        labels: int (N,), their classes.
        classes: Names of the classes, for the recipe.
        groups: (N,), the source of each clip, so that validation clips come from unseen sources; a random
            choice without.
        clip_seconds: Median duration of the clips, for the recipe: the window to see in a long video.
        epochs: Number of passes over the clips, at most.
        batch_size: Clips per step.
        patience: Epochs without a better validation loss after which to stop.
        validation_split: Share of the clips to validate on; with 0, the training loss decides.
        learning_rate: Learning rate of Adam; ignored if the model is compiled already.
        seed: Seed of the validation rows and of the order of clips.
        resume: File that keeps the state of the training after each epoch. If it exists, training goes on
            from there, to the same result as without the interruption; when training ends by itself, it is
            removed.
        verbose: Whether to show a progress bar.

    Returns:
        `keras.callbacks.History`, resumed epochs included.

    Raises:
        ValueError: If shapes, labels, classes and model do not fit together, or `resume` is of another
            training.
    """
    features, labels = _check(model, features, labels, classes, groups)
    if not model.compiled:
        adam = keras.optimizers.Adam(learning_rate)
        model.compile(adam, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    training, validation = _validation_rows(labels, groups, validation_split, seed)
    batches = _Batches(features, labels, training, batch_size, seed)
    stopper = _Stopper("val_loss" if len(validation) else "loss", patience, resume)
    stopper.setup(model, batches, facts=[len(labels), batch_size, seed, list(classes)])
    try:
        model.fit(
            batches,
            validation_data=_Batches(features, labels, validation, batch_size) if len(validation) else None,
            epochs=epochs,
            initial_epoch=len(stopper.logs),
            callbacks=[stopper, *([TqdmCallback(epochs, verbose=0)] if verbose else [])],
            verbose=0,
        )
    except KeyboardInterrupt:
        if stopper.best_weights is not None:
            model.set_weights(stopper.best_weights)
        kept = f"epoch {stopper.best_epoch + 1} of {len(stopper.logs)}" if stopper.logs else "the start"
        warnings.warn(f"training was interrupted; the model has the weights of {kept}", stacklevel=2)
    else:
        if resume is not None:
            Path(resume).unlink(missing_ok=True)
    _, frames, height, width, _ = features.shape
    model.recipe = Recipe(tuple(classes), frames, height, width, clip_seconds)
    return stopper.history(model)


def _check(model, features, labels, classes, groups) -> tuple[np.ndarray, np.ndarray]:
    labels = np.asarray(labels)
    if model.input_shape[1:] != features.shape[1:]:
        raise ValueError(f"features must be clips {model.input_shape[1:]}, got {features.shape[1:]}")
    check_classes(model, classes)
    if labels.shape != (len(features),) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be {len(features)} integers, got {labels.dtype} {labels.shape}")
    if labels.min() < 0 or labels.max() >= len(classes):
        raise ValueError(f"labels must lie in 0 to {len(classes) - 1}, got {labels.min()} to {labels.max()}")
    if groups is not None and len(groups) != len(labels):
        raise ValueError(f"groups must be as many as clips, got {len(groups)} and {len(labels)}")
    return features, labels


def _validation_rows(labels, groups, validation_split: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    if validation_split == 0:
        return np.arange(len(labels)), np.arange(0)
    if not 0 < validation_split < 1:
        raise ValueError(f"validation_split must be 0 or lie between 0 and 1, got {validation_split}")
    if groups is None:
        return split_at_random(labels, labels, test_size=validation_split, seed=seed)
    return split_rows_by_group(labels, np.asarray(groups), test_size=validation_split, seed=seed)


class _Batches(keras.utils.PyDataset):
    """Batches of some rows of an array, which stays where it is; in a new order each epoch with a seed."""

    def __init__(self, features, labels, rows, batch_size: int, seed: int | None = None):
        super().__init__()
        self.features, self.labels, self.rows = features, labels, rows
        self.batch_size, self.seed = batch_size, seed
        self.start(0)

    def start(self, epoch: int) -> None:
        """Draw the order of an epoch from the seed and its number: a resumed training sees the same."""
        self.epoch, self.order = epoch, self.rows
        if self.seed is not None:
            self.order = np.random.default_rng([self.seed, epoch]).permutation(self.rows)

    def on_epoch_end(self) -> None:
        self.start(self.epoch + 1)

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        return self.features[rows], self.labels[rows]


class _Stopper(keras.callbacks.EarlyStopping):
    """Early stopping that writes its state and the model's to a file after each epoch, and reads it back."""

    def __init__(self, monitor: str, patience: int, path: str | os.PathLike | None):
        super().__init__(monitor, mode="min", patience=patience, restore_best_weights=True)
        self.path = None if path is None else Path(path)
        self.logs: list[dict[str, float]] = []
        self._state: dict = {}

    def setup(self, model: keras.Model, batches: _Batches, facts: list) -> None:
        """Take model and order of clips back to where the file left them, if there is one."""
        self.facts = facts
        if self.path is None or not self.path.is_file():
            return
        if not zipfile.is_zipfile(self.path):
            raise ValueError(f"resume must name a file that train() wrote, got {self.path}")
        with zipfile.ZipFile(self.path) as file, tempfile.TemporaryDirectory() as folder:
            state = json.loads(file.read("state.json"))
            if state["facts"] != facts:
                raise ValueError(
                    f"{self.path} is the state of another training: {state['facts']}, not {facts}"
                )
            file.extractall(folder)
            model.optimizer.build(model.trainable_variables)
            model.load_weights(Path(folder) / "best.weights.h5")
            best_weights = model.get_weights()
            model.load_weights(Path(folder) / "last.weights.h5")
        self.logs = state["logs"]
        self._state = {key: state[key] for key in ("best", "best_epoch", "wait")} | {
            "best_weights": best_weights
        }
        batches.start(len(self.logs))

    def on_train_begin(self, logs=None) -> None:
        super().on_train_begin(logs)
        vars(self).update(self._state)

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        self.logs.append({key: float(value) for key, value in logs.items()})
        super().on_epoch_end(epoch, logs)
        if self.path is not None:
            self._write()

    def _write(self) -> None:
        state = {"facts": self.facts, "logs": self.logs}
        state |= {"best": float(self.best), "best_epoch": self.best_epoch, "wait": self.wait}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.path.parent, prefix=".training") as folder:
            folder = Path(folder)
            last = self.model.get_weights()
            self.model.save_weights(folder / "last.weights.h5")
            self.model.set_weights(self.best_weights)
            self.model.save_weights(folder / "best.weights.h5")
            self.model.set_weights(last)
            with zipfile.ZipFile(folder / "state", "w") as file:
                file.writestr("state.json", json.dumps(state))
                for name in ("last.weights.h5", "best.weights.h5"):
                    file.write(folder / name, name)
            (folder / "state").replace(self.path)

    def history(self, model: keras.Model) -> keras.callbacks.History:
        """Return all epochs as Keras does, those before a resumption included."""
        history = keras.callbacks.History()
        history.set_model(model)
        history.on_train_begin()
        for epoch, logs in enumerate(self.logs):
            history.on_epoch_end(epoch, logs)
        return history
