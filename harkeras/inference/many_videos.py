"""Name the actions in many videos: the model is loaded once, and a bad file does not stop the others."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import keras
from tqdm.auto import tqdm

from harkeras.base.files import check_target, write_text
from harkeras.base.text import printable, to_cell
from harkeras.inference._timeline import (
    HeldAction,
    VideoPrediction,
    check_top,
    most_probable,
    top_cells,
    top_columns,
)
from harkeras.inference._video_windows import read_info
from harkeras.inference.decisions import Decider
from harkeras.inference.prediction import ActionPrediction, predict_on_video, predict_single_action
from harkeras.inference.resolve import load_named, resolve_model
from harkeras.inference.streaming import ActionStream
from harkeras.video.addresses import is_playlist
from harkeras.video.drawing import check_caption
from harkeras.video.listing import FoundVideo, find_videos
from harkeras.video.reading import VideoError
from harkeras.video.youtube import DownloadError, download_youtube_videos, is_url

_RECIPE_OPTIONS = (
    "clip_seconds",
    "classes",
    "normalize",
    "channel_order",
    "streams",
    "interpolation",
    "input_shape",
)
_DECIDING_OPTIONS = ("smoothing_seconds", "hysteresis", "min_seconds", "threshold")
_OUTPUT_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".csv", ".json")
# What ends one video and not the run.
_OF_ONE_VIDEO = (VideoError, DownloadError, OSError, ValueError, MemoryError)


@dataclass(frozen=True)
class VideoResult:
    """What became of one of many videos.

    Attributes:
        video: The file or URL.
        seconds: Its length; None if it could not be read.
        prediction: What was named; None after an error.
        output: The annotated video, where one was written.
        timeline: The timeline, where one was written.
        error: Why there is no prediction; empty if there is one.
    """

    video: str
    seconds: float | None = None
    prediction: VideoPrediction | ActionPrediction | None = None
    output: Path | None = None
    timeline: Path | None = None
    error: str = ""

    @property
    def action(self) -> HeldAction | None:
        """The action that holds longest, or that of the whole video; None after an error."""
        if isinstance(self.prediction, ActionPrediction):
            return HeldAction(self.prediction.label, self.seconds, self.prediction.confidence)
        return self.prediction.held_actions()[0] if self.prediction is not None else None

    def most_probable(self, count: int) -> list[tuple[str, float]]:
        """Return the most probable classes of the whole video and their probabilities, the highest first."""
        if isinstance(self.prediction, ActionPrediction):
            return most_probable(self.prediction.probabilities, count)
        return [] if self.prediction is None else self.prediction.most_probable(count)


def predict_on_videos(
    videos: str | os.PathLike | Iterable[str | os.PathLike],
    model: str | os.PathLike | keras.Model,
    output_dir: str | os.PathLike | None = None,
    *,
    timeline_dir: str | os.PathLike | None = None,
    table: str | os.PathLike | None = None,
    top: int = 0,
    single: bool = False,
    download_dir: str | os.PathLike = "data",
    progress: bool = True,
    **options: Any,
) -> Iterator[VideoResult]:
    """Name the actions of many videos, one after the other, as they are asked for.

    Arguments are checked and the model is loaded at once. A video that is missing, damaged or no video gives
    a result with an error, and the others go on. Files of outputs have the names of their videos, below the
    same folders; of names that would be equal, the later ones get a number.

    Args:
        videos: Files, folders (the videos in them at any depth), patterns such as "clips/**/*.mp4" and URLs;
            one of these or several.
        model: Path of a `.keras` file, one of `list_pretrained()`, or a model in memory.
        output_dir: Folder for the annotated videos, `.mp4`; none are written by default.
        timeline_dir: Folder for the timelines, `.csv`; none are written by default.
        table: Where to write a row for each video, as `.csv`; nowhere by default.
        top: How many of the most probable classes the table lists with each video, and the timelines with
            each segment.
        single: Name one action for each whole video, as `predict_single_action` does.
        download_dir: Folder for the videos of URLs.
        progress: Whether to show progress bars.
        **options: Those of `predict_on_video`, or with `single`, of `predict_single_action`.

    Yields:
        `VideoResult` of each video, in order.

    Raises:
        FileNotFoundError: If there is no such model, a folder holds no video, or none matches a pattern.
        ValueError: If there is nothing to read, an output would replace an input or another output,
            `output_dir` or `timeline_dir` is a file's name or has no meaning, or another argument is out of
            its range.
        OSError: If an output cannot be written.

    Example:
        >>> for result in predict_on_videos("recordings", "falls.keras", "annotated"):
        ...     print(result.video, result.action or result.error)
    """
    if single and (output_dir, timeline_dir) != (None, None):
        raise ValueError("output_dir and timeline_dir must be left out with single, which writes nothing")
    found = find_videos(videos, except_dir=output_dir)
    outputs = _targets(found, output_dir, ".mp4", "output_dir")
    timelines = _targets(found, timeline_dir, ".csv", "timeline_dir")
    check_top(top)
    if not single:
        options["top"] = top
    predictor = _Predictor(model, single, download_dir, progress, options)
    for target, argument in ((outputs[0], "output_dir"), (timelines[0], "timeline_dir")):
        if target is not None:
            check_target(target, argument)
    if table is not None:
        check_table(table, inputs=[*(each.video for each in found), *outputs, *timelines])
    jobs = [_Job(*job) for job in zip((each.video for each in found), outputs, timelines, strict=True)]
    return _results(predictor, jobs, table, top, progress)


class _Job(NamedTuple):
    video: str
    output: Path | None
    timeline: Path | None


def _targets(
    found: Sequence[FoundVideo], folder: str | os.PathLike | None, suffix: str, argument: str
) -> list[Path | None]:
    """Return the file that is written for each video; raise ValueError where it would replace one of them."""
    if folder is None:
        return [None] * len(found)
    folder = Path(folder)
    if folder.is_file() or (folder.suffix.lower() in _OUTPUT_SUFFIXES and not folder.is_dir()):
        raise ValueError(f"{argument} must be a folder where there may be several videos, got {folder}")
    targets = [folder / each.name.parent / f"{each.name.name}{suffix}" for each in found]
    inputs = {os.path.realpath(each.video) for each in found if not is_url(each.video)}
    for target in targets:
        if os.path.realpath(target) in inputs:
            raise ValueError(
                f"{argument} must be another folder than that of the videos, got {folder}, where {target} "
                "would be replaced"
            )
    return targets


class _Predictor:
    """A model in memory that names the actions of one video after the other.

    Raises:
        FileNotFoundError: If there is no such model.
        ValueError: If an option would fail with every video.
    """

    def __init__(
        self,
        model: str | os.PathLike | keras.Model,
        single: bool,
        download_dir: str | os.PathLike,
        progress: bool,
        options: dict[str, Any],
    ):
        """Load the model, and check the options."""
        self._model = model if isinstance(model, keras.Model) else load_named(model)
        self._single, self._download_dir, self._progress = single, download_dir, progress
        self._options = options
        self._resolved = resolve_model(self._model, **{name: options.get(name) for name in _RECIPE_OPTIONS})
        if not single:
            check_caption(options.get("caption", "none"))
            recipe, stride_seconds = self._resolved.recipe, options.get("stride_seconds")
            stream = ActionStream(self._resolved.model, recipe, stride_seconds=stride_seconds)
            deciding = {name: options[name] for name in _DECIDING_OPTIONS if options.get(name) is not None}
            Decider(recipe.classes, stream.stride_seconds, **deciding)

    def predict(self, job: _Job) -> VideoResult:
        """Name the actions of a video; errors are those of the functions for one video, and of downloads."""
        video: str | Path = job.video
        if is_url(video) and not is_playlist(job.video):
            video = download_youtube_videos(video, self._download_dir, progress=self._progress).path
        seconds = read_info(video).duration_seconds
        if self._single:
            result = VideoResult(
                job.video, seconds, predict_single_action(video, self._model, **self._options)
            )
        else:
            outputs = {"output": job.output, "timeline": job.timeline}
            prediction = predict_on_video(
                video, self._model, **outputs, progress=self._progress, **self._options
            )
            result = VideoResult(job.video, seconds, prediction, **outputs)
        # What was assumed of a model without a recipe has been told once.
        self._options |= {name: getattr(self._resolved.recipe, name) for name in self._resolved.assumed}
        return result


def _results(
    predictor: _Predictor, jobs: Sequence[_Job], table: str | os.PathLike | None, top: int, progress: bool
) -> Iterator[VideoResult]:
    rows = []
    for job in tqdm(jobs, "Videos", unit="video", disable=not progress):
        try:
            result = predictor.predict(job)
        except _OF_ONE_VIDEO as error:
            reason = " ".join(str(error).split()).removeprefix(f"{job.video}: ")
            result = VideoResult(job.video, error=reason or type(error).__name__)
        if table is not None:  # anew after each, so that nothing is lost when the run is ended
            rows.append(table_row(result, top))
            write_table(rows, table, top)
        yield result


def table_row(result: VideoResult, top: int) -> list[str]:
    """Return what became of a video as cells of a CSV file, with so many of the most probable classes."""
    numbers, classes = [""] * 4, [""] * 2 * top
    if result.action is not None:
        label, held_seconds, confidence = result.action
        numbers = [f"{result.seconds:.3f}", to_cell(label), f"{held_seconds:.3f}", f"{confidence:.4f}"]
        cells = top_cells(result.most_probable(top))
        classes[: len(cells)] = cells
    files = [str(path or "") for path in (result.output, result.timeline)]
    video, *texts = (to_cell(printable(text)) for text in (result.video, *files, result.error))
    return [video, *numbers, *classes, *texts]


def write_table(rows: Iterable[Sequence[str]], path: str | os.PathLike, top: int) -> None:
    """Write what `table_row` returns as `.csv`, whole or not at all."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    columns = ["video", "seconds", "action", "held_seconds", "confidence", *top_columns(top)]
    writer.writerows([[*columns, "output", "timeline", "error"], *rows])
    write_text(path, lines.getvalue())


def check_table(path: str | os.PathLike, inputs: Iterable[str | os.PathLike | None] = ()) -> None:
    """Try the file of a table before the work; it must be none of `inputs`, and end in `.csv`."""
    if Path(path).suffix.lower() != ".csv":
        raise ValueError(f"table must end in .csv, got {path}")
    check_target(path, "table", inputs=inputs)
