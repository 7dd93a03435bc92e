"""From files to joints: clips, data sets, a model that is trained on them, and its run."""

import numpy as np
import pytest

import harkeras.people.pose
import harkeras.people.tracking
from harkeras import cli
from harkeras.data.batches import ClipDataset
from harkeras.data.loading import create_dataset
from harkeras.evaluation.held_out import evaluate_on_folder
from harkeras.evaluation.probing import early_recognition
from harkeras.inference import predict_on_video, predict_single_action
from harkeras.inference.people_prediction import predict_people
from harkeras.models.saving import load_model
from harkeras.people import PeopleTracker, PoseTracker, pose_extraction, read_clip
from harkeras.people.clips import PoseView
from harkeras.recipe import ClipFormat
from harkeras.training.trainer import complete_shape
from harkeras.video.images import resize_image
from harkeras.video.reading import VideoInfo, frames_extraction, iter_frames
from harkeras.video.writing import VideoWriter, write_frames
from harkeras.workflow import train_on_folder


def find_figure(image):
    """Joints of the rendered figure, which is brighter than its place: the middles of 17 bands of it."""
    find_figure.calls += 1
    rows, columns = np.nonzero(image.max(axis=-1) > 125)
    if len(rows) < 17:
        return np.zeros((17, 3))
    bands = np.array_split(np.argsort(rows, kind="stable"), 17)
    return np.array([(columns[band].mean(), rows[band].mean(), 1.0) for band in bands])


find_figure.calls = 0


@pytest.fixture
def figures(monkeypatch):
    """`find_figure` in place of MoveNet."""
    monkeypatch.setattr(harkeras.people.pose, "default_estimator", lambda: find_figure)


@pytest.fixture(scope="module")
def clip(sample_dir):
    return sorted((sample_dir / "StandingUp").iterdir())[0]


class TestReadClip:
    def test_frames(self, clip):
        read = read_clip(clip, ClipFormat(4, 30, 40), start_seconds=0.2)
        assert np.array_equal(read, frames_extraction(clip, 4, 30, 40, start_seconds=0.2))

    def test_joints_are_followed_through_all_frames(self, clip):
        joints = pose_extraction(clip, 8, estimator=find_figure)
        assert joints.shape == (8, 17, 3)
        assert joints.dtype == np.float32
        tracker = PoseTracker(estimator=find_figure)
        info = VideoInfo.read(clip)
        middles = (np.arange(8) + 0.5) * info.duration_seconds / 8
        chosen = np.searchsorted(info.frame_seconds, middles + 1e-6, side="right") - 1
        track = [
            tracker.update(frame.image, frame.seconds)
            for row, frame in enumerate(iter_frames(clip))
            if row >= chosen[0]
        ]
        np.testing.assert_allclose(joints, np.array(track)[chosen - chosen[0]], atol=1e-4)

    def test_of_the_largest_person(self, clip, tmp_path, monkeypatch):
        """Two figures side by side, of whom the one on the right is taken, with the joints it has alone."""
        pytest.importorskip("trackers", reason='needs pip install "harkeras[people]"')
        frames = list(iter_frames(clip))
        write_frames(tmp_path / "two.mp4", ((at, np.hstack([image] * 2)) for at, image in frames), 25, crf=1)
        boxes = np.array([(100, 60, 220, 200, 0.9), (340, 0, 620, 240, 0.9)])
        monkeypatch.setattr(harkeras.people.tracking, "detect_people", lambda image, **options: boxes)
        joints = pose_extraction(tmp_path / "two.mp4", 6, estimator=find_figure, subject="person")
        tracker = PoseTracker(estimator=find_figure)
        track = [tracker.update(image, at, (20, 0, 300, 240)) for at, image in frames]
        rows = ((np.arange(6) + 0.5) * len(track) / 6).astype(int)
        expected = np.array(track)[rows] + np.array([320, 0, 0])
        assert np.abs(joints - expected)[1:].mean() < 2  # the first frames differ in what was seen before
        one = read_clip(
            tmp_path / "two.mp4", ClipFormat(6, streams="pose", subject="person"), estimator=find_figure
        )
        assert np.array_equal(one, joints)

    def test_without_scores(self, clip):
        clip_format = ClipFormat(4, streams="pose", coordinates=2)
        joints = read_clip(clip, clip_format, estimator=find_figure, end_seconds=1.0)
        assert joints.shape == (4, 17, 2)
        expected = pose_extraction(clip, 4, estimator=find_figure, end_seconds=1.0)
        assert np.array_equal(joints, expected[..., :2])

    def test_other_joints(self, clip):
        five = pose_extraction(clip, 3, estimator=lambda image: find_figure(image)[:5], joints=5)
        assert five.shape == (3, 5, 3)
        with pytest.raises(ValueError, match="estimator must give 17 joints, got 5"):
            pose_extraction(clip, 3, estimator=lambda image: find_figure(image)[:5])

    def test_a_number_below_1(self, clip):
        with pytest.raises(ValueError, match="frames must be at least 1, got 0"):
            pose_extraction(clip, 0, estimator=find_figure)

    def test_frames_needed(self):
        view = PoseView(ClipFormat(4, streams="pose"))
        wanted = np.array([0, 1, 0, 0, 1, 0], bool)
        assert view.frames_needed(wanted).tolist() == [False, True, True, True, True, False]
        assert not view.frames_needed(np.zeros(3, bool)).any()


