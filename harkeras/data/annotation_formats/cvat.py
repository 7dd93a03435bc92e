"""CVAT for video 1.1: a track of boxes is an action."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from xml.etree import ElementTree

from harkeras.data._annotation_files import Annotation, AnnotationFile, to_label
from harkeras.data._video_folder import VideoFolder, is_web
from harkeras.data.annotation_formats.frames import appears, frame_range, read_info
from harkeras.data.annotation_formats.videos import VideoRanges, problem_with
from harkeras.data.annotation_formats.xml import to_text


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
                start, end = (frame / fps if fps else appears(frame, info_of(video)) for frame in frames)
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


def write_cvat(videos: list[VideoRanges], problems: list[str], *, fps: float | None) -> str:
    """Write the file of one video: each range is a track whose box is the whole picture."""
    (video,) = videos
    info = video.info
    width, height = (info.width, info.height) if info else (1, 1)
    tracks = []
    for annotation in video.annotations:
        try:
            if is_web(video.name):
                raise ValueError("CVAT names files, and no addresses")
            first, after = frame_range(*annotation[1:3], info, fps)
        except ValueError as error:
            problems.append(problem_with(annotation, str(error)))
        else:
            tracks.append((annotation.label, first, after))
    size = info.frame_count if info else max((after for _, _, after in tracks), default=0) + 1
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    facts = {"name": video.name, "size": size, "mode": "interpolation", "overlap": 0, "start_frame": 0}
    for key, fact in (facts | {"stop_frame": size - 1, "frame_filter": "", "source": video.name}).items():
        ElementTree.SubElement(task, key).text = str(fact)
    labels = ElementTree.SubElement(task, "labels")
    for label in sorted({label for label, _, _ in tracks}):
        ElementTree.SubElement(ElementTree.SubElement(labels, "label"), "name").text = label
    picture = ElementTree.SubElement(task, "original_size")
    ElementTree.SubElement(picture, "width").text = str(width)
    ElementTree.SubElement(picture, "height").text = str(height)
    corners = {"xtl": "0", "ytl": "0", "xbr": str(width), "ybr": str(height), "z_order": "0"}
    for number, (label, first, after) in enumerate(tracks):
        track = ElementTree.SubElement(root, "track", id=str(number), label=label, source="manual")
        # The last frame, too: a track that reaches the end of the video has none in which it is outside.
        frames = {first: "0", after - 1: "0"} | ({after: "1"} if after < size else {})
        for frame, outside in frames.items():
            facts = {"frame": str(frame), "outside": outside, "occluded": "0", "keyframe": "1"}
            ElementTree.SubElement(track, "box", facts | corners)
    return to_text(root)
