"""Teach by few labels: a folder with recordings' names, what was labeled in them, and the models so far.

The loop is: add recordings, label some ranges of time, ask for suggestions, answer them, train anew, look at
the score, and go on where it is weak. The network that looks at the frames is frozen and looks once; a head
learns in seconds. A quarter of the recordings is held out whole, and only ever scores.

    project = Project.create("falls", ["Falling", "Walking"])
    project.add("recordings")
    project.compute_features()
    project.label("recordings/monday.mp4", 63.4, 66.0, "Falling")
    for suggestion in project.suggest():
        project.answer(suggestion)  # or with the right label, or project.reject(suggestion)
    print(project.retrain())
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from harkeras.base.checks import check_count
from harkeras.data.annotations import to_label
from harkeras.data.cutting import class_of
from harkeras.data.splits import check_seed
from harkeras.inference.prediction import predict_on_video
from harkeras.teaching._learning import Score
from harkeras.teaching._lessons import Lessons
from harkeras.teaching._store import Settings, Store
from harkeras.teaching.labels import LabeledRecordings
from harkeras.teaching.retraining import Retrainer, Retraining
from harkeras.teaching.suggesting import Suggestion
from harkeras.transfer.learning_curve import LearningCurve


class Project(LabeledRecordings):
    """Recordings, labels, suggestions and models in one folder.

    Several processes may work on one project: each change reads what is there, and is written whole.

    Args:
        folder: A folder that `Project.create` made.

    Raises:
        FileNotFoundError: If the folder is no project.
        ValueError: If its files are damaged.
    """

    def __init__(self, folder: str | os.PathLike):
        """Open a project."""
        super().__init__(folder)
        self._lessons = Lessons(self._store)
        self._trainer = Retrainer(self._store, self._lessons)

    @classmethod
    def create(
        cls,
        folder: str | os.PathLike,
        classes: Sequence[str] = (),
        *,
        nothing: str = "Nothing",
        clip_seconds: float | None = None,
        backbone: str | None = None,
        weights: str | None = "imagenet",
        seed: int = 27,
    ) -> Project:
        """Make a project in a folder that is none yet.

        Args:
            folder: The folder, made where missing.
            classes: Names of the actions, in order; labels may add to them.
            nothing: Name of the class of what is between the actions.
            clip_seconds: How much of a recording is looked at to name an action; by default the median of the
                ranges that are labeled when a model learns for the first time, or 2 where there are none.
            backbone: The network that looks at the frames; by default the one that `harkeras train` takes.
            weights: Its weights, as in `harkeras.transfer.frame_encoder`.
            seed: Seed of every random choice, such as of the recordings that are held out.

        Raises:
            ValueError: If the folder is a project, two classes are one, or an argument is out of its range.
        """
        check_seed(seed)
        if clip_seconds is not None and not 0.5 <= clip_seconds <= 60:
            raise ValueError(f"clip_seconds must lie in 0.5 to 60, got {clip_seconds}")
        names = [to_label(name) for name in ([classes] if isinstance(classes, str) else classes)]
        nothing = to_label(nothing)
        names = [name for name in names if class_of(name).casefold() != class_of(nothing).casefold()]
        if len({class_of(name).casefold() for name in names}) < len(names):
            raise ValueError(f"classes must be different names, got {names}")
        store = Store(Path(folder))
        with store.locked():
            if store.exists:
                raise ValueError(
                    f"folder must be no project yet, got {folder}: open it with Project({folder!r})"
                )
            chosen = {"name": backbone, "weights": None if weights is None else str(weights)}
            settings = Settings(tuple(names), nothing, int(seed), clip_seconds, backbone=chosen)
            store.write_settings(settings)
        return cls(folder)

    @property
    def model(self) -> Path | None:
        """The file of the model that was accepted last; None if there is none."""
        name = self._settings().model
        return self.folder / "models" / f"{name}.keras" if name else None

    def compute_features(self, on_progress: Callable[[float], None] | None = None) -> dict[str, str]:
        """Let the frozen network look at what it has not seen yet; it goes on where it was interrupted.

        Args:
            on_progress: Called with the share that is done, in place of a progress bar.

        Returns:
            Why recordings could not be read to their end, by name. They stay in the list as unreadable.

        Raises:
            OSError: If the weights of the network cannot be had, or the features not be written.
        """
        return self._lessons.compute_features(on_progress)

    def suggest(self, count: int = 12, *, held_out: bool = False) -> list[Suggestion]:
        """Propose ranges to label, see `harkeras.teaching.suggesting`.

        A head is fitted to what is labeled so far. As long as that is fewer than two classes, ranges are
        proposed that are unlike each other, without a label. The same labels give the same suggestions.

        Args:
            count: How many; fewer where no more is left.
            held_out: Propose ranges of the recordings that are held out instead: drawn at random, without a
                label, so that what models are scored on is no choice of theirs.

        Raises:
            ValueError: If `count` is below 1, or no recording has features yet.
        """
        suggestions = self._lessons.suggest(check_count("count", count), held_out)
        self._store.write_suggestions([(each.kind, each.confidence, *each[:4]) for each in suggestions])
        return suggestions

    @property
    def suggestions(self) -> list[Suggestion]:
        """What was proposed last, also by another process."""
        rows = self._store.read_suggestions()
        return [Suggestion(*row, confidence, kind) for kind, confidence, *row in rows]

    def retrain(self) -> Retraining:
        """Fit a model to all labels, score it, and take it over unless it does worse than the one before.

        Both are scored on what is labeled now in the recordings that are held out: a quarter of them, chosen
        once, as soon as there are 5. As long as nothing is labeled there, the score is a cross-validation
        over the other recordings, and the newest model is taken over.

        Raises:
            ValueError: If fewer than two classes are labeled in recordings that have features.
            OSError: If the model cannot be written; the one before remains.
        """
        return self._trainer.retrain()

    @property
    def score(self) -> Score | None:
        """The score that the model was accepted for; None if there is no model."""
        return self._trainer.score()

    def learning_curve(self) -> LearningCurve | None:
        """Say what more recordings would buy; None where there are too few for that.

        Raises:
            ValueError: If fewer than two classes are labeled in recordings that have features.
        """
        return self._trainer.learning_curve()

    def predict(self, video: str | os.PathLike, *args, **options):
        """Name the actions of a video with the model: `harkeras.predict_on_video`.

        Raises:
            ValueError: If there is no model yet.
        """
        if self.model is None:
            raise ValueError("there is no model yet: label some ranges of two classes, then retrain()")
        return predict_on_video(video, self.model, *args, **options)

    def describe(self) -> str:
        """Return in some lines what the project holds, and how good its model is."""
        recordings = self.recordings
        readable = [each for each in recordings if not each.problem]
        held_out = sum(each.held_out is True for each in readable)
        minutes = sum(each.seconds for each in readable) / 60
        lines = [f"{len(readable)} recordings, {minutes:.1f} minutes, {held_out} of them held out"]
        lines += [f"cannot be read: {each.video}: {each.problem}" for each in recordings if each.problem]
        lines.append(f"{'ranges to learn from':>30} {'to score on':>12}")
        for name, (learned, tested) in self.counts().items():
            lines.append(f"{learned:30d} {tested:12d}  {name}")
        if self.model is None:
            lines.append("no model yet")
        else:
            lines.append(f"model: {self.model}")
            lines.append(str(self.score or "no score: all labels were of one source"))
        return "\n".join(lines)
