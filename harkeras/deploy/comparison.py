"""What an exported model says of the same clips, and how fast, beside Keras."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from harkeras.inference.exported import ExportedModel
from harkeras.inference.resolve import ResolvedModel
from harkeras.inference.streaming import ActionStream

_REPETITIONS = 5
_SERVED = (
    "\nAny host of static files serves it (a camera needs https), and for a look here: "
    'python -m http.server --bind 127.0.0.1 --directory "{}" 8000, then http://localhost:8000'
)


class Export(NamedTuple):
    """What was written, and how it compares with Keras on the same clips.

    Attributes:
        path: The file, or the folder of two files or of a SavedModel.
        format: "onnx", "litert", "saved_model" or "web".
        precision: Of its weights.
        size_bytes: Size of all files.
        clips: How many clips were shown to both.
        largest_difference: Between two probabilities of the same class and clip.
        same_labels: Share of the clips to which both give the same label.
        milliseconds: For a clip, median, one clip at a time.
        keras_milliseconds: The same, of the compiled Keras model.
    """

    path: Path
    format: str
    precision: str
    size_bytes: int
    clips: int
    largest_difference: float
    same_labels: float
    milliseconds: float
    keras_milliseconds: float

    def __str__(self) -> str:
        """Say it in two lines, and how to serve a page in a third."""
        served = "" if self.format != "web" else _SERVED.format(self.path)
        return (
            f"{self.path}: {self.format}, {self.precision}, {self.size_bytes / 1e6:.2f} MB\n"
            f"on {self.clips} clips: probabilities differ by {self.largest_difference:.1e} at most, "
            f"{self.same_labels:.0%} get the same label; {self.milliseconds:.1f} ms a clip, compiled Keras "
            f"{self.keras_milliseconds:.1f}{served}"
        )


def compare_with_keras(
    path: Path, format: str, precision: str, resolved: ResolvedModel, clips: np.ndarray
) -> Export:
    """Run an exported model and its original on the same clips.

    Args:
        path: What was written.
        format: Its format.
        precision: Its precision.
        resolved: The Keras model and its recipe.
        clips: uint8 (N, T, H, W, C), or float32 (N, T, K, D).
    """
    model = ExportedModel(path)
    shown = clips[:, 0] if model.takes_images else clips
    exported, original = ActionStream(model, model.recipe), ActionStream(resolved.model, resolved.recipe)
    got = np.concatenate([exported.classify(clip[None]) for clip in shown])
    wanted = np.concatenate([original.classify(clip[None]) for clip in shown])
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return Export(
        path,
        format,
        precision,
        sum(file.stat().st_size for file in files),
        len(clips),
        float(np.abs(got - wanted).max()),
        float(np.mean(got.argmax(axis=1) == wanted.argmax(axis=1))),
        _median_milliseconds(lambda: exported.classify(shown[:1])),
        _median_milliseconds(lambda: original.classify(shown[:1])),
    )


def _median_milliseconds(call: Callable[[], object]) -> float:
    seconds = []
    for _ in range(_REPETITIONS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return 1000 * median(seconds)
