"""Folders on a disk or elsewhere, `s3://`, `gs://` and whatever fsspec knows, whose files are written whole.

A file elsewhere gets its name when it is there as a whole, under a hidden one. A store of objects such as S3
would need no such care; a server that is reached by SSH does.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import Any

from harkeras.base.files import check_target, written_whole

# An address of one of these is a web page, a stream or a database to who reads videos, not a folder.
_NO_FOLDERS = ("http", "https", "rtsp", "rtsps", "rtmp", "rtmps", "rtp", "udp", "tcp", "srt", "ftp", "mqtt")


def is_remote(place: str | os.PathLike) -> bool:
    """Whether a place is the address of a folder or file elsewhere, such as "s3://bucket/clips"."""
    scheme = re.match(r"([a-z][a-z0-9+.-]+)://", os.fspath(place), re.IGNORECASE)
    return scheme is not None and scheme[1].lower() not in _NO_FOLDERS


def open_remote(address: str) -> tuple[Any, str]:
    """Return the file system of an address, and the path in it.

    Raises:
        ImportError: If fsspec, or what it needs for this kind of address, is not installed.
        ValueError: If there is no such kind of address.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise ImportError(f'{address} needs fsspec: pip install "harkeras[storage]"') from error
    return url_to_fs(address)


class Folder:
    """A folder whose files are read and written as a whole; it can be sent to other processes.

    Args:
        place: Its path, or its address.

    Raises:
        ImportError: If it is elsewhere and what is needed to get there is not installed.
        ValueError: If there is no such kind of address, or a file stands in its place.
    """

    def __init__(self, place: str | os.PathLike):
        """Look whether it can be one."""
        self.place = os.fspath(place)
        self._remote = is_remote(place)
        if self._remote:
            open_remote(self.place)
        elif Path(place).is_file():
            raise ValueError(f"{place} must be a folder, got a file")

    def __str__(self) -> str:
        """Return its path or address."""
        return self.place

    def path(self, name: str) -> str:
        """Return the path or address of a file in it."""
        return f"{self.place.rstrip('/')}/{name}" if self._remote else os.fspath(Path(self.place, name))

    def read(self, name: str) -> bytes | None:
        """Return the content of a file; None if there is none."""
        try:
            if not self._remote:
                return Path(self.path(name)).read_bytes()
            files, path = open_remote(self.path(name))
            return files.cat_file(path)
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all.

        Raises:
            OSError: If it cannot be written.
        """
        if not self._remote:
            with written_whole(self.path(name)) as partial:
                partial.write_bytes(content)
            return
        files, path = open_remote(self.path(name))
        above, _, last = path.rpartition("/")
        partial = f"{above}/.{last}.{secrets.token_hex(4)}.part"
        files.makedirs(above, exist_ok=True)
        try:
            files.pipe_file(partial, content)
            files.mv(partial, path)
        except BaseException:
            if files.exists(partial):
                files.rm_file(partial)
            raise

    def check(self, name: str, argument: str) -> None:
        """Try to write a file, before long work; an older one is kept.

        Raises:
            OSError: If it cannot be written.
        """
        if self._remote:
            trial = f".{name}.trial"
            self.write(trial, b"")
            files, path = open_remote(self.path(trial))
            files.rm_file(path)
        else:
            check_target(self.path(name), argument)
