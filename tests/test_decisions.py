import tracemalloc
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from harkeras.inference.decisions import UNSURE, Decider, Window

CLASSES = ("Fight", "NoFight", "Walk")


def decide(rows, classes=("a", "b", "c"), stride=0.1, **settings):
    """Feed rows of probabilities; all means against flicker are off unless given."""
    off = {"smoothing_seconds": 0, "hysteresis": 0, "min_seconds": 0, "threshold": 0}
    decider = Decider(classes, stride, **(off | settings))
    windows = [Window(i * stride, i * stride + 1, np.array(row, np.float32)) for i, row in enumerate(rows)]
    return note(decider, windows)


def note(decider, windows):
    """What a caller may note of each window, and what was shown."""
    history, shown = SimpleNamespace(labels=[], smoothed=[], seconds=[]), []
    for window in windows:
        shown.append(decider.update(window))
        history.labels.append(None)
        history.labels[decider.since :] = [decider.label] * (len(history.labels) - decider.since)
        history.smoothed.append(decider.smoothed)
        history.seconds.append(decider.middle_seconds)
    return history, shown


def sure(text, confidence=0.9):
    """Probabilities for letters: "aab" -> three rows that favour a, a and b."""
    rest = (1 - confidence) / 2
    return [[confidence if name == letter else rest for name in "abc"] for letter in text]


