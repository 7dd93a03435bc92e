"""Clips on disk: one `.npy` file that grows clip by clip, and goes on where it was interrupted.

Behind the array, where NumPy does not look, lies a card of JSON: the settings, and the files that the clips
are of. A new array grows beside the old one, with a journal of the clips that it holds, and takes over from
the old one what has not changed. It gets its name when it is whole, so that array and card are always of one
run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from filelock import FileLock


class ClipFile(NamedTuple):
    """A file as it was when it was read: name in the folder, bytes, time of change; why it was left out."""

    name: str
    size: int
    modified_ns: int
    skipped: str | None = None


def through_cache(
    cache: Path,
    settings: list,
    files: Sequence[ClipFile],
    shape: Sequence[int],
    read: Callable[[list[int]], Iterator[np.ndarray | str]],
    *,
    strict: bool,
) -> tuple[np.ndarray, dict[int, str]]:
    """Map the clips of some files from `cache`; those that it does not hold are read first.

    Args:
        cache: The `.npy` file.
        settings: What else decides about the pixels, as JSON knows it.
        files: The files, in order.
        shape: Clip shape (T, H, W, C).
        read: Function that yields the clip of each of some rows of `files`, or why there is none.
        strict: Whether files that were left out are to be read again.

    Returns:
        uint8 (N, T, H, W, C), and why others were left out, by row.
    """
    settings = json.loads(json.dumps(settings))  # tuples become lists, as in the card
    array, card = _open(cache, settings)
    if not _is_of(card, files, strict):
        array = None  # Windows replaces no file that is mapped
        cache.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(cache.with_name(f".{cache.name}.lock")):
            _write(cache, settings, files, shape, read, strict)
            array, card = _open(cache, settings)
    return array, {row: file.skipped for row, file in enumerate(card) if file.skipped is not None}


def _is_of(card: list[ClipFile], files: Sequence[ClipFile], strict: bool) -> bool:
    return len(card) == len(files) == _count_same(card, files, strict)


def _count_same(known: list[ClipFile], files: Sequence[ClipFile], strict: bool) -> int:
    """Count how many files from the first on are as they were."""
    for count, (one, other) in enumerate(zip(known, files, strict=False)):
        if one[:3] != other[:3] or (strict and one.skipped is not None):
            return count
    return min(len(known), len(files))


def _open(cache: Path, settings: list) -> tuple[np.ndarray | None, list[ClipFile]]:
    """Return array and files of a cache; neither if there is no such cache, or it is of other settings."""
    if not cache.is_file():
        return None, []
    try:
        with cache.open("rb") as file:  # once, so that array and card are of one run
            shape, begin = _read_header(file)
            array = np.memmap(file, np.uint8, "r", begin, shape)
            file.seek(array.offset + array.nbytes)
            card = json.loads(file.read())
    except (ValueError, EOFError) as error:
        raise ValueError(
            f"cache must be a new file or one that create_dataset wrote; {cache} is something else, or "
            "damaged: remove it or choose another name"
        ) from error
    if card.get("settings") != settings:
        return None, []
    return array, [ClipFile(*file) for file in card["files"]]


def _write(cache: Path, settings: list, files, shape, read, strict: bool) -> None:
    """Write the array and its card, beginning with what an interrupted run left."""
    old, card = _open(cache, settings)
    if _is_of(card, files, strict):
        return  # another process has written it meanwhile
    part, journal = (cache.with_name(f".{cache.name}.{end}") for end in ("part", "journal"))
    done = _left_over(part, journal, settings, files, math.prod(shape), strict)
    # Written, not mapped: on a full disk a write fails with an error, a mapping kills the process.
    with part.open("r+b" if done else "wb") as array, journal.open("w", encoding="utf-8") as lines:
        lines.write("".join(json.dumps(entry) + "\n" for entry in (settings, *done)))
        lines.flush()  # before anything else, because the next clip may be the end of this process, too
        _write_header(array, (len(files), *shape))
        array.seek(sum(file.skipped is None for file in done) * math.prod(shape), 1)
        array.truncate()
        with closing(_clips(files, len(done), read, old, card)) as clips:
            for file, clip in clips:
                if isinstance(clip, str):
                    done.append(file._replace(skipped=clip))
                else:
                    array.write(clip.data)
                    array.flush()
                    done.append(file)
                lines.write(json.dumps(done[-1]) + "\n")
                lines.flush()
        array.write(json.dumps({"settings": settings, "files": done}).encode())
        _write_header(array, (sum(file.skipped is None for file in done), *shape))
    old = clip = None  # see above
    part.replace(cache)
    journal.unlink()


def _left_over(part: Path, journal: Path, settings, files, clip_bytes: int, strict: bool) -> list[ClipFile]:
    """Return the files whose clips an interrupted run wrote, as far as they are those wanted now."""
    if not (part.is_file() and journal.is_file()):
        return []
    try:
        # What is behind the last line end was cut off.
        first, *lines = journal.read_text(encoding="utf-8").split("\n")[:-1] or [""]
        entries = [ClipFile(*json.loads(line)) for line in lines]
        if json.loads(first) != settings:
            return []
        with part.open("rb") as file:
            _, begin = _read_header(file)
    except (ValueError, TypeError):
        return []
    done = entries[: _count_same(entries, files, strict)]
    needed = begin + sum(file.skipped is None for file in done) * clip_bytes
    return done if needed <= part.stat().st_size else []


def _clips(files, start: int, read, old: np.ndarray | None, card: list[ClipFile]) -> Iterator[tuple]:
    """Yield each file from `start` on with its clip, from the old array where it is there."""
    kept = {file: row for row, file in enumerate(file for file in card if file.skipped is None)}
    missing = [row for row in range(start, len(files)) if files[row] not in kept]
    with closing(read(missing)) as clips:
        for file in files[start:]:
            yield file, old[kept[file]] if file in kept else next(clips)


def _read_header(file: BinaryIO) -> tuple[tuple[int, ...], int]:
    """Return the shape that the beginning of a uint8 `.npy` file tells, and where the array begins."""
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("not written here")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype != np.uint8:
        raise ValueError(f"an array of {dtype}")
    return shape, file.tell()


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    """Write the beginning of a uint8 `.npy` file, as long for one number of rows as for another."""
    file.seek(0)
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
