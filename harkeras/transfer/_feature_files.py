"""The features of clips, a small file for each, and how a worker adds those that are missing.

A file gets its name when it is whole: an interruption costs the clip at work, no more. The name is a digest
of the content of the clip, the settings and the weights.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import threading
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import keras
import numpy as np

from harkeras.base.files import content_digest
from harkeras.base.storage import Folder
from harkeras.models.compiled import compile_call
from harkeras.people.clips import read_clip
from harkeras.recipe import ClipFormat
from harkeras.video.reading import VideoError

_CHECKSUM_BYTES = 4
_loading = threading.Lock()


@dataclass(frozen=True)
class FeatureFiles:
    """Where features float32 (T, F) are kept, if anywhere.

    Attributes:
        folder: The folder.
        facts: What decides about the features beside the clip, as JSON knows it.
        shape: Of the features of a clip.
    """

    folder: Folder | None
    facts: list
    shape: tuple[int, int]

    def name(self, path: Path) -> str | None:
        """Return the name of the file of a clip; None where nothing is kept, or the clip cannot be read."""
        if self.folder is None:
            return None
        try:
            digest = content_digest(path)
        except OSError:  # whoever reads the clip will say so
            return None
        key = json.dumps([path.suffix, digest, *self.facts])
        return f"{hashlib.sha256(key.encode()).hexdigest()[:40]}.npy"

    def read(self, name: str | None) -> np.ndarray | None:
        """Return what is kept."""
        content = None if name is None else self.folder.read(name)
        if content is None:
            return None
        array, checksum = content[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:]
        if zlib.crc32(array).to_bytes(_CHECKSUM_BYTES, "big") != checksum:
            file = self.folder.path(name)
            warnings.warn(f"{file} is damaged, its features are computed anew", stacklevel=2)
            return None
        kept = np.load(io.BytesIO(array))
        return kept if kept.shape == self.shape else None

    def write(self, name: str | None, features: np.ndarray) -> None:
        """Write an array with a checksum behind it, where NumPy does not look."""
        if name is None:
            return
        array = io.BytesIO()
        np.save(array, features)
        checksum = zlib.crc32(array.getbuffer()).to_bytes(_CHECKSUM_BYTES, "big")
        self.folder.write(name, array.getvalue() + checksum)


@dataclass(frozen=True)
class FeatureTask:
    """Computes the features of a clip on a worker, which loads the encoder once, from beside the features.

    Attributes:
        files: Where they are kept.
        encoder: Name of the encoder's file beside them.
        clip_format: What the encoder is shown.
        strict: Whether a clip that cannot be read is an error.
    """

    files: FeatureFiles
    encoder: str
    clip_format: ClipFormat
    strict: bool

    @classmethod
    def prepare(
        cls, files: FeatureFiles, encoder: keras.Model, digest: str, clip_format: ClipFormat, strict: bool
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
            encode = _load_encoder(self.files.folder.place, self.encoder, self.clip_format.shape)
        features = encode(result)
        self.files.write(name, features)
        return features


def read_features_or_clip(
    path: Path, files: FeatureFiles, clip_format: ClipFormat, strict: bool
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


def compile_encoder(encoder: keras.Model, shape: tuple[int, ...]) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function of a clip uint8 (T, H, W, C) that gives its features float32 (T, F)."""
    return compile_call(encoder, keras.KerasTensor(shape, "uint8"))


@lru_cache(maxsize=1)
def _load_encoder(place: str, name: str, shape: tuple[int, ...]) -> Callable[[np.ndarray], np.ndarray]:
    """Load an encoder, which then stays with the worker."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, name)
        file.write_bytes(Folder(place).read(name))
        encoder = keras.saving.load_model(os.fspath(file))
    return compile_encoder(encoder, shape)
