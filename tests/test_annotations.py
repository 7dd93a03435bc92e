"""Time ranges from files, and clips that hold exactly their frames."""

import csv
import http.server
import json
import shutil
import subprocess
import sys
import threading
import time
import warnings
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from harkeras import Annotation, cut_clips, iter_frames, list_videos, read_annotations
from harkeras.data import read_groups
from harkeras.video import VideoInfo
from harkeras.video.youtube import DownloadedVideo, DownloadError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def write(tmp_path):
    """Write a file of annotations and return its path."""

    def write_file(text, name="ranges.csv"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
        return path

    return write_file


@pytest.fixture
def indices(index_of):
    return lambda path: [index_of(frame.image) for frame in iter_frames(path)]


def ranges(annotations):
    return [(Path(item.video).name, *item[1:4]) for item in annotations]


def read_quietly(*arguments, **options):
    """Return the annotations and the lines of the one warning, without the headline."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        annotations = read_annotations(*arguments, **options)
    return annotations, [line.strip() for item in caught for line in str(item.message).splitlines()[1:]]


def cut_quietly(*arguments, **options):
    """Return the clips and the lines of the one warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clips = cut_clips(*arguments, **options)
    assert len(caught) <= 1
    return clips, [line.strip() for item in caught for line in str(item.message).splitlines()]


# Reading


def test_reads_a_plain_table(write, make_video):
    video = make_video("a.mp4", range(2))
    path = write(
        "\ufeffLabel, video ,start_seconds,end_seconds,person\n"
        'Falling,a.mp4,3.4,6,Ann\n,,,,\n"playing, cricket",https://x.org/b.mp4,0,1e1,\n'
    )
    first, second = read_annotations(path)
    folder = path.parent.name
    assert first == Annotation(video, 3.4, 6.0, "Falling", "Ann", f"{folder}/ranges.csv row 2")
    assert second == ("https://x.org/b.mp4", 0.0, 10.0, "playing, cricket", "", f"{folder}/ranges.csv row 4")


def test_finds_videos_below_the_folder(write, make_video, tmp_path):
    (tmp_path / "videos" / "one").mkdir(parents=True)
    (tmp_path / "videos" / "two").mkdir()
    for name in ("videos/one/a.mp4", "videos/one/b.mp4", "videos/two/b.mp4"):
        make_video(name, range(2))
    path = write(
        "video,start_seconds,end_seconds,label\na.mp4,0,1,x\nb.mp4,0,1,x\ntwo/b.mp4,0,1,x\nc.mp4,0,1,x\n"
    )
    found, problems = read_quietly(path, tmp_path / "videos")
    assert [item.video.relative_to(tmp_path / "videos").as_posix() for item in found] == [
        "one/a.mp4",
        "two/b.mp4",
        "c.mp4",
    ]
    assert len(problems) == 1
    assert "row 3: b.mp4 may be one of 2 videos" in problems[0]


def test_reports_rows_that_make_no_sense(write):
    path = write(
        "video,start_seconds,end_seconds,label\na.mp4,x,1,Falling\na.mp4,0,1,Falling\na.mp4,0,inf,Falling\n"
        "a.mp4,0,1, -\n,0,1,Falling\na.mp4,0\n"
    )
    found, problems = read_quietly(path)
    assert ranges(found) == [("a.mp4", 0, 1, "Falling")]
    for problem, row, reason in zip(
        problems,
        (2, 4, 5, 6, 7),
        (
            "start_seconds must be a number of seconds, got 'x'",
            "end_seconds must be a number of seconds, got 'inf'",
            "label must hold a letter or digit, got '-'",
            "the name of the video is empty",
            "end_seconds must be a number of seconds, got ''",
        ),
        strict=True,
    ):
        assert problem.endswith(f"ranges.csv row {row}: {reason}")
    with pytest.raises(ValueError, match="row 2: start_seconds must be"):
        read_annotations(path, strict=True)


def vott_asset(name, seconds, *tags):
    asset = {
        "name": f"{name}#t={seconds}",
        "type": 3,
        "timestamp": seconds,
        "parent": {"name": name, "type": 2},
    }
    return {"asset": asset, "regions": [{"type": "RECTANGLE", "tags": [tag]} for tag in tags]}


VOTT = [
    ("a.mp4", 2.0, "dummy"),
    ("a.mp4", 1.2, "falling"),
    ("a.mp4", 2.0, "walking"),  # one frame closes a range and opens the next
    ("a.mp4", 3.5, "dummy"),
    ("my%20b.mp4", 0.5, "running"),
    ("my%20b.mp4", 0.5, "falling"),  # two people
    ("my%20b.mp4", 0.9, "dummy"),
    ("a.mp4", 4.0, "dummy"),
    ("a.mp4", 5.0, "falling"),
    ("a.mp4", 5.5, "walking"),
]
VOTT_RANGES = {
    ("a.mp4", 1.2, 2.0, "falling"),
    ("a.mp4", 2.0, 3.5, "walking"),
    ("my b.mp4", 0.5, 0.9, "running"),
    ("my b.mp4", 0.5, 0.9, "falling"),
}


@pytest.mark.parametrize("suffix", ["json", "csv"])
@pytest.mark.parametrize("end_tag", ["dummy", "end"])
def test_reads_vott_exports(write, suffix, end_tag):
    marks = [(name, seconds, tag.replace("dummy", end_tag)) for name, seconds, tag in VOTT]
    if suffix == "json":
        frames = {}
        for name, seconds, tag in marks:
            frames.setdefault((name, seconds), []).append(tag)
        assets = {f"id{n}": vott_asset(*frame, *tags) for n, (frame, tags) in enumerate(frames.items())}
        assets["whole"] = {"asset": {"name": "a.mp4", "type": 2}, "regions": []}
        path = write({"name": "falls", "tags": [], "assets": assets}, "falls-export.json")
    else:
        rows = [f'"{name}#t={seconds}",1,2,30,40,"{tag}"' for name, seconds, tag in marks]
        path = write("\n".join(['"image","xmin","ymin","xmax","ymax","label"', *rows]), "falls-export.csv")
    found, problems = read_quietly(path, end_tag=end_tag)
    assert set(ranges(found)) == VOTT_RANGES
    assert len(problems) == 3
    assert problems[0].endswith(f"{end_tag!r} closes nothing")
    assert problems[1].endswith(f"falling is not closed by {end_tag!r} before 5.5 s")
    assert problems[2].endswith(f"walking is never closed by {end_tag!r}")
    assert ("row 9" if suffix == "csv" else "a.mp4#t=4.0") in problems[0]


def test_reports_what_is_no_frame_in_vott_exports(write):
    path = write(
        {
            "assets": {
                "image": {"asset": {"name": "photo.jpg"}, "regions": [{"tags": ["falling"]}]},
                "odd": {"regions": []},
                "1": vott_asset("a.mp4", 1, "falling"),
                "2": vott_asset("a.mp4", 2, "dummy"),
            }
        },
        "export.json",
    )
    found, problems = read_quietly(path)
    assert ranges(found) == [("a.mp4", 1, 2, "falling")]
    assert "'photo.jpg' is not a frame of a video" in problems[0]
    assert "odd: not an asset" in problems[1]


def test_reads_kinetics_and_prefers_files_that_are_there(write, make_video, tmp_path):
    (tmp_path / "videos").mkdir()
    video = make_video("videos/abcdefghij-.mp4", range(2))
    path = write(
        "label,youtube_id,time_start,time_end,split\nplaying cricket,abcdefghij-,1,11,train\n"
        "archery,--0edUL8zmA,0,10,train\narchery,#NAME?,0,10,train\n",
        "train.csv",
    )
    found, problems = read_quietly(path, tmp_path / "videos")
    assert found[0][:4] == (video, 1, 11, "playing cricket")
    assert found[1][:4] == ("https://www.youtube.com/watch?v=--0edUL8zmA", 0, 10, "archery")
    assert len(problems) == 1
    assert "row 4: youtube_id must be the 11 characters" in problems[0]


GMDCSA = """File Name,Length (seconds),Time of Recording,Attire,Description, Classes
01.mp4,06, Day, Full T-shirt, Falls, Falling (SW)[3.4 to 6]:; Sitting [ 0 to 3.4]
02.mp4,06,Day,Shirt,Falls, then lies, Fall (BW[5.9 to 10]; Walking[0 1.3]; \t
03.mp4,10,Day,Shirt,Stands, Sitting[9.2 to 10]; Standing[2.4 to 3.6; 6.6 to 7.9; Walking[3.6 to 5; 8 to 9.2]
04.mp4,10,Night,Shirt,Reads, Reading; Sitting[0.8 to 8.1]
05.mp4,10,Night,Shirt,Falls, Sitting[1 till 2]; Falling (FW)
06.mp4,10,Night,Shirt,Falls,[1 to 2]"""


def test_reads_the_tables_of_gmdcsa_with_their_quirks(write, tmp_path, monkeypatch):
    path = write(GMDCSA, "Subject 1/Fall.csv")
    found, problems = read_quietly(path)
    assert ranges(found) == [
        ("01.mp4", 3.4, 6, "Falling"),
        ("01.mp4", 0, 3.4, "Sitting"),
        ("02.mp4", 5.9, 10, "Falling"),
        ("02.mp4", 0, 1.3, "Walking"),
        ("03.mp4", 9.2, 10, "Sitting"),
        ("03.mp4", 2.4, 3.6, "Standing"),
        ("03.mp4", 6.6, 7.9, "Standing"),
        ("03.mp4", 3.6, 5, "Walking"),
        ("03.mp4", 8, 9.2, "Walking"),
        ("04.mp4", 0.8, 8.1, "Sitting"),
    ]
    assert problems == [
        "Subject 1/Fall.csv row 5: Reading has no range",
        "Subject 1/Fall.csv row 6: Sitting: '1 till 2' is not a range such as '3.4 to 6'",
        "Subject 1/Fall.csv row 6: Falling has no range",
        "Subject 1/Fall.csv row 7: the range '1 to 2' follows no label",
    ]
    assert {(item.video, item.person) for item in found[:2]} == {
        (tmp_path / "Subject 1" / "Fall" / "01.mp4", "Subject 1")
    }
    assert len(read_quietly(tmp_path)[0]) == 10
    monkeypatch.chdir(path.parent)
    assert read_quietly("Fall.csv")[0][0].video.resolve() == found[0].video


def test_refuses_files_that_are_no_annotations(write, tmp_path):
    with pytest.raises(FileNotFoundError, match="no file of annotations at"):
        read_annotations(tmp_path / "none.csv")
    with pytest.raises(FileNotFoundError, match=r"no Fall\.csv or ADL\.csv in"):
        read_annotations(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder of videos at"):
        read_annotations(write("video,start_seconds,end_seconds,label\n"), tmp_path / "none")
    with pytest.raises(
        ValueError, match=r"columns who, when are of no known table; read are a table with the "
    ):
        read_annotations(write("who,when\n"))
    with pytest.raises(ValueError, match=r"columns must be label, youtube_id, .* \(kinetics\); got label"):
        read_annotations(write("label\n"), format="kinetics")
    with pytest.raises(
        ValueError, match="format must be auto or one of activitynet, boris, csv, cvat, elan, gm"
    ):
        read_annotations(write("label\n"), format="xml")
    with pytest.raises(
        ValueError, match=r"old\.json: JSON with the keys frames is of no known tool; read are a"
    ):
        read_annotations(write({"frames": {}}, "old.json"))
    with pytest.raises(ValueError, match=r"broken\.json: Expecting"):
        read_annotations(write("{", "broken.json"))
    (tmp_path / "latin.csv").write_bytes("video,start_seconds,end_seconds,label\nä".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.csv is not text in UTF-8"):
        read_annotations(tmp_path / "latin.csv")


# Cutting


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 0.4, range(10)),
        (0.4, 1.2, range(10, 30)),  # on the times of frames
        (0.41, 1.21, range(11, 31)),  # between them: frames that appear in the range
        (2.36, 2.4, range(59, 60)),
        (1.333333, 1.36, range(34, 34)),
    ],
)
def test_cuts_are_exact_to_the_frame(make_video, tmp_path, indices, start, end, expected):
    video = make_video(gop=12, b_frames=2)
    clips, lines = cut_quietly([Annotation(video, start, end, "Falling")], tmp_path / "out")
    assert [indices(clip) for clip in clips] == ([list(expected)] if expected else [])
    if not expected:
        assert "no frame appears in it" in lines[1]


