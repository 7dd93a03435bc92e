"""Videos on their way into a project: each is opened once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm.auto import tqdm

from harkeras.teaching._store import Recording, Store
from harkeras.video.reading import VideoError, VideoInfo


class Added(NamedTuple):
    """What became of videos that were added.

    Attributes:
        recordings: Those that are new in the project.
        known: Those that were in it already.
        unreadable: Why others cannot be read, by name. They stay in the list of the project.
    """

    recordings: list[Path]
    known: list[Path]
    unreadable: dict[str, str]


def open_recordings(
    store: Store, videos: Sequence[tuple[Path, str | None]], held_out: bool | None
) -> dict[str, Recording]:
    """Open videos, each with the name of its source, and return by name what they are, or what is wrong."""
    opened = {}
    for video, source in tqdm(videos, "Opening", unit="video", disable=len(videos) < 20):
        name = store.to_name(video)
        try:
            seconds = round(VideoInfo.read(video).duration_seconds, 3)
            opened[name] = Recording(name, source or name, seconds, held_out)
        except (VideoError, OSError, ValueError) as error:
            opened[name] = Recording(name, source or name, problem=" ".join(str(error).split()))
    return opened
