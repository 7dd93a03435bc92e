"""What is in a folder of clips or pictures, before anything is trained on it; computed by the worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from harkeras.base.progress import Progress
from harkeras.base.workers import in_order
from harkeras.data.folders import ClipFolder, read_folder
from harkeras.data.leakage import leakage_report
from harkeras.data.samples import create_sample_dataset
from harkeras.data.shortcuts import class_shortcuts
from harkeras.data.splits import split_clips
from harkeras.models import list_models
from harkeras.video.reading import VideoError, VideoInfo, frames_extraction

_THUMBNAIL = (96, 128)  # height, width


def inspect_samples(data_dir: str, *, tell: Progress) -> dict[str, Any]:
    """Render a small sample data set where there is none, and say what is in it."""
    if not Path(data_dir).is_dir():
        tell("Rendering clips", 0.0)
        create_sample_dataset(data_dir, groups=12, clips_per_group=2)
    return inspect_folder(data_dir, tell=tell)


def inspect_folder(data_dir: str, *, tell: Progress) -> dict[str, Any]:
    """Say what is in a folder of clips or pictures.

    Returns:
        `still`, whether they are pictures, which are clips of one frame; `models` that learn from them;
        `rows`, one per class; `pictures` by class; `sources` in words; `notes` on what may mislead a model;
        `unreadable` clips and why.
    """
    tell("Listing", 0.0)
    folder = read_folder(data_dir, copies=True)
    infos: list[VideoInfo | str] = []
    for info in in_order(_read_info, folder.video_paths):
        infos.append(info)
        tell("Reading clips", len(infos) / len(folder.video_paths))
    unreadable = [info for info in infos if isinstance(info, str)]
    readable = folder[np.array([row for row, info in enumerate(infos) if not isinstance(info, str)], int)]
    tell("Looking for what may mislead a model", 0.0)
    return {
        "data_dir": data_dir,
        "still": folder.pictures,
        "models": ["auto", "single_frame"] if folder.pictures else ["auto", *list_models()],
        "rows": [_describe_class(folder, infos, label) for label in range(len(folder.classes))],
        "pictures": {name: _picture(readable, label) for label, name in enumerate(folder.classes)},
        "sources": str(folder.sources),
        "notes": [*class_shortcuts(readable), *_leaks(readable)],
        "unreadable": unreadable,
    }


def _read_info(path: Path) -> VideoInfo | str:
    try:
        return VideoInfo.read(path)
    except (VideoError, OSError) as error:
        return str(error)


def _describe_class(folder: ClipFolder, infos: list[VideoInfo | str], label: int) -> dict[str, Any]:
    rows = np.flatnonzero(folder.labels == label)
    known = [infos[row] for row in rows if not isinstance(infos[row], str)]
    seconds = [info.duration_seconds for info in known] or [0.0]
    over_time = {
        "seconds of a clip": round(float(np.median(seconds)), 1),
        "shortest": round(min(seconds), 1),
        "longest": round(max(seconds), 1),
        "frames per second": _range([round(info.fps, 1) for info in known]),
    }
    return {
        "class": folder.classes[label],
        "pictures" if folder.pictures else "clips": len(rows),
        "sources": len(np.unique(folder.sources.groups[rows])),
        **({} if folder.pictures else over_time),
        "size": ", ".join(sorted({f"{info.width} x {info.height}" for info in known})[:3]),
        "unreadable": len(rows) - len(known),
    }


def _range(values: list[float]) -> str:
    low, high = min(values, default=0), max(values, default=0)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _picture(folder: ClipFolder, label: int) -> np.ndarray | None:
    """Return the middle frame of the first clip of a class, uint8 RGB, if there is one."""
    rows = np.flatnonzero(folder.labels == label)
    return frames_extraction(folder.video_paths[rows[0]], 1, *_THUMBNAIL)[0] if len(rows) else None


def _leaks(folder: ClipFolder) -> list[str]:
    """Say how much the test clips of the usual split would resemble training clips."""
    try:
        train, test, _ = split_clips(folder.video_paths, folder.labels, folder.sources)
    except ValueError as error:
        return [str(error)]
    report = leakage_report(folder[train], folder[test])
    kinds = {
        "are copies of training clips": report.identical,
        "look like a training clip of another source: were they cut from one video?": report.near_duplicates,
    }
    return [f"{len(pairs)} of {len(test)} test clips {what}" for what, pairs in kinds.items() if pairs]
