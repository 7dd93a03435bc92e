"""Long videos with time ranges -> clips in a folder of classes.

Whoever labels recordings writes down ranges: from 3.4 to 6 seconds somebody falls. A classifier learns from
clips. In between, frames must not slip (a fall that begins half a second early is another action), no range
may be lost in silence, and clips of one recording must be known as such, or they end up on both sides of a
split: see `harkeras.data.splits`.
"""

from __future__ import annotations

import csv
import math
import os
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from harkeras.base.text import printable
from harkeras.data._annotation_exports import read_activitynet, read_cvat, read_label_studio, read_vott
from harkeras.data._annotation_files import AnnotationFile, find_format
from harkeras.data._annotation_formats import Annotation, VideoFolder, shown, to_label
from harkeras.data._annotation_tables import read_gmdcsa, read_kinetics, read_plain
from harkeras.data._clip_index import ClipIndex
from harkeras.data._cut_report import CutReport, list_lines, name_range, report_overlaps
from harkeras.video.decoding import Source
from harkeras.video.frame_times import ROUNDING_SECONDS
from harkeras.video.reading import Frame, VideoError, VideoInfo
from harkeras.video.writing import write_frames
from harkeras.video.youtube import DownloadError, download_youtube_videos, is_url

__all__ = ["Annotation", "cut_clips", "read_annotations"]

# Quality of the clips, for the next encoder or a network to look at: losses are not to be seen.
_CRF = 18


