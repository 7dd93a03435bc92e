"""Files in which the actions of long videos are written down: from 3.4 to 6 seconds somebody falls.

Tables and what labeling tools export are read, all into `Annotation`.
"""

from __future__ import annotations

import csv
import math
import os
import unicodedata
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from harkeras.base.text import list_lines, printable
from harkeras.data._annotation_files import Annotation, AnnotationFile, find_format, to_label
from harkeras.data._video_folder import VideoFolder
from harkeras.data.annotation_formats import list_readers

__all__ = ["Annotation", "read_annotations", "to_label"]


def read_annotations(
    path: str | os.PathLike,
    videos: str | os.PathLike | None = None,
    *,
    format: Literal[
        "auto", "csv", "kinetics", "gmdcsa", "vott", "activitynet", "label_studio", "cvat", "boris", "elan"
    ] = "auto",
    end_tag: str = "dummy",
    fps: float | None = None,
    strict: bool = False,
) -> list[Annotation]:
    """Read the time ranges of actions from a file.

    - "csv": a table with the columns `video`, `start_seconds`, `end_seconds`, `label`, in any order, and
      `person` if wanted; or, as Create ML calls them, `video`, `start`, `end`, `label`, also in JSON. A time
      is seconds, or minutes and seconds (1:02.5). A video may be a URL.
    - "kinetics": a table with the columns `label`, `youtube_id`, `time_start`, `time_end`. Videos come from
      YouTube, unless the folder holds a file named after the id, or after id and range.
    - "gmdcsa": a table of the GMDCSA-24 falls such as `Subject 1/Fall.csv`, or the folder with the tables of
      all persons. The direction of a fall is left out: all are "Falling".
    - "vott": an export of VoTT 2, JSON or CSV. A tag on a frame opens a range; `end_tag` on a later frame
      closes it and is not part of it. A frame may close one range and open the next.
    - "activitynet": ActivityNet's JSON.
    - "label_studio": Label Studio's JSON, with labels on the timeline of a video.
    - "cvat": CVAT's "CVAT for video 1.1", where a track is an action.
    - "boris": a project of BORIS, or its table of tabular or of aggregated events (CSV, TSV). State events
      are ranges and subjects are persons; what has no duration is listed.
    - "elan": an .eaf of ELAN. The label is an annotation's value, or its tier's name where that is empty.

    What a tool has exported may name videos in the folder only.

    Args:
        path: The file, or the folder of GMDCSA-24.
        videos: Folder with the videos, searched with its subfolders; by default the one that holds the file.
        format: What the file is; "auto" looks at its content.
        end_tag: For "vott": the tag that closes ranges.
        fps: For "label_studio" and "cvat": frames per second that the numbers of frames count at, such as
            Label Studio's `frameRate`; by default those of the video, which is opened for it.
        strict: Raise on the first row that makes no sense, instead of one warning that lists them all.

    Returns:
        The ranges in the order of the file. Videos are not opened yet.

    Raises:
        FileNotFoundError: If there is no such file or folder, or no table in the folder.
        ValueError: If the format is unknown or not that of the file, or `fps` is not positive; with `strict`,
            if a row makes no sense.

    Example:
        >>> annotations = read_annotations("ranges.csv", "recordings")
        >>> annotations[0][:4]
        (PosixPath('recordings/a.mp4'), 3.4, 6.0, 'Falling')
    """
    readers = list_readers(unicodedata.normalize("NFC", end_tag), fps)
    if format != "auto" and format not in readers:
        raise ValueError(f"format must be auto or one of {', '.join(sorted(readers))}, got {format!r}")
    if fps is not None and not 0 < fps < math.inf:
        raise ValueError(f"fps must be positive, got {fps}")
    annotations, problems = [], []
    for table in _list_tables(Path(path), format):
        for item in _read_table(table, videos, format, readers):
            if isinstance(item, Annotation):
                annotations.append(item)
            elif strict:
                raise ValueError(printable(item))
            else:
                problems.append(printable(item))
    if problems:
        warnings.warn(
            list_lines(f"{len(problems)} ranges of {path} could not be read", problems), stacklevel=2
        )
    return annotations


def _list_tables(path: Path, format: str) -> list[Path]:
    if path.is_dir() and format in ("auto", "gmdcsa"):
        tables = sorted(table for name in ("Fall.csv", "ADL.csv") for table in path.rglob(name))
        if not tables:
            raise FileNotFoundError(f"no Fall.csv or ADL.csv in {path}: a folder must be that of GMDCSA-24")
        return tables
    if not path.is_file():
        raise FileNotFoundError(f"no file of annotations at {path}")
    return [path]


def _read_table(
    table: Path, videos: str | os.PathLike | None, format: str, readers: dict[str, Callable]
) -> list[Annotation | str]:
    try:
        file = AnnotationFile(table)
        format = find_format(file, format)
        folder = Path(videos) if videos is not None else table.parent
        if videos is None and format == "gmdcsa":  # "Subject 1/Fall/01.mp4" counts from above "Subject 1"
            folder = Path(os.path.normpath(table.parent / ".."))
        if not folder.is_dir():
            raise FileNotFoundError(f"no folder of videos at {folder}")
        return list(readers[format](file, VideoFolder(folder, search=videos is not None)))
    except UnicodeDecodeError as error:
        raise ValueError(f"{table} is not text in UTF-8: {error}") from error
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{table}: {error}") from error
