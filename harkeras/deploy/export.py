"""Write a model for engines outside Keras, so that what its recipe says cannot be forgotten there.

An exported network takes the bytes of frames, uint8 RGB (or float32 joints), and gives probabilities: it
normalizes, orders channels and applies the temperature by itself. What it cannot do by itself, the choice of
frames, the names of the classes and their thresholds, lies in the file as a recipe.

Each file is run on clips as soon as it is written, and compared with Keras.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import keras
import numpy as np

from harkeras.base.checks import check_choice
from harkeras.base.files import written_whole
from harkeras.data.samples import create_sample_video
from harkeras.deploy._folders import folder_written_whole
from harkeras.deploy.comparison import Export, compare_with_keras
from harkeras.deploy.web import check_for_web, write_web
from harkeras.inference.exported import ENCODER, HEAD, ExportedModel
from harkeras.inference.network_files import Precision, write_litert, write_onnx, write_saved_model
from harkeras.inference.recipe_network import exported_recipe, split_with_recipe, with_recipe
from harkeras.inference.resolve import load_named, resolve_model
from harkeras.models.movinet import is_stream_model
from harkeras.people.clips import read_clip
from harkeras.recipe import Recipe
from harkeras.video.listing import find_videos
from harkeras.video.reading import VideoInfo

Format = Literal["onnx", "litert", "saved_model", "web"]
_SUFFIXES = {"onnx": ".onnx", "litert": ".tflite"}
_FOLDERS = ("saved_model", "web")
_CLIPS = 8  # of a video that is rendered, where no clips are given


def export_model(
    model: str | os.PathLike | keras.Model,
    path: str | os.PathLike,
    *,
    format: Format | None = None,
    precision: Precision = "float32",
    split: bool = False,
    clips: str | os.PathLike | np.ndarray | None = None,
) -> Export:
    """Write a model for another engine, and compare what was written with Keras.

    Args:
        model: Path of a `.keras` file or of a run, one of `list_pretrained()`, or a model in memory with a
            recipe. A stream (see `create_movinet_stream_model`) becomes a network that takes one frame and
            its states.
        path: The file to write, `.onnx` or `.tflite`; a folder for `split`, a SavedModel and a page.
        format: "onnx" for ONNX Runtime in servers and browsers, any number of clips at a time; "litert" for
            phones, one clip at a time; "saved_model" for TensorFlow's own servers; "web" for a page
            that names actions in the browser, see `harkeras.deploy.web`. By default what the suffix says.
        precision: Of "litert": "float32"; "float16", half the size; or "int8", a quarter of it, with a loss
            that is printed. An int8 network leaves the temperature to its recipe: eight bits cannot hold
            logarithms.
        split: Write two files into the folder `path`: an encoder of single frames, 4-D, as GPUs of phones
            want it, and a head of their features, so that each frame of a stream is computed once.
        clips: What to compare on, and to find the ranges of "int8" with: clips as the model takes them,
            uint8 (N, T, H, W, C) or float32 (N, T, K, D), or a video or a folder of videos. By default clips
            of a rendered video, or random joints.

    Returns:
        `Export`, with the largest difference and the times.

    Raises:
        FileNotFoundError: If there is no such model, or no video in the folder.
        ImportError: If the engine is not installed; it says which extra brings it.
        RuntimeError: If Keras does not run on TensorFlow, which ONNX and LiteRT need.
        ValueError: If there is no recipe, the format cannot hold the model, or an argument makes no sense.
        OSError: If it cannot be written.

    Example:
        >>> print(export_model("saved_models/run", "lrcn.onnx", clips="data/clips"))
    """
    path = Path(path)
    format = _find_format(path, format, split)
    check_choice("precision", precision, get_args(Precision))
    if precision != "float32" and format != "litert":
        raise ValueError(f"precision must be 'float32' for {format}, got {precision!r}")
    loaded = load_named(model) if isinstance(model, str | os.PathLike) else model
    if isinstance(loaded, ExportedModel):
        raise ValueError(f"model must be a Keras model, got {model}, which was exported from one")
    resolved = resolve_model(loaded, images=_takes_images(loaded))
    if format == "web":
        check_for_web(resolved)
    shown = _read_clips(clips, resolved.recipe)
    if format == "web":
        with folder_written_whole(path) as partial:
            write_web(partial, resolved)
        return compare_with_keras(path, format, precision, resolved, shown)
    # What the network does by itself, and what is left to whoever runs it.
    inside, left = resolved.recipe, exported_recipe(resolved.recipe)
    if precision == "int8":
        inside, left = replace(inside, temperature=1.0), replace(left, temperature=inside.temperature)
    if not split:
        networks = {"": with_recipe(resolved.model, inside)}
    else:
        parts = split_with_recipe(resolved.model, inside)
        if parts is None:
            raise ValueError(f"split must be False for {loaded.name}, which never sees a frame by itself")
        networks = dict(zip((ENCODER, HEAD), parts, strict=True))
    folder = split or format in _FOLDERS
    # Keras insists on the suffix.
    with folder_written_whole(path) if folder else written_whole(path, suffix=path.suffix) as partial:
        given = shown
        for name, network in networks.items():
            target = partial / f"{name}{_SUFFIXES[format]}" if split else partial
            if format == "litert":
                write_litert(network, target, left, precision, list(_feeds(network, given)))
            else:
                (write_onnx if format == "onnx" else write_saved_model)(network, target, left)
            if name == ENCODER:
                given = _encode(network, shown)
    return compare_with_keras(path, format, precision, resolved, shown)


def _find_format(path: Path, format: Format | None, split: bool) -> Format:
    """Return the format that is asked for; raise ValueError if the path is not one of it."""
    if format is None:
        by_suffix = {suffix: name for name, suffix in _SUFFIXES.items()}
        if path.suffix not in by_suffix:
            raise ValueError(f"format must be one of {', '.join(get_args(Format))} where {path} does not say")
        format = by_suffix[path.suffix]
    check_choice("format", format, get_args(Format))
    if split and format in _FOLDERS:
        raise ValueError(f"split must be False for {format}")
    wanted = "" if split or format in _FOLDERS else _SUFFIXES[format]
    if wanted and path.suffix != wanted:
        raise ValueError(f"path must end in {wanted} for {format}, got {path}")
    if not wanted and path.suffix in _SUFFIXES.values():
        raise ValueError(f"path must be a folder for {'two files' if split else format}, got {path}")
    return format


def _takes_images(model: keras.Model) -> bool:
    recipe = getattr(model, "recipe", None)
    single = recipe is not None and recipe.frames == 1 and recipe.streams != "pose"
    return single and not is_stream_model(model) and len(model.input_shape) == 4


def _read_clips(clips: str | os.PathLike | np.ndarray | None, recipe: Recipe) -> np.ndarray:
    """Return clips as a model takes them: uint8 (N, T, H, W, C), or float32 (N, T, K, D)."""
    if isinstance(clips, np.ndarray):
        if clips.shape[1:] != recipe.clip_shape or clips.dtype != recipe.clip_format.dtype or not len(clips):
            wanted = np.dtype(recipe.clip_format.dtype)
            raise ValueError(
                f"clips must be {wanted} (N, {', '.join(map(str, recipe.clip_shape))}), got {clips.dtype} "
                f"{clips.shape}"
            )
        return clips
    if clips is not None:
        return np.stack([read_clip(video, recipe.clip_format) for video, _ in find_videos([str(clips)])])
    if recipe.streams == "pose":
        return np.random.default_rng(0).random((_CLIPS, *recipe.clip_shape), np.float32)
    clip_format = replace(recipe.clip_format, subject="frame")
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "sample.mp4"
        create_sample_video(video)
        last = VideoInfo.read(video).duration_seconds - recipe.clip_seconds
        return np.stack(
            [
                read_clip(video, clip_format, start_seconds=start, end_seconds=start + recipe.clip_seconds)
                for start in np.linspace(0, max(last, 0), _CLIPS)
            ]
        )


def _encode(encoder: keras.Model, clips: np.ndarray) -> np.ndarray:
    """Return the features of clips: (N, T, ...)."""
    return np.stack([encoder.predict_on_batch(clip) for clip in clips])


def _feeds(network: keras.Model, given: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    """Show a network clips, their frames, or features, one at a time: what goes into each input, (1, ...)."""
    name = network.inputs[0].name
    if isinstance(network.input, dict):
        for clip in given:
            states = {
                x.name: np.zeros((1, *x.shape[1:]), x.dtype) for x in network.inputs if x.name != "clip"
            }
            for frame in clip:
                feed = {"clip": frame[None, None], **states}
                yield feed
                states = network.predict_on_batch(feed)
                del states["probabilities"]
        return
    if name == "frame" or len(network.inputs[0].shape) == given.ndim - 1:
        given = given.reshape(-1, *given.shape[2:])
    for each in given:
        yield {name: each[None]}
