"""What a project does with its labels: features of recordings, suggestions, models and their scores."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import keras
import numpy as np
from tqdm.auto import tqdm

from harkeras.data.annotations import Annotation
from harkeras.teaching._frame_features import (
    FRAME_RATE,
    FrameFeatures,
    build_encoder,
    choose_encoder,
    count_frames,
)
from harkeras.teaching._holding_out import FEWEST_SOURCES, hold_out
from harkeras.teaching._learning import (
    Head,
    LabeledRanges,
    fit_windows,
)
from harkeras.teaching._store import Recording, Settings, Store
from harkeras.teaching._windows import Windows, project_down
from harkeras.teaching.suggesting import Pool, Suggestion, choose_windows, draw_windows
from harkeras.transfer.features import compile_encoder
from harkeras.video.reading import VideoError, VideoInfo

# The length of a window: the median of the actions, from so many of them on; until then the usual one.
_USUAL_SECONDS, _FEWEST_SECONDS, _MOST_SECONDS, _LENGTHS_THAT_TELL = 2.0, 1.0, 10.0, 3


class Lessons:
    """Features, suggestions and models of a project. What was read stays in memory.

    Args:
        store: The files of the project.
    """

    def __init__(self, store: Store):
        """Look at a project; nothing is read yet."""
        self._store = store
        self._features: dict[str, np.ndarray] = {}
        self._windows: dict[int, Windows] = {}
        self._encoder: keras.Model | None = None

    def compute_features(self, on_progress: Callable[[float], None] | None = None) -> dict[str, str]:
        """See `Project.compute_features`."""
        settings = self._store.change_settings(self._with_backbone)
        features, encode = self._kept_features(settings), None
        paths = {each: self._store.to_path(each.video) for each in settings.recordings if not each.problem}
        todo = [each for each, path in paths.items() if not _is_ready(features, path, each.seconds)]
        total, done, problems = sum(count_frames(each.seconds) for each in todo), 0, {}
        hidden = {"disable": True} if on_progress is not None or not todo else {}
        bar = tqdm(desc="Looking", total=total, unit="frame", **hidden)

        def advance(frames: int) -> None:
            nonlocal done
            done += frames
            bar.update(frames)
            if on_progress is not None:
                on_progress(done / total)

        with bar:
            for each in todo:
                encode = encode or compile_encoder(self.built_encoder(settings))
                try:
                    features.compute(paths[each], each.seconds, encode, advance)
                except (VideoError, FileNotFoundError, ValueError) as error:
                    problems[each.video] = " ".join(str(error).split())
        if problems:
            self._store.change_settings(partial(_with_problems, problems=problems))
        return problems

    def _with_backbone(self, settings: Settings) -> Settings:
        """Choose what looks at the recordings, if that was not chosen yet."""
        if "height" in settings.backbone:
            return settings
        paths = [self._store.to_path(each.video) for each in settings.recordings if not each.problem]
        if not paths:
            raise ValueError("the project has no recordings that can be read: add() some first")
        infos = []
        for path in paths:
            with suppress(VideoError, OSError):
                infos.append(VideoInfo.read(path))
        backbone = choose_encoder(
            infos, settings.backbone["name"], settings.backbone["weights"], settings.seed
        )
        return replace(settings, backbone=backbone)

    def _kept_features(self, settings: Settings) -> FrameFeatures:
        return FrameFeatures(self._store.folder / "features", settings.backbone)

    def suggest(self, count: int, held_out: bool) -> list[Suggestion]:
        """See `Project.suggest`."""
        settings, ranges = self.settle()
        ready = [each for each in self._ready(settings) if each.held_out == held_out]
        if not ready:
            words = "has features yet: compute_features() first"
            if held_out:
                words = f"is held out and has features: that needs {FEWEST_SOURCES} recordings"
            raise ValueError(f"no recording {words}")
        head, _ = None, self._features_of(settings, ready[0])
        if not held_out:
            lessons = self.labeled(settings, ranges, held_out=False)
            head = fit_windows(lessons) if len(np.unique(lessons.labels)) > 1 else None
        answers = self._store.read_answers()
        pool, labeled = self._pool(settings, ready, ranges, answers, head)
        windows, rng = self.windows_of(settings), np.random.default_rng([settings.seed, len(answers)])
        if held_out:
            chosen = draw_windows(pool, count, windows.frames, rng)
        else:
            chosen = choose_windows(pool, pool.points[labeled], count, windows.frames, rng)
        suggestions = []
        for row, start, end, kind in chosen:
            each = ready[pool.recording[row]]
            label, confidence = "", 0.0
            if head is not None:
                label = head.classes[pool.probabilities[row].argmax()]
                confidence = float(pool.probabilities[row].max())
            times = start / FRAME_RATE, min(end / FRAME_RATE, each.seconds)
            suggestions.append(Suggestion(self._store.to_path(each.video), *times, label, confidence, kind))
        return suggestions

    def _pool(
        self,
        settings: Settings,
        ready: list[Recording],
        ranges: list[Annotation],
        answers: list[dict],
        head: Head | None,
    ) -> tuple[Pool, np.ndarray]:
        """Return all windows of some recordings, and bool (W,), which of them were labeled."""
        windows, labeled_times, known_times = self.windows_of(settings), defaultdict(list), defaultdict(list)
        for each in ranges:
            labeled_times[self._store.to_name(Path(each.video))].append(
                (each.start_seconds, each.end_seconds)
            )
        for answer in answers:
            if answer["action"] == "reject":
                name, *times = answer["range"][:3]
                known_times[name].append(times)
        numbers, recording, starts, labeled, free = [], [], [], [], []
        for number, each in enumerate(ready):
            features = self._features_of(settings, each)
            begin = windows.starts(features)
            times = begin / FRAME_RATE
            covered = _overlap(times, windows.seconds, labeled_times[each.video])
            known = covered | _overlap(times, windows.seconds, known_times[each.video])
            numbers.append(windows.grid(each.video, features))
            recording.append(np.full(len(begin), number))
            starts.append(begin)
            labeled.append(covered)
            free.append(~known)
        stacked = np.concatenate(numbers)
        pool = Pool(
            np.concatenate(recording),
            np.concatenate(starts),
            project_down(stacked, settings.seed),
            np.concatenate(free),
            None if head is None else head.of_windows(stacked),
        )
        return pool, np.concatenate(labeled)

    def built_encoder(self, settings: Settings) -> keras.Model:
        if self._encoder is None:
            self._encoder = build_encoder(settings.backbone)
        return self._encoder

    def settle(self) -> tuple[Settings, list[Annotation]]:
        """Decide what is held out and how long a window is, where that is open; return all that is known."""
        ranges = self._store.read_ranges()
        labels_of = defaultdict(list)
        for each in ranges:
            labels_of[self._store.to_name(Path(each.video))].append(each.label)

        def decide(settings: Settings) -> Settings:
            settings = hold_out(settings, labels_of)
            lengths = [e.end_seconds - e.start_seconds for e in ranges if e.label != settings.nothing]
            if settings.clip_seconds is None and len(lengths) >= _LENGTHS_THAT_TELL:
                seconds = float(np.clip(np.median(lengths), _FEWEST_SECONDS, _MOST_SECONDS))
                settings = replace(settings, clip_seconds=round(2 * seconds) / 2)
            return settings

        settings = self._store.change_settings(decide)
        return replace(settings, clip_seconds=settings.clip_seconds or _USUAL_SECONDS), ranges

    def _ready(self, settings: Settings) -> list[Recording]:
        """Return the recordings whose features are there."""
        if "height" not in settings.backbone:
            return []
        features = self._kept_features(settings)
        usable = [each for each in settings.recordings if not each.problem]
        return [each for each in usable if _is_ready(features, self._store.to_path(each.video), each.seconds)]

    def _features_of(self, settings: Settings, each: Recording) -> np.ndarray:
        """Return the features of the frames of a recording: float16 (frames, F)."""
        if each.video not in self._features:
            path = self._store.to_path(each.video)
            self._features[each.video] = self._kept_features(settings).read(path, each.seconds)
        return self._features[each.video]

    def windows_of(self, settings: Settings, frames: int | None = None) -> Windows:
        frames = frames or max(round(settings.clip_seconds * FRAME_RATE), 2)
        if frames not in self._windows:
            width = next(iter(self._features.values())).shape[1]
            self._windows[frames] = Windows(frames, width)
        return self._windows[frames]

    def labeled(
        self, settings: Settings, ranges: list[Annotation], *, held_out: bool, frames: int | None = None
    ) -> LabeledRanges:
        """Return the labeled ranges of the recordings that are held out, or of the others."""
        ready = {each.video: each for each in self._ready(settings)}
        classes = _class_names(settings, ranges)
        numbers, range_of_window, labels, sources = [], [], [], []
        for each in ranges:
            recording = ready.get(self._store.to_name(Path(each.video)))
            if recording is None or recording.held_out != held_out:
                continue
            features = self._features_of(settings, recording)
            windows = self.windows_of(settings, frames)
            of_range = windows.of_range(recording.video, features, each.start_seconds, each.end_seconds)
            range_of_window += [len(labels)] * len(of_range)
            numbers.append(of_range)
            labels.append(classes.index(each.label))
            sources.append(recording.source)
        stacked = np.concatenate(numbers) if numbers else np.empty((0, 0), np.float32)
        return LabeledRanges(
            stacked, np.array(range_of_window, int), np.array(labels, int), np.array(sources), tuple(classes)
        )


def _class_names(settings: Settings, ranges: list[Annotation]) -> list[str]:
    """Return the classes that are labeled somewhere, nothing last."""
    used = {each.label for each in ranges}
    names = [name for name in dict.fromkeys([*settings.classes, *sorted(used)]) if name in used]
    return [*(n for n in names if n != settings.nothing), *(n for n in names if n == settings.nothing)]


def _is_ready(features: FrameFeatures, path: Path, seconds: float) -> bool:
    try:
        return features.is_complete(path, seconds)
    except OSError:  # it was moved away
        return False


def _overlap(starts: np.ndarray, seconds: float, times: list) -> np.ndarray:
    """Tell which windows share more than a quarter of a window with some ranges: bool (W,)."""
    shared = np.zeros(len(starts), bool)
    for start, end in times:
        shared |= np.minimum(starts + seconds, end) - np.maximum(starts, start) > 0.25 * min(
            seconds, end - start
        )
    return shared


def _with_problems(settings: Settings, problems: dict[str, str]) -> Settings:
    recordings = tuple(
        replace(each, problem=problems.get(each.video, each.problem)) for each in settings.recordings
    )
    return replace(settings, recordings=recordings)
