"""BORIS, with which biologists and psychologists code behavior: its projects, and the tables that it exports.

Friard and Gamba, "BORIS: a free, versatile open-source event-logging software for video/audio coding and
live observations", Methods in Ecology and Evolution 2016. A state event begins and ends; a point event has
no duration and is no range. Times count through all the videos of an observation, one after the other, in
the first player.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from harkeras.data._annotation_files import Annotation, AnnotationFile, match_columns, to_label, to_seconds
from harkeras.data._video_folder import VideoFolder, is_web
from harkeras.data.annotation_formats.videos import VideoRanges, problem_with

_NOBODY = "No focal subject"


class _Media(NamedTuple):
    """The videos of an observation: their names, their lengths in seconds, and the offset of all times."""

    names: tuple[str, ...]
    lengths: tuple[float, ...]
    offset: float


class _Event(NamedTuple):
    """An event: a state that begins or ends, by turns, or a whole one, or a point in time."""

    observation: str
    source: str
    media: _Media
    seconds: float
    end_seconds: float | None
    is_point: bool
    label: str
    person: str
    modifiers: str


def read_boris(file: AnnotationFile, videos: VideoFolder) -> Iterator[Annotation | str]:
    """Read a project (.boris), or a table of tabular or of aggregated events, with commas or tabs.

    A subject is a person. Modifiers tell which end belongs to which start, and are no part of the label.
    """
    events = []
    for event in _events_of_project(file) if file.first_letter == "{" else _events_of_table(file):
        if isinstance(event, str):
            yield event
        else:
            events.append(event)
    for name, group in groupby(sorted(events, key=attrgetter("observation")), attrgetter("observation")):
        observed = list(group)
        if (
            len({event.media.names for event in observed}) > 1
        ):  # an old table, which names one video in each row
            yield f"{file.name} {name}: times count through several videos; export the project instead"
            continue
        yield from _pair(observed, videos)
        points = Counter(event.label for event in observed if event.is_point)
        for label, count in points.items():
            yield f"{file.name} {name}: {label}: {count} point events, which have no duration"


def _events_of_project(file: AnnotationFile) -> Iterator[_Event | str]:
    try:
        behaviors = file.json["behaviors_conf"].values()
        states = {behavior["code"] for behavior in behaviors if "state" in behavior["type"].lower()}
        observations = file.json["observations"].items()
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("it is no project of BORIS with its behaviors") from error
    for name, observation in observations:
        source = f"{file.name} {name}"
        try:
            if not (observation["file"] or {}).get("1"):
                yield f"{source}: it was observed without a video"
                continue
            names = tuple(map(str, observation["file"]["1"]))
            known = (observation.get("media_info") or {}).get("length") or {}
            lengths = tuple(to_seconds(known[key], "length") for key in names) if len(names) > 1 else ()
            media = _Media(names, lengths, to_seconds(observation.get("time offset") or 0, "time offset"))
            events = list(observation["events"])
        except (KeyError, TypeError, AttributeError, ValueError):
            yield f"{source}: not an observation of videos with its events"
            continue
        for number, event in enumerate(events, start=1):
            place = f"{source} event {number}"
            try:
                seconds, person, label, modifiers = event[:4]
                is_point = label not in states
                seconds, label = to_seconds(seconds, "time"), to_label(label)
                yield _Event(name, place, media, seconds, None, is_point, label, str(person), str(modifiers))
            except (TypeError, ValueError) as error:
                yield f"{place}: not an event with its time, subject and behavior: {error}"


def _events_of_table(file: AnnotationFile) -> Iterator[_Event | str]:
    def read_row(source, row):
        columns = match_columns("boris", list(row))
        observation, media = row.get("observation id", ""), _media_of(row, columns["media file name"])
        kind, label = row[columns["behavior type"]].upper(), to_label(row["behavior"])
        person = row.get("subject", "")
        modifiers = "|".join(cell for name, cell in row.items() if name and name.startswith("modifier"))
        start = to_seconds(row["time"] if "time" in row else row["start (s)"], "the time")
        end = to_seconds(row["stop (s)"], "stop (s)") if kind == "STATE" else None
        person = "" if person == _NOBODY else person
        yield _Event(observation, source, media, start, end, kind == "POINT", label, person, modifiers)

    if not {"time", "start (s)"} & set(file.header):
        raise ValueError("the columns must have time, or start (s) and stop (s)")
    return file.each_row(read_row)


def _media_of(row: dict, column: str) -> _Media:
    """Return the videos of the first player: "player #1:a.mp4;b.mp4|player #2:c.mp4" in new tables."""
    first = row.get("source", "").split("|")[0]
    names = tuple(first.removeprefix("player #1:").split(";")) if first else (row[column],)
    cells = row.get("media duration (s)", "").split("|")[0].split(";")
    lengths = tuple(to_seconds(cell, "media duration (s)") for cell in cells) if len(names) > 1 else ()
    return _Media(names, lengths, to_seconds(row.get("time offset (s)") or 0, "time offset (s)"))


def _pair(events: list[_Event], videos: VideoFolder) -> Iterator[Annotation | str]:
    """Yield the range from each start to its end."""
    opened: dict[tuple, _Event] = {}
    for event in sorted(events, key=attrgetter("seconds")):
        key = (event.label, event.person, event.modifiers)
        if event.is_point:
            continue
        if event.end_seconds is not None:
            yield _place(event, event.end_seconds, videos)
        elif key in opened:
            yield _place(opened.pop(key), event.seconds, videos)
        else:
            opened[key] = event
    for event in opened.values():
        yield f"{event.source}: {event.label} begins at {event.seconds:g} s and never ends"


def _place(event: _Event, end: float, videos: VideoFolder) -> Annotation | str:
    """Return a range in the video in which it lies."""
    names, lengths, offset = event.media
    start, end = event.seconds - offset, end - offset
    for name, length in zip(names, lengths or (math.inf,), strict=True):
        if start < length:
            break
        if name != names[-1]:
            start, end = start - length, end - length
    if end > length + 1:
        return f"{event.source}: {event.label} lies in no one of its videos alone"
    try:
        return Annotation(videos.find_linked(name), start, end, event.label, event.person, event.source)
    except ValueError as error:
        return f"{event.source}: {error}"


def write_boris(videos: list[VideoRanges], problems: list[str]) -> str:
    """Write a project with one observation for each video, and a state event for each label."""
    observations, written = {}, []
    for each in videos:
        if is_web(each.name):
            problems += [
                problem_with(item, "BORIS plays files, and no addresses") for item in each.annotations
            ]
            continue
        events, ends = [], {}
        for annotation in each.annotations:
            key, (start, end) = (annotation.label, annotation.person), map(float, annotation[1:3])
            if start < ends.get(key, start):
                problems.append(problem_with(annotation, f"overlaps one that ends at {ends[key]:g} s"))
                continue
            ends[key] = end
            written.append(annotation)
            events += [
                [seconds, annotation.person, annotation.label, "", "", "NA"] for seconds in (start, end)
            ]
        events.sort(key=lambda event: event[0])
        observations[each.name] = _observation(each, events)
    labels, persons = (
        sorted({item.label for item in written}),
        sorted({item.person for item in written} - {""}),
    )
    behavior = {"type": "State event", "key": "", "description": "", "category": "", "modifiers": ""}
    behavior |= {"excluded": "", "coding map": ""}
    content = {
        "time_format": "hh:mm:ss",
        "project_date": datetime.now().isoformat(timespec="seconds"),
        "project_name": "harkeras",
        "project_description": "",
        "project_format_version": "7.0",
        "subjects_conf": {
            str(n): {"key": "", "name": person, "description": ""} for n, person in enumerate(persons)
        },
        "behaviors_conf": {str(n): behavior | {"code": label} for n, label in enumerate(labels)},
        "observations": observations,
        "behavioral_categories": [],
        "independent_variables": {},
        "coding_map": {},
        "behaviors_coding_map": [],
        "converters": {},
    }
    return json.dumps(content, indent=1, ensure_ascii=False)


def _observation(video: VideoRanges, events: list[list]) -> dict:
    name = video.name
    media: dict = {"length": {}, "fps": {}, "hasVideo": {name: True}, "hasAudio": {}, "offset": {"1": 0.0}}
    if video.info:
        media["length"][name], media["fps"][name] = video.info.duration_seconds, video.info.fps
    return {
        "file": {"1": [name]} | {str(player): [] for player in range(2, 9)},
        "type": "MEDIA",
        "date": datetime.fromtimestamp(_written_at(Path(video.video))).isoformat(timespec="seconds"),
        "description": "",
        "time offset": 0.0,
        "events": events,
        "observation time interval": [0, 0],
        "independent_variables": {},
        "visualize_spectrogram": False,
        "visualize_waveform": False,
        "close_behaviors_between_videos": False,
        "media_info": media,
    }


def _written_at(video: Path) -> float:
    """Return when a video was written, which BORIS takes for the date of an observation."""
    return video.stat().st_mtime if video.is_file() else 0.0
