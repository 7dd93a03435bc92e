"""What tells the classes of a data set apart though it is no action: a frame rate, a size, bars, one source.

A model learns what is easiest. Where all falls were filmed with one camera and all else with another, it
tells the cameras apart, and so does the test. No accuracy shows this; the files themselves do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harkeras.base.text import list_some
from harkeras.base.workers import in_order_with_bar
from harkeras.data.datasets import Dataset
from harkeras.data.folders import ClipFolder
from harkeras.video.reading import VideoError, VideoInfo, frames_extraction

_MOST_CLIPS_OF_CLASS, _MOST_CLIPS, _FEWEST_OF_CLASS = 40, 1000, 5
# Of each of the classes on either side of a limit, so large a share must lie there.
_LEAST_SHARE = 0.9
# Share of random labels that may be told apart as well: with a handful of clips, something always fits.
_CHANCE, _PERMUTATIONS = 0.02, 200
_DARK = 20  # of 255: a row or column of a bar is nowhere brighter
_SIDE = 64  # of the pictures in which bars are looked for
_FEW_CLIPS = 5
_SEED = 27  # of the choice of clips, and of the random labels
_DANGER = "a model may learn it in place of the action"


# How a report writes what a file says of a clip, apart from what happens in it.
_UNITS = {
    "frame rate": "{:.4g} frames per second",
    "picture size": "{:,.0f} pixels",
    "shape of the picture": "width / height {:.3g}",
    "duration": "{:.3g} s",
    "part under black bars": "{:.0%} of the picture",
    "amount of color": "{:.3g} of 255",
}
# Where no limit divides the classes, one value may stand out among smaller and larger ones.
_KINDS = {"frame rate": "{:.4g}", "shape of the picture": "{:.3g}", "codec": "{}", "suffix": "{}"}


def class_shortcuts(clips: ClipFolder | Dataset, *, workers: int | None = None) -> list[str]:
    """Say what besides the action tells the classes apart, and which classes are too small or of one source.

    For each fact of a file, the limit is sought that divides the classes best: where nearly all clips of some
    classes lie below it and nearly all of the others above, a model can learn it in place of the action. At
    most 40 clips of a class are read, and about 1,000 in all.

    Args:
        clips: The clips, with their files, classes and sources.
        workers: Threads that decode; one per core by default.

    Returns:
        A sentence for each finding; none where nothing was found. Clips that cannot be read are left out.
    """
    labels, classes = clips.labels, clips.classes
    sentences = _small_classes(labels, classes) + _one_source(labels, classes, clips.sources.groups)
    rows = _sample(labels)
    paths = [clips.video_paths[row] for row in rows]
    results = list(in_order_with_bar(_read_facts, paths, "Looking for shortcuts", workers))
    facts = [fact for fact in results if fact is not None]
    if not facts:
        return sentences
    labels = labels[rows[[fact is not None for fact in results]]]
    for name, unit in _UNITS.items():
        values = np.array([fact[name] for fact in facts])
        sentences += _told_apart(values, labels, classes, name, unit)
    for name, text in _KINDS.items():
        if not any(name in sentence for sentence in sentences):
            kinds = [text.format(fact[name]) for fact in facts]
            sentences += _told_apart_by_kind(kinds, labels, classes, name)
    return sentences


def _small_classes(labels: np.ndarray, classes: Sequence[str]) -> list[str]:
    counts = np.bincount(labels, minlength=len(classes))
    small = [f"{classes[row]} ({counts[row]})" for row in np.flatnonzero(counts < _FEW_CLIPS)]
    if not small:
        return []
    return [f"too few clips to learn a class, or to know how well it was learned: {list_some(small)}"]


def _one_source(labels: np.ndarray, classes: Sequence[str], groups: np.ndarray) -> list[str]:
    """Name the classes whose clips, more than one, come from one source."""
    names = [
        classes[label]
        for label in np.unique(labels)
        if np.count_nonzero(labels == label) > 1 and len(np.unique(groups[labels == label])) == 1
    ]
    if not names:
        return []
    return [f"of one source only, and so either trained or tested, never both: {list_some(names)}"]


def _sample(labels: np.ndarray) -> np.ndarray:
    """Choose clips of each class to read, int64 (M,), sorted."""
    present, rng = np.unique(labels), np.random.default_rng(_SEED)
    most = min(_MOST_CLIPS_OF_CLASS, max(_MOST_CLIPS // max(len(present), 1), _FEWEST_OF_CLASS))
    chosen = [rng.permutation(np.flatnonzero(labels == label))[:most] for label in present]
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, int)


def _read_facts(path: Path) -> dict[str, float | str] | None:
    try:
        info = VideoInfo.read(path)
        frames = frames_extraction(path, 3, _SIDE, _SIDE)
    except (VideoError, OSError):
        return None
    light = frames.max(axis=(0, 3))  # (H, W): the brightest that a place ever is
    rows, columns = ((light > _DARK).any(axis=axis) for axis in (1, 0))
    kept = np.ptp(np.flatnonzero(rows)) + 1 if rows.any() else _SIDE
    kept *= np.ptp(np.flatnonzero(columns)) + 1 if columns.any() else _SIDE
    bars = 1 - kept / _SIDE**2
    color = float(np.ptp(frames.astype(int), axis=3).mean())
    return {
        "frame rate": round(info.fps, 2),
        "picture size": float(info.width * info.height),
        "shape of the picture": round(info.width / info.height, 2),
        "duration": info.duration_seconds,
        "part under black bars": round(bars, 2) if bars > 0.05 else 0.0,  # an edge may be dark
        "amount of color": round(color),
        "codec": info.codec,
        "suffix": Path(path).suffix.lower(),
    }


def _told_apart(values, labels, classes, name: str, unit: str) -> list[str]:
    """Return a sentence if a limit of some fact divides the classes."""
    below = _divide(values, labels)
    if below is None or _by_chance(values, labels):
        return []
    sides = [np.isin(labels, np.flatnonzero(side)) for side in (below, ~below)]
    kinds = [
        f"{list_some([classes[label] for label in np.unique(labels[side])])} "
        f"({unit.format(np.median(values[side]))})"
        for side in sides
    ]
    return [f"the {name} tells {' from '.join(kinds)}: {_DANGER}"]


def _told_apart_by_kind(kinds: list[str], labels, classes, name: str) -> list[str]:
    """Return a sentence for a fact that has names instead of numbers."""
    for kind in sorted(set(kinds)):
        values = np.array([float(each == kind) for each in kinds])
        below = _divide(values, labels)
        if below is not None and not _by_chance(values, labels):
            inside = [classes[label] for label in np.unique(labels) if not below[label]]
            return [f"the {name} {kind} tells {list_some(inside)} from the other classes: {_DANGER}"]
    return []


def _divide(values: np.ndarray, labels: np.ndarray) -> np.ndarray | None:
    """Find the limit that divides the classes best.

    Args:
        values: float (N,).
        labels: int (N,).

    Returns:
        bool (classes,), which classes lie below the limit; None where no limit has nearly all clips of some
        classes below, and of the others above.
    """
    order = np.argsort(values, kind="stable")
    cuts = np.flatnonzero(np.diff(values[order]) > 0)  # after which clip, in order
    if not len(cuts):
        return None
    counts = np.bincount(labels)
    below = np.cumsum(np.eye(len(counts), dtype=np.int32)[labels[order]], axis=0)[cuts]  # (cuts, classes)
    share = below / np.maximum(counts, 1)
    lower, upper = (share > 0.5) & (counts > 0), (share <= 0.5) & (counts > 0)
    with np.errstate(invalid="ignore"):  # a side without classes
        purity = np.minimum(
            (share * lower).sum(axis=1) / lower.sum(axis=1),
            ((1 - share) * upper).sum(axis=1) / upper.sum(axis=1),
        )
    purity = np.nan_to_num(purity)
    best = int(purity.argmax())
    return lower[best] if purity[best] >= _LEAST_SHARE else None


def _by_chance(values: np.ndarray, labels: np.ndarray) -> bool:
    """Whether random labels are told apart as well, more often than now and then."""
    rng = np.random.default_rng(_SEED)
    hits = sum(_divide(values, rng.permutation(labels)) is not None for _ in range(_PERMUTATIONS))
    return hits > _CHANCE * _PERMUTATIONS