class TestDecider:
    def test_everything_off_is_arg_max(self):
        rows = np.random.default_rng(0).dirichlet([1, 1, 1], 200)
        decider, shown = decide(rows)
        assert shown == decider.labels == ["abc"[i] for i in rows.argmax(1)]
        np.testing.assert_allclose(decider.smoothed, rows, atol=1e-6)
        np.testing.assert_allclose(decider.seconds, 0.1 * np.arange(200) + 0.5)

    def test_smoothing_is_the_mean_of_the_last_windows(self):
        rows = np.random.default_rng(0).dirichlet([1, 1, 1], 20)
        decider, _ = decide(rows, smoothing_seconds=0.4)
        expected = [rows[max(i - 3, 0) : i + 1].mean(0) for i in range(20)]
        np.testing.assert_allclose(decider.smoothed, expected, atol=1e-6)
        assert decider.seconds[10] == pytest.approx((0.7 + 2.0) / 2)  # of windows 7 to 10

    def test_smoothing_shorter_than_the_stride_is_none(self):
        rows = np.random.default_rng(0).dirichlet([1, 1, 1], 20)
        decider, _ = decide(rows, smoothing_seconds=0.5, stride=2.0)
        np.testing.assert_allclose(decider.smoothed, rows, atol=1e-6)

    def test_hysteresis_keeps_a_label_until_another_leads_clearly(self):
        rows = [
            [a, b, 1 - a - b] for a, b in ((0.5, 0.45), (0.45, 0.5), (0.41, 0.5), (0.35, 0.55), (0.48, 0.5))
        ]
        assert decide(rows)[1] == list("abbbb")
        assert decide(rows, hysteresis=0.1)[1] == list("aaabb")

    def test_hysteresis_at_the_threshold(self):
        rows = [[p, (1 - p) / 2, (1 - p) / 2] for p in (0.4, 0.55, 0.45, 0.42, 0.38, 0.45, 0.52)]
        assert decide(rows, threshold=0.5)[1] == [UNSURE, "a", UNSURE, UNSURE, UNSURE, UNSURE, "a"]
        held = decide(rows, threshold=0.5, hysteresis=0.1)[1]
        assert held == [UNSURE, "a", "a", "a", UNSURE, UNSURE, "a"]

    def test_unsure(self):
        rows = [[0.34, 0.33, 0.33], [0.7, 0.2, 0.1], [0.5, 0.5, 0]]
        assert decide(rows, threshold=0.6)[1] == [UNSURE, "a", UNSURE]
        assert decide(rows, threshold=0.5)[1] == [UNSURE, "a", "a"]

    def test_new_label_waits_and_then_counts_from_its_beginning(self):
        decider, shown = decide(sure("aaaabbbbb"), min_seconds=0.3)
        assert shown == [UNSURE, UNSURE, *"aaaabbb"]
        assert decider.labels == list("aaaabbbbb")

    def test_a_first_guess_raises_no_alarm(self):
        decider, shown = decide(sure("abbbb"), min_seconds=0.3)
        assert shown == [UNSURE, UNSURE, UNSURE, "b", "b"]
        assert decider.labels == list("bbbbb")
        assert decide(sure("aabaaa"), min_seconds=0.3)[1] == [UNSURE, UNSURE, UNSURE, *"aaa"]

    @pytest.mark.parametrize(
        ("seen", "labels"),
        [
            ("aaabaaabbaaa", "aaaaaaaaaaaa"),  # too short
            ("aaabcbcbcbaaa", "aaaaaaaaaaaaa"),  # no rival lasts
            ("aaabbbaaa", "aaabbbaaa"),  # long enough
            ("aaabbb", "aaabbb"),
            ("aaabb", "aaaaa"),
            ("abbb", "bbbb"),  # the first guess must last, too
            ("abbccc", "aaaccc"),
            ("a", "a"),
        ],
    )
    def test_minimum_duration(self, seen, labels):
        assert "".join(decide(sure(seen), min_seconds=0.3)[0].labels) == labels

    def test_minimum_duration_holds_for_unsure(self):
        rows = sure("aaa") + [[0.4, 0.3, 0.3]] * 2 + sure("aaa") + [[0.4, 0.3, 0.3]] * 3
        labels = decide(rows, min_seconds=0.3, threshold=0.5)[0].labels
        assert labels == ["a"] * 8 + [UNSURE] * 3

    def test_a_label_that_is_lost_is_unsure_when_nothing_follows_for_long(self):
        decider, shown = decide(sure("aaabcbcbcbccc"), min_seconds=0.3, threshold=0.5)
        assert shown == [UNSURE, UNSURE, "a", "a", "a", *[UNSURE] * 7, "c"]
        assert decider.labels == ["a"] * 3 + [UNSURE] * 7 + ["c"] * 3
        short = decide(sure("aaabcbbb"), min_seconds=0.3, threshold=0.5)
        assert short[0].labels == list("aaabbbbb")  # "unsure" would have been too short
        assert short[1][3:] == ["a", "a", UNSURE, UNSURE, "b"]
        never = decide(sure("aaabcbcbcbccc"), min_seconds=0.3)[1]
        assert never == [UNSURE, UNSURE, *"aaaaaaaaaac"]

    def test_a_label_that_holds_by_hysteresis_is_not_lost(self):
        rows = sure("aaa") + [[0.45, 0.5, 0.05], [0.45, 0.05, 0.5]] * 5
        assert decide(rows, min_seconds=0.3, hysteresis=0.1, threshold=0.5)[1][2:] == ["a"] * 11

    @pytest.mark.parametrize("seed", range(5))
    def test_confidence_is_that_of_what_is_shown_and_not_low_for_long(self, seed):
        rows = np.random.default_rng(seed).dirichlet([0.3, 0.3, 0.3], 300)
        decider = Decider(("a", "b", "c"), 0.1, min_seconds=0.5, smoothing_seconds=0.3, threshold=0.5)
        low = 0
        for i, row in enumerate(rows):
            shown = decider.update(Window(0.1 * i, 0.1 * i + 1, row))
            smoothed = dict(zip("abc", decider.smoothed, strict=True))
            assert decider.confidence == pytest.approx(smoothed.get(shown, max(smoothed.values())))
            low = low + 1 if shown != UNSURE and decider.confidence < 0.4 else 0  # 0.5 less the hysteresis
            assert low < 5

    def test_minimum_duration_in_windows_is_rounded_up(self):
        assert decide(sure("aab"), min_seconds=0.3, stride=0.3)[1] == list("aab")
        assert decide(sure("aaabbb"), min_seconds=0.31, stride=0.3)[1] == [UNSURE, *"aaabb"]

    @pytest.mark.parametrize("seed", range(5))
    def test_no_flicker_on_noise(self, seed):
        rng = np.random.default_rng(seed)
        truth = np.repeat([0, 1, 0, 2], 60)
        rows = 0.35 * np.eye(3)[truth] + 0.65 * rng.dirichlet([1, 1, 1], len(truth))
        plain = decide(rows)[0].labels
        windows = [Window(i * 0.1, i * 0.1 + 1, row) for i, row in enumerate(rows)]
        labels = note(Decider(("a", "b", "c"), 0.1), windows)[0].labels
        changes = [sum(one != other for one, other in pairwise(each)) for each in (plain, labels)]
        assert changes[0] > 20
        assert changes[1] <= 6  # three, and where for a while nothing is probable
        assert np.mean(np.array(labels) == np.array(list("abc"))[truth]) > 0.85

    @pytest.mark.parametrize("seed", range(5))
    def test_every_label_lasts(self, seed):
        rows = np.random.default_rng(seed).dirichlet([0.7, 0.7, 0.7], 300)
        labels = decide(rows, min_seconds=0.4, threshold=0.5, hysteresis=0.1, smoothing_seconds=0.3)[0].labels
        changes = [i for i in range(1, 300) if labels[i] != labels[i - 1]]
        assert len(changes) > 3
        assert min(np.diff([0, *changes, 300])) >= 4

    @pytest.mark.parametrize("name", ["smoothing_seconds", "min_seconds"])
    @pytest.mark.parametrize("value", [-0.1, float("nan")])
    def test_negative_times(self, name, value):
        with pytest.raises(ValueError, match=f"{name} must be at least 0, got {value}"):
            Decider(CLASSES, 0.1, **{name: value})

    @pytest.mark.parametrize("name", ["hysteresis", "threshold"])
    @pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
    def test_shares_outside_0_to_1(self, name, value):
        with pytest.raises(ValueError, match=f"{name} must lie in 0 to 1, got {value}"):
            Decider(CLASSES, 0.1, **{name: value})

    @pytest.mark.parametrize("name", ["smoothing_seconds", "min_seconds"])
    @pytest.mark.parametrize("value", [float("inf"), 1e300, 3601])
    def test_endless_times(self, name, value):
        with pytest.raises(ValueError, match=f"{name} must be at most 3600, got"):
            Decider(CLASSES, 0.1, **{name: value})

    @pytest.mark.parametrize("stride", [0, -1, float("nan")])
    def test_stride_that_is_none(self, stride):
        with pytest.raises(ValueError, match=f"stride_seconds must be positive, got {stride}"):
            Decider(CLASSES, stride)

    @pytest.mark.parametrize("stride", [1e-300, 1e-9, float("inf")])
    def test_stride_without_end(self, stride):
        with pytest.raises(ValueError, match=r"stride_seconds must be finite and at least 0\.001"):
            Decider(CLASSES, stride)


