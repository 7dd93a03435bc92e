"""What a frozen backbone says of a recording, at some frames per second, computed once and kept.

Windows of any length are looked up in them, so that neither a longer window nor another label decodes a
recording again.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import keras
import numpy as np

from harkeras.base.files import content_digest, written_whole
from harkeras.base.keras_state import seeded
from harkeras.base.workers import one_ahead
from harkeras.transfer.features import choose_backbone, frame_encoder
from harkeras.video.frame_times import ROUNDING_SECONDS
from harkeras.video.reading import VideoInfo, frames_extraction

# Frames per second that are looked at: eight in the usual window of two seconds, as `auto` takes them.
FRAME_RATE = 4.0
_SIDE = 128  # shorter side of a frame in pixels
_STEP = 32  # backbones halve their maps five times
_CHUNK = 240  # frames in a file: an interruption costs a minute of a recording, no more
_BATCH = 16
_FEATURES_VERSION = 2

# uint8 images (B, H, W, 3) -> features (B, F).
Encode = Callable[[np.ndarray], np.ndarray]


def choose_encoder(
    infos: list[VideoInfo], backbone: str | None, weights: str | None, seed: int
) -> dict[str, Any]:
    """Say what will look at the recordings of a project, as plain values.

    Args:
        infos: Some of the recordings; most have the shape of the frames that it will be shown.
        backbone: One of `harkeras.models.list_backbones()`; None for the one that `choose_backbone` finds.
        weights: As in `harkeras.transfer.features.frame_encoder`.
        seed: Of random weights.
    """
    shape = float(np.median([info.width / info.height for info in infos] or [1.0]))
    longer = max(round(_SIDE * min(max(shape, 1 / shape), 2.0) / _STEP) * _STEP, _SIDE)
    height, width = (_SIDE, longer) if shape >= 1 else (longer, _SIDE)
    name = choose_backbone(backbone, weights).name
    chosen = {"name": name, "weights": weights, "height": height, "width": width}
    return chosen if weights else chosen | {"seed": seed}


def build_encoder(backbone: dict[str, Any]) -> keras.Model:
    """Build what `choose_encoder` chose: frames (B, H, W, 3), 0-255 -> features (B, F)."""
    shape = (backbone["height"], backbone["width"], 3)
    with seeded(backbone.get("seed", 0)):
        return frame_encoder(backbone["name"], shape, weights=backbone["weights"])


def count_frames(seconds: float) -> int:
    """Return how many frames of a recording are looked at: in the middle of each part, at least one."""
    return max(int(np.ceil(seconds * FRAME_RATE - 0.5 - ROUNDING_SECONDS)), 1)


class FrameFeatures:
    """The features of the recordings of a project, in files of a minute each.

    Args:
        folder: Where the files are.
        backbone: What `choose_encoder` chose.
    """

    def __init__(self, folder: Path, backbone: dict[str, Any]):
        """Look at a folder; it is made when something is kept."""
        self.folder, self.backbone = folder, backbone

    def is_complete(self, video: Path, seconds: float) -> bool:
        """Tell whether all features of a recording are there."""
        return all(file.is_file() for file, _ in self._chunks(video, seconds))

    def read(self, video: Path, seconds: float) -> np.ndarray:
        """Return the features of a recording: float16 (frames, F).

        A file that was damaged is removed, so that it is computed again.

        Raises:
            FileNotFoundError: If some are missing or were damaged.
        """
        parts = []
        for file, _ in self._chunks(video, seconds):
            try:
                with np.load(file) as archive:
                    parts.append(archive["features"])
            except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                file.unlink(missing_ok=True)
                raise FileNotFoundError(f"{file} was damaged and must be computed again") from error
        return np.concatenate(parts)

    def compute(self, video: Path, seconds: float, encode: Encode, on_frames: Callable[[int], None]) -> None:
        """Compute what is missing of a recording.

        Args:
            video: The recording.
            seconds: How long it is.
            encode: What `harkeras.transfer.features.compile_encoder` made.
            on_frames: Told of each batch how many frames it was.

        Raises:
            VideoError: If it cannot be decoded.
            OSError: If it cannot be read, or the files not be written.
        """
        missing = [chunk for chunk in self._chunks(video, seconds) if not chunk[0].is_file()]
        on_frames(count_frames(seconds) - sum(len(frames) for _, frames in missing))
        minutes = ((file, self._images(video, frames, seconds)) for file, frames in missing)
        with closing(one_ahead(minutes)) as read:
            for file, images in read:
                features = []
                for first in range(0, len(images), _BATCH):
                    features.append(encode(images[first : first + _BATCH]))
                    on_frames(len(features[-1]))
                content = io.BytesIO()
                np.savez(content, features=np.concatenate(features).astype(np.float16))
                with written_whole(file) as partial:
                    partial.write_bytes(content.getbuffer())

    def _chunks(self, video: Path, seconds: float) -> Iterator[tuple[Path, range]]:
        """Yield the file of each minute, and which frames of the recording it holds."""
        facts = [_FEATURES_VERSION, FRAME_RATE, self.backbone, content_digest(video)]
        key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
        count = count_frames(seconds)
        for number, start in enumerate(range(0, count, _CHUNK)):
            yield self.folder / key / f"{number:05d}.npz", range(start, min(start + _CHUNK, count))

    def _images(self, video: Path, frames: range, seconds: float) -> np.ndarray:
        """Return uint8 (N, H, W, 3), the frames on screen in the middles of the parts of a minute.

        Where the last part would end behind the recording, by an eighth of a second at most, all parts of
        that minute are shorter by their share of it.
        """
        size = self.backbone["height"], self.backbone["width"]
        start, end = frames.start / FRAME_RATE, min(frames.stop / FRAME_RATE, seconds)
        return frames_extraction(video, len(frames), *size, start_seconds=start, end_seconds=end)
