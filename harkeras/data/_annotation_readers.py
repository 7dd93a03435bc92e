"""Readers of files of time ranges: tables, and what labeling tools export.

Some count frames instead of seconds. These are turned into seconds by the rate or the times of the video's
frames, so their videos are opened when the file is read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

from harkeras.base.text import from_cell
from harkeras.data._annotation_files import (
    Annotation,
    AnnotationFile,
    VideoFolder,
    is_web,
    match_columns,
    to_label,
    to_seconds,
)
from harkeras.video.reading import VideoError, VideoInfo

_RANGE = re.compile(r"(\d+\.?\d*|\.\d+)(?:\s*to\s*|\s+)(\d+\.?\d*|\.\d+)")


def list_readers(end_tag: str, fps: float | None) -> dict[str, Callable]:
    """Return for each format what reads its annotations, from a file and the folder of its videos."""
    return {
        "csv": _read_plain,
        "kinetics": _read_kinetics,
        "gmdcsa": _read_gmdcsa,
        "vott": partial(_read_vott, end_tag=end_tag),
        "activitynet": _read_activitynet,
        "label_studio": partial(_read_label_studio, fps=fps),
        "cvat": partial(_read_cvat, fps=fps),
    }


def _read_plain(file: AnnotationFile, videos: VideoFolder) -> Iterator[Annotation | str]:
    """Read `video, start_seconds, end_seconds, label` and, if there, `person`; Create ML's names also do."""

    def read_row(source, row):
        columns = match_columns("csv", list(row))
        start, end = (to_seconds(row[columns[name]], name) for name in ("start_seconds", "end_seconds"))
        video, label = _text(row[columns["video"]]), to_label(_text(row[columns["label"]]))
        yield Annotation(videos.find(video), start, end, label, _text(row.get("person")), source)

    return file.each_row(read_row)


def _text(cell: object) -> str:
    return from_cell(cell) if isinstance(cell, str) else ""


def _read_kinetics(file: AnnotationFile, videos: VideoFolder) -> Iterator[Annotation | str]:
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
            yield Annotation(clip, 0.0, _end_of(_read_info(clip)), label, source=source)
        else:
            video = videos.find_stem(youtube_id) or f"https://www.youtube.com/watch?v={youtube_id}"
            yield Annotation(video, start, end, label, source=source)

    return file.each_row(read_row)


def _read_gmdcsa(file: AnnotationFile, videos: VideoFolder) -> Iterator[Annotation | str]:
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


def _read_info(video: Path | str) -> VideoInfo:
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


def _end_of(info: VideoInfo) -> float:
    """Return when the last frame goes, on the clock that time ranges count on."""
    return float(info.frame_seconds[-1]) + 1 / info.fps


class _Mark(NamedTuple):
    """A tag on one frame of a video."""

    video: str
    seconds: float
    tag: str
    source: str


def _read_vott(file: AnnotationFile, videos: VideoFolder, *, end_tag: str) -> Iterator[Annotation | str]:
    """Read an export of VoTT 2: a tag on a frame opens a range, `end_tag` on a later frame closes it.

    The frame that closes a range is not part of it. A frame may close one range and open the next.
    """
    marks: dict[str, list[_Mark]] = {}
    read = _vott_json if file.first_letter == "{" else _vott_csv
    for mark in read(file):
        if isinstance(mark, str):
            yield mark
        else:
            marks.setdefault(mark.video, []).append(mark)
    for name, of_video in marks.items():
        try:
            video = videos.find_inside(name)
            if not video.is_file():  # VoTT may write spaces as %20
                video = videos.find_inside(unquote(name))
        except ValueError as error:
            yield f"{of_video[0].source}: {error}"
        else:
            yield from _pair(of_video, video, end_tag)


def _vott_json(file: AnnotationFile) -> Iterator[_Mark | str]:
    for key, entry in file.json["assets"].items():
        source = f"{file.name} {key}"
        try:
            asset, source = entry["asset"], f"{file.name} {entry['asset']['name']}"
            tags = dict.fromkeys(tag for region in entry["regions"] for tag in region["tags"])
            if tags:
                name, seconds = _split_name(asset["name"])
                seconds = to_seconds(asset.get("timestamp", seconds), "timestamp")
                for tag in tags:
                    yield _Mark(name, seconds, to_label(tag), source)
        except ValueError as error:
            yield f"{source}: {error}"
        except (KeyError, TypeError, AttributeError):
            yield f"{file.name} {key}: not an asset with its regions and their tags"


def _vott_csv(file: AnnotationFile) -> Iterator[_Mark | str]:
    def read_row(source, row):
        name, seconds = _split_name(row["image"])
        yield _Mark(name, seconds, to_label(row["label"]), source)

    return file.each_row(read_row)


def _split_name(name: str) -> tuple[str, float]:
    video, separator, seconds = name.rpartition("#t=")
    if not separator or not video:
        raise ValueError(f"{name!r} is not a frame of a video, such as 'video.mp4#t=12.5'")
    return video, to_seconds(seconds, "the time")


def _pair(marks: list[_Mark], video: Path | str, end_tag: str) -> Iterator[Annotation | str]:
    opened: dict[str, _Mark] = {}
    for seconds, frame in groupby(sorted(marks, key=lambda mark: mark.seconds), lambda mark: mark.seconds):
        tags = {mark.tag: mark for mark in frame}
        closing = tags.pop(end_tag, None)
        if closing:
            for label, mark in opened.items():
                yield Annotation(video, mark.seconds, seconds, label, source=mark.source)
            if not opened:
                yield f"{closing.source}: {end_tag!r} closes nothing"
            opened = {}
        if tags:
            for label, mark in opened.items():
                yield f"{mark.source}: {label} is not closed by {end_tag!r} before {seconds:g} s"
            opened = tags
    for label, mark in opened.items():
        yield f"{mark.source}: {label} is never closed by {end_tag!r}"


