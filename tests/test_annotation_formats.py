"""Files of time ranges are known by their content; one bad row costs no other."""

import csv
import io
import json
import math
import unicodedata
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harkeras import Annotation, read_annotations
from harkeras.data._annotation_files import COLUMNS, AnnotationFile, find_format, to_label, to_seconds
from harkeras.data._clip_index import ClipIndex, class_of
from harkeras.data._video_folder import VideoFolder
from harkeras.video import VideoInfo


@pytest.fixture
def write(tmp_path):
    """Write a file of annotations and return its path."""

    def write_file(content, name="ranges.csv"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return write_file


def read(*arguments, **options):
    """Return (name of the video, start, end, label) of each range, and the lines about rows left out."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        annotations = read_annotations(*arguments, **options)
    lines = [line.strip() for item in caught for line in str(item.message).splitlines()[1:]]
    return [(Path(item.video).name, *item[1:4]) for item in annotations], lines


ACTIVITYNET = {
    "version": "VERSION 1.3",
    "taxonomy": [],
    "database": {
        "abcdefghijk": {
            "duration": 82.73,
            "subset": "training",
            "resolution": "1920x1080",
            "url": "https://www.youtube.com/watch?v=abcdefghijk",
            "annotations": [
                {"segment": [6.195, 77.269], "label": "Drinking coffee"},
                {"segment": ["x", 3], "label": "Drinking coffee"},
                {"label": "Drinking coffee"},
            ],
        },
        "lmnopqrstuv": {
            "url": "https://www.youtube.com/watch?v=lmnopqrstuv",
            "annotations": [{"segment": [0, 2], "label": "Polo"}],
        },
        "without": {"subset": "testing"},
    },
}


def label_studio(video, *results, **data):
    return {
        "id": 7,
        "data": {"video": video, **data},
        "annotations": [{"id": 1, "was_cancelled": False, "result": list(results)}],
        "predictions": [],
        "project": 1,
    }


def on_timeline(start, end, *labels):
    value = {"ranges": [{"start": start, "end": end}], "timelinelabels": list(labels)}
    return {"value": value, "id": "x", "from_name": "tl", "to_name": "video", "type": "timelinelabels"}


def on_sound(start, end, *labels):
    value = {"start": start, "end": end, "channel": 0, "labels": list(labels)}
    return {"original_length": 4.0, "value": value, "type": "labels", "to_name": "audio"}


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <task><id>1</id><name>falls</name><size>60</size><mode>interpolation</mode>
      <start_frame>{start}</start_frame><stop_frame>59</stop_frame><frame_filter>{step}</frame_filter>
      <source>{source}</source>
    </task>
  </meta>
  <track id="0" label="walking" source="manual">
    <box frame="0" outside="0" occluded="0" keyframe="1" xtl="1" ytl="1" xbr="9" ybr="9" z_order="0"></box>
    <box frame="5" outside="0" occluded="0" keyframe="0" xtl="1" ytl="1" xbr="9" ybr="9" z_order="0"></box>
    <box frame="10" outside="1" occluded="0" keyframe="1" xtl="1" ytl="1" xbr="9" ybr="9" z_order="0"></box>
    <box frame="15" outside="0" occluded="0" keyframe="1" xtl="1" ytl="1" xbr="9" ybr="9" z_order="0"></box>
    <box frame="19" outside="0" occluded="0" keyframe="1" xtl="1" ytl="1" xbr="9" ybr="9" z_order="0"></box>
  </track>
  <track id="1" label="-">
    <box frame="0" outside="0"></box>
  </track>
</annotations>
"""


def boris_event(seconds, label, subject="", modifiers=""):
    return [seconds, subject, label, modifiers, "", "NA"]


def boris_observation(events, *media, offset=0.0, **lengths):
    return {
        "file": {"1": list(media), "2": ["/home/me/other_camera.mp4"], "3": []},
        "type": "MEDIA",
        "date": "2016-12-01T23:01:31",
        "description": "",
        "time offset": offset,
        "events": events,
        "independent_variables": {"a": "12"},
        "close_behaviors_between_videos": False,
        "media_info": {"length": {f"{name}.mp4": length for name, length in lengths.items()}, "fps": {}},
    }


BORIS = {
    "time_format": "hh:mm:ss",
    "project_name": "test",
    "project_format_version": "7.0",
    "subjects_conf": {"0": {"key": "1", "name": "Ann", "description": ""}},
    "behaviors_conf": {
        "0": {"type": "State event", "key": "w", "code": "walk", "modifiers": ""},
        "1": {"type": "Point event", "key": "b", "code": "blink", "modifiers": ""},
    },
    "observations": {
        "one": boris_observation(
            [
                boris_event(11.5, "walk", "Ann", "slowly"),
                boris_event(12, "walk", "Ann", "quickly"),
                boris_event(12.5, "blink", "Ann"),
                boris_event(13, "walk", "Ann", "slowly"),
                boris_event(14, "walk", "Ann", "quickly"),
                boris_event(15, "walk"),
            ],
            "/home/me/videos/a.mp4",
            offset=10.0,
        ),
        "two": boris_observation(
            [boris_event(second, "walk") for second in (1, 2, 5, 6, 9, 12)],
            "a.mp4",
            "b.mp4",
            a=4.0,
            b=6.0,
        ),
        "live": {"file": [], "type": "LIVE", "events": [boris_event(1, "walk")]},
        "odd": {"file": {"1": ["a.mp4"]}, "events": [["x"], boris_event("soon", "walk")]},
        "none": 5,
    },
}
BORIS_WALK = [boris_event(1, "walk"), boris_event(2, "walk")]
BORIS_OLD = (
    "Observation id\tObservation date\tDescription\tMedia file\tTotal length\tFPS\tSubject\tBehavior\t"
    "Behavioral category\tModifiers\tBehavior type\tStart (s)\tStop (s)\tDuration (s)\tComment start\t"
    "Comment stop\n"
    "one\t2016-12-01 23:01:31\t\ta.mp4\t9.960\t25.0\tNo focal "
    "subject\twalk\t\t\tSTATE\t1.800\t8.125\t6.325\t\t\none\t2016-12-01 "
    "23:01:31\t\ta.mp4\t9.960\t25.0\tAnn\tblink\t\t\tPOINT\t2.825\t2.825\tNA\t\t\ntwo\t2016-12-01 "
    "23:01:31\t\ta.mp4\t9.960\t25.0\tAnn\twalk\t\t\tSTATE\t1.000\t2.000\t1.000\t\t\ntwo\t2016-12-01 "
    "23:01:31\t\tb.mp4\t9.960\t25.0\tAnn\twalk\t\t\tSTATE\t7.000\t8.000\t1.000\t\t\n"
)
BORIS_AGGREGATED = (
    "Observation id,Observation date,Description,Observation type,Source,Time offset (s),Coding duration,"
    "Media duration (s),FPS (frame/s),Subject,Observation duration by subject by observation,Behavior,"
    "Behavioral category,Modifier #1,Behavior type,Start (s),Stop (s),Duration (s),Media file name,"
    "Image index start,Image index stop,Image file path start,Image file path stop,Comment start,Comment "
    "stop\none,2024-01-01 10:00:00,,Media file,player #1:a.mp4;b.mp4|player "
    "#2:c.mp4,0.0,9.0,4.000;6.000|10.000,25.000;25.000|25.000,Ann,9.0,walk,Not "
    "defined,,STATE,5.000,6.500,1.500,b.mp4,125,162,NA,NA,,\n"
)
BORIS_TABULAR = (
    "Observation id,Observation date,Description,Observation duration,Observation type,Source,Time offset "
    "(s),Media duration (s),FPS,Subject,Behavior,Behavioral category,Modifier #1,Behavior type,Time,Media "
    "file name,Image index,Image file path,Comment\n"
    "one,2024-01-01 10:00:00,,9.0,Media file(s),player "
    "#1:a.mp4,1.0,10.000,25.000,Ann,walk,,,START,2.000,a.mp4,25,NA,\n"
    "one,2024-01-01 10:00:00,,9.0,Media file(s),player #1:a.mp4,1.0,10.000,25.000,No focal "
    "subject,walk,,,START,2.500,a.mp4,37,NA,\n"
    "one,2024-01-01 10:00:00,,9.0,Media file(s),player "
    "#1:a.mp4,1.0,10.000,25.000,Ann,walk,,,STOP,3.000,a.mp4,50,NA,\n"
    "one,2024-01-01 10:00:00,,9.0,Media file(s),player "
    "#1:a.mp4,1.0,10.000,25.000,Ann,blink,,,POINT,3.100,a.mp4,52,NA,\n"
)

ELAN = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2024-01-01T00:00:00+01:00" FORMAT="3.0" VERSION="3.0"
    xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
    xsi:noNamespaceSchemaLocation="http://www.mpi.nl/tools/elan/EAFv3.0.xsd">
    <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">
        <MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/me/sound.wav" MIME_TYPE="audio/x-wav"/>
        <MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/me/my%20videos/a.mp4"
            MIME_TYPE="video/mp4" TIME_ORIGIN="500"/>
        <PROPERTY NAME="lastUsedAnnotationId">5</PROPERTY>
    </HEADER>
    <TIME_ORDER>
        <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="1000"/>
        <TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="2500"/>
        <TIME_SLOT TIME_SLOT_ID="ts3"/>
        <TIME_SLOT TIME_SLOT_ID="ts4" TIME_VALUE="4000"/>
    </TIME_ORDER>
    <TIER LINGUISTIC_TYPE_REF="default-lt" PARTICIPANT="Ann" TIER_ID="Ann-actions">
        <ANNOTATION>
            <ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
                <ANNOTATION_VALUE>walk</ANNOTATION_VALUE>
            </ALIGNABLE_ANNOTATION>
        </ANNOTATION>
        <ANNOTATION>
            <ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts2" TIME_SLOT_REF2="ts3">
                <ANNOTATION_VALUE>walk</ANNOTATION_VALUE>
            </ALIGNABLE_ANNOTATION>
        </ANNOTATION>
    </TIER>
    <TIER LINGUISTIC_TYPE_REF="default-lt" TIER_ID="falling">
        <ANNOTATION>
            <ALIGNABLE_ANNOTATION ANNOTATION_ID="a3" TIME_SLOT_REF1="ts2" TIME_SLOT_REF2="ts4">
                <ANNOTATION_VALUE/>
            </ALIGNABLE_ANNOTATION>
        </ANNOTATION>
    </TIER>
    <TIER LINGUISTIC_TYPE_REF="gloss" PARENT_REF="Ann-actions" TIER_ID="gloss">
        <ANNOTATION>
            <REF_ANNOTATION ANNOTATION_ID="a4" ANNOTATION_REF="a1">
                <ANNOTATION_VALUE>to the door</ANNOTATION_VALUE>
            </REF_ANNOTATION>
        </ANNOTATION>
    </TIER>
    <LINGUISTIC_TYPE GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="default-lt" TIME_ALIGNABLE="true"/>
</ANNOTATION_DOCUMENT>
"""


class TestTables:
    def test_create_ml(self, write):
        rows = "a.mp4,run,0:01,0:02.5\nb.mp4,walk,1:00:02,1:00:03\na.mp4,run,0:61,2:00\n"
        ranges, lines = read(write("video,label,start,end\n" + rows))
        assert ranges == [("a.mp4", 1, 2.5, "run"), ("b.mp4", 3602, 3603, "walk")]
        assert lines[0].endswith("row 4: start_seconds must be a number of seconds, got '0:61'")

    def test_create_ml_in_json(self, write):
        entries = [
            {"file_name": "a.mp4", "label": "run", "start_time": 1, "end_time": 2.5},
            {"file_name": "a.mp4", "label": "run", "start_time": float("nan"), "end_time": 2.5},
            {"file_name": None, "label": "run", "start_time": 1, "end_time": 2.5},
            {"file_name": "a.mp4", "label": 7, "start_time": 1, "end_time": 2.5},
            "a.mp4",
        ]
        ranges, lines = read(write(entries, "annotations.json"))
        assert ranges == [("a.mp4", 1, 2.5, "run")]
        assert [line.partition("annotations.json ")[2] for line in lines] == [
            "row 2: start_seconds must be a number of seconds, got 'nan'",
            "row 3: the name of the video is empty",
            "row 4: label must hold a letter or digit, got ''",
            "row 5: no object",
        ]

    def test_kinetics_as_cvdf_ships_it(self, write, make_video, tmp_path):
        clip = make_video("abcdefghijk_000010_000020.mp4", range(50), fps=25)  # the video ended early
        rows = "run,abcdefghijk,10,20,train\nrun,abcdefghijk,30,40,train\n"
        path = write("label,youtube_id,time_start,time_end,split\n" + rows)
        for videos in (None, tmp_path):
            first, other = read_annotations(path, videos)
            assert first[:4] == (clip, 0, 2, "run")
            assert other[:4] == ("https://www.youtube.com/watch?v=abcdefghijk", 30, 40, "run")

    @pytest.mark.parametrize("delimiter", [";", "\t"])
    def test_what_spreadsheets_write_elsewhere(self, write, delimiter):
        header, row = (
            ["video", "start_seconds", "end_seconds", "label"],
            ["a,b.mp4", "1,5", "0:02,5", "run, fast"],
        )
        if delimiter == "\t":
            row[1:3] = ["1.5", "0:02.5"]
        text = "\n".join(delimiter.join(cells) for cells in (header, row))
        assert read(write(text)) == ([("a,b.mp4", 1.5, 2.5, "run, fast")], [])

    def test_a_row_that_is_hostile_or_damaged_costs_itself_alone(self, write):
        sound = "a.mp4,0,1,run\n"
        bad = {
            "a\0.mp4,0,1,run\n": "cannot be the name of a video",
            f"{'v' * 5000}.mp4,0,1,run\n": "cannot be the name of a video",
            f"{'v' * 300}.mp4,0,1,run\n": "cannot be the name of a video",
            f"a.mp4,0,1,{'l' * 300}\n": "label must have at most 200 bytes",
            f"a.mp4,0,1,{'走' * 80}\n": "label must have at most 200 bytes",
            "a.mp4,0,1,r\0un\n": "no control characters",
            "a.mp4,0,1,\x1b[2Jrun\n": "no control characters",
            "a.mp4,inf,1,run\n": "start_seconds must be a number of seconds, got 'inf'",
            "a.mp4,0,nan,run\n": "end_seconds must be a number of seconds, got 'nan'",
            "a.mp4,0,1e999,run\n": "end_seconds must be a number of seconds, got '1e999'",
            f"{'x' * 200_000},0,1,run\n": "field larger than field limit",
        }
        text = "video,start_seconds,end_seconds,label\n" + sound + "".join(row + sound for row in bad)
        ranges, lines = read(write(text))
        assert ranges == [("a.mp4", 0, 1, "run")] * (1 + len(bad))
        for number, (line, reason) in enumerate(zip(lines, bad.values(), strict=True)):
            assert f"row {3 + 2 * number}: " in line
            assert reason in line
            assert len(line) < 500
            assert line.isprintable()

    def test_labels_are_composed(self, write):
        label = "stürzen"
        rows = "".join(
            f"a.mp4,{n},{n + 1},{unicodedata.normalize(form, label)}\n"
            for n, form in enumerate(["NFC", "NFD"])
        )
        ranges, _ = read(write("video,start_seconds,end_seconds,label\n" + rows))
        assert {label for *_, label in ranges} == {label}


class TestExports:
    def test_activitynet(self, write, make_video):
        make_video("v_abcdefghijk.mp4", range(2))
        ranges, lines = read(write(ACTIVITYNET, "activity_net.json"))
        assert ranges == [
            ("v_abcdefghijk.mp4", 6.195, 77.269, "Drinking coffee"),
            ("watch?v=lmnopqrstuv", 0, 2, "Polo"),
        ]
        assert ["annotation 2" in lines[0], "annotation 3" in lines[1], "without" in lines[2]] == [True] * 3

    @pytest.mark.parametrize(
        "video",
        ["/data/upload/1/3d3ad63e-a.mp4", "/data/local-files/?d=clips/a.mp4", "s3://bucket/a.mp4", "a.mp4"],
    )
    def test_label_studio(self, write, make_video, video):
        make_video("a.mp4", range(50), fps=20)
        task = label_studio(
            video,
            on_timeline(1, 10, "walking"),
            on_timeline(11, 11, "falling", "lying"),
            on_sound(0.5, 1.25, "jump"),
        )
        ranges, lines = read(write([task], "export.json"))
        expected = [(0, 0.5, "walking"), (0.5, 0.55, "falling"), (0.5, 0.55, "lying"), (0.5, 1.25, "jump")]
        assert ranges == [
            ("a.mp4", *(pytest.approx(each) for each in item[:2]), item[2]) for item in expected
        ]
        assert not lines
        assert read(write([task], "export.json"), fps=10)[0][0][1:3] == (0, 1)
        task["data"]["fps"] = 5
        assert read(write([task], "export.json"), fps=10)[0][0][1:3] == (0, 2)

    def test_label_studio_without_the_video(self, write):
        tasks = [label_studio("none.mp4", on_timeline(1, 10, "a"), on_sound(0, 1, "b")), {"id": 8}, 5]
        ranges, lines = read(write(tasks, "export.json"))
        assert ranges == [("none.mp4", 0, 1, "b")]
        assert "the range is known only with the video (" in lines[0]
        assert ["task 8" in lines[1], "task ?" in lines[2]] == [True, True]
        cancelled = label_studio("none.mp4", on_sound(0, 1, "b"))
        cancelled["annotations"][0]["was_cancelled"] = True
        assert read(write([cancelled], "export.json")) == ([], [])

    def test_cvat(self, write, make_video):
        make_video("a.mp4", range(60), fps=25)
        ranges, lines = read(write(CVAT.format(start=0, step="", source="a.mp4"), "annotations.xml"))
        assert ranges == [("a.mp4", 0, 0.4, "walking"), ("a.mp4", 0.6, 0.8, "walking")]
        assert "track 1: label must hold a letter or digit, got '-'" in lines[0]
        # Where a task leaves out frames, numbers are still those of the video.
        ranges, _ = read(write(CVAT.format(start=0, step="step=5", source="a.mp4"), "annotations.xml"))
        assert ranges == [("a.mp4", 0, 0.4, "walking"), ("a.mp4", 0.6, 0.96, "walking")]
        assert read(write(CVAT.format(start=0, step="", source="x.mp4"), "annotations.xml"), fps=10)[0] == [
            ("x.mp4", 0, 1, "walking"),
            ("x.mp4", 1.5, 2, "walking"),
        ]

    def test_cvat_of_more_than_one_video(self, write):
        content = CVAT.format(start=0, step="", source="a.mp4").replace(
            "</task>", "</task><source>b.mp4</source>"
        )
        with pytest.raises(
            ValueError, match="must be of one video, and names 2; export each task of its own"
        ):
            read_annotations(write(content, "annotations.xml"))
        negative = CVAT.format(start=0, step="", source="a.mp4").replace('frame="0"', 'frame="-5"')
        assert "track 0" in read(write(negative, "annotations.xml"))[1][0]

    def test_cvat_of_a_rate_that_varies(self, write, make_video):
        video = make_video("a.mp4", range(20), ticks=[0, *range(100, 2000, 100)], time_base="1/1000")
        ranges, _ = read(write(CVAT.format(start=0, step="", source="a.mp4"), "annotations.xml"))
        seconds = VideoInfo.read(video).frame_seconds
        assert ranges[0][1:3] == (seconds[0], seconds[10])

    def test_a_project_of_boris(self, write):
        path = write(BORIS, "project.boris")
        ranges, lines = read(path)
        assert ranges == [
            ("a.mp4", 1.5, 3, "walk"),  # it began before the quick one
            ("a.mp4", 2, 4, "walk"),
            ("a.mp4", 1, 2, "walk"),
            ("b.mp4", 1, 2, "walk"),
        ]
        assert [line.removeprefix("project.boris ") for line in lines] == [
            "live: it was observed without a video",
            "odd event 1: not an event with its time, subject and behavior: not enough values to unpack "
            "(expected 4, got 1)",
            "odd event 2: not an event with its time, subject and behavior: time must be a number of "
            "seconds, got 'soon'",
            "none: not an observation of videos with its events",
            "one event 6: walk begins at 15 s and never ends",
            "one: blink: 1 point events, which have no duration",
            "two event 5: walk lies in no one of its videos alone",
        ]
        with pytest.warns(UserWarning, match="could not be read"):
            assert read_annotations(path)[0].person == "Ann"

    def test_tables_of_boris(self, write):
        ranges, lines = read(write(BORIS_OLD, "old.tsv"))
        assert ranges == [("a.mp4", 1.8, 8.125, "walk")]
        assert [line.removeprefix("old.tsv ") for line in lines] == [
            "one: blink: 1 point events, which have no duration",
            "two: times count through several videos; export the project instead",
        ]
        assert read(write(BORIS_AGGREGATED)) == ([("b.mp4", 1, 2.5, "walk")], [])
        ranges, lines = read(write(BORIS_TABULAR))
        assert ranges == [("a.mp4", 1, 2, "walk")]
        assert "walk begins at 2.5 s and never ends" in lines[0]

    def test_elan(self, write):
        path = write(ELAN, "session.eaf")
        ranges, lines = read(path)
        assert ranges == [("a.mp4", 1.5, 3, "walk"), ("a.mp4", 3, 4.5, "falling")]
        assert [line.removeprefix("session.eaf tier ") for line in lines] == [
            "Ann-actions a2: the time must be a number of seconds, got 'None'",
            "gloss: its annotations refer to others, and have no times",
        ]
        with pytest.warns(UserWarning, match="could not be read"):
            assert [item.person for item in read_annotations(path)] == ["Ann", ""]

    @pytest.mark.parametrize(
        "address",
        [
            "file:///C:/me/my%20videos/a.mp4",
            "C:\\me\\a.mp4",
            "/home/me/a.mp4",
            "./sub/a.mp4",
            "../sub/a.mp4",
            "sub/a.mp4",
            "a.mp4",
        ],
    )
    def test_a_video_is_found_wherever_it_lay_when_it_was_linked(self, make_video, tmp_path, address):
        make_video("a.mp4", range(2))
        assert VideoFolder(tmp_path, search=False).find_linked(address) == tmp_path / "a.mp4"
        (tmp_path / "sub").mkdir()
        near = make_video("sub/a.mp4", range(2))
        found = VideoFolder(tmp_path, search=False).find_linked(address)
        assert found == (near if "sub" in address else tmp_path / "a.mp4")

    def test_a_link_to_the_web_stays_and_one_to_nothing_is_refused(self, tmp_path):
        folder = VideoFolder(tmp_path, search=False)
        assert folder.find_linked("https://x.org/a.mp4") == "https://x.org/a.mp4"
        with pytest.raises(ValueError, match="the name of the video is empty"):
            folder.find_linked("file:///")

    @pytest.mark.parametrize(
        "name", ["../outside.mp4", "{tmp}/outside.mp4", "sub/../../outside.mp4", "..%2foutside.mp4"]
    )
    def test_what_a_tool_wrote_names_no_video_outside_its_folder(self, write, make_video, tmp_path, name):
        make_video("outside.mp4", range(5))
        (tmp_path / "project").mkdir()
        name = name.format(tmp=tmp_path)
        marks = {
            f"{second}": {"asset": {"name": f"{name}#t={second}"}, "regions": [{"tags": [tag]}]}
            for second, tag in ((0, "falling"), (1, "dummy"))
        }
        files = {
            "vott.json": {"assets": marks},
            "vott.csv": f"image,label\n{name}#t=0,falling\n{name}#t=1,dummy\n",
            "cvat.xml": CVAT.format(start=0, step="", source=name),
            "boris.boris": {**BORIS, "observations": {"one": boris_observation(BORIS_WALK, name)}},
            "elan.eaf": ELAN.replace("file:///C:/me/my%20videos/a.mp4", name),
            "activitynet.json": {"database": {name: {"annotations": [{"segment": [0, 1], "label": "a"}]}}},
        }
        for file, content in files.items():
            try:
                annotations, lines = [], []
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    annotations = read_annotations(write(content, f"project/{file}"))
                lines = [str(item.message) for item in caught]
            except ValueError as error:
                lines = [str(error)]
            assert not annotations or all(
                Path(item.video).resolve().is_relative_to(tmp_path / "project") for item in annotations
            )
            assert lines or name == "..%2foutside.mp4" or file == "boris.boris"
            if "%" not in name and file not in ("boris.boris", "elan.eaf"):  # they take the last part alone
                assert "outside" in lines[0]

    def test_content_decides_and_not_the_suffix(self, write, tmp_path):
        assert find_format(AnnotationFile(write(ACTIVITYNET, "a.txt")), "auto") == "activitynet"
        assert find_format(AnnotationFile(write(CVAT, "b.json")), "auto") == "cvat"
        assert find_format(AnnotationFile(write([label_studio("a.mp4")], "c.csv")), "auto") == "label_studio"
        assert find_format(AnnotationFile(write("image,label\n", "d.json")), "auto") == "vott"
        assert find_format(AnnotationFile(write({"assets": {}}, "e.csv")), "auto") == "vott"
        with pytest.raises(
            ValueError, match=r"a\.txt: it must be of the format 'vott', and looks like 'activ"
        ):
            read_annotations(tmp_path / "a.txt", format="vott")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (
                {"images": [], "annotations": [], "categories": []},
                "JSON with the keys images, annotations, ca",
            ),
            ([], "this list in JSON is of no known tool"),
            ([[1, 2]], "this list in JSON is of no known tool"),
            ("[" * 100_000, "it is nested too deeply|Expecting value"),
            ('{"assets": ', "Expecting value"),
            ("<kml/>", "XML that begins with <kml> is of no known tool"),
            ("<ANNOTATION_DOCUMENT/>", "it links no video; link it in ELAN"),
            (ELAN.replace("milliseconds", "PAL-frames"), "its times must be milliseconds"),
            ({"observations": {}}, "it is no project of BORIS with its behaviors"),
            (
                "Behavior,Behavior type,Media file name\n",
                r"the columns must have time, or start \(s\) and stop",
            ),
            ("<annotations><track", "it is no whole XML"),
            (
                "<annotations><image/></annotations>",
                "no tracks in it; export the task from CVAT as 'CVAT for video 1.1'",
            ),
            ("", "it is empty"),
            ("who;when\n", "the columns who, when are of no known table"),
        ],
    )
    def test_what_cannot_be_read_is_told_with_what_can(self, write, content, message):
        with pytest.raises(ValueError, match=rf"x\.dat: ({message})") as caught:
            read_annotations(write(content, "x.dat"))
        assert "no known" not in str(caught.value) or "CVAT for video 1.1 (XML)" in str(caught.value)

    def test_fps_must_be_positive(self, write):
        with pytest.raises(ValueError, match="fps must be positive, got 0"):
            read_annotations(write(CVAT, "a.xml"), fps=0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3.4", 3.4), (" 12 ", 12), ("0:02.5", 2.5), ("1:02:03", 3723), ("-1", -1), (7, 7), ("1e3", 1000)],
)
def test_times(text, seconds):
    assert to_seconds(text, "start") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "1:2:3:4", "0:60", ":5", "1:", "five", None, True, [], "inf", 10**400])
def test_what_is_no_time(text):
    with pytest.raises(ValueError, match="start must be a number of seconds, got"):
        to_seconds(text, "start")


CELLS = st.text(max_size=6) | st.sampled_from(
    [
        "a.mp4",
        "1:02.5",
        "3.4",
        "-1",
        "1e400",
        "nan",
        "Falling",
        "Fall (SW)[3.4 to 6; 7]",
        "abcdefghijk",
        "'=a",
    ]
)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | CELLS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(CELLS, inner, max_size=3),
    max_leaves=6,
)
VOTT = {
    "assets": {
        "x": {
            "asset": {"format": "mp4", "name": "a.mp4#t=1", "timestamp": 1.0, "parent": {"name": "a.mp4"}},
            "regions": [{"tags": ["Falling"]}],
        }
    }
}
EXPORTED = st.sampled_from(
    [
        VOTT,
        ACTIVITYNET,
        BORIS,
        [label_studio("/data/a.mp4", on_timeline(1, 5, "Falling"), on_sound(0.5, 1, "Walking"))],
        [{"video": "a.mp4", "start": 1, "end": 2.5, "label": "Falling"}],
    ]
)


def places(value, path=()):
    """The way to everything that is inside JSON."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, inner in items for place in places(inner, (*path, key)))]


def replaced(value, path, new):
    """A copy of JSON with something else in one place."""
    if not path:
        return new
    copied = value.copy()
    copied[path[0]] = replaced(value[path[0]], path[1:], new)
    return copied


class TestWhateverIsInAFile:
    """Rows are read, or told to be bad, or the file is refused by name; nothing else happens."""

    @pytest.fixture(scope="class")
    @classmethod
    def path(cls, tmp_path_factory):
        return tmp_path_factory.mktemp("any") / "ranges.dat"

    @staticmethod
    def read(path, content):
        path.write_bytes(content)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                annotations = read_annotations(path)
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017
        else:
            for each in annotations:
                assert math.isfinite(each.start_seconds)
                assert math.isfinite(each.end_seconds)
                assert to_label(each.label) == each.label

    @settings(max_examples=50, deadline=None)
    @given(
        columns=st.sampled_from([[names[0] for names in columns] for columns in COLUMNS.values()]),
        more=st.lists(CELLS, max_size=1),
        rows=st.lists(st.lists(CELLS, max_size=6), max_size=4),
        delimiter=st.sampled_from(",;\t"),
    )
    def test_tables(self, path, columns, more, rows, delimiter):
        text = io.StringIO()
        csv.writer(text, delimiter=delimiter).writerows([[*columns, *more], *rows])
        self.read(path, text.getvalue().encode())

    @settings(max_examples=50, deadline=None)
    @given(data=st.data(), exported=EXPORTED, new=ANY_JSON)
    def test_json(self, path, data, exported, new):
        place = data.draw(st.sampled_from(places(exported)))
        self.read(path, json.dumps(replaced(exported, place, new)).encode())

    def test_a_task_of_label_studio_without_a_video(self, path):
        self.read(path, json.dumps([label_studio(None, on_timeline(1, 5, "Falling"))]).encode())

    @settings(max_examples=50, deadline=None)
    @given(
        text=st.sampled_from([CVAT.format(source="a.mp4", start=0, step="step=2"), ELAN]),
        start=st.integers(0, 2500),
        length=st.integers(0, 40),
        new=CELLS,
    )
    def test_xml(self, path, text, start, length, new):
        self.read(path, (text[:start] + new + text[start + length :]).encode())

    @settings(max_examples=50, deadline=None)
    @given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
    def test_bytes(self, path, content):
        self.read(path, content)


LABELS = st.sampled_from(["Falling", "turn left", "turn right", "=a"])
RANGES = st.tuples(st.sampled_from("abc"), st.integers(0, 5), LABELS)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["cut", "forget", "restart", "tear"]), RANGES),
        max_size=25,
    )
)
def test_whatever_several_runs_do_no_clip_has_two_ranges(tmp_path_factory, steps):
    """Runs that write into one folder in any order, take rows back, begin again, or die while they write."""
    folder = tmp_path_factory.mktemp("out")
    runs, written = [ClipIndex(folder, "video") for _ in range(3)], {}
    for run, action, (video, start, label) in steps:
        annotation = Annotation(f"{video}.mp4", start, start + 1, label)
        if action == "cut":
            clip = runs[run].path(annotation)
            clip.parent.mkdir(exist_ok=True)
            clip.touch()
            assert written.setdefault(annotation, clip) == clip
        elif action == "forget" and annotation not in written:
            runs[run].path(annotation)
            runs[run].forget(annotation)
        elif action == "tear" and (folder / "clips.csv").exists():
            with (folder / "clips.csv").open("a") as file:
                file.write("Falling/v_Fal")
        elif action == "restart":
            runs[run] = ClipIndex(folder, "video")
    assert len(set(written.values())) == len(written)
    last = ClipIndex(folder, "video")
    assert all(last.path(annotation) == clip for annotation, clip in written.items())
    groups = {(Path(annotation.video).name, clip.name.split("_")[2]) for annotation, clip in written.items()}
    assert len(groups) == len({video for video, _ in groups}) == len({group for _, group in groups})


