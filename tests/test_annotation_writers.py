"""What is written for another tool is read back as it was, and has that tool's structure."""

import json
import warnings
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harkeras import Annotation, read_annotations
from harkeras.data import write_annotations
from harkeras.data.annotation_formats import list_readers, list_writers

SUFFIXES = {
    "csv": "csv",
    "kinetics": "csv",
    "vott": "json",
    "activitynet": "json",
    "label_studio": "json",
    "cvat": "xml",
    "boris": "boris",
    "elan": "eaf",
}
COARSE = {"cvat": 0.5 / 25, "label_studio": 0.5 / 25, "elan": 0.0005}  # half a frame, half a millisecond
WITH_PERSONS = ("csv", "boris", "elan")
ID = "abcdefghijk"


def write(annotations, path, **options):
    """Return the files and the lines about what could not be written."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        files = write_annotations(annotations, path, **options)
    return files, [line.strip() for item in caught for line in str(item.message).splitlines()[1:]]


LABELS = st.sampled_from(
    ["Falling", "turn left", "=a", "'b", "stürzen & <liegen>", "a;b,c\td".replace("\t", " ")]
)


@st.composite
def timelines(draw):
    """Ranges of two videos, one after the other in each, sometimes two labels at once."""
    annotations = []
    for video in (f"{ID}.mp4", "sub dir/recording#2.mp4"):
        borders = draw(st.lists(st.integers(0, 500_000), max_size=8, unique=True).map(sorted))
        for start, end in zip(borders[::2], borders[1::2], strict=False):
            for label in draw(st.lists(LABELS, min_size=1, max_size=2, unique=True)):
                person = draw(st.sampled_from(["", "Ann", "Bob 2"]))
                annotations.append(Annotation(video, start / 1000, (end + 200) / 1000, label, person))
    return annotations


def spread(annotations):
    """The same, without ranges that overlap, as long as they are."""
    ends, kept = {}, []
    for item in annotations:
        last = ends.get(item.video, ((-1, -1), -1))
        if item.start_seconds >= last[1] or item[1:3] == last[0]:
            kept.append(item)
            ends[item.video] = (item[1:3], item.end_seconds)
    return kept


@pytest.mark.parametrize("format", SUFFIXES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(timelines())
def test_what_is_written_is_read_back(tmp_path_factory, format, annotations):
    folder = tmp_path_factory.mktemp("round")
    annotations = spread([item._replace(video=folder / item.video) for item in annotations])
    if format == "kinetics":
        annotations = [item for item in annotations if item.video.stem == ID]
    if format == "activitynet":  # a video that is not there is known by its id alone
        annotations = [item._replace(video=folder / item.video.name) for item in annotations]
    if not annotations:
        return
    fps = 25 if format in ("cvat", "label_studio") else None
    files, lines = write(annotations, folder / f"labels.{SUFFIXES[format]}", format=format, fps=fps)
    assert all("the persons of" in line for line in lines)
    found = [item for file in files for item in read_annotations(file, fps=fps, strict=True)]

    def rows(items):
        return sorted((str(each.video), each.label, round(each.start_seconds, 2), each) for each in items)

    expected = annotations
    if format == "kinetics":
        expected = [
            item._replace(video=f"https://www.youtube.com/watch?v={item.video.stem}") for item in annotations
        ]
    assert len(found) == len(expected)
    for (*_, item), (*_, original) in zip(rows(found), rows(expected), strict=True):
        assert (str(item.video), item.label) == (str(original.video), original.label)
        assert item[1:3] == pytest.approx(original[1:3], abs=COARSE.get(format, 0) + 1e-9)
        assert item.person == (original.person if format in WITH_PERSONS else "")


def test_every_format_that_is_read_is_written_but_for_that_of_one_data_set():
    assert set(list_readers("dummy", None)) - {"gmdcsa"} == set(list_writers("dummy", None)) == set(SUFFIXES)


@pytest.fixture
def falls(make_video):
    video = make_video("a.mp4", range(50), fps=25)
    return [
        Annotation(video, 0.4, 1.2, "Falling", "Ann"),
        Annotation(video, 1.2, 2.0, "Lying", "Ann"),
        Annotation(video, 1.0, 1.6, "Walking", "Bob"),
    ]


class TestStructures:
    """What each tool asks of its files, as its own exports have it."""

    def test_vott(self, falls, tmp_path):
        (file,), lines = write(falls, tmp_path / "export.json", format="vott", end_tag="end")
        assert lines[0] == "the persons of 3 ranges, for which vott has no place"
        assert lines[1].endswith("Walking 1 to 1.6 s: overlaps a range that ends at 1.2 s")
        content = json.loads(file.read_text())
        assert [tag["name"] for tag in content["tags"]] == ["Falling", "Lying", "Walking", "end"]
        entries = list(content["assets"].values())
        assert [entry["asset"]["name"] for entry in entries] == ["a.mp4#t=0.4", "a.mp4#t=1.2", "a.mp4#t=2.0"]
        assert [entry["regions"][0]["tags"] for entry in entries] == [["Falling"], ["end", "Lying"], ["end"]]
        assert entries[0]["asset"]["parent"]["name"] == "a.mp4"
        assert len(read_annotations(file, end_tag="end", strict=True)) == 2
        _, lines = write([*falls, falls[0]._replace(label="end")], file, format="vott", end_tag="end")
        assert any("'end' is the tag that closes ranges" in line for line in lines)

    def test_label_studio(self, falls, tmp_path):
        (file,), _ = write(falls, tmp_path / "tasks.json", format="label_studio")
        (task,) = json.loads(file.read_text())
        assert task["data"] == {"video": "/data/local-files/?d=a.mp4", "fps": 25.0}
        first, *_ = task["annotations"][0]["result"]
        assert first["type"] == "timelinelabels"
        assert first["value"] == {"ranges": [{"start": 11, "end": 30}], "timelinelabels": ["Falling"]}

    def test_cvat(self, falls, tmp_path):
        (file,), _ = write(falls, tmp_path / "annotations.xml")
        root = ElementTree.parse(file).getroot()
        assert [root.tag, root.findtext("version"), root.findtext("meta/task/source")] == [
            "annotations",
            "1.1",
            "a.mp4",
        ]
        assert [root.findtext("meta/task/size"), root.findtext("meta/task/stop_frame")] == ["50", "49"]
        boxes = [[(box.get("frame"), box.get("outside")) for box in track] for track in root.iter("track")]
        assert boxes == [
            [("10", "0"), ("29", "0"), ("30", "1")],
            [("25", "0"), ("39", "0"), ("40", "1")],
            [("30", "0"), ("49", "0")],  # to the end
        ]
        assert [item[1:4] for item in read_annotations(file)] == [
            (pytest.approx(start), pytest.approx(end), label)
            for start, end, label in ((0.4, 1.2, "Falling"), (1, 1.6, "Walking"), (1.2, 2, "Lying"))
        ]

    def test_activitynet(self, falls, tmp_path):
        web = Annotation(f"https://www.youtube.com/watch?v={ID}", 1, 2, "Falling")
        (file,), _ = write([*falls, web], tmp_path / "net.json", format="activitynet")
        content = json.loads(file.read_text())
        assert set(content) == {"version", "taxonomy", "database"}
        entry = content["database"]["a"]
        assert entry["duration"] == pytest.approx(2)
        assert entry["annotations"][0] == {"segment": [0.4, 1.2], "label": "Falling"}
        assert content["database"][ID]["url"] == web.video
        assert [node["nodeName"] for node in content["taxonomy"]] == ["Root", "Falling", "Lying", "Walking"]

    def test_boris(self, falls, tmp_path):
        again = falls[0]._replace(start_seconds=1.0, end_seconds=1.5)
        (file,), lines = write([*falls, again], tmp_path / "project.boris")
        assert [line.partition("s: ")[2] for line in lines] == ["overlaps one that ends at 1.2 s"]
        content = json.loads(file.read_text())
        assert {item["code"] for item in content["behaviors_conf"].values()} == {
            "Falling",
            "Lying",
            "Walking",
        }
        assert {item["type"] for item in content["behaviors_conf"].values()} == {"State event"}
        assert {item["name"] for item in content["subjects_conf"].values()} == {"Ann", "Bob"}
        observation = content["observations"]["a.mp4"]
        assert observation["file"]["1"] == ["a.mp4"]
        assert observation["media_info"]["length"] == {"a.mp4": pytest.approx(2)}
        assert [event[:3] for event in observation["events"]][:2] == [
            [0.4, "Ann", "Falling"],
            [1.0, "Bob", "Walking"],
        ]

    def test_elan(self, falls, tmp_path):
        anna = [item._replace(person="Ann") for item in falls]
        (file,), _ = write([*falls, *anna], tmp_path / "session.eaf")
        root = ElementTree.parse(file).getroot()
        media = root.find("HEADER/MEDIA_DESCRIPTOR")
        assert [media.get("RELATIVE_MEDIA_URL"), media.get("MIME_TYPE")] == ["./a.mp4", "video/mp4"]
        slots = {slot.get("TIME_SLOT_ID"): int(slot.get("TIME_VALUE")) for slot in root.iter("TIME_SLOT")}
        tiers = {tier.get("TIER_ID"): tier for tier in root.iter("TIER")}
        assert len(tiers) == len(root.findall("TIER")) == 4
        assert {tier.get("PARTICIPANT") for tier in tiers.values()} == {"Ann", "Bob"}
        for tier in tiers.values():  # ELAN takes no two annotations at once on one tier
            times = [
                slots[item.get(f"TIME_SLOT_REF{end}")]
                for item in tier.iter("ALIGNABLE_ANNOTATION")
                for end in (1, 2)
            ]
            assert times == sorted(times)
        assert root.find("LINGUISTIC_TYPE").get("TIME_ALIGNABLE") == "true"


def test_cvat_and_elan_have_a_file_for_each_video(tmp_path):
    names = ["a.mp4", "a.avi", "sub/a.mp4"]
    ranges = [Annotation(tmp_path / name, 0, 1, "run") for name in names]
    files, _ = write(ranges, tmp_path / "labels.eaf")
    assert [file.name for file in files] == ["labels_a.eaf", "labels_a_2.eaf", "labels_sub_a.eaf"]
    assert [read_annotations(file)[0].video for file in files] == [tmp_path / name for name in names]
    _, lines = write([*ranges[:1], Annotation("https://x.org/b.mp4", 0, 1, "run")], tmp_path / "x.xml", fps=5)
    assert lines == ["https://x.org/b.mp4: run 0 to 1 s: CVAT names files, and no addresses"]


def test_ranges_that_a_format_cannot_hold_are_listed_and_the_others_written(tmp_path):
    good = Annotation(tmp_path / f"{ID}.mp4", 0, 1, "run")
    bad = {
        "it must start at 0 or later, and end later than that": good._replace(start_seconds=2),
        "label must hold a letter or digit, got '-'": good._replace(label="-"),
        "Kinetics names a video by its id on YouTube": good._replace(video="https://x.org/b.mp4"),
    }
    (file,), lines = write([*bad.values(), good], tmp_path / "a.csv", format="kinetics")
    assert [line.partition(" s: ")[2] for line in lines] == list(bad)
    assert len(read_annotations(file)) == 1
    for format in ("vott", "boris"):
        _, lines = write(
            [bad[max(bad, key=len)], good, Annotation("https://x.org/b.mp4", 0, 1, "a")],
            tmp_path / "b.json",
            format=format,
        )
        assert "no addresses" in lines[-1]
    _, lines = write(
        [good, good._replace(video=tmp_path / "none.mp4")], tmp_path / "c.json", format="activitynet"
    )
    assert not lines
    with pytest.raises(ValueError, match="known only with the video, which cannot be read, or with fps"):
        write_annotations([good], tmp_path / "d.json", format="label_studio")
    _, lines = write(
        [good, good._replace(video=f"https://youtu.be/{ID}")], tmp_path / "e.json", format="activitynet"
    )
    assert f"another video has the id {ID}" in lines[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "xml"}, "format must be one of activitynet, boris, csv, cvat, elan, kinetics, "),
        ({"path": "a.json"}, r"format must be one of .* got auto, with a file a\.json"),
        ({"fps": 0}, "fps must be positive, got 0"),
        ({"annotations": []}, "annotations must hold a range that can be written"),
        (
            {"annotations": [Annotation(name, 0, 1, "run") for name in ("/x/a.mp4", "/y/a.mp4")]},
            r"videos must have names of their own, and /x/a.mp4 and /y/a.mp4 would both be a\.mp4",
        ),
    ],
)
def test_refusals(tmp_path, options, message):
    settings = {"annotations": [Annotation("a.mp4", 0, 1, "run")], "path": "a.eaf", **options}
    annotations, path = settings.pop("annotations"), tmp_path / settings.pop("path")
    with pytest.raises(ValueError, match=message):
        write_annotations(annotations, path, **settings)
    assert not list(tmp_path.iterdir())


def test_videos_elsewhere_are_found_again(tmp_path):
    far = Annotation(tmp_path / "far" / "a.mp4", 0, 1, "run")
    (tmp_path / "near").mkdir()
    for name in ("a.csv", "a.boris", "a.eaf"):
        (file,), _ = write([far], tmp_path / "near" / name)
        expected = far.video if name == "a.csv" else tmp_path / "near" / "a.mp4"
        assert Path(read_annotations(file)[0].video) == expected
        (file,), _ = write([far], tmp_path / "near" / name, videos=tmp_path)
        assert Path(read_annotations(file, tmp_path)[0].video) == far.video
