"""Features of frames, computed once and kept; heads on them; both joined to one model."""

import os
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from harkeras.inference.splitting import split_per_frame
from harkeras.recipe import ClipFormat
from harkeras.transfer import _feature_files as module
from harkeras.transfer.features import backbone_features, frame_encoder, keep_parts, part_sizes
from harkeras.transfer.heads import (
    HEADS,
    average_heads,
    create_head,
    fit_head,
    fit_regressions,
    join,
    statistics_of,
)
from harkeras.video.reading import read_clip


@pytest.fixture(scope="module")
def encoder():
    keras.utils.set_random_seed(1)
    return frame_encoder("mobilenet_v2_0.35", (32, 64, 3), weights=None)


@pytest.fixture
def small():
    """An encoder that is quick: random colours, averaged."""
    frame = keras.Input((32, 64, 3))
    maps = keras.layers.Conv2D(5, 1)(frame)
    return keras.Model(frame, keras.layers.GlobalAveragePooling2D(name="last")(maps), name="small_features")


@pytest.fixture
def clips(make_video):
    return [make_video(f"v_A_g0{i}_c01.mp4", range(10 * i, 10 * i + 12)) for i in (1, 2, 3)]


def test_features_are_the_means_of_the_maps(encoder, clips):
    found = backbone_features(clips, encoder, frames=4)
    assert found.features.shape == (3, 4, 192 + 1280)
    assert found.features.dtype == np.float32
    assert found.rows.tolist() == [0, 1, 2]
    network = next(layer for layer in encoder.layers if isinstance(layer, keras.Model))
    frames = read_clip(clips[1], ClipFormat(4, 32, 64)).astype(np.float32)
    middle, last = network.predict(frames, verbose=0)
    assert middle.shape[1:3] == (2, 4)
    expected = np.concatenate([middle.mean((1, 2)), last.mean((1, 2))], axis=-1)
    np.testing.assert_allclose(found.features[1], expected, atol=1e-5)


def test_a_finished_clip_is_never_computed_again(small, clips, tmp_path, monkeypatch):
    first = backbone_features(clips[:2], small, frames=4, cache=tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2
    read = []
    monkeypatch.setattr(module, "read_clip", lambda path, asked: read.append(path) or read_clip(path, asked))
    again = backbone_features(clips, small, frames=4, cache=tmp_path / "cache")
    assert read == clips[2:]  # the cache grew by the clip that was new
    np.testing.assert_array_equal(again.features[:2], first.features)
    backbone_features(clips[:1], small, frames=3, cache=tmp_path / "cache")
    small.set_weights([weight + 1 for weight in small.get_weights()])
    backbone_features(clips[:1], small, frames=4, cache=tmp_path / "cache")
    assert read == [clips[2], clips[0], clips[0]]


def test_an_interruption_costs_the_clip_at_work(small, clips, tmp_path, monkeypatch):
    def interrupt(path, shape):
        if path == clips[1]:
            raise KeyboardInterrupt
        return read_clip(path, shape)

    monkeypatch.setattr(module, "read_clip", interrupt)
    with pytest.raises(KeyboardInterrupt):
        backbone_features(clips, small, frames=4, cache=tmp_path / "cache", workers=1)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".npy"]


