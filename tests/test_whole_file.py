from itertools import groupby, pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from harkeras.inference._file_decisions import decide_file
from harkeras.inference._timeline import decide
from harkeras.inference.decisions import UNSURE, Decider, Window
from harkeras.inference.whole_file import decide_whole, find_best_path, score_labels, smooth
from harkeras.recipe import Recipe

STRIDE, CLIP = 0.1, 2.0
CAUSAL = {"stride_seconds": STRIDE, "smoothing_seconds": 0.5, "hysteresis": 0.1, "min_seconds": 0.5}
WHOLE = CAUSAL | {"smoothing_seconds": CLIP, "threshold": 0.5}
RECIPE = Recipe(classes=("a", "b", "c"), frames=20, height=8, width=8, clip_seconds=CLIP)


def windows_of(rows):
    return [Window(i * STRIDE, i * STRIDE + CLIP, np.array(row, np.float32)) for i, row in enumerate(rows)]


def seen(text):
    """Windows over a film in which each letter holds for a stride, that tell exactly what they hold."""
    held = np.array([[letter == name for name in "abc"] for letter in text], float)
    count = round(CLIP / STRIDE)
    return windows_of([held[i : i + count].mean(axis=0) for i in range(len(text) - count + 1)])


def best_by_trying(scores, switch_cost, min_length):
    """The largest sum of all sequences of labels, tried one by one."""
    best = -np.inf
    for path in product(range(scores.shape[1]), repeat=len(scores)):
        lengths = [len(list(run)) for _, run in groupby(path)]
        if min(lengths) >= min(min_length, len(scores)):
            gain = sum(row[label] for row, label in zip(scores, path, strict=True))
            best = max(best, gain - switch_cost * (len(lengths) - 1))
    return best


class TestBestPath:
    @hypothesis_settings(max_examples=60, deadline=None)
    @given(
        seed=st.integers(0, 2**32 - 1),
        count=st.integers(1, 7),
        switch_cost=st.sampled_from([0, 0.2, 1, 3]),
        min_length=st.integers(1, 9),
    )
    def test_is_the_best_of_all(self, seed, count, switch_cost, min_length):
        scores = np.random.default_rng(seed).random((count, 3))
        path = find_best_path(scores, switch_cost=switch_cost, min_length=min_length)
        lengths = [len(list(run)) for _, run in groupby(path)]
        assert min(lengths) >= min(min_length, count)
        gain = scores[np.arange(count), path].sum() - switch_cost * (len(lengths) - 1)
        assert gain == pytest.approx(best_by_trying(scores, switch_cost, min_length))

    def test_without_costs_it_is_arg_max(self):
        scores = np.random.default_rng(0).random((500, 4))
        assert np.array_equal(find_best_path(scores, switch_cost=0, min_length=1), scores.argmax(axis=1))


class TestSmoothing:
    def test_takes_in_the_windows_that_hold_a_moment(self):
        rows = np.random.default_rng(0).random((30, 3))
        middles = 1.0 + 0.1 * np.arange(30)
        smoothed = smooth(middles, rows, 2.0)
        assert smoothed[15] == pytest.approx(
            rows[6:25].mean(axis=0)
        )  # those from 0.9 s before to 0.9 s after
        assert smoothed[0] == pytest.approx(rows[:10].mean(axis=0))
        assert smooth(middles, rows, 0) == pytest.approx(rows)

    def test_not_over_a_gap(self):
        rows = np.random.default_rng(0).random((4, 3))
        smoothed = smooth(np.array([0, 0.1, 60, 60.1]), rows, 2.0)
        assert smoothed[1] == pytest.approx(rows[:2].mean(axis=0))


class TestScores:
    @hypothesis_settings(max_examples=60, deadline=None)
    @given(
        seed=st.integers(0, 2**32 - 1),
        threshold=st.sampled_from([0, 0.3, 0.5, 0.9]),
        tuned=st.dictionaries(st.sampled_from("abc"), st.floats(0.05, 1)),
    )
    def test_the_best_is_what_a_stream_would_name(self, seed, threshold, tuned):
        rows = np.random.default_rng(seed).dirichlet([0.7, 0.7, 0.7], 50)
        off = {"smoothing_seconds": 0, "hysteresis": 0, "min_seconds": 0, "threshold": threshold}
        decider = Decider(("a", "b", "c"), STRIDE, **off, thresholds=tuned)
        labels = [decider.update(window) for window in windows_of(rows)]
        scores = score_labels(rows, threshold, np.array([tuned.get(name, 0) for name in "abc"]))
        assert [("a", "b", "c", UNSURE)[i] for i in scores.argmax(axis=1)] == labels


