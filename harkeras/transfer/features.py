"""What a network trained on photographs says of each frame of a clip, computed once and kept on disk.

Such a backbone takes nearly all of the time of a model that stands on it, and frozen it says the same of a
frame every time. Computed once, its features are a few thousand numbers per frame, on which heads
(`harkeras.transfer.heads`) are trained and compared in seconds.

Two depths of the network are kept. The last maps tell things; those before the network halves them for the
last time are closer to the picture, and for telling motions from each other they are often the better ones.
Both are averaged over the frame. Where a frame also carries optical flow, a coarse summary of it follows.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from joblib import cpu_count
from keras import Model, layers, ops
from tqdm.auto import tqdm

from harkeras.base.array_files import ArrayFiles
from harkeras.base.storage import Folder
from harkeras.base.text import list_lines
from harkeras.base.workers import (
    Lost,
    are_workers_configured,
    check_workers,
    in_order,
    in_order_on_workers,
)
from harkeras.models.backbones import find_backbone, find_imagenet_weights, image_backbone
from harkeras.people.crops import CROPS_VERSION
from harkeras.recipe import ClipFormat, Subject
from harkeras.transfer._feature_files import (
    FeatureTask,
    compile_encoder,
    read_features_or_clip,
)
from harkeras.video.flow import LIMIT_PX

# The parts of a frame's features, in this order. "flow" is there where a frame has channels for it.
PARTS = ("middle", "last", "flow")

# Raised when the same clip, settings and weights would give other features.
_FEATURES_VERSION = 1
_DIRECTIONS, _GRID = 8, 4


class ClipFeatures(NamedTuple):
    """Features of clips: `features` float32 (N, T, F), and int64 (N,) which of the clips they are of."""

    features: np.ndarray
    rows: np.ndarray


def frame_encoder(
    backbone: str = "mobilenet_v2",
    input_shape: tuple[int, int, int] = (224, 224, 3),
    *,
    weights: str | os.PathLike | None = "imagenet",
    parts: Sequence[str] | None = None,
) -> Model:
    """Build the frozen part of a model, which sees each frame alone.

    Args:
        backbone: One of `harkeras.models.list_backbones()`.
        input_shape: Frame shape (height, width, channels), at least 32 x 32 pixels; 3 channels are RGB, 5
            are RGB and one field of optical flow.
        weights: "imagenet": what is on this machine, else a download, see
            `harkeras.models.backbones.find_imagenet_weights`; the path of a file; or None for random ones.
        parts: Which of "middle", "last" and "flow" to give, in this order; all that there are by default.

    Returns:
        `keras.Model`: frames (B, H, W, C), 0-255 -> features (B, F), one part behind the other. Its layers
        named after the parts have the width of each.

    Raises:
        ValueError: If there is no backbone of that name, the shape is too small or has other channels, there
            is no such part, or the file does not hold weights for this network.
        FileNotFoundError: If there is no such file.
        OSError: If the weights of ImageNet are neither here nor to be had.
    """
    if len(input_shape) != 3 or input_shape[2] not in (3, 5):
        raise ValueError(f"input_shape must be (height, width, 3 or 5), got {tuple(input_shape)}")
    known = PARTS if input_shape[2] == 5 else PARTS[:2]
    parts = known if parts is None else tuple(parts)
    if not parts or set(parts) - set(known):
        raise ValueError(f"parts must be among {', '.join(known)}, got {', '.join(parts) or 'none'}")
    network = image_backbone(backbone, (*input_shape[:2], 3), weights=weights)
    network.trainable = False
    maps = {"middle": _last_before_halving(network), "last": network.output}
    return _assemble(network.input, maps, tuple(input_shape), parts, backbone)


class ChosenBackbone(NamedTuple):
    """Name of a backbone, and where its weights are from, in words."""

    name: str
    weights: str

    def __str__(self) -> str:
        """Return a line for a report."""
        return f"backbone: {self.name}, weights: {self.weights}"


def choose_backbone(backbone: str | None, weights: str | os.PathLike | None) -> ChosenBackbone:
    """Say on what features will stand.

    Args:
        backbone: One of `harkeras.models.list_backbones()`; None for `find_backbone`'s with the weights of
            ImageNet, and MobileNetV2 with others.
        weights: As in `frame_encoder`.

    Raises:
        ValueError: If there is no backbone of that name, or a file of weights is damaged.
        OSError: If the weights of ImageNet are neither here nor to be had.
    """
    if weights != "imagenet":
        words = "random" if weights is None else f"from {weights}"
        return ChosenBackbone(backbone or "mobilenet_v2", words)
    name = backbone or find_backbone()
    return ChosenBackbone(name, f"ImageNet, from {find_imagenet_weights(name).place}")


def keep_parts(encoder: Model, parts: Sequence[str]) -> Model:
    """Return an encoder with the same weights that gives fewer parts, and computes no more than they need.

    Args:
        encoder: What `frame_encoder` built.
        parts: Some of its parts.
    """
    networks = [layer for layer in encoder.layers if isinstance(layer, Model)]
    maps, name = {}, encoder.name.removesuffix("_features")
    for network in networks:
        seen = [part for part in part_sizes(encoder) if part != "flow"]
        maps, name = dict(zip(seen, network.outputs, strict=True)), network.name
    frames = networks[0].inputs[0] if networks else None
    return _assemble(frames, maps, encoder.input_shape[1:], parts, name)


def _assemble(image, maps: dict, input_shape: tuple[int, int, int], parts: Sequence[str], name: str) -> Model:
    """Average the maps of a network over the frame, and put the summary of flow behind them."""
    frame, made = keras.Input(input_shape, name="frame"), {}
    used = [part for part in PARTS if part in parts and part != "flow"]
    if used:
        seen = Model(image, [maps[part] for part in used], name=name)
        seen.trainable = False
        taken = seen(frame if input_shape[2] == 3 else frame[..., :3])
        for part, x in zip(used, taken if isinstance(taken, list) else [taken], strict=True):
            made[part] = layers.GlobalAveragePooling2D(name=part)(x)
    if "flow" in parts:
        made["flow"] = layers.Identity(name="flow")(_summarize_flow(frame[..., 3:]))
    features = list(made.values())
    joined = features[0] if len(features) == 1 else layers.Concatenate(name="features")(features)
    return Model(frame, joined, name=name.replace(".", "_") + "_features")


def part_sizes(encoder: Model) -> dict[str, int]:
    """Return how many features each part of a frame has, in order."""
    names = {layer.name: layer for layer in encoder.layers}
    return {part: names[part].output.shape[-1] for part in PARTS if part in names}


def backbone_features(
    video_paths: Sequence[str | os.PathLike],
    backbone: str | Model = "mobilenet_v2",
    *,
    frames: int = 16,
    height: int = 224,
    width: int = 224,
    weights: str | os.PathLike | None = "imagenet",
    cache: str | os.PathLike | None = None,
    workers: int | None = None,
    strict: bool = False,
    subject: Subject = "frame",
    on_clip: Callable[[], None] | None = None,
) -> ClipFeatures:
    """Compute the features of every frame that a model would see of some clips.

    Args:
        video_paths: The clips.
        backbone: One of `harkeras.models.list_backbones()`, or what `frame_encoder` built.
        frames: Frames T per clip, the same that `create_dataset` would take.
        height: Height of a frame in pixels; without meaning for a model.
        width: Width of a frame in pixels; without meaning for a model.
        weights: As in `frame_encoder`; without meaning for a model.
        cache: A folder, or an address such as "s3://bucket/features", that keeps a small file for each clip.
            What is there is not computed again, also after an interruption, as long as the content of the
            clip, the settings and the weights are the same.
        workers: Threads that decode; one per core by default. Inside `joblib.parallel_config`, its workers
            read and compute instead, for which they need `cache`.
        strict: Raise on the first clip that cannot be read, instead of leaving it out with a warning.
        subject: "frame" for whole frames; "people" for one square around all people of each clip, or
            "person" for a square that goes along with the largest.
        on_clip: Called after each clip, in place of a progress bar.

    Returns:
        `ClipFeatures(features, rows)`: float32 (N, T, F), and int64 (N,) the clips that were read, as indices
        into `video_paths`.

    Raises:
        ValueError: If a number is below 1, no clip can be read, `cache` is a file, or is left out or
            `workers` given where there are workers of joblib, or the backbone refuses its arguments.
        FileNotFoundError: If there is no such file of weights.
        VideoError: With `strict`, if a clip cannot be read.
        OSError: If the weights cannot be had, or the cache cannot be written, for instance on a full disk.
    """
    check_workers(workers)
    workers = cpu_count() if workers is None else workers
    for name, value in (("frames", frames), ("workers", workers)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if not len(video_paths):
        raise ValueError("video_paths must name at least one clip, got none")
    if cache is not None and Path(cache).is_file():
        raise ValueError(f"cache must name a folder, got the file {cache}")
    if cache is None and are_workers_configured():
        raise ValueError("cache must name a folder for the features that workers compute, got None")
    if not isinstance(backbone, Model):
        backbone = frame_encoder(backbone, (height, width, 3), weights=weights)
    shape, digest = (frames, *backbone.input_shape[1:]), _hash_weights(backbone)
    facts = [_FEATURES_VERSION, backbone.name, shape, part_sizes(backbone), digest]
    facts += [] if subject == "frame" else [subject, CROPS_VERSION]
    clip_format, paths = ClipFormat.from_shape(shape, subject=subject), list(map(Path, video_paths))
    files = ArrayFiles(None if cache is None else Folder(cache), facts, (frames, backbone.output_shape[-1]))
    if are_workers_configured():
        results = _on_workers(FeatureTask.prepare(files, backbone, digest, clip_format, strict), paths)
    else:
        results = _compute(paths, files, backbone, clip_format, workers, strict)
    found, skipped = {}, []
    bar = tqdm(desc="Computing features", total=len(paths), unit="clip", disable=on_clip is not None)
    with bar, closing(results):
        for row, result in enumerate(results):
            if isinstance(result, str):
                skipped.append(result)
            else:
                found[row] = result
            (on_clip or bar.update)()
    if not found:
        raise ValueError(f"video_paths must name clips that can be read, the first: {skipped[0]}")
    if skipped:
        headline = f"{len(skipped)} of {len(paths)} clips were left out"
        warnings.warn(list_lines(headline, skipped), stacklevel=2)
    return ClipFeatures(np.stack(list(found.values())), np.array(list(found), np.int64))


def _compute(
    paths: Sequence[Path],
    files: ArrayFiles,
    encoder: Model,
    clip_format: ClipFormat,
    workers: int,
    strict: bool,
) -> Iterator[np.ndarray | str]:
    """Yield the features (T, F) of each clip, from the cache where they are, or why they are missing."""
    encode = compile_encoder(encoder)

    def read(path: Path) -> tuple[str | None, np.ndarray | str]:
        return read_features_or_clip(path, files, clip_format, strict)

    with closing(in_order(read, paths, workers)) as results:
        for name, result in results:
            if not isinstance(result, str) and result.ndim == 4:
                result = encode(result)
                files.write(name, result)
            yield result


def _on_workers(task: FeatureTask, paths: Sequence[Path]) -> Iterator[np.ndarray | str]:
    """Do the same on the workers of joblib."""
    with closing(in_order_on_workers(task, paths)) as results:
        for path, result in zip(paths, results, strict=True):
            yield f"{path}: {result.reason}" if isinstance(result, Lost) else result


def _last_before_halving(network: Model) -> keras.KerasTensor:
    """Return the last maps that are higher than those that the network ends with."""
    height = network.output.shape[1]
    higher = [
        layer.output
        for layer in network.layers
        if len(layer.output.shape) == 4
        and layer.output.shape[1] > height
        and not isinstance(layer, layers.ZeroPadding2D)
    ]
    return higher[-1]


def _summarize_flow(field: keras.KerasTensor) -> keras.KerasTensor:
    """A field as frames carry it (B, H, W, 2) -> how much moves in 8 directions and 16 places (B, 24)."""
    moved = (field - 128.0) * (LIMIT_PX / 127)  # pixels
    angles = np.arange(_DIRECTIONS) * (2 * np.pi / _DIRECTIONS)
    towards = np.stack([np.cos(angles), np.sin(angles)]).astype(np.float32)  # (2, 8)
    directions = ops.mean(ops.relu(ops.matmul(moved, towards)), axis=(1, 2))  # (B, 8)
    speed = ops.sqrt(ops.sum(ops.square(moved), axis=-1, keepdims=True))  # (B, H, W, 1)
    size = [max(side // _GRID, 1) for side in field.shape[1:3]]
    places = layers.AveragePooling2D(size, name="flow_grid")(speed)[:, :_GRID, :_GRID]
    places = ops.reshape(places, (-1, _GRID * _GRID))
    # The logarithm, because a fast motion differs from a slow one by its ratio.
    return ops.log(ops.concatenate([directions, places], axis=-1) + 0.05)


def _hash_weights(encoder: Model) -> str:
    digest = hashlib.sha256()
    for value in encoder.get_weights():
        digest.update(np.ascontiguousarray(value).data)
    return digest.hexdigest()
