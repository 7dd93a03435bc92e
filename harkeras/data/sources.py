"""Which clips come from one source: one video, one person, one place?

Clips of one source share people, clothes, background and camera, so that a model recognizes the others when
it has seen one. A clip's source is a fact of its path below the data folder. Which folder names it is found
once, from all clips of the data folder, and kept with the model.
"""

from __future__ import annotations

import os
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from harkeras.base.files import content_digest
from harkeras.data._source_names import advise_on_folders, advise_on_names, find_level, read_source

# In place of a pattern, where a function named the sources: it cannot be kept with a model.
FUNCTION = "<function>"


@dataclass(frozen=True, eq=False)
class Sources:
    """The source of each clip, and how it was found.

    Attributes:
        groups: str (N,), the source of each clip.
        how: How the sources were found, in words.
        known: bool (N,), whether the source of a clip is known; one that is not counts as a source by itself.
            All are, by default.
        copied: bool (N,), whether the content of a clip is that of another, to whose source it counts; None
            where the content was not compared.
        advice: What the names or folders speak for and only the user can know; empty if nothing.
        group_by: The pattern or level that was asked for, or `FUNCTION`; None where names and folders were
            read.
        level: Which folder inside the class folder names sources, 1 for the first; None if none does.
        names: str (N,), the sources before clips of identical content were joined.
    """

    groups: np.ndarray
    how: str
    known: np.ndarray | None = None
    copied: np.ndarray | None = None
    advice: str = ""
    group_by: str | None = None
    level: int | None = None
    names: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Names are the groups where no clips were joined."""
        if self.names is None:
            object.__setattr__(self, "names", self.groups)
        if self.known is None:
            object.__setattr__(self, "known", np.ones(len(self.groups), bool))

    @property
    def alone(self) -> int:
        """Number of clips whose source is not known."""
        return int((~self.known).sum())

    @property
    def independent(self) -> np.ndarray | None:
        """The groups, for an interval over whole sources; None where some source is not known."""
        return None if self.alone else self.groups

    @property
    def copies(self) -> int:
        """Number of clips whose content is that of another."""
        return 0 if self.copied is None else int(self.copied.sum())

    def __str__(self) -> str:
        """Return one or two sentences."""
        count = len(set(self.groups.tolist()))
        if self.alone == len(self.groups):
            text = f"sources: unknown, each of the {self.alone} clips counts as one"
        elif self.alone:
            text = (
                f"sources: {count}, of which {self.alone} are clips whose source is unknown; else {self.how}"
            )
        else:
            text = f"sources: {count} of {len(self.groups)} clips, {self.how}"
        if self.copies:
            text += f"; {self.copies} of the clips are copies of others and count to their sources"
        return text + (f"; {self.advice}" if self.advice else "")

    def __getitem__(self, rows: np.ndarray) -> Sources:
        """Return the sources of some clips."""
        copied = None if self.copied is None else self.copied[rows]
        return replace(
            self, groups=self.groups[rows], names=self.names[rows], known=self.known[rows], copied=copied
        )


def find_sources(
    video_paths: Sequence[str | os.PathLike],
    data_dir: str | os.PathLike | None = None,
    *,
    group_by: str | int | Callable[[Path], str] | None = None,
    level: int | None = None,
    copies: bool = False,
) -> Sources:
    """Find the source of each clip.

    The source is what `group_by` says, if given; else the number in a name such as `v_Walking_g03_c02.mp4`,
    what names of HMDB51, Kinetics, KTH and NTU RGB+D say, or, below a known `data_dir`, the outermost folder
    inside the class folder that tells clips apart. A source may have clips of several classes; only the
    numbers of UCF50 and UCF101 (`.avi` files) count for each class anew. What is left is a source by itself.

    Args:
        video_paths: Paths of the clips, `data_dir/class/.../clip`.
        data_dir: Folder with the class folders; without it, folders say nothing.
        group_by: A regular expression that is searched in the path below `data_dir`, with `/` between them:
            the source is what its parentheses hold, or all that it matches; or a level, 1 for the first
            folder inside the class folder; or a function from a path to the name of its source.
        level: Which folder inside the class folder names sources, where it was found already.
        copies: Whether to compare the content of the files, so that identical clips have one source.

    Raises:
        ValueError: If `group_by` is no regular expression or level, or a clip does not fit it.
    """
    paths = [Path(path) for path in video_paths]
    relative = [_relative(path, data_dir) for path in paths]
    if group_by is not None:
        sources = _asked_for(paths, relative, group_by)
    else:
        if level is None and data_dir is not None:
            level = find_level(relative)
        sources = _read(relative, level)
    return join_copies(paths, sources) if copies else sources


def given_sources(groups: Iterable | None, count: int) -> Sources:
    """Return the sources that a caller names, or, without `groups`, of clips of which nothing is known.

    Raises:
        ValueError: If there are not as many groups as clips.
    """
    if groups is None:
        return Sources(_texts(range(count)), "", known=np.zeros(count, bool))
    groups = _texts(groups)
    if len(groups) != count:
        raise ValueError(f"groups must be as many as clips, got {len(groups)} and {count}")
    return Sources(groups, "as given")


def read_groups(
    video_paths: Sequence[str | os.PathLike],
    group_of: Callable[[Path], str] | None = None,
    *,
    data_dir: str | os.PathLike | None = None,
) -> np.ndarray:
    """Find the source of each clip, see `find_sources`; a warning tells where it is not known.

    Names and folders are read, not the files: `find_sources(..., copies=True)` also joins identical ones.

    Args:
        video_paths: Paths of the clips, `data_dir/class/.../clip`.
        group_of: Function from a path to the name of its source.
        data_dir: Folder with the class folders; without it, folders say nothing.

    Returns:
        str (N,), the source of each clip.
    """
    sources = find_sources(video_paths, data_dir, group_by=group_of)
    warn_if_unknown(sources)
    return sources.groups


def warn_if_unknown(sources: Sources) -> None:
    """Warn where clips count as sources of their own because nothing tells where they come from."""
    if sources.alone:
        warnings.warn(
            f"{sources.alone} of {len(sources.groups)} clips name no source video (no _g01_ in the name, no "
            "own folder): each counts as a source of its own, so clips cut from one video may stand on both "
            f"sides{'; ' + sources.advice if sources.advice else ''}",
            stacklevel=3,
        )


def _relative(path: Path, data_dir: str | os.PathLike | None) -> PurePosixPath:
    """Return the path below the data folder, printable, with one way of writing accents."""
    path = Path(path)
    if data_dir is not None:
        path = path.absolute().relative_to(Path(data_dir).absolute())
    text = os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")
    return PurePosixPath(unicodedata.normalize("NFC", text))


def _asked_for(paths: Sequence[Path], relative: Sequence[PurePosixPath], group_by) -> Sources:
    if callable(group_by):
        return Sources(_texts(group_by(path) for path in paths), "as a function says", group_by=FUNCTION)
    asked = str(group_by)
    if asked.isdecimal():
        level = int(asked)
        short = [path for path in relative if len(path.parts) < level + 2]
        if level < 1 or short:
            raise ValueError(
                f"group_by must be a level from 1 on at which each clip lies in a folder inside its class "
                f"folder, got {asked}" + (f", and {short[0]} has {len(short[0].parts) - 2}" if short else "")
            )
        groups = _texts("/".join(path.parts[1 : level + 1]) for path in relative)
        return Sources(groups, f"the {level} outermost folders inside the class folder", group_by=asked)
    try:
        pattern = re.compile(asked)
    except re.error as error:
        raise ValueError(
            f"group_by must be a regular expression or a level, got {asked!r}: {error}"
        ) from error
    matches = [pattern.search(str(path)) for path in relative]
    others = [str(path) for path, match in zip(relative, matches, strict=True) if match is None]
    if others:
        raise ValueError(
            f"group_by must match every clip, got {asked!r}, which {len(others)} do not: {others[0]}"
        )
    groups = _texts("/".join(filter(None, match.groups())) or match[0] for match in matches)
    return Sources(groups, f"what {asked!r} finds in the path", group_by=asked)


def _read(relative: Sequence[PurePosixPath], level: int | None) -> Sources:
    groups, ways = [], []
    for path in relative:
        group, way = read_source(path, level)
        groups.append(group)
        ways.append(way)
    known, advice = np.array([bool(way) for way in ways], bool), ""
    if not known.all():
        advice = advise_on_names(relative)
    elif level is not None:
        advice = advise_on_folders(relative, groups, level)
    how = ", ".join(dict.fromkeys(filter(None, ways)))
    return Sources(_texts(groups), how, known, advice=advice, level=level)


def join_copies(video_paths: Sequence[str | os.PathLike], sources: Sources) -> Sources:
    """Join the sources that share identical files, where the files exist and are not empty."""
    groups, rows = sources.groups, np.arange(len(video_paths))
    first_of, original = {}, rows.copy()  # of each clip, the first one with its content
    for row, path in enumerate(map(Path, video_paths)):
        if path.is_file() and path.stat().st_size:
            original[row] = first_of.setdefault(content_digest(path), row)
    names, group_of_row = np.unique(groups, return_inverse=True)
    same = coo_array((np.ones(len(rows)), (group_of_row, group_of_row[original])), shape=(len(names),) * 2)
    _, joined = connected_components(same, directed=False)  # of each name
    _, first_name = np.unique(joined, return_index=True)
    return replace(sources, groups=names[first_name[joined]][group_of_row], copied=original != rows)


def _texts(groups: Iterable[str]) -> np.ndarray:
    return np.array([str(group) for group in groups], dtype=str)
