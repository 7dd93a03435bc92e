import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harkeras.video.frame_times import increasing_times, join_pieces, usual_period

PERIOD, LONGEST, STEP_BACK, SHORTEST = 40, 1000, 100, 1
LIMITS = (PERIOD, LONGEST, STEP_BACK)
anything = st.one_of(st.none(), st.integers(-(2**61), 2**61), st.integers(0, 5000))


@st.composite
def packet_orders(draw):
    """Places of frames in decoding order: behind a reference come up to three that are shown before it."""
    order, first = [0], 1
    for b_frames in draw(st.lists(st.integers(0, 3), max_size=12)):
        last = first + b_frames
        order += [last, *draw(st.permutations(range(first, last)))]
        first = last + 1
    return order


@st.composite
def pieces(draw):
    """Times of decoding of joined streams with pauses in them, and what they should become."""
    times, joined, start = [], [], 0
    for _ in range(draw(st.integers(1, 4))):
        steps = draw(
            st.lists(st.sampled_from([PERIOD, PERIOD, PERIOD, 400, LONGEST]), min_size=4, max_size=9)
        )
        # At its ends a piece is regular: there, a pause looks like a time that is wrong.
        piece = np.cumsum([0, PERIOD, *steps, PERIOD])
        if joined:
            jump = st.integers(-(10**9), -STEP_BACK - 1) | st.integers(LONGEST + 1, 10**9)
            begin, start = times[-1] + draw(jump), joined[-1] + PERIOD
        else:
            begin = start = draw(st.integers(-(10**6), 10**6))
        times += (begin + piece).tolist()
        joined += (start + piece).tolist()
    return times, joined


class TestJoinPieces:
    @given(pieces())
    def test_pieces_follow_each_other_and_pauses_stay(self, case):
        times, joined = case
        offsets, in_order = join_pieces(times, *LIMITS)
        assert [time + offset for time, offset in zip(times, offsets, strict=True)] == joined
        assert in_order == (times == joined)

    def test_a_stray_time_moves_no_other(self):
        times = [0, 40, 80, 50_000, 160, 200, -7, 280]
        offsets, in_order = join_pieces(times, *LIMITS)
        assert offsets == [0, 0, 0, None, 0, 0, None, 0]
        assert not in_order

    def test_a_short_step_back_starts_no_piece(self):
        assert join_pieces([0, 40, 80, 30, 70, 110], *LIMITS) == ([0] * 6, False)

    @given(st.lists(anything, max_size=40))
    def test_anything_is_bounded(self, times):
        offsets, _ = join_pieces(times, *LIMITS)
        known = [t + o for t, o in zip(times, offsets, strict=True) if t is not None and o is not None]
        if known:
            assert max(known) - known[0] <= LONGEST * len(known)
            assert min(known) - known[0] >= -STEP_BACK


class TestIncreasingTimes:
    def read(self, times):
        return increasing_times(times, PERIOD, LONGEST, SHORTEST).tolist()

    @given(st.lists(st.integers(1, LONGEST), max_size=40), st.integers(-(2**61), 2**60))
    def test_increasing_times_stay(self, steps, first):
        times = [first, *(first + int(step) for step in np.cumsum(steps))]
        assert self.read(times) == times

    @given(packet_orders())
    def test_times_of_decoding_are_put_in_the_order_of_frames(self, order):
        times = [PERIOD * place for place in order]
        assert self.read(times) == sorted(times)

    def test_packed_b_frames(self):
        assert self.read([40, 80, 160, 120, 200, 280, 240]) == [40, 80, 120, 160, 200, 240, 280]

    @given(packet_orders(), st.data())
    def test_missing_and_repeated_times_are_spread(self, order, data):
        times = [PERIOD * place for place in sorted(order)]
        known = list(times)
        # In order: a time that repeats one which then is missing would tell something wrong.
        for row in sorted(data.draw(st.sets(st.integers(1, len(times)), max_size=len(times) // 2))):
            if row < len(times):
                known[row] = data.draw(st.sampled_from([None, known[row - 1]]))
        assert self.read(known) == times

    def test_no_time_at_all(self):
        assert self.read([None] * 4) == [0, 40, 80, 120]
        assert self.read([None, None, 100, None]) == [20, 60, 100, 140]

    def test_more_frames_than_ticks(self):
        assert self.read([0, 0, 0, 1, 5]) == [0, 1, 2, 3, 5]

    @given(st.lists(anything, min_size=1, max_size=60), st.integers(1, PERIOD))
    def test_anything_increases_and_is_bounded_by_the_number_of_frames(self, times, shortest):
        ticks = increasing_times(times, PERIOD, LONGEST, shortest)
        assert ticks.dtype == np.int64
        assert len(ticks) == len(times)
        assert (np.diff(ticks) >= shortest).all()
        assert int(ticks[-1]) - int(ticks[0]) <= (LONGEST + shortest) * len(times)


@pytest.mark.parametrize(
    ("times", "period"),
    [([0, 40, 80, 10_000, 10_040], 40), ([], None), ([5], None), ([9, 5, None, 5], None), ([None, 0, 7], 7)],
)
def test_usual_period(times, period):
    assert usual_period(times, LONGEST) == period
