"""Arrays that were made of clips, a file for each.

A file gets its name when it is whole: an interruption costs the clip at work, no more. The name is a digest
of the content of the clip and of what else decides about the numbers.
"""

from __future__ import annotations

import hashlib
import io
import json
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harkeras.base.files import content_digest
from harkeras.base.storage import Folder

_CHECKSUM_BYTES = 4


@dataclass(frozen=True)
class ArrayFiles:
    """Where arrays are kept that were made of clips, if anywhere.

    Attributes:
        folder: The folder.
        facts: What decides about the numbers beside the clip, as JSON knows it.
        shape: Of the array of a clip.
        what: What its numbers are called.
    """

    folder: Folder | None
    facts: list
    shape: tuple[int, ...]
    what: str = "features"

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
            warnings.warn(f"{file} is damaged, its {self.what} are computed anew", stacklevel=2)
            return None
        kept = np.load(io.BytesIO(array))
        return kept if kept.shape == self.shape else None

    def write(self, name: str | None, array: np.ndarray) -> None:
        """Write an array with a checksum behind it, where NumPy does not look."""
        if name is None:
            return
        content = io.BytesIO()
        np.save(content, array)
        checksum = zlib.crc32(content.getbuffer()).to_bytes(_CHECKSUM_BYTES, "big")
        self.folder.write(name, content.getvalue() + checksum)
