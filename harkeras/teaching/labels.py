"""Recordings, and the ranges of time in them that somebody gave a name."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from harkeras.data.annotations import Annotation, to_label
from harkeras.data.cutting import class_of, cut_clips
from harkeras.data.folders import read_folder
from harkeras.teaching._gaps import give_way, list_gaps
from harkeras.teaching._recordings import Added, open_recordings
from harkeras.teaching._store import Recording, Settings, Store, describe_answer
from harkeras.teaching.suggesting import Suggestion
from harkeras.video.listing import find_videos
from harkeras.video.youtube import DownloadError, download_youtube_videos, is_url


class LabeledRecordings:
    """The part of a `Project` that needs no model: recordings and their labels.

    Args:
        folder: A folder that `Project.create` made.

    Raises:
        FileNotFoundError: If the folder is no project.
        ValueError: If its files are damaged.
    """

    def __init__(self, folder: str | os.PathLike):
        """Open a project."""
        self._store = Store(Path(folder))
        self._settings()

    @property
    def folder(self) -> Path:
        """Where the project lies."""
        return self._store.folder

    @property
    def recordings(self) -> list[Recording]:
        """All recordings, in the order in which they came."""
        return list(self._settings().recordings)

    @property
    def classes(self) -> list[str]:
        """Names of the actions: those named at first, those that labels added, and the one of nothing."""
        settings, ranges = self._settings(), self.ranges
        names = dict.fromkeys([*settings.classes, *(each.label for each in ranges)])
        return [*(name for name in names if name != settings.nothing), settings.nothing]

    @property
    def nothing(self) -> str:
        """Name of the class of what is between the actions."""
        return self._settings().nothing

    @property
    def ranges(self) -> list[Annotation]:
        """What was labeled, recording by recording; it is read from `ranges.csv`, which anybody may edit."""
        return self._store.read_ranges()

    def path_of(self, recording: Recording) -> Path:
        """Return the file of a recording."""
        return self._store.to_path(recording.video)

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return for each class how many ranges to learn from are labeled, and how many to score on."""
        held_out = {self.path_of(each) for each in self.recordings if each.held_out}
        ranges = Counter((each.label, Path(each.video) in held_out) for each in self.ranges)
        return {name: (ranges[name, False], ranges[name, True]) for name in self.classes}

    def add(
        self,
        videos: str | os.PathLike | Iterable[str | os.PathLike],
        *,
        source: str | None = None,
        held_out: bool | None = None,
    ) -> Added:
        """Add recordings: files, folders, patterns and URLs, which are downloaded into the project.

        Each is opened once. What cannot be read is listed and stays known as such.

        Args:
            videos: One or several.
            source: What these share with others, such as a person or a place: all recordings of a source are
                held out together. Each is its own source by default.
            held_out: Whether models are scored on these and never learn from them; by default, the project
                chooses.

        Raises:
            ValueError: If there is no source of videos.
            FileNotFoundError: If a folder holds no video, or no video matches a pattern.
        """
        found, problems = [], {}
        for each in find_videos(videos, except_dir=self.folder / "features"):
            try:
                is_web = is_url(each.video)
                found.append(self._download(each.video) if is_web else Path(each.video))
            except (DownloadError, OSError) as error:
                problems[each.video] = str(error)
        return self._add([(video, source) for video in found], problems, held_out)

    def _download(self, url: str) -> Path:
        return download_youtube_videos(url, self.folder / "recordings").path

    def _add(
        self, videos: list[tuple[Path, str | None]], problems: dict[str, str], held_out: bool | None
    ) -> Added:
        opened = open_recordings(self._store, videos, held_out)
        problems |= {name: each.problem for name, each in opened.items() if each.problem}
        known: list[str] = []

        def change(settings: Settings) -> Settings:
            have = {each.video: each for each in settings.recordings}
            known[:] = [name for name in opened if name in have and not have[name].problem]
            return replace(
                settings, recordings=tuple((have | {n: opened[n] for n in opened if n not in known}).values())
            )

        self._store.change_settings(change)
        new = [name for name, each in opened.items() if name not in known and not each.problem]
        return Added(*(list(map(self._store.to_path, names)) for names in (new, known)), problems)

    def add_examples(self, data_dir: str | os.PathLike) -> Added:
        """Add clips of a folder with one folder per class; each is labeled from its start to its end.

        Clips that are known to be of one source are held out together.

        Raises:
            ValueError: If a class has no clip.
            FileNotFoundError: If there is no such folder.
        """
        folder = read_folder(data_dir)
        sources = [f"{folder.data_dir}: {group}" for group in folder.sources.groups]
        paths = list(map(Path, folder.video_paths))
        added = self._add(list(zip(paths, sources, strict=True)), {}, None)
        label_of = {path: folder.classes[row] for path, row in zip(paths, folder.labels, strict=True)}
        by_name = {self._store.to_name(path): label for path, label in label_of.items()}
        ranges = [
            Annotation(self.path_of(each), 0.0, each.seconds, self._spelled(by_name[each.video]))
            for each in self.recordings
            if each.video in by_name and not each.problem
        ]
        self._store.change_ranges("examples", lambda _: ([], ranges))
        return added

    def label(
        self, video: str | os.PathLike, start_seconds: float, end_seconds: float, label: str, person: str = ""
    ) -> Annotation:
        """Label a range of a recording. What was labeled as nothing there gives way.

        Args:
            video: A recording of the project, by its path or as the project calls it.
            start_seconds: Start of the range.
            end_seconds: End, not included; one behind the recording's is the recording's.
            label: The action; a new one becomes a class.
            person: Who does it, where that is of interest.

        Returns:
            The range as it was kept.

        Raises:
            ValueError: If the video is none of the project, the range is empty or outside it, or the label
                can be no class.
        """
        each = self._checked(video, start_seconds, end_seconds, label, person)
        self._put("label", each, [])
        return each

    def import_ranges(self, annotations: Iterable[Annotation]) -> tuple[list[Annotation], list[str]]:
        """Take over labels of others, see `harkeras.read_annotations`.

        Returns:
            Those that were taken over, and why others were not.
        """
        taken, problems = [], []
        for each in annotations:
            try:
                taken.append(self._checked(*each[:5]))
            except ValueError as error:
                problems.append(f"{each.source or each.video}: {error}")
        self._store.change_ranges("import", lambda _: ([], taken))
        return taken, problems

    def label_rest(self, video: str | os.PathLike, end_seconds: float | None = None) -> list[Annotation]:
        """Say that a recording was looked at, and nothing happens where nothing is labeled.

        Args:
            video: A recording.
            end_seconds: Until when it was looked at; to its end by default.

        Returns:
            The ranges that were labeled as nothing, half a second away from others.

        Raises:
            ValueError: If the video is none of the project.
        """
        path, added = self._find(video), []
        seconds = self._seconds(path)
        until = seconds if end_seconds is None else min(float(end_seconds), seconds)

        def change(ranges: list[Annotation]) -> tuple[list[Annotation], list[Annotation]]:
            nothing = self.nothing
            labeled = [each for each in ranges if each.video == path]
            added[:] = [Annotation(path, *gap, nothing) for gap in list_gaps(labeled, until, nothing)]
            return [], added

        self._store.change_ranges("rest", change)
        return added

    def relabel(self, labeled: Annotation, label: str) -> Annotation:
        """Give a range another label."""
        return self._replace("relabel", labeled, self._checked(*labeled[:3], label, labeled.person))

    def move(self, labeled: Annotation, start_seconds: float, end_seconds: float) -> Annotation:
        """Move the borders of a range."""
        changed = self._checked(labeled.video, start_seconds, end_seconds, *labeled[3:5])
        return self._replace("move", labeled, changed)

    def remove(self, labeled: Annotation) -> None:
        """Remove a range."""
        self._replace("remove", labeled, None)

    def answer(
        self,
        suggestion: Suggestion,
        label: str | None = None,
        *,
        start_seconds: float | None = None,
        end_seconds: float | None = None,
        person: str = "",
    ) -> Annotation:
        """Confirm a suggestion, or say what it is and where its borders are.

        Args:
            suggestion: What `suggest` proposed.
            label: What it is; what it was taken for by default.
            start_seconds: A better start.
            end_seconds: A better end.
            person: Who does it, where that is of interest.

        Raises:
            ValueError: If it was not taken for anything and no label is given, or as for `label`.
        """
        label = suggestion.label if label is None else label
        if not label:
            raise ValueError("label is missing: the model did not say what this suggestion is")
        start = suggestion.start_seconds if start_seconds is None else start_seconds
        end = suggestion.end_seconds if end_seconds is None else end_seconds
        each = self._checked(suggestion.video, start, end, label, person)
        action = "confirm" if label == suggestion.label else "answer"
        self._put(action, each, [], kind=suggestion.kind, suggested=suggestion.label)
        return each

    def reject(self, suggestion: Suggestion) -> None:
        """Say that a suggestion is not worth a label; it is not proposed again."""
        name = self._store.to_name(self._find(suggestion.video))
        times = suggestion.start_seconds, suggestion.end_seconds
        row = [name, *times, suggestion.label, ""]
        self._store.change_ranges("reject", lambda _: ([], []), range=row, kind=suggestion.kind)

    def undo(self) -> str:
        """Take the last answer back, and the one before it when called again.

        Returns:
            What it was, in words; empty if there is nothing to take back.
        """
        words = ""

        def change(_: list[Annotation]) -> tuple[list[Annotation], list[Annotation]]:
            nonlocal words
            answers = self._store.read_answers()
            if not answers:
                return [], []
            rows = [list(map(self._store.from_row, answers[-1][name])) for name in ("added", "removed")]
            words = describe_answer(answers[-1])
            return rows[0], rows[1]

        self._store.change_ranges("undo", change)
        return words

    def cut(self, output_dir: str | os.PathLike) -> list[Path]:
        """Cut the labeled ranges into a folder of clips, to train a network from end to end.

        Raises:
            ValueError: If nothing is labeled.
        """
        ranges = self.ranges
        if not ranges:
            raise ValueError("there is nothing to cut: label some ranges first")
        return cut_clips(ranges, output_dir)

    def _settings(self) -> Settings:
        return self._store.read_settings()

    def _find(self, video: str | os.PathLike) -> Path:
        """Return the path of a recording that is named by its path or as the project calls it."""
        names = {each.video for each in self._settings().recordings if not each.problem}
        candidates = [os.fspath(video), self._store.to_name(Path(video))]
        for name in candidates:
            if name in names:
                return self._store.to_path(name)
        raise ValueError(f"video must be a recording of the project that can be read, got {os.fspath(video)}")

    def _seconds(self, path: Path) -> float:
        name = self._store.to_name(path)
        return next(each.seconds for each in self._settings().recordings if each.video == name)

    def _checked(self, video, start_seconds, end_seconds, label: str, person: str) -> Annotation:
        """Return a range that makes sense."""
        path = self._find(video)
        seconds = self._seconds(path)
        start, end = float(start_seconds), min(float(end_seconds), seconds)
        if not 0 <= start < end:
            raise ValueError(
                f"start_seconds and end_seconds must be a range inside 0 to {seconds:g}, got {start_seconds} "
                f"and {end_seconds}"
            )
        return Annotation(path, round(start, 3), round(end, 3), self._spelled(label), person)

    def _spelled(self, label: str) -> str:
        """Return a label as the class is spelled that it means."""
        label = to_label(label)
        known = {class_of(name).casefold(): name for name in self.classes}
        return known.get(class_of(label).casefold(), label)

    def _put(self, action: str, each: Annotation | None, instead_of: list[Annotation], **facts) -> None:
        nothing = self.nothing

        def change(ranges: list[Annotation]) -> tuple[list[Annotation], list[Annotation]]:
            missing = [old for old in instead_of if old not in ranges]
            if missing:
                raise ValueError(f"range must be one of the project's, got {tuple(missing[0][:4])}")
            if each is None:
                return instead_of, []
            removed, remaining = give_way(ranges, each, nothing)
            return [*instead_of, *removed], [each, *remaining]

        self._store.change_ranges(action, change, **facts)

    def _replace(self, action: str, old: Annotation, new: Annotation | None) -> Annotation | None:
        old = old._replace(source="")
        self._put(action, new, [old])
        return new
