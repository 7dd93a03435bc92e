"""One person of each clip is followed: clips, data sets, training, and the picture of who was taken."""

import sys
from dataclasses import replace

import numpy as np
import pytest

import harkeras.people.pose
import harkeras.people.tracking
from harkeras import cli
from harkeras.data.batches import ClipDataset
from harkeras.data.loading import create_dataset
from harkeras.evaluation import evaluate_on_folder, plot_people
from harkeras.evaluation.probing import early_recognition
from harkeras.inference import predict_on_video, predict_people, predict_single_action
from harkeras.models.saving import load_model
from harkeras.people import crop_person, detect_people, main_person, read_clip
from harkeras.people.clips import create_view
from harkeras.people.main_person import NobodyError, follow_person, list_largest
from harkeras.people.tracking import Person
from harkeras.recipe import ClipFormat, Recipe
from harkeras.transfer import backbone_features
from harkeras.video.reading import frames_extraction
from harkeras.video.writing import write_frames
from harkeras.workflow import train_on_folder

pytest.importorskip("trackers", reason='needs pip install "harkeras[people]"')

PERSON = ClipFormat(6, 64, 64, subject="person")


def find_figure(image):
    """A detector of the rendered figure, which is brighter than its place."""
    rows, columns = np.nonzero(image.max(axis=-1) > 125)
    if len(rows) < 200:
        return np.zeros((0, 5))
    left, right = np.percentile(columns, [1, 99])
    top, bottom = np.percentile(rows, [1, 99])
    return np.array([[left, top, right + 1, bottom + 1, 0.9]])


@pytest.fixture(autouse=True)
def figures(monkeypatch):
    """`find_figure` in place of YOLOX-nano."""
    _find_figures(monkeypatch)


def _find_figures(patch, detector=find_figure):
    main_person._track.cache_clear()  # what another detector found in the same files
    patch.setattr(
        harkeras.people.tracking,
        "detect_people",
        lambda image, **options: detect_people(image, **options | {"detector": detector}),
    )


@pytest.fixture(scope="module")
def clip(sample_dir):
    return sorted((sample_dir / "StandingUp").iterdir())[0]


@pytest.fixture(scope="module")
def empty_clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("empty") / "v_StandingUp_g09_c01.mp4"
    write_frames(path, ((i / 25, np.full((240, 320, 3), 60, np.uint8)) for i in range(25)), 25)
    return path


class TestListLargest:
    def test_who_covers_most_over_all_frames(self):
        large, small = Person(1, (0, 0, 20, 40), 0.9), Person(2, (100, 0, 120, 20), 0.9)
        near = Person(2, (100, 0, 130, 40), 0.9)  # for one frame only
        boxes = list_largest([[small], [large, near], [large, small], [large]])
        assert boxes == [large.box_px] * 4  # also before it is found

    def test_nobody(self):
        assert list_largest([[], []]) is None

    def test_the_box_stays_while_nobody_is_found(self):
        person = Person(1, (0, 0, 40, 40), 0.9)
        assert list_largest([[person], [], []]) == [(0, 0, 40, 40)] * 3


