"""Tables: the plain one, that of Kinetics and that of the GMDCSA-24 falls."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

from harkeras.base.text import from_cell, to_cell
from harkeras.data._annotation_files import Annotation, AnnotationFile, match_columns, to_label, to_seconds
from harkeras.data._video_folder import VideoFolder, is_web
from harkeras.data.annotation_formats.frames import end_of, read_info
from harkeras.data.annotation_formats.videos import VideoRanges, problem_with

_YOUTUBE_ID = r"[\w-]{11}"
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
        if not re.fullmatch(_YOUTUBE_ID, youtube_id, re.ASCII):
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


def write_plain(videos: list[VideoRanges], problems: list[str]) -> str:
    """Write `video, start_seconds, end_seconds, label, person`."""
    rows = [
        [
            to_cell(each.name),
            *map(float, annotation[1:3]),
            to_cell(annotation.label),
            to_cell(annotation.person),
        ]
        for each in videos
        for annotation in each.annotations
    ]
    return _to_csv([["video", "start_seconds", "end_seconds", "label", "person"], *rows])


def write_kinetics(videos: list[VideoRanges], problems: list[str]) -> str:
    """Write `label, youtube_id, time_start, time_end`; a file must be named after its id on YouTube."""
    rows = []
    for each in videos:
        youtube_id = find_youtube_id(each.name)
        for annotation in each.annotations:
            if youtube_id is None:
                problems.append(problem_with(annotation, "Kinetics names a video by its id on YouTube"))
            else:
                rows.append([annotation.label, youtube_id, *map(float, annotation[1:3]), "train"])
    return _to_csv([["label", "youtube_id", "time_start", "time_end", "split"], *rows])


def find_youtube_id(name: str) -> str | None:
    """Return the id that the address of a video on YouTube holds, or that a file is named after."""
    stem = rf"(?:.*/)?({_YOUTUBE_ID})\.\w+"
    address = rf"https?://(?:[\w.]*youtube\.com/watch\?(?:.*&)?v=|youtu\.be/)({_YOUTUBE_ID})(?:[&?#].*)?"
    match = re.fullmatch(address if is_web(name) else stem, name, re.ASCII)
    return match[1] if match else None


def _to_csv(rows: list[list]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()
