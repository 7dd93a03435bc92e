"""What is done with one of many videos, here or by a worker that has loaded the model once."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import keras

from harkeras.base.files import content_digest
from harkeras.base.model_files import find_model_file
from harkeras.base.storage import Folder, is_remote, open_remote
from harkeras.inference._video_windows import read_info
from harkeras.inference.exported import ExportedModel
from harkeras.inference.people_prediction import predict_people
from harkeras.inference.prediction import predict_on_video, predict_single_action
from harkeras.inference.resolve import load_named
from harkeras.inference.result_files import VERSION, from_json, to_json
from harkeras.inference.video_results import VideoResult
from harkeras.people.pose import estimator_name
from harkeras.video.addresses import is_playlist
from harkeras.video.reading import VideoError
from harkeras.video.youtube import DownloadError, download_youtube_videos, is_url

# Raised when the same video, model and settings would give other numbers.
_NUMBERS_VERSION = 1
# What ends one video and not the run.
_OF_ONE_VIDEO = (VideoError, DownloadError, OSError, ValueError, MemoryError)
# What does not change what is named.
_OF_OUTPUTS = ("output", "timeline", "top", "caption", "progress")
_loading = threading.Lock()


class VideoJob(NamedTuple):
    """A video, the name of its result, and what is written beside it."""

    video: str
    name: str
    output: Path | None
    timeline: Path | None


@dataclass(frozen=True)
class VideoTask:
    """Names the actions of a video; can be sent to a worker if its model is a path.

    Attributes:
        model: A model in memory, or its path or name.
        digest: Of the model's file, where it is a path or results are kept.
        options: Of `predict_on_video` and its like.
        single: Whether to name one action for each video.
        per_person: Whether to name the actions of each person.
        download_dir: Folder for the videos of URLs.
        progress: Whether to show a bar for each video.
        results: Where results are kept, if anywhere.
        takes_over: Whether a result that is there is taken over.
        assumed: What was assumed of a model without a recipe.
        told: The same, once a warning has told it.
    """

    model: str | keras.Model | ExportedModel
    digest: str | None
    options: dict[str, Any]
    single: bool
    per_person: bool
    download_dir: str
    progress: bool
    results: Folder | None
    takes_over: bool
    assumed: dict[str, Any]
    told: dict[str, Any]

    def __call__(self, job: VideoJob) -> VideoResult:
        """Name the actions of a video, or say why that could not be done."""
        try:
            if self.results is None:
                return self._predict(job)
            name = f"{job.name}.{self._key(job.video)}.json"
            if self.takes_over and (content := self.results.read(name)) is not None:
                with suppress(ValueError, KeyError, TypeError, AttributeError):  # damaged: done again
                    return replace(from_json(content), video=job.video)
            result = self._predict(job)
            self.results.write(name, to_json(result))
            return result
        except _OF_ONE_VIDEO as error:
            reason = " ".join(str(error).split()).removeprefix(f"{job.video}: ")
            return VideoResult(job.video, error=reason or type(error).__name__)

    def _predict(self, job: VideoJob) -> VideoResult:
        model = self.model
        if isinstance(model, str):
            with _loading:
                model = _load_once(model, self.digest)
        options = self.options | self.told
        with _local_file(job.video, self.download_dir, self.progress) as video:
            seconds = read_info(video).duration_seconds
            if self.single:
                result = VideoResult(job.video, seconds, self._function()(video, model, **options))
            else:
                outputs = {"output": job.output, "timeline": job.timeline}
                named = self._function()(video, model, **outputs, progress=self.progress, **options)
                named = {"people" if self.per_person else "prediction": named}
                result = VideoResult(job.video, seconds, **outputs, **named)
        self.told.update(self.assumed)
        return result

    def _function(self) -> Callable:
        if self.single:
            return predict_single_action
        return predict_people if self.per_person else predict_on_video

    def _key(self, video: str) -> str:
        """Return what the result of a video depends on beside its name, in 16 letters."""
        parameters = inspect.signature(self._function()).parameters.values()
        defaults = {each.name: each.default for each in parameters if each.default is not each.empty}
        settings = {
            name: value
            for name, value in (defaults | self.options).items()
            if value is not None and name not in _OF_OUTPUTS
        }
        facts = [VERSION, _NUMBERS_VERSION, self.digest, self.single, self.per_person, _identify(video)]
        text = json.dumps([*facts, settings], sort_keys=True, default=_name_of)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def model_digest(model: str) -> str:
    """Return what tells the model of a path, or a published name, from any other."""
    path = find_model_file(model)
    if not path.exists():
        return model
    if path.is_file():
        return content_digest(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    parts = [[file.relative_to(path).as_posix(), content_digest(file)] for file in files]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@lru_cache(maxsize=1)
def _load_once(model: str, digest: str) -> keras.Model | ExportedModel:
    """Load a model, which then stays with the worker."""
    if model_digest(model) != digest:
        raise RuntimeError(f"model must be the same file for all workers, got another one at {model}")
    return load_named(model)


def _identify(video: str) -> list[str]:
    """Return what tells a video from others without decoding it."""
    if is_url(video):
        return [video]
    if is_remote(video):
        files, path = open_remote(video)
        return [Path(path).suffix, files.ukey(path)]
    return [Path(video).suffix, content_digest(video)]


@contextmanager
def _local_file(video: str, download_dir: str, progress: bool) -> Iterator[str | Path]:
    """Yield the file of a video; of one that is elsewhere, a copy that is there for the time."""
    if is_url(video) and not is_playlist(video):
        yield download_youtube_videos(video, download_dir, progress=progress).path
    elif is_remote(video):
        files, path = open_remote(video)
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, Path(path).name)
            files.get_file(path, os.fspath(copy))
            try:
                yield copy
            except VideoError as error:
                raise VideoError(str(error).replace(os.fspath(copy), video)) from error
    else:
        yield video


def _name_of(value: Any) -> str:
    """Return what stands for an option that JSON does not know."""
    if callable(value):
        return estimator_name(value)
    raise ValueError(f"options must be numbers, texts and functions where results are kept, got {value!r}")
