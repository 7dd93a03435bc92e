"""Trainings: each a process of its own and a folder, in which any server finds it again.

A training lives as long as its process holds the lock in the folder. So nothing is mistaken for it, not even
a stranger's process that was given its number, and the system lets go of the lock however the process ends.
"""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from harkeras.app.training_process import EPOCHS, LOCK, LOG, PROCESS, RESULT, SETTINGS, STOPPED
from harkeras.base.files import write_text

_FOLDER = ".trainings"
_START_SECONDS = 30.0  # a process that has not begun by then never will
_processes: dict[Path, subprocess.Popen] = {}  # that this server has started


class TrainingProgress(NamedTuple):
    """What is being done, the share of it that is done, and the time that is left, as tqdm says it."""

    doing: str
    share: float
    left: str


@dataclass(frozen=True)
class Training:
    """A training, wherever it was started.

    Attributes:
        folder: Where its files lie.
    """

    folder: Path

    @property
    def settings(self) -> dict[str, Any]:
        """What `train_on_folder` was told."""
        return json.loads((self.folder / SETTINGS).read_text(encoding="utf-8"))

    @property
    def running(self) -> bool:
        """Whether the process lives, or is about to."""
        if (self.folder / RESULT).exists():
            return False
        if not (self.folder / PROCESS).exists():
            if self.folder in _processes:
                return _processes[self.folder].poll() is None
            return time.time() < (self.folder / SETTINGS).stat().st_mtime + _START_SECONDS
        try:
            with FileLock(self.folder / LOCK, timeout=0, is_singleton=False):
                return False
        except Timeout:
            return True

    @property
    def result(self) -> dict[str, str]:
        """The folder of the `run`, or an `error`; what was killed says so."""
        if not (self.folder / RESULT).exists():
            return {"error": "Its process was ended before it was done."}
        return json.loads((self.folder / RESULT).read_text(encoding="utf-8"))

    @property
    def epochs(self) -> list[dict[str, float]]:
        """The epochs so far: numbers by the names of metrics; none of a model that has no epochs."""
        if not (self.folder / EPOCHS).exists():
            return []
        with (self.folder / EPOCHS).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        numbers = [{name: float(value) for name, value in row.items() if value} for row in rows]
        return [row | {"epoch": row["epoch"] + 1} for row in numbers if len(row) == len(numbers[0])]

    @property
    def log(self) -> str:
        """What the process has written; of a bar, its last state."""
        path = self.folder / LOG
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        lines = (line.rstrip().rsplit("\r", 1)[-1] for line in text.split("\n"))
        return "\n".join(line for line in lines if line.strip())

    @property
    def progress(self) -> TrainingProgress:
        """How far it is, by the last bar that it has drawn."""
        bars = re.findall(r"(?:([^:\n|]*):)? *(\d+)%\|[^\n]*?\[[\d:]+<([\d:?]+)", self.log)
        if not bars:
            return TrainingProgress("Starting", 0.0, "")
        doing, percent, left = bars[-1]
        doing = doing.strip() or "Training"  # Keras's bar has no name
        return TrainingProgress(doing, int(percent) / 100, "" if "?" in left else left)

    def stop(self, *, at_once: bool = False) -> None:
        """Ask the process to end with the best model so far, or end it at once."""
        if not self.running:
            return
        write_text(self.folder / STOPPED, "")  # for a process that is yet to begin
        if (self.folder / PROCESS).exists():
            number = int((self.folder / PROCESS).read_text(encoding="utf-8"))
            os.kill(number, signal.SIGKILL if at_once else signal.SIGINT)


def start_training(models: Path, settings: dict[str, Any]) -> Training:
    """Start a training whose run will lie in a folder of models.

    Args:
        models: The folder.
        settings: `data_dir`, `model` and further arguments of `train_on_folder`, as JSON can hold them.
    """
    folder = (models / _FOLDER / f"{datetime.now():%Y-%m-%d__%H-%M-%S-%f}").absolute()
    folder.mkdir(parents=True)
    settings = settings | {"output_dir": str(models.absolute())}
    write_text(folder / SETTINGS, json.dumps(settings))
    command = [sys.executable, "-m", "harkeras.app.training_process", str(folder)]
    with (folder / LOG).open("wb") as log:
        _processes[folder] = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    return Training(folder)


def list_trainings(models: Path) -> list[Training]:
    """List the trainings of a folder of models, the newest first."""
    folders = sorted((models / _FOLDER).absolute().glob(f"*/{SETTINGS}"), reverse=True)
    return [Training(path.parent) for path in folders]
