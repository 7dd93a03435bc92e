"""A model from all labels of a project, scored, and taken over unless it does worse than the one before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from harkeras.data.annotations import Annotation
from harkeras.recipe import Recipe
from harkeras.teaching._learning import (
    Head,
    LabeledRanges,
    Score,
    cross_validate_ranges,
    fit_windows,
    list_source_folds,
    score_ranges,
)
from harkeras.teaching._lessons import Lessons
from harkeras.teaching._models import ModelFolder
from harkeras.teaching._store import Settings, Store
from harkeras.teaching._windows import HEAD
from harkeras.training.calibration import fit_temperature
from harkeras.transfer.heads import create_head, join
from harkeras.transfer.learning_curve import LearningCurve, measure_learning_curve


@dataclass(frozen=True)
class Retraining:
    """What came of training anew.

    Attributes:
        accepted: Whether the new model was taken over.
        score: How it does; None if that cannot be told: all labels are of one recording.
        previous: How the model before does on the same ranges; None if there is none, or nothing is held out.
        model: The file of the model that is now in use.
    """

    accepted: bool
    score: Score | None
    previous: Score | None
    model: Path

    def __str__(self) -> str:
        """Return it in a few sentences."""
        lines = ["no score: all labels are of one source" if self.score is None else str(self.score)]
        if self.previous is not None:
            lines.append(f"the model before, on the same: {self.previous}")
        verdict = "taken over" if self.accepted else "not taken over, it does worse than the one before"
        return "\n".join([*lines, f"the new model was {verdict}: {self.model}"])


class Retrainer:
    """Trains and scores the models of a project.

    Args:
        store: The files of the project.
        lessons: What there is to learn.
    """

    def __init__(self, store: Store, lessons: Lessons):
        """Look at a project; nothing is read yet."""
        self._store, self._lessons = store, lessons
        self._models = ModelFolder(store.folder / "models")

    def retrain(self) -> Retraining:
        """See `Project.retrain`."""
        settings, ranges = self._lessons.settle()
        lessons = self._lessons.labeled(settings, ranges, held_out=False)
        head, folds = fit_windows(lessons), list_source_folds(lessons, settings.seed)
        probabilities, tested = cross_validate_ranges(lessons, folds)
        temperature = 1.0
        if tested.any():
            temperature = fit_temperature(lessons.labels[tested], probabilities[tested])
        test, previous = self._lessons.labeled(settings, ranges, held_out=True), None
        if len(test.labels):
            score = score_ranges(head.of_ranges(test), test, "held out")
            previous = self._score_of_model(settings, ranges, test)
        elif tested.any():
            rows = np.flatnonzero(tested)
            score = score_ranges(probabilities[rows], lessons.select(rows), "cross-validation")
        else:
            score = None
        accepted = previous is None or score.balanced_accuracy >= previous.balanced_accuracy
        if accepted:
            with self._store.locked():
                name = self._models.save(self._join(settings, head, temperature), head, score)
                self._store.write_settings(replace(self._store.read_settings(), model=name))
        else:
            name = settings.model
        return Retraining(accepted, score, previous, self._models.path(name))

    def _score_of_model(
        self, settings: Settings, ranges: list[Annotation], test: LabeledRanges
    ) -> Score | None:
        """Score the model in use on the ranges that are held out."""
        if not settings.model:
            return None
        head, frames = self._models.load_head(settings.model)
        if frames != self._lessons.windows_of(settings).frames:
            test = self._lessons.labeled(settings, ranges, held_out=True, frames=frames)
        columns = np.full(len(test.classes), -1)
        for row, name in enumerate(test.classes):
            columns[row] = head.classes.index(name) if name in head.classes else -1
        probabilities = head.of_ranges(test)
        return score_ranges(np.where(columns >= 0, probabilities[:, columns], 0.0), test, "held out")

    def _join(self, settings: Settings, head: Head, temperature: float) -> keras.Model:
        """Put the head on the frozen network: an ordinary model of clips."""
        windows = self._lessons.windows_of(settings)
        encoder = self._lessons.built_encoder(settings)
        top = create_head(HEAD, len(head.classes), (windows.frames, encoder.output_shape[-1]))
        top.get_layer("probabilities").set_weights([head.kernel, head.bias])
        named = keras.Model(top.input, top.output, name="head")
        model = join(encoder, named)
        size = settings.backbone["height"], settings.backbone["width"]
        model.recipe = Recipe(head.classes, windows.frames, *size, windows.seconds, temperature=temperature)
        return model

    def learning_curve(self) -> LearningCurve | None:
        """See `Project.learning_curve`."""
        settings, ranges = self._lessons.settle()
        lessons = self._lessons.labeled(settings, ranges, held_out=False)
        fit_windows(lessons)
        folds = list_source_folds(lessons, settings.seed)
        if not folds:
            return None

        def predict(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
            if len(np.unique(lessons.labels[rows])) < 2:
                only = np.zeros((len(others), len(lessons.classes)))
                only[:, lessons.labels[rows[0]]] = 1.0
                return only
            return fit_windows(lessons.select(rows)).of_ranges(lessons.select(others))

        probabilities, _ = cross_validate_ranges(lessons, folds)
        groups = lessons.sources
        return measure_learning_curve(
            lessons.labels, groups, folds, probabilities, predict, seed=settings.seed
        )

    def score(self) -> Score | None:
        """See `Project.score`."""
        name = self._store.read_settings().model
        return self._models.load_score(name) if name else None