@pytest.mark.parametrize(
    "options",
    [
        {"name": "a.avi", "codec": "mpeg4", "b_frames": 2},
        {"name": "a.mkv", "gop": 250, "b_frames": 3},
        {"name": "a.mp4", "fps": "30000/1001"},
        {"name": "a.mp4", "rotation": 90},
    ],
)
def test_keeps_rate_and_size(make_video, tmp_path, indices, options):
    video = make_video(**options)
    info = VideoInfo.read(video)
    cuts = [
        (info.frame_seconds[first], info.frame_seconds[last]) for first, last in ((7, 19), (40, 50), (20, 25))
    ]
    clips = cut_clips([Annotation(video, *cut, "Falling") for cut in cuts], tmp_path / "out")
    assert [indices(clip) for clip in clips] == [
        list(range(7, 19)),
        list(range(40, 50)),
        list(range(20, 25)),
    ]
    for clip in clips:
        cut = VideoInfo.read(clip)
        assert (cut.fps, cut.height, cut.width) == (pytest.approx(info.fps), info.height, info.width)


def test_keeps_the_times_of_a_variable_rate(make_video, tmp_path, indices):
    video = make_video("vary.mp4", range(6), ticks=[0, 100, 300, 350, 800, 1000], time_base="1/1000")
    (clip,) = cut_clips([Annotation(video, 0.1, 0.9, "Falling")], tmp_path / "out")
    assert indices(clip) == [1, 2, 3, 4]
    assert VideoInfo.read(clip).frame_seconds == pytest.approx([0, 0.2, 0.25, 0.7], abs=0.005)


