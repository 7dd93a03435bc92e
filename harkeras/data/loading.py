"""A folder of labeled clips -> a data set that a model can train on.

The layout is the one of UCF and Kinetics: one folder per class, the clips inside, at any depth.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from joblib import cpu_count
from tqdm.auto import tqdm

from harkeras.base.text import list_lines
from harkeras.base.workers import in_order
from harkeras.data._clip_cache import through_cache
from harkeras.data.datasets import Dataset
from harkeras.data.folders import ClipFolder, read_folder
from harkeras.recipe import ClipFormat, FlowMethod, Streams
from harkeras.video.reading import VideoError, read_clip

# Part of the fingerprint of a cache: raised when the same clip and settings would give other pixels.
_PIXELS_VERSION = 1


def create_dataset(
    data_dir: str | os.PathLike,
    classes: Sequence[str] | None = None,
    *,
    frames: int = 20,
    height: int = 64,
    width: int = 64,
    streams: Streams = "rgb",
    flow_fields: int = 10,
    flow_method: FlowMethod = "dis",
    workers: int | None = None,
    group_by: str | int | Callable[[Path], str] | None = None,
    cache: str | os.PathLike | None = None,
    strict: bool = False,
) -> Dataset:
    """Read all clips of a folder of classes into one array.

    Args:
        data_dir: Folder with one folder of clips per class.
        classes: Classes to take, in the order of the labels; all, sorted, by default.
        frames: Frames T per clip, spread evenly over it.
        height: Height of a frame in pixels.
        width: Width of a frame in pixels.
        streams: "rgb" for the frames, "gray" for them without color, "flow" for their optical flow,
            "rgb+flow" for both, see `harkeras.video.flow_extraction`.
        flow_fields: Fields of flow L per frame; without meaning for "rgb".
        flow_method: "dis", "farneback", or "tvl1", which needs opencv-contrib-python; without meaning for
            "rgb".
        workers: Threads that decode; one per core that this process may use by default.
        group_by: What names the source of a clip, see `find_sources`: a regular expression, a level, or a
            function; names and folders are read by default.
        cache: A `.npy` file to keep the array in, memory-mapped: for an array larger than the memory, or to
            have it at once the next time. It grows clip by clip, hidden beside the name, and goes on after an
            interruption where it stopped, or at the first clip that has changed. Of a whole one, clips that
            are new or changed are read and the others taken over; with other settings it is made anew.
        strict: Raise on the first clip that cannot be read, instead of leaving it out with a warning.

    Returns:
        `Dataset`, which unpacks as features, labels, video_paths: uint8 (N, T, H, W, C), int64 (N,), N paths.
        C is 3 (RGB), 1 (gray), 2L (flow) or 3 + 2L (both, RGB first).

    Raises:
        FileNotFoundError: If there is no such folder, or none for one of the classes.
        ValueError: If a number is below 1, `streams` or `flow_method` names nothing known, there are no class
            folders, one holds no video that can be read, a class is named twice, `group_by` does not fit, or
            `cache` is no `.npy` file, or one that this function did not write.
        MemoryError: If the array is larger than the machine's memory and `cache` is not given.
        ImportError: If OpenCV has no TV-L1.
        VideoError: With `strict`, if a clip cannot be read.
        OSError: If the cache cannot be written, for instance on a full disk; an older one then remains.
    """
    clip_format = ClipFormat(frames, height, width, streams, flow_fields, flow_method)
    folder = read_folder(data_dir, classes, group_by=group_by)
    return load_folder(folder, clip_format, workers=workers, cache=cache, strict=strict)


def load_folder(
    folder: ClipFolder,
    clip_format: ClipFormat,
    *,
    workers: int | None = None,
    cache: str | os.PathLike | None = None,
    strict: bool = False,
    every_class: bool = True,
) -> Dataset:
    """Read the clips that `read_folder` listed, or some of them; see `create_dataset`.

    With `every_class`, a class of which nothing can be read is a ValueError.
    """
    workers = cpu_count() if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    videos, labels = folder.video_paths, folder.labels
    reader = _Reader(folder, clip_format, workers, strict)
    features = reader.read_into_memory() if cache is None else reader.read_through(Path(cache))
    if every_class:
        reader.check_classes()
    if not len(reader.kept):
        raise ValueError(
            f"none of {len(videos)} clips can be read, the first: {next(iter(reader.skipped.values()))}"
        )
    if reader.skipped:
        headline = f"{len(reader.skipped)} of {len(videos)} clips were left out"
        warnings.warn(list_lines(headline, reader.skipped.values()), stacklevel=3)
    kept = np.array(reader.kept)
    return Dataset(
        features,
        labels[kept],
        [videos[row] for row in kept],
        classes=folder.classes,
        sources=folder.sources[kept],
        streams=clip_format.streams,
        flow_method=clip_format.flow_method,
    )


class _Reader:
    """Reads clips on all cores and hands them on in order, leaving out those that cannot be read."""

    def __init__(self, folder: ClipFolder, clip_format: ClipFormat, workers: int, strict: bool):
        self.folder, self.videos, self.labels = folder, folder.video_paths, folder.labels
        self.format, self.shape = clip_format, (len(self.videos), *clip_format.shape)
        self.workers, self.strict = workers, strict
        self.skipped: dict[int, str] = {}  # rows of `videos`, and why

    @property
    def kept(self) -> list[int]:
        """The rows of `videos` that were not left out."""
        return [row for row in range(len(self.videos)) if row not in self.skipped]

    def read_into_memory(self) -> np.ndarray:
        """Return all clips as one array: uint8 (N, T, H, W, C)."""
        _check_memory(self.shape)
        features, count = np.empty(self.shape, np.uint8), 0
        for row, clip in enumerate(self.read(range(len(self.videos)))):
            if isinstance(clip, str):
                self.skipped[row] = clip
            else:
                features[count] = clip
                count += 1
        return features[:count]

    def read_through(self, cache: Path) -> np.ndarray:
        """Return all clips as an array that is mapped from a file: uint8 (N, T, H, W, C)."""
        if cache.suffix != ".npy":
            raise ValueError(f"cache must name a .npy file, got {cache}")
        settings = [_PIXELS_VERSION, self.shape[1:], *[self.format.flow_method] * (self.shape[-1] != 3)]
        if self.format.interpolation != "area":
            settings.append(self.format.interpolation)
        features, self.skipped = through_cache(
            cache,
            settings,
            self.videos,
            Path(self.folder.data_dir),
            self.shape[1:],
            self.read,
            strict=self.strict,
        )
        return features

    def read(self, rows: Sequence[int]) -> Iterator[np.ndarray | str]:
        """Yield the clip (T, H, W, C) of each of some rows, or why there is none.

        Raises:
            VideoError: If a clip cannot be read and the reader is strict.
        """
        if not len(rows):
            return
        name = f"Reading clips into {_in_bytes((len(rows), *self.shape[1:]))}"
        with closing(in_order(self._read_clip, [self.videos[row] for row in rows], self.workers)) as clips:
            yield from tqdm(clips, name, len(rows), unit="clip")

    def check_classes(self) -> None:
        """Raise ValueError if nothing is left of a class."""
        left = set(self.labels[self.kept].tolist())
        for label, name in enumerate(self.folder.classes):
            if label not in left:
                rows = np.flatnonzero(self.labels == label)
                raise ValueError(
                    f"the class {name!r} has no clip that can be read, the first of {len(rows)}: "
                    f"{self.skipped[rows[0]]}"
                )

    def _read_clip(self, path: Path) -> np.ndarray | str:
        """Return a clip (T, H, W, C), or why there is none."""
        try:
            return read_clip(path, self.format)
        except (VideoError, OSError) as error:
            if self.strict:
                raise
            return str(error)


def _check_memory(shape: tuple[int, ...]) -> None:
    if not hasattr(os, "sysconf"):
        return  # Windows does not say
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if math.prod(shape) > machine:
        raise MemoryError(
            f"{shape[0]} clips of {shape[1]} x {shape[2]} x {shape[3]} need {_in_bytes(shape)} and this "
            f"machine has {_in_bytes((machine,))}; pass cache='features.npy' to keep them on disk"
        )


def _in_bytes(shape: tuple[int, ...]) -> str:
    """Say how large a uint8 array is."""
    count = math.prod(shape)
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
