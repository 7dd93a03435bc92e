"""The files of a project: plain, written whole or not at all, and changed by one process at a time.

`project.json` says what there is and how it is looked at, `ranges.csv` holds what was labeled, and
`answers.jsonl` tells how it came to that, one line for each answer. The table is what counts, and anybody may
edit it; the lines are there to take an answer back.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harkeras.base.checks import make_dataclass
from harkeras.base.files import locked, naming, write_text
from harkeras.base.text import to_cell
from harkeras.data.annotations import Annotation, read_annotations

RANGES_FILE = "ranges.csv"
_PROJECT_FILE, _ANSWERS_FILE, _SUGGESTIONS_FILE = "project.json", "answers.jsonl", "suggestions.json"
_COLUMNS = ("video", "start_seconds", "end_seconds", "label", "person")
_FORMAT_VERSION = 1


@dataclass(frozen=True)
class Recording:
    """A video of a project.

    Attributes:
        video: Its path, relative to the project if it lies inside.
        source: What it shares with others that must not be tested when these were learned from: a person, a
            place; a name of its own by default.
        seconds: How long it is.
        held_out: Whether the model is scored on it and never learns from it; None as long as nobody chose.
        problem: Why it cannot be read; empty if it can.
    """

    video: str
    source: str
    seconds: float = 0.0
    held_out: bool | None = None
    problem: str = ""


@dataclass(frozen=True)
class Settings:
    """What `project.json` holds.

    Attributes:
        classes: Names of the actions, in order; labels may add to them.
        nothing: Name of the class of what is between the actions.
        seed: Seed of every random choice.
        clip_seconds: How much of a recording is looked at to name an action; None as long as it was not
            chosen.
        backbone: Name of the frozen network, what its weights are, and height and width of the frames that it
            is shown; None before any recording was looked at.
        recordings: The recordings, in the order in which they came.
        model: Name of the model that was accepted last; empty if there is none.
    """

    classes: tuple[str, ...] = ()
    nothing: str = "Nothing"
    seed: int = 27
    clip_seconds: float | None = None
    backbone: dict[str, Any] | None = None
    recordings: tuple[Recording, ...] = field(default=())
    model: str = ""


class Store:
    """Reads and changes the files of a project.

    Args:
        folder: The project.
    """

    def __init__(self, folder: Path):
        """Look at a folder; nothing is read yet."""
        self.folder = folder

    @property
    def exists(self) -> bool:
        """Whether the folder is a project."""
        return (self.folder / _PROJECT_FILE).is_file()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let no other process change the project meanwhile."""
        with locked(self.folder / _PROJECT_FILE):
            yield

    def read_settings(self) -> Settings:
        """Read `project.json`.

        Raises:
            FileNotFoundError: If the folder is no project.
            ValueError: If the file is damaged.
        """
        path = self.folder / _PROJECT_FILE
        if not path.is_file():
            raise FileNotFoundError(f"no project in {self.folder}: it has no {_PROJECT_FILE}")
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            version = values.pop("format", None) if isinstance(values, dict) else None
            if version != _FORMAT_VERSION:
                raise ValueError(f"format must be {_FORMAT_VERSION}, got {version!r}")
            settings = make_dataclass(Settings, values, "it")
            recordings = [make_dataclass(Recording, each, "a recording") for each in settings.recordings]
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} is no project that harkeras wrote: {error}") from error
        changes = {"recordings": tuple(recordings), "classes": tuple(settings.classes)}
        return Settings(**{**vars(settings), **changes})

    def write_settings(self, settings: Settings) -> None:
        """Write `project.json`."""
        values = {"format": _FORMAT_VERSION} | asdict(settings)
        write_text(self.folder / _PROJECT_FILE, json.dumps(values, indent=1, ensure_ascii=False) + "\n")

    def change_settings(self, change: Callable[[Settings], Settings]) -> Settings:
        """Let a function change what `project.json` holds, and return it."""
        with self.locked():
            before = self.read_settings()
            after = change(before)
            if after != before:
                self.write_settings(after)
        return after

    def read_ranges(self) -> list[Annotation]:
        """Read `ranges.csv`.

        Raises:
            ValueError: If a row of it makes no sense: it would be lost with the next answer.
        """
        path = self.folder / RANGES_FILE
        if not path.is_file():
            return []
        ranges = read_annotations(path, format="csv", strict=True)
        return [each._replace(video=Path(os.path.normpath(each.video)), source="") for each in ranges]

    def change_ranges(
        self,
        action: str,
        change: Callable[[list[Annotation]], tuple[Sequence[Annotation], Sequence[Annotation]]],
        **facts: Any,
    ) -> None:
        """Take ranges away and add others, and keep a line that tells of it.

        The line is written first, and taken back if the table cannot be written. A process that is killed in
        between leaves a line too many, which harms nothing: to take it back changes nothing.

        Args:
            action: What the line calls it.
            change: Gets the ranges as they are, and returns those to take away and those to add.
            **facts: What else the line says.
        """
        with self.locked():
            ranges = self.read_ranges()
            removed, added = change(ranges)
            rows = {"removed": list(map(self.to_row, removed)), "added": list(map(self.to_row, added))}
            with self._appended({"action": action} | rows | facts):
                gone = {_key(each) for each in removed}
                kept = [each for each in ranges if _key(each) not in gone]
                known = {_key(each) for each in kept}
                kept += [each for each in added if _key(each) not in known]
                if kept != ranges:
                    self._write_ranges(kept)

    def _write_ranges(self, ranges: Sequence[Annotation]) -> None:
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        order = {video: number for number, video in enumerate(dict.fromkeys(each.video for each in ranges))}
        for each in sorted(ranges, key=lambda each: (order[each.video], each.start_seconds)):
            row = self.to_row(each)
            writer.writerow([to_cell(str(cell)) for cell in row])
        write_text(self.folder / RANGES_FILE, text.getvalue())

    def to_row(self, each: Annotation) -> list[Any]:
        """Return a range as a row of the table."""
        times = (round(float(seconds), 3) for seconds in (each.start_seconds, each.end_seconds))
        return [self.to_name(Path(each.video)), *times, each.label, each.person]

    def from_row(self, row: Sequence[Any]) -> Annotation:
        """Return the range of a row."""
        video, start, end, label, person = row
        return Annotation(self.to_path(video), float(start), float(end), label, person)

    def to_name(self, video: Path) -> str:
        """Return how the files call a video: its full path, or the one inside the project."""
        video, folder = Path.cwd() / video, Path.cwd() / self.folder
        video, folder = Path(os.path.normpath(video)), Path(os.path.normpath(folder))
        return video.relative_to(folder).as_posix() if folder in video.parents else video.as_posix()

    def to_path(self, name: str) -> Path:
        """Return the path of a video that the files name."""
        return Path(os.path.normpath(self.folder / name))

    def read_answers(self) -> list[dict[str, Any]]:
        """Read the lines of `answers.jsonl`, without those that were taken back.

        A line that was cut off by a kill or a full disk is passed over.
        """
        path = self.folder / _ANSWERS_FILE
        answers: list[dict[str, Any]] = []
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
            try:
                answer = json.loads(line)
            except ValueError:
                continue
            if answer["action"] != "undo":
                answers.append(answer)
            elif answers:
                answers.pop()
        return answers

    def write_suggestions(self, rows: Sequence[Sequence[Any]]) -> None:
        """Write what was proposed, each row with the path of its video in the third place."""
        named = [[*row[:2], self.to_name(row[2]), *row[3:]] for row in rows]
        write_text(self.folder / _SUGGESTIONS_FILE, json.dumps(named, indent=1, ensure_ascii=False) + "\n")

    def read_suggestions(self) -> list[list[Any]]:
        """Return the rows that `write_suggestions` wrote; none if there are none."""
        path = self.folder / _SUGGESTIONS_FILE
        rows = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
        return [[*row[:2], self.to_path(row[2]), *row[3:]] for row in rows]

    @contextmanager
    def _appended(self, answer: dict[str, Any]) -> Iterator[None]:
        """Add a line to `answers.jsonl`, and take it away again if the block fails."""
        path = self.folder / _ANSWERS_FILE
        line = json.dumps(
            {"time": datetime.now(UTC).isoformat(timespec="seconds")} | answer, ensure_ascii=False
        )
        with naming(path), path.open("a+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - 1, 0))
            broken = size > 0 and file.read(1) != b"\n"  # the end of a line that was cut off
            content = b"\n" * broken + line.encode() + b"\n"
            try:
                if file.write(content) < len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
                os.fsync(file.fileno())
                yield
            except BaseException:
                os.truncate(path, size)
                raise


def _key(each: Annotation) -> tuple:
    """What tells one range from another, to the thousandth of a second."""
    times = (round(float(seconds), 3) for seconds in (each.start_seconds, each.end_seconds))
    return each.video_key, *times, each.label, each.person


def describe_answer(answer: dict[str, Any]) -> str:
    """Return a line of `answers.jsonl` in words."""
    rows = answer["added"] or answer["removed"] or [answer.get("range", ["", 0, 0, "", ""])]
    video, start, end, label, _ = rows[0]
    more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
    name = f"{label} " if label else ""  # a suggestion without one was rejected
    return f"{answer['action']}: {name}{start:g} to {end:g} s of {video}{more}"
