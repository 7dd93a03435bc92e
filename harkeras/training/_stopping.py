"""The inside of `train`: early stopping whose state, and the model's, survive an interruption."""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from harkeras.base.configs import plain_config
from harkeras.base.files import content_digest, written_whole
from harkeras.data.batches import Batches, ClipDataset
from harkeras.training.scoring import LabeledClips


class Stopper(keras.callbacks.EarlyStopping):
    """Early stopping that sets order and learning rate of each epoch, and keeps its state in a file."""

    def __init__(
        self,
        monitor: str,
        patience: int,
        batches: Batches,
        path: str | os.PathLike | None,
        settings: dict,
        others: Sequence[keras.callbacks.Callback],
    ):
        super().__init__(monitor, mode="min", patience=patience, restore_best_weights=True)
        self.batches, self.settings, self.others = batches, settings, others
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
                settings, logs = state["settings"], state["logs"]
                resumed = {key: state[key] for key in ("best", "best_epoch", "wait")}
                resumed["best_weights"] = _read_arrays(file, "best.npz")
                variables = _read_arrays(file, "last.npz")
        except Exception as error:  # it may be any file, and zipfile and numpy have a dozen errors for damage
            raise ValueError(f"resume must name a file that train() wrote, got {self.path}") from error
        self._check(settings)
        for variable, value in zip(_variables(model), variables, strict=True):
            variable.assign(value)
        self.logs, self._resumed = logs, resumed
        self.best_weights, self.best_epoch = resumed["best_weights"], resumed["best_epoch"]

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
        if self._resumed:
            self._resumed = {}
            self._replay()

    def _replay(self) -> None:
        """Show the epochs before the interruption to Keras's plateaus, which keep no state in a file."""
        *earlier, last = enumerate(self.logs)
        for each in self.others:
            if isinstance(each, keras.callbacks.ReduceLROnPlateau):
                rate = float(self.model.optimizer.learning_rate)  # what came of all but the last epoch
                for epoch, logs in earlier:
                    each.on_epoch_end(epoch, dict(logs))
                self.model.optimizer.learning_rate = rate
                each.on_epoch_end(last[0], dict(last[1]))

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        for name in ("loss", self.monitor):
            if not math.isfinite(logs[name]):
                self._give_up(epoch, f"{name} is {logs[name]}")
                return
        self.logs.append({key: float(value) for key, value in logs.items()})
        super().on_epoch_end(epoch, logs)
        if self.path is not None and self.batches.share.is_first:
            self._write()

    def _give_up(self, epoch: int, reason: str) -> None:
        if self.best_weights is None:
            raise RuntimeError(f"{reason} in the first epoch: try a smaller learning rate")
        self.model.stop_training = True  # with the best weights, and the state of the epoch before
        warnings.warn(
            f"training ended because {reason} in epoch {epoch + 1}: try a smaller learning rate; the model "
            f"has the weights of epoch {self.best_epoch + 1}",
            stacklevel=2,
        )

    def _write(self) -> None:
        state = {"settings": self.settings, "logs": self.logs}
        state |= {"best": float(self.best), "best_epoch": self.best_epoch, "wait": self.wait}
        with written_whole(self.path) as partial, zipfile.ZipFile(partial, "w") as file:
            file.writestr("state.json", json.dumps(state))
            _write_arrays(file, "best.npz", self.best_weights)
            _write_arrays(file, "last.npz", [np.asarray(variable) for variable in _variables(self.model)])

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


def settings_of(
    model: keras.Model, clips: LabeledClips, validation: np.ndarray, batches: Batches, patience: int
) -> dict[str, Any]:
    """Return what must be the same for a training to go on, as JSON can hold it.

    Raises:
        ValueError: If the augmentation does not say what it was made of.
    """
    presentation = batches.presentation
    optimizer = {key: value for key, value in model.optimizer.get_config().items() if key != "name"}
    facts = {"optimizer": optimizer, "loss": model.loss, "augment": presentation.augment}
    return {
        "classes": list(clips.classes),
        "clips": [list(clips.features.shape), _digest_of_clips(clips.features)],
        "labels and validation clips": _digest(clips.labels, validation),
        "model": [list(weight.shape) for weight in model.weights],
        "batch_size": batches.batch_size,
        "patience": patience,
        "seed": batches.seed,
        "sampling": presentation.sampling,
        "mixup": presentation.mixup,
        "joins": presentation.joins,
        "class_weight": None if batches.weights is None else batches.weights.tolist(),
        **{name: plain_config(name, value) for name, value in facts.items()},
    }


def _digest(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"|".join(array.astype(np.int64).tobytes() for array in arrays)).hexdigest()


def _digest_of_clips(features) -> str:
    """Tell clips from others by all that is in them, read a few at a time."""
    digest = hashlib.sha256()
    if isinstance(features, ClipDataset):
        digest.update(repr([features.clip_format, features.clip_seconds]).encode())
        for path in features.video_paths:
            digest.update(content_digest(path).encode() if path.is_file() else b"missing")
    else:
        digest.update(str(features.dtype).encode())
        for start in range(0, features.shape[0], 64):
            digest.update(np.ascontiguousarray(features[start : start + 64]))
    return digest.hexdigest()
