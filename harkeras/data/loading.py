"""A folder of labeled clips -> a data set that a model can train on.

The layout is the one of UCF and Kinetics: one folder per class, the clips inside, at any depth.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from harkeras.base.array_files import ArrayFiles
from harkeras.base.storage import Folder, is_remote
from harkeras.base.text import list_lines
from harkeras.base.workers import (
    Lost,
    are_workers_configured,
    check_workers,
    in_order_on_workers,
    in_order_with_bar,
)
from harkeras.data._clip_cache import through_cache
from harkeras.data._clip_files import ClipFiles, Kept, keep_clip
from harkeras.data.datasets import Dataset
from harkeras.data.folders import ClipFolder, read_folder
from harkeras.people.clips import read_clip
from harkeras.people.crops import CROPS_VERSION
from harkeras.people.pose import PoseEstimator, ensure_estimator, estimator_name
from harkeras.recipe import ClipFormat, FlowMethod, Streams, Subject
from harkeras.video.reading import VideoError

# Part of the fingerprint of a cache: raised when the same clip and settings would give other pixels.
_PIXELS_VERSION = 1
_JOINTS_VERSION = 1


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
    subject: Subject = "frame",
    estimator: PoseEstimator | None = None,
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
            "rgb+flow" for both, see `harkeras.video.flow_extraction`; "pose" for the 17 joints of the person
            in them, x, y and score, see `harkeras.people.pose_extraction`, where height and width mean
            nothing.
        flow_fields: Fields of flow L per frame; without meaning for "rgb".
        flow_method: "dis", "farneback", or "tvl1", which needs opencv-contrib-python; without meaning for
            "rgb".
        subject: "frame" for whole frames; "people" for one square around all people of each clip, or the
            whole frame where there are none; "frame+people" for both side by side; or "person" for a square
            that goes along with the largest person, or that person's joints: clips in which nobody is found
            are left out with a warning.
        estimator: What finds 17 joints in an image, for "pose", see `harkeras.people.find_joints`; MoveNet by
            default. A cache knows it by its name.
        workers: Threads that decode; one per core that this process may use by default. Inside
            `joblib.parallel_config`, its workers decode instead, processes or other machines.
        group_by: What names the source of a clip, see `find_sources`: a regular expression, a level, or a
            function; names and folders are read by default.
        cache: A `.npy` file to keep the array in, memory-mapped: for an array larger than the memory, or to
            have it at once the next time. It grows clip by clip, hidden beside the name, and goes on after an
            interruption where it stopped, or at the first clip that has changed. Of a whole one, clips that
            are new or changed are read and the others taken over; with other settings it is made anew.
            Or a folder, or an address such as "s3://bucket/clips", for a file per clip, which whoever decodes
            the clip writes and from which batches are read: for data sets of any size, made by many workers
            and read by many hosts, each its own part, `dataset[host::hosts]`.
        strict: Raise on the first clip that cannot be read, instead of leaving it out with a warning.

    Returns:
        `Dataset`, which unpacks as features, labels, video_paths: uint8 (N, T, H, W, C), int64 (N,), N paths.
        C is 3 (RGB), 1 (gray), 2L (flow) or 3 + 2L (both, RGB first). Of "pose", float32 (N, T, 17, 3).

    Raises:
        FileNotFoundError: If there is no such folder, or none for one of the classes.
        ValueError: If a number is below 1, `streams` or `flow_method` names nothing known, there are no class
            folders, one holds no video that can be read, a class is named twice, `group_by` does not fit,
            `workers` is given inside `joblib.parallel_config`, or `cache` is neither a `.npy` file that this
            function wrote nor a folder.
        MemoryError: If the array is larger than the machine's memory and `cache` is not given.
        ImportError: If OpenCV has no TV-L1, or LiteRT is not installed, which finds joints, or `trackers`,
            which follows people.
        VideoError: With `strict`, if a clip cannot be read.
        OSError: If the cache cannot be written, for instance on a full disk; an older one then remains.
    """
    clip_format = ClipFormat(frames, height, width, streams, flow_fields, flow_method, subject=subject)
    folder = read_folder(data_dir, classes, group_by=group_by)
    return load_folder(folder, clip_format, estimator=estimator, workers=workers, cache=cache, strict=strict)


