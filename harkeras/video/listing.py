"""Which videos are meant: from files, folders, patterns and URLs to a list, and a name for each."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from glob import has_magic
from pathlib import Path, PurePath
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from harkeras.base.storage import is_remote, open_remote
from harkeras.video.reading import VIDEO_SUFFIXES
from harkeras.video.youtube import is_url

# Made by file managers, archives and notebooks; what lies in them are thumbnails, copies and deleted files.
_NO_VIDEOS = {"__macosx", "lost+found", "$recycle.bin", "#recycle", "system volume information"}


class FoundVideo(NamedTuple):
    """A video, and a name for what is made of it: relative, without a suffix, unlike that of any other."""

    video: str
    name: PurePath


def find_videos(
    videos: str | os.PathLike | Iterable[str | os.PathLike], *, except_dir: str | os.PathLike | None = None
) -> list[FoundVideo]:
    """List the videos that are meant, each file once.

    Names repeat the tree below a folder, or below the fixed part of a pattern. Where several sources are
    given, the name of a folder comes first. Of names that would be equal, the later ones get a number.

    Args:
        videos: Files, folders (the videos in them at any depth, sorted), patterns such as "clips/**/*.mp4"
            and URLs; one of these or several. Files, folders and patterns may be addresses that fsspec
            knows, such as "s3://bucket/clips". Whether a file or a URL holds a video is not looked at.
        except_dir: A folder that is passed over where it lies in one of these: the one for outputs.

    Raises:
        ValueError: If there is no source.
        FileNotFoundError: If a folder holds no video, or no video matches a pattern.
    """
    sources = [videos] if isinstance(videos, str | os.PathLike) else list(videos)
    if not sources:
        raise ValueError("videos must name at least one file, folder, pattern or URL, got none")
    found: list[FoundVideo] = []
    known, names = set(), set()
    for source in map(os.fspath, sources):
        for video, name in _expand(source, len(sources) > 1, except_dir):
            real = video if is_url(video) or is_remote(video) else os.path.realpath(video)
            if real not in known:
                known.add(real)
                found.append(FoundVideo(video, _unlike(name, names)))
    return found


def is_several(video: str) -> bool:
    """Tell whether one source may mean several videos: a folder, a pattern, or an address of either."""
    return (
        is_remote(video)
        or Path(video).is_dir()
        or (has_magic(video) and not is_url(video) and not Path(video).exists())
    )


def walk_files(folder: Path) -> Iterator[Path]:
    """Yield all files at any depth, following links, but for hidden ones."""
    visited = set()
    for root, names, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        names[:] = sorted(name for name in names if not is_hidden(name))
        if real in visited:  # a link to a folder above itself
            names.clear()
            continue
        visited.add(real)
        for name in files:
            path = Path(root, name)
            if not is_hidden(name) and path.is_file():
                yield path


def is_hidden(name: str) -> bool:
    """Tell whether a file or folder is hidden, or holds what nobody made on purpose."""
    return name.startswith((".", "@")) or name.lower() in _NO_VIDEOS


def is_video_name(path: PurePath) -> bool:
    """Tell whether a file's name ends as those of videos do."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def _expand(
    source: str, with_folder: bool, except_dir: str | os.PathLike | None
) -> list[tuple[str, PurePath]]:
    """Return the videos of one source, and the names that they would have."""
    if is_url(source):
        parts = urlsplit(source)
        last = parse_qs(parts.query).get("v", [parts.path])[0]
        return [(source, PurePath(PurePath(last).stem or str(parts.hostname)))]
    if is_remote(source):
        return _expand_remote(source, with_folder)
    if not is_several(source):
        return [(source, PurePath(Path(source).stem))]
    is_folder = Path(source).is_dir()
    top, files = _list_folder(Path(source)) if is_folder else _match(source)
    outputs = None if except_dir is None else Path(except_dir).resolve()
    if outputs is not None and top.resolve() in outputs.parents:
        files = [file for file in files if outputs not in file.resolve().parents]
    prefix = PurePath(top.resolve().name if is_folder and with_folder else "")
    inside = [file.relative_to(top) for file in files if is_video_name(file)]
    visible = [path for path in inside if not any(map(is_hidden, path.parts))]
    if not visible:
        raise FileNotFoundError(f"no video {'lies in' if is_folder else 'matches'} {source}")
    return [(str(top / path), prefix / path.with_suffix("")) for path in visible]


def _expand_remote(source: str, with_folder: bool) -> list[tuple[str, PurePath]]:
    """Do the same with an address that fsspec knows."""
    files, path = open_remote(source)
    is_folder = not has_magic(path) and files.isdir(path)
    if not is_folder and not has_magic(path):
        return [(source, PurePath(PurePath(path).stem))]
    parts = PurePath(path).parts
    top = PurePath(*(parts if is_folder else parts[: [has_magic(part) for part in parts].index(True)]))
    names = files.find(path) if is_folder else [each for each in files.glob(path) if files.isfile(each)]
    prefix = PurePath(top.name if is_folder and with_folder else "")
    videos = []
    for name in sorted(names):
        inside = PurePath(name).relative_to(top)
        if is_video_name(inside) and not any(map(is_hidden, inside.parts)):
            videos.append((files.unstrip_protocol(name), prefix / inside.with_suffix("")))
    if not videos:
        raise FileNotFoundError(f"no video {'lies in' if is_folder else 'matches'} {source}")
    return videos


def _list_folder(folder: Path) -> tuple[Path, list[Path]]:
    return folder, sorted(walk_files(folder))


def _match(pattern: str) -> tuple[Path, list[Path]]:
    """Return the fixed part of a pattern, and the files that match it or lie in folders that do."""
    parts = Path(pattern).parts
    fixed = [has_magic(part) for part in parts].index(True)
    top = Path(*parts[:fixed])
    files = []
    for match in sorted(top.glob(str(Path(*parts[fixed:])))):
        files += _list_folder(match)[1] if match.is_dir() else [match]
    return top, files


def _unlike(name: PurePath, names: set[str]) -> PurePath:
    """Return a name that is not among `names`, also where capitals count for nothing, and add it to them."""
    candidate, number = name, 1
    while str(candidate).casefold() in names:
        number += 1
        candidate = name.with_name(f"{name.name}__{number}")
    names.add(str(candidate).casefold())
    return candidate
