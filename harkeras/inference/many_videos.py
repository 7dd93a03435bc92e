"""Name the actions in many videos: the model is loaded once, and a bad file does not stop the others.

With `joblib.parallel_config` around the call, the videos are spread over processes, Dask or Ray; with
`output_dir`, each result is a file, and what is there is not done again.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import keras
from tqdm.auto import tqdm

from harkeras.base.files import check_target
from harkeras.base.storage import Folder
from harkeras.base.text import printable, to_cell
from harkeras.base.workers import Lost, are_workers_configured, on_workers, share_memory
from harkeras.inference._timeline import check_top
from harkeras.inference._video_tasks import VideoJob, VideoTask, model_digest
from harkeras.inference.decisions import check_settings
from harkeras.inference.people_stream import PeopleStream
from harkeras.inference.resolve import ForeignModel, load_named, resolve_model
from harkeras.inference.streaming import ActionStream
from harkeras.inference.video_results import ResultTable, VideoResult
from harkeras.video.drawing import check_caption
from harkeras.video.listing import FoundVideo, find_videos
from harkeras.video.youtube import is_url

_DECIDING_OPTIONS = ("smoothing_seconds", "hysteresis", "min_seconds", "threshold")
_OUTPUT_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".csv", ".json")
FAILURES = "failures.csv"


def predict_on_videos(
    videos: str | os.PathLike | Iterable[str | os.PathLike],
    model: str | os.PathLike | keras.Model,
    output_dir: str | os.PathLike | None = None,
    *,
    video_dir: str | os.PathLike | None = None,
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
    a result with an error, and the others go on. Files have the names of their videos, below the same
    folders; of names that would be equal, the later ones get a number.

    Inside `joblib.parallel_config(backend="loky", n_jobs=4)`, or "dask", "ray" or "threading", the videos are
    spread over the workers, of which each loads the model once, and results come as they are done. Workers on
    other machines must find videos, model and folders at the same paths or addresses. A worker that is lost
    costs what it had begun, which is done again.

    Args:
        videos: Files, folders (the videos in them at any depth), patterns such as "clips/**/*.mp4" and URLs;
            one of these or several. Also addresses that fsspec knows, such as "s3://bucket/clips/*.mp4".
        model: Path of a `.keras` file, one of `list_pretrained()`, or a model in memory.
        output_dir: Folder, or address such as "s3://bucket/results", that keeps the result of each video in a
            file, `name.key.json`, for `read_result`. The key stands for the content of the video, the model
            and the options: a later call takes over the files that it finds, unless it also writes videos or
            timelines. What could not be done is listed in `failures.csv`.
        video_dir: Folder for the annotated videos, `.mp4`; none are written by default.
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
        `VideoResult` of each video, in order; from workers, in the order in which they are done.

    Raises:
        FileNotFoundError: If there is no such model, a folder holds no video, or none matches a pattern.
        ValueError: If there is nothing to read, an output would replace an input or another output, a folder
            to write to is a file's name or has no meaning, `single` and `per_person` are both asked for, a
            model in memory would have to be sent or told from others, or another argument is out of its
            range.
        ImportError: If people are followed and the package `trackers` is not installed, or fsspec is needed.
        OSError: If an output cannot be written.

    Example:
        >>> with joblib.parallel_config(backend="loky", n_jobs=4):
        ...     for result in predict_on_videos("recordings", "falls.keras", "results"):
        ...         print(result.video, result.action or result.error)
    """
    if single and (video_dir, timeline_dir) != (None, None):
        raise ValueError("video_dir and timeline_dir must be left out with single, which writes nothing")
    if single and per_person:
        raise ValueError(
            "per_person must be left out with single, which names one action for the whole video"
        )
    found = find_videos(videos, except_dir=video_dir)
    outputs = _targets(found, video_dir, ".mp4", "video_dir")
    timelines = _targets(found, timeline_dir, ".csv", "timeline_dir")
    check_top(top)
    if not single:
        options["top"] = top
    results = None if output_dir is None else Folder(output_dir)
    checked = _check(model, single, per_person, options)
    task = VideoTask(
        *_to_send(model, checked.model, results),
        options=options,
        single=single,
        per_person=checked.per_person,
        download_dir=os.fspath(download_dir),
        progress=progress and not are_workers_configured(),
        results=results,
        takes_over=video_dir is None and timeline_dir is None,
        assumed=checked.assumed,
        told={},
    )
    for target, argument in ((outputs[0], "video_dir"), (timelines[0], "timeline_dir")):
        if target is not None:
            check_target(target, argument)
    if results is not None:
        results.check(FAILURES, "output_dir")
    rows = None
    if table is not None:
        inputs = [*(each.video for each in found), *outputs, *timelines]
        rows = ResultTable(table, top, per_person=checked.per_person, inputs=inputs)
    names = [each.name.as_posix() for each in found]
    jobs = [*map(VideoJob, (each.video for each in found), names, outputs, timelines)]
    return _results(task, jobs, rows, progress)


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