class TestReadClip:
    def test_who_lies_on_the_floor_is_taken_where_nobody_stands(self, clip, monkeypatch):
        expected = read_clip(clip, PERSON)

        def hardly(image):
            boxes = find_figure(image)
            boxes[:, 4] = 0.2
            return boxes

        _find_figures(monkeypatch, hardly)
        assert np.array_equal(read_clip(clip, PERSON), expected)

    def test_a_square_that_goes_along(self, clip):
        read = read_clip(clip, PERSON)
        assert (read.shape, read.dtype) == ((6, 64, 64, 3), np.uint8)
        images, boxes = follow_person(clip, 6)
        whole = frames_extraction(clip, 6, 240, 320)
        for image, box, frame, crop in zip(images, boxes, whole, read, strict=True):
            assert np.array_equal(image, frame)
            assert np.array_equal(crop, crop_person(frame, box, 64, 64))
        shares = [(frames.max(axis=-1) > 125).mean() for frames in (read, whole)]
        assert shares[0] > 1.5 * shares[1]  # the figure fills the square

    def test_of_a_range(self, clip):
        read = read_clip(clip, PERSON, start_seconds=0.4, end_seconds=1.2)
        assert not np.array_equal(read, read_clip(clip, PERSON))

    def test_nobody_is_found(self, empty_clip):
        with pytest.raises(NobodyError, match=r"v_StandingUp_g09_c01\.mp4: nobody was found in it"):
            follow_person(empty_clip, 4)

    def test_people_have_no_common_view(self):
        with pytest.raises(ValueError, match=r"must be of what all people share here, got .*'person'"):
            create_view(PERSON)

    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({"subject": "hand"}, "subject must be one of .*'hand'"),
            ({"subject": "person", "streams": "flow"}, "'person' is for streams 'rgb' or 'pose', got 'flow'"),
            ({"subject": "people", "streams": "pose"}, "subject 'people' is for streams 'rgb', got 'pose'"),
        ],
    )
    def test_what_a_format_refuses(self, options, match):
        with pytest.raises(ValueError, match=match):
            ClipFormat(8, **options)


class TestDatasets:
    def test_array_and_cache(self, sample_dir, clip, tmp_path):
        options = {"frames": 6, "height": 64, "width": 64}
        dataset = create_dataset(sample_dir, **options, subject="person", cache=tmp_path / "clips.npy")
        row = dataset.video_paths.index(clip)
        assert np.array_equal(dataset.features[row], read_clip(clip, PERSON))
        assert dataset.split(seed=1)[0].subject == dataset[[1, 2]].subject == "person"
        whole = create_dataset(sample_dir, **options, cache=tmp_path / "clips.npy")  # another fingerprint
        assert not np.array_equal(whole.features, dataset.features)

    def test_a_clip_without_people_is_left_out_by_name(self, empty_clip, clip, tmp_path):
        for label in ("A", "B"):
            (tmp_path / label).mkdir()
            (tmp_path / label / "v_A_g01_c01.mp4").write_bytes(clip.read_bytes())
        (tmp_path / "B" / "v_B_g02_c01.mp4").write_bytes(empty_clip.read_bytes())
        with pytest.warns(UserWarning, match=r"v_B_g02_c01\.mp4: nobody was found in it"):
            dataset = create_dataset(tmp_path, frames=4, subject="person")
        assert len(dataset) == 2

    def test_decoded_on_the_way(self, clip):
        videos = ClipDataset([clip], [0], frames=6, height=64, width=64, subject="person")
        assert np.array_equal(videos[0][0][0], read_clip(clip, PERSON))

    def test_features_of_a_backbone(self, clip):
        shape = {"height": 64, "width": 64, "frames": 3, "weights": None, "backbone": "mobilenet_v2"}
        person = backbone_features([clip], **shape, subject="person")
        whole = backbone_features([clip], **shape)
        assert not np.allclose(person.features, whole.features)


@pytest.fixture(scope="module")
def trained(sample_dir, tmp_path_factory):
    """The run of a small model of people."""
    with pytest.MonkeyPatch.context() as patch:
        _find_figures(patch)
        return train_on_folder(
            sample_dir,
            "lrcn",
            input_shape=(6, 64, 64, 3),
            subject="person",
            model_options={"filters": (4, 4, 8, 8), "units": 8},
            output_dir=tmp_path_factory.mktemp("runs"),
            epochs=2,
            verbose=False,
        )


