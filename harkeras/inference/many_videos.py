"""Name the actions in many videos: the model is loaded once, and a bad file does not stop the others."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
from tqdm.auto import tqdm

from harkeras.base.files import check_target
from harkeras.inference._timeline import check_top
from harkeras.inference._video_windows import read_info
from harkeras.inference.decisions import check_settings
from harkeras.inference.people_prediction import predict_people
from harkeras.inference.people_stream import PeopleStream
from harkeras.inference.prediction import predict_on_video, predict_single_action
from harkeras.inference.resolve import ForeignModel, load_named, resolve_model
from harkeras.inference.streaming import ActionStream
from harkeras.inference.video_results import ResultTable, VideoResult
from harkeras.video.addresses import is_playlist
from harkeras.video.drawing import check_caption
from harkeras.video.listing import FoundVideo, find_videos
from harkeras.video.reading import VideoError
from harkeras.video.youtube import DownloadError, download_youtube_videos, is_url

_DECIDING_OPTIONS = ("smoothing_seconds", "hysteresis", "min_seconds", "threshold")
_OUTPUT_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".csv", ".json")
# What ends one video and not the run.
_OF_ONE_VIDEO = (VideoError, DownloadError, OSError, ValueError, MemoryError)


def predict_on_videos(
    videos: str | os.PathLike | Iterable[str | os.PathLike],
    model: str | os.PathLike | keras.Model,
    output_dir: str | os.PathLike | None = None,
    *,
    timeline_dir: str | os.PathLike | None = None,
    table: str | os.PathLike | None = None,
    top: int = 0,
    single: bool = False,
    per_person: bool = False,
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
        table: Where to write a row for each video, or for each person in it, as `.csv`; nowhere by default.
        top: How many of the most probable classes the table lists with each video, and the timelines with
            each segment.
        single: Name one action for each whole video, as `predict_single_action` does.
        per_person: Name the actions of each person, as `predict_people` does, and as is done in any case for
            a model that was trained on people.
        download_dir: Folder for the videos of URLs.
        progress: Whether to show progress bars.
        **options: Those of `predict_on_video`; with `single`, of `predict_single_action`; with `per_person`,
            of `predict_people`.

    Yields:
        `VideoResult` of each video, in order.

    Raises:
        FileNotFoundError: If there is no such model, a folder holds no video, or none matches a pattern.
        ValueError: If there is nothing to read, an output would replace an input or another output,
            `output_dir` or `timeline_dir` is a file's name or has no meaning, `single` and `per_person` are
            both asked for, or another argument is out of its range.
        ImportError: If people are followed and the package `trackers` is not installed.
        OSError: If an output cannot be written.

    Example:
        >>> for result in predict_on_videos("recordings", "falls.keras", "annotated"):
        ...     print(result.video, result.action or result.error)
    """
    if single and (output_dir, timeline_dir) != (None, None):
        raise ValueError("output_dir and timeline_dir must be left out with single, which writes nothing")
    if single and per_person:
        raise ValueError(
            "per_person must be left out with single, which names one action for the whole video"
        )
    found = find_videos(videos, except_dir=output_dir)
    outputs = _targets(found, output_dir, ".mp4", "output_dir")
    timelines = _targets(found, timeline_dir, ".csv", "timeline_dir")
    check_top(top)
    if not single:
        options["top"] = top
    predictor = _Predictor(model, single, per_person, download_dir, progress, options)
    for target, argument in ((outputs[0], "output_dir"), (timelines[0], "timeline_dir")):
        if target is not None:
            check_target(target, argument)
    rows = None
    if table is not None:
        inputs = [*(each.video for each in found), *outputs, *timelines]
        rows = ResultTable(table, top, per_person=predictor.per_person, inputs=inputs)
    jobs = [_Job(*job) for job in zip((each.video for each in found), outputs, timelines, strict=True)]
    return _results(predictor, jobs, rows, progress)


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
        per_person: bool,
        download_dir: str | os.PathLike,
        progress: bool,
        options: dict[str, Any],
    ):
        """Load the model, and check the options."""
        self._model = load_named(model) if isinstance(model, str | os.PathLike) else model
        self._single, self._download_dir, self._progress = single, download_dir, progress
        self._options = options
        foreign = {name: options[name] for name in ForeignModel.__annotations__ if name in options}
        self._resolved = resolve_model(self._model, runtime=options.get("runtime"), **foreign)
        recipe, stride_seconds = self._resolved.recipe, options.get("stride_seconds")
        self.per_person = per_person or (recipe.subject == "person" and not single)
        if single:
            return
        check_caption(options.get("caption", "none"))
        kind = PeopleStream if self.per_person else ActionStream
        stream = kind(self._resolved.model, recipe, stride_seconds=stride_seconds)
        deciding = {name: options[name] for name in _DECIDING_OPTIONS if options.get(name) is not None}
        check_settings(stream.stride_seconds, **deciding)

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
            name = predict_people if self.per_person else predict_on_video
            outputs = {"output": job.output, "timeline": job.timeline}
            named = name(video, self._model, **outputs, progress=self._progress, **self._options)
            result = VideoResult(
                job.video, seconds, **outputs, **{"people" if self.per_person else "prediction": named}
            )
        # What was assumed of a model without a recipe has been told once.
        self._options |= {name: getattr(self._resolved.recipe, name) for name in self._resolved.assumed}
        return result


def _results(
    predictor: _Predictor, jobs: Sequence[_Job], table: ResultTable | None, progress: bool
) -> Iterator[VideoResult]:
    for job in tqdm(jobs, "Videos", unit="video", disable=not progress):
        try:
            result = predictor.predict(job)
        except _OF_ONE_VIDEO as error:
            reason = " ".join(str(error).split()).removeprefix(f"{job.video}: ")
            result = VideoResult(job.video, error=reason or type(error).__name__)
        if table is not None:
            table.add(result)
        yield result
