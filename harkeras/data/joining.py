"""Clips that begin or end in another action, as the windows of a long video do around its borders.

A model that was trained on clips of one action each has never seen the end of one and the beginning of the
next. In a long video it holds on to what it knows, and names an action late. Here a part of a training clip,
less than half of it, is taken from a clip of another class: its last frames stand before the clip, or its
first frames behind it. The label stays that of the clip, which holds at the middle: so what a model says of a
window is meant for its middle, and changes there.

VideoMix (Yun et al., "VideoMix: Rethinking Data Augmentation for Video Classification", 2020) joins clips in
time too, of any two videos, with labels by the share of each. Here the other clip is of the same source where
there is one: it shows the same person at the same place, so that what changes is the action.
"""

from __future__ import annotations

import numpy as np


def join(clip: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a clip (T, ...) that begins with the end of another one, or ends with its beginning.

    Args:
        clip: At least 3 frames.
        other: As many.
        rng: Draws the side, and how many frames come from the other clip: 1 to less than half.
    """
    count = int(rng.integers(1, (len(clip) + 1) // 2))
    if rng.random() < 0.5:
        return np.concatenate([other[-count:], clip[:-count]])
    return np.concatenate([clip[count:], other[:count]])


def draw_neighbors(
    rows: np.ndarray, among: np.ndarray, classes: np.ndarray, groups: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw a clip of another class for each of some clips, of the same source where there is one.

    Args:
        rows: int (B,), the clips.
        among: int (M,), those to draw from.
        classes: int (N,), the class of each clip.
        groups: (N,), the source of each clip.
        rng: Draws them.

    Raises:
        ValueError: If all clips to draw from are of one class.
    """
    drawn = []
    for row in rows:
        others = among[classes[among] != classes[row]]
        if not len(others):
            raise ValueError("joins must be 0 for clips that are all of one class")
        near = others[groups[others] == groups[row]]
        drawn.append(rng.choice(near if len(near) else others))
    return np.array(drawn)
