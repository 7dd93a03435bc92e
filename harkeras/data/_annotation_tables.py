"""Readers of tables of time ranges: plain CSV and Create ML's, Kinetics, and the GMDCSA-24 falls."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from harkeras.base.text import from_cell
from harkeras.data._annotation_files import AnnotationFile, match_columns
from harkeras.data._annotation_formats import Annotation, VideoFolder, to_label, to_seconds
from harkeras.video.reading import VideoError, VideoInfo

_RANGE = re.compile(r"(\d+\.?\d*|\.\d+)(?:\s*to\s*|\s+)(\d+\.?\d*|\.\d+)")


def read_plain(file: AnnotationFile, videos: VideoFolder) -> Iterator[Annotation | str]:
    """Read `video, start_seconds, end_seconds, label` and, if there, `person`; Create ML's names also do."""

    def read_row(source, row):
        columns = match_columns("csv", list(row))
        start, end = (to_seconds(row[columns[name]], name) for name in ("start_seconds", "end_seconds"))
        video, label = _text(row[columns["video"]]), to_label(_text(row[columns["label"]]))
        yield Annotation(videos.find(video), start, end, label, _text(row.get("person")), source)

    return file.each_row(read_row)


def _text(cell: object) -> str:
    return from_cell(cell) if isinstance(cell, str) else ""


def read_kinetics(file: AnnotationFile, videos: VideoFolder) -> Iterator[Annotation | str]:
    """Read `label, youtube_id, time_start, time_end`; a file named after the id saves the download.

    That file is the whole video, or, as CVDF gives them, the range alone: `ID_000010_000020.mp4`.
    """

    def read_row(source, row):
        youtube_id = row["youtube_id"]
        if not re.fullmatch(r"[\w-]{11}", youtube_id, re.ASCII):
            raise ValueError(f"youtube_id must be the 11 characters of a YouTube video, got {youtube_id!r}")
        start, end = to_seconds(row["time_start"], "time_start"), to_seconds(row["time_end"], "time_end")
        label = to_label(row["label"])
        clip = videos.find_stem(f"{youtube_id}_{int(start):06d}_{int(end):06d}")
        if clip is not None:  # all of it, as long as it is
            yield Annotation(clip, 0.0, end_of(read_info(clip)), label, source=source)
        else:
            video = videos.find_stem(youtube_id) or f"https://www.youtube.com/watch?v={youtube_id}"
            yield Annotation(video, start, end, label, source=source)

    return file.each_row(read_row)


def read_gmdcsa(file: AnnotationFile, videos: VideoFolder) -> Iterator[Annotation | str]:
    """Read a table `Subject 1/Fall.csv`, whose videos are `Subject 1/Fall/01.mp4` and so on.

    The cell `Falling (SW)[3.4 to 6]; Sitting[0 to 1; 2 to 3.4]` holds three ranges. What stands in
    parentheses, the direction of a fall, is left out, and "Fall" is "Falling". A missing bracket or "to" is
    forgiven.
    """
    person = file.path.absolute().parent.name

    def read_row(source, row):
        video = videos.find(f"{person}/{file.path.stem}/{row['file name']}")
        label, had_range = None, True
        # The last cell, because commas in the description would shift the columns.
        for token in re.split(r"[;\[\]]", (row.get(None) or [row["classes"]])[-1]):
            text = token.strip(": \t\xa0")
            if match := _RANGE.fullmatch(text):
                if label is None:
                    raise ValueError(f"the range {text!r} follows no label")
                had_range = True
                yield Annotation(video, float(match[1]), float(match[2]), label, person, source)
            elif text[:1].isdigit():
                had_range = True
                yield f"{source}: {label}: {text!r} is not a range such as '3.4 to 6'"
            elif text:
                if not had_range:
                    yield f"{source}: {label} has no range"
                label, had_range = to_label(re.sub(r"\s*\(.*", "", text)), False
                label = "Falling" if label == "Fall" else label
        if not had_range:
            yield f"{source}: {label} has no range"

    return file.each_row(read_row)


def read_info(video: Path | str) -> VideoInfo:
    """Read how long a video is, and when its frames appear.

    Raises:
        ValueError: If it is not there or cannot be read.
    """
    try:
        return VideoInfo.read(video)
    except (OSError, VideoError) as error:
        raise ValueError(
            f"the range is known only with the video (numbers of frames: or fps): {error}"
        ) from error


def end_of(info: VideoInfo) -> float:
    """Return when the last frame goes, on the clock that time ranges count on."""
    return float(info.frame_seconds[-1]) + 1 / info.fps
