"""What the worker computes for the pages: only this process loads Keras, see `harkeras.app.worker`."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from harkeras.app.timeline import timeline_data
from harkeras.base.model_files import find_model_file
from harkeras.base.progress import Progress
from harkeras.data.samples import create_sample_video
from harkeras.inference.people_prediction import predict_people, write_people_timeline
from harkeras.inference.prediction import predict_on_video, write_timeline
from harkeras.inference.resolve import load_named
from harkeras.models.saving import read_recipe
from harkeras.video.youtube import download_youtube_videos


def describe_model(path: str, _changed: int) -> dict[str, Any] | None:
    """Return what the recipe of a model says: its classes, and in words what it looks at; None if none."""
    recipe = read_recipe(path)
    if recipe is None:
        return None
    size = f"{recipe.height} x {recipe.width} pixels"
    size = "joints of a person" if recipe.streams == "pose" else size
    looks = f"{recipe.frames} frames of {size}, over {recipe.clip_seconds:.2g} s"
    if recipe.frames == 1:
        looks = f"pictures of {size}"
    return {"classes": recipe.classes, "looks": looks}


def recognize(
    video: str, folder: str, model: str, options: dict[str, Any], *, tell: Progress
) -> dict[str, Any]:
    """Name the actions of a video, and write it with them.

    Args:
        video: A file, the address of a video, or "sample:" and the number of a person to render.
        folder: Where the outputs go; it is made.
        model: Path of the model.
        options: What a model without a recipe needs, see `ForeignModel`.
        tell: Is told the progress.

    Returns:
        The files, and for each person, or "" for the whole picture, what the timeline draws.
    """
    into = Path(folder)
    into.mkdir(mode=0o700)
    path = _fetch(video, into, tell)
    tell("Loading the model", 0.0)
    loaded = load(model)
    recipe = getattr(loaded, "recipe", None)
    output, tables = into / "actions.mp4", [into / "actions.csv", into / "actions.json"]
    if recipe is not None and recipe.subject == "person":
        people = predict_people(path, loaded, output, progress=tell)
        if not people:
            raise ValueError(f"nobody was found in {path}")
        for table in tables:
            write_people_timeline(people, table)
        timelines = {f"Person {each.number}": timeline_data(each.prediction) for each in people}
    else:
        prediction = predict_on_video(path, loaded, output, progress=tell, **options)
        for table in tables:
            write_timeline(prediction, table)
        timelines = {"": timeline_data(prediction)}
    return {"video": output, "tables": tables, "timelines": timelines}


def load(model: str) -> Any:
    """Load a model, or return it as it was loaded before if the file is the same."""
    return _load(model, find_model_file(model).stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _load(model: str, _changed: int) -> Any:
    return load_named(model)


def _fetch(video: str, folder: Path, tell: Progress) -> Path:
    kind, _, rest = video.partition(":")
    if kind == "sample":
        tell("Rendering", 0.0)
        path = folder / "sample.mp4"
        create_sample_video(path, group=int(rest))
        return path
    if kind in ("http", "https"):
        tell("Downloading", 0.0)
        return download_youtube_videos(video, folder, progress=False).path
    return Path(video)
