"""The recipe of a model: what it must be shown, and what its outputs mean."""

from __future__ import annotations

import json
import math
from dataclasses import MISSING, asdict, dataclass, fields
from numbers import Integral, Real
from typing import Literal

# How long training clips are taken to be where nobody says; those of UCF are mostly of 3 to 7 seconds.
DEFAULT_CLIP_SECONDS = 4.0


@dataclass(frozen=True)
class Recipe:
    """All that is needed to show a video to a model the way it was trained.

    Attributes:
        classes: Names of the outputs, in order.
        frames: Frames T of a clip.
        height: Height of a frame in pixels.
        width: Width of a frame in pixels.
        clip_seconds: How long the training clips were; the T frames are spread evenly over this time.
        normalize: Whether the model expects pixels in [0, 1] instead of 0-255, because it does not rescale by
            itself.
        channel_order: "rgb", or "bgr" for models trained on frames as OpenCV reads them.

    Raises:
        ValueError: If a value makes no sense.
    """

    classes: tuple[str, ...]
    frames: int
    height: int
    width: int
    clip_seconds: float
    normalize: bool = False
    channel_order: Literal["rgb", "bgr"] = "rgb"

    def __post_init__(self) -> None:
        """Check the values."""
        if isinstance(self.classes, str):
            raise ValueError(f"classes must be at least two different names, got {self.classes!r}")
        object.__setattr__(self, "classes", tuple(self.classes))
        if len(set(self.classes)) < max(len(self.classes), 2):
            raise ValueError(f"classes must be at least two different names, got {self.classes}")
        for name in ("frames", "height", "width"):
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
            object.__setattr__(self, name, int(value))
        if not isinstance(self.clip_seconds, Real) or not 0 < self.clip_seconds < math.inf:
            raise ValueError(f"clip_seconds must be a positive number, got {self.clip_seconds!r}")
        object.__setattr__(self, "clip_seconds", float(self.clip_seconds))
        if self.channel_order not in ("rgb", "bgr"):
            raise ValueError(f"channel_order must be 'rgb' or 'bgr', got {self.channel_order!r}")

    def to_json(self) -> str:
        """Return the recipe as JSON text."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Read a recipe from JSON text.

        Raises:
            ValueError: If the text is no recipe, or holds something that this version does not know.
        """
        try:
            values = json.loads(text)
            if not isinstance(values, dict):
                raise ValueError("a recipe is a JSON object")
        except ValueError as error:
            raise ValueError(
                f"the recipe is not JSON that harkeras wrote ({error}): {text[:80]!r}"
            ) from error
        unknown = values.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(
                f"the recipe holds {sorted(unknown)}, which this version of harkeras does not know"
            )
        missing = [
            field.name for field in fields(cls) if field.default is MISSING and field.name not in values
        ]
        if missing:
            raise ValueError(f"the recipe lacks {missing}")
        return cls(**values)
