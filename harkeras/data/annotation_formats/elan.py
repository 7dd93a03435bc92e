"""ELAN, with which linguists and others annotate videos: annotations on tiers, in an XML of its own (.eaf).

Wittenburg et al., "ELAN: a Professional Framework for Multimodality Research", LREC 2006. Annotations of
one tier do not overlap. A file belongs to one recording; where several cameras saw it, the first video is
the one.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

from harkeras.data._annotation_files import Annotation, AnnotationFile, to_label, to_seconds
from harkeras.data._video_folder import VideoFolder, is_web
from harkeras.data.annotation_formats.videos import VideoRanges
from harkeras.data.annotation_formats.xml import to_text

_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"


def read_elan(file: AnnotationFile, videos: VideoFolder) -> Iterator[Annotation | str]:
    """Read each annotation that has times: its value is the label, or, where that is empty, its tier's name.

    The participant of a tier is the person. Annotations that only refer to others are left out.
    """
    root = file.xml
    video, origin = _video_of(root, videos)
    slots = {slot.get("TIME_SLOT_ID"): slot.get("TIME_VALUE") for slot in root.iter("TIME_SLOT")}
    for tier in root.iter("TIER"):
        name, person = tier.get("TIER_ID", ""), tier.get("PARTICIPANT", "")
        if tier.find("ANNOTATION/REF_ANNOTATION") is not None:
            yield f"{file.name} tier {name}: its annotations refer to others, and have no times"
        for item in tier.iterfind("ANNOTATION/ALIGNABLE_ANNOTATION"):
            source = f"{file.name} tier {name} {item.get('ANNOTATION_ID')}"
            try:
                label = to_label((item.findtext("ANNOTATION_VALUE") or "").strip() or name)
                start, end = (
                    to_seconds(slots.get(item.get(f"TIME_SLOT_REF{number}")), "the time") / 1000 + origin
                    for number in (1, 2)
                )
                yield Annotation(video, start, end, label, person, source)
            except ValueError as error:
                yield f"{source}: {error}"


def _video_of(root: ElementTree.Element, videos: VideoFolder) -> tuple[Path | str, float]:
    """Return the first video that is linked, and the second of it at which times begin."""
    linked = root.findall("HEADER/MEDIA_DESCRIPTOR")
    linked = [each for each in linked if each.get("MIME_TYPE", "").startswith("video/")] or linked
    if not linked:
        raise ValueError("it links no video; link it in ELAN (Edit, Linked Files)")
    if root.find("HEADER").get("TIME_UNITS", "milliseconds") != "milliseconds":
        raise ValueError("its times must be milliseconds")
    near, far = linked[0].get("RELATIVE_MEDIA_URL"), linked[0].get("MEDIA_URL")
    return videos.find_linked(near or far or ""), to_seconds(
        linked[0].get("TIME_ORIGIN", 0), "TIME_ORIGIN"
    ) / 1000


def write_elan(videos: list[VideoRanges], problems: list[str]) -> str:
    """Write the file of one video: a tier for each person, and more where ranges overlap."""
    (video,) = videos
    xsi = "http://www.w3.org/2001/XMLSchema-instance"
    root = ElementTree.Element("ANNOTATION_DOCUMENT", AUTHOR="harkeras", FORMAT="3.0", VERSION="3.0")
    root.set("DATE", datetime.now(UTC).isoformat(timespec="seconds"))
    root.set(f"{{{xsi}}}noNamespaceSchemaLocation", _SCHEMA)
    header = ElementTree.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    media = ElementTree.SubElement(header, "MEDIA_DESCRIPTOR", MIME_TYPE=_mime_type(video.name))
    if is_web(video.name):
        media.set("MEDIA_URL", video.name)
    else:
        media.set("MEDIA_URL", f"file://{Path(video.video).absolute().as_posix()}")
        media.set("RELATIVE_MEDIA_URL", f"./{video.name}")
    order = ElementTree.SubElement(root, "TIME_ORDER")
    lanes = _lanes(video.annotations)
    milliseconds = sorted(
        {time for lane in lanes.values() for start, end, _ in lane for time in (start, end)}
    )
    slots = {time: f"ts{number}" for number, time in enumerate(milliseconds, start=1)}
    for time, slot in slots.items():
        ElementTree.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=slot, TIME_VALUE=str(time))
    number, names = 0, set()
    for (person, lane), ranges in lanes.items():
        name = person or "actions"
        if lane > 1 or name in names:
            name = f"{name} ({len(names) + 1})"
        names.add(name)
        tier = ElementTree.SubElement(root, "TIER", LINGUISTIC_TYPE_REF="default-lt", TIER_ID=name)
        if person:
            tier.set("PARTICIPANT", person)
        for start, end, label in ranges:
            number += 1
            ends = {"TIME_SLOT_REF1": slots[start], "TIME_SLOT_REF2": slots[end]}
            annotation = ElementTree.SubElement(tier, "ANNOTATION")
            item = ElementTree.SubElement(
                annotation, "ALIGNABLE_ANNOTATION", ANNOTATION_ID=f"a{number}", **ends
            )
            ElementTree.SubElement(item, "ANNOTATION_VALUE").text = label
    ElementTree.SubElement(header, "PROPERTY", NAME="lastUsedAnnotationId").text = str(number)
    kind = {"LINGUISTIC_TYPE_ID": "default-lt", "TIME_ALIGNABLE": "true", "GRAPHIC_REFERENCES": "false"}
    ElementTree.SubElement(root, "LINGUISTIC_TYPE", kind)
    return to_text(root)


def _lanes(annotations: list[Annotation]) -> dict[tuple[str, int], list[tuple[int, int, str]]]:
    """Return, by person and number, ranges in milliseconds of which none overlaps the next."""
    lanes: dict[tuple[str, int], list[tuple[int, int, str]]] = {}
    for annotation in annotations:
        start, end = (round(1000 * seconds) for seconds in annotation[1:3])
        lane = 1
        while lanes.get((annotation.person, lane)) and lanes[annotation.person, lane][-1][1] > start:
            lane += 1
        lanes.setdefault((annotation.person, lane), []).append((start, max(end, start + 1), annotation.label))
    return lanes


def _mime_type(name: str) -> str:
    kind = mimetypes.guess_type(name)[0] or ""
    return kind if kind.startswith("video/") else "video/mp4"
