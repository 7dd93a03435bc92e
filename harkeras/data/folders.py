"""What lies in a folder of labeled clips: classes, clips and their sources.

The layout is the one of UCF and Kinetics: one folder per class, the clips inside, at any depth. What was
taken for class and source can be printed before anything is read.

Where there is no video at all, pictures are the clips, of one frame each. Of pictures, Stanford-40's layout
is read as well.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from harkeras.base.text import list_some, printable
from harkeras.data._image_lists import PICTURES, has_image_lists, read_image_lists
from harkeras.data.sources import Sources, find_sources
from harkeras.video.images import is_image_name
from harkeras.video.listing import is_hidden, is_video_name, walk_files
from harkeras.video.reading import VIDEO_SUFFIXES

# The parts of a split: Kinetics and data sets of Kaggle have them on top of the classes.
_PARTS = {"train", "training", "val", "valid", "validation", "test", "testing", "eval", "dev"}
# Names that may be parts or persons; each of them may also be a class, so they are no proof.
_PERSON_LIKE = re.compile(
    r"(?:^|[\W_])(?:person|people|subject|subj|actor|user|participant|session|camera|cam|view|scene|room|day|[ps])"
    r"(?:[\W_]*\d+|[\W_]+[a-z]$)",
    re.IGNORECASE,
)
_PART_LIKE = re.compile(
    r"(?:^|(?<=[\W\d_]))(?:train(?:ing|val)?|val(?:id(?:ation)?)?|test(?:ing)?|eval(?:uation)?|dev)"
    r"(?:[\W_]*(?:set|data|split|videos?|clips?))?(?=$|[\W\d_])"
    rf"|(?:^|[\W_])(?:k?-?fold|split|part|set|subset)(?:[\W_]*\d+|[\W_]+[a-z]$)|{_PERSON_LIKE.pattern}",
    re.IGNORECASE,
)

_IsClip = Callable[[Path], bool]  # tells clips by their names


@dataclass(frozen=True, eq=False)
class ClipFolder:
    """The clips of a folder, and what was taken for class and source.

    Attributes:
        data_dir: The folder.
        classes: Names of the classes, in the order of the labels.
        video_paths: The N clips, sorted by class and name.
        labels: int64 (N,), their classes.
        sources: The source of each clip.
        passed_over: Suffixes of files that are no clips, and how many there are.
    """

    data_dir: Path
    classes: tuple[str, ...]
    video_paths: list[Path]
    labels: np.ndarray
    sources: Sources
    passed_over: dict[str, int]

    def __str__(self) -> str:
        """Return what was taken for class and source, a line each."""
        counts = np.bincount(self.labels, minlength=len(self.classes)).tolist()
        names = [f"{name} ({count})" for name, count in zip(self.classes, counts, strict=True)]
        lines = [f"classes, and their clips: {list_some(names)}", str(self.sources)]
        if self.passed_over:
            others = ", ".join(f"{count} {suffix}" for suffix, count in sorted(self.passed_over.items()))
            lines.append(f"passed over, being no videos: {others}")
        return "\n".join(lines)

    @property
    def pictures(self) -> bool:
        """Whether the clips are pictures."""
        return all(map(is_image_name, self.video_paths))

    def places(self, names: Sequence[str]) -> list[str]:
        """Return where each clip lies, class/.../clip without suffix, with these names of the classes."""
        folders = _class_folders(self.data_dir)
        places = []
        for path, label in zip(self.video_paths, self.labels.tolist(), strict=True):
            inside = path.relative_to(folders[_nfc(self.classes[label])]).with_suffix("").as_posix()
            places.append(os.fsencode(f"{names[label]}/{inside}").decode("utf-8", "backslashreplace"))
        return places

    def __getitem__(self, rows: np.ndarray) -> ClipFolder:
        """Return some of the clips."""
        paths = [self.video_paths[row] for row in rows]
        return replace(self, video_paths=paths, labels=self.labels[rows], sources=self.sources[rows])


def read_folder(
    data_dir: str | os.PathLike,
    classes: Sequence[str] | None = None,
    *,
    group_by: str | int | Callable[[Path], str] | None = None,
    level: int | None = None,
    copies: bool = False,
) -> ClipFolder:
    """Find the clips of a folder, their classes and sources; no clip is decoded.

    Args:
        data_dir: Folder with one folder per class.
        classes: Classes to take, in the order of the labels; all, sorted, by default.
        group_by: What names the source of a clip, see `find_sources`.
        level: Which folder inside the class folder names sources, where it was found already.
        copies: Whether to compare the content of the files, so that identical clips have one source.

    Raises:
        FileNotFoundError: If there is no such folder, or none for one of the classes.
        ValueError: If the folder holds no classes of clips, but the parts of a split, or another folder that
            does; if a class has no clip; or if `group_by` does not fit.
    """
    data_dir = Path(data_dir)
    if isinstance(classes, str) or (classes is not None and not len(classes)):
        raise ValueError(f"classes must be a list of names of folders, got {classes!r}")
    if classes is None:
        _check_layout(data_dir)
        classes = list_classes(data_dir)
    paths, labels, passed_over = _list_clips(data_dir, classes)
    sources = find_sources(paths, data_dir, group_by=group_by, level=level, copies=copies)
    return ClipFolder(data_dir, tuple(classes), paths, labels, sources, dict(passed_over))


def list_classes(data_dir: str | os.PathLike) -> list[str]:
    """Return the names of the class folders in `data_dir`, sorted.

    Accents are written as one sign (NFC), however the file system writes them.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it has no class folders, or one whose name is not UTF-8.
    """
    return sorted(_class_folders(Path(data_dir)))


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
        ValueError: If there are no class folders, one of them holds no video, or a class is named twice.
    """
    return _list_clips(Path(data_dir), list_classes(data_dir) if classes is None else classes)[:2]


