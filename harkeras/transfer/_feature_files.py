"""The features of clips, a small file for each, and how a worker adds those that are missing."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import keras
import numpy as np

from harkeras.base.array_files import ArrayFiles
from harkeras.base.storage import Folder
from harkeras.models.compiled import compile_call
from harkeras.people.clips import read_clip
from harkeras.recipe import ClipFormat
from harkeras.video.reading import VideoError

_loading = threading.Lock()


@dataclass(frozen=True)
class FeatureTask:
    """Computes the features of a clip on a worker, which loads the encoder once, from beside the features.

    Attributes:
        files: Where they are kept.
        encoder: Name of the encoder's file beside them.
        clip_format: What the encoder is shown.
        strict: Whether a clip that cannot be read is an error.
    """

    files: ArrayFiles
    encoder: str
    clip_format: ClipFormat
    strict: bool

    @classmethod
    def prepare(
        cls, files: ArrayFiles, encoder: keras.Model, digest: str, clip_format: ClipFormat, strict: bool
    ) -> FeatureTask:
        """Put the encoder where workers find it."""
        name = f"encoder-{digest[:40]}.keras"
        if files.folder.read(name) is None:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder, name)
                encoder.save(file)
                files.folder.write(name, file.read_bytes())
        return cls(files, name, clip_format, strict)

    def __call__(self, path: Path) -> np.ndarray | str:
        """Return the features (T, F), or why there are none."""
        name, result = read_features_or_clip(path, self.files, self.clip_format, self.strict)
        if isinstance(result, str) or result.ndim == 2:
            return result
        with _loading:
            encode = _load_encoder(self.files.folder.place, self.encoder)
        features = encode(result)
        self.files.write(name, features)
        return features


def read_features_or_clip(
    path: Path, files: ArrayFiles, clip_format: ClipFormat, strict: bool
) -> tuple[str | None, np.ndarray | str]:
    """Return the name of a clip's file, and its features (T, F), the clip, or why there is neither."""
    name = files.name(path)
    kept = files.read(name)
    if kept is not None:
        return name, kept
    try:
        return name, read_clip(path, clip_format)
    except (VideoError, OSError) as error:
        if strict:
            raise
        return name, str(error)


def compile_encoder(encoder: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function of frames uint8 (T, H, W, C) that gives their features float32 (T, F)."""
    return compile_call(encoder, keras.KerasTensor((None, *encoder.input_shape[1:]), "uint8"))


@lru_cache(maxsize=1)
def _load_encoder(place: str, name: str) -> Callable[[np.ndarray], np.ndarray]:
    """Load an encoder, which then stays with the worker."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, name)
        file.write_bytes(Folder(place).read(name))
        encoder = keras.saving.load_model(os.fspath(file))
    return compile_encoder(encoder)
