"""How much do the test clips resemble the training clips? Shared sources, copies, near-duplicates.

Accuracy on a leaking split measures memory. A report on the split says so before anybody believes the number.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harkeras.data.duplicates import find_duplicates


@dataclass(frozen=True)
class LeakageReport:
    """What training and test clips share.

    Attributes:
        train_clips: Number of clips to train on.
        test_clips: Number of clips to test on.
        shared_groups: Sources that stand on both sides, sorted.
        leaking_clips: Test clips that have a sibling, of the same source, in training.
        identical: Pairs (training path, test path) whose files are equal, one for each such test clip; None
            if they were not looked for.
        near_duplicates: Pairs (training path, test path) that look alike though their sources differ by name,
            one for each such test clip; None if they were not looked for.
        unreadable: Clips that could not be read, and why.
        accuracies: Accuracy of a model in cross-validation with the splits "random" and "group"; None if it
            was not asked for.
        sources_known: Whether any two clips share a source; where none do, sources are hardly known.
    """

    train_clips: int
    test_clips: int
    shared_groups: tuple[str, ...]
    leaking_clips: int
    identical: tuple[tuple[str, str], ...] | None
    near_duplicates: tuple[tuple[str, str], ...] | None
    unreadable: tuple[str, ...] = ()
    accuracies: dict[str, float] | None = None
    sources_known: bool = True

    def __str__(self) -> str:
        """Return the report as text."""
        share = self.leaking_clips / self.test_clips
        lines = [f"{self.train_clips} clips to train on, {self.test_clips} to test on"]
        if self.sources_known:
            lines.append(
                f"{len(self.shared_groups)} sources stand on both sides; {self.leaking_clips} test clips "
                f"({share:.1%}) have a sibling in training"
            )
        else:
            lines.append("no clip is known to share its source with another: siblings cannot be counted")
        if self.identical is not None:
            lines.append(
                f"{len(self.identical)} of {self.test_clips} test clips are copies of a training clip, byte "
                "for byte"
            )
            lines += _list_pairs(self.identical, "=")
        if self.near_duplicates is not None:
            lines.append(
                f"{len(self.near_duplicates)} of {self.test_clips} test clips look like a training clip of "
                "another source"
            )
            lines += _list_pairs(self.near_duplicates, "~")
        lines += [f"not read: {reason}" for reason in self.unreadable]
        if self.accuracies is not None:
            random, group = self.accuracies["random"], self.accuracies["group"]
            lines.append(
                f"in cross-validation, {random:.3f} of the clips are named right with a random split, and "
                f"{group:.3f} by a model that has not seen their sources"
            )
        return "\n".join(lines)


def _list_pairs(pairs: tuple[tuple[str, str], ...], sign: str, most: int = 10) -> list[str]:
    lines = [f"  {train}  {sign}  {test}" for train, test in pairs[:most]]
    if len(pairs) > most:
        lines.append(f"  ... and {len(pairs) - most} more")
    return lines


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

    Near-duplicates are copies in another size or quality, see `harkeras.data.duplicates`. One still camera
    over many sources looks alike as well: read the pairs before believing them.

    Args:
        video_paths: Paths of the clips.
        groups: (N,), the source of each, see `read_groups`.
        train_rows: Rows to train on.
        test_rows: Rows to test on.
        near_duplicates: Whether to read the clips, and look for copies and near-duplicates.
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
    identical, near, unreadable = None, None, ()
    if near_duplicates:
        identical, near, unreadable = find_duplicates(video_paths, train_rows, test_rows, groups=groups)
    accuracies = None
    if cross_validation is not None:
        accuracies = {split: cross_validation(split).accuracy for split in ("random", "group")}
    return LeakageReport(
        train_clips=len(train_rows),
        test_clips=len(test_rows),
        shared_groups=tuple(map(str, shared)),
        leaking_clips=int(np.isin(groups[test_rows], shared).sum()),
        identical=identical,
        near_duplicates=near,
        unreadable=unreadable,
        accuracies=accuracies,
        sources_known=len(np.unique(groups)) < len(groups),
    )
