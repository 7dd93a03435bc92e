"""How much do the test clips resemble the training clips? Shared sources, copies, near-duplicates.

Accuracy on a leaking split measures memory. A report on the split says so before anybody believes the number.

Identical files are found by their content, copies in another size or quality by a perceptual hash of three
frames. Clips that show nothing, black ones for instance, are like no other.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from harkeras.base.files import content_digest
from harkeras.base.workers import in_order_with_bar
from harkeras.data.datasets import Dataset
from harkeras.data.folders import ClipFolder
from harkeras.video.reading import VideoError, frames_extraction

# Of a hash: frames, and rows and columns of differences.
_SHAPE = (3, 8, 8)
_BITS = 3 * 8 * 8
# Share of the bits of two hashes that may differ, if the clips are to count as near-duplicates.
_MOST_DIFFERENT = 18 / _BITS
# Bits that two hashes must both be sure of, to be compared; of black or empty pictures nothing is sure.
_LEAST_SURE = 64
# Difference in brightness, of 255, from which on its sign is sure.
_SURE_DIFFERENCE = 1.0
_BLOCK = 128  # clips of one side that are compared at a time

Pairs = tuple[tuple[str, str], ...]


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
    identical: Pairs | None
    near_duplicates: Pairs | None
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


def _list_pairs(pairs: Pairs, sign: str, most: int = 10) -> list[str]:
    lines = [f"  {train}  {sign}  {test}" for train, test in pairs[:most]]
    if len(pairs) > most:
        lines.append(f"  ... and {len(pairs) - most} more")
    return lines


def leakage_report(
    train_set: Dataset | ClipFolder,
    test_set: Dataset | ClipFolder,
    *,
    near_duplicates: bool = True,
    cross_validation: Callable[[str], Any] | None = None,
) -> LeakageReport:
    """Count what a split leaks: test clips with a sibling in training, and near-duplicates across it.

    Near-duplicates are copies in another size or quality. One still camera over many sources looks alike as
    well: read the pairs before believing them.

    Args:
        train_set: The clips to train on, with their files and sources, as `Dataset.split` gives them.
        test_set: The clips to test on.
        near_duplicates: Whether to read the clips, and look for copies and near-duplicates.
        cross_validation: Function from "random" or "group" to the `CrossValidation` of a model, such as
            `lambda split: cross_validate(build, dataset, split=split)`: it trains a model on
            all clips, fold by fold, with each split, and the report says what leaking is worth.

    Returns:
        `LeakageReport`; `print` it.

    Raises:
        ValueError: If one side has no clip.
    """
    train, test = train_set.sources.groups, test_set.sources.groups
    if not len(train) or not len(test):
        raise ValueError(f"both sides must have clips, got {len(train)} and {len(test)}")
    shared = np.intersect1d(train, test)
    identical, near, unreadable = None, None, ()
    if near_duplicates:
        identical, near, unreadable = find_duplicates(train_set, test_set)
    accuracies = None
    if cross_validation is not None:
        accuracies = {split: cross_validation(split).accuracy for split in ("random", "group")}
    return LeakageReport(
        train_clips=len(train),
        test_clips=len(test),
        shared_groups=tuple(map(str, shared)),
        leaking_clips=int(np.isin(test, shared).sum()),
        identical=identical,
        near_duplicates=near,
        unreadable=unreadable,
        accuracies=accuracies,
        sources_known=len(np.union1d(train, test)) < len(train) + len(test),
    )


def find_duplicates(
    train_set: Dataset | ClipFolder, test_set: Dataset | ClipFolder
) -> tuple[Pairs, Pairs, tuple[str, ...]]:
    """Find test clips that are there in training again; for each, the most similar training clip.

    Returns:
        Pairs (training path, test path) whose files are equal; pairs of other clips that look alike though
        their sources differ; and which clips could not be read, and why.
    """
    paths = [*train_set.video_paths, *test_set.video_paths]
    groups = np.concatenate([train_set.sources.groups, test_set.sources.groups])
    facts = list(in_order_with_bar(_read_facts, paths, "Comparing clips"))
    unreadable = tuple(fact for fact in facts if isinstance(fact, str))
    readable = {row: fact for row, fact in enumerate(facts) if not isinstance(fact, str)}
    train, test = (
        [row for row in readable if (row < len(train_set.video_paths)) == first] for first in (True, False)
    )
    first_of = {readable[row][0]: row for row in reversed(train)}
    identical = {row: first_of[readable[row][0]] for row in test if readable[row][0] in first_of}
    hashes = {row: hashed for row, (_, hashed) in readable.items()}
    near = _near(train, [row for row in test if row not in identical], hashes, groups)
    pairs = (tuple((str(paths[a]), str(paths[b])) for b, a in each.items()) for each in (identical, near))
    return *pairs, unreadable


def _read_facts(path: Path) -> tuple[str, np.ndarray] | str:
    """Return the digest and the hash of a clip, or why it cannot be read."""
    try:
        return content_digest(path), perceptual_hash(path)
    except (VideoError, OSError) as error:
        return str(error)


def _near(train: list[int], test: list[int], hashes: dict, groups: np.ndarray) -> dict[int, int]:
    """Return, for each test row that looks like a training row of another group, the most similar one."""
    if not train or not test:
        return {}
    (bits_a, sure_a), (bits_b, sure_b) = (
        np.stack([np.packbits(hashes[row], axis=1).view(np.uint64) for row in rows], axis=1)
        for rows in (train, test)
    )  # uint64 (N, 3) each
    nearest = {}
    for start in range(0, len(test), _BLOCK):
        block = slice(start, start + _BLOCK)
        sure = sure_a & sure_b[block, None]  # (B, N, 3)
        compared = np.bitwise_count(sure).sum(axis=-1, dtype=np.int16)
        different = np.bitwise_count((bits_a ^ bits_b[block, None]) & sure).sum(axis=-1, dtype=np.int16)
        share = np.where(compared >= _LEAST_SURE, different / np.maximum(compared, 1), 1.0)
        share[groups[test[block]][:, None] == groups[train]] = 1.0
        best = share.argmin(axis=1)
        for place, row in enumerate(test[block]):
            if share[place, best[place]] <= _MOST_DIFFERENT:
                nearest[row] = train[best[place]]
    return nearest


def perceptual_hash(video: str | os.PathLike) -> np.ndarray:
    """Return bits that are nearly the same for copies of a clip in another size or quality.

    Each of three frames, shrunk to 8 x 9 pixels of gray, gives 64 bits: is a pixel brighter than its
    neighbor?

    Returns:
        bool (2, 192): the bits, and whether the difference is large enough to be sure of them.

    Raises:
        FileNotFoundError: If there is no such file.
        VideoError: If it cannot be decoded.
    """
    frames = frames_extraction(video, frames=_SHAPE[0], height=8 * _SHAPE[1], width=8 * (_SHAPE[2] + 1))
    gray = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) for frame in frames)
    size = (_SHAPE[2] + 1, _SHAPE[1])
    small = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in gray]
    steps = np.diff(np.stack(small), axis=2).reshape(-1)
    return np.stack([steps > 0, np.abs(steps) >= _SURE_DIFFERENCE])