def load_folder(
    folder: ClipFolder,
    clip_format: ClipFormat,
    *,
    estimator: PoseEstimator | None = None,
    workers: int | None = None,
    cache: str | os.PathLike | None = None,
    strict: bool = False,
    every_class: bool = True,
) -> Dataset:
    """Read the clips that `read_folder` listed, or some of them; see `create_dataset`.

    With `every_class`, a class of which nothing can be read is a ValueError.
    """
    of_joints = {} if estimator is None else {"estimator": estimator}
    if clip_format.streams == "pose":
        ensure_estimator(estimator)

    def read(path: Path) -> np.ndarray:
        return read_clip(path, clip_format, **of_joints)

    how = {"workers": workers, "strict": strict, "dtype": clip_format.dtype}
    reader = Reader(folder.video_paths, clip_format.shape, read, **how)
    if cache is None:
        _check_memory((len(folder.video_paths), *clip_format.shape), np.dtype(clip_format.dtype).itemsize)
        features = reader.read_into_memory()
    else:
        settings = _cache_settings(clip_format, estimator)
        if _is_folder(cache):
            files = ArrayFiles(Folder(cache), settings, clip_format.shape, "pixels")
            features = reader.read_into_files(files)
        else:
            features = reader.read_through(Path(cache), settings, Path(folder.data_dir))
    kept = reader.check(folder.labels, folder.classes if every_class else (), stacklevel=4)
    return Dataset(
        features,
        folder.labels[kept],
        [folder.video_paths[row] for row in kept],
        classes=folder.classes,
        sources=folder.sources[kept],
        streams=clip_format.streams,
        flow_method=clip_format.flow_method,
        subject=clip_format.subject,
    )


