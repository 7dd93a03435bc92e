"""Clips that are there twice: identical files under other names, and copies in another size or quality."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from typing import NamedTuple

import cv2
import numpy as np
from tqdm.auto import tqdm

from harkeras.base.files import content_digest
from harkeras.base.workers import in_order
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


class Duplicates(NamedTuple):
    """Clips of two sides that are the same: for each of the second side, the most similar of the first.

    Attributes:
        identical: Pairs of paths whose files are equal, byte for byte.
        near: Pairs of paths of clips that look alike.
        unreadable: Clips that could not be read, and why.
    """

    identical: tuple[tuple[str, str], ...]
    near: tuple[tuple[str, str], ...]
    unreadable: tuple[str, ...]


def find_duplicates(
    video_paths: Sequence[str | os.PathLike],
    rows_a: np.ndarray,
    rows_b: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    workers: int | None = None,
) -> Duplicates:
    """Find clips of one side, such as training, that are there on the other side again.

    Identical files are found by their content. Copies in another size or quality are found by a perceptual
    hash of three frames. One still camera over many sources looks alike as well: read the pairs before
    believing them. Clips that show nothing, black ones for instance, are like no other.

    Args:
        video_paths: Paths of the clips.
        rows_a: Rows of the one side.
        rows_b: Rows of the other side.
        groups: (N,), the source of each clip; clips of one source are then not looked at for being alike.
        workers: Threads that decode; one per core by default.

    Returns:
        `Duplicates`; a clip that has an identical one is not among those that look alike.

    Raises:
        ValueError: If the groups are not one per clip.
    """
    if groups is not None and len(groups) != len(video_paths):
        raise ValueError(f"groups must be one per clip, got {len(groups)} and {len(video_paths)} clips")
    rows_a, rows_b = (np.asarray(rows, int) for rows in (rows_a, rows_b))
    rows = np.concatenate([rows_a, rows_b])
    facts = _read_facts([video_paths[row] for row in rows], workers)
    unreadable = tuple(fact for fact in facts if isinstance(fact, str))
    digests, hashes = {}, {}  # of the rows that can be read
    for row, fact in zip(rows.tolist(), facts, strict=True):
        if not isinstance(fact, str):
            digests[row], hashes[row] = fact
    side_a, side_b = ([row for row in side.tolist() if row in digests] for side in (rows_a, rows_b))
    first = {digests[row]: row for row in reversed(side_a)}
    identical = [(first[digests[row]], row) for row in side_b if digests[row] in first]
    copies = {row for _, row in identical}
    near = _near(side_a, [row for row in side_b if row not in copies], hashes, groups)

    def paths(pairs: list[tuple[int, int]]) -> tuple[tuple[str, str], ...]:
        return tuple((str(video_paths[a]), str(video_paths[b])) for a, b in pairs)

    return Duplicates(paths(identical), paths(near), unreadable)


def _read_facts(
    paths: Sequence[str | os.PathLike], workers: int | None
) -> list[tuple[str, np.ndarray] | str]:
    """Return the digest and the hash of each clip, or why it cannot be read."""

    def read(path):
        try:
            return content_digest(path), perceptual_hash(path)
        except (VideoError, OSError) as error:
            return str(error)

    with closing(in_order(read, paths, workers)) as facts:
        return list(tqdm(facts, "Comparing clips", len(paths), unit="clip"))


def _near(side_a: list[int], side_b: list[int], hashes: dict, groups) -> list[tuple[int, int]]:
    """Return, for each clip of the second side that looks like one of the first, the most similar pair."""
    if not side_a or not side_b:
        return []
    (bits_a, sure_a), (bits_b, sure_b) = (
        np.stack([_packed(hashes[row]) for row in side], axis=1) for side in (side_a, side_b)
    )  # uint64 (N, 3) each
    pairs = []
    for start in range(0, len(side_b), _BLOCK):
        block = slice(start, start + _BLOCK)
        sure = sure_a & sure_b[block, None]  # (B, N, 3)
        compared = np.bitwise_count(sure).sum(axis=-1, dtype=np.int16)
        different = np.bitwise_count((bits_a ^ bits_b[block, None]) & sure).sum(axis=-1, dtype=np.int16)
        share = np.where(compared >= _LEAST_SURE, different / np.maximum(compared, 1), 1.0)
        if groups is not None:
            share[np.asarray(groups)[side_b[block]][:, None] == np.asarray(groups)[side_a]] = 1.0
        best = share.argmin(axis=1)
        for place, row in enumerate(side_b[block]):
            if share[place, best[place]] <= _MOST_DIFFERENT:
                pairs.append((side_a[best[place]], row))
    return pairs


def _packed(hashed: np.ndarray) -> np.ndarray:
    """Pack bool (2, 192) into uint64 (2, 3)."""
    return np.packbits(hashed, axis=1).view(np.uint64)


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
