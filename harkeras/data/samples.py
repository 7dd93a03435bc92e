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
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from harkeras.base.workers import in_order
from harkeras.data._figures import ANGLES, Scene, create_scene, forward_kinematics, render_figure
from harkeras.video.writing import VideoWriter

SAMPLE_CLASSES = ("Falling", "Running", "SittingDown", "StandingUp", "Walking")
_SEATED = ("SittingDown", "StandingUp")

FPS = 25
_MIN_SECONDS, _MAX_SECONDS = 1.5, 3.0
_BLEND_FRAMES = 10  # from one action to the next in the long video


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
    with closing(in_order(lambda clip: _write_clip(*clip), clips, workers)) as written:
        for _ in tqdm(written, "Rendering", len(clips), unit="clip"):
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
        motion = _MOTIONS[label](rng, frames, scene.speed)
        parts.append(_blend(parts[-1][-1], motion) if parts else motion)
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
    joints = forward_kinematics(_MOTIONS[label](rng, frames, scene.speed))
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


def _blend(pose: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """Let a motion (T, A) start smoothly from another pose (A,)."""
    weight = _ease(np.arange(1, len(motion) + 1) / _BLEND_FRAMES)[:, None]
    return (1 - weight) * pose + weight * motion


def _ease(progress: np.ndarray) -> np.ndarray:
    """Map 0..1 to 0..1 with a smooth start and end; clipped outside."""
    progress = np.clip(progress, 0.0, 1.0)
    return progress**2 * (3 - 2 * progress)


def _pose(**angles: np.ndarray | float) -> np.ndarray:
    """Stack named angles, zero where not named, along a last axis in the order of `ANGLES`."""
    return np.stack(np.broadcast_arrays(*(angles.get(name, 0.0) for name in ANGLES)), axis=-1).astype(float)


# The motions: (generator, number of frames, speed factor) -> angles (T, len(ANGLES)), see forward_kinematics.


def _walking(rng: np.random.Generator, frames: int, speed: float) -> np.ndarray:
    """Walk: one stride a second, an upright body, one foot always on the floor."""
    return _gait(
        rng,
        frames,
        strides_per_second=speed * rng.uniform(0.8, 1.0),
        swing=rng.uniform(0.36, 0.48),
        knee=rng.uniform(0.75, 1.0),
        elbow=rng.uniform(0.15, 0.7),
        lean=rng.uniform(0.0, 0.12),
        flight=0.0,
    )


def _running(rng: np.random.Generator, frames: int, speed: float) -> np.ndarray:
    """Run: faster and longer strides, the body leans forward and leaves the floor twice per stride."""
    return _gait(
        rng,
        frames,
        strides_per_second=speed * rng.uniform(1.3, 1.6),
        swing=rng.uniform(0.58, 0.8),
        knee=rng.uniform(1.3, 1.7),
        elbow=rng.uniform(1.1, 1.8),
        lean=rng.uniform(0.14, 0.3),
        flight=rng.uniform(0.03, 0.05),
    )


def _gait(
    rng: np.random.Generator,
    frames: int,
    *,
    strides_per_second: float,
    swing: float,
    knee: float,
    elbow: float,
    lean: float,
    flight: float,
) -> np.ndarray:
    phase = 2 * np.pi * (rng.random() + strides_per_second * np.arange(frames) / FPS)
    angles = {"torso": lean + 0.03 * np.cos(2 * phase), "head": -0.5 * lean}
    for side, shift in (("near", 0.0), ("far", np.pi)):
        thigh = 0.2 * swing + swing * np.sin(phase + shift)
        # The knee bends most while the leg swings forward, and is nearly straight while it carries the body.
        bend = 0.08 + knee * ((1 + np.cos(phase + shift + 0.4)) / 2) ** 2
        arm = -0.8 * swing * np.sin(phase + shift)
        angles |= {f"thigh_{side}": thigh, f"shin_{side}": thigh - bend}
        angles |= {f"arm_{side}": arm, f"forearm_{side}": arm + elbow}
    return _pose(**angles, lift=flight * (1 - np.cos(2 * phase)) / 2)


_STANDING = {
    "arm_near": 0.05, "forearm_near": 0.2, "arm_far": -0.05, "forearm_far": 0.1,
    "thigh_near": -0.04, "thigh_far": 0.06,
}  # fmt: skip
_BENT = {
    "torso": 0.65, "head": -0.3, "arm_near": 0.5, "forearm_near": 1.2, "arm_far": 0.4, "forearm_far": 1.1,
    "thigh_near": 0.85, "shin_near": -0.35, "thigh_far": 0.9, "shin_far": -0.3,
}  # fmt: skip
_SITTING = {
    "torso": -0.04, "arm_near": 0.3, "forearm_near": 1.25, "arm_far": 0.35, "forearm_far": 1.2,
    "thigh_near": 1.5, "shin_near": -0.05, "thigh_far": 1.46, "shin_far": 0.05,
}  # fmt: skip
_FORWARD_FALL = (  # over the knees onto the hands: giving way, lying
    {"torso": 0.55, "arm_near": 0.9, "forearm_near": 1.6, "arm_far": 1.1, "forearm_far": 1.7,
     "thigh_near": 0.35, "shin_near": -0.9, "thigh_far": 0.5, "shin_far": -0.75},
    {"torso": 1.5, "head": -0.15, "arm_near": 1.7, "forearm_near": 1.45, "arm_far": 1.95,
     "forearm_far": 1.6, "thigh_near": -1.4, "shin_near": -1.55, "thigh_far": -1.3, "shin_far": -1.7},
)  # fmt: skip
_BACKWARD_FALL = (  # onto the seat and the back
    {"torso": -0.35, "head": 0.2, "arm_near": 0.8, "forearm_near": 1.2, "arm_far": -0.7,
     "forearm_far": -0.3, "thigh_near": 0.8, "shin_near": -0.25, "thigh_far": 0.95, "shin_far": -0.1},
    {"torso": -1.5, "head": 0.1, "arm_near": -1.2, "forearm_near": -1.5, "arm_far": -1.9,
     "forearm_far": -1.7, "thigh_near": 1.75, "shin_near": 0.9, "thigh_far": 1.6, "shin_far": 1.3},
)  # fmt: skip


def _falling(rng: np.random.Generator, frames: int, speed: float) -> np.ndarray:
    """Fall: stand or take a step, give way at the knees, drop faster and faster, lie still."""
    fall = _FORWARD_FALL if rng.random() < 0.5 else _BACKWARD_FALL
    buckled, lying = (_pose(**angles) for angles in fall)
    start = _walking(rng, frames, speed) if rng.random() < 0.5 else _sway(rng, frames) + _pose(**_STANDING)
    begin = rng.uniform(0.1, 0.3) * frames
    duration = rng.uniform(0.75, 1.1) * FPS / speed
    progress = np.clip((np.arange(frames) - begin) / duration, 0, 1)[:, None]
    drop = np.clip(progress * 2 - 1, 0, 1) ** 2  # constant acceleration
    falling = buckled + (lying - buckled) * drop + 0.3 * _sway(rng, frames)
    weight = _ease(progress * 2)
    return (1 - weight) * start + weight * falling


def _sitting_down(rng: np.random.Generator, frames: int, speed: float) -> np.ndarray:
    """Sit down: stand, bend forward, lower the body onto a chair, sit upright."""
    duration = min(rng.uniform(0.6, 0.9) / speed, 0.95) * frames
    begin = rng.uniform(0.0, 1.0) * (frames - duration)
    progress = np.clip((np.arange(frames) - begin) / duration, 0, 1)
    standing, bent, sitting = (_pose(**angles) for angles in (_STANDING, _BENT, _SITTING))
    bent = bent + rng.normal(0, 0.06, len(ANGLES)) * (bent != 0)  # everyone bends in a way of his own
    down, upright = _ease(progress / 0.65)[:, None], _ease((progress - 0.4) / 0.6)[:, None]
    return (1 - upright) * ((1 - down) * standing + down * bent) + upright * sitting + _sway(rng, frames)


def _standing_up(rng: np.random.Generator, frames: int, speed: float) -> np.ndarray:
    """Stand up: sitting down, played backwards."""
    return _sitting_down(rng, frames, speed)[::-1]


def _sway(rng: np.random.Generator, frames: int) -> np.ndarray:
    """Return small slow movements (T, A): nobody stands perfectly still."""
    hertz, phase = rng.uniform(0.2, 0.8, len(ANGLES)), rng.uniform(0, 2 * np.pi, len(ANGLES))
    seconds = np.arange(frames)[:, None] / FPS
    return 0.03 * np.sin(2 * np.pi * hertz * seconds + phase) * (np.array(ANGLES) != "lift")


_MOTIONS = {
    "Falling": _falling,
    "Running": _running,
    "SittingDown": _sitting_down,
    "StandingUp": _standing_up,
    "Walking": _walking,
}
