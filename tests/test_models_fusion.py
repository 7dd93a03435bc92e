"""Single frame, early, late and slow fusion, and multiresolution."""

import functools
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from learning import fit, moving_blocks

from harkeras.inference.splitting import split_per_frame
from harkeras.models.blocks import local_response_normalization
from harkeras.models.fusion import (
    create_early_fusion_model,
    create_late_fusion_model,
    create_slow_fusion_model,
)
from harkeras.models.multiresolution import create_multiresolution_model
from harkeras.models.registry import no_weights
from harkeras.models.single_frame import create_single_frame_model

SIZE = 24
# Every builder in every form: the frames it is built for here, and its options.
FORMS = {
    "single_frame": (create_single_frame_model, 5, {}),
    "single_frame majority": (create_single_frame_model, 5, {"vote": "majority"}),
    "early": (create_early_fusion_model, 5, {}),
    "late": (create_late_fusion_model, 6, {"distance": 3}),
    "late two frames": (create_late_fusion_model, 2, {"distance": 1}),
    "late predictions": (create_late_fusion_model, 5, {"merge": "predictions"}),
    "slow": (create_slow_fusion_model, 10, {}),
    "slow 18 frames": (create_slow_fusion_model, 18, {}),
    "multires single_frame": (create_multiresolution_model, 5, {}),
    "multires early": (create_multiresolution_model, 5, {"fusion": "early"}),
    "multires late": (create_multiresolution_model, 6, {"fusion": "late", "distance": 3}),
    "multires slow": (create_multiresolution_model, 10, {"fusion": "slow"}),
}
ORDERLESS = {"single_frame", "single_frame majority", "multires single_frame"}


def build(form, *, classes=3, size=SIZE, width_multiplier=0.1, **options):
    builder, frames, more = FORMS[form]
    keras.utils.set_random_seed(27)
    return builder(classes, (frames, size, size, 3), width_multiplier=width_multiplier, **more, **options)


built = functools.cache(build)  # for tests that leave it as it is


def random_clips(form, count=2, size=SIZE):
    return np.random.default_rng(0).integers(0, 256, (count, FORMS[form][1], size, size, 3), np.uint8)


def run(model, clips, **options):
    return keras.ops.convert_to_numpy(model(clips, **options))


def colored_noise(frames, size, count=32):
    """Clips that are more blue (1) or more red (0)."""
    labels = np.arange(count) % 2
    clips = np.random.default_rng(27).integers(0, 128, (count, frames, size, size, 3), np.uint8)
    for clip, label in zip(clips, labels, strict=True):
        clip[..., 2 * label] += 100
    return clips, labels


@pytest.mark.parametrize("form", FORMS)
class TestEveryForm:
    def test_probabilities(self, form):
        clips, model = random_clips(form), built(form)
        probabilities = run(model, clips)
        assert (probabilities.shape, probabilities.dtype) == ((2, 3), np.float32)
        assert probabilities.sum(axis=1) == pytest.approx([1, 1], abs=1e-6)
        assert (probabilities > 0).all()
        assert np.array_equal(probabilities, run(model, clips.astype(np.float32)))
        assert model.output_names == ["probabilities"]

    def test_every_weight_gets_a_gradient(self, form):
        model = built(form)
        with tf.GradientTape() as tape:
            outputs = model(random_clips(form, 4))
            loss = keras.losses.sparse_categorical_crossentropy(np.array([0, 1, 2, 0]), outputs)
        gradients = tape.gradient(loss, model.trainable_variables)
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
            assert gradient is not None, variable.path
            assert np.abs(gradient).max() > 0, variable.path

    def test_order_of_frames(self, form):
        model, clips = built(form), random_clips(form, 4)
        difference = np.abs(run(model, clips) - run(model, clips[:, ::-1])).max()
        if form in ORDERLESS:
            assert difference < 1e-6
            order = np.random.default_rng(1).permutation(clips.shape[1])
            assert np.abs(run(model, clips) - run(model, clips[:, order])).max() < 1e-6
        else:
            assert difference > 1e-5

    def test_smallest_frame(self, form):
        smallest = 20 if form.startswith("multires") else 22
        assert run(build(form, size=smallest), random_clips(form, size=smallest)).shape == (2, 3)
        with pytest.raises(ValueError, match=f"input_shape must be at least {smallest} x {smallest} pixels"):
            build(form, size=smallest - 1)

    def test_refuses(self, form):
        with pytest.raises(ValueError, match="width_multiplier must be positive, got 0"):
            build(form, width_multiplier=0)
        with pytest.raises(ValueError, match="num_classes must be at least 2, got 1"):
            build(form, classes=1)


