"""Clips on disk: one `.npy` file that grows clip by clip, and goes on where it was interrupted.

Behind the array, where NumPy does not look, lies a card of JSON: the settings, and of which files the clips
are, with a checksum of the pixels of each. A new array grows beside the old one, with a journal of the clips
that it holds, and takes over from the old one what has not changed. It gets its name when it is whole, so
that array and card are always of one run.

A clip is known by the content of its file. All files are read for that once; later, only those whose path,
size or times have changed since. The checksums are compared whenever a cache is opened, which takes no longer
than reading it: what a disk has damaged is read anew from its file.
"""

from __future__ import annotations

import json
import math
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from harkeras.base.files import content_digest, locked, publish, resolve_target

_VERSION = 2


class ClipFile(NamedTuple):
    """A file as it was when it was read.

    Attributes:
        name: Path in the folder.
        stamp: Full path, size and times: while they are as they were, so is the content.
        digest: Of the content; None if the file cannot be read, or its clip in the cache is damaged.
        checksum: CRC-32 of the clip's pixels; None if there is no clip.
        skipped: Why it was left out.
    """

    name: str
    stamp: list
    digest: str | None
    checksum: int | None = None
    skipped: str | None = None

    @property
    def content(self) -> tuple[str, str | None]:
        """What the pixels depend on: a decoder looks at the suffix, too."""
        return Path(self.name).suffix, self.digest


def through_cache(
    cache: Path, settings: list, reader: Any, data_dir: Path
) -> tuple[np.ndarray, dict[int, str]]:
    """Map the clips of some files from `cache`; those that it does not hold are read first.

    Args:
        cache: The `.npy` file.
        settings: What else decides about the pixels, as JSON knows it.
        reader: The `Reader` of the files, with their `paths`, the `shape` and `dtype` of a clip, and `read`,
            which yields the clip of each of some rows, or why there is none; where it is `strict`, files that
            were left out are read again.
        data_dir: The folder that the files are in.

    Returns:
        Clips (N, T, ...), and why others were left out, by row.

    Raises:
        ValueError: If there is something else at `cache`, or a cache that is damaged as a whole.
        OSError: If it cannot be written.
    """
    cache = resolve_target(cache, "cache")
    settings = json.loads(json.dumps([_VERSION, *settings]))  # tuples become lists, as in the card
    array, card = _open(cache, settings, reader)
    files = _identify(reader.paths, data_dir, card)
    if not _is_of(card, files, reader.strict):
        array = None  # Windows replaces no file that is mapped
        with locked(cache):
            _write(cache, settings, files, reader)
            array, card = _open(cache, settings, reader)
    return array, {row: file.skipped for row, file in enumerate(card) if file.skipped is not None}


def _identify(videos: Sequence[Path], data_dir: Path, card: list[ClipFile]) -> list[ClipFile]:
    """Return the files as they are now; the content of those that the card knows need not be read."""
    known = {tuple(file.stamp): file.digest for file in card}
    files = []
    for path in videos:
        entry = path.stat()
        stamp = [str(path.absolute()), entry.st_size, entry.st_mtime_ns, entry.st_ctime_ns]
        digest = known.get(tuple(stamp))
        if digest is None:
            with suppress(OSError):  # whoever reads the clip will say so
                digest = content_digest(path)
        files.append(ClipFile(path.relative_to(data_dir).as_posix(), stamp, digest))
    return files


def _is_of(card: list[ClipFile], files: Sequence[ClipFile], strict: bool) -> bool:
    return len(card) == len(files) == _count_same(card, files, strict)


def _count_same(known: list[ClipFile], files: Sequence[ClipFile], strict: bool) -> int:
    """Count how many files from the first on are as they were."""
    for count, (one, other) in enumerate(zip(known, files, strict=False)):
        if (one.name, one.digest) != (other.name, other.digest) or (strict and one.skipped is not None):
            return count
    return min(len(known), len(files))


