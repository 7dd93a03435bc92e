"""Readers of what labeling tools export: VoTT 2, Label Studio, ActivityNet and CVAT.

Some count frames instead of seconds. These are turned into seconds by the rate or the times of the video's
frames, so their videos are opened when the file is read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

from harkeras.data._annotation_files import AnnotationFile
from harkeras.data._annotation_formats import Annotation, VideoFolder, is_web, to_label, to_seconds
from harkeras.data._annotation_tables import end_of, read_info
from harkeras.video.reading import VideoInfo


class _Mark(NamedTuple):
    """A tag on one frame of a video."""

    video: str
    seconds: float
    tag: str
    source: str


def read_vott(file: AnnotationFile, videos: VideoFolder, *, end_tag: str) -> Iterator[Annotation | str]:
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


def read_activitynet(file: AnnotationFile, videos: VideoFolder) -> Iterator[Annotation | str]:
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


def read_label_studio(
    file: AnnotationFile, videos: VideoFolder, *, fps: float | None
) -> Iterator[Annotation | str]:
    """Read Label Studio's JSON: ranges of frames of `TimelineLabels`, or of seconds of `Labels` on the sound.

    Frames count from 1 and the last one is part of the range. They are frames of the rate that the labeling
    interface has as `frameRate`, which the export does not say: the task's `fps`, else `fps`, else that of
    the video.
    """
    info_of = cache(read_info)
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


def read_cvat(file: AnnotationFile, videos: VideoFolder, *, fps: float | None) -> Iterator[Annotation | str]:
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
    info_of = cache(read_info)
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
    return float(info.frame_seconds[frame]) if frame < info.frame_count else end_of(info)