@pytest.mark.slow
def test_saved_models_open_without_harkeras(tmp_path):
    for form in FORMS:
        model, clips = built(form), random_clips(form)
        model.save(tmp_path / f"{form}.keras")
        np.savez(tmp_path / form, clips=clips, output=run(model, clips))
    code = """
import pathlib, sys, keras, numpy as np
for path in pathlib.Path().glob("*.keras"):
    data = np.load(path.stem + ".npz")
    np.testing.assert_allclose(keras.saving.load_model(path)(data["clips"]), data["output"], atol=1e-6)
    print(path.stem)
assert not any(name.startswith("harkeras") for name in sys.modules)"""
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert sorted(process.stdout.splitlines()) == sorted(FORMS), process.stderr


@pytest.mark.parametrize(
    ("form", "task"),
    [
        ("single_frame", colored_noise),
        pytest.param("single_frame majority", colored_noise, marks=pytest.mark.slow),
        pytest.param("late predictions", colored_noise, marks=pytest.mark.slow),
        ("early", moving_blocks),
        pytest.param("late two frames", moving_blocks, marks=pytest.mark.slow),
        ("slow", moving_blocks),
        pytest.param("multires early", moving_blocks, marks=pytest.mark.slow),
    ],
)
def test_learns(form, task):
    model = build(form, classes=2, dropout=0)
    clips, labels = task(FORMS[form][1], SIZE)
    first, accuracy, loss = fit(model, clips, labels, epochs=10 if task is colored_noise else 16)
    assert accuracy >= 0.9
    assert loss < first * 2 / 3


# The paper gives no totals; these are sums over its shorthand, by hand, for 487 classes.
CONVOLUTIONS = {
    "conv1": 11 * 11 * 3 * 96 + 96,
    "conv2": 5 * 5 * 96 * 256 + 256,
    "conv3": 3 * 3 * 256 * 384 + 384,
    "conv4": 3 * 3 * 384 * 384 + 384,
    "conv5": 3 * 3 * 384 * 256 + 256,
}
DENSE_TO_MAPS = 7 * 7 * 256 * 4096  # of one tower or stream
DENSE_REST = 4096 + 4096 * 4096 + 4096 + 4096 * 487 + 487


@pytest.fixture
def without_weights():
    """Build layers without values for their weights, which in full size take a gigabyte and a while."""
    with no_weights():
        yield


@pytest.mark.usefixtures("without_weights")
class TestPublishedSizes:
    def test_single_frame(self):
        model = create_single_frame_model(487)
        assert model.input_shape == (None, 20, 170, 170, 3)
        assert model.count_params() == sum(CONVOLUTIONS.values()) + DENSE_TO_MAPS + DENSE_REST == 73_908_071
        cnn = model.get_layer("frames").layer.get_layer("cnn")
        assert {n: cnn.get_layer(n).count_params() for n in CONVOLUTIONS} == CONVOLUTIONS
        assert cnn.output_shape == (None, 7, 7, 256)

    def test_early(self):
        model = create_early_fusion_model(487)
        assert model.input_shape == (None, 10, 170, 170, 3)
        more = 11 * 11 * 3 * 9 * 96  # the first filters are 10 frames deep
        assert model.count_params() == 73_908_071 + more == 74_221_703
        assert model.get_layer("cnn").output_shape == (None, 7, 7, 256)

    def test_late(self):
        model = create_late_fusion_model(487)
        assert model.input_shape == (None, 16, 170, 170, 3)
        assert model.count_params() == 73_908_071 + DENSE_TO_MAPS == 125_288_295
        assert model.get_layer("towers").output.shape == (None, 2, 7, 7, 256)

    def test_slow(self):
        model = create_slow_fusion_model(487)
        assert model.input_shape == (None, 10, 170, 170, 3)
        cnn = model.get_layer("cnn")
        assert [cnn.get_layer(f"conv{i}").output.shape[1] for i in range(1, 6)] == [4, 2, 1, 1, 1]
        more = 11 * 11 * 3 * 3 * 96 + 5 * 5 * 96 * 256 + 3 * 3 * 256 * 384
        assert model.count_params() == 73_908_071 + more == 75_511_751

    def test_multiresolution(self):
        model = create_multiresolution_model(487)
        assert model.input_shape == (None, 20, 178, 178, 3)
        streams = model.get_layer("frames").layer.get_layer("streams")
        assert streams.get_layer("context").input_shape == (None, 89, 89, 3)
        assert streams.get_layer("fovea").input_shape == (None, 89, 89, 3)
        assert streams.output_shape == (None, 7, 7, 512)
        expected = 2 * sum(CONVOLUTIONS.values()) + 2 * DENSE_TO_MAPS + DENSE_REST
        assert model.count_params() == expected == 129_035_495

    @pytest.mark.parametrize(("fusion", "frames"), [("early", 10), ("late", 16), ("slow", 10)])
    def test_multiresolution_with_other_fusions(self, fusion, frames):
        model = create_multiresolution_model(4, fusion=fusion, width_multiplier=0.05)
        assert model.input_shape == (None, frames, 178, 178, 3)


