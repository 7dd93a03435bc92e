"""The recipe of a model: what it must be shown, and what its outputs mean."""

from __future__ import annotations

import json
import math
from dataclasses import MISSING, asdict, dataclass, field, fields
from numbers import Integral, Real
from typing import Literal

import numpy as np

# How long training clips are taken to be where nobody says; those of UCF are mostly of 3 to 7 seconds.
DEFAULT_CLIP_SECONDS = 4.0

# What the channels of a frame are: RGB, fields of optical flow (see `harkeras.flow`), or both, RGB first.
Streams = Literal["rgb", "flow", "rgb+flow"]


def read_channels(channels: int) -> tuple[Streams, int]:
    """Tell from the number of channels of a frame what they are: the streams, and the fields of flow.

    Three are RGB; 2L are L fields of flow, each to the right and down; 3 + 2L are both.

    Raises:
        ValueError: If it is none of these.
    """
    if channels == 3:
        return "rgb", 0
    if channels < 2:
        raise ValueError(f"channels must be 3 (RGB), 2L (flow) or 3 + 2L (both), got {channels}")
    return ("rgb+flow", (channels - 3) // 2) if channels % 2 else ("flow", channels // 2)


def count_channels(streams: Streams, fields: int) -> int:
    """Return the number of channels of a frame; the opposite of `read_channels`.

    Raises:
        ValueError: If there are no such streams, or `fields` is below 1 where there is flow.
    """
    if streams not in ("rgb", "flow", "rgb+flow"):
        raise ValueError(f"streams must be 'rgb', 'flow' or 'rgb+flow', got {streams!r}")
    if streams == "rgb":
        return 3
    if fields < 1:
        raise ValueError(f"fields must be at least 1, got {fields}")
    return 2 * fields + 3 * (streams == "rgb+flow")


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
        channels: Channels of a frame: 3 for RGB, 2L for L fields of optical flow, 3 + 2L for both.
        flow_method: How the flow was computed: "dis", "farneback" or "tvl1".
        temperature: Divisor of the model's logits that makes its probabilities honest, see
            `harkeras.fit_temperature`; 1 leaves them as they are.
        thresholds: Probability from which on a class is named, for classes where it was tuned, see
            `harkeras.tune_threshold`.

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
    channels: int = 3
    flow_method: str = "dis"
    temperature: float = 1.0
    thresholds: dict[str, float] = field(default_factory=dict)

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
        if not isinstance(self.temperature, Real) or not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature must be a positive number, got {self.temperature!r}")
        for name, value in self.thresholds.items():
            if name not in self.classes or not 0 < value <= 1:
                raise ValueError(
                    f"thresholds must map classes to numbers over 0 and up to 1, got {self.thresholds}"
                )
        streams, _ = read_channels(self.channels)
        if streams != "rgb" and (self.normalize or self.channel_order == "bgr"):
            raise ValueError(f"normalize and channel_order are for 3 channels, got {self.channels} channels")

    def sharpen(self, probabilities: np.ndarray) -> np.ndarray:
        """Apply the temperature to probabilities (..., classes)."""
        if self.temperature == 1:
            return probabilities
        logits = np.log(np.maximum(probabilities, 1e-12)) / self.temperature
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)

    @property
    def threshold_row(self) -> np.ndarray:
        """The tuned thresholds in the order of the classes, float (classes,); 0 where there is none."""
        return np.array([self.thresholds.get(name, 0.0) for name in self.classes])

    @property
    def streams(self) -> Streams:
        """What a frame holds: "rgb", "flow" or "rgb+flow"."""
        return read_channels(self.channels)[0]

    @property
    def flow_fields(self) -> int:
        """Fields of optical flow per frame; 0 without flow."""
        return read_channels(self.channels)[1]

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
        unknown = values.keys() - {each.name for each in fields(cls)}
        if unknown:
            raise ValueError(
                f"the recipe holds {sorted(unknown)}, which this version of harkeras does not know"
            )
        missing = [
            each.name
            for each in fields(cls)
            if each.default is MISSING and each.default_factory is MISSING and each.name not in values
        ]
        if missing:
            raise ValueError(f"the recipe lacks {missing}")
        return cls(**values)
