"""The embedded data set: articulated moving figures, rendered to real video files.

Five actions, each by many people in many places: enough to learn video classification in minutes, without any
download. The clips stand in a folder of classes under file names as in UCF-101, `v_Walking_g03_c02.mp4`:
class, group, clip. All clips of a group share body, clothes, background, camera and speed, as if cut from one
recording, so a fair test must keep whole groups apart.

SittingDown and StandingUp are the same motion in opposite order. No single frame, and no average over frames,
can tell them apart: here a model has to look at time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harkeras.base.workers import in_order_with_bar
from harkeras.data._figures import Scene, create_scene, forward_kinematics, render_figure
from harkeras.data._motions import FPS, MOTIONS, blend
from harkeras.video.writing import VideoWriter

SAMPLE_CLASSES = ("Falling", "Running", "SittingDown", "StandingUp", "Walking")
_SEATED = ("SittingDown", "StandingUp")
_MIN_SECONDS, _MAX_SECONDS = 1.5, 3.0


class Segment(NamedTuple):
    """One action in a long video: the half-open range [start_seconds, end_seconds) and its label."""

    start_seconds: float
    end_seconds: float
    label: str


def create_sample_dataset(
    data_dir: str | os.PathLike,
    *,
    classes: Iterable[str] = SAMPLE_CLASSES,
    groups: int = 40,
    clips_per_group: int = 2,
    seed: int = 27,
    workers: int | None = None,
) -> Path:
    """Render the sample data set into a folder of classes.

    Clips are 320 x 240 pixels, 25 frames per second, 1.5 to 3 seconds, H.264. The same seed gives the same
    frames, whatever the number of workers. Clips of an earlier run are written anew; other files, also those
    of groups that are no longer asked for, are left alone.

    Args:
        data_dir: Folder to write `<class>/v_<class>_g<group>_c<clip>.mp4` into; created where missing.
        classes: Some or all of `SAMPLE_CLASSES`.
        groups: Number of groups, at least 1: each has a person, a place and a camera of its own.
        clips_per_group: Clips of every class in every group, at least 1.
        seed: Non-negative seed of all randomness.
        workers: Number of parallel workers, at least 1; one per core by default.

    Returns:
        The data set's folder.

    Raises:
        ValueError: If a class is unknown or no class is given, or a number is out of its range.
    """
    classes = _check_labels("classes", classes)
    _check_at_least(
        1, groups=groups, clips_per_group=clips_per_group, workers=1 if workers is None else workers
    )
    _check_at_least(0, seed=seed)
    data_dir = Path(data_dir)
    clips = [
        (data_dir / label / f"v_{label}_g{group:02d}_c{clip:02d}.mp4", label, group, clip, seed)
        for group in range(1, groups + 1)
        for label in sorted(set(classes))
        for clip in range(1, clips_per_group + 1)
    ]
    for _ in in_order_with_bar(lambda clip: _write_clip(*clip), clips, "Rendering", workers):
        pass
    return data_dir


def create_sample_video(
    path: str | os.PathLike,
    *,
    actions: Sequence[str] = ("Walking", "SittingDown", "StandingUp", "Running", "Falling"),
    group: int = 101,
    seed: int = 27,
) -> list[Segment]:
    """Render one long video in which one figure performs several actions in sequence.

    Args:
        path: The video file to write.
        actions: Labels from `SAMPLE_CLASSES`, in the order of performance.
        group: Number of the person and the place, at least 1; a number above the `groups` of the training
            data shows somebody whom a model trained there has never seen.
        seed: Non-negative seed of all randomness.

    Returns:
        The true timeline: contiguous segments that cover the whole video.

    Raises:
        ValueError: If an action is unknown or none is given, or `group` or `seed` is out of its range.
    """
    actions = _check_labels("actions", actions)
    _check_at_least(1, group=group)
    _check_at_least(0, seed=seed)
    scene = _scene(seed, group)
    # A long way at an angle would lead the figure out of the picture.
    scene = scene._replace(follow=1.0, turn=0.2 * scene.turn)
    rng = np.random.default_rng([seed, group, len(SAMPLE_CLASSES)])
    parts, segments, start = [], [], 0
    for label in actions:
        frames = int(rng.uniform(3.0, 3.6) * FPS)
        motion = MOTIONS[label](rng, frames, scene.speed)
        parts.append(blend(parts[-1][-1], motion) if parts else motion)
        segments.append(Segment(start / FPS, (start + frames) / FPS, label))
        start += frames
    joints = forward_kinematics(np.concatenate(parts))
    chairs, was_seated = [], False
    for part, segment in zip(parts, segments, strict=True):
        seated = segment.label in _SEATED
        if seated and not was_seated:  # who sits down and stands up needs one chair only
            start = round(segment.start_seconds * FPS)
            chairs.append(_seat(joints[start : start + len(part)]))
        was_seated = seated
    _write_frames(path, joints, scene, rng, direction=1, chairs=chairs)
    return segments


def _check_labels(argument: str, labels: Iterable[str]) -> list[str]:
    labels = [labels] if isinstance(labels, str) else list(labels)
    unknown = [label for label in labels if label not in SAMPLE_CLASSES]
    if unknown or not labels:
        raise ValueError(f"{argument} must be one or more of {SAMPLE_CLASSES}, received {labels}")
    return labels


def _check_at_least(least: int, **values: int) -> None:
    for argument, value in values.items():
        if value < least:
            raise ValueError(f"{argument} must be at least {least}, received {value!r}")


@lru_cache(maxsize=4)  # clips of one group are rendered one after the other
def _scene(seed: int, group: int) -> Scene:
    return create_scene(np.random.default_rng([seed, group]))


def _write_clip(path: Path, label: str, group: int, clip: int, seed: int) -> None:
    """Render one clip; what it shows depends on nothing but the arguments."""
    scene = _scene(seed, group)
    rng = np.random.default_rng([seed, group, SAMPLE_CLASSES.index(label), clip])
    frames = int(rng.uniform(_MIN_SECONDS, _MAX_SECONDS) * FPS) + 1
    joints = forward_kinematics(MOTIONS[label](rng, frames, scene.speed))
    if label in _SEATED:
        chairs = [_seat(joints)]
    else:  # a chair must not give the action away
        chairs = [joints[:, 0, 0].mean() + rng.uniform(-0.9, 0.9)] if rng.random() < 0.7 else []
    _write_frames(path, joints, scene, rng, direction=int(rng.choice([-1, 1])), chairs=chairs)


def _write_frames(
    path: str | os.PathLike,
    joints: np.ndarray,
    scene: Scene,
    rng: np.random.Generator,
    *,
    direction: int,
    chairs: list[float],
) -> None:
    with VideoWriter(path, fps=FPS) as writer:
        for frame in render_figure(joints, scene, rng, fps=FPS, direction=direction, chairs=chairs):
            writer.write(frame)


def _seat(joints: np.ndarray) -> float:
    """Return x of the pelvis where it is lowest: there stands the chair."""
    return float(joints[joints[:, 0, 1].argmin(), 0, 0])