def test_names_follow_ucf_and_group_by_the_source(make_video, tmp_path, monkeypatch):
    first, second = make_video("a.mp4"), make_video("b.mp4")
    annotations = [
        Annotation(first, 0, 0.4, "playing (indoor) cricket"),
        Annotation(second, 0, 0.4, "person's_fall", "Ann"),
        Annotation(first, 0.4, 0.8, "playing (indoor) cricket"),
        Annotation(first, 0.8, 1, "person's_fall", "Ann"),
    ]
    clips = cut_clips(annotations, tmp_path / "out")
    assert [clip.relative_to(tmp_path / "out").as_posix() for clip in clips] == [
        "PlayingIndoorCricket/v_PlayingIndoorCricket_g01_c01.mp4",
        "PlayingIndoorCricket/v_PlayingIndoorCricket_g01_c02.mp4",
        "PersonsFall/v_PersonsFall_g01_c01.mp4",
        "PersonsFall/v_PersonsFall_g02_c01.mp4",
    ]
    videos, _ = list_videos(tmp_path / "out")
    assert read_groups(videos).tolist() == ["g01", "g02", "g01", "g01"]
    with pytest.raises(ValueError, match="group_by='person' needs every person, got none for"):
        cut_clips(annotations, tmp_path / "persons", group_by="person")
    clips = cut_clips([annotations[1], annotations[3]], tmp_path / "persons", group_by="person")
    assert [clip.name for clip in clips] == ["v_PersonsFall_g01_c01.mp4", "v_PersonsFall_g01_c02.mp4"]
    with pytest.raises(ValueError, match="group_by must be 'person' as for the clips in"):
        cut_clips(annotations, tmp_path / "persons")
    monkeypatch.chdir(tmp_path)
    under_another_name = annotations[1]._replace(video=Path("b.mp4"))
    (clip,) = cut_clips([under_another_name], "persons", group_by="person")
    assert clip.absolute() == clips[0]


