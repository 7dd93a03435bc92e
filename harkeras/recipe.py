"""The recipe of a model: what it must be shown, what its outputs mean, and what it was trained on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from numbers import Integral, Real
from typing import Literal, get_args

import numpy as np

from harkeras.base.checks import check_choice, check_count, check_texts, make_dataclass

# Of the JSON text. Version 1 told what a frame holds by its number of channels.
FORMAT_VERSION = 2

# How long training clips are taken to be where nobody says; those of UCF are mostly of 3 to 7 seconds.
DEFAULT_CLIP_SECONDS = 4.0

# What a clip holds: frames in color or in gray, fields of optical flow (see `harkeras.video.flow`), color
# frames with flow behind, or joints of a person.
Streams = Literal["rgb", "gray", "flow", "rgb+flow", "pose"]

Interpolation = Literal["area", "bilinear"]
FlowMethod = Literal["dis", "farneback", "tvl1"]
# What a frame shows: the whole picture, one square around all people of the clip, both side by side, or a
# square that goes along with one person, see `harkeras.people`. Joints are those in the whole picture, or of
# one person.
Subject = Literal["frame", "people", "frame+people", "person"]
_STREAMS_OF_SUBJECTS = {"people": ("rgb",), "frame+people": ("rgb",), "person": ("rgb", "pose")}


def count_channels(streams: Streams, flow_fields: int = 0) -> int:
    """Return the number of channels of a frame.

    Raises:
        ValueError: If there are no such streams, they have no frames, or `flow_fields` is below 1 where there
            is flow.
    """
    if streams not in ("rgb", "gray", "flow", "rgb+flow"):
        raise ValueError(f"streams must be 'rgb', 'gray', 'flow' or 'rgb+flow', got {streams!r}")
    if streams in ("rgb", "gray"):
        return 3 if streams == "rgb" else 1
    if not isinstance(flow_fields, Integral) or flow_fields < 1:
        raise ValueError(f"flow_fields must be an integer of at least 1, got {flow_fields!r}")
    return 2 * int(flow_fields) + 3 * (streams == "rgb+flow")


def read_channels(channels: int) -> tuple[Streams, int]:
    """Tell by the convention of this package what the channels of a frame are: streams, and fields of flow.

    One is gray, three are RGB; 2L are L fields of flow, each to the right and down; 3 + 2L are RGB and flow.
    It serves where only an array is at hand; a `Recipe` says what its clips hold.

    Raises:
        ValueError: If it is none of these.
    """
    if channels < 1:
        raise ValueError(
            f"channels must be 1 (gray), 3 (RGB), 2L (flow) or 3 + 2L (RGB and flow), got {channels}"
        )
    if channels in (1, 3):
        return ("gray" if channels == 1 else "rgb"), 0
    return ("rgb+flow", (channels - 3) // 2) if channels % 2 else ("flow", channels // 2)


@dataclass(frozen=True)
class ClipFormat:
    """How clips are read: the arguments that `create_dataset`, `ClipDataset` and a recipe have in common.

    Attributes:
        frames: Frames T per clip, spread evenly over it.
        height: Height of a frame in pixels.
        width: Width of a frame in pixels.
        streams: What a clip holds. Of "pose", joints of a person, height and width are None, whatever is
            given.
        flow_fields: Fields of flow L per frame; 0 without flow, whatever is given.
        flow_method: How flow is computed: "dis", "farneback" or "tvl1".
        interpolation: How frames are resized.
        joints: Number of joints K, for "pose", by default 17; None otherwise.
        coordinates: Numbers D per joint, for "pose", by default 3: x, y and score; 2 for x and y alone.
        subject: "frame" for whole frames; "people" for one square around all people of the clip, of streams
            "rgb"; "frame+people" for the whole frame and, in the last columns or rows of a longer picture,
            such a square; "person" for a square that goes along with one person, or that person's joints.

    Raises:
        ValueError: If a number is below 1, there are no such streams, flow method, interpolation or subject,
            the streams do not go with the subject, or joints are given without "pose".
    """

    frames: int = 20
    height: int | None = 64
    width: int | None = 64
    streams: Streams = "rgb"
    flow_fields: int = 10
    flow_method: FlowMethod = "dis"
    interpolation: Interpolation = "area"
    joints: int | None = None
    coordinates: int | None = None
    subject: Subject = "frame"

    def __post_init__(self) -> None:
        """Check the values."""
        check_choice("streams", self.streams, get_args(Streams))
        check_choice("flow_method", self.flow_method, get_args(FlowMethod))
        check_choice("interpolation", self.interpolation, get_args(Interpolation))
        check_choice("subject", self.subject, get_args(Subject))
        allowed = _STREAMS_OF_SUBJECTS.get(self.subject, (self.streams,))
        if self.streams not in allowed:
            wanted = " or ".join(map(repr, allowed))
            raise ValueError(f"subject {self.subject!r} is for streams {wanted}, got {self.streams!r}")
        if self.streams == "pose":
            chosen = {"height": None, "width": None, "joints": self.joints or 17}
            for name, value in (chosen | {"coordinates": self.coordinates or 3}).items():
                object.__setattr__(self, name, value)
            if self.coordinates not in (2, 3):
                raise ValueError(f"coordinates must be 2 or 3, got {self.coordinates}")
        elif (self.joints, self.coordinates) != (None, None):
            raise ValueError(f"joints and coordinates are for streams 'pose', got them for {self.streams!r}")
        for name in ("frames", "joints") if self.streams == "pose" else ("frames", "height", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.streams != "pose":
            count_channels(self.streams, self.flow_fields)
        if "flow" not in self.streams:
            object.__setattr__(self, "flow_fields", 0)
        if self.subject == "frame+people" and self.height == self.width:
            raise ValueError(
                f"height and width must differ for subject 'frame+people', got {self.height} and {self.width}"
            )

    @classmethod
    def from_shape(cls, shape: tuple[int, ...], **options) -> ClipFormat:
        """Make the format of clips (T, H, W, C), see `read_channels`, or of joints (T, K, D)."""
        if len(shape) == 3:
            return cls(shape[0], streams="pose", joints=shape[1], coordinates=shape[2], **options)
        streams, flow_fields = read_channels(shape[3])
        return cls(*shape[:3], streams, flow_fields, **options)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a clip: (T, H, W, C), or (T, K, D) of joints."""
        if self.streams == "pose":
            return self.frames, self.joints, self.coordinates
        return self.frames, self.height, self.width, count_channels(self.streams, self.flow_fields)

    @property
    def dtype(self) -> type[np.uint8] | type[np.float32]:
        """What numbers a clip holds: uint8 pixels, or float32 joints."""
        return np.float32 if self.streams == "pose" else np.uint8