class TestDatasets:
    def test_array_and_cache(self, sample_dir, tmp_path):
        options = {"frames": 6, "streams": "pose", "estimator": find_figure}
        dataset = create_dataset(sample_dir, **options)
        assert dataset.features.shape == (16, 6, 17, 3)
        assert dataset.features.dtype == np.float32
        assert dataset.streams == "pose"
        cache = tmp_path / "joints.npy"
        assert np.array_equal(create_dataset(sample_dir, **options, cache=cache).features, dataset.features)
        calls = find_figure.calls
        again = create_dataset(sample_dir, **options, cache=cache)
        assert find_figure.calls == calls
        assert np.array_equal(again.features, dataset.features)
        assert np.load(cache, mmap_mode="r").dtype == np.float32
        other = create_dataset(sample_dir, **options | {"estimator": lambda i: find_figure(i)}, cache=cache)
        assert find_figure.calls > calls  # of another name
        assert np.array_equal(other.features, dataset.features)

    def test_decoded_on_the_way(self, clip):
        videos = ClipDataset([clip], [0], frames=6, streams="pose", estimator=find_figure)
        assert videos.shape == (1, 6, 17, 3)
        clips, labels = videos[0]
        assert np.array_equal(clips[0], pose_extraction(clip, 6, estimator=find_figure))
        assert labels.tolist() == [0]


class TestClipFormat:
    def test_sizes(self):
        clip_format = ClipFormat(8, streams="pose")
        assert (clip_format.shape, clip_format.dtype) == ((8, 17, 3), np.float32)
        assert (clip_format.height, clip_format.width) == (None, None)
        assert ClipFormat.from_shape((8, 33, 2)) == ClipFormat(8, streams="pose", joints=33, coordinates=2)
        assert ClipFormat(4, 5, 6).dtype == np.uint8

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"streams": "pose", "coordinates": 4}, "coordinates must be 2 or 3, got 4"),
            ({"streams": "pose", "joints": -1}, "joints must be at least 1, got -1"),
            ({"joints": 17}, "joints and coordinates are for streams 'pose', got them for 'rgb'"),
        ],
    )
    def test_what_it_refuses(self, options, message):
        with pytest.raises(ValueError, match=message):
            ClipFormat(8, **options)

    def test_the_command_lines_shape(self):
        assert complete_shape((None, None, None), (20, 64, 64), "pose", None) == (32, 17, 3)
        assert complete_shape((16, None, None), (20, 64, 64), "pose", None) == (16, 17, 3)
        with pytest.raises(ValueError, match=r"height and width are for frames, got .*for streams 'pose'"):
            complete_shape((None, 64, 64), (20, 64, 64), "pose", None)


