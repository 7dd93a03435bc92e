"""A run is a folder: what was trained, on what, and how it did, for people and for programs.

| file | what it holds |
|---|---|
| `model.keras` | the model with its recipe |
| `report.txt` | scores, clips, training, settings and versions, to read |
| `report.json` | the same as plain numbers and text, and the test clips with digests of their content |
| `clips.csv` | each clip: its class, source and side of the split, and, of test clips, what it was named |
| `epochs.csv` | the curves of the training, where it had epochs |
| `*.png` | the curves, the confusion matrix, the worst mistakes, and what else there is to show |
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import platform
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from harkeras.base.configs import plain_config
from harkeras.base.files import content_digest, write_text, written_whole
from harkeras.base.text import printable, to_cell
from harkeras.data.datasets import Dataset
from harkeras.data.folders import ClipFolder
from harkeras.data.leakage import leakage_report
from harkeras.evaluation.mistakes import list_mistakes, plot_mistakes
from harkeras.evaluation.people_sheet import plot_people
from harkeras.evaluation.plots import plot_confusion_matrix, plot_metric
from harkeras.evaluation.scores import Evaluation
from harkeras.models.registry import count_parameters
from harkeras.training.trainer import Training

REPORT_FILE = "report.json"
_FORMAT = 1


def create_run_folder(output_dir: str | os.PathLike, model: str) -> Path:
    """Make a folder `<model>__<date>__<time>` that is no other run's, whichever starts in the same second."""
    name = re.sub(r"[^\w.-]+", "_", model) + f"__{datetime.now():%Y-%m-%d__%H-%M-%S}"
    Path(output_dir).mkdir(parents=True, exist_ok=True)
    number, folder = 1, Path(output_dir, name)
    while True:
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
            folder = Path(output_dir, f"{name}_{number}")
        else:
            return folder


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """All that the files of a run say.

    Attributes:
        model: Name of the model.
        folder: The clips that were found.
        dataset: Those that could be read.
        train_set: Those that were trained on.
        test_set: Those that were tested on.
        evaluation: How they were named.
        training: What the training left.
        notes: What is to be said of clips and model.
        settings: With what it was trained, by the names of arguments.
        created: When the model was trained.
    """

    model: str
    folder: ClipFolder
    dataset: Dataset
    train_set: Dataset
    test_set: Dataset
    evaluation: Evaluation
    training: Training
    notes: Sequence[str]
    settings: Mapping[str, Any]
    created: datetime = field(default_factory=datetime.now)

    def write(self, run: Path) -> Path:
        """Write all files but the model into the folder of a run, and return the path of the text."""
        leaks = str(leakage_report(self.train_set, self.test_set))
        report = run / "report.txt"
        write_text(report, "\n".join(map(printable, self._text(leaks).split("\n"))))
        write_text(run / REPORT_FILE, _to_json(self._numbers(leaks)))
        _write_table(run / "clips.csv", self._clip_rows())
        if self.training.history is not None:
            _write_table(run / "epochs.csv", self._epoch_rows())
        for name, figure in self._figures():
            with written_whole(run / f"{name}.png", suffix=".png") as partial:
                figure.savefig(partial, dpi=120)
        return report

    def _text(self, leaks: str) -> str:
        readable = set(self.dataset.video_paths)
        kept = [row for row, path in enumerate(self.folder.video_paths) if path in readable]
        count = len(self.folder.video_paths)
        unread = [f"{count - len(kept)} of {count} clips could not be read"] if len(kept) < count else []
        interval = self.evaluation.group_interval or self.evaluation.interval
        settings = _plain(self.settings).items()
        sections = {
            "Test, on clips that the model was not trained on": [self.evaluation, self._mistakes()],
            "Clips": [self.folder[np.array(kept)], *unread, *self.notes, leaks],
            "Training": [self._model(), self.training.explain(self.evaluation.accuracy, interval)],
            "Settings": [f"{name}: {_in_words(each)}" for name, each in settings if _says_something(each)],
            "Versions": [", ".join(f"{name} {number}" for name, number in _versions().items())],
        }
        title = f"{self.model}, trained on {self.created:%Y-%m-%d, %H:%M}"
        parts = [
            f"{name}\n{'-' * len(name)}\n" + "\n".join(map(str, lines)) for name, lines in sections.items()
        ]
        return "\n\n".join([f"{title}\n{'=' * len(title)}\n{self._result()}", *parts]) + "\n"

    def _result(self) -> str:
        """Say in plain words how good the model is."""
        evaluation = self.evaluation
        low, high = evaluation.group_interval or evaluation.interval
        right = np.count_nonzero(evaluation.named == evaluation.labels)
        return (
            f"Of {len(evaluation.labels)} clips that it was not trained on, the model named {right} right: "
            f"{evaluation.accuracy:.0%}.\nOn more clips of this kind, expect {low:.0%} to {high:.0%} (95 % "
            f"interval); naming always the commonest of the {len(evaluation.classes)} classes gives "
            f"{evaluation.support.max() / evaluation.support.sum():.0%}.{self._doubts()}"
        )

    def _doubts(self) -> str:
        """Say why more clips may be named worse, if they may."""
        train, test = self.train_set.sources, self.test_set.sources
        if np.intersect1d(train.groups, test.groups).size:
            return "\nClips of the same sources were trained on: with new sources, expect less."
        if test.alone or train.alone:
            return "\nNot all sources are known: if test clips were cut from videos trained on, expect less."
        return ""

    def _model(self) -> str:
        model = self.training.model
        recipe, parameters = model.recipe, count_parameters(model)
        seconds = f"{recipe.clip_seconds:.3g} s"
        size = f"{recipe.height} x {recipe.width} pixels ({recipe.streams})"
        if recipe.streams == "pose":
            size = f"{recipe.joints} joints of a person"
        if recipe.frames == 1:
            return f"{self.model}, {parameters:,} parameters, looks at pictures of {size}"
        return (
            f"{self.model}, {parameters:,} parameters, looks at {recipe.frames} frames of {size}, spread "
            f"over clips of about {seconds}"
        )

    def _mistakes(self) -> str:
        wrong, _ = list_mistakes(self.evaluation)
        if not len(wrong):
            return "no test clip was named wrong, so there is no mistakes.png"
        clips = "one test clip was" if len(wrong) == 1 else f"{len(wrong)} test clips were"
        return f"{clips} named wrong: mistakes.png shows the worst, clips.csv lists all"

    def _numbers(self, leaks: str) -> dict[str, Any]:
        counts = np.bincount(self.folder.labels, minlength=len(self.folder.classes)).tolist()
        history = self.training.history
        return {
            "format": _FORMAT,
            "model": self.model,
            "created": self.created.isoformat(timespec="seconds"),
            "data_dir": str(self.folder.data_dir.absolute()),
            "test": self.evaluation.to_dict(),
            "training": {
                "clips": len(self.train_set),
                "input_shape": self.training.model.input_shape[1:],
                "parameters": count_parameters(self.training.model),
                "epochs": None if history is None else len(history.epoch),
                "interrupted": self.training.interrupted,
                **self.training.details(),
            },
            "clips": {
                "classes": dict(zip(self.folder.classes, counts, strict=True)),
                "sources": str(self.folder.sources),
                "unreadable": len(self.folder.video_paths) - len(self.dataset),
                "passed_over": self.folder.passed_over,
                "notes": [*self.notes, leaks],
            },
            "settings": self.settings,
            "versions": _versions(),
            "test_clips": [
                {
                    "clip": self._place(path),
                    "class": self.test_set.classes[self.test_set.labels[row]],
                    "source": self.test_set.sources.groups[row] if self.test_set.sources.known[row] else None,
                    "digest": content_digest(path),
                }
                for row, path in enumerate(self.test_set.video_paths)
            ],
        }

    def _clip_rows(self) -> Iterable[Sequence[Any]]:
        """List all clips: their class, source and side, and, of test clips, what they were named."""
        yield "clip", "class", "source", "side", "predicted", "confidence"
        _, sure = list_mistakes(self.evaluation)
        test = {path: row for row, path in enumerate(self.test_set.video_paths)}
        train, readable = set(self.train_set.video_paths), set(self.dataset.video_paths)
        for row, path in enumerate(self.folder.video_paths):
            side, named = "train" if path in train else "neither" if path in readable else "unreadable", ()
            if path in test:
                side = "test"
                label = self.evaluation.classes[self.evaluation.named[test[path]]]
                named = (label, f"{sure[test[path]]:.4f}")
            true = self.folder.classes[self.folder.labels[row]]
            yield self._place(path), true, self.folder.sources.groups[row], side, *named

    def _epoch_rows(self) -> Iterable[Sequence[Any]]:
        metrics = self.training.history.history
        yield "epoch", *metrics
        for epoch, values in enumerate(zip_longest(*metrics.values()), start=1):
            yield epoch, *(None if value is None else f"{float(value):.6g}" for value in values)

    def _figures(self) -> Iterator[tuple[str, Figure]]:
        evaluation, history, paths = self.evaluation, self.training.history, self.test_set.video_paths
        for metric in ("loss", "accuracy") if history is not None else ():
            other = f"val_{metric}" if f"val_{metric}" in history.history else metric
            yield metric, plot_metric(history, metric, other, f"{metric.capitalize()} over the epochs")
        title = f"Test clips: accuracy {evaluation.accuracy:.2f}"
        yield "confusion", plot_confusion_matrix(evaluation.confusion, evaluation.classes, title)
        yield from self.training.figures().items()
        mistakes = plot_mistakes(evaluation, paths, names=[printable(self._place(path)) for path in paths])
        if mistakes is not None:
            yield "mistakes", mistakes
        if self.training.model.recipe.subject == "person":
            yield "people", plot_people(self.dataset, self.training.model.recipe.frames)

    def _place(self, path: Path) -> str:
        return path.relative_to(self.folder.data_dir).as_posix()


