"""A folder of labelled clips -> arrays that a model can train on.

The layout is the one of UCF and Kinetics: one folder per class, the clips inside, at any depth.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
from tqdm.auto import tqdm

from harkeras.video import VIDEO_SUFFIXES, VideoError, VideoInfo, frames_extraction, iter_frames

# Part of the fingerprint of a cache: raised when the same clip and settings would give other pixels.
_PIXELS_VERSION = 1


class Dataset(NamedTuple):
    """Clips as arrays: `features` uint8 (N, T, H, W, 3) RGB, `labels` int64 (N,), `video_paths` N paths."""

    features: np.ndarray
    labels: np.ndarray
    video_paths: list[Path]


def list_classes(data_dir: str | os.PathLike) -> list[str]:
    """Return the names of the class folders in `data_dir`, sorted.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it has no class folders.
    """
    data_dir = Path(data_dir)
    if not data_dir.is_dir():
        raise FileNotFoundError(f"no folder at {data_dir}")
    classes = sorted(path.name for path in data_dir.iterdir() if path.is_dir() and path.name[0] not in "._")
    if not classes:
        raise ValueError(f"{data_dir} must hold one folder of clips per class, found no folder in it")
    return classes


def list_videos(
    data_dir: str | os.PathLike, classes: Sequence[str] | None = None
) -> tuple[list[Path], np.ndarray]:
    """Return the paths of all clips, sorted by class and name, and their labels.

    Args:
        data_dir: Folder with one folder per class.
        classes: Classes to take, in the order of the labels; all, sorted, by default.

    Returns:
        The paths, and int64 (N,) indices into the classes.

    Raises:
        FileNotFoundError: If there is no such folder, or none for one of the classes.
        ValueError: If there are no class folders, or one of them holds no video.
    """
    found = list_classes(data_dir)
    paths, labels = [], []
    for label, name in enumerate(found if classes is None else classes):
        if name not in found:
            raise FileNotFoundError(
                f"no folder for the class {name!r} in {data_dir}; found {', '.join(found)}"
            )
        folder = Path(data_dir) / name
        videos = sorted(
            path
            for path in folder.rglob("*")
            if path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")
        )
        if not videos:
            raise ValueError(f"the class {name!r} has no clip: {folder} holds no {', '.join(VIDEO_SUFFIXES)}")
        paths += videos
        labels += [label] * len(videos)
    return paths, np.array(labels, np.int64)


def create_dataset(
    data_dir: str | os.PathLike,
    classes: Sequence[str] | None = None,
    *,
    frames: int = 20,
    height: int = 64,
    width: int = 64,
    workers: int | None = None,
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
        workers: Threads that decode; one per core by default.
        cache: A `.npy` file to keep the array in. It is memory-mapped, used again while clips and settings
            are the same, and made anew otherwise. Use it when the array is larger than the memory.
        strict: Raise on the first clip that cannot be read, instead of leaving it out with a warning.

    Returns:
        `Dataset(features, labels, video_paths)`: uint8 (N, T, H, W, 3) RGB, int64 (N,), N paths.

    Raises:
        FileNotFoundError: If there is no such folder, or none for one of the classes.
        ValueError: If a size is below 1, there are no class folders, or one holds no video that can be read.
        MemoryError: If the array is larger than the machine's memory and `cache` is not given.
        VideoError: With `strict`, if a clip cannot be read.
    """
    for name, value in (("frames", frames), ("height", height), ("width", width)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    classes = list_classes(data_dir) if classes is None else list(classes)
    videos, labels = list_videos(data_dir, classes)
    shape = (len(videos), frames, height, width, 3)
    if cache is None:
        _check_memory(shape)
        features = np.empty(shape, np.uint8)
        skipped = _read_clips(features, videos, workers, strict)
        features = features[: _close_gaps(features, skipped)]
    else:
        features, skipped = _through_cache(Path(cache), shape, data_dir, videos, labels, workers, strict)
    kept = [row for row in range(len(videos)) if row not in skipped]
    labels = labels[kept]
    _report(skipped, videos)
    for label, name in enumerate(classes):
        if label not in labels:
            raise ValueError(f"the class {name!r} has no clip that can be read in {data_dir}")
    return Dataset(features, labels, [videos[row] for row in kept])


def median_clip_seconds(video_paths: Sequence[str | os.PathLike]) -> float:
    """Return the median duration of clips in seconds: the window that a model trained on them should see."""
    return float(np.median([VideoInfo.read(path).duration_seconds for path in video_paths]))


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


def _read_clips(
    features: np.ndarray, videos: list[Path], workers: int | None, strict: bool
) -> dict[int, str]:
    """Fill `features` row by row, on all cores; return the rows that could not be read, and why."""
    _, frames, height, width, _ = features.shape

    def read(row: int) -> tuple[int, str | None]:
        try:
            features[row] = frames_extraction(videos[row], frames, height, width)
        except (VideoError, OSError) as error:
            if strict:
                raise
            return row, str(error)
        return row, None

    # Threads, because decoding and resizing release the interpreter's lock, and write into one array.
    parallel = joblib.Parallel(workers or joblib.cpu_count(), prefer="threads", return_as="generator")
    results = parallel(joblib.delayed(read)(row) for row in range(len(videos)))
    name = f"Reading clips into {_in_bytes(features.nbytes)}"
    return {row: error for row, error in tqdm(results, name, len(videos), unit="clip") if error}


def _close_gaps(features: np.ndarray, skipped: dict[int, str]) -> int:
    """Move rows up over those skipped, within the array, and return how many rows count."""
    count = 0
    for row in range(len(features)):
        if row not in skipped:
            if row != count:
                features[count] = features[row]
            count += 1
    return count


def _through_cache(
    cache: Path, shape: tuple, data_dir, videos: list[Path], labels, workers: int | None, strict: bool
) -> tuple[np.ndarray, dict[int, str]]:
    """Map the array from `cache` if it is that of these clips and settings; else make it."""
    if cache.suffix != ".npy":
        raise ValueError(f"cache must name a .npy file, got {cache}")
    facts = [_PIXELS_VERSION, shape[1:]]
    for path, label in zip(videos, labels.tolist(), strict=True):
        stat = path.stat()
        facts.append((path.relative_to(data_dir).as_posix(), label, stat.st_size, stat.st_mtime_ns))
    fingerprint = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    card = cache.with_suffix(".json")  # written last: an array without its card does not count
    if card.is_file() and cache.is_file():
        known = json.loads(card.read_text())
        if known["fingerprint"] == fingerprint:
            return np.load(cache, mmap_mode="r"), {int(row): why for row, why in known["skipped"].items()}
    card.unlink(missing_ok=True)
    cache.parent.mkdir(parents=True, exist_ok=True)
    partial = cache.with_name(f".{cache.name}.part")
    try:
        features = np.lib.format.open_memmap(partial, "w+", np.uint8, shape)
        skipped = _read_clips(features, videos, workers, strict)
        count = _close_gaps(features, skipped)
        features.flush()
        offset = features.offset
        del features
        _cut_rows(partial, offset, (count, *shape[1:]))
        partial.replace(cache)
    finally:
        partial.unlink(missing_ok=True)
    card.write_text(json.dumps({"fingerprint": fingerprint, "skipped": skipped}))
    return np.load(cache, mmap_mode="r"), skipped


def _cut_rows(path: Path, offset: int, shape: tuple[int, ...]) -> None:
    """Shorten a uint8 `.npy` file to `shape`. NumPy pads its header so that the first axis can change."""
    with path.open("r+b") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        if file.tell() != offset:
            raise RuntimeError(f"{path}: NumPy wrote a header of another length")
        file.truncate(offset + int(np.prod(shape)))


def _check_memory(shape: tuple[int, ...]) -> None:
    needed = int(np.prod(shape, dtype=np.int64))
    if not hasattr(os, "sysconf"):
        return  # Windows does not say
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > machine:
        raise MemoryError(
            f"{shape[0]} clips of {shape[1]} x {shape[2]} x {shape[3]} need {_in_bytes(needed)} and this "
            f"machine has {_in_bytes(machine)}; pass cache='features.npy' to keep them on disk"
        )


def _in_bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _report(skipped: dict[int, str], videos: list[Path]) -> None:
    if skipped:
        lines = "\n".join(f"  {error}" for error in skipped.values())
        warnings.warn(f"{len(skipped)} of {len(videos)} clips were left out:\n{lines}", stacklevel=3)