def test_a_damaged_file_of_the_cache_is_made_anew(small, clips, tmp_path):
    first = backbone_features(clips[:1], small, frames=4, cache=tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    whole, flipped = file.read_bytes(), bytearray(file.read_bytes())
    flipped[-20] ^= 1  # one bit of one number
    for damaged in (whole[: len(whole) // 2], flipped, b""):
        file.write_bytes(damaged)
        with pytest.warns(UserWarning, match=rf"{file.name} is damaged, its features are computed anew"):
            again = backbone_features(clips[:1], small, frames=4, cache=tmp_path / "cache")
        np.testing.assert_array_equal(again.features, first.features)
        assert file.read_bytes() == whole


def test_two_clips_of_equal_name_size_and_time_have_features_of_their_own(small, clips, tmp_path):
    size = max(clip.stat().st_size for clip in clips)
    twins = [tmp_path / "one" / "clip.mp4", tmp_path / "other" / "clip.mp4"]
    for twin, clip in zip(twins, clips, strict=False):
        twin.parent.mkdir()
        twin.write_bytes(clip.read_bytes().ljust(size, b"\0"))
        os.utime(twin, ns=(0, 10**18))
    for twin in twins:
        cached = backbone_features([twin], small, frames=4, cache=tmp_path / "cache").features
        np.testing.assert_array_equal(cached, backbone_features([twin], small, frames=4).features)


def test_unreadable_clips_are_named_and_left_out(small, clips, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_text("not a video")
    with pytest.warns(UserWarning, match=r"1 of 3 clips were left out:\n.*bad\.mp4"):
        found = backbone_features([clips[0], bad, clips[1]], small, frames=4)
    assert found.rows.tolist() == [0, 2]
    with pytest.raises(ValueError, match=r"clips that can be read, the first: .*bad\.mp4"):
        backbone_features([bad], small, frames=4)
    with pytest.raises(module.VideoError, match=r"bad\.mp4"):
        backbone_features([bad], small, frames=4, strict=True)


def test_flow_adds_how_much_moves_where(encoder):
    both = frame_encoder("mobilenet_v2_0.35", (32, 64, 5), weights=None, parts=("flow",))
    assert part_sizes(both) == {"flow": 24}
    frames = np.zeros((2, 32, 64, 5), np.float32)
    frames[..., 3:] = 128
    frames[1, :8, :16, 3] = 128 + 127 / 2  # ten pixels to the right, in one of sixteen places
    still, moving = both.predict(frames, verbose=0)
    np.testing.assert_allclose(still, np.log(0.05), atol=1e-5)
    np.testing.assert_allclose(moving[0], np.log(10 / 16 + 0.05), atol=1e-4)
    np.testing.assert_allclose(moving[4], np.log(0.05), atol=1e-4)  # nothing to the left
    np.testing.assert_allclose(moving[8:10], np.log([10.05, 0.05]), atol=1e-4)


def test_parts_can_be_left_out(encoder):
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3)).astype(np.float32)
    everything = encoder.predict(frames, verbose=0)
    middle, last = (keep_parts(encoder, (part,)) for part in ("middle", "last"))
    np.testing.assert_allclose(middle.predict(frames, verbose=0), everything[:, :192], atol=1e-5)
    np.testing.assert_allclose(last.predict(frames, verbose=0), everything[:, 192:], atol=1e-5)
    assert middle.count_params() < last.count_params() / 2
    assert not encoder.trainable_weights


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: frame_encoder("alexnet", (64, 64, 3)), "name of a backbone must be one of"),
        (lambda: frame_encoder(input_shape=(64, 64, 4)), r"input_shape must be \(height, width, 3 or 5\)"),
        (lambda: frame_encoder(parts=("flow",)), "parts must be among middle, last, got flow"),
        (lambda: backbone_features([]), "video_paths must name at least one clip"),
        (lambda: backbone_features(["a.mp4"], frames=0), "frames must be at least 1, got 0"),
        (lambda: backbone_features(["a.mp4"], cache=__file__), "cache must name a folder, got the file"),
        (lambda: create_head("mean", 2, (4, 8)), "name of a head must be one of mean_std"),
        (lambda: create_head("lstm", 1, (4, 8)), "num_classes must be at least 2"),
        (lambda: create_head("lstm", 2, (1, 8)), "input_shape must be .at least 2 frames"),
        (lambda: create_head("mean_std", 2, (0, 8)), "input_shape must be .at least 1 frames"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def make_features(classes=2, count=60, seed=0):
    """Features that differ by what is there (class 1) and by how it changes (class 2)."""
    rng = np.random.default_rng(seed)
    features, labels = rng.normal(size=(count, 6, 12)), np.arange(count) % classes
    features[labels == 1, :, 0] += 3
    features[labels == 2] *= 3
    return features.astype(np.float32), labels


@pytest.mark.parametrize("name", HEADS)
def test_heads_learn(name):
    features, labels = make_features(3 if name != "mean_diff" else 2)
    head = create_head(name, int(labels.max()) + 1, features.shape[1:])
    fit_head(head, features, labels, strength=100.0)
    unseen, truth = make_features(int(labels.max()) + 1, seed=1)
    said = head.predict(unseen, verbose=0)
    assert said.dtype == np.float32
    np.testing.assert_allclose(said.sum(axis=1), 1, atol=1e-5)
    assert (said.argmax(axis=1) == truth).mean() > 0.8


def test_statistics_are_what_they_are_called():
    features, _ = make_features()
    seen = statistics_of(create_head("mean_std_diff", 2, (6, 12)), features)
    differences = np.abs(np.diff(features, axis=1)).mean(axis=1)
    expected = np.concatenate([features.mean(axis=1), features.std(axis=1), differences], axis=1)
    np.testing.assert_allclose(seen, expected, atol=1e-4)


@pytest.mark.parametrize("name", ["lstm", "tcn"])
def test_the_seed_covers_weights_order_and_dropout(name, monkeypatch, eager):
    monkeypatch.setattr("harkeras.transfer.heads._EPOCHS", 2)
    features, labels = make_features()
    said = []
    for other in (1, 2):  # what was drawn before makes no difference
        keras.utils.set_random_seed(other)
        head = fit_head(create_head(name, 2, features.shape[1:]), features, labels, seed=5)
        said += [
            head.predict(features, verbose=0),
            fit_head(head, features, labels, seed=5)(features).numpy(),
        ]
    for each in said[1:]:
        np.testing.assert_allclose(each, said[0], atol=1e-5)


def test_statistics_have_finite_gradients_where_nothing_changes():
    head = create_head("mean_std_diff", 2, (3, 4))
    features = tf.Variable(np.zeros((1, 3, 4), np.float32))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(head(features)[:, 0])
    assert np.isfinite(tape.gradient(loss, features)).all()


@pytest.mark.parametrize(("count", "size"), [(20, 40), (300, 12)])
@pytest.mark.parametrize(("classes", "strength"), [(2, 1.0), (3, 10.0), (3, 100.0)])
def test_the_dense_layer_is_the_regression(count, size, classes, strength):
    """With fewer clips than numbers, and with more: scikit-learn's on the standardized numbers themselves."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % classes
    features = rng.normal(size=(count, 6, size)) * np.exp(rng.normal(size=size)) + 5
    features[..., 0] += labels[:, None]
    features[..., 1] = 3.0  # a number that never changes
    features = features.astype(np.float32)
    head = create_head("mean_std", classes, (6, size))
    fit_head(head, features, labels, strength=strength)
    numbers = statistics_of(head, features)
    standard = StandardScaler().fit_transform(numbers.astype(np.float64))
    regression = LogisticRegression(C=strength / (2 * size), max_iter=10000, tol=1e-8).fit(standard, labels)
    theirs = regression.predict_proba(standard)
    np.testing.assert_allclose(head.predict(features, verbose=0), theirs, atol=1e-3)


def test_many_clips_take_little_time():
    """5,000 clips of 300 numbers: the regression costs what the numbers cost, not the cube of the clips."""
    numbers, labels = np.random.default_rng(0).normal(size=(5000, 300)), np.arange(5000) % 3
    durations = []
    for count in (1250, 5000):
        start = time.process_time()
        with threadpool_limits(1):
            fit_regressions(numbers[:count], labels[:count], 3, [1.0])
        durations.append(time.process_time() - start)
    assert durations[1] < 16 * max(durations[0], 0.02)  # four times the clips; cubic, it would be 64


def test_a_class_that_is_missing_in_training_is_never_named():
    features, labels = make_features(2)
    head = fit_head(create_head("mean_std", 4, (6, 12)), features, labels * 2)
    assert head.predict(features, verbose=0)[:, [1, 3]].max() < 1e-6
    with pytest.raises(ValueError, match="labels must name at least 2 classes"):
        fit_head(head, features, labels * 0)
    with pytest.raises(ValueError, match="features must be"):
        fit_head(head, features[:, 1:], labels)


def test_joined_model_opens_in_keras_and_sees_each_frame_once(encoder, tmp_path):
    heads = [create_head(name, 2, (4, size)) for name, size in (("mean_std", 1280), ("lstm", 192))]
    head = average_heads(heads, [[slice(192, 1472)], [slice(0, 192)]], 1472)
    model = join(encoder, head)
    clips = np.random.default_rng(0).integers(0, 256, (3, 4, 32, 64, 3)).astype(np.float32)
    features = encoder.predict(clips.reshape(-1, 32, 64, 3), verbose=0).reshape(3, 4, -1)
    said = model.predict(clips, verbose=0)
    both = [
        heads[0].predict(features[..., 192:], verbose=0),
        heads[1].predict(features[..., :192], verbose=0),
    ]
    np.testing.assert_allclose(said, np.mean(both, axis=0), atol=1e-5)
    model.save(tmp_path / "joined.keras")
    opened = keras.saving.load_model(tmp_path / "joined.keras")
    np.testing.assert_allclose(opened.predict(clips, verbose=0), said, atol=1e-5)
    parts = split_per_frame(opened)
    assert parts is not None
    assert parts[0].output_shape == (None, 1472)
