"""How fast a model follows a source, where the time goes, and what to give up where that is too slow."""

from __future__ import annotations

import math
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from tqdm.auto import tqdm

from harkeras.data.samples import create_sample_video
from harkeras.evaluation._pipelines import Crowd, PeoplePipeline, PicturePipeline, ReplayedFrame
from harkeras.evaluation._smaller_models import smaller_models
from harkeras.inference.conversion import Runtime, in_runtime
from harkeras.inference.exported import ExportedModel
from harkeras.inference.resolve import resolve_model
from harkeras.people.tracking import Box, PeopleTracker
from harkeras.recipe import Recipe
from harkeras.video.capture import describe_source, iter_captured
from harkeras.video.frames import VideoFrame

STAGES = ("capture", "decoding", "preprocessing", "people", "inference", "decision")
CROWDS = (1, 2, 4)
# Of a source that may not come again, what is kept to measure what could be given up.
_KEPT_BYTES, _MOST_KEPT = 200_000_000, 150
_LEAST_TIMED_FRAMES, _LEAST_TIMED_SECONDS = 30, 1.0


class Alternative(NamedTuple):
    """What one might give up, and how many frames per second that would sustain."""

    change: str
    fps: float


class CrowdCost(NamedTuple):
    """What a frame with so many people takes, and how many frames per second that sustains."""

    people: int
    milliseconds: float
    fps: float


@dataclass(frozen=True, eq=False)
class RealTimeReport:
    """Where the time goes when a model follows a source frame by frame.

    Attributes:
        source: The source, in words.
        model: The model and its windows, in words.
        milliseconds: float (N, 6), what each frame took in each of `STAGES`, from the first complete window
            on. Capture is the time in which a camera or stream was waited for; "people" is finding and
            following them.
        target_fps: Frames per second that are wanted.
        alternatives: What could be given up; empty where the target is reached.
        people: How many people were in a frame, on average; None where the whole picture is looked at.
        crowds: What so many people cost; empty where nobody was found.
    """

    source: str
    model: str
    milliseconds: np.ndarray
    target_fps: float
    alternatives: tuple[Alternative, ...] = ()
    people: float | None = None
    crowds: tuple[CrowdCost, ...] = ()

    @property
    def fps(self) -> float:
        """Frames per second that can be sustained: all stages but waiting, one after the other."""
        return float(1000 / self.milliseconds[:, 1:].sum(axis=1).mean())

    def __str__(self) -> str:
        """Return the report as tables."""
        rows = dict(zip(STAGES, self.milliseconds.T, strict=True))
        if self.people is None:
            del rows["people"]
        rows["all but capture"] = self.milliseconds[:, 1:].sum(axis=1)
        lines = [f"{self.model}; {self.source}", "", f"{'ms per frame':<16}    mean  median     p95     p99"]
        for name, values in rows.items():
            numbers = [values.mean(), *np.quantile(values, [0.5, 0.95, 0.99])]
            lines.append(f"{name:<16}" + "".join(f"{number:8.2f}" for number in numbers))
        lines += ["", f"It sustains {self.fps:.0f} frames per second."]
        return "\n".join(lines + self._describe_people() + self._describe_alternatives())

    def _describe_people(self) -> list[str]:
        if self.people is None:
            return []
        if not self.crowds:
            return ["Nobody was found, so that what people cost is not in these numbers."]
        lines = [
            f"{self.people:.1f} people were found in a frame, on average. The same people, as so many:",
            "",
        ]
        lines.append(f"{'people':<8}{'ms per frame':>14}{'frames per second':>20}")
        return lines + [
            f"{each.people:<8}{each.milliseconds:>14.2f}{each.fps:>20.0f}" for each in self.crowds
        ]

    def _describe_alternatives(self) -> list[str]:
        if not self.alternatives:
            return []
        width = max(len(each.change) for each in self.alternatives)
        return [
            "",
            f"To come nearer to {self.target_fps:.0f} frames per second (measured with random weights,",
            "which take as long; a smaller model must be trained, and may tell less):",
            *(
                f"  {each.change:<{width}} {each.fps:8.0f} frames per second, {each.fps / self.fps:.1f} x"
                for each in self.alternatives
            ),
        ]


