"""What the names of clips and their folders say about sources. A path is the one below the data folder."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

_NUMBER = re.compile(r"_g(\d+)_")
# UCF50 and UCF101: v_Biking_g03_c02.avi. Their number counts the sources of one class.
_UCF = re.compile(r"v_.*_g(\d+)_c\d+\.avi", re.IGNORECASE)
# HMDB51: <video>_<action>_<visible part>_<camera>_np<people>_<view>_<quality>_<number>.avi
_HMDB = re.compile(r"(.+)_[fhlu]_(?:cm|nm)_np\d+_(?:ba|fr|le|ri)_(?:bad|goo|med)_\d+\.\w+", re.IGNORECASE)
# What other data sets put the source into, all of the name being of their form.
_CONVENTIONS = {
    "the video on YouTube in the names of Kinetics": re.compile(r"(.{11})_\d{6}_\d{6}\.\w+"),
    "the person in the names of KTH": re.compile(r"(person\d+)_[a-z]+_d\d.*", re.IGNORECASE),
    "the person in the names of NTU RGB+D": re.compile(r"S\d{3}C\d{3}(P\d{3})R\d{3}A\d{3}.*"),
}
# Jump_3_12.mp4: what stands before the last number may be the source.
_COUNTED = r"([^/]*[^/\d_-])?[_-]?(\d+)[_-]\d+\.\w+$"
_ORDINALS = {1: "first", 2: "second", 3: "third"}


def read_source(path: PurePosixPath, level: int | None) -> tuple[str, str]:
    """Return the source of a clip, and what names it; the clip itself, and "", if nothing does.

    Args:
        path: Where the clip is.
        level: Which folder inside the class folder names sources where names do not; None if none does.
    """
    for way, convention in _CONVENTIONS.items():
        if match := convention.fullmatch(path.name):
            return match[1], way
    if ucf := _UCF.fullmatch(path.name):
        return f"{path.name[: ucf.start(1) - 2]}_g{ucf[1]}", "the numbers of UCF's names, class by class"
    if number := _NUMBER.search(path.name):
        return f"g{number[1]}", 'the number after "_g" in the name, the same in every class'
    if hmdb := _HMDB.fullmatch(path.name):
        folder = path.parts[0] if len(path.parts) > 1 else ""
        return _without_action(hmdb[1], folder), "the video in the names of HMDB51"
    if level is not None and len(path.parts) > level + 1:
        return path.parts[level], f"the {_ORDINALS.get(level, f'{level}th')} folder inside the class folder"
    return str(path), ""


def _without_action(name: str, folder: str) -> str:
    """Leave out the words at the end of a name that name the action, as its folder spells it."""
    words, action = name.split("_"), _letters(folder)
    for count in range(len(words) - 1, 0, -1):
        tail = _letters("".join(words[-count:]))
        if tail and (tail == action or (len(tail) > 2 and action.startswith(tail))):
            return "_".join(words[:-count])
    return name


def find_level(paths: Sequence[PurePosixPath]) -> int | None:
    """Return which folder inside the class folder names sources: the outermost that tells clips apart.

    One folder in each class, with the name of the class or the same in all, is left by an unpacked archive.
    """
    deepest = max((len(path.parts) for path in paths), default=0)
    for level in range(1, deepest - 1):
        folders_of = defaultdict(set)  # of each class
        for path in paths:
            folders_of[path.parts[0]].add(path.parts[level] if len(path.parts) > level + 1 else "")
        if any(len(folders) > 1 for folders in folders_of.values()):
            return level
        pairs = [(_letters(name), _letters(*folders)) for name, folders in folders_of.items()]
        same = len({folder for _, folder in pairs}) == 1
        if not same and not all(name in folder or folder in name for name, folder in pairs):
            return level
    return None


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name.casefold())


def advise_on_names(paths: Sequence[PurePosixPath]) -> str:
    """Say which part of the names may be the source, where nothing names it; empty if none."""
    matches = [re.search(_COUNTED, str(path)) for path in paths]
    if not all(matches):
        return ""
    count = len({tuple(filter(None, match.groups())) for match in matches})
    if not 1 < count < len(paths):
        return ""
    return (
        f"names such as {paths[0].name} have a number before the last one; if it is the source, "
        f"pass --group-by '{_COUNTED}' ({count} sources)"
    )


def advise_on_folders(paths: Sequence[PurePosixPath], groups: Sequence[str], level: int) -> str:
    """Say what speaks against the folders of a level as sources; empty if nothing."""
    stems = Counter(path.stem for path in paths if re.search(r"[^\W\d_]{2}", path.stem))
    repeated = [stem for stem, count in stems.items() if count > 1]
    if len(repeated) > len(paths) / 4:
        return (
            f"files of one name lie in several of these folders, such as {repeated[0]}: if they are of one "
            "recording, pass --group-by '([^/]+)[.][^.]+$'"
        )
    outer_of = defaultdict(set)  # of each folder inside those of the level
    for path, group in zip(paths, groups, strict=True):
        if len(path.parts) > level + 2 and path.parts[level] == group:
            outer_of[path.parts[level + 1]].add(group)
    if not outer_of:
        return ""
    shared = min((name for name, outer in outer_of.items() if len(outer) > 1), default=None)
    example = "" if shared is None else f", such as {shared}, which lies in {len(outer_of[shared])} of them"
    return (
        f"there are {len(outer_of)} folders inside these{example}: if they are the sources, pass --group-by "
        f"'^[^/]+/{'[^/]+/' * level}([^/]+)/'"
    )
