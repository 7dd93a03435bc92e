"""What the page Teach lets the worker compute: only that process loads Keras, see `harkeras.app.worker`."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from harkeras.teaching.project import Project
from harkeras.teaching.suggesting import Suggestion
from harkeras.transfer.learning_curve import LearningCurve

Tell = Callable[[str, float], None]


def create_project(folder: str, classes: list[str]) -> None:
    """Make a project."""
    Project.create(folder, classes)


def add_recordings(folder: str, videos: list[str], *, tell: Tell) -> list[str]:
    """Add recordings and look at them; return why some cannot be read."""
    tell("Opening", 0.0)
    added = _open(folder).add(videos)
    return [*added.unreadable.values(), *compute_features(folder, tell=tell)]


def compute_features(folder: str, *, tell: Tell) -> list[str]:
    """Look at what was not looked at yet; return why some cannot be read to their end."""
    problems = _open(folder).compute_features(lambda share: tell("Looking at the recordings", share))
    return list(problems.values())


def suggest(folder: str, held_out: bool, number: int, *, tell: Tell) -> tuple[int, list[Suggestion]]:
    """Return suggestions, and the number that the page gave to this round of them."""
    tell("Choosing", 0.0)
    return number, _open(folder).suggest(held_out=held_out)


def retrain(folder: str, *, tell: Tell) -> dict[str, Any]:
    """Train anew; return what came of it, as plain values."""
    tell("Training", 0.0)
    project = _open(folder)
    trained = project.retrain()
    tell("Asking what more labels would bring", 0.5)
    curve = project.learning_curve()
    before = trained.previous.balanced_accuracy if trained.previous else None
    return {"accepted": trained.accepted, "score": _plain(trained.score), "before": before} | {
        "curve": None if curve is None else _curve(curve)
    }


def read_score(folder: str, _model: str) -> dict[str, Any] | None:
    """Return the score of the model in use, as plain values."""
    return _plain(_open(folder).score)


@lru_cache(maxsize=4)
def _open(folder: str) -> Project:
    """Return a project, with the features that it has read."""
    return Project(folder)


def _plain(score: Any) -> dict[str, Any] | None:
    return None if score is None else dict(vars(score))


def _curve(curve: LearningCurve) -> dict[str, Any]:
    return {"points": [point._asdict() for point in curve.points], "sentence": curve.sentence}