@dataclass(frozen=True)
class TrainingRecord:
    """What a model was trained on, so that a later evaluation cannot test on training clips.

    Attributes:
        split: How test clips were held out: "group", "random", "official", or "none" where none was.
        seed: Seed of the split.
        test_size: Share of the clips that was held out.
        sources: How the source of a clip was found, in words.
        group_by: The pattern or level of the path that was asked for; None where names and folders were read.
        level: Which folder inside the class folder names sources, 1 for the first; None if none does.
        train_groups: Sources of the clips trained on.
        test_groups: Sources that were held out.
        train_clips: Digests of the content of the clips trained on, see `harkeras.base.files.content_digest`.
        train_paths: Their places, class/.../clip without suffix.
        test_paths: The places of the clips that were held out.
        version: Version of harkeras.
    """

    split: Literal["group", "random", "official", "none"]
    seed: int
    test_size: float
    sources: str
    group_by: str | None
    level: int | None
    train_groups: tuple[str, ...]
    test_groups: tuple[str, ...]
    train_clips: tuple[str, ...]
    train_paths: tuple[str, ...]
    test_paths: tuple[str, ...]
    version: str

    def __post_init__(self) -> None:
        """Check the values."""
        check_choice("training.split", self.split, ("group", "random", "official", "none"))
        kinds = {"seed": Integral, "test_size": Real, "sources": str, "version": str, "group_by": str | None}
        for name, kind in kinds.items():
            if not isinstance(getattr(self, name), kind) or isinstance(getattr(self, name), bool):
                raise ValueError(f"training.{name} must be {kind}, got {getattr(self, name)!r}")
        if self.level is not None:
            object.__setattr__(self, "level", check_count("training.level", self.level))
        for name in ("train_groups", "test_groups", "train_clips", "train_paths", "test_paths"):
            object.__setattr__(self, name, check_texts(f"training.{name}", getattr(self, name)))