def bench_model(
    model: str | os.PathLike | keras.Model,
    source: int | str | os.PathLike | None = None,
    *,
    seconds: float = 20.0,
    stride_seconds: float | None = None,
    per_person: bool = False,
    target_fps: float = 30.0,
    runtime: Runtime | None = None,
    progress: bool = True,
) -> RealTimeReport:
    """Measure how fast a model follows a source, every frame of it, one after another.

    Where the target is not reached, it is measured what a larger stride, smaller frames, fewer frames or a
    smaller backbone would gain, as far as the model can be built so. For that, and for what one, two and four
    people cost, some frames of the source are shown again.

    Args:
        model: Path of a `.keras` file or of a run, one of `list_pretrained()`, or a model in memory, with its
            recipe.
        source: Number of a camera, the address of a stream (RTSP, HTTP or whatever FFmpeg opens), or a file;
            by default a video of 320 x 240 pixels that is rendered for it.
        seconds: How much of the source is used, at most.
        stride_seconds: Time from one window to the next; see `ActionStream` for the default.
        per_person: Whether to follow each person in the picture; a model that was trained on people is shown
            them in any case.
        target_fps: Frames per second that are wanted.
        runtime: The engine that computes the model, "keras", "onnx" or "litert", see
            `harkeras.predict_on_video`.
        progress: Whether to show progress bars.

    Raises:
        FileNotFoundError: If there is no such model or video.
        ValueError: If `seconds` or `target_fps` is not positive, or the model cannot be used, or not by that
            engine.
        VideoError: If the source cannot be opened or decoded, or sends nothing.
        ImportError: If people are followed and the package `trackers` is not installed, or the engine.
    """
    for name, value in (("seconds", seconds), ("target_fps", target_fps)):
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
    model, recipe, _ = resolve_model(model)
    people = per_person or recipe.subject == "person"
    bench = _Bench(model, recipe, stride_seconds, people, runtime, progress)
    with tempfile.TemporaryDirectory() as folder:
        if source is None:
            source = Path(folder) / "rendered.mp4"
            create_sample_video(source)
        bench.follow(source, seconds)
        return bench.report(target_fps)