class TestDecideWhole:
    def test_borders_are_where_the_label_changes(self):
        windows = seen("a" * 40 + "b" * 33 + "c" * 27)
        segments = decide_whole(windows, RECIPE, 10.0, **WHOLE).segments
        assert [segment.label for segment in segments] == ["a", "b", "c"]
        assert [segment.start_seconds for segment in segments] == pytest.approx([0, 4.0, 7.3], abs=0.051)

    def test_a_short_action_between_two_is_found_where_it_is(self):
        segments = decide_whole(seen("a" * 40 + "b" * 20 + "a" * 40), RECIPE, 10.0, **WHOLE).segments
        assert [segment.label for segment in segments] == ["a", "b", "a"]
        assert segments[1][:2] == pytest.approx((4.0, 6.0), abs=0.31)

    @pytest.mark.parametrize("seed", range(5))
    def test_fewer_errors_than_a_stream(self, seed):
        truth = "a" * 60 + "b" * 40 + "a" * 50 + "c" * 50
        noise = np.random.default_rng(seed).dirichlet([0.7, 0.7, 0.7], 200)
        windows = [
            window._replace(probabilities=0.25 * window.probabilities + 0.75 * row)
            for window, row in zip(seen(truth), noise, strict=False)
        ]

        def share_right(prediction):
            middles = 0.1 * np.arange(200) + 0.05
            return np.mean(
                [prediction.label_at(s).label == name for s, name in zip(middles, truth, strict=True)]
            )

        decider = Decider(("a", "b", "c"), **CAUSAL, threshold=0)
        whole = share_right(decide_whole(windows, RECIPE, 20.0, **WHOLE | {"threshold": 0}))
        assert whole > share_right(decide(decider, windows, 20.0))
        assert whole > 0.9

    def test_what_nothing_explains_is_unsure(self):
        rows = [[0.9, 0.05, 0.05]] * 30 + [[0.35, 0.35, 0.3]] * 30 + [[0.05, 0.9, 0.05]] * 30
        segments = decide_whole(windows_of(rows), RECIPE, 11.0, **WHOLE).segments
        assert [segment.label for segment in segments] == ["a", UNSURE, "b"]
        assert segments[1].confidence < 0.5
        segments = decide_whole(windows_of(rows), RECIPE, 11.0, **WHOLE | {"threshold": 0}).segments
        assert [segment.label for segment in segments] == ["a", "b"]

    def test_hysteresis_is_a_lead_over_a_window(self):
        """A label that comes for a second and goes changes twice: it must lead by four tenths then."""

        def labels(lead):
            rows = [[0.5 - lead / 2, 0.5 + lead / 2, 0]]
            rows = [[0.9, 0.1, 0]] * 30 + rows * 10 + [[0.9, 0.1, 0]] * 30
            settings = WHOLE | {"smoothing_seconds": 0, "threshold": 0}
            return [each.label for each in decide_whole(windows_of(rows), RECIPE, 9.0, **settings).segments]

        assert labels(0.38) == ["a"]
        assert labels(0.42) == ["a", "b", "a"]

    def test_a_label_lasts(self):
        rows = [[1, 0, 0]] * 20 + [[0, 1, 0]] * 2 + [[0, 0, 1]] * 20
        settings = WHOLE | {"smoothing_seconds": 0, "hysteresis": 0}
        for least, labels in ((0.2, ["a", "b", "c"]), (0.5, ["a", "c"])):
            prediction = decide_whole(windows_of(rows), RECIPE, 6.1, **settings | {"min_seconds": least})
            assert [segment.label for segment in prediction.segments if segment.label != UNSURE] == labels

    @hypothesis_settings(max_examples=120, deadline=None)
    @given(
        seed=st.integers(0, 2**32 - 1),
        gaps=st.lists(st.sampled_from([0, 0, 0, 0.01, 2, 700]), min_size=1, max_size=40),
        stride=st.floats(0.01, 3),
        clip_seconds=st.floats(0.01, 5),
        rest=st.sampled_from([0, 0.04, 100]),
        off=st.sets(st.sampled_from(["smoothing_seconds", "hysteresis", "min_seconds", "threshold"])),
        seconds=st.floats(0, 5),
        tuned=st.dictionaries(st.sampled_from("abc"), st.floats(0.05, 1)),
        causal=st.booleans(),
    )
    def test_whatever_the_windows(self, seed, gaps, stride, clip_seconds, rest, off, seconds, tuned, causal):
        """Segments begin and end with the video, follow one another, and are of another label than the last.

        That holds however they are decided, all together or one after the other.
        """
        starts = np.cumsum([stride + gap for gap in gaps]) - stride - gaps[0]
        rows = np.random.default_rng(seed).dirichlet([0.5, 0.5, 0.5], len(starts)).astype(np.float32)
        windows = [Window(start, start + clip_seconds, row) for start, row in zip(starts, rows, strict=True)]
        recipe = Recipe(
            classes=("a", "b", "c"), frames=4, height=8, width=8, clip_seconds=clip_seconds, thresholds=tuned
        )
        options = WHOLE | {"stride_seconds": stride, "smoothing_seconds": seconds, "min_seconds": seconds / 2}
        duration = windows[-1].end_seconds + rest
        options |= dict.fromkeys(off, 0)
        prediction = decide_file(windows, recipe, duration, causal=causal, **options)
        segments = prediction.segments
        assert np.array_equal(prediction.probabilities, rows)
        assert segments[0].start_seconds == 0
        assert segments[-1].end_seconds == duration
        for segment in segments:
            assert segment.start_seconds < segment.end_seconds
            assert segment.label in ("a", "b", "c", UNSURE)
            assert 0 <= segment.confidence <= 1 + 1e-6
        for one, other in pairwise(segments):
            assert one.end_seconds == other.start_seconds
            assert one.label != other.label