class Reader:
    """Reads clips or images on all cores and hands them on in order, leaving out those that cannot be read.

    Args:
        paths: The N files.
        shape: Shape of what is read from each.
        read_file: Function from a path to an array of that shape.
        workers: Threads that decode; one per core that this process may use by default.
        strict: Raise VideoError or OSError for the first file that cannot be read.
        noun: What a file is called in messages.
        dtype: Of what is read.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        shape: tuple[int, ...],
        read_file: Callable[[Path], np.ndarray],
        *,
        workers: int | None = None,
        strict: bool = False,
        noun: str = "clip",
        dtype: type = np.uint8,
    ):
        """Nothing is read yet."""
        if workers is not None and workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        check_workers(workers)
        self.paths, self.shape, self.read_file = paths, shape, read_file
        self.workers, self.strict, self.noun, self.dtype = workers, strict, noun, np.dtype(dtype)
        self.skipped: dict[int, str] = {}  # rows of `paths`, and why

    def read_into_memory(self) -> np.ndarray:
        """Return all as one array (N, *shape), less those that cannot be read."""
        features, count = np.empty((len(self.paths), *self.shape), self.dtype), 0
        for row, pixels in enumerate(self.read(range(len(self.paths)))):
            if isinstance(pixels, str):
                self.skipped[row] = pixels
            else:
                features[count] = pixels
                count += 1
        return features[:count]

    def read_through(self, cache: Path, settings: list, data_dir: Path) -> np.ndarray:
        """Return the same as an array that is mapped from a file, for clips of some settings in a folder."""
        if cache.suffix != ".npy":
            raise ValueError(f"cache must name a .npy file or a folder, got {cache}")
        features, self.skipped = through_cache(cache, settings, self, data_dir)
        return features

    def read_into_files(self, files: ArrayFiles) -> ClipFiles:
        """Return the same as an array of which each clip is a file; whoever reads a clip writes its file."""
        work = partial(keep_clip, partial(_try_to_read, self.read_file, self.strict), files)
        results = list(self.read(range(len(self.paths)), work))
        self.skipped = {row: result for row, result in enumerate(results) if isinstance(result, str)}
        return ClipFiles(files, [result.name for result in results if isinstance(result, Kept)], self.dtype)

    def read(self, rows: Sequence[int], work: Callable[[Path], Any] | None = None) -> Iterator:
        """Yield the pixels of each of some rows, or why there are none; or what other work gives."""
        if len(rows):
            size = _in_bytes((len(rows), *self.shape, self.dtype.itemsize))
            description = f"Reading {self.noun}s into {size}"
            paths = [self.paths[row] for row in rows]
            work = work or partial(_try_to_read, self.read_file, self.strict)
            if not are_workers_configured():
                yield from in_order_with_bar(work, paths, description, self.workers, unit=self.noun)
                return
            with closing(in_order_on_workers(work, paths)) as results:
                bar = tqdm(results, description, len(paths), unit=self.noun)
                for path, pixels in zip(paths, bar, strict=True):
                    yield self._tell(path, pixels) if isinstance(pixels, Lost) else pixels

    def check(self, labels: np.ndarray, classes: Sequence[str], *, stacklevel: int) -> np.ndarray:
        """Warn of the files that were left out, and return the rows of the others, int64.

        Raises:
            ValueError: If nothing is left, or nothing of one of the classes.
        """
        count = len(self.paths)
        kept = np.array([row for row in range(count) if row not in self.skipped], np.int64)
        for label, name in enumerate(classes):
            if label not in labels[kept]:
                rows = np.flatnonzero(labels == label)
                raise ValueError(
                    f"the class {name!r} has no {self.noun} that can be read, the first of {len(rows)}: "
                    f"{self.skipped[rows[0]]}"
                )
        if not len(kept):
            raise ValueError(
                f"none of {count} {self.noun}s can be read, the first: {next(iter(self.skipped.values()))}"
            )
        if self.skipped:
            headline = f"{len(self.skipped)} of {count} {self.noun}s were left out"
            warnings.warn(list_lines(headline, self.skipped.values()), stacklevel=stacklevel)
        return kept

    def _tell(self, path: Path, lost: Lost) -> str:
        if self.strict:
            raise VideoError(f"{path}: {lost.reason}")
        return f"{path}: {lost.reason}"


def _try_to_read(read_file: Callable[[Path], np.ndarray], strict: bool, path: Path) -> np.ndarray | str:
    try:
        return read_file(path)
    except (VideoError, OSError) as error:
        if strict:
            raise
        return str(error)


def _is_folder(cache: str | os.PathLike) -> bool:
    """Whether a cache is a folder, here or elsewhere, and no file."""
    return is_remote(cache) or Path(cache).is_dir() or not Path(cache).suffix


def _cache_settings(clip_format: ClipFormat, estimator: PoseEstimator | None) -> list:
    """Return what decides about the numbers of a clip beside its file, as JSON knows it."""
    settings = [_PIXELS_VERSION, clip_format.shape]
    if clip_format.streams == "pose":
        settings += ["pose", _JOINTS_VERSION, estimator_name(estimator)]
        return settings if clip_format.subject == "frame" else [*settings, clip_format.subject]
    if clip_format.streams != "rgb":
        settings.append(clip_format.flow_method)
    if clip_format.subject != "frame":
        settings += [clip_format.subject, CROPS_VERSION]
    if clip_format.interpolation != "area":
        settings.append(clip_format.interpolation)
    return settings


def _check_memory(shape: tuple[int, ...], bytes_each: int) -> None:
    if not hasattr(os, "sysconf"):
        return  # Windows does not say
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if bytes_each * math.prod(shape) > machine:
        raise MemoryError(
            f"{shape[0]} clips of {' x '.join(map(str, shape[1:-1]))} need {_in_bytes((*shape, bytes_each))} "
            f"and this machine has {_in_bytes((machine,))}; pass cache='features.npy' to keep them on disk"
        )


def _in_bytes(shape: tuple[int, ...]) -> str:
    """Say how large a uint8 array is."""
    count = math.prod(shape)
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
