"""movinet, whole clips and streams, and the detour of depthwise convolutions."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from learning import losses_of, moving_bars

from harkeras.models.blocks import speed_up_groups
from harkeras.models.movinet import create_movinet_model, create_movinet_states, create_movinet_stream_model
from harkeras.models.registry import count_parameters, no_weights

# Trainable parameters for 600 classes, of whole clips and causal, and the former with the running means of
# batch normalization. Published are the last, as 3.1, 4.6 and 4.8 M in the paper and exactly in its code.
PARAMETERS = {
    "a0": (3_111_799, 3_748_031, 3_126_071),
    "a1": (4_690_296, 6_447_352, 4_717_912),
    "a2": (5_249_562, 7_326_962, 5_280_922),
}
# What the authors' code makes of such weights and such a clip.
KNOWN = {
    False: [0.143291, 0.359360, 0.278241, 0.219108],
    True: [0.629929, 0.044052, 0.021595, 0.304425],
}
SHAPE = (7, 24, 26, 3)


def run(model, inputs, **options):
    return keras.ops.convert_to_numpy(model(inputs, **options))


def clips_of(count=2, shape=SHAPE, seed=1):
    """Coarse squares that change with every frame: noise would look the same everywhere once it is pooled."""
    frames, height, width, channels = shape
    squares = np.random.default_rng(seed).integers(0, 256, (count, frames, 3, 3, channels), np.uint8)
    return squares[:, :, np.arange(height) * 3 // height][:, :, :, np.arange(width) * 3 // width]


def fill(model):
    """Weights as those of a trained network: no block adds nothing, and a signal goes through."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if "rezero" in weight.path:
            values = np.full(weight.shape, 0.3)
        elif "gamma" in weight.path or "variance" in weight.path:
            values = rng.uniform(0.5, 1.5, weight.shape)
        elif weight.path.endswith("kernel"):
            gain = 0.5 if "probabilities" in weight.path else 2
            values = rng.normal(0, (gain / np.prod(weight.shape[:-1])) ** 0.5, weight.shape)
        else:
            values = rng.normal(0, 0.1, weight.shape)
        weight.assign(values)
    return model


@pytest.fixture(scope="module")
def causal():
    return fill(create_movinet_model(4, SHAPE, causal=True, width_multiplier=0.25))


@pytest.fixture(scope="module")
def answer(causal):
    return run(causal, clips_of())


@pytest.fixture(scope="module")
def stream(causal):
    model = create_movinet_stream_model(4, (None, *SHAPE[1:]), width_multiplier=0.25)
    model.set_weights(causal.get_weights())
    return model


@pytest.fixture(scope="module")
def play(stream):
    """A function that plays clips in chunks: the probabilities after each, and the last states."""
    # Traced once, for chunks of any length.
    signature = {name: tf.TensorSpec(x.shape, x.dtype) for name, x in stream.input.items()}
    step = tf.function(lambda inputs: stream(inputs, training=False), input_signature=[signature])

    def play(clips, chunks, step=step):
        states, start, probabilities = create_movinet_states(stream, len(clips)), 0, []
        for frames in chunks:
            chunk = np.float32(clips[:, start : start + frames])
            states = {name: np.array(x) for name, x in step({"clip": chunk, **states}).items()}
            probabilities.append(states.pop("probabilities"))
            start += frames
        return probabilities, states

    return play


class TestArchitecture:
    @pytest.mark.parametrize("variant", PARAMETERS)
    def test_parameters_are_those_published(self, variant):
        trainable, causal, published = PARAMETERS[variant]
        with no_weights():
            model = create_movinet_model(600, variant=variant)
            assert (count_parameters(model), model.count_params()) == (trainable, published)
            assert model.input_shape == (None, 50, *(224 if variant == "a2" else 172,) * 2, 3)
            assert count_parameters(create_movinet_model(600, variant=variant, causal=True)) == causal
            stream = create_movinet_stream_model(600, variant=variant)
            assert count_parameters(stream) == causal
            assert stream.input["clip"].shape == (None, None, *model.input_shape[2:])

    @pytest.mark.parametrize("causal", KNOWN)
    def test_answers_are_those_of_the_authors_code(self, causal):
        shape = (5, 40, 48, 3)
        model = fill(create_movinet_model(4, shape, causal=causal))
        assert run(model, clips_of(1, shape))[0] == pytest.approx(KNOWN[causal], abs=1e-5)

    def test_new_blocks_add_nothing(self):
        model = create_movinet_model(3, SHAPE, width_multiplier=0.1)
        closed = [layer for layer in model.layers if layer.name.endswith("_rezero")]
        assert len(closed) == 15
        assert all(run(layer, np.ones((1, 1), "float32")) == 0 for layer in closed)

    @pytest.mark.parametrize(
        ("shape", "causal"), [((1, 1, 1, 3), False), ((1, 1, 1, 3), True), ((2, 17, 5, 3), True)]
    )
    def test_any_size(self, shape, causal):
        model = create_movinet_model(2, shape, causal=causal, width_multiplier=0.1)
        assert run(model, np.zeros((1, *shape), np.uint8)).sum() == pytest.approx(1)

    def test_stochastic_depth_and_dropout(self):
        with no_weights():
            model = create_movinet_model(2, SHAPE, width_multiplier=0.1)
            plain = create_movinet_model(2, SHAPE, width_multiplier=0.1, dropout=0, stochastic_depth=0)
        *depths, last = (layer for layer in model.layers if isinstance(layer, keras.layers.Dropout))
        assert [layer.rate for layer in depths] == pytest.approx([0.2 * i / 15 for i in range(1, 16)])
        assert last.rate == 0.5
        assert not [layer for layer in plain.layers if isinstance(layer, keras.layers.Dropout)]
        # Whole blocks are left out, of whole clips.
        layer = keras.layers.Dropout.from_config(depths[-1].get_config() | {"rate": 0.5})
        kept = run(layer, np.ones((64, 2, 3, 3, 4)), training=True)
        assert {0.0, 2.0} == set(kept.ravel())
        assert (kept == kept[:, :1, :1, :1, :1]).all()


