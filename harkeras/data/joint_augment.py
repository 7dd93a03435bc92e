"""Joints changed at random while a model learns: a body in a mirror, by a tilted camera, of another build.

A joint that is missing, with x, y and score 0, stays missing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from harkeras.people.skeleton import COCO_JOINTS


@dataclass(frozen=True)
class JointAugmentation:
    """Mirror, turn and stretch the bodies of a batch, each clip by draws of its own, all frames alike.

    Args:
        mirror: Share of the clips in which left and right change places.
        turn_degrees: By how much a body is turned at most, to either side, around the middle of its joints.
        stretch: By which share it is made wider or slimmer at most.

    Raises:
        ValueError: If a number is out of its range.

    Example:
        >>> train_set.for_training(augment=JointAugmentation())
    """

    mirror: float = 0.5
    turn_degrees: float = 10.0
    stretch: float = 0.1

    def __post_init__(self) -> None:
        """Check the values."""
        for name, most in (("mirror", 1), ("turn_degrees", 180), ("stretch", 0.9)):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must lie in 0 to {most}, got {getattr(self, name)}")

    def __call__(self, clips: np.ndarray, seed: int) -> np.ndarray:
        """Change clips of COCO's joints: float (B, T, 17, 2 or 3) -> the same kind, a new array.

        Raises:
            ValueError: If the clips are no such joints.
        """
        if clips.ndim != 4 or clips.shape[2] != len(COCO_JOINTS) or clips.shape[3] not in (2, 3):
            raise ValueError(f"clips must be joints (B, T, {len(COCO_JOINTS)}, 2 or 3), got {clips.shape}")
        rng = np.random.default_rng(seed)
        return np.stack([self._change(clip, rng) for clip in clips])

    def _change(self, clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        mirrored = rng.random() < self.mirror
        angle = math.radians(rng.uniform(-self.turn_degrees, self.turn_degrees))
        wider = 1 + rng.uniform(-self.stretch, self.stretch)
        there = clip.any(axis=-1)  # (T, 17)
        if not there.any():
            return clip.copy()
        changed, middle = clip.copy(), clip[there][:, :2].mean(axis=0)
        turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        points = (clip[there][:, :2] - middle) * [-wider if mirrored else wider, 1]
        changed[there, :2] = points @ turn + middle
        return changed[:, _MIRRORED] if mirrored else changed


def _mirrored_order() -> list[int]:
    """Return which joint stands where each one was, in a mirror."""
    other = {"left": "right", "right": "left"}
    names = []
    for name in COCO_JOINTS:
        side, _, joint = name.partition("_")
        names.append(f"{other[side]}_{joint}" if side in other else name)
    return [COCO_JOINTS.index(name) for name in names]


_MIRRORED = _mirrored_order()
