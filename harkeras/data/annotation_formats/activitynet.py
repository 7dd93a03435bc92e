"""ActivityNet's JSON: videos by their ids, each with its segments."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePosixPath

from harkeras.data._annotation_files import Annotation, AnnotationFile, to_label, to_seconds
from harkeras.data._video_folder import VideoFolder, is_web
from harkeras.data.annotation_formats.tables import find_youtube_id
from harkeras.data.annotation_formats.videos import VideoRanges, problem_with


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


def write_activitynet(videos: list[VideoRanges], problems: list[str]) -> str:
    """Write the JSON; the id of a video is its name without suffix, or that on YouTube."""
    database: dict[str, dict] = {}
    for each in videos:
        key = find_youtube_id(each.name) or PurePosixPath(each.name).stem
        if key in database:
            problems += [problem_with(item, f"another video has the id {key}") for item in each.annotations]
            continue
        entry: dict = {"subset": "training"}
        if each.info:
            entry["duration"] = each.info.duration_seconds
            entry["resolution"] = f"{each.info.width}x{each.info.height}"
        if is_web(each.name):
            entry["url"] = each.name
        segments = [(list(map(float, item[1:3])), item.label) for item in each.annotations]
        entry["annotations"] = [{"segment": segment, "label": label} for segment, label in segments]
        database[key] = entry
    labels = sorted({label["label"] for entry in database.values() for label in entry["annotations"]})
    root = {"nodeId": 0, "nodeName": "Root", "parentId": None, "parentName": None}
    nodes = [
        root | {"nodeId": n, "nodeName": label, "parentId": 0, "parentName": "Root"}
        for n, label in enumerate(labels, start=1)
    ]
    content = {"version": "VERSION 1.3", "taxonomy": [root, *nodes], "database": database}
    return json.dumps(content, indent=1, ensure_ascii=False)
