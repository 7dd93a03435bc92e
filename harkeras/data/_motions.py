"""How the figures of the embedded data set move: walking, running, falling, sitting down, standing up.

A motion is a function (generator, number of frames, speed factor) -> angles (T, len(ANGLES)), see
`forward_kinematics`.
"""

from __future__ import annotations

import numpy as np

from harkeras.data._figures import ANGLES

FPS = 25
_BLEND_FRAMES = 10  # from one action to the next in the long video


def blend(pose: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """Let a motion (T, A) start smoothly from another pose (A,)."""
    weight = _ease(np.arange(1, len(motion) + 1) / _BLEND_FRAMES)[:, None]
    return (1 - weight) * pose + weight * motion


def _ease(progress: np.ndarray) -> np.ndarray:
    """Map 0..1 to 0..1 with a smooth start and end; clipped outside."""
    progress = np.clip(progress, 0.0, 1.0)
    return progress**2 * (3 - 2 * progress)


def pose_of(**angles: np.ndarray | float) -> np.ndarray:
    """Stack named angles, zero where not named, along a last axis in the order of `ANGLES`."""
    return np.stack(np.broadcast_arrays(*(angles.get(name, 0.0) for name in ANGLES)), axis=-1).astype(float)


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
    return pose_of(**angles, lift=flight * (1 - np.cos(2 * phase)) / 2)


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
    buckled, lying = (pose_of(**angles) for angles in fall)
    start = _walking(rng, frames, speed) if rng.random() < 0.5 else _sway(rng, frames) + pose_of(**_STANDING)
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
    standing, bent, sitting = (pose_of(**angles) for angles in (_STANDING, _BENT, _SITTING))
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


MOTIONS = {
    "Falling": _falling,
    "Running": _running,
    "SittingDown": _sitting_down,
    "StandingUp": _standing_up,
    "Walking": _walking,
}
