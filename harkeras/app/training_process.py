"""The process of a training: `python -m harkeras.app.training_process FOLDER`.

It reads what to do from the folder, see `harkeras.app.trainings`, and leaves there what came of it. Nobody
needs to wait for it: it outlives the page and the server.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

from filelock import FileLock

from harkeras.base.files import write_text

SETTINGS, PROCESS, STOPPED, LOCK, LOG, EPOCHS, RESULT = (
    "settings.json",
    "process.txt",
    "stopped.txt",
    "running.lock",
    "log.txt",
    "epochs.csv",
    "result.json",
)


def main(folder: Path) -> None:
    """Train as the folder says, and write what came of it."""
    with FileLock(folder / LOCK, timeout=10):  # held as long as this process lives
        write_text(folder / PROCESS, str(os.getpid()))
        logger = logging.getLogger("harkeras")
        logger.handlers, logger.level = [logging.StreamHandler()], logging.INFO
        if (folder / STOPPED).exists():  # asked for before there was a process to be told
            return
        try:
            settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
            result = {"run": str(_train(settings, folder))}
        except KeyboardInterrupt:
            result = {"error": "It was stopped before there was anything to keep."}
        except Exception as error:
            logger.exception("the training failed")
            result = {"error": " ".join(str(error).split()) or type(error).__name__}
        write_text(folder / RESULT, json.dumps(result))


def _train(settings: dict[str, Any], folder: Path) -> Path:
    """Return the folder of the run."""
    from keras.callbacks import CSVLogger

    from harkeras.transfer.auto import find_trainer
    from harkeras.workflow import train_on_folder

    if find_trainer(settings["model"]).takes_settings:
        settings["callbacks"] = [CSVLogger(folder / EPOCHS)]
    if settings.get("input_shape"):
        settings["input_shape"] = tuple(settings["input_shape"])
    return train_on_folder(settings.pop("data_dir"), settings.pop("model"), **settings).folder.absolute()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
