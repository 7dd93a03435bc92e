"""Time ranges, written as the tools of this field write them, so that work begun here goes on there."""

from __future__ import annotations

import math
import os
import unicodedata
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from harkeras.base.files import write_text
from harkeras.base.text import list_lines
from harkeras.data._annotation_files import Annotation, to_label
from harkeras.data._video_folder import is_web
from harkeras.data.annotation_formats import list_writers
from harkeras.data.annotation_formats.frames import read_info
from harkeras.data.annotation_formats.videos import VideoRanges, problem_with
from harkeras.video.reading import VideoInfo

_BY_SUFFIX = {".csv": "csv", ".boris": "boris", ".eaf": "elan", ".xml": "cvat"}
_OF_ONE_VIDEO = ("cvat", "elan")
_WITH_PERSONS = ("csv", "boris", "elan")
_WITH_FULL_PATHS = ("csv", "boris")
_WITHOUT_LOOKING = ("csv", "kinetics", "elan")  # they say nothing of rates, lengths and sizes


def write_annotations(
    annotations: Iterable[Annotation],
    path: str | os.PathLike,
    videos: str | os.PathLike | None = None,
    *,
    format: Literal[
        "auto", "csv", "kinetics", "vott", "activitynet", "label_studio", "cvat", "boris", "elan"
    ] = "auto",
    end_tag: str = "dummy",
    fps: float | None = None,
) -> list[Path]:
    """Write the time ranges of actions into a file that `read_annotations` and the tool of that name read.

    A video is called by its path from the folder of the videos, or by its name where it lies elsewhere
    ("csv" and "boris": by its full path). "cvat" and "elan" have a file for each video: of several, each is
    named after `path` and its video. "cvat" and "label_studio" count in frames, and "elan" in milliseconds:
    times are rounded to them.

    What a format cannot hold is listed in one warning, and the rest is written: two ranges at once
    ("vott"; "boris": of one label and person), videos that are not on YouTube ("kinetics"), addresses on the
    web ("vott", "cvat", "boris"), and persons (but for "csv", "boris" and "elan").

    Args:
        annotations: The ranges, in any order.
        path: The file, replaced if it is there.
        videos: Folder that the names of videos count from; by default the one of `path`.
        format: What to write; "auto" knows it by the suffix: .csv, .boris, .eaf, or .xml for "cvat".
        end_tag: For "vott": the tag that closes ranges.
        fps: For "label_studio" and "cvat": frames per second to count at, by default those of the video,
            which is opened for it.

    Returns:
        The files that were written.

    Raises:
        ValueError: If the format is unknown, `fps` is not positive, no range can be written, or two videos
            would have one name.

    Example:
        >>> write_annotations([Annotation("a.mp4", 3.4, 6.0, "Falling")], "a.eaf")
        [PosixPath('a.eaf')]
    """
    path = Path(path)
    writers = list_writers(unicodedata.normalize("NFC", end_tag), fps)
    if format == "auto":
        format = _BY_SUFFIX.get(path.suffix.lower(), f"auto, with a file {path.name}")
    if format not in writers:
        raise ValueError(f"format must be one of {', '.join(sorted(writers))}, got {format}")
    if fps is not None and not 0 < fps < math.inf:
        raise ValueError(f"fps must be positive, got {fps}")
    problems: list[str] = []
    root = Path(videos) if videos is not None else path.parent
    by_video = _by_video(annotations, root, format, problems)
    if format not in _WITHOUT_LOOKING and (fps is None or format != "label_studio"):
        bar = tqdm(by_video, "Looking at videos", unit="video", leave=None)
        by_video = [each._replace(info=_look(each.video)) for each in bar]
    texts = {}
    for file, group in _files(path, by_video, format).items():
        before = len(problems)
        text = writers[format](group, problems)
        if len(problems) - before < sum(len(each.annotations) for each in group):
            texts[file] = text
    if not texts:
        raise ValueError(list_lines("annotations must hold a range that can be written", problems))
    for file, text in texts.items():
        write_text(file, text)
    if problems:
        warnings.warn(list_lines(f"not all could be written to {path}", problems), stacklevel=2)
    return list(texts)


def _by_video(
    annotations: Iterable[Annotation], root: Path, format: str, problems: list[str]
) -> list[VideoRanges]:
    """Group ranges by video, in the order of the videos, and note those that make no sense."""
    groups: dict[str, list[Annotation]] = {}
    with_person = 0
    for annotation in annotations:
        try:
            checked = annotation._replace(label=to_label(annotation.label))
            if not 0 <= checked.start_seconds < checked.end_seconds < math.inf:
                raise ValueError("it must start at 0 or later, and end later than that")
        except ValueError as error:
            problems.append(problem_with(annotation, str(error)))
            continue
        with_person += bool(annotation.person) and format not in _WITH_PERSONS
        groups.setdefault(checked.video_key, []).append(checked)
    if with_person:
        problems.append(f"the persons of {with_person} ranges, for which {format} has no place")
    by_video: dict[str, VideoRanges] = {}
    for group in groups.values():
        video, ranges = group[0].video, sorted(group, key=lambda each: each[1:4])
        name = _name_of(video, root, format)
        if name in by_video:
            raise ValueError(
                f"videos must have names of their own, and {by_video[name].video} and {video} would both be "
                f"{name}; name a folder with both of them (videos)"
            )
        by_video[name] = VideoRanges(name, video, ranges, None)
    return list(by_video.values())


def _name_of(video: Path | str, root: Path, format: str) -> str:
    if is_web(str(video)):
        return str(video)
    full, folder = (Path(os.path.normpath(Path(each).absolute())) for each in (video, root))
    if full.is_relative_to(folder):
        return full.relative_to(folder).as_posix()
    return full.as_posix() if format in _WITH_FULL_PATHS else full.name


def _look(video: Path | str) -> VideoInfo | None:
    try:
        return read_info(video)
    except ValueError:
        return None


def _files(path: Path, by_video: list[VideoRanges], format: str) -> dict[Path, list[VideoRanges]]:
    """Return the files to write, each with its videos."""
    if format not in _OF_ONE_VIDEO or len(by_video) == 1:
        return {path: by_video} if by_video else {}
    files: dict[Path, list[VideoRanges]] = {}
    for each in by_video:
        name = "_".join(Path(each.name).with_suffix("").parts)
        file = path.with_name(f"{path.stem}_{name}{path.suffix}")
        if file in files:  # a.mp4 and a.avi
            file = path.with_name(f"{path.stem}_{name}_{len(files) + 1}{path.suffix}")
        files[file] = [each]
    return files
