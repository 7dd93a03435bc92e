"""What the intervals promise: that 95 in 100 of them hold the true share."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies
from scipy.stats import binomtest

from harkeras.data.intervals import clustered_error, clustered_interval, wilson_interval


@pytest.mark.parametrize(("hits", "clips"), [(98, 122), (113, 122), (0, 5), (5, 5), (1, 1)])
def test_wilson_is_that_of_scipy(hits, clips):
    expected = binomtest(hits, clips).proportion_ci(0.95, method="wilson")
    assert wilson_interval(hits, clips) == pytest.approx((expected.low, expected.high))


def test_clips_that_share_no_source():
    hits = np.arange(50) % 5 > 0
    assert clustered_interval(hits, np.arange(50)) == wilson_interval(40, 50)


def test_sources_that_fail_as_a_whole_count_once():
    groups = np.repeat(np.arange(40), 10)
    low, high = clustered_interval(groups % 4 > 0, groups)
    assert (low, high) == pytest.approx(wilson_interval(30, 40), abs=0.02)
    spread = np.arange(400) % 4 > 0  # each source has the same share of hits
    assert clustered_interval(spread, groups) == pytest.approx(wilson_interval(300, 400), abs=0.012)


@pytest.mark.parametrize(("sources", "clips"), [(6, 10), (16, 10), (12, 2), (2, 30)])
def test_a_perfect_score_is_no_certainty_and_not_the_widest(sources, clips):
    groups = np.repeat(np.arange(sources), clips)
    hits = np.ones(sources * clips, bool)
    low, high = clustered_interval(hits, groups)
    assert high == 1
    assert wilson_interval(sources, sources)[0] < low < wilson_interval(len(hits), len(hits))[0]
    hits[0] = False
    one_missed, _ = clustered_interval(hits, groups)
    assert one_missed < low + 0.02  # of two sources, hardly anything is known
    misses = clustered_interval(np.zeros(sources * clips, bool), groups)
    assert misses == pytest.approx((0, 1 - low))


def test_perfect_beside_nearly_perfect():
    """What a report had: 1.000 (0.806 to 1.000) beside 0.994 (0.981 to 1.000)."""
    groups = np.arange(160) % 16
    perfect, one_missed = (clustered_interval(np.arange(160) >= misses, groups) for misses in (0, 1))
    assert 0.88 < one_missed[0] < perfect[0] < 0.95


@pytest.mark.parametrize("sources", [(8, 10), (12, 6), (25, 4), (46, 6), "uneven"])
@pytest.mark.parametrize("likeness", [0.0, 0.1, 0.3, 0.6])
@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
def test_coverage(sources, likeness, share):
    """Hits of each source are drawn from a beta distribution: those of one are as alike as `likeness`."""
    rng = np.random.default_rng(0)
    clips = rng.integers(1, 20, 12) if sources == "uneven" else np.full(*sources)
    groups = np.repeat(np.arange(len(clips)), clips)
    more = (1 - likeness) / max(likeness, 1e-9)
    covered, widths = [], []
    for _ in range(250):
        chances = (
            rng.beta(share * more, (1 - share) * more, len(clips)) if likeness else np.full(len(clips), share)
        )
        low, high = clustered_interval(rng.random(len(groups)) < chances[groups], groups)
        covered.append(low <= share <= high)
        widths.append(high - low)
    assert np.mean(covered) >= 0.88  # 95 in 100, but for the noise of 250 draws and for few sources
    assert np.mean(widths) < 1.05 * np.subtract(*wilson_interval(share * len(clips), len(clips))[::-1])


@settings(max_examples=100, deadline=None)
@given(strategies.lists(strategies.tuples(strategies.booleans(), strategies.integers(0, 8)), min_size=1))
def test_whatever_the_clips(clips):
    hits, groups = np.array(clips).T
    low, high = clustered_interval(hits.astype(bool), groups)
    assert 0 <= low <= np.mean(hits) <= high <= 1
    assert high - low > 0


def test_refusals():
    with pytest.raises(ValueError, match="groups must be one per clip, got 3 and 2 clips"):
        clustered_interval(np.ones(2, bool), np.arange(3))
    with pytest.raises(ValueError, match="groups must be one per clip, got 0 and 0 clips"):
        clustered_interval(np.ones(0, bool), np.arange(0))
    for hits, clips in ((0, 0), (3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="hits must lie in 0 to clips"):
            wilson_interval(hits, clips)


def test_the_error_of_a_mean_is_that_of_its_sources():
    values = np.random.default_rng(0).normal(size=60)
    own = clustered_error(values, np.arange(60))
    assert own == pytest.approx(values.std(ddof=1) / np.sqrt(60))
    assert clustered_error(np.repeat(values, 5), np.repeat(np.arange(60), 5)) == pytest.approx(own)


def test_the_error_is_how_far_means_spread():
    rng = np.random.default_rng(0)
    means, errors = [], []
    for _ in range(300):
        groups = np.repeat(np.arange(30), rng.integers(1, 12, 30))  # of unlike size
        values = rng.normal(size=30)[groups] + rng.normal(size=len(groups))
        means.append(values.mean())
        errors.append(clustered_error(values, groups))
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.1)


@pytest.mark.parametrize(("count", "groups"), [(3, [0, 1]), (3, [0, 0, 0])])
def test_an_error_needs_sources(count, groups):
    with pytest.raises(ValueError, match="groups must be one per clip, and at least 2 sources, got"):
        clustered_error(np.ones(count), np.array(groups))
