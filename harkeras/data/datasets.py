"""A folder of labelled clips -> arrays that a model can train on.

The layout is the one of UCF and Kinetics: one folder per class, the clips inside, at any depth.
"""

from __future__ import annotations

import copy
import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from joblib import cpu_count
from tqdm.auto import tqdm

from harkeras.base.workers import in_order
from harkeras.data._clip_cache import through_cache
from harkeras.data.folders import ClipFolder, list_classes, list_videos, read_folder
from harkeras.data.sources import Sources, find_sources, join_copies, warn_if_unknown
from harkeras.data.splits import Split, split_clips
from harkeras.recipe import Interpolation, Streams, count_channels
from harkeras.video.flow import FlowMethod, read_clip
from harkeras.video.reading import VideoError, VideoInfo, iter_frames

# Part of the fingerprint of a cache: raised when the same clip and settings would give other pixels.
_PIXELS_VERSION = 1


class Dataset:
    """Labelled clips, and what nobody should have to carry beside them.

    It unpacks as `features, labels, video_paths = create_dataset(...)`. `dataset[rows]` and `dataset.split()`
    are views: frames that are mapped from a file on disk are not copied.

    Args:
        features: Clips, uint8 (N, T, H, W, C); an array, or what is indexed like one.
        labels: int64 (N,), their classes.
        video_paths: The N files.
        classes: Names of the classes.
        sources: The source of each clip; read from the names of the files by default, see `find_sources`.
        streams: What a clip holds, see `Recipe`.
        flow_fields: Fields of flow per frame; 0 without flow.
        flow_method: How the flow was computed.

    Raises:
        ValueError: If lengths differ.
    """

    def __init__(
        self,
        features: np.ndarray,
        labels: np.ndarray,
        video_paths: Sequence[Path],
        *,
        classes: Sequence[str],
        sources: Sources | None = None,
        streams: Streams = "rgb",
        flow_fields: int = 0,
        flow_method: FlowMethod = "dis",
    ):
        """Keep everything as it is."""
        if not features.shape[0] == len(labels) == len(video_paths):
            raise ValueError(
                f"features, labels and video_paths must be alike in number, got {features.shape[0]}, "
                f"{len(labels)} and {len(video_paths)}"
            )
        sources = find_sources(video_paths) if sources is None else sources
        if len(sources.groups) != len(labels):
            raise ValueError(
                f"sources must be one per clip, got {len(sources.groups)} and {len(labels)} clips"
            )
        self.features, self.labels, self.video_paths = features, labels, list(video_paths)
        self.classes, self.sources = tuple(classes), sources
        self.streams, self.flow_fields, self.flow_method = streams, flow_fields, flow_method
        self.split_words = ""  # how `split` chose these clips

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.labels)

    def __iter__(self) -> Iterator:
        """Unpack as features, labels, video_paths."""
        return iter((self.features, self.labels, self.video_paths))

    def __getitem__(self, rows: np.ndarray | slice) -> Dataset:
        """Return some rows as a data set of their own, without copying frames."""
        rows = np.arange(len(self))[rows]
        view = copy.copy(self)
        view.features = RowView(self.features, rows)
        view.labels, view.sources = self.labels[rows], self.sources[rows]
        view.video_paths = [self.video_paths[row] for row in rows]
        return view

    @property
    def groups(self) -> np.ndarray:
        """The source of each clip, str (N,)."""
        return self.sources.groups

    def split(
        self,
        split: Split = "group",
        *,
        test_size: float = 0.25,
        seed: int = 27,
        split_dir: str | os.PathLike | None = None,
    ) -> tuple[Dataset, Dataset]:
        """Return a part to train on and a part to test on, by default without a source on both sides.

        Arguments and errors are those of `split_clips`; a warning tells where sources are not known.
        """
        if self.sources.copied is None:
            self.sources = join_copies(self.video_paths, self.sources)
        if split == "group":
            warn_if_unknown(self.sources)
        options = {"split": split, "test_size": test_size, "seed": seed, "split_dir": split_dir}
        train, test, words = split_clips(self.video_paths, self.labels, self.sources, **options)
        parts = self[train], self[test]
        for part in parts:
            part.split_words = words
        return parts

    @property
    def clip_seconds(self) -> float:
        """Median duration of the clips in seconds; the files are opened for it, once."""
        if not hasattr(self, "_clip_seconds"):
            self._clip_seconds = median_clip_seconds(self.video_paths)
        return self._clip_seconds


class RowView:
    """Some rows of an array of clips, which stays where it is: in a cache larger than the memory, on disk."""

    def __init__(self, features: np.ndarray, rows: np.ndarray):
        """Look at rows of an array, or of another view."""
        if isinstance(features, RowView):
            features, rows = features.features, features.rows[rows]
        self.features, self.rows = features, rows
        self.shape, self.dtype = (len(rows), *features.shape[1:]), features.dtype

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.rows)

    def __getitem__(self, index: int | slice | np.ndarray) -> np.ndarray:
        """Read some of the rows."""
        return self.features[self.rows[index]]

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        """Read all rows into memory."""
        return np.asarray(self.features[self.rows], dtype=dtype)


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
            "rgb+flow" for both, see `harkeras.flow_extraction`.
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
    folder = read_folder(data_dir, classes, group_by=group_by)
    return load_folder(
        folder,
        frames=frames,
        height=height,
        width=width,
        streams=streams,
        flow_fields=flow_fields,
        flow_method=flow_method,
        workers=workers,
        cache=cache,
        strict=strict,
    )