def test_bad_ranges_are_reported_by_row_and_the_others_cut(write, make_video, tmp_path, indices):
    make_video("a.mp4")  # 2.4 s
    (tmp_path / "text.mp4").write_text("not a video")
    path = write(
        "video,start_seconds,end_seconds,label\n"
        "a.mp4,0,0.4,Walking\n"
        "a.mp4,1,0.4,Walking\n"
        "none.mp4,0,1,Walking\n"
        "text.mp4,0,1,Walking\n"
        "a.mp4,-1,1,Walking\n"
        "a.mp4,1,1,Walking\n"
        "a.mp4,2.5,3,Walking\n"
        "a.mp4,1,9,Walking\n"
        "a.mp4,0,0.4,Walking\n"
        "a.mp4,2.2,3,Falling\n"
        "a.mp4,2,2.41,Walking\n"
    )
    annotations = read_annotations(path)
    clips, lines = cut_quietly(annotations, tmp_path / "out")
    assert [indices(clip) for clip in clips] == [
        list(range(10)),
        list(range(55, 60)),
        list(range(50, 60)),
    ]
    lines = [line.replace(f"{tmp_path.name}/ranges.csv ", "").split(" (")[0] for line in lines]
    assert lines[0] == "8 of 11 ranges were left out:"
    assert set(lines[1:9]) == {
        "row 3, Walking 1 to 0.4 s: it is reversed",
        f"row 4: no video file at {tmp_path}/none.mp4",
        f"row 5: {tmp_path}/text.mp4: not a video that can be read, or cut off",
        "row 6, Walking -1 to 1 s: it starts before the video",
        "row 7, Walking 1 to 1 s: it is empty",
        "row 8, Walking 2.5 to 3 s: no frame appears in it; the video ends at 2.400 s",
        "row 9, Walking 1 to 9 s: it ends behind the video, which ends at 2.400 s",
        "row 10, Walking 0 to 0.4 s: it is the same as row 2, Walking 0 to 0.4 s",
    }
    assert lines[9:] == [
        "cut, but worth a look:",
        "row 11, Falling 2.2 to 3 s: cut short at 2.400 s, where the video ends",
        "row 12, Walking 2 to 2.41 s: it overlaps Falling 2.2 to 3 s of row 11",
    ]
    again, lines = cut_quietly(annotations, tmp_path / "out")
    assert again == clips
    assert lines[0] == "8 of 11 ranges were left out:"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"end_seconds": 0.1}, "reversed"),
        ({"video": "none.mp4"}, r"no video file at none\.mp4"),
        ({"end_seconds": 3.0}, "cut short"),
        ({"label": "-"}, "label must hold a letter or digit"),
        ({"start_seconds": float("nan")}, "it starts before the video"),
    ],
)
def test_strict_raises(make_video, tmp_path, changes, message):
    annotation = Annotation(make_video(), 0.5, 1.0, "Falling")._replace(**changes)
    with pytest.raises(ValueError, match=message):
        cut_clips([annotation], tmp_path / "out", strict=True)