class TestATrainedModel:
    def test_its_recipe_and_report(self, trained):
        recipe = load_model(trained.path).recipe
        assert (recipe.subject, recipe.clip_format) == ("person", PERSON)
        assert "subject: person" in trained.report.read_text()
        assert (trained.folder / "people.png").stat().st_size > 10_000

    def test_scored_again(self, trained):
        assert evaluate_on_folder(trained.folder).accuracy == trained.evaluation.accuracy

    def test_single_action(self, trained, clip):
        action = predict_single_action(clip, trained.path)
        expected = trained.model.predict(read_clip(clip, PERSON)[None], verbose=0)[0]
        np.testing.assert_allclose(list(action.probabilities.values()), expected, atol=1e-5)

    def test_single_action_of_a_video_that_is_longer_than_some_windows(self, trained, clip):
        model = load_model(trained.path)
        model.recipe = replace(model.recipe, clip_seconds=0.3)
        action = predict_single_action(clip, model)
        assert sum(action.probabilities.values()) == pytest.approx(1, abs=1e-5)

    def test_single_action_of_nobody(self, trained, empty_clip):
        model = load_model(trained.path)
        for seconds in (0.2, 4.0):
            model.recipe = replace(model.recipe, clip_seconds=seconds)
            with pytest.raises(NobodyError, match="nobody was found in it"):
                predict_single_action(empty_clip, model)

    def test_whole_frames_are_not_shown_to_it(self, trained, clip):
        with pytest.raises(ValueError, match="model looks at one person at a time: call predict_people"):
            predict_on_video(clip, trained.path, progress=False)

    def test_early_recognition(self, trained, clip, empty_clip):
        _, accuracies = early_recognition(trained.model, [clip, empty_clip], [1, 1], shares=[0.5, 1.0])
        assert accuracies.max() <= 0.5  # where nobody is found, nothing is recognized

    def test_the_picture_of_who_was_taken(self, sample_dir, empty_clip):
        dataset = create_dataset(sample_dir, frames=2, subject="person")
        assert len(plot_people(dataset, 2, most=5).axes) == 5
        with pytest.raises(ValueError, match="most must be at least 1, got 0"):
            plot_people(dataset, 2, most=0)


@pytest.mark.slow
def test_joints_of_the_largest_person(sample_dir, tmp_path, monkeypatch):
    """They are learned from, and the model is shown each person's."""

    def find_points(image):
        rows = np.array_split(np.arange(image.shape[0]), 17)
        return np.array([(9.0 * i, image[band].mean(), 1.0) for i, band in enumerate(rows)])

    monkeypatch.setattr(harkeras.people.pose, "default_estimator", lambda: find_points)
    options = {"input_shape": (6, 17, 3), "subject": "person", "model_options": {"filters": 4, "units": 4}}
    trained = train_on_folder(
        sample_dir, "pose_lstm", **options, output_dir=tmp_path, epochs=1, verbose=False, workers=1
    )
    recipe = load_model(trained.path).recipe
    assert (recipe.streams, recipe.subject) == ("pose", "person")
    clip = sorted((sample_dir / "StandingUp").iterdir())[0]
    (person,) = predict_people(clip, trained.path, progress=False)
    assert person.joints.shape[1:] == (17, 3)
    with pytest.raises(ValueError, match="model looks at one person at a time: call predict_people"):
        predict_on_video(clip, trained.path, progress=False)


@pytest.mark.slow
def test_the_command_line_trains(sample_dir, tmp_path, capsys, monkeypatch):
    words = ["train", str(sample_dir), "--model", "lrcn", "--frames", "4", "--height", "64", "--width", "64"]
    words += ["--per-person", "--epochs", "1", "--output-dir", str(tmp_path), "--no-augment"]
    monkeypatch.setattr(sys, "argv", ["harkeras", *words])
    with pytest.raises(SystemExit, match=r"^0$"):
        cli.main()
    assert "people.png" in capsys.readouterr().out


def test_an_older_recipe_is_of_whole_frames():
    recipe = Recipe(("a", "b"), 4, 32, 32, 1.0)
    assert recipe.subject == "frame"
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert Recipe.from_json(replace(recipe, subject="person").to_json()).subject == "person"