class TestClasses:
    @pytest.mark.parametrize(
        ("label", "name"),
        [
            ("playing cricket", "PlayingCricket"),
            ("person's_fall", "PersonsFall"),
            ("Stu\u0308rzen", "Stürzen"),
            ("गिरना", "गिरना"),  # the vowels are marks, which are no letters
            ("走る", "走る"),
            ("con", "Con_"),
            ("turn.", "Turn"),
            ("../../etc", "Etc"),
            ("=cmd|calc", "CmdCalc"),
            ("(-)", ""),
        ],
    )
    def test_spelling(self, label, name):
        assert class_of(label) == name

    @pytest.mark.parametrize(
        "labels",
        [
            ("turn (+)", "turn (-)"),
            ("Turn", "turn"),
            ("turn", "turn."),
            ("Strasse", "straße"),
            ("a b", "a_b"),
        ],
    )
    def test_collisions(self, tmp_path, labels):
        index = ClipIndex(tmp_path, "video")
        index.check(["run", labels[0], labels[0]])
        with pytest.raises(ValueError, match=r"labels must differ in .* would be one class"):
            index.check(["run", *labels])

    def test_collisions_of_two_runs_at_once(self, tmp_path):
        one, other = ClipIndex(tmp_path, "video"), ClipIndex(tmp_path, "video")
        one.path(Annotation("a.mp4", 0, 1, "turn (+)"))
        with pytest.raises(ValueError, match=r"'turn \(\+\)' and 'turn \(-\)' would be one class, Turn"):
            other.path(Annotation("a.mp4", 1, 2, "turn (-)"))
        assert other.path(Annotation("a.mp4", 1, 2, "turn (+)")).name == "v_Turn_g01_c02.mp4"

    def test_labels(self):
        assert to_label(" Stu\u0308rzen ") == "Stürzen"


def test_the_folder_is_looked_through_once_for_all_rows(write, tmp_path, monkeypatch):
    (tmp_path / "videos").mkdir()
    for number in range(20):
        (tmp_path / "videos" / f"{number}.mp4").touch()
    rows = "".join(f"sub/{number % 20}.mp4,{number},{number + 1},run\n" for number in range(200))
    path, looks = write("video,start_seconds,end_seconds,label\n" + rows), []
    for name in ("iterdir", "rglob", "glob"):
        plain = getattr(Path, name)
        monkeypatch.setattr(Path, name, lambda *args, plain=plain: looks.append(args) or plain(*args))
    found = read_annotations(path, tmp_path / "videos")
    assert [each.video.name for each in found[:3]] == ["0.mp4", "1.mp4", "2.mp4"]
    assert len(found) == 200
    assert len(looks) <= 2


def test_a_name_below_the_folder_may_be_any_videos_but_one(tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.mp4").touch()
    videos = VideoFolder(tmp_path, search=True)
    assert videos.find("x/a.mp4") == tmp_path / "x/a.mp4"
    with pytest.raises(ValueError, match=r"a\.mp4 may be one of 2 videos"):
        videos.find("a.mp4")
