"""What `pose_lstm` promises of joints; what holds for every model is in test_models.py."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from learning import fit

from harkeras.models import create_pose_lstm_model

ROOT = Path(__file__).resolve().parents[1]
SMALL = {"filters": 8, "units": 8}


def moving_bodies(count, frames=8, joints=6, seed=0):
    """Bodies of joints at random places, each swinging: float32 (count, frames, joints, 2)."""
    rng = np.random.default_rng(seed)
    phase = np.linspace(0, 3, frames)[:, None, None] + rng.uniform(0, 6, (count, 1, joints, 1))
    return np.float32(rng.normal(size=(count, 1, joints, 2)) + 0.3 * np.sin(phase))


def run(model, keypoints):
    return keras.ops.convert_to_numpy(model(keypoints))


@pytest.fixture(scope="module", params=["lstm", "conv"])
def form(request):
    return request.param


@pytest.fixture(scope="module", params=[2, 3], ids=["x-y", "x-y-score"])
def model(request, form):
    keras.utils.set_random_seed(27)
    return create_pose_lstm_model(3, (8, 6, request.param), form=form, **SMALL)


def with_scores(model, keypoints, scores=0.9):
    """Add scores where the model takes them, 0 where x and y are."""
    if model.input_shape[-1] == 2:
        return keypoints
    present = (keypoints != 0).any(axis=-1, keepdims=True)
    return np.concatenate([keypoints, scores * present], axis=-1, dtype=np.float32)


@pytest.mark.parametrize("scale", [1e-2, 1, 100])
def test_place_size_and_unit_say_nothing(model, scale):
    bodies = moving_bodies(4)
    moved = bodies * scale + scale * np.float32([3, -5])
    before = run(model, with_scores(model, bodies))
    assert run(model, with_scores(model, moved)) == pytest.approx(before, abs=1e-5)
    assert np.ptp(before, axis=0).max() > 1e-4  # but the bodies do


def test_walking_through_the_picture_counts(model):
    bodies = moving_bodies(1)
    walking = bodies + np.linspace(0, 3, 8, dtype=np.float32)[:, None, None]
    assert (
        np.abs(run(model, with_scores(model, walking)) - run(model, with_scores(model, bodies))).max() > 1e-4
    )


def test_where_a_missing_joint_is_said_to_be_makes_no_difference(form):
    model = create_pose_lstm_model(3, (8, 6, 3), form=form, **SMALL)
    keypoints = with_scores(model, moving_bodies(2))
    keypoints[:, 2:5, 3] = 0
    elsewhere = keypoints.copy()
    elsewhere[:, 2:5, 3, :2] = 1e4
    assert np.array_equal(run(model, keypoints), run(model, elsewhere))


def test_missing_joints_do_not_hide_the_place(model):
    bodies = moving_bodies(2)
    moved = bodies * 50 + 400
    for keypoints in (bodies, moved):
        keypoints[:, 4, 2:] = 0  # four joints missing in one frame
        keypoints[:, 6] = 0  # nobody in another
        keypoints[:, :, 1] = 0  # one joint missing throughout
    before = run(model, with_scores(model, bodies))
    assert run(model, with_scores(model, moved)) == pytest.approx(before, abs=1e-5)


@pytest.mark.parametrize(
    "keypoints", [np.zeros((1, 8, 6, 2)), np.ones((1, 8, 6, 2))], ids=["none", "a point"]
)
def test_no_body_gives_numbers(model, keypoints):
    probabilities = run(model, with_scores(model, keypoints))
    assert np.isfinite(probabilities).all()
    assert probabilities.sum() == pytest.approx(1, abs=1e-6)


def test_scores_are_seen(form):
    model = create_pose_lstm_model(3, (8, 6, 3), form=form, **SMALL)
    bodies = moving_bodies(1)
    sure, unsure = (run(model, with_scores(model, bodies, scores)) for scores in (1, 0.2))
    assert np.abs(sure - unsure).max() > 1e-5


@pytest.mark.parametrize("shape", [(2, 2, 2), (3, 2, 3), (7, 17, 3)])
def test_other_shapes(form, shape):
    model = create_pose_lstm_model(2, shape, form=form, **SMALL)
    assert run(model, np.ones((1, *shape))).shape == (1, 2)


@pytest.mark.parametrize(
    "shape",
    [
        (32, 15),
        (32, 15, 1),
        (32, 15, 4),
        (1, 15, 2),
        (32, 1, 2),
        (32, 15.0, 2),
        (None, 15, 2),
        (8, 64, 64, 3),
    ],
)
def test_bad_shapes(shape):
    with pytest.raises(
        ValueError, match=r"input_shape must be \(frames, joints, 2 or 3\), at least 2 .* got \("
    ):
        create_pose_lstm_model(3, shape)


def test_unknown_form():
    with pytest.raises(ValueError, match="form must be lstm or conv, got 'gru'"):
        create_pose_lstm_model(3, form="gru")


@pytest.mark.slow
def test_saved_files_open_with_keras_alone(tmp_path):
    for form in ("lstm", "conv"):
        for channels in (2, 3):
            model = create_pose_lstm_model(3, (8, 6, channels), form=form, **SMALL)
            keypoints = with_scores(model, moving_bodies(2))
            model.save(tmp_path / f"{form}{channels}.keras")
            np.savez(tmp_path / f"{form}{channels}", keypoints=keypoints, output=run(model, keypoints))
    code = """
import pathlib, sys, keras, numpy as np
for path in pathlib.Path().glob("*.keras"):
    data = np.load(path.stem + ".npz")
    output = keras.saving.load_model(path)(data["keypoints"])
    np.testing.assert_allclose(output, data["output"], atol=1e-6)
    print(path.stem)
assert not any(name.startswith("harkeras") for name in sys.modules)"""
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert sorted(process.stdout.split()) == ["conv2", "conv3", "lstm2", "lstm3"], process.stderr


def test_learns_which_way_a_hand_goes(form):
    """Up or down: the poses are the same, their order is not."""
    keras.utils.set_random_seed(27)
    labels = np.arange(96) % 2
    keypoints = np.repeat(moving_bodies(96)[:, :1], 8, axis=1)
    way = np.linspace(-1, 1, 8)[None] * np.where(labels, 1, -1)[:, None]
    keypoints[:, :, 0, 1] += way
    keypoints = keypoints * 60 + 200
    model = create_pose_lstm_model(2, keypoints.shape[1:], form=form, **SMALL)
    fit(model, keypoints[:64], labels[:64], learning_rate=1e-2, epochs=15, batch_size=16)
    answers = run(model, keypoints[64:]).argmax(axis=1)
    assert np.mean(answers == labels[64:]) > 0.9


@pytest.mark.real_data
def test_benchmark_reads_the_real_joints(real_data, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tests" / "benchmarks")
    import pose_lstm as benchmark

    clips, labels, splits = benchmark.read_skeletons(real_data / "jhmdb_skeletons.npz")
    assert (len(clips), len(set(labels)), len(splits)) == (609, 14, 3)
    keypoints = benchmark.resample(clips[0])
    assert keypoints.shape == (32, 15, 2)
    assert np.allclose(keypoints[[0, -1]], clips[0][[0, -1]])
    varied = benchmark.vary(clips[0], np.random.default_rng(0))
    assert varied.shape == keypoints.shape
    for training, testing in splits:
        assert not set(training) & set(testing)
