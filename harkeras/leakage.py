"""How much do the test clips resemble the training clips? Shared sources, and near-duplicates by picture.

Accuracy on a leaking split measures memory. A report on the split says so before anybody believes the number.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from tqdm.auto import tqdm

from harkeras.video import VideoError, frames_extraction

# Bits of two clips' hashes that may differ, of 3 x 64, if they are to count as near-duplicates.
_MOST_DIFFERENT_BITS = 18


@dataclass(frozen=True)
class LeakageReport:
    """What training and test clips share.

    Attributes:
        train_clips: Number of clips to train on.
        test_clips: Number of clips to test on.
        shared_groups: Sources that stand on both sides, sorted.
        leaking_clips: Test clips that have a sibling, of the same source, in training.
        near_duplicates: Pairs (training path, test path) that look alike though their sources differ by name;
            None if they were not looked for.
        unreadable: Clips that could not be hashed, and why.
        accuracies: Accuracy of a model in cross-validation with the splits "random" and "group"; None if it
            was not asked for.
    """

    train_clips: int
    test_clips: int
    shared_groups: tuple[str, ...]
    leaking_clips: int
    near_duplicates: tuple[tuple[str, str], ...] | None
    unreadable: tuple[str, ...] = ()
    accuracies: dict[str, float] | None = None

    def __str__(self) -> str:
        """Return the report as text."""
        share = self.leaking_clips / self.test_clips
        lines = [
            f"{self.train_clips} clips to train on, {self.test_clips} to test on",
            f"{len(self.shared_groups)} sources stand on both sides; {self.leaking_clips} test clips "
            f"({share:.1%}) have a sibling in training",
        ]
        if self.near_duplicates is not None:
            pairs, more = self.near_duplicates, len(self.near_duplicates) - 10
            lines.append(f"{len(pairs)} pairs of clips look alike across the split, but for their sources")
            lines += [f"  {train}  ~  {test}" for train, test in pairs[:10]]
            lines += [f"  ... and {more} more"] * (more > 0)
        lines += [f"not read: {reason}" for reason in self.unreadable]
        if self.accuracies is not None:
            random, group = self.accuracies["random"], self.accuracies["group"]
            lines.append(
                f"in cross-validation, {random:.3f} of the clips are named right with a random split, and "
                f"{group:.3f} by a model that has not seen their sources"
            )
        return "\n".join(lines)


def leakage_report(
    video_paths: Sequence[str | os.PathLike],
    groups: np.ndarray,
    train_rows: np.ndarray,
    test_rows: np.ndarray,
    *,
    near_duplicates: bool = True,
    cross_validation: Callable[[str], Any] | None = None,
) -> LeakageReport:
    """Count what a split leaks: test clips with a sibling in training, and near-duplicates across it.

    Near-duplicates are found by a perceptual hash (the signs of brightness differences) of three frames of
    each clip, which is nearly the same for copies in another size or quality. One still camera over many
    sources looks alike as well: read the pairs before believing them.

    Args:
        video_paths: Paths of the clips.
        groups: (N,), the source of each, see `read_groups`.
        train_rows: Rows to train on.
        test_rows: Rows to test on.
        near_duplicates: Whether to read the clips and look for near-duplicates.
        cross_validation: Function from "random" or "group" to the `CrossValidation` of a model, such as
            `lambda split: cross_validate(build, data, classes=classes, split=split)`: it trains a model on
            all clips, fold by fold, with each split, and the report says what leaking is worth.

    Returns:
        `LeakageReport`; `print` it.

    Raises:
        ValueError: If the groups are not one per clip, or one side has no clip.
    """
    if len(groups) != len(video_paths):
        raise ValueError(f"groups must be one per clip, got {len(groups)} and {len(video_paths)} clips")
    if not len(train_rows) or not len(test_rows):
        raise ValueError(f"both sides must have clips, got {len(train_rows)} and {len(test_rows)}")
    groups = np.asarray(groups)
    shared = np.intersect1d(groups[train_rows], groups[test_rows])
    pairs, unreadable = None, ()
    if near_duplicates:
        pairs, unreadable = _near_duplicates(video_paths, groups, train_rows, test_rows)
    return LeakageReport(
        train_clips=len(train_rows),
        test_clips=len(test_rows),
        shared_groups=tuple(map(str, shared)),
        leaking_clips=int(np.isin(groups[test_rows], shared).sum()),
        near_duplicates=pairs,
        unreadable=unreadable,
        accuracies=cross_validation
        and {split: cross_validation(split).accuracy for split in ("random", "group")},
    )


def _near_duplicates(video_paths, groups, train_rows, test_rows):
    hashes, unreadable = {}, []
    for row in tqdm([*train_rows, *test_rows], "Comparing clips", unit="clip"):
        try:
            hashes[row] = perceptual_hash(video_paths[row])
        except (VideoError, OSError) as error:
            unreadable.append(str(error))
    train = np.array([row for row in train_rows if row in hashes], int)
    pairs = []
    if len(train):
        known = np.stack([hashes[row] for row in train])
        for row in test_rows:
            if row in hashes:
                alike = (known != hashes[row]).sum(axis=1) <= _MOST_DIFFERENT_BITS
                others = train[alike & (groups[train] != groups[row])]
                pairs += [(str(video_paths[other]), str(video_paths[row])) for other in others]
    return tuple(pairs), tuple(unreadable)


def perceptual_hash(video: str | os.PathLike) -> np.ndarray:
    """Return bool (192,) that are nearly the same for copies of a clip in another size or quality.

    Each of three frames, shrunk to 8 x 9 pixels of gray, gives 64 bits: is a pixel brighter than its
    neighbour?

    Raises:
        FileNotFoundError: If there is no such file.
        VideoError: If it cannot be decoded.
    """
    frames = frames_extraction(video, frames=3, height=64, width=72)
    gray = [
        cv2.resize(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), (9, 8), interpolation=cv2.INTER_AREA) for f in frames
    ]
    return (np.diff(np.stack(gray).astype(int), axis=2) > 0).reshape(-1)