class _Checked(NamedTuple):
    """A model in memory, whether it looks at people, and what is assumed of it."""

    model: Any
    per_person: bool
    assumed: dict[str, Any]


def _check(
    model: str | os.PathLike | keras.Model, single: bool, per_person: bool, options: dict[str, Any]
) -> _Checked:
    """Load the model; raise ValueError if an option would fail with every video."""
    loaded = load_named(model) if isinstance(model, str | os.PathLike) else model
    foreign = {name: options[name] for name in ForeignModel.__annotations__ if name in options}
    resolved = resolve_model(loaded, runtime=options.get("runtime"), **foreign)
    recipe = resolved.recipe
    per_person = per_person or (recipe.subject == "person" and not single)
    if not single:
        check_caption(options.get("caption", "none"))
        kind = PeopleStream if per_person else ActionStream
        stream = kind(resolved.model, recipe, stride_seconds=options.get("stride_seconds"))
        deciding = {name: options[name] for name in _DECIDING_OPTIONS if options.get(name) is not None}
        check_settings(stream.stride_seconds, **deciding)
    return _Checked(loaded, per_person, {name: getattr(recipe, name) for name in resolved.assumed})


def _to_send(
    model: str | os.PathLike | keras.Model, loaded: Any, results: Folder | None
) -> tuple[Any, str | None]:
    """Return the model for this process, or its path for others, and what tells it from other models."""
    sent = are_workers_configured() and not share_memory()
    if not sent and results is None:
        return loaded, None
    if not isinstance(model, str | os.PathLike):
        purpose = "sent to the workers" if sent else "told from others in output_dir"
        raise ValueError(
            f"model must be a path, so that it can be {purpose}, got one in memory: save it first"
        )
    path = os.fspath(model)
    return path if sent else loaded, model_digest(path)


def _results(
    task: VideoTask, jobs: Sequence[VideoJob], table: ResultTable | None, progress: bool
) -> Iterator[VideoResult]:
    failures = []
    try:
        with closing(_done(task, jobs)) as done:
            for number, result in tqdm(done, "Videos", len(jobs), unit="video", disable=not progress):
                if isinstance(result, Lost):
                    result = VideoResult(jobs[number].video, error=result.reason)
                if result.error:
                    failures.append((number, result.video, result.error))
                if table is not None:
                    table.add(result, number)
                yield result
    finally:
        if task.results is not None:
            _write_failures(task.results, sorted(failures))


def _done(task: VideoTask, jobs: Sequence[VideoJob]) -> Iterator[tuple[int, VideoResult | Lost]]:
    """Yield the number of each job and its result, from the workers or from here."""
    if are_workers_configured():
        yield from on_workers(task, jobs)
    else:
        yield from enumerate(map(task, jobs))


def _write_failures(results: Folder, failures: Sequence[tuple[int, str, str]]) -> None:
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["path", "why"])
    writer.writerows([to_cell(printable(text)) for text in texts] for _, *texts in failures)
    results.write(FAILURES, lines.getvalue().encode())
