"""The models of a project: ordinary `.keras` files, beside each its score, and its head as arrays."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import keras
import numpy as np

from harkeras.base.files import write_text, written_whole
from harkeras.models.saving import save_model
from harkeras.teaching._learning import Head, Score


class ModelFolder:
    """The folder `models/` of a project.

    Args:
        folder: Where it is; it is made when a model is saved.
    """

    def __init__(self, folder: Path):
        """Look at a folder; nothing is read yet."""
        self.folder = folder

    def path(self, name: str) -> Path:
        """Return the file of a model."""
        return self.folder / f"{name}.keras"

    def save(self, model: keras.Model, head: Head, score: Score | None) -> str:
        """Save a model under the next number, and return its name.

        What belongs to it is written first: a model that has its name is whole.
        """
        numbers = [int(path.stem.partition("_")[2]) for path in self.folder.glob("model_[0-9]*.*")]
        name = f"model_{max(numbers, default=0) + 1:04d}"
        with written_whole(self.folder / f"{name}.npz", suffix=".npz") as partial:
            np.savez(partial, kernel=head.kernel, bias=head.bias)
        facts = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "classes": head.classes,
            "frames": model.recipe.frames,
            "score": None if score is None else score.to_dict(),
        }
        write_text(self.folder / f"{name}.json", json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
        save_model(model, self.path(name))
        return name

    def load_head(self, name: str) -> tuple[Head, int]:
        """Return the head of a model, and how many frames its windows have."""
        facts = self._facts(name)
        with np.load(self.folder / f"{name}.npz") as arrays:
            head = Head(arrays["kernel"], arrays["bias"], tuple(facts["classes"]))
        return head, facts["frames"]

    def load_score(self, name: str) -> Score | None:
        """Return the score that a model was accepted for; None if there was nothing to score it on."""
        values = self._facts(name)["score"]
        return None if values is None else Score.from_dict(values)

    def _facts(self, name: str) -> dict:
        return json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