def load_folder(
    folder: ClipFolder,
    *,
    frames: int = 20,
    height: int = 64,
    width: int = 64,
    streams: Streams = "rgb",
    flow_fields: int = 10,
    flow_method: FlowMethod = "dis",
    interpolation: Interpolation = "area",
    workers: int | None = None,
    cache: str | os.PathLike | None = None,
    strict: bool = False,
    every_class: bool = True,
) -> Dataset:
    """Read the clips that `read_folder` listed, or some of them; see `create_dataset`.

    With `every_class`, a class of which nothing can be read is a ValueError.
    """
    workers = cpu_count() if workers is None else workers
    for name, value in (("frames", frames), ("height", height), ("width", width), ("workers", workers)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    shape = (frames, height, width, count_channels(streams, flow_fields))
    videos, labels = folder.video_paths, folder.labels
    reader = _Reader(videos, labels, folder.classes, shape, workers, strict, flow_method, interpolation)
    if cache is None:
        features = reader.read_into_memory()
    else:
        features = reader.read_through(Path(cache), folder.data_dir)
    if every_class:
        reader.check_classes()
    if not len(reader.kept):
        raise ValueError(
            f"none of {len(videos)} clips can be read, the first: {next(iter(reader.skipped.values()))}"
        )
    if reader.skipped:
        lines = "\n".join(f"  {reason}" for reason in reader.skipped.values())
        warnings.warn(f"{len(reader.skipped)} of {len(videos)} clips were left out:\n{lines}", stacklevel=3)
    kept = np.array(reader.kept)
    return Dataset(
        features,
        labels[kept],
        [videos[row] for row in kept],
        classes=folder.classes,
        sources=folder.sources[kept],
        streams=streams,
        flow_fields=0 if streams in ("rgb", "gray") else flow_fields,
        flow_method=flow_method,
    )


def median_clip_seconds(video_paths: Sequence[str | os.PathLike]) -> float:
    """Return the median duration of clips in seconds: the window that a model trained on them should see.

    Raises:
        ValueError: If there is no clip.
        FileNotFoundError: If there is no such file.
        VideoError: If a clip cannot be read.
    """
    if not len(video_paths):
        raise ValueError("video_paths must name at least one clip, got none")
    infos = in_order(VideoInfo.read, video_paths)
    return float(np.median([info.duration_seconds - info.frame_seconds[0] for info in infos]))


def plot_clips(
    data_dir: str | os.PathLike, classes: Sequence[str] | None = None, *, count: int = 20, seed: int = 27
):
    """Draw the first frames of clips of randomly chosen classes, with their labels.

    Args:
        data_dir: Folder with one folder of clips per class.
        classes: Classes to choose from; all by default.
        count: Number of clips; where there are fewer classes, they come again with other clips.
        seed: Seed of the choice.

    Returns:
        `matplotlib.figure.Figure`

    Raises:
        FileNotFoundError: If there is no such folder, or none for one of the classes.
        ValueError: If `count` is below 1, or a class has no clip.
        VideoError: If a chosen clip cannot be read.
    """
    from matplotlib.figure import Figure

    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    classes = list_classes(data_dir) if classes is None else list(classes)
    videos, labels = list_videos(data_dir, classes)
    rng = np.random.default_rng(seed)
    by_class = [rng.permutation(np.flatnonzero(labels == label)) for label in rng.permutation(len(classes))]
    rounds = [rows[turn] for turn in range(max(map(len, by_class))) for rows in by_class if turn < len(rows)]
    chosen = rounds[:count]
    columns = min(5, len(chosen))
    grid = (-(-len(chosen) // columns), columns)
    figure = Figure(figsize=(2.4 * columns, 2.1 * grid[0]), layout="constrained")
    for axes in figure.subplots(*grid, squeeze=False).flat:
        axes.axis("off")
    for axes, row in zip(figure.axes, chosen, strict=False):
        axes.imshow(next(iter_frames(videos[row])).image)
        axes.set_title(classes[labels[row]], fontsize=10)
    return figure


class _Reader:
    """Reads clips on all cores and hands them on in order, leaving out those that cannot be read."""

    def __init__(
        self,
        videos,
        labels,
        classes,
        shape,
        workers: int,
        strict: bool,
        flow_method: FlowMethod,
        interpolation: Interpolation,
    ):
        self.videos, self.labels, self.classes = videos, labels, classes
        self.shape = (len(videos), *shape)
        self.workers, self.strict = workers, strict
        self.flow_method, self.interpolation = flow_method, interpolation
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

    def read_through(self, cache: Path, data_dir: str | os.PathLike) -> np.ndarray:
        """Return all clips as an array that is mapped from a file: uint8 (N, T, H, W, C)."""
        if cache.suffix != ".npy":
            raise ValueError(f"cache must name a .npy file, got {cache}")
        settings = [_PIXELS_VERSION, self.shape[1:], *[self.flow_method] * (self.shape[-1] != 3)]
        if self.interpolation != "area":
            settings.append(self.interpolation)
        features, self.skipped = through_cache(
            cache, settings, self.videos, Path(data_dir), self.shape[1:], self.read, strict=self.strict
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
        for label, name in enumerate(self.classes):
            if label not in left:
                rows = np.flatnonzero(self.labels == label)
                raise ValueError(
                    f"the class {name!r} has no clip that can be read, the first of {len(rows)}: "
                    f"{self.skipped[rows[0]]}"
                )

    def _read_clip(self, path: Path) -> np.ndarray | str:
        """Return a clip (T, H, W, C), or why there is none."""
        try:
            return read_clip(
                path, self.shape[1:], flow_method=self.flow_method, interpolation=self.interpolation
            )
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
