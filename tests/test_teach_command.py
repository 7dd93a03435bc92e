"""`harkeras teach`, as a user types it."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from harkeras import Project, VideoWriter, cli

TINY = {"backbone": "mobilenet_v2_0.35", "weights": None, "clip_seconds": 1.0}


@pytest.fixture
def teach(monkeypatch, capsys, tmp_path):
    """Run `harkeras teach ...` in this process; return its exit status and what it wrote."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["harkeras", "teach", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code or 0, *capsys.readouterr()

    return call


@pytest.fixture
def recordings(tmp_path):
    """Two videos, dark and then bright, six seconds each."""
    folder, rng = tmp_path / "recordings", np.random.default_rng(0)
    for name in ("a", "b"):
        with VideoWriter(folder / f"{name}.mp4", fps=8) as writer:
            for frame in range(48):
                writer.write((rng.integers(0, 50, (32, 48, 3)) + 150 * (frame >= 24)).astype(np.uint8))
    return folder


def test_from_a_new_project_to_a_model(teach, recordings):
    assert teach("new", "project", "--classes", "Dark,Bright")[0] == 0
    assert teach("new", "project")[2].startswith("error: folder must be no project yet")
    Project.create("tiny", ["Dark", "Bright"], **TINY)
    (recordings / "text.mp4").write_text("no video")
    status, out, _ = teach("add", "tiny", recordings)
    assert status == 0
    assert "recordings added: 2; there already: 0" in out
    assert f"cannot be read: {recordings / 'text.mp4'}" in out
    status, out, _ = teach("label", "tiny", "recordings/a.mp4", 0, 2, "dark")
    assert out.startswith("Dark 0 to 2 s of")
    status, out, _ = teach("label", "tiny", "recordings/a.mp4", 4, 5, "Bright", "--person", "Ann")
    assert out.endswith("a.mp4, Ann\n")
    assert teach("undo", "tiny")[1].startswith("label: Bright 4 to 5 s")
    status, out, _ = teach("suggest", "tiny", "--count", 3, "--sheet", "sheet.png")
    assert status == 0
    assert len(re.findall(r"^ +\d  new: recordings/[ab].mp4 ", out, re.MULTILINE)) == 3
    assert Path("sheet.png").read_bytes()[:4] == b"\x89PNG"
    assert "label is missing" in teach("answer", "tiny", 1)[2]
    for number in (1, 2):
        assert teach("answer", "tiny", number, "Bright")[1].startswith("Bright")
    assert teach("answer", "tiny", 3, "--reject")[1].startswith("rejected")
    assert re.match(r"reject: \d", teach("undo", "tiny")[1])
    assert "number must be one of 1 to 3 of the last suggestions, got 4" in teach("answer", "tiny", 4)[2]
    assert teach("rest", "tiny", "recordings/b.mp4", "--end-seconds", 1)[1].startswith("Nothing: ")
    status, out, err = teach("retrain", "tiny")
    assert (status, err) == (0, "")
    assert "the new model was taken over: tiny/models/model_0001.keras" in out
    status, out, _ = teach("status", "tiny", "--curve")
    assert "model: tiny/models/model_0001.keras" in out
    assert "2 recordings, 0.2 minutes, 0 of them held out" in out
    status, out, _ = teach("cut", "tiny", "clips")
    assert "clips in clips. Next: harkeras train clips" in out


def test_import_adds_recordings(teach, recordings, tmp_path):
    Project.create("tiny", **TINY)
    lines = [
        f"{name}.mp4,{start},{start + 3},{label}"
        for name in "abc"
        for start, label in ((0, "Dark"), (3, "Bright"))
    ]
    (tmp_path / "times.csv").write_text("\n".join(["video,start_seconds,end_seconds,label", *lines]))
    status, out, _ = teach("import", "tiny", "times.csv", "--videos", recordings)
    assert status == 0
    assert "4 of 6 ranges were taken over" in out
    assert out.count("left out: ") == 2
    assert Project("tiny").counts() == {"Dark": (2, 0), "Bright": (2, 0), "Nothing": (0, 0)}


@pytest.mark.filterwarnings("always")  # as outside of tests
def test_import_in_a_format_that_is_named(teach, recordings, tmp_path):
    Project.create("tiny", **TINY)
    (recordings / "tags.csv").write_text("image,label\na.mp4#t=0,Dark\na.mp4#t=2,end\n")
    call = ("import", "tiny", recordings / "tags.csv", "--format", "vott")
    _, out, err = teach(*call)
    assert "Dark is not closed by 'dummy'" in err
    assert "0 of 0 ranges were taken over" in out
    assert "1 of 1 ranges were taken over" in teach(*call, "--end-tag", "end")[1]
    assert teach(*call[:-1], "elan")[0] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("status", "none"), "no project in none: it has no project.json"),
        (("suggest", "tiny"), "the project has no recordings that can be read: add() some first"),
        (("suggest", "tiny", "--sheet", "sheet.jpg"), "sheet must end in .png, got sheet.jpg"),
        (("answer", "tiny", "1", "A", "--reject"), "number must be one of 1 to 0"),
        (("label", "tiny", "a.mp4", "0", "1", "A"), "video must be a recording of the project"),
        (("add", "tiny", "none/*.mp4"), "no video matches none/*.mp4"),
        (("add", "tiny", "clips", "--examples", "--held-out"), "mean nothing with --examples"),
        (("import", "tiny", "none.csv"), "no file of annotations at none.csv"),
        (("cut", "tiny", "clips"), "there is nothing to cut: label some ranges first"),
    ],
)
def test_bad_input_ends_in_one_line(teach, arguments, message):
    Project.create("tiny", **TINY)
    status, _, err = teach(*arguments)
    assert status == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
