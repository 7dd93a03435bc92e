"""The time that nobody labeled becomes a class of its own."""

import math
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harkeras import Annotation, create_dataset, cut_clips, read_annotations
from harkeras.data import read_groups
from harkeras.data.rest import _gaps, list_rest
from harkeras.video import VideoInfo


@pytest.fixture
def recording(make_video):
    """A video of 10 s, 10 frames per second."""
    return make_video("kitchen.mp4", range(100), fps=10)


def times(pieces):
    return [(piece.start_seconds, piece.end_seconds) for piece in pieces]


def test_pieces_lie_side_by_side_between_labeled_ranges(recording):
    annotations = [
        Annotation(recording, 4, 5, "Falling", "Ann"),
        Annotation(recording, 5, 5.8, "Lying", "Ann"),
    ]
    pieces = list_rest(annotations, "Nothing", clip_seconds=1.5)
    assert times(pieces) == [(0, 1.5), (1.5, 3), (6.3, 7.8), (7.8, 9.3)]
    assert {(piece.video, piece.label, piece.person) for piece in pieces} == {(recording, "Nothing", "Ann")}


def test_their_length_is_the_median_of_the_others_and_the_margin_can_be_chosen(recording):
    annotations = [Annotation(recording, 4, 4 + length, "Falling") for length in (1, 2, 1.2)]
    assert times(list_rest(annotations, "Nothing")) == [(0, 1.2), (1.2, 2.4), (6.5, 7.7), (7.7, 8.9)]
    pieces = list_rest(annotations, "Nothing", clip_seconds=2, margin_seconds=0)
    assert times(pieces) == [(0, 2), (2, 4), (6, 8), (8, 10)]


def test_ranges_that_cannot_be_cut_cover_their_time_too(recording):
    annotations = [Annotation(recording, 3, 1, "Falling"), Annotation(recording, 6, math.inf, "Falling")]
    assert times(list_rest(annotations, "Nothing", clip_seconds=1)) == [(3.5, 4.5), (4.5, 5.5)]


def test_a_video_that_is_not_there_gives_none(recording, tmp_path):
    annotations = [Annotation(tmp_path / "gone.mp4", 0, 1, "Falling"), Annotation(recording, 0, 8, "Falling")]
    assert times(list_rest(annotations, "Nothing", clip_seconds=1)) == [(8.5, 9.5)]
    assert list_rest([], "Nothing") == []


TIMES = st.lists(st.tuples(st.floats(-5, 40), st.floats(-5, 40)), min_size=1, max_size=8)


@given(TIMES, st.floats(0, 2), st.floats(0.1, 30))
def test_nothing_labeled_is_in_them_and_nothing_else_is_left_out(ranges, margin, duration):
    gaps = _gaps([Annotation("a.mp4", *pair, "Falling") for pair in ranges], duration, margin)
    for second in [*(duration * k / 50 for k in range(50)), *(end for _, end in gaps)]:
        labeled = any(min(pair) - margin < second < max(pair) + margin for pair in ranges)
        inside = any(start < second < end for start, end in gaps)
        assert not (inside and labeled)
        on_border = any(abs(second - border) < 1e-6 for gap in gaps for border in gap)
        assert (
            inside or labeled or on_border or any(abs(second - b) <= margin for pair in ranges for b in pair)
        )


def test_clips_of_the_rest_are_clips_like_others_and_a_second_run_cuts_none(recording, make_video, tmp_path):
    other = make_video("hall.mp4", range(60), fps=10)
    make_video("nobody_looked.mp4", range(60), fps=10)
    annotations = [Annotation(recording, 4, 6, "Falling"), Annotation(other, 0, 2, "Walking")]
    folder = tmp_path / "cut"
    clips = cut_clips(annotations, folder, rest="Nothing")
    names = [clip.name for clip in clips if clip.parent.name == "Nothing"]
    assert names == [
        "v_Nothing_g01_c01.mp4",  # 0 to 2 s of the kitchen
        "v_Nothing_g01_c02.mp4",  # 6.5 to 8.5 s
        "v_Nothing_g02_c01.mp4",  # 2.5 to 4.5 s of the hall
    ]
    assert [len(VideoInfo.read(clip).frame_seconds) for clip in clips] == [20] * 5
    before = [clip.stat().st_mtime_ns for clip in clips]
    clips[-1].unlink()
    assert cut_clips(annotations, folder, rest="Nothing") == clips
    assert [clip.stat().st_mtime_ns for clip in clips][:-1] == before[:-1]
    dataset = create_dataset(folder, frames=2, height=16, width=16)
    assert dataset.classes == ("Falling", "Nothing", "Walking")
    assert sorted(set(read_groups(dataset.video_paths))) == sorted(set(dataset.groups))
    assert "Nothing" in (folder / "clips.csv").read_text()


def test_the_person_of_a_rest_is_that_of_its_video(recording, make_video, tmp_path):
    shared = make_video("hall.mp4", range(60), fps=10)
    annotations = [Annotation(recording, 4, 6, "Falling", "Ann")]
    annotations += [
        Annotation(shared, 2 * k, 2 * k + 1, "Falling", name) for k, name in enumerate(("Ann", "Bo"))
    ]
    with pytest.warns(UserWarning, match="Nothing 3.5 to 4.5 s: several people were labeled in this video"):
        clips = cut_clips(annotations, tmp_path / "cut", group_by="person", rest="Nothing", rest_seconds=1)
    assert {clip.name[:13] for clip in clips if clip.parent.name == "Nothing"} == {"v_Nothing_g01"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"rest": "Falling"},
            "rest must be no label of the annotations, got 'Falling', and there is 'Falling'",
        ),
        (
            {"rest": "falling"},
            "rest must be no label of the annotations, got 'falling', and there is 'Falling'",
        ),
        ({"rest": "?"}, "label must hold a letter or digit"),
        ({"rest": "Nothing", "rest_seconds": 0}, "rest_seconds must be positive, got 0"),
        ({"rest": "Nothing", "rest_margin_seconds": -1}, "rest_margin_seconds must be a finite number of at"),
    ],
)
def test_what_cannot_be(recording, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        cut_clips([Annotation(recording, 4, 6, "Falling")], tmp_path / "cut", **options)
    assert not (tmp_path / "cut").exists()


@pytest.mark.real_data
def test_the_rest_of_real_falls_is_what_comes_before(real_data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two rows have no range
        annotations = read_annotations(real_data / "falls", format="gmdcsa")
    assert not list_rest(annotations, "Nothing", clip_seconds=2)  # daily life is labeled, all of it
    falls = [each for each in annotations if each.label == "Falling"]
    pieces = list_rest(falls, "Nothing", clip_seconds=2)
    assert pieces
    start_of = {each.video: each.start_seconds for each in falls}
    assert all(piece.end_seconds <= start_of[piece.video] - 0.5 for piece in pieces)