class TestCausal:
    def test_no_frame_looks_ahead(self, causal):
        """What the network knows of a frame does not change with later frames."""
        features = keras.Model(causal.input, causal.get_layer("head_project_swish").output)
        clips = clips_of(1)
        changed = clips.copy()
        changed[:, 4:] = 255 - changed[:, 4:]
        before, after = run(features, clips), run(features, changed)
        assert np.abs(before[:, :4] - after[:, :4]).max() < 1e-6
        assert (np.abs(before[:, 4:] - after[:, 4:]).max(axis=(0, 2, 3, 4)) > 1e-4).all()

    def test_every_weight_gets_a_gradient(self, causal):
        with tf.GradientTape() as tape:
            loss = keras.losses.sparse_categorical_crossentropy(np.array([0, 1]), causal(clips_of()))
        for variable, gradient in zip(
            causal.trainable_variables, tape.gradient(loss, causal.trainable_variables), strict=True
        ):
            assert gradient is not None, variable.path
            assert np.abs(gradient).max() > 0, variable.path

    @pytest.mark.parametrize("causal", [pytest.param(False, marks=pytest.mark.slow), True])
    def test_learns(self, causal):
        """Which way does the bar move? The loss falls on eight clips that are seen again and again."""
        keras.utils.set_random_seed(3)
        shape = (5, 34, 36, 3)
        options = {"width_multiplier": 0.25, "dropout": 0, "stochastic_depth": 0}
        model = create_movinet_model(2, shape, causal=causal, **options)
        losses = losses_of(model, *moving_bars(shape), learning_rate=1e-2, steps=5)
        assert np.mean(losses[-2:]) < 0.7 * losses[0], losses


class TestStream:
    def test_weights_are_those_of_the_causal_model(self, causal, stream):
        assert [w.path for w in stream.weights] == [w.path for w in causal.weights]

    @pytest.mark.parametrize("chunks", [[7], [1] * 7, [3, 4], [1, 5, 1]])
    def test_after_the_last_frame_it_gives_the_causal_answer(self, answer, play, chunks):
        probabilities, states = play(clips_of(), chunks)
        assert probabilities[-1] == pytest.approx(answer, abs=1e-5)
        assert states["frame_count"].tolist() == [[7], [7]]

    def test_after_each_frame_it_gives_the_answer_for_the_clip_so_far(self, causal, play):
        clips = clips_of(1)
        probabilities, _ = play(clips, [1] * 7)
        for frames in (1, 4):
            shorter = create_movinet_model(4, (frames, *SHAPE[1:]), causal=True, width_multiplier=0.25)
            shorter.set_weights(causal.get_weights())
            assert probabilities[frames - 1] == pytest.approx(run(shorter, clips[:, :frames]), abs=1e-5)

    def test_states_do_not_depend_on_chunks(self, play):
        (_, some), (_, others) = (play(clips_of(), chunks) for chunks in ([2, 2, 3], [6, 1]))
        assert some.keys() == others.keys()
        for name in some:
            assert some[name] == pytest.approx(others[name], abs=1e-4), name

    def test_videos_side_by_side(self, play, stream):
        """Each keeps its own count, so that one may begin while another goes on."""
        clips = clips_of()
        apart, _ = play(clips[1:], [3])
        states = play(clips, [4])[1]
        for state in states.values():
            state[1] = 0
        chunk = np.stack([clips[0, 4:], clips[1, :3]])
        stream.jit_compile = False  # compiling would take longer than predicting
        both = stream.predict_on_batch({"clip": chunk, **states})
        assert both["probabilities"][1:] == pytest.approx(apart[0], abs=1e-5)
        assert both["frame_count"].tolist() == [[7], [3]]

    def test_first_states(self, stream):
        states = create_movinet_states(stream, 2)
        assert {
            name: (s.shape, s.dtype) for name, s in states.items() if name.startswith("block2_layer0")
        } == {
            "block2_layer0_stream_buffer": ((2, 4, 2, 2, 46), np.float32),
            "block2_layer0_pool_buffer": ((2, 1, 1, 1, 46), np.float32),
        }
        assert states["frame_count"].dtype == np.int32
        assert states.keys() == {*stream.output} - {"probabilities"}
        assert not any(state.any() for state in states.values())

    def test_one_frame_at_a_time(self, causal, play):
        """With a fixed length of chunks, as converters for phones want it."""
        single = create_movinet_stream_model(4, (1, *SHAPE[1:]), width_multiplier=0.25)
        single.set_weights(causal.get_weights())
        assert all(None not in state.shape[1:] for state in single.input.values())
        answers = [play(clips_of(1), [1] * 3, **step)[0][-1] for step in ({"step": single}, {})]
        assert answers[0] == pytest.approx(answers[1], abs=1e-6)


