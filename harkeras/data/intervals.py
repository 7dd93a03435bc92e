"""How far can an accuracy be trusted? Intervals for independent clips, and for clips that share sources.

Clips of one source succeed or fail together, so that there is less to know from them than their number says.
Survey statistics calls this the design effect (Kish, "Survey Sampling", 1965): N clips in sources of m say as
much as N / (1 + (m - 1) * rho) independent ones, where rho is how alike the clips of a source are, from 0 (no
more than any others) to 1 (all right or all wrong). The interval is Wilson's for that many clips (Korn and
Graubard, "Confidence intervals for proportions with small expected number of positive counts estimated from
survey data", Survey Methodology 24, 1998, do so with another interval).
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm, t

# A few failures tell little about how alike clips of a source are, and a perfect score nothing at all. So rho
# is a mean of what the clips say, weighted by the failures (or hits, if there are fewer), and of what is
# usual, at the weight of ten. A test simulates what comes of it.
_USUAL_LIKENESS, _ITS_WEIGHT = 0.3, 10.0


def wilson_interval(hits: float, clips: float, *, quantile: float | None = None) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a share of independent clips.

    Args:
        hits: Clips named right; need not be whole.
        clips: All clips; need not be whole.
        quantile: Half the width in standard deviations; that of 95 % by default.

    Raises:
        ValueError: If there is no clip, or `hits` is not between 0 and `clips`.
    """
    if not clips > 0 or not 0 <= hits <= clips:
        raise ValueError(f"hits must lie in 0 to clips, which is over 0, got {hits} of {clips}")
    z = norm.ppf(0.975) if quantile is None else quantile
    share = hits / clips
    middle = share + z**2 / (2 * clips)
    half = z * np.sqrt(share * (1 - share) / clips + (z / (2 * clips)) ** 2)
    low, high = (middle - half) / (1 + z**2 / clips), (middle + half) / (1 + z**2 / clips)
    return (0.0 if hits == 0 else float(low)), (1.0 if hits == clips else float(high))


def clustered_interval(hits: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of a share of clips that share sources, see the top of this module.

    It lies between the Wilson interval of all clips and that of as many clips as there are sources, or a
    little wider, because how alike the clips of a source are is an estimate. Where each clip has a source of
    its own, it is the Wilson interval.

    Args:
        hits: bool (N,), or float in [0, 1], how often each clip was named right.
        groups: (N,), the source of each.

    Raises:
        ValueError: If the lengths differ, or there is no clip.
    """
    if len(hits) != len(groups) or not len(hits):
        raise ValueError(f"groups must be one per clip, got {len(groups)} and {len(hits)} clips")
    _, group_of_row = np.unique(groups, return_inverse=True)
    clips, right = np.bincount(group_of_row), np.bincount(group_of_row, weights=hits)
    total, rights = len(hits), right.sum()
    if clips.max() == 1:
        return wilson_interval(rights, total)
    telling = min(rights, total - rights)
    rho = telling * _likeness(right, clips) + _ITS_WEIGHT * _USUAL_LIKENESS
    rho /= telling + _ITS_WEIGHT
    effective = total / (1 + ((clips**2).sum() / total - 1) * rho)
    freedom = max(effective, len(clips)) - 1
    return wilson_interval(rights / total * effective, effective, quantile=t.ppf(0.975, max(freedom, 1)))


def clustered_error(values: np.ndarray, groups: np.ndarray) -> float:
    """Return the standard error of a mean over clips, where it is sources that were drawn, not clips.

    That of a ratio of sums over the sources (Cochran, "Sampling Techniques", 3rd edition, 1977, chapter 9A).

    Args:
        values: float (N,), of each clip.
        groups: (N,), the source of each.

    Raises:
        ValueError: If the lengths differ, or there are fewer than 2 sources.
    """
    names, group_of_row = np.unique(groups, return_inverse=True)
    if len(values) != len(groups) or len(names) < 2:
        raise ValueError(
            f"groups must be one per clip, and at least 2 sources, got {len(groups)} for {len(values)} clips "
            f"and {len(names)} sources"
        )
    sums = np.bincount(group_of_row, weights=values - np.mean(values))
    return float(np.sqrt(len(names) / (len(names) - 1) * (sums**2).sum()) / len(values))


def _likeness(right: np.ndarray, clips: np.ndarray) -> float:
    """Return the intraclass correlation of hits, in [0, 1], by analysis of variance.

    Ridout, Demetrio and Firth, "Estimating intraclass correlation for binary data", Biometrics 55, 1999.

    Args:
        right: float (G,), clips of each group that were named right.
        clips: int (G,), clips of each group, of which one has at least 2.
    """
    if len(clips) == 1:
        return _USUAL_LIKENESS
    total, inside = clips.sum(), (right**2 / clips).sum()
    between = (inside - right.sum() ** 2 / total) / (len(clips) - 1)
    within = (right.sum() - inside) / (total - len(clips))
    size = (total - (clips**2).sum() / total) / (len(clips) - 1)
    spread = between + (size - 1) * within
    return float(np.clip((between - within) / spread, 0, 1)) if spread > 0 else 0.0
