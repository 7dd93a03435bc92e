"""Training with early stopping on clips of unseen sources, that can be interrupted and resumed."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from tqdm.keras import TqdmCallback

from harkeras.recipe import DEFAULT_CLIP_SECONDS, Recipe
from harkeras.saving import check_clips
from harkeras.splits import split_at_random, split_rows_by_group


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
            removed. Of the settings, only `epochs` may differ.
        verbose: Whether to show a progress bar.

    Returns:
        `keras.callbacks.History`, resumed epochs included.

    Raises:
        ValueError: If clips, labels, classes and model do not fit together, a number is out of its range, or
            `resume` is of another training.
        OSError: If the state cannot be written, for instance on a full disk; the one before remains.
    """
    labels = check_clips(model, features, labels, classes)
    if groups is not None and len(groups) != len(labels):
        raise ValueError(f"groups must be as many as clips, got {len(groups)} and {len(labels)}")
    for name, value in (("epochs", epochs), ("batch_size", batch_size), ("patience", patience)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    recipe = Recipe(tuple(classes), *features.shape[1:4], clip_seconds)
    training, validation = _validation_rows(labels, groups, validation_split, seed)
    if not model.compiled:
        adam = keras.optimizers.Adam(learning_rate)
        model.compile(adam, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    batches = _Batches(features, labels, training, batch_size, seed)
    settings = {
        "classes": list(classes),
        "clips": list(features.shape),
        "labels and validation clips": _digest(labels, validation),
        "model": [list(weight.shape) for weight in model.weights],
        "optimizer": {key: value for key, value in model.optimizer.get_config().items() if key != "name"},
        "batch_size": batch_size,
        "patience": patience,
        "seed": seed,
    }
    stopper = _Stopper("val_loss" if len(validation) else "loss", patience, batches, resume, settings)
    stopper.resume(model)
    try:
        model.fit(
            batches,
            validation_data=_Batches(features, labels, validation, batch_size) if len(validation) else None,
            epochs=stopper.last_epoch(epochs),
            initial_epoch=len(stopper.logs),
            shuffle=False,  # _Batches has shuffled; Keras would draw from Python's global random numbers
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


class _Batches(keras.utils.PyDataset):
    """Batches of some rows of an array, which stays where it is, on disk or in memory."""

    def __init__(self, features, labels, rows, batch_size: int, seed: int | None = None):
        super().__init__()
        self.features, self.labels, self.rows = features, labels, rows
        self.batch_size, self.seed = batch_size, seed
        self.order = rows

    def shuffle(self, epoch: int) -> None:
        """Draw the order of an epoch from the seed and its number: a resumed training sees the same."""
        self.order = np.random.default_rng([self.seed, epoch]).permutation(self.rows)

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        return self.features[rows], self.labels[rows]


class _Stopper(keras.callbacks.EarlyStopping):
    """Early stopping that writes its state and the model's to a file after each epoch, and reads it back."""

    def __init__(
        self, monitor: str, patience: int, batches: _Batches, path: str | os.PathLike | None, settings: dict
    ):
        super().__init__(monitor, mode="min", patience=patience, restore_best_weights=True)
        self.batches, self.settings = batches, settings
        self.path = None if path is None else Path(path)
        self.logs: list[dict[str, float]] = []
        self._resumed: dict = {}  # what on_train_begin would set anew

    def resume(self, model: keras.Model) -> None:
        """Take model and state back to where the file left them, if there is one."""
        if self.path is None or not self.path.exists():
            return
        try:
            with zipfile.ZipFile(self.path) as file:
                state = json.loads(file.read("state.json"))
                self._check(state["settings"])
                best_weights = _read_arrays(file, "best.npz")
                variables = _read_arrays(file, "last.npz")
        except (zipfile.BadZipFile, KeyError, IsADirectoryError) as error:
            raise ValueError(f"resume must name a file that train() wrote, got {self.path}") from error
        for variable, value in zip(_variables(model), variables, strict=True):
            variable.assign(value)
        self.logs = state["logs"]
        self._resumed = {key: state[key] for key in ("best", "best_epoch", "wait")}
        self._resumed["best_weights"] = best_weights

    def _check(self, settings: dict) -> None:
        differing = [name for name, value in self.settings.items() if settings.get(name) != value]
        if differing:
            raise ValueError(
                f"resume must name the state of this training; {self.path} is of one with another "
                + ", ".join(differing)
            )

    def last_epoch(self, epochs: int) -> int:
        """Return where to stop at the latest: at once, if the file was left when patience was at its end."""
        over = self._resumed.get("wait", 0) >= self.patience
        return len(self.logs) if over else epochs

    def on_train_begin(self, logs=None) -> None:
        super().on_train_begin(logs)
        vars(self).update(self._resumed)

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        self.batches.shuffle(epoch)

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        self.logs.append({key: float(value) for key, value in logs.items()})
        super().on_epoch_end(epoch, logs)
        if self.path is not None:
            self._write()

    def _write(self) -> None:
        state = {"settings": self.settings, "logs": self.logs}
        state |= {"best": float(self.best), "best_epoch": self.best_epoch, "wait": self.wait}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(f".{self.path.name}.part")  # Ctrl-C may come at any moment
        try:
            with zipfile.ZipFile(partial, "w") as file:
                file.writestr("state.json", json.dumps(state))
                _write_arrays(file, "best.npz", self.best_weights)
                _write_arrays(file, "last.npz", [variable.numpy() for variable in _variables(self.model)])
            partial.replace(self.path)
        finally:
            partial.unlink(missing_ok=True)

    def history(self, model: keras.Model) -> keras.callbacks.History:
        """Return all epochs as Keras does, those before a resumption included."""
        history = keras.callbacks.History()
        history.set_model(model)
        history.on_train_begin()
        for epoch, logs in enumerate(self.logs):
            history.on_epoch_end(epoch, logs)
        return history


def _variables(model: keras.Model) -> list[keras.Variable]:
    """Return all that training changes, also in optimizer and dropout; Keras leaves out the latter."""
    model.optimizer.build(model.trainable_variables)
    return [*model.variables, *model.optimizer.variables]


def _write_arrays(file: zipfile.ZipFile, name: str, arrays: list[np.ndarray]) -> None:
    with file.open(name, "w", force_zip64=True) as member:
        np.savez(member, *arrays)


def _read_arrays(file: zipfile.ZipFile, name: str) -> list[np.ndarray]:
    with file.open(name) as member, np.load(member) as arrays:
        return [arrays[each] for each in arrays.files]