@pytest.mark.slow
def test_saved_stream_opens_without_harkeras(causal, stream, play, tmp_path):
    stream.save(tmp_path / "stream.keras")
    clips = clips_of(1)
    np.savez(tmp_path / "clips", clips=clips, output=run(causal, clips))
    code = """
import sys, keras, numpy as np
data = np.load("clips.npz")
stream = keras.saving.load_model("stream.keras")
states = {name: np.zeros((1, *x.shape[1:]), x.dtype) for name, x in stream.input.items() if name != "clip"}
probabilities = stream({"clip": data["clips"], **states})["probabilities"]
np.testing.assert_allclose(probabilities, data["output"], atol=1e-5)
assert not any(name.startswith("harkeras") for name in sys.modules)"""
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    opened = speed_up_groups(keras.saving.load_model(tmp_path / "stream.keras"))
    assert play(clips, [3, 4], step=opened)[0][-1] == pytest.approx(run(causal, clips), abs=1e-5)


class TestDepthwise:
    """The detour of `speed_up_groups` where every channel is a group."""

    @pytest.mark.parametrize("padding", ["same", "valid"])
    @pytest.mark.parametrize("strides", [1, (1, 2, 2), (2, 1, 1), (1, 1, 2)])
    @pytest.mark.parametrize("kernel", [(1, 5, 5), (3, 3, 3), (5, 3, 3), (4, 2, 3), (5, 1, 1), (1, 1, 1)])
    def test_numbers_and_gradients_are_those_of_dense_kernels(self, kernel, strides, padding):
        clip = keras.Input((None, 7, 8, 4))
        options = {"padding": padding, "use_bias": False}
        conv = keras.layers.Conv3D(4, kernel, strides, groups=4, **options)
        fast = speed_up_groups(keras.Model(clip, conv(clip)))
        points = tf.constant(np.random.default_rng(0).normal(size=(2, 6, 7, 8, 4)), tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(points)
            found = fast(points)
            gradients = tape.gradient(tf.reduce_sum(found**2), [points, conv.kernel.value])
        with tf.GradientTape() as tape:  # a dense kernel with zeros from each channel to the others
            tape.watch(points)
            dense = conv.kernel.value * np.eye(4, dtype="float32")
            expected = keras.ops.conv(points, dense, strides, padding)
            wanted = tape.gradient(tf.reduce_sum(expected**2), [points, conv.kernel.value])
        assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-5)
        for gradient, other in zip(gradients, wanted, strict=True):
            assert gradient.numpy() == pytest.approx(other.numpy(), abs=2e-3, rel=1e-3)

    def test_number_of_frames_may_be_unknown(self):
        clip = keras.Input((None, 5, 6, 2))
        conv = keras.layers.Conv3D(2, 3, padding="same", groups=2)
        model = keras.Model(clip, conv(clip))
        plain = keras.models.clone_model(model)
        plain.set_weights(model.get_weights())
        points = np.random.default_rng(0).normal(size=(1, 4, 5, 6, 2)).astype("float32")
        traced = tf.function(speed_up_groups(model), input_signature=[tf.TensorSpec((None, None, 5, 6, 2))])
        assert traced(points).numpy() == pytest.approx(run(plain, points), abs=1e-5)


class TestRefusals:
    @pytest.mark.parametrize("builder", [create_movinet_model, create_movinet_stream_model])
    def test_both(self, builder):
        with pytest.raises(ValueError, match="num_classes must be at least 2, got 1"):
            builder(1)
        with pytest.raises(ValueError, match="variant must be a0, a1 or a2, got 'a3'"):
            builder(2, variant="a3")
        with pytest.raises(ValueError, match=r"input_shape must be four positive integers \(frames, height"):
            builder(2, (64, 64, 3))
        with pytest.raises(ValueError, match="width_multiplier must be positive, got 0"):
            builder(2, width_multiplier=0)

    def test_only_frames_of_a_stream_may_be_unknown(self):
        with pytest.raises(ValueError, match="input_shape must be four positive integers"):
            create_movinet_stream_model(2, (None, None, 64, 3))
        with pytest.raises(ValueError, match="input_shape must be four positive integers"):
            create_movinet_model(2, (None, 64, 64, 3))
