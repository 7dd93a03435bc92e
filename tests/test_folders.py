"""What lies in a folder of clips, in the layouts that people have."""

import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from harkeras.data.folders import list_classes, list_videos, read_folder

CLASSES = ("Falling", "Running", "Walking")


def make(folder, *names):
    """Make files with a content of their own."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_what_was_taken_for_class_and_source(tmp_path):
    names = [f"{c}/v_{c}_g{g:02d}_c01.mp4" for c in CLASSES for g in (1, 2)]
    folder = read_folder(make(tmp_path, *names, "Falling/notes.txt", "Running/b.xyz", "labels.csv"))
    assert folder.classes == CLASSES
    assert folder.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert str(folder).splitlines() == [
        "classes, and their clips: Falling (2), Running (2), Walking (2)",
        'sources: 2 of 6 clips, the number after "_g" in the name, the same in every class',
        "passed over, being no videos: 1 .txt, 1 .xyz",
    ]
    part = folder[np.array([1, 4])]
    assert [path.name for path in part.video_paths] == ["v_Falling_g02_c01.mp4", "v_Walking_g01_c01.mp4"]
    assert part.sources.groups.tolist() == ["g02", "g01"]


def test_archives_unpacked_into_a_folder_of_their_name(tmp_path):
    folder = read_folder(make(tmp_path, *[f"{c}/{c}/{i}.avi" for c in CLASSES for i in range(4)]))
    assert folder.sources.alone == 12
    assert "sources: unknown, each of the 12 clips counts as one" in str(folder)


@pytest.mark.parametrize("parts", [("train", "val", "test"), ("Training", "Validation"), ("train", "test")])
def test_the_parts_of_a_split_are_no_classes(tmp_path, parts):
    make(tmp_path, *[f"{part}/{c}/1.mp4" for part in parts for c in CLASSES])
    with pytest.raises(ValueError, match=rf"the parts of a split: train on .*{parts[0]}, and .*--clips all"):
        read_folder(tmp_path)
    assert read_folder(tmp_path / parts[0]).classes == CLASSES
    assert read_folder(tmp_path, list(parts)).classes == parts  # whoever insists


def test_a_wrapper(tmp_path):
    make(tmp_path, *[f"My actions/{c}/1.mp4" for c in CLASSES])
    with pytest.raises(
        ValueError, match=r"got clips only in 'My actions', with Falling, Running, Walking inside: .*pass"
    ):
        read_folder(tmp_path)
    assert read_folder(tmp_path / "My actions").classes == CLASSES


@pytest.mark.parametrize(
    "parts",
    [("test_set", "train_set"), ("UCF_test1", "UCF_train1"), ("testing2", "TrainSet"), ("test", "trainval")],
)
def test_parts_with_names_of_their_own(tmp_path, parts):
    make(tmp_path, *[f"{part}/{c}/1.mp4" for part in parts for c in CLASSES], "docs/readme.txt")
    with pytest.raises(
        ValueError, match=rf"the parts of a split: train on .*{parts[1]}, and .* on {parts[0]}"
    ):
        read_folder(tmp_path)
    assert read_folder(tmp_path, list(parts)).classes == parts


@pytest.mark.parametrize(
    "parts",
    [
        ("test", "val"),
        ("fold1", "fold2", "fold3"),
        ("split_1", "split_2"),
        ("train1", "train2"),
        ("person_a", "person_b"),
        ("person1", "person2"),
        ("Subject 01", "Subject 02"),
        ("s01_cam1", "s02_cam1"),
    ],
)
def test_parts_and_persons_above_the_classes(tmp_path, parts):
    make(tmp_path, *[f"{part}/{c}/1.mp4" for part in parts for c in CLASSES], f"{parts[0]}/Sitting/1.mp4")
    with pytest.raises(
        ValueError, match=rf"with Falling, .* on top, as in .*Falling/{parts[0]}, or pass one"
    ):
        read_folder(tmp_path)
    assert read_folder(tmp_path / parts[1]).classes == CLASSES
    assert read_folder(tmp_path, list(parts)).classes == parts


@pytest.mark.parametrize(
    ("classes", "inside"),
    [
        (CLASSES, ("person1/", "person2/")),  # the layout to recommend
        (CLASSES, ("train/", "test/")),
        (("bus", "train"), ("day1/", "day2/")),
        (("test drive", "train ride"), ("Anna/", "Ben/")),
        (("person1", "person2"), ("camera1/", "camera2/")),  # who is it?
        (("part1", "part2"), ("",)),
        (("train", "training"), ("",)),
        (("set1", "set2"), ("a/",)),
    ],
)
def test_classes_that_could_be_taken_for_parts(tmp_path, classes, inside):
    make(tmp_path, *[f"{c}/{i}{k}.mp4" for c in classes for i in inside for k in range(2)])
    assert read_folder(tmp_path).classes == classes


def test_a_wrapper_in_a_wrapper(tmp_path):
    make(tmp_path, *[f"w/x/{c}/1.mp4" for c in CLASSES], "w/readme.txt")
    with pytest.raises(ValueError, match=r"got clips only in 'w/x', with Falling, .*pass .*w/x$"):
        read_folder(tmp_path)
    assert read_folder(tmp_path / "w" / "x").classes == CLASSES


def test_a_wrapper_beside_folders_without_clips(tmp_path):
    make(tmp_path, *[f"w/{c}/1.mp4" for c in CLASSES], "docs/readme.txt", "labels/train/a.csv")
    make(tmp_path, "_old/Falling/1.mp4", "intro.mp4")
    with pytest.raises(ValueError, match=r"only in 'w' \(none in docs, labels\), with Falling, .*pass .*w$"):
        read_folder(tmp_path)


def test_a_class_without_a_clip(tmp_path):
    make(tmp_path, "Falling/1.mp4", "Running/1.mp4", "Walking/readme.txt")
    with pytest.raises(ValueError, match=r"the class 'Walking' has no clip: .* but \.txt"):
        read_folder(tmp_path)
    shutil.rmtree(tmp_path / "Running")
    with pytest.raises(ValueError, match="the class 'Walking' has no clip"):
        read_folder(tmp_path)


def test_hidden_folders_hold_no_clips(tmp_path):
    hidden = (".ipynb_checkpoints", ".Trash-1000", "@eaDir", "__MACOSX", "$RECYCLE.BIN", "lost+found")
    make(tmp_path, *[f"{c}/{i}.mp4" for c in CLASSES for i in range(2)])
    make(
        tmp_path,
        *[f"Falling/{name}/1.mp4" for name in hidden],
        "Falling/.1.mp4",
        "Falling/a/@eaDir/1.mp4/x.mp4",
    )
    make(tmp_path, *[f"{name}/1.mp4" for name in hidden])
    assert list_classes(tmp_path) == list(CLASSES)
    assert [path.name for path in list_videos(tmp_path)[0]] == ["0.mp4", "1.mp4"] * 3


def test_suffixes_of_cameras_and_discs(tmp_path):
    suffixes = ("mp4", "MTS", "m2ts", "vob", "ogv", "asf", "mxf", "h264", "WEBM", "divx")
    make(tmp_path, *[f"A/{i}.{suffix}" for i, suffix in enumerate(suffixes)], "B/1.mp4")
    assert list_videos(tmp_path)[1].tolist() == [0] * 10 + [1]


def test_links_are_followed_and_loops_are_not(tmp_path):
    make(tmp_path / "disk", "Walking/1.mp4", "more/2.mp4")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "Walking").symlink_to(tmp_path / "disk" / "Walking")
    make(tmp_path / "data", "Falling/1.mp4")
    (tmp_path / "data" / "Falling" / "linked").symlink_to(tmp_path / "disk" / "more")
    (tmp_path / "data" / "Falling" / "loop").symlink_to(tmp_path / "data" / "Falling")
    paths, labels = list_videos(tmp_path / "data")
    assert [path.name for path in paths] == ["1.mp4", "2.mp4", "1.mp4"]
    assert labels.tolist() == [0, 0, 1]


def test_accents_are_one_sign_however_they_are_written(tmp_path):
    composed, apart = "Größe", unicodedata.normalize("NFD", "Größe")
    make(tmp_path, f"{apart}/1.mp4", "Walk/1.mp4")
    assert list_classes(tmp_path) == [composed, "Walk"]
    for name in (composed, apart):
        assert read_folder(tmp_path, [name, "Walk"]).labels.tolist() == [0, 1]
    make(tmp_path, f"{composed}/1.mp4")
    if len(list(tmp_path.iterdir())) == 3:  # where the file system tells them apart
        with pytest.raises(ValueError, match="two folders that both read 'Größe'"):
            list_classes(tmp_path)


def test_a_name_that_is_no_utf_8(tmp_path):
    make(tmp_path, "Walk/1.mp4")
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xb2\xe2\xca\xd4")).mkdir()
    except OSError as error:
        pytest.skip(f"the file system refuses such names: {error}")
    with pytest.raises(
        ValueError, match=r"names in UTF-8 without control characters, got b'\\xb2\\xe2\\xca\\xd4'.*rename it"
    ):
        read_folder(tmp_path)


def test_a_name_that_would_steer_the_terminal(tmp_path):
    make(tmp_path, "Walk/1.mp4", "\x1b[2J/1.mp4")
    with pytest.raises(ValueError, match=r"without control characters, got b'\\x1b\[2J'"):
        read_folder(tmp_path)


def test_copies_have_one_source(tmp_path):
    make(tmp_path, *[f"{c}/VID_{i}.mp4" for c in CLASSES for i in range(3)])
    for path in sorted(tmp_path.rglob("*.mp4")):
        shutil.copy(path, path.with_name(f"Copy of {path.name}"))
    folder = read_folder(tmp_path, copies=True)
    assert len(folder.video_paths) == 18
    assert len(set(folder.sources.groups.tolist())) == 9
    assert "9 of the clips are copies of others" in str(folder)


def test_many_classes_are_shortened(tmp_path):
    make(tmp_path, *[f"{i:03d}/1.mp4" for i in range(101)])
    assert "009 (1) and 91 more" in str(read_folder(tmp_path))


class TestPictures:
    def test_they_are_the_clips_where_there_is_no_video(self, tmp_path):
        names = [f"{c}/{i}.{suffix}" for c in CLASSES for i, suffix in enumerate(("jpg", "PNG"))]
        folder = read_folder(make(tmp_path, *names, "Falling/.hidden.jpg", "Falling/notes.txt"))
        assert folder.pictures
        assert [str(path.relative_to(tmp_path)) for path in folder.video_paths] == names
        assert folder.passed_over == {".txt": 1}

    def test_beside_videos_they_are_passed_over(self, tmp_path):
        names = [f"{c}/{i}.mp4" for c in CLASSES for i in range(2)]
        folder = read_folder(make(tmp_path, *names, "Falling/thumbnail.jpg"))
        assert not folder.pictures
        assert len(folder.video_paths) == 6

    def test_parts_of_a_split_are_no_classes(self, tmp_path):
        make(tmp_path, *[f"{part}/{c}/1.jpg" for part in ("train", "test") for c in CLASSES])
        with pytest.raises(ValueError, match="the parts of a split"):
            read_folder(tmp_path)

    def test_lists_name_those_of_stanford_40(self, tmp_path):
        for name in ("cooking", "riding_a_horse"):
            pictures = [f"{name}_{number:03d}.jpg" for number in (1, 2)]
            make(tmp_path, *[f"JPEGImages/{each}" for each in pictures])
            lists = make(tmp_path, *[f"ImageSplits/{name}_{side}.txt" for side in ("train", "test")])
            for side, each in zip(("train", "test"), pictures, strict=True):
                (lists / "ImageSplits" / f"{name}_{side}.txt").write_text(f"{each}\n")
        folder = read_folder(tmp_path, copies=True)
        assert folder.classes == ("cooking", "riding_a_horse")
        assert folder.labels.tolist() == [0, 0, 1, 1]
        assert folder.places(["Cook", "Ride"]) == [
            "Cook/cooking_001",
            "Cook/cooking_002",
            "Ride/riding_a_horse_001",
            "Ride/riding_a_horse_002",
        ]
        assert read_folder(tmp_path, ["riding_a_horse"]).labels.tolist() == [0, 0]
        with pytest.raises(FileNotFoundError, match="no folder for the class 'Cook'"):
            read_folder(tmp_path, ["Cook"])