def _list_clips(data_dir: Path, classes: Sequence[str]) -> tuple[list[Path], np.ndarray, Counter]:
    folders = _class_folders(data_dir)
    if len({_nfc(name) for name in classes}) < len(classes):
        raise ValueError(f"classes must be different names, got {list(classes)}")
    paths, labels, passed_over = [], [], Counter()
    listed, is_clip = _listed(data_dir), _kind_of_clips(data_dir)
    for label, name in enumerate(classes):
        if _nfc(name) not in folders:
            raise FileNotFoundError(
                f"no folder for the class {name!r} in {data_dir}; found {', '.join(sorted(folders))}"
            )
        folder = folders[_nfc(name)]
        files = sorted(walk_files(folder))
        videos = sorted(listed[_nfc(name)]) if listed else [path for path in files if is_clip(path)]
        others = Counter(path.suffix.lower() or "without suffix" for path in files)
        others = Counter() if listed else others - Counter(path.suffix.lower() for path in videos)
        if not videos:
            holds = f", but {', '.join(sorted(others))}" if others else ""
            suffixes = ", ".join(VIDEO_SUFFIXES)
            raise ValueError(f"the class {name!r} has no clip: {folder} holds no {suffixes}{holds}")
        passed_over += others
        paths += videos
        labels += [label] * len(videos)
    return paths, np.array(labels, np.int64), passed_over


def _class_folders(data_dir: Path) -> dict[str, Path]:
    """Return the class folders by their names; of Stanford-40, all pictures lie in one."""
    if not data_dir.is_dir():
        raise FileNotFoundError(f"no folder at {data_dir}")
    if listed := _listed(data_dir):
        return dict.fromkeys(listed, data_dir / PICTURES)
    folders = {}
    for path in sorted(data_dir.iterdir()):
        if not path.is_dir() or _no_class(path.name):
            continue
        if printable(path.name) != path.name:
            raise ValueError(
                f"class folders must have names in UTF-8 without control characters, got "
                f"{os.fsencode(path.name)!r} in {data_dir}: rename it (an archive from another system may "
                "have been unpacked with the wrong encoding)"
            )
        name = _nfc(path.name)
        if name in folders:
            raise ValueError(f"{data_dir} has two folders that both read {name!r}: give one another name")
        folders[name] = path
    if not folders:
        raise ValueError(f"{data_dir} must hold one folder of clips per class, found no folder in it")
    return folders


def _listed(data_dir: Path) -> dict[str, list[Path]]:
    """Return the pictures of each class, where lists name them."""
    return read_image_lists(data_dir) if has_image_lists(data_dir) else {}