def test_checks_its_options(tmp_path):
    with pytest.raises(ValueError, match="group_by must be 'video' or 'person', got 'city'"):
        cut_clips([], tmp_path, group_by="city")
    with pytest.raises(ValueError, match="tolerance_seconds must be at least 0, got -1"):
        cut_clips([], tmp_path, tolerance_seconds=-1)


def test_a_second_run_cuts_only_what_is_missing(make_video, tmp_path, indices):
    out, video = tmp_path / "out", make_video("a.mp4")
    annotations = [Annotation(video, second, second + 0.4, "Falling") for second in (0, 0.4, 0.8)]
    clips = cut_clips(annotations, out)
    times = [clip.stat().st_mtime_ns for clip in clips]
    clips[1].unlink()
    assert cut_clips(annotations, out) == clips
    assert [clip.stat().st_mtime_ns == time for clip, time in zip(clips, times, strict=True)] == [
        True,
        False,
        True,
    ]
    assert indices(clips[1]) == list(range(10, 20))
    # A corrected range is a new clip; the old one is reported. More videos get numbers of their own.
    annotations[0] = annotations[0]._replace(end_seconds=0.2)
    more, lines = cut_quietly([*annotations, Annotation(make_video("b.mp4"), 0, 1, "Falling")], out)
    names = [clip.stem.removeprefix("v_Falling_") for clip in more]
    assert names == ["g01_c04", "g01_c02", "g01_c03", "g02_c01"]
    assert lines[0] == "cut, but worth a look:"
    assert "v_Falling_g01_c01.mp4: its range in" in lines[1]
    # The index is a table of annotations.
    assert {item[:4] for item in read_annotations(out / "clips.csv")} >= {item[:4] for item in annotations}


