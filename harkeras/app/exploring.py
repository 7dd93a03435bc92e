"""What a model answered to its test clips, and why: for the page Explore, computed by the worker."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from harkeras.app.computing import load
from harkeras.base.progress import Progress
from harkeras.evaluation.held_out import read_recorded
from harkeras.evaluation.probing import grad_cam, motion_report
from harkeras.evaluation.runs import read_run
from harkeras.inference.prediction import predict_single_action
from harkeras.people.clips import read_clip
from harkeras.video.images import is_image_name, read_image, resize_image
from harkeras.video.reading import VideoInfo, frames_extraction, iter_frames
from harkeras.video.writing import VideoWriter, write_frames

_BROWSERS_PLAY = {".mp4": ("h264", "av1"), ".m4v": ("h264",), ".webm": ("vp8", "vp9", "av1")}
_HEIGHT = 240  # of the picture with the heat


def list_test_clips(run: str, _changed: int) -> dict[str, Any]:
    """Return the test clips of a run: path, true class, named class and how sure the model was of it.

    Raises:
        FileNotFoundError: If none of them is where it was.
    """
    report = read_run(run)
    if report is None:
        raise FileNotFoundError(f"{run} has no report: it does not say on what it was tested")
    named = {}
    with Path(run, "clips.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["side"] == "test":
                named[row["clip"]] = (row["predicted"], float(row["confidence"]))
    clips = [
        {
            "path": str(report.data_dir / clip.path),
            "name": clip.path,
            "true": clip.label,
            "named": named[clip.path][0],
            "confidence": named[clip.path][1],
        }
        for clip in report.test_clips
        if clip.path in named and (report.data_dir / clip.path).is_file()
    ]
    if not clips:
        raise FileNotFoundError(f"the test clips of the run are no longer in {report.data_dir}")
    still = all(is_image_name(Path(clip["path"])) for clip in clips)
    return {"clips": clips, "still": still, "split": report.split, "accuracy": report.accuracy}


def explain(run: str, path: str, folder: str, *, tell: Progress) -> dict[str, Any]:
    """Name the action of a clip, and write it so that a browser plays it, also with where the model looks.

    Returns:
        `probabilities` by class; `video`; `heat`, a video, or `no_heat`, why there is none. In place of
        videos, those of a picture are pictures.
    """
    into = Path(folder)
    into.mkdir(mode=0o700)
    tell("Loading the model", 0.0)
    model = load(run)
    answer = predict_single_action(path, model)
    tell("Looking where it looks", 0.5)
    found = {"probabilities": answer.probabilities, "video": _playable(Path(path), into)}
    try:
        clip = read_clip(path, model.recipe.clip_format)
        if model.recipe.subject == "person":
            raise ValueError("model looks at people, not at the whole picture")
        heat = grad_cam(model, clip, class_row=model.recipe.classes.index(answer.label))
    except ValueError as error:
        return found | {"no_heat": str(error)}
    return found | {"heat": _write_heat(Path(path), heat, into)}


def measure_motion(run: str, *, tell: Progress) -> dict[str, float]:
    """Return the accuracy on the test clips with their frames in order, shuffled, reversed and frozen."""
    tell("Loading the model", 0.0)
    model, report = load(run), read_run(run)
    tell("Reading the test clips", 0.1)
    dataset = read_recorded(report, report.data_dir, model.recipe, None)
    tell("Naming them in four orders", 0.4)
    return dict(vars(motion_report(model, dataset)))


def _playable(path: Path, folder: Path) -> Path:
    """Return the clip, or a copy that browsers play; of a picture, one that is upright."""
    if is_image_name(path):
        Image.fromarray(read_image(path)).save(folder / "clip.png")
        return folder / "clip.png"
    info = VideoInfo.read(path)
    if info.codec in _BROWSERS_PLAY.get(path.suffix.lower(), ()):
        return path
    copy = folder / "clip.mp4"
    write_frames(copy, iter_frames(path), info.writing_fps)
    return copy


def _write_heat(path: Path, heat: np.ndarray, folder: Path) -> Path:
    """Write the frames that the model saw, as large as they were, with the heat (T, H, W) over them."""
    if is_image_name(path):
        image = read_image(path)
        image = resize_image(image, _HEIGHT, max(round(_HEIGHT * image.shape[1] / image.shape[0]), 2))
        Image.fromarray(_heated(image, heat[0])).save(folder / "heat.png")
        return folder / "heat.png"
    info, output = VideoInfo.read(path), folder / "heat.mp4"
    width = max(round(_HEIGHT * info.width / info.height), 2)
    frames = frames_extraction(path, len(heat), _HEIGHT, width)
    with VideoWriter(output, len(heat) / max(info.duration_seconds, 0.1)) as writer:
        for image, values in zip(frames, heat, strict=True):
            writer.write(_heated(image, values))
    return output


def _heated(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Lay heat (h, w), 0 to 1, over a frame (H, W, 3)."""
    values = cv2.resize(heat, image.shape[1::-1])[..., None].clip(0, 1)
    colors = cv2.applyColorMap((255 * values[..., 0]).astype(np.uint8), cv2.COLORMAP_INFERNO)
    share = 0.2 + 0.5 * values
    return ((1 - share) * image + share * colors[..., ::-1]).astype(np.uint8)