class TestStreams:
    @pytest.mark.parametrize("settings", [{}, {"smoothing_seconds": 10, "min_seconds": 3600}])
    def test_memory_does_not_grow(self, settings):
        classes = tuple(map(str, range(40)))
        rows = np.random.default_rng(0).dirichlet(np.ones(40), 500).astype(np.float32)
        decider = Decider(classes, 0.1, **settings)

        def run(first, count):
            for i in range(first, first + count):
                decider.update(Window(0.1 * i, 0.1 * i + 1, rows[i % 500]))

        run(0, 1000)
        tracemalloc.start()
        try:
            run(1000, 1000)
            before = tracemalloc.get_traced_memory()[0]
            run(2000, 10_000)
            assert tracemalloc.get_traced_memory()[0] - before < 20_000
        finally:
            tracemalloc.stop()

    @pytest.mark.parametrize("seed", range(5))
    def test_no_label_is_overruled_further_back_than_it_led(self, seed):
        """A caller need keep no more than twice `min_seconds` of labels, for they cannot change any more."""
        rows = np.random.default_rng(seed).dirichlet([0.7, 0.7, 0.7], 300)
        decider = Decider(("a", "b", "c"), 0.1, min_seconds=0.4, smoothing_seconds=0.3)
        for i, row in enumerate(rows):
            before = decider.since
            decider.update(Window(0.1 * i, 0.1 * i + 1, row))
            assert decider.since == before or i - decider.since < 2 * 4

    @pytest.mark.parametrize("later", [3600, -3600, 1e9])
    def test_a_gap_or_a_clock_that_was_set_starts_anew(self, later):
        settings = {"min_seconds": 0.3, "smoothing_seconds": 0.3, "threshold": 0}
        decider = Decider(("a", "b", "c"), 0.1, **settings)
        before = [Window(0.1 * i, 0.1 * i + 1, np.array(row)) for i, row in enumerate(sure("aaaa"))]
        behind = [Window(later + 0.1 * i, 0, np.array(row)) for i, row in enumerate(sure("bbcc"))]
        history, shown = note(decider, before + behind)
        assert history.labels == list("aaaabbbb")
        assert shown == [UNSURE, UNSURE, "a", "a", UNSURE, UNSURE, "b", "b"]
        np.testing.assert_allclose(history.smoothed[4], behind[0].probabilities)

    @pytest.mark.parametrize("bad", [(np.nan, 1, 0.5), (0, np.inf, 0.5), (0, 1, np.nan)])
    def test_what_is_no_number_is_left_out(self, bad):
        decider = Decider(("a", "b"), 0.1)
        for i in range(10):
            decider.update(Window(0.1 * i, 0.1 * i + 1, np.array([0.9, 0.1])))
        smoothed = decider.smoothed
        with pytest.raises(ValueError, match="window must hold finite numbers, got Window"):
            decider.update(Window(*bad[:2], np.array([bad[2], 0.5])))
        assert decider.smoothed is smoothed
        assert decider.update(Window(1.0, 2.0, np.array([0.9, 0.1]))) == "a"


def test_windows_are_compared_whole():
    window = Window(0.0, 1.0, np.array([0.1, 0.9]))
    assert window == Window(0.0, 1.0, np.array([0.1, 0.9]))
    assert window != Window(0.0, 1.0, np.array([0.2, 0.8]))
    assert window != Window(0.5, 1.0, np.array([0.1, 0.9]))
    assert window != (0.0, 1.0)
