"""The command line, as a user types it."""

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harkeras import cli, create_sample_video, list_models
from harkeras.video import VideoInfo

COMMANDS = (
    "demo",
    "train",
    "evaluate",
    "predict",
    "predict-many",
    "watch",
    "download",
    "cut",
    "convert-labels",
    "compare",
    "models",
    "teach",
    "serve",
)


@pytest.fixture
def run(monkeypatch, capsys):
    """Run `harkeras ...` in this process; return its exit status and what it wrote."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["harkeras", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code or 0, *capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def model(work, sample_dir):
    """A model trained by the command, in a process of its own."""
    command = [sys.executable, "-m", "harkeras", "train", sample_dir, "--model", "lrcn", "--epochs", "1"]
    command += ["--frames", "4"]
    result = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "accuracy" in result.stdout
    assert "trained on 12 clips of 3" in result.stdout
    assert "absl" not in result.stderr
    (path,) = (work / "saved_models").iterdir()
    assert f"harkeras predict VIDEO --model saved_models/{path.name}" in result.stdout
    return path


def test_help_of_every_command(run):
    status, out, _ = run("--help")
    assert status == 0
    for command in COMMANDS:
        assert f"  {command} " in out
        status, text, _ = run(command, "--help")
        assert status == 0
        assert "Usage: harkeras" in text


@pytest.mark.slow
def test_models_lists_what_each_costs(run):
    status, out, _ = run("models")
    assert status == 0
    lines = out.splitlines()
    assert max(map(len, lines)) <= 115
    assert [line.split()[0] for line in lines] == ["name", *list_models(), *list_models("images")]
    rows = {line.split()[0]: " ".join(line.split()) for line in lines}
    assert rows["convlstm"].startswith("convlstm 20x64x64x3 44,524 ")
    assert rows["lrcn"] == "lrcn 20x64x64x3 73,060 68.1 M Donahue et al., CVPR 2015 lrcn.py"
    assert rows["vgg16"].startswith("vgg16 224x224x3 134,276,932 15.5 G Simonyan & Zisserman, ICLR 2015")
    assert rows["c3d"] == "c3d 16x112x112x3 78,012,164 38.5 G Tran et al., ICCV 2015 c3d.py"


def test_evaluate_scores_the_held_out_clips(run, model, sample_dir):
    status, out, err = run("evaluate", model)
    assert status == 0, err
    report = (model / "report.txt").read_text()
    same = [line for line in out.strip().splitlines() if not line.startswith("one clip takes")]
    assert "\n".join(same[:-1]) in report
    assert same[-1] in report
    assert same[-1].startswith("split: by source video")
    status, out, _ = run("evaluate", model / "model.keras", sample_dir)
    assert status == 0
    assert "split: 4 of 16 clips of the folder; the model was not trained on them" in out


def test_predict_writes_video_and_timeline_with_the_newest_model(run, model, work, monkeypatch):
    monkeypatch.chdir(work)
    truth = create_sample_video("long.mp4", actions=("Walking", "Falling"))
    status, out, _ = run("predict", "long.mp4", "--output", "actions.mp4", "--timeline", "actions.csv")
    assert status == 0
    assert f"model: saved_models/{model.name}" in out
    info = VideoInfo.read("actions.mp4")
    assert info.codec == "h264"
    assert info.duration_seconds == pytest.approx(truth[-1].end_seconds)
    with (work / "actions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["end_seconds"]) == pytest.approx(truth[-1].end_seconds, abs=1e-3)
    assert all(row["label"] in out for row in rows)


@pytest.mark.filterwarnings("always")  # as outside of tests
def test_cut_counts_clips_and_lists_problems(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    segments = create_sample_video("long.mp4", actions=("Walking", "Falling"))
    rows = [["video", "start_seconds", "end_seconds", "label"], ["none.mp4", 0, 1, "Falling"]]
    rows += [["long.mp4", *segment] for segment in segments] + [["long.mp4", 1, 2, "Walking"]]
    with Path("ranges.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    status, out, err = run("cut", "ranges.csv", "clips")
    assert status == 0
    assert out.splitlines()[:2] == ["     1 Falling", "     2 Walking"]
    assert "3 clips in clips. Next: harkeras train clips" in out
    assert "warning: 1 of 4 ranges were left out:\n" in err
    assert "ranges.csv row 2: no video file at none.mp4" in err
    assert VideoInfo.read("clips/Falling/v_Falling_g01_c01.mp4").duration_seconds == pytest.approx(
        segments[1].end_seconds - segments[1].start_seconds
    )
    status, _, err = run("cut", "ranges.csv", "other", "--strict")
    assert status == 2
    assert "error: " in err
    status, _, err = run("cut", "ranges.csv", "nothing", "--videos", "clips")
    assert status == 2
    assert "error: no clip could be cut with ranges.csv" in err


@pytest.mark.filterwarnings("always")
def test_convert_labels_turns_one_tool_into_another(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = "video,start_seconds,end_seconds,label,person\na.mp4,0.5,1.5,Falling,Ann\na.mp4,1,-,Falling,Ann\n"
    Path("ranges.csv").write_text(rows)
    status, out, err = run("convert-labels", "ranges.csv", "project.boris")
    assert (status, out) == (0, "project.boris\n")
    assert "ranges.csv row 3: end_seconds must be a number of seconds, got '-'" in err
    status, out, err = run("convert-labels", "project.boris", "export.json", "--to", "vott")
    assert (status, out) == (0, "export.json\n")
    assert "the persons of 1 ranges, for which vott has no place" in err
    assert run("convert-labels", "export.json", "back.csv")[0] == 0
    assert Path("back.csv").read_text().splitlines()[1] == "a.mp4,0.5,1.5,Falling,"


def test_predict_single_names_one_action(run, model, sample_dir):
    clip = next(sample_dir.rglob("*.mp4"))
    status, out, _ = run("predict", clip, "--model", model, "--single")
    assert status == 0
    assert out.startswith("Action: ")
    assert "Confidence: 0." in out or "Confidence: 1." in out


def test_predict_lists_the_most_probable_classes(run, model, sample_dir, tmp_path):
    clip = next(sample_dir.rglob("*.mp4"))
    status, out, _ = run("predict", clip, "--model", model, "--single", "--top", 5)
    assert status == 0
    shares = re.search(r"Most probable: (\w+) (\d+)%, (\w+) (\d+)%\n", out)
    assert {shares[1], shares[3]} == {"SittingDown", "StandingUp"}
    assert int(shares[2]) + int(shares[4]) == pytest.approx(100, abs=1)
    table = tmp_path / "t.csv"
    status, out, _ = run("predict", clip, "--model", model, "--top", 1, "--table", table, "--threshold", 0)
    assert status == 0
    label, top = re.search(r"0\.00 s  to .* s  (\w+)  \d+%\n +(\w+) \d+%\n", out).groups()
    assert label == top
    assert table.read_text().splitlines()[1].split(",")[2] == label


def test_predict_of_a_folder_ends_in_one_table(run, model, sample_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, clip in enumerate(sorted(sample_dir.rglob("*.mp4"))[::8]):
        (tmp_path / "videos" / f"{number}").mkdir(parents=True)
        shutil.copy(clip, tmp_path / "videos" / f"{number}" / "clip.mp4")
    command = (
        "predict",
        "videos",
        "--model",
        model,
        "--output",
        "out",
        "--timeline",
        "out",
        "--table",
        "t.csv",
    )
    status, out, err = run(*command, "--caption", "bottom-right", "--top", 2)
    assert status == 0, err
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["video", "length", "action", "it", "holds", "confidence", "most", "probable"]
    assert [line[0] for line in lines[1:3]] == ["videos/0/clip.mp4", "videos/1/clip.mp4"]
    assert all(line[3] in ("SittingDown", "StandingUp", "unsure") for line in lines[1:3])
    assert sorted(path.relative_to("out").as_posix() for path in Path("out").rglob("*.*")) == [
        f"{number}/clip.{suffix}" for number in (0, 1) for suffix in ("csv", "mp4")
    ]
    Path("videos/bad.mp4").write_text("no video")
    status, out, err = run("predict", "videos/*", "none.mp4", "--model", model, "--single")
    assert status == 1
    assert re.search(r"^videos/bad\.mp4 +error: not a video", out, re.MULTILINE)
    assert re.search(r"^none\.mp4 +error: no video file at none\.mp4", out, re.MULTILINE)
    assert "2 of 4 videos could not be read or written" in err


def test_predict_keeps_what_is_done_before_ctrl_c(run, model, sample_dir, tmp_path, monkeypatch):
    clips = sorted(sample_dir.rglob("*.mp4"))[:3]
    from harkeras.inference import _video_tasks

    def predict(video, *arguments, **options):
        if str(video) == str(clips[1]):
            raise KeyboardInterrupt
        return single(video, *arguments, **options)

    single = _video_tasks.predict_single_action
    monkeypatch.setattr(_video_tasks, "predict_single_action", predict)
    table = tmp_path / "t.csv"
    status, out, err = run("predict", *clips, "--model", model, "--single", "--table", table)
    assert status == 130
    assert err.endswith("interrupted\n")
    assert str(clips[0]) in out
    assert str(clips[1]) not in out
    assert len(table.read_text().splitlines()) == 2


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """A `.keras` file without a recipe, of logits and open sizes."""
    import keras

    clip = keras.Input((None, 16, 16, 3))
    x = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling3D()(clip))
    path = tmp_path_factory.mktemp("foreign") / "theirs.keras"
    keras.Model(clip, x).save(path)
    return path


@pytest.mark.filterwarnings("always")
def test_predict_with_a_model_made_elsewhere(run, foreign, sample_dir, tmp_path):
    clip = next(sample_dir.rglob("*.mp4"))
    command = ("predict", clip, "--model", foreign, "--classes", 'Down,"Up, and away"')
    status, _, err = run(*command)
    assert status == 2
    assert "pass the sizes it was trained on as input_shape=(T, H, W, C)" in err
    command = (*command, "--input-shape", "4,16,16,3", "--interpolation", "bilinear", "--clip-seconds", 0.7)
    status, out, err = run(*command, "--timeline", tmp_path / "t.csv", "--threshold", 0)
    assert status == 0, err
    assert "warning: the model's outputs are no probabilities" in err
    assert "warning: the model has no recipe, and these options were not passed: normalize and" in err
    assert re.search(r"0.00 s  to .* s  (Down|Up, and away)  \d+%", out)
    status, out, err = run(*command, "--single", "--normalize", "--channel-order", "bgr")
    assert status == 0, err
    assert re.match(r"Action: (Down|Up, and away)\nConfidence: 0\.\d\d\n", out)
    status, _, err = run(*command[:6], "--input-shape", "4,16")
    assert "input_shape must be (T, H, W, C) that fits" in err
    status, _, err = run(*command[:6], "--input-shape", "4x16")
    assert "input_shape must be sizes separated by commas, such as 20,64,64,3, got '4x16'" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--smoothing-seconds", "inf"), "smoothing_seconds must be at most 3600, got inf"),
        (("--min-seconds", "inf"), "min_seconds must be at most 3600, got inf"),
        (("--stride-seconds", "1e-300"), "stride_seconds must be finite and at least 0.001"),
        (("--stride-seconds", "inf"), "stride_seconds must be finite and at least 0.001"),
        (("--clip-seconds", "1e-9"), "clip_seconds must be at least 0.001"),
        (("--clip-seconds", "nan"), "clip_seconds must be a positive number, got nan"),
        (("--hysteresis", "nan"), "hysteresis must lie in 0 to 1, got nan"),
        (("--single", "--stride-seconds", "1"), "--stride-seconds has no meaning here: --single names one"),
        (("--single", "--threshold", "0.5"), "--threshold has no meaning here"),
        (("--single", "--causal"), "--causal has no meaning here"),
        (("--output", "a.avi"), "path must end in .mp4"),
        (("--caption", "none"), "--caption has no meaning here: it is for the video that --output writes"),
        (("--single", "--caption", "none"), "--caption has no meaning here: --single names one"),
        (("--table", "t.txt"), "table must end in .csv, got t.txt"),
        (("--table", "t.csv", "--timeline", "t.csv"), "table must not replace t.csv"),
        (("--output", "t.csv", "--timeline", "t.csv"), "output must not replace t.csv"),
        (
            ("--model", "lrcn"),
            "lrcn is an architecture without weights; train it first, with 'harkeras train",
        ),
        (("--model", "vgg16"), "vgg16 is an architecture without weights"),
    ],
)
def test_predict_refuses_what_makes_no_sense(
    run, model, sample_dir, arguments, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    clip = next(sample_dir.rglob("*.mp4")).resolve()
    status, _, err = run("predict", clip, "--model", model, *arguments)
    assert status == 2
    assert message in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("video", "message"),
    [
        ("rtsp://camera/1", "got rtsp://camera/1, a stream: this version reads files"),
        ("http://127.0.0.1:9/live.m3u8", "got http://127.0.0.1:9/live.m3u8, a stream"),
        ("0", "got '0', a camera"),
        ("-", "got '-': this version does not read standard input"),
    ],
)
def test_predict_says_what_is_no_file(run, model, video, message):
    status, _, err = run("predict", video, "--model", model)
    assert status == 2
    assert f"error: video must be a file, {message}" in err


def test_version(run):
    status, out, _ = run("--version")
    assert status == 0
    assert re.fullmatch(r"harkeras \d+\.\d+\.\d+\n", out)


def test_bad_input_is_one_line_and_status_2(run, model, sample_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("not a video")
    clip = next(sample_dir.rglob("*.mp4"))
    for arguments, message in (
        (("train", "nowhere"), "no folder at nowhere"),
        (("train", "empty"), "must hold one folder of clips per class"),
        (("train", sample_dir, "--model", "c4d"), "name must be one of c3d, cnn_lstm"),
        (("train", sample_dir, "--classes", "StandingUp,Flying"), "no folder for the class 'Flying'"),
        (("train", sample_dir, "--model", "lrcn", "--height", "8"), "input_shape must be at least 64 x 64"),
        (("train", sample_dir, "--model", "lcrn"), "auto, got 'lcrn'; did you mean 'lrcn'?"),
        (
            ("train", sample_dir, "--model", "lrcn", "--option", "units=abc"),
            "option units of lrcn must be a value",
        ),
        (
            ("train", sample_dir, "--model", "lrcn", "--option", "filters=3"),
            "such as (16, 32, 64, 64), got 3",
        ),
        (
            ("train", sample_dir, "--model", "lrcn", "--option", "num_classes=3"),
            "options of lrcn must be among",
        ),
        (
            ("train", sample_dir, "--model", "lrcn", "--height", "1000000", "--width", "1000000"),
            "input_shape must have at most 1,073,741,824 numbers",
        ),
        (("train", sample_dir, "--model", "lrcn", "--frames", "0"), "frames must be at least 1, got 0"),
        (("train", sample_dir, "--flow-fields", "3"), "for auto, got 'rgb' and 3"),
        (("train", sample_dir, "--model", "lrcn", "--flow-fields", "3"), "flow_fields is for streams with"),
        (("train", sample_dir, "--model", "lrcn", "--flow-method", "tvl1"), "flow_method is for clips with"),
        (("train", sample_dir, "--classes", ""), "classes must be a list of names of folders, got []"),
        (
            ("train", sample_dir, "--model", "lrcn", "--split-dir", "x"),
            "split_dir is for the split 'official'",
        ),
        (
            ("compare", sample_dir, "--models", "auto", "--frames", "3"),
            "input_shape must be left out where 'auto' is the",
        ),
        (("train", sample_dir, "--learning-rate", "-1"), "learning_rate must be a finite number above 0"),
        (("train", sample_dir, "--epochs", "3"), "epochs must be left out with 'auto'"),
        (("train", sample_dir, "--model", "lrcn", "--prefer", "speed"), "units, dropout, got prefer"),
        (("train", sample_dir, "--group-by", "("), "group_by must be a regular expression"),
        (("train", sample_dir, "--output-dir", "text.mp4"), "text.mp4"),
        (("train", sample_dir, "--option", "width"), "option must be NAME=VALUE, got 'width'"),
        (
            ("train", sample_dir, "--model", "lrcn", "--option", "width=2"),
            "options of lrcn must be among filters",
        ),
        (("predict", clip, "--single", "--output", "a.mp4"), "it writes neither --output nor --timeline"),
        (("predict", clip), "no model in saved_models"),
        (("predict", clip, "--model", "none.keras"), "no model file at none.keras"),
        (("predict", "none.mp4", "--model", model), "no video file at none.mp4"),
        (("predict", "text.mp4", "--model", model), "text.mp4: not a video"),
        (("predict", clip, "--model", model, "--classes", "a,b,c"), "classes must name the model's"),
        (("predict", clip, "--model", model, "--timeline", "a.txt"), "timeline must end in .csv or .json"),
        (("evaluate", "text.mp4", sample_dir), "must be a .keras file"),
        (("cut", "none.csv", "out"), "no file of annotations at none.csv"),
        (("download", "http://127.0.0.1:9/none.mp4"), "could not download"),
    ):
        status, _, err = run(*arguments)
        lines = [line for line in err.splitlines() if line.startswith("error: ")]
        assert status == 2, arguments
        assert len(lines) == 1, err
        assert message in lines[0]
        assert "Traceback" not in err


def test_usage_errors_are_status_2(run):
    status, _, err = run("train")
    assert status == 2
    assert "Traceback" not in err


@pytest.mark.slow
def test_compare(run, sample_dir, tmp_path, eager):
    models = "lrcn:filters=(2, 2, 2, 2):units=4,single_frame:width_multiplier=0.05"
    command = ("compare", sample_dir, "--models", models)
    options = ("--frames", 4, "--folds", 2, "--epochs", 1, "--output", tmp_path / "out")
    status, out, err = run(*command, *options)
    assert status == 0, err
    assert "| lrcn(filters=(2, 2, 2, 2), units=4) | group | 0." in out
    assert "| single_frame(width_multiplier=0.05) | group | 0." in out
    assert all((tmp_path / "out" / f"comparison.{suffix}").stat().st_size for suffix in ("csv", "md", "html"))


def test_compare_in_folds_that_there_are_not(run, sample_dir):
    assert (
        run("compare", sample_dir, "--folds", "few")[2]
        == "error: folds must be a number or 'groups', got 'few'\n"
    )


@pytest.mark.parametrize("name", ["distribute", "mixed-precision"])
def test_devices_and_precision_are_for_networks_trained_from_end_to_end(run, sample_dir, name):
    status, _, err = run("train", sample_dir, f"--{name}")
    assert status == 2
    assert f"{name.replace('-', '_')} must be left out with 'auto'" in err


def test_joins_are_for_networks_trained_from_end_to_end(run, sample_dir):
    assert (
        "joins must be a share in 0 to 1, got 1.5"
        in run("train", sample_dir, "--model", "lrcn", "--joins", 1.5)[2]
    )
    status, _, err = run("train", sample_dir, "--joins", 0.5)
    assert status == 2
    assert "joins" in err


def test_compare_on_optical_flow(run, sample_dir, monkeypatch):
    asked = {}
    monkeypatch.setattr(
        "harkeras.evaluation.comparison.compare", lambda *args, **options: asked.update(options) or []
    )
    assert run("compare", sample_dir, "--streams", "rgb+flow", "--flow-fields", 2)[0] == 0
    assert asked["input_shape"] == (20, 64, 64, 7)


def test_help_does_not_load_tensorflow():
    code = "import sys, harkeras.cli; assert not {'tensorflow', 'keras', 'cv2', 'av'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_demo_does_the_whole_job(tmp_path):
    command = [sys.executable, "-m", "harkeras", "demo"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert float(re.search(r"^accuracy (\S+) on", result.stdout, re.MULTILINE)[1]) >= 0.9
    files = [Path(path) for path in re.findall(r": (harkeras_demo/\S+)$", result.stdout, re.MULTILINE)]
    assert len(files) in (9, 10)  # with or without mistakes
    assert all((tmp_path / path).exists() for path in files)
    info = VideoInfo.read(tmp_path / "harkeras_demo" / "long_video_actions.mp4")
    assert info.codec == "h264"
    table = (tmp_path / "harkeras_demo" / "long_video_actions.csv").read_text()
    named = [line.split(",")[2] for line in table.splitlines()[1:]]
    assert named == ["Walking", "SittingDown", "StandingUp", "Running", "Falling"]
    assert "harkeras train FOLDER" in result.stdout


def test_class_names_may_hold_commas():
    from harkeras.cli.options import read_names

    assert read_names('Fall, "turn, left" ,Walk') == ["Fall", "turn, left", "Walk"]
    assert read_names(None) is None
