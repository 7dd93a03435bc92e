"""Which sources to test on, so that each class has its share on both sides."""

from __future__ import annotations

import numpy as np

# Steps of the search: groups and their classes looked at, over all draws together. About a second.
_STEPS = 1_000_000
_MOST_DRAWS = 200


def draw_test_groups(labels: np.ndarray, group_of_row: np.ndarray, test_size: float, seed: int) -> np.ndarray:
    """Choose groups to test on, whose clips are near `test_size` of each class.

    Coordinate descent from several random orders: group by group, a group changes sides where that lowers the
    error, until none does. The error of a class is how many clips the test side has too many or too few; a
    class that is missing on one side costs more than any imbalance. The best draw is taken, and the search
    ends early where none can be better. The order of the rows plays no part.

    Args:
        labels: int (N,), the class of each clip.
        group_of_row: int (N,), the group of each clip, in 0 to G - 1, G at least 2.
        test_size: Share of the clips to test on, between 0 and 1.
        seed: Seed of the orders.

    Returns:
        bool (G,), at least one of each.
    """
    pairs, counts = np.unique(np.stack([group_of_row, labels], axis=1), axis=0, return_counts=True)
    members = [[] for _ in range(int(group_of_row.max()) + 1)]  # of each group: its classes and their clips
    for (group, label), count in zip(pairs.tolist(), counts.tolist(), strict=True):
        members[group].append((label, count))
    totals = np.bincount(labels)
    wanted, penalty = totals * test_size, float(len(labels))  # more than all imbalances together
    groups_of_class = np.bincount(pairs[:, 1], minlength=len(totals))
    least = _least_error(totals, groups_of_class, wanted, penalty)
    rng, best, best_error = np.random.default_rng(seed), None, np.inf
    for _ in range(int(np.clip(_STEPS // len(pairs), 1, _MOST_DRAWS))):
        order = rng.permutation(len(members)).tolist()
        error, tested = _descend(members, order, totals.tolist(), wanted.tolist(), penalty)
        if error < best_error:
            best, best_error = tested, error
        if best_error <= least + 1e-9:
            break
    return np.array(best)


def _least_error(totals, groups_of_class, wanted, penalty: float) -> float:
    """Return the error that no choice of groups can undercut."""
    both_sides = np.abs(np.clip(np.round(wanted), 1, np.maximum(totals - 1, 1)) - wanted)
    one_side = penalty + np.minimum(wanted, totals - wanted)
    return float(np.where(groups_of_class > 1, both_sides, one_side)[groups_of_class > 0].sum())


def _descend(members, order, totals, wanted, penalty: float) -> tuple[float, list[bool]]:
    """Start with no group to test on, and let groups change sides until that helps no more."""

    def error(label: int, clips: int) -> float:
        return abs(clips - wanted[label]) + (penalty if clips in (0, totals[label]) else 0.0)

    def gain(group: int) -> float:
        sign = -1 if tested[group] else 1
        return sum(error(c, clips[c]) - error(c, clips[c] + sign * n) for c, n in members[group])

    def move(group: int) -> None:
        sign = -1 if tested[group] else 1
        tested[group] = not tested[group]
        for label, count in members[group]:
            clips[label] += sign * count

    tested, clips, count = [False] * len(members), [0] * len(totals), 0
    moved = True
    while moved:
        moved = False
        for group in order:
            after = count + (-1 if tested[group] else 1)
            if 0 < after < len(members) and gain(group) > 1e-9:
                move(group)
                count, moved = after, True
    if not count:  # each class has one group: any choice costs the other side a class
        move(max(order, key=gain))
    return sum(error(label, n) for label, n in enumerate(clips) if totals[label]), tested