class TestSingleFrame:
    def test_answer_is_the_average_of_its_frames(self):
        model, clips = built("single_frame"), random_clips("single_frame")
        frames = run(model.get_layer("frames"), model.get_layer("rescale")(clips))
        assert run(model, clips) == pytest.approx(frames.mean(axis=1), abs=1e-6)

    @pytest.mark.parametrize(
        ("opinions", "votes"),
        [
            # Two hesitant frames outvote a sure one, although the average is for the first class.
            ([[0.9, 0.1, 0.0], [0.4, 0.5, 0.1], [0.4, 0.5, 0.1]], [1, 2, 0]),
            # One voice each: the average breaks the tie.
            ([[0.9, 0.1, 0.0], [0.3, 0.6, 0.1], [0.1, 0.2, 0.7]], [1, 1, 1]),
        ],
    )
    def test_majority(self, opinions, votes):
        clip = np.zeros((1, 3, SIZE, SIZE, 3))
        model = create_single_frame_model(3, clip.shape[1:], vote="majority", width_multiplier=0.05)
        shares = run(model.get_layer("probabilities"), np.array([opinions]))[0]
        assert shares * 4 == pytest.approx(np.array(votes) + np.mean(opinions, axis=0), abs=1e-6)
        assert shares.argmax() == (1 if max(votes) > 1 else np.mean(opinions, axis=0).argmax())

    def test_the_average_never_turns_a_vote(self):
        model = create_single_frame_model(4, (7, SIZE, SIZE, 3), vote="majority", width_multiplier=0.05)
        opinions = np.random.default_rng(0).dirichlet(np.full(4, 0.3), (500, 7)).astype(np.float32)
        votes = np.eye(4)[opinions.argmax(axis=-1)].sum(axis=1)
        winners = run(model.get_layer("probabilities"), opinions).argmax(axis=1)
        assert (votes[np.arange(500), winners] == votes.max(axis=1)).all()

    def test_both_votes_have_the_same_weights(self):
        average, majority = build("single_frame"), build("single_frame majority")
        majority.set_weights([0.9 * weights for weights in average.get_weights()])
        average.set_weights(majority.get_weights())
        clips = random_clips("single_frame")
        opinions = [run(m.get_layer("frames"), m.get_layer("rescale")(clips)) for m in (average, majority)]
        assert np.array_equal(*opinions)

    def test_unknown_vote(self):
        with pytest.raises(ValueError, match="vote must be average or majority, got 'median'"):
            create_single_frame_model(3, vote="median")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"weights": "imagenet"}, "weights and trainable need a backbone, got 'imagenet' and True"),
            ({"trainable": False}, "weights and trainable need a backbone, got None and False"),
            (
                {"backbone": "vgg16", "width_multiplier": 0.5},
                "width_multiplier is of the network without a backbone, got 0.5 and 'vg",
            ),
            ({"backbone": "vgg17"}, "name of a backbone must be one of"),
        ],
    )
    def test_arguments_of_the_other_kind(self, options, message):
        with pytest.raises(ValueError, match=message):
            create_single_frame_model(3, (2, SIZE, SIZE, 3), **options)

    @pytest.mark.parametrize("vote", ["average", "majority"])
    def test_backbone(self, vote):
        """Each frame is named alone, once in a long video; frozen, only the dense layer learns."""
        shape = (4, 32, 40, 3)
        options = {"backbone": "mobilenet_v2_0.35", "trainable": False, "vote": vote}
        model = create_single_frame_model(3, shape, **options)
        assert [weight.shape for weight in model.trainable_weights] == [(1280, 3), (3,)]
        clips = np.random.default_rng(0).integers(0, 256, (2, *shape), np.uint8)
        alone = keras.Model(model.input, model.get_layer("frame_probabilities").output)
        if vote == "average":
            mean = alone(clips).numpy().reshape(2, 4, 3).mean(axis=1)
            np.testing.assert_allclose(model(clips), mean, atol=1e-6)
        before = [weight.numpy() for weight in model.weights]
        # What random weights make of a frame is tiny, and so are the gradients.
        adam = keras.optimizers.Adam(epsilon=1e-30)
        model.compile(adam, "sparse_categorical_crossentropy", jit_compile=False)
        model.train_on_batch(clips, np.array([0, 2]))
        changed = [
            weight.path
            for weight, old in zip(model.weights, before, strict=True)
            if not np.array_equal(weight, old)
        ]
        assert set(changed) == {"frame_probabilities/kernel", "frame_probabilities/bias"}
        encoder, head = split_per_frame(model)
        seen = encoder(clips.reshape(-1, *shape[1:])).numpy()
        np.testing.assert_allclose(head(seen.reshape(2, 4, -1)), model(clips), atol=1e-6)