def read_annotations(
    path: str | os.PathLike,
    videos: str | os.PathLike | None = None,
    *,
    format: Literal[
        "auto", "csv", "kinetics", "gmdcsa", "vott", "activitynet", "label_studio", "cvat"
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
    readers = _list_readers(unicodedata.normalize("NFC", end_tag), fps)
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


def _list_readers(end_tag: str, fps: float | None) -> dict[str, Callable]:
    """Return for each format what reads its annotations, from a file and the folder of its videos."""
    return {
        "csv": read_plain,
        "kinetics": read_kinetics,
        "gmdcsa": read_gmdcsa,
        "vott": partial(read_vott, end_tag=end_tag),
        "activitynet": read_activitynet,
        "label_studio": partial(read_label_studio, fps=fps),
        "cvat": partial(read_cvat, fps=fps),
    }


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


def cut_clips(
    annotations: Iterable[Annotation],
    output_dir: str | os.PathLike,
    *,
    group_by: Literal["video", "person"] = "video",
    tolerance_seconds: float = 1.0,
    download_dir: str | os.PathLike = "data",
    strict: bool = False,
) -> list[Path]:
    """Cut each range out of its video, into `output_dir/<class>/v_<Class>_g<group>_c<clip>.mp4`.

    A clip holds exactly the frames that appear in [start_seconds, end_seconds), at their own times and in
    their own size (odd sizes grow by one pixel), encoded anew as H.264 without sound. A class is its label in
    UCF's spelling: "playing cricket" becomes PlayingCricket. The file `clips.csv` in the folder says which
    range became which clip; thanks to it, a second run cuts only what is missing, and more annotations can be
    added to the folder later, also by two runs at once. It is itself a table that `read_annotations` reads.

    At the end, one warning lists by row what was left out (the video is missing or cannot be decoded; the
    range is reversed, empty, a double, or outside the video), and what was cut but wants a look (cut short at
    the end of the video, overlapping ranges, a damaged video, clips whose range is no longer there).

    Args:
        annotations: The ranges; see `read_annotations`.
        output_dir: Folder for the classes, made if missing.
        group_by: What clips of one group share: the source video, or the person, so that a split by group
            tests on people that training has not seen.
        tolerance_seconds: A range may end this much behind the end of its video and is then cut short.
        download_dir: Folder for the videos that are given as URLs.
        strict: Raise on the first range that would be left out or cut short.

    Returns:
        The clips of these ranges, new ones and those of earlier runs.

    Raises:
        ValueError: If `group_by` or `tolerance_seconds` is out of range, a person is missing, the folder's
            clips were grouped otherwise, or two labels would become one class; with `strict`, if a range is
            left out or cut short.
        OSError: If a clip cannot be written. Finished clips stay.

    Example:
        >>> annotations = read_annotations("falls", format="gmdcsa")
        >>> clips = cut_clips(annotations, "data/falls", group_by="person")
    """
    annotations = [each._replace(label=unicodedata.normalize("NFC", each.label)) for each in annotations]
    _check(annotations, group_by, tolerance_seconds)
    index, report, clips = ClipIndex(Path(output_dir), group_by), CutReport(len(annotations), strict), []
    ranges_of = _usable(annotations, report)
    index.check(annotation.label for ranges in ranges_of.values() for annotation in ranges)
    with tqdm(desc="Cutting", total=sum(map(len, ranges_of.values())), unit="clip") as bar:
        for video, ranges in ranges_of.items():
            missing = [annotation for annotation in ranges if not index.has(annotation)]
            bar.update(len(ranges) - len(missing))
            if missing:
                _cut_video(missing, index, report, tolerance_seconds, download_dir, bar)
            finished = [annotation for annotation in ranges if index.has(annotation)]
            clips += map(index.path, finished)
            report_overlaps(finished, report)
            for clip in index.others(video, ranges):
                report.doubtful.append(f"{index.folder / clip}: its range in {video} is no longer there")
    report.warn()
    return clips


def _check(annotations: list[Annotation], group_by: str, tolerance_seconds: float) -> None:
    if not tolerance_seconds >= 0:
        raise ValueError(f"tolerance_seconds must be at least 0, got {tolerance_seconds}")
    if group_by not in ("video", "person"):
        raise ValueError(f"group_by must be 'video' or 'person', got {group_by!r}")
    for annotation in annotations:
        if group_by == "person" and not annotation.person:
            raise ValueError(f"group_by='person' needs every person, got none for {name_range(annotation)}")


def _usable(annotations: list[Annotation], report: CutReport) -> dict[str, list[Annotation]]:
    """Return the ranges of each video that may be cut; report the others."""
    ranges_of: dict[str, dict[tuple, Annotation]] = defaultdict(dict)
    for annotation in annotations:
        problem = _problem(annotation)
        if problem is None:
            ranges, key = ranges_of[annotation.video_key], annotation.range_key
            if key not in ranges:
                ranges[key] = annotation
                continue
            problem = f"it is the same as {name_range(ranges[key])}"
        report.leave_out(annotation, problem)
    return {video: list(ranges.values()) for video, ranges in ranges_of.items()}


def _problem(annotation: Annotation) -> str | None:
    """Return why a range cannot be cut, as far as it can be told without its video."""
    start, end = annotation.start_seconds, annotation.end_seconds
    try:
        to_label(annotation.label)
        if not is_url(annotation.video_key):
            Path(annotation.video_key).is_file()
    except (ValueError, OSError) as error:  # a null byte in the name of the video, or one that is too long
        return shown(error)
    if not start >= 0:
        return "it starts before the video"
    if not end > start:
        return "it is reversed" if end < start else "it is empty"
    return None if end < math.inf else "it has no end"


def _cut_video(
    ranges: list[Annotation], index: ClipIndex, report: CutReport, tolerance_seconds, download_dir, bar
) -> None:
    """Cut ranges out of one video, which is opened and scanned only once."""
    video = ranges[0].video
    try:
        path = download_youtube_videos(video, download_dir).path if is_url(video) else Path(video)
        fps = VideoInfo.read(path).writing_fps
        source = Source(path, threads=0)
    except (OSError, VideoError, DownloadError, ValueError) as error:
        for annotation in ranges:
            report.leave_out(annotation, str(error), annotation.source or None)
        bar.update(len(ranges))
        return
    with closing(source):
        for annotation in ranges:
            if not index.has(annotation):  # else another process has cut it meanwhile
                _cut(annotation, source, index, report, tolerance_seconds, fps)
            bar.update()


def _cut(
    annotation: Annotation, source: Source, index: ClipIndex, report: CutReport, tolerance_seconds, fps
) -> None:
    end, scan = annotation.end_seconds, source.scan
    duration = scan.end_seconds
    if end > duration + tolerance_seconds:
        return report.leave_out(annotation, f"it ends behind the video, which ends at {duration:.3f} s")
    bounds = np.array([annotation.start_seconds, end]) - ROUNDING_SECONDS
    ticks = source.ticks[slice(*np.searchsorted(source.ticks, scan.zero + bounds / float(scan.base)))]
    if not len(ticks):
        return report.leave_out(annotation, f"no frame appears in it; the video ends at {duration:.3f} s")
    if end > duration + 1 / fps:  # less is rounding
        report.doubt(annotation, f"cut short at {duration:.3f} s, where the video ends", bad=True)
    frames = (
        Frame(float((tick - scan.zero) * scan.base), source.to_rgb(frame, None, None))
        for tick, frame in source.decode(ticks)
    )
    try:
        count = write_frames(index.path(annotation), frames, fps, crf=_CRF)
    except ValueError as error:  # nothing decodes, or the size changes in the middle
        index.forget(annotation)
        return report.leave_out(annotation, str(error))
    if count < len(ticks):
        report.doubt(annotation, f"the video is damaged: {count} of {len(ticks)} frames could be read")
