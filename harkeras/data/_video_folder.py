"""The videos that a file of time ranges names: where they lie, and what may be called so."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cached_property
from pathlib import Path, PurePath, PureWindowsPath
from urllib.parse import unquote

from harkeras.base.text import printable

_URL = re.compile(r"https?://", re.IGNORECASE)
_LONGEST_NAME = 1000


class VideoFolder:
    """Finds videos by the names that a file gives them, also below the folder if `search` is set."""

    def __init__(self, folder: Path, search: bool):
        self.folder, self.search = folder, search

    @cached_property
    def _by_stem(self) -> dict[str, list[Path]]:
        """Files by their names without suffix."""
        files = defaultdict(list)
        for path in sorted(self.folder.rglob("*") if self.search else self.folder.iterdir()):
            if path.is_file():
                files[path.stem].append(path)
        return files

    def find(self, name: str) -> Path | str:
        """Return where a video is, or, if there is none, where it should be; a URL as it is.

        Raises:
            ValueError: If there is no name, more than one file of that name, or it can be no file's name.
        """
        if not name:
            raise ValueError("the name of the video is empty")
        if len(name) > _LONGEST_NAME or name != printable(name):
            raise ValueError(f"{shown(name)} cannot be the name of a video")
        if is_web(name):
            return name
        try:
            if (self.folder / name).is_file():
                return self.folder / name
        except OSError as error:  # a part that is too long for the disk
            raise ValueError(f"{shown(name)} cannot be the name of a video: {error.strerror}") from error
        parts = PurePath(name).parts
        files = self._by_stem.get(PurePath(name).stem, ()) if self.search else ()
        files = [path for path in files if path.parts[-len(parts) :] == parts]
        if len(files) > 1:
            raise ValueError(f"{name} may be one of {len(files)} videos: {files[0]}, {files[1]}, ...")
        return files[0] if files else self.folder / name

    def find_inside(self, name: str) -> Path | str:
        """`find`, for a file that a tool wrote, and perhaps somebody else sent: nothing outside the folder.

        Raises:
            ValueError: If the name leads out of the folder, or as for `find`.
        """
        for path in (PurePath(name), PureWindowsPath(name)):
            if path.is_absolute() or path.drive or ".." in path.parts or is_web(name):
                raise ValueError(f"{shown(name)} is outside the folder of the videos, {self.folder}")
        return self.find(name)

    def find_linked(self, address: str) -> Path | str:
        """`find_inside`, for a file that a tool names by where it lay on somebody's disk, or by its URL.

        The file of that name in the folder is the one, whatever folders it lay in; where the address counts
        from the file that names it, these come first.

        Raises:
            ValueError: As for `find`.
        """
        if is_web(address):
            return self.find(address)
        path = re.sub("^file:", "", address, flags=re.IGNORECASE).replace("\\", "/")
        names = []
        for spelling in (path, unquote(path)):  # some tools write a space as %20
            parts = [part for part in spelling.split("/") if part not in ("", ".", "..")]
            if not parts:
                raise ValueError("the name of the video is empty")
            is_absolute = spelling.startswith("/") or PureWindowsPath(spelling).drive
            names += [parts[-1]] if is_absolute else ["/".join(parts), parts[-1]]
        videos = [self.find_inside(name) for name in dict.fromkeys(names)]
        return next((video for video in videos if isinstance(video, Path) and video.is_file()), videos[0])

    def find_stem(self, *stems: str) -> Path | None:
        """Return the one file that is called so but for its suffix, by the first name that there is."""
        for stem in stems:
            if len(self._by_stem.get(stem, ())) == 1:
                return self._by_stem[stem][0]
        return None


def is_web(name: str) -> bool:
    """Tell whether a video is named by its address on the web."""
    return bool(_URL.match(name))


def shown(value: object) -> str:
    """A value in a message: short, and without what steers a terminal."""
    text = printable(value)
    return text if len(text) <= 200 else f"{text[:197]}..."