class TestLateFusion:
    def test_looks_at_two_frames_in_the_middle(self):
        model = create_late_fusion_model(3, (7, SIZE, SIZE, 3), distance=3, width_multiplier=0.1)
        clips = np.random.default_rng(0).integers(0, 256, (1, 7, SIZE, SIZE, 3), np.uint8)
        before, seen = run(model, clips), []
        for frame in range(7):
            changed = clips.copy()
            changed[:, frame] = 255 - changed[:, frame]
            if not np.array_equal(run(model, changed), before):
                seen.append(frame)
        assert seen == [1, 4]

    def test_towers_share_weights(self):
        model = create_late_fusion_model(3, (2, SIZE, SIZE, 3), distance=1, width_multiplier=0.1)
        single = (
            create_single_frame_model(3, (2, SIZE, SIZE, 3), width_multiplier=0.1).get_layer("frames").layer
        )
        assert model.get_layer("towers").count_params() == single.get_layer("cnn").count_params()
        clips = np.random.default_rng(0).random((1, 2, SIZE, SIZE, 3), np.float32)
        maps = run(model.get_layer("towers"), clips)
        assert np.array_equal(run(model.get_layer("towers"), clips[:, ::-1]), maps[:, ::-1])

    def test_two_frames_alone_are_the_same_network(self):
        long, short = build("late"), build("late two frames")
        short.set_weights(long.get_weights())
        clips = random_clips("late")
        assert run(short, clips[:, [1, 4]]) == pytest.approx(run(long, clips), abs=1e-6)

    def test_raises(self):
        shape = (10, SIZE, SIZE, 3)
        message = "input_shape must have at least 16 frames for a distance of 15, got 10"
        for builder, options in (
            (create_late_fusion_model, {}),
            (create_multiresolution_model, {"fusion": "late"}),
        ):
            with pytest.raises(ValueError, match=message):
                builder(3, shape, **options)
            with pytest.raises(ValueError, match="distance must be at least 1, got 0"):
                builder(3, shape, distance=0, **options)
        with pytest.raises(ValueError, match="merge must be features or predictions, got 'logits'"):
            create_late_fusion_model(3, shape, merge="logits")


