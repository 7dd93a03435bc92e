"""The features of clips for several inputs: how many frames of a clip a backbone is shown, and how large."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, NamedTuple, get_args

import keras
import numpy as np
from tqdm.auto import tqdm

from harkeras.data.datasets import Dataset
from harkeras.data.folders import ClipFolder, read_folder
from harkeras.recipe import Subject
from harkeras.transfer._costs import Cost, measure_cost, needed_parts
from harkeras.transfer._views import list_encoders
from harkeras.transfer.features import (
    ChosenBackbone,
    backbone_features,
    choose_backbone,
    frame_encoder,
    part_sizes,
)
from harkeras.video.reading import VideoError, VideoInfo

_logger = logging.getLogger("harkeras")

# Frames per clip, and the shorter side of a frame in pixels. Each costs two or three times the one before.
INPUTS = ((8, 128), (8, 224), (16, 224), (16, 320))
_BAR = "{desc}{percentage:3.0f}%|{bar}| [{elapsed}<{remaining}]"
_STEP = 32  # backbones halve their maps five times


class Input(NamedTuple):
    """What a backbone is shown of a clip."""

    frames: int
    height: int
    width: int
    subject: Subject = "frame"

    @property
    def pixels(self) -> int:
        """Pixels of a clip: what it costs, in proportion."""
        return self.frames * self.height * self.width

    def __str__(self) -> str:
        """Return it as reports name it."""
        size = f"{self.frames} x {self.height} x {self.width}"
        return size if self.subject == "frame" else f"{size} {self.subject}"


def place_side_by_side(inputs: tuple[Input, ...]) -> Input:
    """Return the input that holds some others: one as it is; whole frames, and squares beside them."""
    if len(inputs) == 1:
        return inputs[0]
    frame, people = inputs
    side = people.height
    size = (side, frame.width + side) if frame.height == side else (frame.height + side, side)
    return Input(frame.frames, *size, "frame+people")


@dataclass(frozen=True)
class FeatureTable:
    """The features of clips for each input.

    Attributes:
        features: float32 (M, T, F) for each input.
        parts: For each part of the features, which of the F they are.
        encoders: What computed them, for each input.
        rows: int (N,), which of the M clips are meant.
        backbone: What they are of.
        costs: What was measured of the encoders so far, for each input and the parts that were needed.
    """

    features: dict[Input, np.ndarray]
    parts: dict[str, slice]
    encoders: dict[Input, keras.Model]
    rows: np.ndarray
    backbone: ChosenBackbone
    costs: dict[tuple[Input, tuple[str, ...]], Cost] = field(default_factory=dict)
    dtype: ClassVar = np.float32

    @property
    def shape(self) -> tuple[int]:
        """The number of clips (N,)."""
        return (len(self.rows),)

    def __getitem__(self, rows: np.ndarray) -> FeatureTable:
        """Return a view of some clips."""
        return replace(self, rows=self.rows[rows])

    def pick(self, given: Input, parts: Iterable[str]) -> np.ndarray:
        """Return some parts of the features of an input: float32 (N, T, F)."""
        features = self.features[given]
        return np.concatenate([features[self.rows, :, self.parts[part]] for part in parts], axis=-1)

    def cost_of(self, given: Input, parts: Iterable[str]) -> Cost:
        """Return what a clip costs a model that looks at some parts of the features of an input."""
        key = given, needed_parts(parts)
        if key not in self.costs:
            self.costs[key] = measure_cost(self.encoders[given], given.frames, key[1])
        return self.costs[key]


class FeatureDataset(Dataset):
    """Labeled clips, of which only the features are kept: what `train_auto` takes.

    A model that it made is scored on them by `evaluate`: only its head is asked.
    """

    features: FeatureTable

    def _rows_of_features(self, rows: np.ndarray) -> FeatureTable:
        return self.features[rows]

    def for_model(self, model: keras.Model) -> tuple[keras.Model, np.ndarray]:
        """Return the head of a model, and the features (N, T, F) that it looks at.

        Raises:
            ValueError: If the model does not stand on an encoder of these features.
        """
        subject = model.recipe.subject if hasattr(model, "recipe") else "frame"
        layers, views = {layer.name: layer for layer in model.layers}, []
        for encoder in list_encoders(model):
            views += list_encoders(encoder) or [encoder]  # several that stand side by side
        inputs = [
            Input(model.input_shape[1], *view.input_shape[1:3], each)
            for view, each in zip(views, subject.split("+"), strict=False)
        ]
        if "head" not in layers or not inputs or set(inputs) - self.features.encoders.keys():
            raise ValueError(
                f"model must stand on one of the encoders of these features, got {model.name}; read the "
                "clips with create_dataset"
            )
        picked = [self.features.pick(*each) for each in zip(inputs, map(part_sizes, views), strict=True)]
        return layers["head"], np.concatenate(picked, axis=-1)


def create_feature_dataset(
    data_dir: str | os.PathLike | ClipFolder,
    *,
    backbone: str | None = None,
    weights: str | os.PathLike | None = "imagenet",
    inputs: Sequence[tuple[int, ...]] = INPUTS,
    flow: bool = False,
    subjects: Sequence[Subject] = ("frame",),
    cache: str | os.PathLike | None = None,
    workers: int | None = None,
) -> FeatureDataset:
    """Compute the features of the clips of a folder for all inputs to be tried.

    Args:
        data_dir: Folder with one folder of clips per class, or what `read_folder` found in it.
        backbone: One of `harkeras.models.list_backbones()`; by default one with weights on this machine, see
            `harkeras.models.backbones.find_backbone`. Which it is, is logged (logger "harkeras").
        weights: As in `harkeras.transfer.features.frame_encoder`.
        inputs: For each input, frames per clip and the shorter side of a frame in pixels; the other side
            follows from the shape of most clips, in steps of 32. Or frames, height and width. By default, of
            pictures, one frame of each size.
        flow: Also look at a summary of optical flow, which takes about as long again.
        subjects: What to look at, one or more of "frame", whole frames; "people", one square around all
            people of each clip; and "person", a square that goes along with the largest. Of the first two
            together, `train_auto` also tries both at once. With "person", clips in which nobody is found are
            left out for all.
        cache: Folder that keeps what was computed, see `backbone_features`.
        workers: Threads that decode; one per core by default.

    Returns:
        `FeatureDataset`; clips that cannot be read are named in a warning and left out.

    Raises:
        ValueError: If no clip can be read, or an argument is out of its range.
        FileNotFoundError: If there is no such folder, or no such file of weights.
        OSError: If the weights of ImageNet cannot be had, or the cache cannot be written.
    """
    if not inputs:
        raise ValueError("inputs must name at least one pair of frames and pixels, got none")
    check_subjects(subjects)
    chosen = choose_backbone(backbone, weights)
    _logger.info("%s", chosen)
    folder = data_dir if isinstance(data_dir, ClipFolder) else read_folder(data_dir)
    if folder.pictures and inputs == INPUTS:
        inputs = [(1, *size) for _, *size in inputs]
    video_paths, channels = folder.video_paths, 5 if flow else 3
    infos = {row: info for row, path in enumerate(video_paths) if (info := _info(path)) is not None}
    shapes = [info.width / info.height for info in infos.values()]
    shape = float(np.median(shapes or [1.0]))
    given = [each for subject in subjects for each in _list_inputs(inputs, shape, subject)]
    features, encoders, rows = {}, {}, np.arange(len(video_paths))
    # One bar for all inputs, which moves by the pixels that were looked at, as time does.
    bar = tqdm(total=len(rows) * sum(each.pixels for each in given), bar_format=_BAR)
    with bar:
        for number, each in enumerate(given, 1):
            bar.set_description(f"Computing features {number} of {len(given)}: {each}")
            shape = (each.height, each.width, channels)
            same = [encoder for encoder in encoders.values() if encoder.input_shape[1:] == shape]
            encoder = same[0] if same else frame_encoder(chosen.name, shape, weights=weights)
            found, kept = backbone_features(
                [video_paths[row] for row in rows],
                encoder,
                frames=each.frames,
                cache=cache,
                workers=workers,
                subject=each.subject,
                on_clip=partial(bar.update, each.pixels),
            )
            features = {key: values[kept] for key, values in features.items()}  # were a clip to vanish
            rows = rows[kept]
            features[each], encoders[each] = found, encoder
    ends = np.cumsum([0, *part_sizes(encoder).values()]).tolist()
    parts = {part: slice(*ends[i : i + 2]) for i, part in enumerate(part_sizes(encoder))}
    return FeatureDataset(
        FeatureTable(features, parts, encoders, np.arange(len(rows)), chosen),
        folder.labels[rows],
        [video_paths[row] for row in rows],
        classes=folder.classes,
        sources=folder.sources[rows],
        streams="rgb+flow" if flow else "rgb",
        subject=subjects[0],
    )


def check_subjects(subjects: Sequence[str]) -> None:
    """Raise ValueError unless they name one subject or more, each once."""
    known = [each for each in get_args(Subject) if "+" not in each]
    if isinstance(subjects, str) or not subjects or len({*subjects} & {*known}) < len(subjects):
        raise ValueError(f"subjects must be among {', '.join(known)}, each once, got {subjects!r}")


def _info(path: Path) -> VideoInfo | None:
    try:
        return VideoInfo.read(path)
    except (VideoError, OSError):
        return None  # `backbone_features` will say so


def _list_inputs(inputs: Sequence[tuple[int, ...]], shape: float, subject: Subject) -> list[Input]:
    """Complete the inputs for clips of a width / height, each once; people are seen in squares."""
    shape = shape if subject == "frame" else 1.0
    sizes = [tuple(size) if len(size) == 2 else _frame_size(*size, shape) for _, *size in inputs]
    return [*dict.fromkeys(Input(each[0], *size, subject) for each, size in zip(inputs, sizes, strict=True))]


def _frame_size(side: int, shape: float) -> tuple[int, int]:
    """Return height and width for a shorter side and a width / height, in steps of 32."""
    longer = round(side * min(max(shape, 1 / shape), 2.0) / _STEP) * _STEP
    return (side, max(longer, side)) if shape >= 1 else (max(longer, side), side)