@dataclass(frozen=True)
class Recipe:
    """All that is needed to show a video to a model the way it was trained.

    Attributes:
        classes: Names of the outputs, in order.
        frames: Frames T of a clip.
        height: Height of a frame in pixels; None for joints.
        width: Width of a frame in pixels; None for joints.
        clip_seconds: How long the training clips were; the T frames are spread evenly over this time.
        normalize: Whether the model expects pixels in [0, 1] instead of 0-255, because it does not rescale by
            itself.
        channel_order: "rgb", or "bgr" for models trained on frames as OpenCV reads them.
        streams: What a clip holds: "rgb" (T, H, W, 3), "gray" (T, H, W, 1), "flow" (T, H, W, 2L), "rgb+flow"
            (T, H, W, 3 + 2L), or "pose" (T, K, D), joints of a person.
        flow_fields: Fields of optical flow L per frame; 0 without flow.
        flow_method: How the flow was computed: "dis", "farneback" or "tvl1".
        joints: Number of joints K, for "pose".
        coordinates: Numbers D per joint, for "pose": 2 or 3.
        interpolation: How frames are resized: "area", or "bilinear" for models whose training clips went
            through OpenCV's default.
        subject: What a frame shows: "frame", "people", "frame+people" or "person", see `ClipFormat`.
        temperature: Divisor of the model's logits that makes its probabilities honest, see
            `harkeras.calibrate`; 1 leaves them as they are.
        thresholds: Probability from which on a class is named, for classes where it was tuned, see
            `harkeras.tune_threshold`.
        training: What the model was trained on; None where nobody said.

    Raises:
        ValueError: If a value makes no sense.
    """

    classes: tuple[str, ...]
    frames: int
    height: int | None
    width: int | None
    clip_seconds: float
    normalize: bool = False
    channel_order: Literal["rgb", "bgr"] = "rgb"
    streams: Streams = "rgb"
    flow_fields: int = 0
    flow_method: FlowMethod = "dis"
    joints: int | None = None
    coordinates: int | None = None
    interpolation: Interpolation = "area"
    subject: Subject = "frame"
    temperature: float = 1.0
    thresholds: dict[str, float] = field(default_factory=dict, hash=False)
    training: TrainingRecord | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        object.__setattr__(self, "classes", check_texts("classes", self.classes))
        if len(set(self.classes)) < max(len(self.classes), 2):
            raise ValueError(f"classes must be at least two different names, got {self.classes}")
        check_choice("channel_order", self.channel_order, ("rgb", "bgr"))
        self._check_shape()
        for name in ("clip_seconds", "temperature"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value < math.inf:
                raise ValueError(f"{name} must be a positive number, got {value!r}")
            object.__setattr__(self, name, float(value))
        if not isinstance(self.normalize, bool | np.bool_):
            raise ValueError(f"normalize must be true or false, got {self.normalize!r}")
        rescaled = self.normalize and self.streams != "gray"  # which has a range, but no order of channels
        if self.streams != "rgb" and (rescaled or self.channel_order == "bgr"):
            raise ValueError(f"normalize and channel_order are for streams 'rgb', got {self.streams!r}")
        if not isinstance(self.thresholds, Mapping) or not all(
            name in self.classes and isinstance(value, Real) and 0 < value <= 1
            for name, value in self.thresholds.items()
        ):
            raise ValueError(
                f"thresholds must map classes to numbers over 0 and up to 1, got {self.thresholds}"
            )
        if not isinstance(self.training, TrainingRecord | None):
            raise ValueError(f"training must be a TrainingRecord, got {self.training!r}")

    def _check_shape(self) -> None:
        pose, flow = self.streams == "pose", self.streams in ("flow", "rgb+flow")
        wanted = ["frames", *(("joints", "coordinates") if pose else ("height", "width"))]
        for name in [*wanted, *(["flow_fields"] if flow else [])]:
            object.__setattr__(self, name, check_count(name, getattr(self, name)))
        for name in ("height", "width") if pose else ("joints", "coordinates"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"{name} must be None for streams {self.streams!r}, got {getattr(self, name)!r}"
                )
        if not flow and self.flow_fields != 0:
            raise ValueError(f"flow_fields must be 0 for streams {self.streams!r}, got {self.flow_fields!r}")
        _ = self.clip_format  # which checks what it has in common with a recipe

    @property
    def clip_shape(self) -> tuple[int, ...]:
        """Shape of a clip: (T, H, W, C), or (T, K, D) for "pose"."""
        return self.clip_format.shape

    @property
    def clip_format(self) -> ClipFormat:
        """How clips are read from videos."""
        return ClipFormat(**{each.name: getattr(self, each.name) for each in fields(ClipFormat)})

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

    def to_json(self) -> str:
        """Return the recipe as JSON text."""
        return json.dumps({"format": FORMAT_VERSION} | asdict(self), indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Read a recipe from JSON text, of this format version or an older one.

        Raises:
            ValueError: If the text is no recipe, or holds something that this version does not know.
        """
        try:
            values = json.loads(text)
            if not isinstance(values, dict):
                raise ValueError("a recipe is a JSON object")
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"the recipe is not JSON that harkeras wrote ({error}): {text[:80]!r}"
            ) from error
        version = values.pop("format", 1)
        if version not in (1, FORMAT_VERSION):
            raise ValueError(
                f"the recipe has format version {version!r}; this version of harkeras reads up to "
                f"{FORMAT_VERSION}: a newer one wrote it"
            )
        if version == 1:  # which told by the number of channels what a frame holds
            streams, flow_fields = read_channels(check_count("channels", values.pop("channels", 3)))
            values |= {"streams": streams, "flow_fields": flow_fields}
        if values.get("training") is not None:
            values["training"] = make_dataclass(TrainingRecord, values["training"], "the recipe's training")
        return make_dataclass(cls, values, "the recipe")