def _kind_of_clips(data_dir: Path) -> _IsClip:
    """Return what tells the clips of a folder by their names: pictures where there are no videos."""
    pictures = False
    for path in walk_files(data_dir):
        if is_video_name(path):
            return is_video_name
        pictures = pictures or is_image_name(path)
    return is_image_name if pictures else is_video_name


def _check_layout(data_dir: Path) -> None:
    """Raise ValueError where the folders in `data_dir` cannot be classes."""
    if has_image_lists(data_dir):
        return
    names, is_clip = sorted(_class_folders(data_dir)), _kind_of_clips(data_dir)
    parts = [name for name in names if name.lower() in _PARTS]
    if len({name.lower().startswith("train") for name in parts}) < 2:
        parts = _parts_above_classes(data_dir, is_clip)
    training = [name for name in parts if "train" in name.lower()]
    others = [name for name in parts if name not in training]
    expected = f"{data_dir} must hold one folder per class, got {_some(names)}"
    if training and others:
        raise ValueError(
            f"{expected}, the parts of a split: train on {data_dir / training[0]}, and score the model on "
            f"{_some(others)} with 'harkeras evaluate MODEL FOLDER --clips all'"
        )
    if parts:
        inside = _folders_with_clips(data_dir / parts[0], is_clip)
        raise ValueError(
            f"{expected}, with {_some(inside)} inside: put the classes on top, as in "
            f"{data_dir / inside[0] / parts[0]}, or pass one of the folders, such as {data_dir / parts[0]}; "
            f"if {_some(names)} are the classes, pass these as classes"
        )
    _check_wrapper(data_dir, is_clip)


def _parts_above_classes(data_dir: Path, is_clip: _IsClip) -> list[str]:
    """Return the folders that repeat the same classes for parts of a split or for persons; mostly none.

    Persons inside classes, the layout to recommend, repeat as well: only the names on top tell them apart.
    """
    parts = _folders_with_clips(data_dir, is_clip)
    if len(parts) < 2 or not all(_PART_LIKE.search(name) for name in parts):
        return []
    rest = {re.sub(r"[\W\d_]", "", _PART_LIKE.sub("", name)).lower() for name in parts}
    if len(rest) > 1 or any(_has_clips(data_dir / name, is_clip) for name in parts):  # test drive, train ride
        return []
    shared = set.intersection(*(set(_folders_with_clips(data_dir / name, is_clip)) for name in parts))
    # Where persons or cameras are inside, the persons on top are the classes.
    return parts if len(shared) > 1 and not all(map(_PERSON_LIKE.search, shared)) else []


def _check_wrapper(data_dir: Path, is_clip: _IsClip) -> None:
    """Raise ValueError where the classes are further down, in the only folder that holds clips."""
    wrapper, inside = data_dir, _folders_with_clips(data_dir, is_clip)
    while len(inside) == 1 and (wrapper == data_dir or not _has_clips(wrapper, is_clip)):
        wrapper = wrapper / inside[0]
        inside = _folders_with_clips(wrapper, is_clip)
    if wrapper != data_dir and len(inside) > 1:
        name = wrapper.relative_to(data_dir)
        empty = [other for other in sorted(_class_folders(data_dir)) if other != _nfc(name.parts[0])]
        none_in = f" (none in {_some(empty)})" if empty else ""
        raise ValueError(
            f"{data_dir} must hold one folder per class, got clips only in {str(name)!r}{none_in}, with "
            f"{_some(inside)} inside: if these are the classes, pass {wrapper}"
        )


def _some(names: Sequence[str]) -> str:
    return printable(list_some(names, 5))


def _folders_with_clips(folder: Path, is_clip: _IsClip) -> list[str]:
    """Return the names of the folders that could be classes and hold clips at any depth, sorted."""
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not _no_class(path.name))
    return [path.name for path in inside if any(map(is_clip, walk_files(path)))]


def _has_clips(folder: Path, is_clip: _IsClip) -> bool:
    """Return whether clips lie in a folder itself."""
    return any(is_clip(path) and path.is_file() and not is_hidden(path.name) for path in folder.iterdir())


def _no_class(name: str) -> bool:
    return name.startswith("_") or is_hidden(name)


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)