class _Bench:
    """Follows a source, keeps some of its frames, and measures on these what could be otherwise."""

    def __init__(
        self,
        model: keras.Model | ExportedModel,
        recipe: Recipe,
        stride_seconds: float | None,
        people: bool,
        runtime: Runtime | None,
        progress: bool,
    ):
        self._model, self._recipe, self._people, self._progress = model, recipe, people, progress
        self._runtime = runtime
        self._pipeline = self._build(model, recipe, stride_seconds)
        self._stride_seconds = self._pipeline.stride_seconds

    def _build(
        self,
        model: keras.Model,
        recipe: Recipe,
        stride_seconds: float | None,
        tracker: PeopleTracker | None = None,
    ) -> PicturePipeline | PeoplePipeline:
        model = in_runtime(model, recipe, self._runtime)
        if self._people:
            return PeoplePipeline(model, recipe, stride_seconds, tracker or PeopleTracker())
        return PicturePipeline(model, recipe, stride_seconds)

    def follow(self, source: int | str | os.PathLike, seconds: float) -> None:
        """Send the frames of a source through all stages."""
        self._kept: deque[VideoFrame] = deque()
        self._boxes: list[Box] = []
        took, counts, begin = [], [], None
        with tqdm(desc="Measuring", unit="frame", leave=None, disable=not self._progress) as bar:
            for frame, capture, decoding in iter_captured(source, seconds):
                took.append((capture, decoding, *self._pipeline.step(frame)))
                if self._pipeline.has_answered and begin is None:
                    begin = len(took) - 1
                if self._people:
                    counts.append(len(self._pipeline.people))
                    self._boxes = [person.box_px for person in self._pipeline.people] or self._boxes
                self._keep(frame)
                bar.update()
        self._milliseconds = 1000 * np.array(took)[begin or 0 :]
        self._mean_people = float(np.mean(counts)) if self._people else None
        height, width = frame.size
        self._step_seconds = max(frame.seconds / max(len(took) - 1, 1), 0.001)
        self._source = f"{len(took)} frames of {describe_source(source)}, {width} x {height} pixels"

    def _keep(self, frame: VideoFrame) -> None:
        height, width = frame.size
        self._kept.append(frame)
        while len(self._kept) > max(min(_KEPT_BYTES // (3 * height * width), _MOST_KEPT), 1):
            self._kept.popleft()

    def report(self, target_fps: float) -> RealTimeReport:
        """Measure what could be otherwise, and put all together."""
        recipe = self._recipe
        size = " x ".join(map(str, recipe.clip_shape))
        engine = f" by {self._runtime}" if self._runtime else ""
        words = f"{self._model.name}{engine} ({size}), windows of {recipe.clip_seconds:g} s every "
        words += f"{self._stride_seconds:.2g} s" + (", of each person" if self._people else "")
        report = RealTimeReport(self._source, words, self._milliseconds, target_fps, people=self._mean_people)
        if self._boxes:
            report = replace(report, crowds=tuple(map(self._measure_crowd, self._bar(CROWDS, "People"))))
        if report.fps < target_fps:
            _, *others = options = list(self._alternatives())
            took = [self._measure(build, its) for _, its, build in self._bar(options, "What to give up")]
            fps = [report.fps * took[0] / milliseconds for milliseconds in took[1:]]
            found = [Alternative(change, each) for (change, *_), each in zip(others, fps, strict=True)]
            report = replace(report, alternatives=tuple(found))
        return report

    def _bar(self, items: Sequence, words: str) -> tqdm:
        return tqdm(items, words, leave=None, disable=not self._progress)

    def _measure_crowd(self, count: int) -> CrowdCost:
        tracker = Crowd(count, self._boxes)
        milliseconds = self._measure(
            lambda: self._build(self._model, self._recipe, self._stride_seconds, tracker), self._recipe
        )
        return CrowdCost(count, milliseconds, 1000 / milliseconds)

    def _measure(self, build: Callable[[], PicturePipeline | PeoplePipeline], recipe: Recipe) -> float:
        """Show the kept frames again; return the milliseconds of each, with decoding as it was."""
        pipeline, took = build(), []
        strides = math.ceil(_LEAST_TIMED_SECONDS / pipeline.stride_seconds)  # as many windows in each round
        timed = max(round(strides * pipeline.stride_seconds / self._step_seconds), _LEAST_TIMED_FRAMES)
        before = math.ceil(recipe.clip_seconds / self._step_seconds) + 1
        for index, frame in enumerate(self._replay(before + timed)):
            seconds = sum(pipeline.step(frame))
            if index >= before:
                took.append(seconds)
        return 1000 * float(np.mean(took)) + float(self._milliseconds[:, 1].mean())

    def _replay(self, count: int) -> Iterator[VideoFrame]:
        """Yield so many frames of those that were kept, there and back, so that nobody jumps."""
        kept = list(self._kept)
        round_trip = kept + kept[-2:0:-1]
        for index in range(count):
            yield ReplayedFrame(round_trip[index % len(round_trip)], index * self._step_seconds)

    def _alternatives(self) -> Iterator[tuple[str, Recipe, Callable]]:
        """Yield what can be given up, at first nothing; the recipe, and what builds the pipeline."""
        model, recipe, stride = self._model, self._recipe, self._stride_seconds

        def option(change: str, model: keras.Model, its: Recipe, stride: float, every: int = 3) -> tuple:
            tracker = PeopleTracker(every=every) if self._people else None
            return change, its, lambda: self._build(model, its, stride, tracker)

        yield option("nothing", model, recipe, stride)
        if self._people:
            yield option("people looked for in every 6th frame", model, recipe, stride, 6)
        for factor in (2, 4):
            yield option(f"a window every {factor * stride:.2g} s", model, recipe, factor * stride)
        for change, smaller, its in smaller_models(model, recipe):
            yield option(change, smaller, its, stride)
