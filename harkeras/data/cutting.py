"""Long videos with time ranges -> clips in a folder of classes.

A classifier learns from clips. When they are cut out of recordings, frames must not slip (a fall that begins
half a second early is another action), no range may be lost in silence, and clips of one recording must be
known as such, or they end up on both sides of a split: see `harkeras.data.splits`.
"""

from __future__ import annotations

import math
import os
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Iterable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from harkeras.base.text import list_lines, printable
from harkeras.data._annotation_files import Annotation, to_label
from harkeras.data._clip_index import ClipIndex, class_of, read_clip_videos
from harkeras.data._video_folder import shown
from harkeras.data.rest import list_rest
from harkeras.video.decoding import Source
from harkeras.video.frame_times import ROUNDING_SECONDS
from harkeras.video.reading import Frame, VideoError, VideoInfo
from harkeras.video.writing import write_frames
from harkeras.video.youtube import DownloadError, download_youtube_videos, is_url

__all__ = ["class_of", "cut_clips", "read_clip_videos"]

# Quality of the clips, for the next encoder or a network to look at: losses are not to be seen.
_CRF = 18


def cut_clips(
    annotations: Iterable[Annotation],
    output_dir: str | os.PathLike,
    *,
    group_by: Literal["video", "person"] = "video",
    tolerance_seconds: float = 1.0,
    rest: str | None = None,
    rest_seconds: float | None = None,
    rest_margin_seconds: float = 0.5,
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
        rest: Name of a class, such as "Nothing", whose clips are cut from the time of these videos that no
            annotation covers, so that a model learns what it looks like when nothing happens. What is not
            labeled must then really be nothing; a video without annotations gives none.
        rest_seconds: Length of these clips; the median of the annotations by default. Pass it where
            annotations will be added later, or a later median cuts all of them anew.
        rest_margin_seconds: What to leave out beside each annotation.
        download_dir: Folder for the videos that are given as URLs.
        strict: Raise on the first range that would be left out or cut short.

    Returns:
        The clips of these ranges, new ones and those of earlier runs; those of the rest come video by video.

    Raises:
        ValueError: If `group_by` or a number is out of range, a person is missing, the folder's clips were
            grouped otherwise, two labels would become one class, or `rest` is a label of the annotations;
            with `strict`, if a range is left out or cut short.
        OSError: If a clip cannot be written. Finished clips stay.

    Example:
        >>> annotations = read_annotations("falls", format="gmdcsa")
        >>> clips = cut_clips(annotations, "data/falls", group_by="person")
    """
    annotations = [each._replace(label=unicodedata.normalize("NFC", each.label)) for each in annotations]
    _check(annotations, group_by, tolerance_seconds)
    if rest is not None:
        length, margin = rest_seconds, rest_margin_seconds
        locate = partial(_locate, download_dir=download_dir)
        annotations += list_rest(annotations, rest, clip_seconds=length, margin_seconds=margin, locate=locate)
    index, report, clips = ClipIndex(Path(output_dir), group_by), _CutReport(len(annotations), strict), []
    ranges_of = _usable(annotations, report, group_by)
    index.check(annotation.label for ranges in ranges_of.values() for annotation in ranges)
    with tqdm(desc="Cutting", total=sum(map(len, ranges_of.values())), unit="clip") as bar:
        for video, ranges in ranges_of.items():
            missing = [annotation for annotation in ranges if not index.has(annotation)]
            bar.update(len(ranges) - len(missing))
            if missing:
                _cut_video(missing, index, report, tolerance_seconds, download_dir, bar)
            finished = [annotation for annotation in ranges if index.has(annotation)]
            clips += map(index.path, finished)
            _report_overlaps(finished, report)
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
            raise ValueError(f"group_by='person' needs every person, got none for {_name_range(annotation)}")


def _usable(annotations: list[Annotation], report: _CutReport, group_by: str) -> dict[str, list[Annotation]]:
    """Return the ranges of each video that may be cut; report the others."""
    ranges_of: dict[str, dict[tuple, Annotation]] = defaultdict(dict)
    for annotation in annotations:
        problem = _problem(annotation)
        if group_by == "person" and not annotation.person:  # a rest: others were checked
            problem = "several people were labeled in this video"
        if problem is None:
            ranges, key = ranges_of[annotation.video_key], annotation.range_key
            if key not in ranges:
                ranges[key] = annotation
                continue
            problem = f"it is the same as {_name_range(ranges[key])}"
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
    ranges: list[Annotation], index: ClipIndex, report: _CutReport, tolerance_seconds, download_dir, bar
) -> None:
    """Cut ranges out of one video, which is opened and scanned only once."""
    video = ranges[0].video
    try:
        path = _locate(video, download_dir)
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


def _locate(video: Path | str, download_dir: str | os.PathLike) -> Path:
    """Return the file of a video, downloaded where it is a URL."""
    return download_youtube_videos(video, download_dir).path if is_url(video) else Path(video)


def _cut(
    annotation: Annotation, source: Source, index: ClipIndex, report: _CutReport, tolerance_seconds, fps
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
    decoded = source.decode(ticks)
    frames = (Frame(scan.to_seconds(tick), source.to_rgb(frame, None, None)) for tick, frame in decoded)
    try:
        count = write_frames(index.path(annotation), frames, fps, crf=_CRF)
    except ValueError as error:  # nothing decodes, or the size changes in the middle
        index.forget(annotation)
        return report.leave_out(annotation, str(error))
    if count < len(ticks):
        report.doubt(annotation, f"the video is damaged: {count} of {len(ticks)} frames could be read")


def _report_overlaps(ranges: list[Annotation], report: _CutReport) -> None:
    """Report ranges that overlap, in pairs: each that begins while others last, and the longest of these."""
    by_start = sorted(range(len(ranges)), key=lambda row: ranges[row].start_seconds)
    longest, pairs = by_start[0] if by_start else 0, []
    for row in by_start[1:]:
        end = min(ranges[row].end_seconds, ranges[longest].end_seconds)
        if end - ranges[row].start_seconds > ROUNDING_SECONDS:
            pairs.append((max(row, longest), min(row, longest)))
        longest = max(row, longest, key=lambda each: ranges[each].end_seconds)
    for row, other in sorted(pairs):
        where = "" if ranges[other].source == ranges[row].source else f" of {ranges[other].source}"
        report.doubt(ranges[row], f"it overlaps {_describe(ranges[other])}{where}")


class _CutReport:
    """Collects by row what was left out, and what was cut but wants a look."""

    def __init__(self, count: int, strict: bool):
        """Begin the report of `count` ranges; with `strict`, the first bad one raises ValueError."""
        self.count, self.strict = count, strict
        self.left_out: list[str] = []
        self.doubtful: list[str] = []

    def leave_out(self, annotation: Annotation, reason: str, name: str | None = None) -> None:
        """Note a range that was not cut; `name` stands for it in the message."""
        self._add(self.left_out, f"{name or _name_range(annotation)}: {reason}", self.strict)

    def doubt(self, annotation: Annotation, reason: str, bad: bool = False) -> None:
        """Note a range that was cut; a bad one is an error if the report is strict."""
        self._add(self.doubtful, f"{_name_range(annotation)}: {reason}", bad and self.strict)

    def _add(self, lines: list[str], line: str, fatal: bool) -> None:
        if fatal:
            raise ValueError(line)
        lines.append(printable(line))

    def warn(self) -> None:
        """Say it all in one warning, if there is anything to say."""
        left_out = f"{len(self.left_out)} of {self.count} ranges were left out"
        parts = {left_out: self.left_out, "cut, but worth a look": self.doubtful}
        if text := "\n".join(list_lines(*part) for part in parts.items() if part[1]):
            warnings.warn(text, stacklevel=3)


def _name_range(annotation: Annotation) -> str:
    """Return file and row of a range, and what it is."""
    return f"{shown(annotation.source or annotation.video)}, {_describe(annotation)}"


def _describe(annotation: Annotation) -> str:
    return f"{shown(annotation.label)} {annotation.start_seconds:g} to {annotation.end_seconds:g} s"