def _read_activitynet(file: AnnotationFile, videos: VideoFolder) -> Iterator[Annotation | str]:
    """Read ActivityNet's JSON: `database`, by id of the video, with its `annotations`, `segment` and `label`.

    A video is a file `v_<id>` or `<id>`; where there is none, its `url` on the web is taken.
    """
    for key, entry in file.json["database"].items():
        try:
            video = videos.find_stem(f"v_{key}", key)
            if video is None:
                url = entry.get("url", "")
                video = url if is_web(url) else videos.find_inside(f"{key}.mp4")
            annotations = entry["annotations"]
            annotations = [annotations] if isinstance(annotations, dict) else list(annotations)
        except (KeyError, TypeError, AttributeError, ValueError):
            yield f"{file.name} {key}: not a video with its annotations"
            continue
        for number, annotation in enumerate(annotations, start=1):
            source = f"{file.name} {key} annotation {number}"
            try:
                start, end = (to_seconds(value, "segment") for value in annotation["segment"])
                yield Annotation(video, start, end, to_label(annotation["label"]), source=source)
            except (KeyError, TypeError, ValueError) as error:
                yield f"{source}: not a segment [start, end] with its label: {error}"


def _read_label_studio(
    file: AnnotationFile, videos: VideoFolder, *, fps: float | None
) -> Iterator[Annotation | str]:
    """Read Label Studio's JSON: ranges of frames of `TimelineLabels`, or of seconds of `Labels` on the sound.

    Frames count from 1 and the last one is part of the range. They are frames of the rate that the labeling
    interface has as `frameRate`, which the export does not say: the task's `fps`, else `fps`, else that of
    the video.
    """
    info_of = cache(_read_info)
    for task in file.json:
        source = f"{file.name} task {task.get('id') if isinstance(task, dict) else '?'}"
        try:
            video = _label_studio_video(task["data"], videos)
            finished = [each for each in task["annotations"] if not each.get("was_cancelled")]
            results = [result for annotation in finished for result in annotation["result"]]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            yield f"{source}: not a task with its video and annotations: {error}"
            continue
        for result in results:
            try:
                value, rate = result["value"], task["data"].get("fps", fps)
                if "ranges" in value and rate is None:
                    rate = info_of(video).fps
                for label in value.get("timelinelabels", value.get("labels", ())):
                    for start, end in _label_studio_ranges(value, rate):
                        yield Annotation(video, start, end, to_label(label), source=source)
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                yield f"{source}: {error}"


def _label_studio_video(data: dict, videos: VideoFolder) -> Path | str:
    """Return the video of a task: uploads bear 8 digits before their names, local files are behind `?d=`."""
    addresses = [each for key, each in data.items() if isinstance(each, str) and key.startswith("video")]
    if not addresses:
        raise ValueError("no key of its data begins with video")
    address = addresses[0]
    path = unquote(address.partition("?d=")[2] or urlsplit(address).path).replace("\\", "/")
    name = path.rpartition("/")[2]
    for candidate in (name, re.sub(r"^[0-9a-f]{8}-", "", name)):
        video = videos.find_inside(candidate)
        if video.is_file():
            return video
    return address if is_web(address) else video


def _label_studio_ranges(value: dict, fps: float | None) -> Iterator[tuple[float, float]]:
    if "ranges" not in value:
        yield to_seconds(value["start"], "start"), to_seconds(value["end"], "end")
        return
    fps = float(fps)
    if not 0 < fps < math.inf:
        raise ValueError(f"fps must be positive, got {fps}")
    for frames in value["ranges"]:
        yield (to_seconds(frames["start"], "start") - 1) / fps, to_seconds(frames["end"], "end") / fps


def _read_cvat(file: AnnotationFile, videos: VideoFolder, *, fps: float | None) -> Iterator[Annotation | str]:
    """Read CVAT's "CVAT for video 1.1": a track is an action for as long as it is not outside the picture.

    Frames are those of the video, from 0, also where the task has left some out.
    """
    root = file.xml
    if root.find("track") is None:
        raise ValueError("no tracks in it; export the task from CVAT as 'CVAT for video 1.1'")
    names = {source.text or "" for source in root.iterfind("meta//source")}
    if len(names) != 1:
        raise ValueError(f"it must be of one video, and names {len(names)}; export each task of its own")
    video = videos.find_inside(*names)
    step = int(re.sub(r"\D", "", root.findtext("meta//frame_filter") or "") or 1)
    info_of = cache(_read_info)
    for track in root.iter("track"):
        source = f"{file.name} track {track.get('id')}"
        try:
            label = to_label(track.get("label"))
            for frames in _visible(track, step):
                start, end = (frame / fps if fps else _appears(frame, info_of(video)) for frame in frames)
                yield Annotation(video, start, end, label, source=source)
        except (KeyError, TypeError, ValueError) as error:
            yield f"{source}: {error}"


def _visible(track: ElementTree.Element, step: int) -> Iterator[tuple[int, int]]:
    """Yield the first frame of each time that a track is in the picture, and the first one after it."""
    start = last = None
    for shape in sorted(track, key=lambda shape: int(shape.attrib["frame"])):
        frame, outside = int(shape.attrib["frame"]), shape.get("outside") == "1"
        if outside and start is not None:
            yield start, frame
            start = None
        elif not outside:
            start = frame if start is None else start
            last = frame
    if start is not None:
        yield start, last + step


def _appears(frame: int, info: VideoInfo) -> float:
    if frame < 0:
        raise ValueError(f"frames count from 0, got {frame}")
    return float(info.frame_seconds[frame]) if frame < info.frame_count else _end_of(info)