class HeldOutClip(NamedTuple):
    """A test clip of a run: its path below the data folder, class, source if known, and digest of content."""

    path: str
    label: str
    source: str | None
    digest: str


class Run(NamedTuple):
    """What the report of a run says of its test.

    Attributes:
        data_dir: Where the clips were.
        accuracy: Share of the test clips that were named right.
        split: How they were chosen, in words.
        test_clips: The test clips.
    """

    data_dir: Path
    accuracy: float
    split: str
    test_clips: tuple[HeldOutClip, ...]


def read_run(folder: str | os.PathLike) -> Run | None:
    """Read what the report of a run says of its test; None where there is no folder with a report.

    Raises:
        ValueError: If the report is damaged, or of a newer version.
    """
    file = Path(folder, REPORT_FILE)
    if not file.is_file():
        return None
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if values["format"] != _FORMAT:
            raise ValueError(f"it has format {values['format']!r}, and this version reads {_FORMAT}")
        names = ("clip", "class", "source", "digest")
        clips = tuple(
            HeldOutClip(*(None if each[name] is None else str(each[name]) for name in names))
            for each in values["test_clips"]
        )
        for clip in clips:
            place = PurePosixPath(clip.path)
            if place.is_absolute() or ".." in place.parts:
                raise ValueError(f"{clip.path} lies outside of the data folder")
        test = values["test"]
        return Run(Path(values["data_dir"]), float(test["accuracy"]), str(test["split"]), clips)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{file} must be a report that harkeras wrote: {error!r}") from error


def _versions() -> dict[str, str]:
    numbers = {name: version(name) for name in ("harkeras", "keras", "tensorflow")}
    return numbers | {"python": platform.python_version()}


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it: what is no number becomes null, a function its name."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    try:
        return plain_config("settings", value)
    except ValueError:
        return getattr(value, "__qualname__", type(value).__qualname__)


def _to_json(values: Mapping[str, Any]) -> str:
    """Write JSON with a row of numbers on one line."""
    text = json.dumps(_plain(values), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    text = re.sub(r"\[\s+([-+.\de,\s]+?)\s+\]", lambda row: f"[{' '.join(row[1].split())}]", text)
    # Names of files that are not UTF-8 hold halves of characters, which JSON has as escapes.
    return text.encode(errors="backslashreplace").decode()


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_in_words(each)}" for name, each in value.items() if _says_something(each))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _says_something(value: Any) -> bool:
    return value is not False and value not in (None, "", {}, [])


def _write_table(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    for row in rows:
        writer.writerow([to_cell(printable(cell)) if isinstance(cell, str) else cell for cell in row])
    write_text(path, lines.getvalue())