@pytest.fixture(scope="module")
def trained(sample_dir, tmp_path_factory):
    """The run of a small model of the figures' joints."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harkeras.people.pose, "default_estimator", lambda: find_figure)
        return train_on_folder(
            sample_dir,
            "pose_lstm",
            input_shape=(12, 17, 3),
            model_options={"filters": 8, "units": 8},
            output_dir=tmp_path_factory.mktemp("runs"),
            epochs=15,
            verbose=False,
        )


@pytest.mark.usefixtures("figures")
class TestATrainedModel:
    def test_its_recipe_and_report(self, trained):
        recipe = load_model(trained.path).recipe
        assert (recipe.streams, recipe.clip_shape) == ("pose", (12, 17, 3))
        assert recipe.clip_format.shape == (12, 17, 3)
        assert "looks at 12 frames of 17 joints of a person" in trained.report.read_text()
        assert trained.evaluation.accuracy >= 0.75

    def test_scored_again(self, trained):
        again = evaluate_on_folder(trained.folder)
        assert again.accuracy == trained.evaluation.accuracy

    def test_single_action(self, trained, clip):
        action = predict_single_action(clip, trained.path)
        joints = pose_extraction(clip, 12, estimator=find_figure)
        expected = trained.model.predict(joints[None], verbose=0)[0]
        np.testing.assert_allclose(list(action.probabilities.values()), expected, atol=1e-5)
        given = predict_single_action(clip, trained.path, estimator=lambda image: np.zeros((17, 3)))
        assert given.probabilities != action.probabilities

    def test_on_a_video_with_skeletons(self, trained, clip, tmp_path):
        prediction = predict_on_video(clip, trained.path, tmp_path / "out.mp4", progress=False)
        assert set(prediction.classes) == {"SittingDown", "StandingUp"}
        plain, drawn = (next(iter_frames(path)).image for path in (clip, tmp_path / "out.mp4"))
        figure = plain[60:180].max(axis=-1) > 125  # below the caption, above the strip
        changed = np.abs(plain[60:180].astype(int) - drawn[60:180]).max(axis=-1) > 90
        assert changed[figure].mean() > 0.02
        assert changed[~figure].mean() < 0.01

    def test_each_of_two_people_has_joints(self, trained, clip, tmp_path):
        """Side by side in one video; who comes late is not mixed up with who is there."""
        pytest.importorskip("trackers", reason='pip install "harkeras[people]"')
        with VideoWriter(tmp_path / "two.mp4", fps=25) as writer:
            for frame in iter_frames(clip):
                writer.write(np.hstack([frame.image, frame.image[:, ::-1]]))
        boxes = [(20, 0, 300, 240, 0.9), (340, 0, 620, 240, 0.9)]
        options = {"tracker": PeopleTracker(detector=lambda image: boxes, every=1), "estimator": find_figure}
        people = predict_people(
            tmp_path / "two.mp4", trained.path, tmp_path / "out.mp4", **options, progress=False
        )
        assert [person.number for person in people] == [1, 2]
        for person, middle in zip(people, (160, 480), strict=True):
            assert person.joints.shape == (len(person.boxes), 17, 3)
            assert np.abs(person.joints[..., 0].mean() - middle) < 120
        plain, drawn = (list(iter_frames(tmp_path / name))[5].image for name in ("two.mp4", "out.mp4"))
        x, y, _ = people[0].joints[4, 8].round().astype(int)
        assert np.abs(plain.astype(int) - drawn)[y - 1 : y + 2, x - 1 : x + 2].max() > 60

    def test_early_recognition(self, trained, sample_dir):
        clips = sorted(sample_dir.rglob("*.mp4"))[:2]
        shares, accuracies = early_recognition(trained.model, clips, [0, 0], shares=[0.5, 1.0])
        assert shares.tolist() == [0.5, 1.0]
        assert accuracies.shape == (2,)

    def test_the_command_line(self, trained, clip, capsys, monkeypatch):
        monkeypatch.setattr(
            "sys.argv", ["harkeras", "predict", str(clip), "--model", str(trained.folder), "--single"]
        )
        with pytest.raises(SystemExit, match=r"^0$"):
            cli.main()
        assert "ing" in capsys.readouterr().out  # SittingDown or StandingUp


@pytest.mark.slow
@pytest.mark.real_data
def test_movenet_and_pose_lstm_name_unseen_groups(real_data, tmp_path, monkeypatch):
    """By the one command, on clips of people and places that training has not seen."""
    pytest.importorskip("ai_edge_litert", reason='pip install "harkeras[pose]"')
    from harkeras import create_sample_dataset

    if not (real_data.parent / "models" / "movenet_single_pose_lightning_ptq.tflite").is_file():
        pytest.skip("no MoveNet in ../shared/models")
    monkeypatch.setenv("HARKERAS_ASSETS", str(real_data.parent / "models"))
    clips = create_sample_dataset(tmp_path / "clips", clips_per_group=1)
    shape = complete_shape((None, None, None), (20, 64, 64), "pose", None)
    trained = train_on_folder(
        clips, "pose_lstm", input_shape=shape, output_dir=tmp_path, batch_size=8, verbose=False
    )
    assert trained.evaluation.accuracy >= 0.9


def test_a_picture_is_a_clip_of_one_frame_upright(tmp_path):
    from PIL import Image

    left = np.zeros((40, 60, 3), np.uint8)
    left[:, :30] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned to the right, so that what is left comes to the top
    Image.fromarray(left).save(tmp_path / "turned.png", exif=exif)
    clip = read_clip(tmp_path / "turned.png", ClipFormat(2, 60, 40))
    assert clip.shape == (2, 60, 40, 3)
    assert clip[:, :29].min() == 200
    assert clip[:, 31:].max() == 0


def test_a_picture_is_resized_as_the_recipe_says_and_has_no_range(tmp_path):
    from PIL import Image

    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "noise.png")
    for interpolation in ("area", "bilinear"):
        (clip,) = read_clip(tmp_path / "noise.png", ClipFormat(1, 20, 17, interpolation=interpolation))
        assert np.array_equal(clip, resize_image(image, 20, 17, interpolation=interpolation))
    with pytest.raises(ValueError, match=r"must be left out for a picture, got .*noise\.png"):
        read_clip(tmp_path / "noise.png", ClipFormat(1, 20, 17), end_seconds=1)
