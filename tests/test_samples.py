"""The embedded data set: what lies on disk, the same every time, with twins that only time tells apart."""

import re
from itertools import pairwise
from pathlib import Path

import keras
import numpy as np
import pytest

from harkeras import (
    create_dataset,
    create_single_frame_model,
    evaluate,
    train,
)
from harkeras.data import samples
from harkeras.data._figures import ANGLES, JOINTS, forward_kinematics
from harkeras.data._motions import MOTIONS, blend, pose_of
from harkeras.data.samples import SAMPLE_CLASSES, create_sample_dataset, create_sample_video
from harkeras.video.reading import VideoInfo, iter_frames

SEATED = ("SittingDown", "StandingUp")


def read_clip(path):
    return np.stack([frame.image for frame in iter_frames(path)])


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Two groups with two clips of every class."""
    return create_sample_dataset(tmp_path_factory.mktemp("samples"), groups=2, clips_per_group=2, workers=2)


def test_clips_lie_in_a_folder_of_classes_under_ucf_names(data_dir):
    found = sorted(str(path.relative_to(data_dir)) for path in data_dir.rglob("*.*"))
    assert found == sorted(
        f"{label}/v_{label}_g0{group}_c0{clip}.mp4"
        for label in ("Falling", "Running", "SittingDown", "StandingUp", "Walking")
        for group in (1, 2)
        for clip in (1, 2)
    )


def test_every_clip_is_h264_of_the_promised_size_rate_and_length(data_dir):
    for path in data_dir.rglob("*.mp4"):
        info = VideoInfo.read(path)
        assert (info.codec, info.width, info.height, info.fps) == ("h264", 320, 240, 25.0), path
        assert 1.5 <= info.duration_seconds <= 3.0, path


def test_frames_do_not_depend_on_run_or_workers_or_other_classes(data_dir, tmp_path):
    again = create_sample_dataset(tmp_path, classes=["StandingUp", "Walking"], groups=1, workers=1)
    clips = sorted(again.rglob("*.mp4"))
    assert len(clips) == 4
    for clip in clips:
        np.testing.assert_array_equal(read_clip(clip), read_clip(data_dir / clip.relative_to(again)))


def test_another_seed_gives_other_frames(data_dir, tmp_path):
    name = Path("Walking/v_Walking_g01_c01.mp4")
    create_sample_dataset(tmp_path, classes=["Walking"], groups=1, clips_per_group=1, seed=28)
    assert not np.array_equal(read_clip(tmp_path / name)[0], read_clip(data_dir / name)[0])


def test_a_group_shares_its_looks(data_dir):
    # The background fills most of a picture: its mean colour tells the group.
    colour = {path.stem: read_clip(path).mean(axis=(0, 1, 2)) for path in data_dir.rglob("*.mp4")}
    first = np.stack([value for name, value in sorted(colour.items()) if "_g01_" in name])
    second = np.stack([value for name, value in sorted(colour.items()) if "_g02_" in name])
    within = max(np.abs(group - group.mean(axis=0)).max() for group in (first, second))
    assert within < 0.5 * np.abs(first.mean(axis=0) - second.mean(axis=0)).max()


@pytest.mark.parametrize("draw", range(5))
def test_standing_up_is_sitting_down_backwards(draw):
    down, up = (
        MOTIONS[label](np.random.default_rng(draw), 50, 1.0) for label in ("SittingDown", "StandingUp")
    )
    np.testing.assert_array_equal(up, down[::-1])
    # Also what is drawn, up to where the figure starts.
    down, up = (joints - joints[:, :1] * [1, 0, 0] for joints in map(forward_kinematics, (down, up)))
    np.testing.assert_allclose(up, down[::-1], atol=1e-12)


def test_sitting_down_lowers_the_pelvis_and_keeps_the_feet():
    joints = forward_kinematics(MOTIONS["SittingDown"](np.random.default_rng(0), 60, 1.0))
    pelvis, heel = joints[:, JOINTS.index("pelvis")], joints[:, JOINTS.index("heel_near")]
    assert pelvis[-1, 1] < 0.65 * pelvis[0, 1]
    assert np.ptp(heel[:, 0]) < 0.1


def test_runners_are_faster_than_walkers():
    def speed(label, draw):
        joints = forward_kinematics(MOTIONS[label](np.random.default_rng(draw), 50, 1.0))
        return (joints[-1, 0, 0] - joints[0, 0, 0]) / 2.0  # body heights per second

    walking, running = ([speed(label, draw) for draw in range(10)] for label in ("Walking", "Running"))
    assert 0.4 < min(walking) < max(walking) < min(running) < max(running) < 3.0


@pytest.mark.parametrize("label", SAMPLE_CLASSES)
def test_nobody_sinks_into_the_floor(label):
    joints = forward_kinematics(MOTIONS[label](np.random.default_rng(3), 60, 1.1))
    assert joints.shape == (60, len(JOINTS), 3)
    lowest = joints[:, :, 1].min(axis=1)
    assert lowest.min() > 0.02
    assert lowest.max() < 0.14  # and nobody flies


def test_a_fall_ends_flat_on_the_floor():
    for draw in range(6):
        joints = forward_kinematics(MOTIONS["Falling"](np.random.default_rng(draw), 60, 1.0))
        assert joints[0, JOINTS.index("head"), 1] > 0.8
        assert joints[-1, JOINTS.index("head"), 1] < 0.3


def test_a_long_video_has_a_timeline_that_covers_it(tmp_path):
    path = tmp_path / "long.mp4"
    segments = create_sample_video(path, actions=["Walking", "SittingDown", "StandingUp"])
    assert [segment.label for segment in segments] == ["Walking", "SittingDown", "StandingUp"]
    assert segments[0].start_seconds == 0.0
    for before, after in pairwise(segments):
        assert before.end_seconds == after.start_seconds
    assert all(3.0 <= end - start <= 4.0 for start, end, _ in segments)
    assert segments[-1].end_seconds == pytest.approx(VideoInfo.read(path).duration_seconds)


def test_the_long_video_shows_by_default_every_class(tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "_write_frames", lambda *args, **options: None)
    assert sorted(segment.label for segment in create_sample_video(tmp_path / "x.mp4")) == list(
        SAMPLE_CLASSES
    )


def test_actions_pass_into_each_other_without_a_jump():
    pose, motion = np.zeros(len(ANGLES)), np.ones((20, len(ANGLES)))
    blended = blend(pose, motion)
    assert np.abs(np.diff(blended, axis=0, prepend=pose[None])).max() < 0.2
    np.testing.assert_array_equal(blended[10:], motion[10:])


def test_poses_follow_the_order_of_angles():
    np.testing.assert_array_equal(pose_of(torso=1.0, lift=[0.0, 2.0])[:, [0, -1]], [[1, 0], [1, 2]])
    assert (ANGLES[0], ANGLES[-1]) == ("torso", "lift")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ["Walking", "Flying"]}, "classes must be one or more of ('Falling', "),
        ({"classes": ["Walking", "Flying"]}, "received ['Walking', 'Flying']"),
        ({"classes": []}, "classes must be one or more of"),
        ({"groups": 0}, "groups must be at least 1, received 0"),
        ({"clips_per_group": 0}, "clips_per_group must be at least 1, received 0"),
        ({"workers": 0}, "workers must be at least 1, received 0"),
        ({"seed": -1}, "seed must be at least 0, received -1"),
    ],
)
def test_wrong_arguments_of_the_data_set_are_named(tmp_path, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        create_sample_dataset(tmp_path / "data", **options)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"actions": ["Flying"]}, "actions must be one or more of"),
        ({"actions": []}, "actions must be one or more of"),
        ({"group": 0}, "group must be at least 1, received 0"),
        ({"seed": -1}, "seed must be at least 0, received -1"),
    ],
)
def test_wrong_arguments_of_the_long_video_are_named(tmp_path, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        create_sample_video(tmp_path / "long.mp4", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_one_frame_does_not_tell_sitting_down_from_standing_up(tmp_path):
    """A classifier of single frames, its answers averaged over the clip, stays near chance."""
    create_sample_dataset(tmp_path, classes=SEATED, groups=40)
    train_set, test_set = create_dataset(tmp_path, SEATED).split()
    keras.utils.set_random_seed(27)
    model = create_single_frame_model(2, train_set.features.shape[1:], width_multiplier=0.125)
    train(model, train_set, epochs=15, batch_size=8, verbose=False)
    assert evaluate(model, test_set).accuracy < 0.65
