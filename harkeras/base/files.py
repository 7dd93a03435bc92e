"""Files: written whole or not at all, never onto what they must not replace, and known by their content."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from filelock import FileLock, Timeout

_BLOCK = 1 << 20
_SAMPLED_BLOCKS = 64  # a file of up to so many blocks is read whole


@contextmanager
def written_whole(path: str | os.PathLike, *, suffix: str = "") -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends, the file is flushed and gets its name.

    After an error, Ctrl-C included, the temporary file is removed and an older file at `path` remains. Two
    processes that write one path do not meet: each has its own temporary name, and the last one to end wins.

    Args:
        path: File to write; its folder is made. A link is followed.
        suffix: End of the temporary name, for writers that insist on one, such as ".keras".

    Raises:
        ValueError: If `path` is a folder, a device, a pipe or another thing that is not a regular file.
        OSError: If the file cannot be written, for instance on a full disk; it names `path`.
    """
    target = resolve_target(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_name(target, suffix)
    try:
        with naming(target):
            yield partial
            publish(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write UTF-8 text with `written_whole`; line ends are kept as they are."""
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="")


def publish(partial: Path, target: Path, *, overwrite: bool = True) -> Path:
    """Flush a finished file to disk and give it its name; without `overwrite`, the first name that is free.

    Returns:
        The path of the file: `target`, or beside it `name__2.suffix`, `name__3.suffix` and so on.
    """
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if overwrite:
        partial.replace(target)
        return target
    number, candidate = 1, target
    while True:
        try:
            os.close(os.open(candidate, os.O_CREAT | os.O_EXCL | os.O_WRONLY))  # ours from now on
        except FileExistsError:
            number += 1
            candidate = target.with_name(f"{target.stem}__{number}{target.suffix}")
        else:
            partial.replace(candidate)
            return candidate


def partial_name(target: Path, suffix: str = "") -> Path:
    """Return a name beside `target` that no other run uses: hidden, and not too long for a disk."""
    return target.with_name(f".{_shortened(target)}.{os.getpid()}-{secrets.token_hex(4)}.part{suffix}")


def _shortened(target: Path) -> str:
    return target.name.encode(errors="surrogateescape")[:150].decode(errors="ignore")


def check_target(
    path: str | os.PathLike, argument: str, *, inputs: Iterable[str | os.PathLike | None] = (), size: int = 1
) -> Path:
    """Try a file that is to be written at the end of long work, before the work; an older one is kept.

    Args:
        path: The file.
        argument: Name of the argument, for messages.
        inputs: Files that are read in the same run, and other outputs: none of them may be `path`.
        size: How large it will be, in bytes, as far as is known: the disk must have that room now.

    Returns:
        `path`, links followed.

    Raises:
        ValueError: If it is one of `inputs`, or not a regular file.
        OSError: If it cannot be written there, for instance in a read-only folder or on a full disk.
    """
    target = resolve_target(path, argument)
    for other in inputs:
        if other is not None and _same_file(target, Path(other)):
            raise ValueError(
                f"{argument} must not replace {other}, which this run reads or writes, got {path}"
            )
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_name(target)
    try:
        with naming(target), partial.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            file.write(b"\0")
            file.flush()
            os.fsync(file.fileno())
    finally:
        partial.unlink(missing_ok=True)
    return target


def resolve_target(path: str | os.PathLike, argument: str = "path") -> Path:
    """Follow links; raise ValueError for what is there and is not a regular file."""
    try:
        target = Path(os.path.realpath(path))
        mode = target.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return target
    except ValueError as error:  # an embedded null byte
        raise ValueError(
            f"{argument} must be the path of a file, got {os.fspath(path)!r} ({error})"
        ) from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a device, a pipe or a socket"
        raise ValueError(f"{argument} must be a regular file, got {path}, which is {kind}")
    return target


def content_digest(path: str | os.PathLike) -> str:
    """Return what tells one file from another, whatever their names and times are: a digest of its content.

    Up to 64 MiB, all bytes count. Of a larger file, 64 blocks of 1 MiB count, spread evenly from the first to
    the last byte, and the size; so a recording of hours costs no more than a clip. Within a process, a file
    that has not changed is read once.

    Returns:
        64 hexadecimal digits.

    Raises:
        OSError: If the file cannot be read, or is no regular file.
    """
    path = os.path.realpath(path)
    entry = Path(path).stat()
    if not stat.S_ISREG(entry.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", path)
    return _digest(path, entry.st_size, entry.st_mtime_ns, entry.st_ctime_ns, entry.st_ino)


@lru_cache(maxsize=1 << 16)
def _digest(path: str, size: int, *_changes: int) -> str:
    """Read a file; the last arguments only tell one state of it from another."""
    with Path(path).open("rb") as file:
        if size <= _SAMPLED_BLOCKS * _BLOCK:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256(f"{size} bytes, sampled".encode())
        for block in range(_SAMPLED_BLOCKS):
            file.seek((size - _BLOCK) * block // (_SAMPLED_BLOCKS - 1))
            digest.update(file.read(_BLOCK))
        return digest.hexdigest()


@contextmanager
def locked(path: str | os.PathLike) -> Iterator[None]:
    """Let no other process into a block of the same `path`; one that waits says so in a warning.

    The lock is a hidden file beside `path`, which remains. The system takes it back from a process that ends,
    however it ends.

    Raises:
        ValueError: If `path` is not a regular file.
        OSError: If nothing can be written there, for instance in a read-only folder.
    """
    target = resolve_target(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.with_name(f".{_shortened(target)}.lock"))
    try:  # where no file can be made, a lock would be waited for without end
        os.close(os.open(lock.lock_file, os.O_RDWR | os.O_CREAT, 0o666))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        lock.acquire(timeout=0.2)
    except Timeout:
        warnings.warn(f"waiting for another process that writes {path}", stacklevel=3)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name `path` in an OSError that bears no name, or a temporary one, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        temporary = Path(str(error.filename or "")).name.startswith(".") and ".part" in str(error.filename)
        if error.filename is not None and not temporary:
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _same_file(target: Path, other: Path) -> bool:
    with suppress(OSError):
        return target.samefile(other)
    return os.path.realpath(other) == str(target)