def _open(cache: Path, settings: list, reader: Any) -> tuple[np.ndarray | None, list[ClipFile]]:
    """Return array and files of a cache; neither if there is no such cache, or it is of other settings.

    Files whose clips are damaged have no digest.
    """
    if not cache.is_file():
        return None, []
    try:
        with cache.open("rb") as file:  # once, so that array and card are of one run
            stored, dtype, begin = _read_header(file)
            array = np.memmap(file, dtype, "r", begin, stored)
            file.seek(array.offset + array.nbytes)
            card = json.loads(file.read())
            if card["settings"] != settings:
                return None, []
            files = [ClipFile(*entry) for entry in card["files"]]
            wanted = (sum(each.skipped is None for each in files), *reader.shape)
            if (stored, dtype) != (wanted, reader.dtype):
                raise ValueError(f"an array of {dtype} {stored}")
            file.seek(begin)
            return array, _check_pixels(file, files, _clip_bytes(reader))
    except OSError:
        raise
    except Exception as error:  # damaged bytes make many kinds of them in NumPy's reader of headers
        raise ValueError(
            f"cache must be a new file or one that create_dataset wrote; {cache} is something else, or "
            "damaged: remove it or choose another name"
        ) from error


def _clip_bytes(reader: Any) -> int:
    return math.prod(reader.shape) * reader.dtype.itemsize


def _check_pixels(array: BinaryIO, files: list[ClipFile], clip_bytes: int) -> list[ClipFile]:
    """Read the clips of files; those whose checksum is another lose their digest."""
    checked = []
    for file in files:
        intact = file.skipped is not None or zlib.crc32(array.read(clip_bytes)) == file.checksum
        checked.append(file if intact else file._replace(digest=None))
    return checked


def _write(cache: Path, settings: list, files: list[ClipFile], reader: Any) -> None:
    """Write the array and its card, beginning with what an interrupted run left."""
    clip_bytes = _clip_bytes(reader)
    old, card = _open(cache, settings, reader)
    if _is_of(card, files, reader.strict):
        return  # another process has written it meanwhile
    if damaged := [file.name for file in card if file.digest is None and file.skipped is None]:
        names = ", ".join(damaged[:5]) + (", ..." if len(damaged) > 5 else "")
        warnings.warn(f"{cache} is damaged; {len(damaged)} clips are read anew: {names}", stacklevel=5)
    part, journal = (cache.with_name(f".{cache.name}.{end}") for end in ("part", "journal"))
    done = _left_over(part, journal, settings, files, clip_bytes, reader.strict)
    # Written, not mapped: on a full disk a write fails with an error, a mapping kills the process.
    with part.open("r+b" if done else "wb") as array, journal.open("w", encoding="utf-8") as lines:
        lines.write("".join(json.dumps(entry) + "\n" for entry in (settings, *done)))
        lines.flush()  # before anything else, because the next clip may be the end of this process, too
        _write_header(array, len(files), reader)
        array.seek(sum(file.skipped is None for file in done) * clip_bytes, 1)
        array.truncate()
        with closing(_clips(files, len(done), reader.read, old, card)) as clips:
            for file, clip in clips:
                if isinstance(clip, str):
                    done.append(file._replace(skipped=clip))
                else:
                    array.write(clip.data)
                    array.flush()
                    done.append(file._replace(checksum=zlib.crc32(clip)))
                lines.write(json.dumps(done[-1]) + "\n")
                lines.flush()
        array.write(json.dumps({"settings": settings, "files": done}).encode())
        _write_header(array, sum(file.skipped is None for file in done), reader)
    old = clip = None  # see above
    publish(part, cache)
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
            _read_header(file)
            entries = _check_pixels(file, entries, clip_bytes)
    except (ValueError, TypeError):
        return []
    return entries[: _count_same(entries, files, strict)]


def _clips(files, start: int, read, old: np.ndarray | None, card: list[ClipFile]) -> Iterator[tuple]:
    """Yield each file from `start` on with its clip, from the old array where it is there."""
    with_clip = [file for file in card if file.skipped is None]
    kept = {file.content: row for row, file in enumerate(with_clip) if file.digest is not None}
    missing = [row for row in range(start, len(files)) if files[row].content not in kept]
    with closing(read(missing)) as clips:
        for file in files[start:]:
            yield file, old[kept[file.content]] if file.content in kept else next(clips)


def _read_header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype, int]:
    """Return shape and dtype that the beginning of a `.npy` file tells, and where the array begins."""
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("not written here")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype not in (np.uint8, np.float32) or fortran_order:
        raise ValueError(f"an array of {dtype}")
    return shape, dtype, file.tell()


def _write_header(file: BinaryIO, rows: int, reader: Any) -> None:
    """Write the beginning of a `.npy` file, as long for one number of rows as for another."""
    file.seek(0)
    card = {"descr": reader.dtype.str, "fortran_order": False, "shape": (rows, *reader.shape)}
    np.lib.format.write_array_header_1_0(file, card)
