"""Label Studio's JSON: labels on the timeline of a video, in frames that count from 1."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from harkeras.data._annotation_files import Annotation, AnnotationFile, to_label, to_seconds
from harkeras.data._video_folder import VideoFolder, is_web
from harkeras.data.annotation_formats.frames import frame_range, read_info
from harkeras.data.annotation_formats.videos import VideoRanges, problem_with


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
            video = _video_of(task["data"], videos)
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
                    for start, end in _ranges_of(value, rate):
                        yield Annotation(video, start, end, to_label(label), source=source)
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                yield f"{source}: {error}"


def _video_of(data: dict, videos: VideoFolder) -> Path | str:
    """Return the video of a task: uploads bear 8 digits before their names, local files are behind `?d=`."""
    addresses = [each for key, each in data.items() if isinstance(each, str) and key.startswith("video")]
    if not addresses:
        raise ValueError("no key of its data begins with video")
    address = addresses[0]
    path = unquote(address.partition("?d=")[2] or urlsplit(address).path).replace("\\", "/")
    name = path.rpartition("/")[2]
    within = path if "?d=" in address or not path.startswith("/") else name
    for candidate in (within.lstrip("/"), name, re.sub(r"^[0-9a-f]{8}-", "", name)):
        video = videos.find_inside(candidate)
        if video.is_file():
            return video
    return address if is_web(address) else videos.find_inside(within.lstrip("/"))


def _ranges_of(value: dict, fps: float | None) -> Iterator[tuple[float, float]]:
    if "ranges" not in value:
        yield to_seconds(value["start"], "start"), to_seconds(value["end"], "end")
        return
    fps = float(fps)
    if not 0 < fps < math.inf:
        raise ValueError(f"fps must be positive, got {fps}")
    for frames in value["ranges"]:
        yield (to_seconds(frames["start"], "start") - 1) / fps, to_seconds(frames["end"], "end") / fps


def write_label_studio(videos: list[VideoRanges], problems: list[str], *, fps: float | None) -> str:
    """Write tasks to import into a project with `<Video name="video" value="$video" frameRate="25"/>`.

    That `frameRate` must be the `fps` in the data of the task.
    """
    tasks = []
    for each in videos:
        rate, results = fps or (each.info.fps if each.info else None), []
        for number, annotation in enumerate(each.annotations, start=1):
            try:
                first, after = frame_range(*annotation[1:3], None, rate)
            except ValueError as error:
                problems.append(problem_with(annotation, str(error)))
                continue
            ranges = [{"start": first + 1, "end": after}]
            value = {"ranges": ranges, "timelinelabels": [annotation.label]}
            place = {"from_name": "timelineLabels", "to_name": "video", "type": "timelinelabels"}
            results.append({"id": f"range{number}", "value": value, "origin": "manual", **place})
        address = each.name if is_web(each.name) else f"/data/local-files/?d={quote(each.name)}"
        data = {"video": address, "fps": rate}
        tasks.append({"id": len(tasks) + 1, "data": data, "annotations": [{"result": results}]})
    return json.dumps(tasks, indent=1, ensure_ascii=False)
