"""VoTT 2: a tag on a frame opens a range, another tag on a later frame closes it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote

from harkeras.data._annotation_files import Annotation, AnnotationFile, to_label, to_seconds
from harkeras.data._video_folder import VideoFolder, is_web
from harkeras.data.annotation_formats.videos import VideoRanges, problem_with


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
    read = _marks_of_json if file.first_letter == "{" else _marks_of_csv
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


def _marks_of_json(file: AnnotationFile) -> Iterator[_Mark | str]:
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


def _marks_of_csv(file: AnnotationFile) -> Iterator[_Mark | str]:
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


def write_vott(videos: list[VideoRanges], problems: list[str], *, end_tag: str) -> str:
    """Write an export in JSON. Ranges that overlap would be no pairs of tags: it holds the earliest."""
    assets = {}
    for each in videos:
        for seconds, tags in _tags_of(each, problems, end_tag):
            name = f"{each.name}#t={seconds!r}"
            key = hashlib.md5(f"file:{name}".encode(), usedforsecurity=False).hexdigest()
            assets[key] = {"asset": _asset(key, name, seconds, each), "regions": _regions(key, tags, each)}
    labels = sorted({annotation.label for each in videos for annotation in each.annotations})
    tags = [{"name": tag, "color": "#5db300"} for tag in dict.fromkeys([*labels, end_tag])]
    return json.dumps({"name": "harkeras", "version": "2.2.0", "tags": tags, "assets": assets}, indent=1)


def _tags_of(video: VideoRanges, problems: list[str], end_tag: str) -> Iterator[tuple[float, list[str]]]:
    """Yield the frames that bear tags, in order of time, each with its tags."""
    frames: dict[float, list[str]] = {}
    start = end = -1.0  # of the range that was written last
    for annotation in video.annotations:
        if is_web(video.name):
            problems.append(problem_with(annotation, "VoTT names files, and no addresses"))
        elif annotation.label == end_tag:
            problems.append(problem_with(annotation, f"{end_tag!r} is the tag that closes ranges"))
        elif annotation[1:3] == (start, end):
            frames[start].append(annotation.label)
        elif annotation.start_seconds < end:
            problems.append(problem_with(annotation, f"overlaps a range that ends at {end:g} s"))
        else:
            start, end = map(float, annotation[1:3])
            frames.setdefault(start, []).append(annotation.label)
            frames[end] = [end_tag]
    yield from sorted(frames.items())


def _asset(key: str, name: str, seconds: float, video: VideoRanges) -> dict:
    kind = PurePosixPath(video.name).suffix[1:]
    parent = {"format": kind, "id": hashlib.md5(video.name.encode(), usedforsecurity=False).hexdigest()}
    parent |= {"name": video.name, "path": f"file:{video.name}", "state": 2, "type": 2}
    frame = {"format": kind, "id": key, "name": name, "path": f"file:{name}", "state": 2, "type": 3}
    return frame | {"timestamp": seconds, "parent": parent}


def _regions(key: str, tags: list[str], video: VideoRanges) -> list[dict]:
    width, height = (video.info.width, video.info.height) if video.info else (1, 1)
    corners = [{"x": x, "y": y} for x, y in ((0, 0), (width, 0), (width, height), (0, height))]
    box = {"left": 0, "top": 0, "width": width, "height": height}
    return [{"id": key[:9], "type": "RECTANGLE", "tags": tags, "boundingBox": box, "points": corners}]