def test_an_interrupted_run_leaves_no_broken_clip(make_video, tmp_path, monkeypatch, indices):
    out, video = tmp_path / "out", make_video("a.mp4")
    annotations = [Annotation(video, second, second + 0.4, "Falling") for second in (0, 0.4)]
    original, calls = cut_clips.__globals__["write_frames"], []

    def interrupted(path, frames, *arguments, **options):
        calls.append(path)
        if len(calls) == 2:
            frames = (frame if number < 3 else stop() for number, frame in enumerate(frames))
        return original(path, frames, *arguments, **options)

    def stop():
        raise KeyboardInterrupt

    monkeypatch.setitem(cut_clips.__globals__, "write_frames", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cut_clips(annotations, out)
    assert sorted(path.name for path in out.rglob("[!.]*.*")) == ["clips.csv", "v_Falling_g01_c01.mp4"]
    index = out / "clips.csv"
    index.write_text(index.read_text()[:-9])  # as if the machine had stopped while it was written
    clips = cut_clips(annotations, out)
    assert [indices(clip) for clip in clips] == [list(range(10)), list(range(10, 20))]
    assert len(list(csv.reader(index.open()))) == 3


def test_clips_of_others_are_left_alone(make_video, tmp_path):
    out, video = tmp_path / "out", make_video("a.mp4")
    theirs = out / "Falling" / "v_Falling_g07_c01.mp4"
    theirs.parent.mkdir(parents=True)
    shutil.copy(video, theirs)
    (clip,) = cut_clips([Annotation(video, 0, 1, "Falling")], out)
    assert clip.name == "v_Falling_g08_c01.mp4"
    assert theirs.read_bytes() == video.read_bytes()
    (out / "clips.csv").write_text("a,b\n")
    with pytest.raises(ValueError, match="is no list of clips that harkeras wrote"):
        cut_clips([Annotation(video, 0, 1, "Falling")], out)


def index_rows(out):
    return list(csv.DictReader((out / "clips.csv").open(newline="", encoding="utf-8")))


@pytest.mark.parametrize(
    "labels", [("turn (+)", "turn (-)"), ("Falling", "falling"), ("turn", "turn."), ("a b", "a_b")]
)
def test_labels_that_would_be_one_class_are_refused_before_anything_is_cut(make_video, tmp_path, labels):
    video, out = make_video("a.mp4"), tmp_path / "out"
    annotations = [Annotation(video, n, n + 0.4, label) for n, label in enumerate(labels)]
    with pytest.raises(ValueError, match=r"labels must differ .* would be one class") as caught:
        cut_clips(annotations, out)
    assert all(repr(label) in str(caught.value) for label in labels)
    assert not out.exists()
    cut_clips(annotations[:1], out)  # the same in two runs
    with pytest.raises(ValueError, match=r"labels must differ .* would be one class"):
        cut_clips(annotations[1:], out)


def test_two_spellings_of_a_letter_are_one_label(make_video, tmp_path):
    video = make_video("a.mp4")
    composed, apart = Annotation(video, 0, 0.4, "st\u00fcrzen"), Annotation(video, 1, 1.4, "stu\u0308rzen")
    clips = cut_clips([composed, apart], tmp_path / "out")
    assert [clip.parent.name for clip in clips] == ["St\u00fcrzen"] * 2
    assert cut_clips([apart, composed], tmp_path / "out") == clips[::-1]
    assert len(index_rows(tmp_path / "out")) == 2


def test_rows_that_nothing_can_be_made_of_cost_no_other(make_video, tmp_path):
    good = Annotation(make_video("a.mp4"), 0, 0.4, "Falling")
    bad = [
        good._replace(video="a\0.mp4"),
        good._replace(video="v" * 5000 + ".mp4"),
        good._replace(label="l" * 300),
        good._replace(label="fall\0ing"),
        good._replace(start_seconds=float("inf")),
        good._replace(end_seconds=float("inf")),
        good._replace(end_seconds=float("nan")),
        good._replace(start_seconds=1e308, end_seconds=1.1e308),
    ]
    clips, lines = cut_quietly([*bad, good], tmp_path / "out")
    assert [clip.name for clip in clips] == ["v_Falling_g01_c01.mp4"]
    assert lines[0] == "8 of 9 ranges were left out:"
    assert len(lines) == 9
    assert all(len(line) < 500 and line.isprintable() for line in lines)


def test_a_label_is_no_formula_in_the_index(make_video, tmp_path):
    video, label = make_video("a.mp4"), "=cmd|' /C calc'!A0"
    annotation = Annotation(video, 0, 0.4, label, "@me")
    (clip,) = cut_clips([annotation], tmp_path / "out", group_by="person")
    (row,) = index_rows(tmp_path / "out")
    assert row["label"] == "'" + label
    assert row["person"] == "'@me"
    assert cut_clips([annotation], tmp_path / "out", group_by="person") == [clip]
    assert len(index_rows(tmp_path / "out")) == 1
    (again,) = read_annotations(tmp_path / "out" / "clips.csv")
    assert again[:5] == annotation[:5]


CUT = """
import sys, warnings
from harkeras import Annotation, cut_clips
warnings.simplefilter("ignore")
out, videos, start, step = sys.argv[1], sys.argv[2].split(","), int(sys.argv[3]), int(sys.argv[4])
ranges = [(video, n) for n in range(6) for video in videos]
cut_clips([Annotation(video, 0.4 * n, 0.4 * n + 0.4, "Falling") for video, n in ranges][start::step], out)
"""


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("shared", [False, True], ids=["parts", "the same"])
def test_several_processes_cut_into_one_folder(make_video, tmp_path, indices, processes, shared):
    videos, out = [make_video(f"{name}.mp4") for name in "abc"], tmp_path / "out"
    names = ",".join(map(str, videos))
    parts = [(0, 1)] * processes if shared else [(number, processes) for number in range(processes)]
    command = [sys.executable, "-c", CUT, str(out), names]
    running = [subprocess.Popen([*command, str(start), str(step)], cwd=ROOT) for start, step in parts]
    assert [process.wait(120) for process in running] == [0] * processes
    rows = index_rows(out)
    assert len(rows) == len({row["clip"] for row in rows}) == 18
    assert len({(row["video"], row["start_seconds"]) for row in rows}) == 18
    group_of = {(row["video"], row["clip"].split("_")[2]) for row in rows}
    assert len(group_of) == len({group for _, group in group_of}) == 3
    assert sorted(path.name for path in (out / "Falling").iterdir()) == sorted(
        row["clip"].split("/")[1] for row in rows
    )
    for row in rows:
        first = round(float(row["start_seconds"]) * 25)
        assert indices(out / row["clip"]) == list(range(first, first + 10))


def test_a_process_that_is_killed_keeps_what_is_whole(make_video, tmp_path, indices):
    videos, out = [make_video(f"{name}.mp4") for name in "abc"], tmp_path / "out"
    command = [sys.executable, "-c", CUT, str(out), ",".join(map(str, videos)), "0", "1"]
    for count in (1, 5, 9):
        process = subprocess.Popen(command, cwd=ROOT)
        deadline = time.monotonic() + 60
        while len(list(out.glob("Falling/v_*.mp4"))) < count and time.monotonic() < deadline:
            time.sleep(0.002)
        process.kill()
        process.wait()
    clips = cut_clips(
        [Annotation(video, 0.4 * n, 0.4 * n + 0.4, "Falling") for n in range(6) for video in videos], out
    )
    assert len({clip.name for clip in clips}) == len(index_rows(out)) == 18
    for number, clip in enumerate(sorted(clips)):
        assert len(indices(clip)) == 10, (number, clip)


def test_ten_thousand_ranges_of_a_video(make_video, tmp_path, monkeypatch):
    """Their number was squared: 12 s before the first clip was cut, and 23 s to look for overlaps."""
    video = make_video("a.mp4")
    monkeypatch.setitem(cut_clips.__globals__, "_cut_video", lambda *_arguments: None)

    def seconds(count):
        annotations = [Annotation(video, n / 1e5, n / 1e5 + 1, "Falling") for n in range(count)]
        start = time.process_time()
        cut_clips(annotations, tmp_path / "out")
        return time.process_time() - start

    assert seconds(16_000) < 25 * min(seconds(2000) for _ in range(3))


@pytest.mark.parametrize(
    ("left", "reason"), [(3, "3 of 10 frames could be read"), (0, "no frame was written")]
)
def test_damaged_videos_are_reported(make_video, tmp_path, monkeypatch, indices, left, reason):
    class Damaged(cut_clips.__globals__["Source"]):
        def decode(self, ticks):
            yield from islice(super().decode(ticks), left)

    monkeypatch.setitem(cut_clips.__globals__, "Source", Damaged)
    clips, lines = cut_quietly([Annotation(make_video(), 0, 0.4, "Falling")], tmp_path / "out")
    assert [indices(clip) for clip in clips] == [[0, 1, 2]] * bool(left)
    assert reason in lines[1]
    assert len(list(csv.reader((tmp_path / "out" / "clips.csv").open()))) == 1 + len(clips)


def test_a_table_may_hold_urls(write, make_video, tmp_path, indices):
    (tmp_path / "site").mkdir()
    make_video("site/a.mp4")
    handler = partial(QuietHandler, directory=tmp_path / "site")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        rows = f"{url}/a.mp4,0.4,0.8,Falling\n{url}/none.mp4,0,1,Falling\n{url}/a.mp4,0,0.4,Falling\n"
        annotations = read_annotations(write("video,start_seconds,end_seconds,label\n" + rows))
        clips, lines = cut_quietly(annotations, tmp_path / "out", download_dir=tmp_path / "videos")
        server.shutdown()
    assert [indices(clip) for clip in clips] == [list(range(10, 20)), list(range(10))]
    assert "ranges.csv row 3: could not download" in lines[1]
    assert [path.name for path in (tmp_path / "videos").iterdir()] == ["a.mp4"]


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_videos_at_urls_are_downloaded_once(make_video, tmp_path, monkeypatch, indices):
    video, asked = make_video("a.mp4"), []

    def download(url, folder):
        asked.append((url, folder))
        if "none" in url:
            raise DownloadError(f"could not download {url}: removed")
        return DownloadedVideo(video, "title")

    monkeypatch.setitem(cut_clips.__globals__, "download_youtube_videos", download)
    url, gone = "https://www.youtube.com/watch?v=--0edUL8zmA", "https://x.org/none.mp4"
    annotations = [Annotation(url, 0, 1, "archery"), Annotation(gone, 0, 1, "archery", source="t.csv row 3")]
    annotations.append(Annotation(url, 1, 2, "archery"))
    clips, lines = cut_quietly(annotations, tmp_path / "out", download_dir="here")
    assert [indices(clip) for clip in clips] == [list(range(25)), list(range(25, 50))]
    assert lines == ["1 of 3 ranges were left out:", f"t.csv row 3: could not download {gone}: removed"]
    assert asked == [(url, "here"), (gone, "here")]
    assert cut_clips([annotations[0], annotations[2]], tmp_path / "out") == clips
    assert len(asked) == 2


# Real recordings


@pytest.fixture(scope="module")
def real_falls(real_data):
    """The ranges of the real falls whose videos are there."""
    found, problems = read_quietly(real_data / "falls")
    assert len(found) == 358
    assert problems == [
        "Subject 3/ADL.csv row 13: Reading has no range",
        "Subject 4/Fall.csv row 16: Falling has no range",
    ]
    found = [annotation for annotation in found if annotation.video.is_file()]
    assert len(found) == 48
    assert len({annotation.video for annotation in found}) == 23
    return found


@pytest.mark.real_data
@pytest.mark.parametrize("step", [6, pytest.param(1, marks=pytest.mark.slow)])
def test_real_falls_are_cut_exactly(real_falls, tmp_path, step):
    annotations = real_falls[::step]
    clips, lines = cut_quietly(annotations, tmp_path / "out", group_by="person")
    assert len(clips) == len(annotations)
    if step == 1:
        assert any("Falling 1.8 to 7 s: cut short at 6.073 s" in line for line in lines)
        assert not any("left out" in line for line in lines)
    with (tmp_path / "out" / "clips.csv").open() as file:
        rows = {row["clip"]: row for row in csv.DictReader(file)}
    persons = {row["person"]: clip.split("_g")[1][:2] for clip, row in rows.items()}
    assert len(set(persons.values())) == 4
    for clip in clips:
        row = rows[clip.relative_to(tmp_path / "out").as_posix()]
        assert f"_g{persons[row['person']]}_" in clip.name
        assert_same_frames(clip, row["video"], float(row["start_seconds"]), float(row["end_seconds"]))


def assert_same_frames(clip, video, start, end):
    truth = [frame for frame in iter_frames(video) if start <= frame.seconds + 1e-6 < end]
    frames = list(iter_frames(clip))
    assert len(frames) == len(truth) > 0
    assert VideoInfo.read(clip).fps == pytest.approx(VideoInfo.read(video).fps)
    true_seconds = [frame.seconds - truth[0].seconds for frame in truth]
    assert [frame.seconds for frame in frames] == pytest.approx(true_seconds, abs=1e-3)
    errors = [difference(*pair) for pair in zip(frames, truth, strict=True)]
    assert max(errors) < 4
    neighbours = [difference(*pair) for pair in zip(frames[1:], truth, strict=False)]
    assert np.mean(errors) < np.mean(neighbours)


def difference(frame, other):
    return np.abs(frame.image.astype(int) - other.image).mean()
