"""Models that left Keras, for a file (`harkeras.deploy.export_model`) or for a while (`runtime=`)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from harkeras.inference.runtimes import NEXT, SUFFIXES, Network, has_recipe, is_saved_model, load_network
from harkeras.recipe import Recipe

ENCODER, HEAD = "encoder", "head"  # the two files of a model that was cut
WHOLE = "model"  # the one file of a model that was not, in a folder with other things


class ExportedModel:
    """A model in another engine.

    Attributes:
        name: Name of the file or folder.
        recipe: What it must be shown, and what its outputs mean; what the file does by itself is neutral.
        runtime: The engine that computes it: "onnx", "litert", "saved_model" or "keras".
        splits: Whether it is two networks, one for each frame and one for what the first made of them.
        keeps_memory: Whether it takes a chunk and states, and gives probabilities and states.
        takes_images: Whether it takes single images.
    """

    def __init__(self, path: str | os.PathLike, *, threads: int | None = None):
        """Open a `.onnx` or `.tflite` file, a SavedModel, or a folder with a model or an encoder and a head.

        Args:
            path: What `export_model` wrote.
            threads: How many threads the engine uses; its own default if None.

        Raises:
            FileNotFoundError: If there is no such file, or none in the folder.
            ImportError: If the engine is not installed.
            ValueError: If a file is no exported model.
        """
        path, encoder = Path(path), None
        name = path.name
        if path.is_dir() and not is_saved_model(path):
            first, path = _find_parts(path)
            encoder = None if first is None else load_network(first, threads=threads)
        self._take(name, load_network(path, threads=threads), encoder)

    @classmethod
    def of_networks(cls, name: str, network: Network, encoder: Network | None = None) -> ExportedModel:
        """Make one of networks in memory: the whole, or what comes behind an encoder of single frames."""
        model = cls.__new__(cls)
        model._take(name, network, encoder)
        return model

    def _take(self, name: str, network: Network, encoder: Network | None) -> None:
        self.name, self._network, self._encoder = name, network, encoder
        self.recipe: Recipe = network.recipe
        self.runtime: str = network.runtime
        self.splits = encoder is not None
        self.keeps_memory = len(network.inputs) > 1
        shape = next(iter(network.inputs.values()))[0]
        self.takes_images = self.recipe.frames == 1 and not self.splits and len(shape) == 4

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Compute the features of frames (N, H, W, C), of a model that is split: float32 (N, ...)."""
        return _only(self._encoder, frames)

    def answer(self, clips: np.ndarray) -> np.ndarray:
        """Answer clips (B, T, ...), or of a model that is split, their features: float32 (B, classes)."""
        return _only(self._network, clips)

    def create_states(self, count: int) -> dict[str, np.ndarray]:
        """Make the states of streams that have seen nothing yet: name -> zeros (count, ...)."""
        states = {name: given for name, given in self._network.inputs.items() if name != "clip"}
        return {name: np.zeros((count, *shape[1:]), dtype) for name, (shape, dtype) in states.items()}

    def follow(
        self, clips: np.ndarray, states: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Show streams their next frames (B, T, H, W, C), one after the other.

        Args:
            clips: uint8.
            states: What the frames before left.

        Returns:
            Probabilities (B, classes) of the video so far, and the new states.
        """
        for i in range(clips.shape[1]):
            outputs = self._network.run({"clip": clips[:, i : i + 1], **states})
            probabilities = outputs.pop("probabilities")
            states = {name.removeprefix(NEXT): state for name, state in outputs.items()}
        return probabilities, states


def is_exported(path: str | os.PathLike) -> bool:
    """Tell from the names of files whether `ExportedModel` is meant to open a path."""
    path = Path(path)
    if not path.is_dir():
        return path.suffix in SUFFIXES
    parts = any((path / f"{name}{suffix}").is_file() for name in (HEAD, WHOLE) for suffix in SUFFIXES)
    return parts or (is_saved_model(path) and has_recipe(path))


def _only(network: Network, inputs: np.ndarray) -> np.ndarray:
    (name,) = network.inputs
    (output,) = network.run({name: inputs}).values()
    return output


def _find_parts(folder: Path) -> tuple[Path | None, Path]:
    for suffix in SUFFIXES:
        encoder, head, whole = (folder / f"{name}{suffix}" for name in (ENCODER, HEAD, WHOLE))
        if whole.is_file():
            return None, whole
        if encoder.is_file() and head.is_file():
            return encoder, head
    wanted = " or ".join(f"{ENCODER}{suffix} and {HEAD}{suffix}" for suffix in SUFFIXES)
    raise FileNotFoundError(f"{folder} must hold {wanted}")