def test_early_fusion_is_a_convolution_over_all_frames():
    """Its first layer gives what a 3-D convolution over the whole clip would."""
    model = built("early")
    clips = random_clips("early") / np.float32(255)
    maps = run(model.get_layer("stack"), run(model.get_layer("time_last"), clips))
    kernel, bias = model.get_layer("cnn").get_layer("conv1").get_weights()
    over_time = kernel.reshape(11, 11, 5, 3, -1).transpose(2, 0, 1, 3, 4)
    padded = np.pad(clips, [(0, 0), (0, 0), (4, 4), (4, 4), (0, 0)])  # what "same" adds for 24 pixels
    expected = np.maximum(keras.ops.conv(padded, over_time, (1, 3, 3))[:, 0] + bias, 0)
    assert run(model.get_layer("cnn").get_layer("conv1"), maps) == pytest.approx(expected, abs=1e-5)


def test_early_fusion_of_one_frame():
    with pytest.raises(ValueError, match="input_shape must have at least 2 frames for early fusion, got 1"):
        create_early_fusion_model(3, (1, SIZE, SIZE, 3))


@pytest.mark.parametrize("frames", [2, 9, 11, 20])
def test_slow_fusion_of_frames_that_do_not_fit(frames):
    message = f"input_shape must have 10, 18, 26, ... frames for slow fusion, got {frames}"
    with pytest.raises(ValueError, match=message):
        create_slow_fusion_model(3, (frames, SIZE, SIZE, 3))
    with pytest.raises(ValueError, match=message):
        create_multiresolution_model(3, (frames, SIZE, SIZE, 3), fusion="slow")


@pytest.mark.parametrize("form", ["early", "slow", "slow 18 frames"])
def test_fusion_sees_every_frame(form):
    clips = random_clips(form, 1)
    changed = np.repeat(clips, 1 + clips.shape[1], axis=0)
    for frame in range(clips.shape[1]):
        changed[1 + frame, frame] = 255 - changed[1 + frame, frame]
    before, *after = run(built(form), changed)
    assert all(np.abs(probabilities - before).max() > 1e-6 for probabilities in after)


class TestMultiresolution:
    @pytest.mark.parametrize("size", [24, 25, 26])
    def test_streams(self, size):
        shape = (5, size, size, 3)
        model = create_multiresolution_model(3, shape, width_multiplier=0.05)
        streams = model.get_layer("frames").layer.get_layer("streams")
        half, edge = size // 2, (size - size // 2) // 2
        frame = np.random.default_rng(0).random((1, size, size, 3), np.float32)
        fovea = run(streams.get_layer("crop"), frame)
        assert np.array_equal(fovea, frame[:, edge : edge + half, edge : edge + half])
        context = run(streams.get_layer("shrink"), frame)
        blocks = frame[:, : 2 * half, : 2 * half].reshape(1, half, 2, half, 2, 3)
        assert context == pytest.approx(blocks.mean(axis=(2, 4)), abs=1e-6)

    def test_unknown_fusion(self):
        with pytest.raises(
            ValueError, match="fusion must be one of single_frame, early, late, slow, got 'mid'"
        ):
            create_multiresolution_model(3, fusion="mid")


@pytest.mark.parametrize("shape", [(5, 6, 12), (3, 5, 6, 12), (4, 4, 3), (1, 1, 1)])
@pytest.mark.parametrize("constants", [{}, {"k": 1, "n": 3, "alpha": 0.3, "beta": 0.75}])
def test_local_response_normalization(shape, constants):
    """The same as TensorFlow's, whose `depth_radius` is (n - 1) / 2 and whose `bias` is k."""
    x = keras.Input(shape)
    model = keras.Model(x, local_response_normalization(x, name="norm", **constants))
    values = np.random.default_rng(0).normal(0, 100, (2, *shape)).astype(np.float32)
    constants = {"k": 2, "n": 5, "alpha": 1e-4, "beta": 0.5} | constants
    expected = tf.nn.local_response_normalization(
        values.reshape(2, -1, 1, shape[-1]),
        depth_radius=(constants["n"] - 1) // 2,
        bias=constants["k"],
        alpha=constants["alpha"],
        beta=constants["beta"],
    )
    np.testing.assert_allclose(run(model, values), np.reshape(expected, values.shape), rtol=1e-5)
