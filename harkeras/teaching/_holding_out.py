"""Which recordings are held out: chosen once, whole, by the seed, and never one that was learned from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from harkeras.data.splits import split_rows_by_group
from harkeras.teaching._store import Settings

FEWEST_SOURCES = 5  # with fewer, all are needed to learn from
HELD_OUT_SHARE = 0.25


def hold_out(settings: Settings, labels_of: dict[str, list[str]]) -> Settings:
    """Decide for each recording that is new whether it is held out; what was decided stays.

    With 5 sources, a quarter of them is held out. Where some are labeled already, each class is
    put on both sides as far as sources allow. Sources that come later are drawn until it is a quarter
    again.

    Args:
        settings: Of the project.
        labels_of: The labels in each recording, by its name.

    Returns:
        The settings, with no recording that can be read undecided.
    """
    usable = [each for each in settings.recordings if not each.problem]
    new = list(dict.fromkeys(each.source for each in usable if each.held_out is None))
    decided = {each.source: each.held_out for each in usable if each.held_out is not None}
    new = [source for source in new if source not in decided]
    count = len(new) + len(decided)
    wanted = round(HELD_OUT_SHARE * count) if count >= FEWEST_SOURCES else 0
    wanted = min(max(wanted - sum(decided.values()), 0), len(new) - (not decided))
    held_out = set(_draw(settings, new, labels_of, wanted)) if wanted > 0 else set()
    decided |= {source: source in held_out for source in new}
    recordings = tuple(
        replace(each, held_out=decided[each.source]) if not each.problem else each
        for each in settings.recordings
    )
    return replace(settings, recordings=recordings)


def _draw(settings: Settings, new: list[str], labels_of: dict[str, list[str]], wanted: int) -> list[str]:
    """Draw so many of the new sources, those with labels by the classes they hold."""
    rng = np.random.default_rng([settings.seed, len(settings.recordings)])
    pairs = [
        (label, each.source)
        for each in settings.recordings
        if each.source in new
        for label in labels_of.get(each.video, ())
    ]
    names = sorted({label for label, _ in pairs})
    drawn: list[str] = []
    if len({source for _, source in pairs}) > 1 and len(names) > 1:
        labels, groups = (np.array(column) for column in zip(*pairs, strict=True))
        rows = np.searchsorted(names, labels)
        _, test = split_rows_by_group(rows, groups, test_size=wanted / len(new), seed=settings.seed)
        drawn = list(dict.fromkeys(groups[test].tolist()))[:wanted]
    rest = [source for source in rng.permutation(new).tolist() if source not in drawn]
    labeled = {source for _, source in pairs}
    rest.sort(key=lambda source: source in labeled)  # what is labeled is for learning, if there is a choice
    return [*drawn, *rest[: wanted - len(drawn)]]
