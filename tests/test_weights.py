"""Converters whose sources need no PyTorch; the others are in test_weights_torch.py."""

import tarfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from published_files import save_safetensors, torchvision_state

from harkeras.assets import store as assets
from harkeras.models import (
    create_c3d_model,
    create_googlenet_model,
    create_i3d_model,
    create_lrcn_model,
    create_r3d_model,
    create_resnet3d_model,
    create_two_stream_i3d_model,
)
from harkeras.pretrained.weights import load_weights

CHANNELS = {  # of the branches: 1x1; 1x1, 3x3; 1x1, 3x3; 1x1 after the pool
    "3b": (64, 96, 128, 16, 32, 32),
    "3c": (128, 128, 192, 32, 96, 64),
    "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64),
    "4d": (128, 128, 256, 24, 64, 64),
    "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128),
    "5b": (256, 160, 320, 32, 128, 128),
    "5c": (384, 192, 384, 48, 128, 128),
}


class Inception:
    """Inception-v1 as TensorFlow 1 code has it: operations, and variables under names; of images or clips."""

    def __init__(self, rank, classes, name, channels=3):
        self.rank, self.classes, self.name, self.channels = rank, classes, name, channels
        self.variables, self.rng = {}, np.random.default_rng(27)

    def variable(self, name, shape, make):
        if name not in self.variables:
            self.variables[name] = make(shape).astype(np.float32)
        return self.variables[name]

    def unit(self, x, filters, size, stride=1, name=""):
        shape = (size,) * self.rank + (x.shape[-1], filters)
        deviation = np.sqrt(2 / np.prod(shape[:-1]))
        kernel = self.variable(self.name(name, "kernel"), shape, lambda s: self.rng.normal(0, deviation, s))
        x = tf.nn.convolution(x, kernel, [stride] * self.rank, "SAME")
        statistics = {"beta": (-0.2, 0.2), "moving_mean": (-0.2, 0.2), "moving_variance": (0.8, 1.2)}
        beta, mean, variance = (
            self.variable(self.name(name, part), (filters,), lambda s, r=spread: self.rng.uniform(*r, s))
            for part, spread in statistics.items()
        )
        return tf.nn.relu((x - mean) / np.sqrt(variance + 1e-3) + beta)

    def pool(self, x, size, stride):
        sizes, strides = ([n] * self.rank if isinstance(n, int) else n[-self.rank :] for n in (size, stride))
        return tf.nn.pool(x, sizes, "MAX", strides, "SAME")

    def mixed(self, x, block):
        b0, b1a, b1b, b2a, b2b, b3 = CHANNELS[block]
        second = "0a" if block == "5b" else "0b"  # the authors' slip
        name = f"Mixed_{block}/Branch_"
        y0 = self.unit(x, b0, 1, name=f"{name}0/Conv_0a_1x1")
        y1 = self.unit(x, b1a, 1, name=f"{name}1/Conv_0a_1x1")
        y1 = self.unit(y1, b1b, 3, name=f"{name}1/Conv_0b_3x3")
        y2 = self.unit(x, b2a, 1, name=f"{name}2/Conv_0a_1x1")
        y2 = self.unit(y2, b2b, 3, name=f"{name}2/Conv_{second}_3x3")
        y3 = self.unit(self.pool(x, 3, 1), b3, 1, name=f"{name}3/Conv_0b_1x1")
        return tf.concat([y0, y1, y2, y3], -1)

    def maps(self, x):
        x = self.pool(self.unit(x, 64, 7, 2, name="Conv_1a_7x7"), (1, 3, 3), (1, 2, 2))
        x = self.unit(self.unit(x, 64, 1, name="Conv_2b_1x1"), 192, 3, name="Conv_2c_3x3")
        x = self.pool(x, (1, 3, 3), (1, 2, 2))
        for block in CHANNELS:
            if block == "4b":
                x = self.pool(x, 3, 2)
            x = self.mixed(self.pool(x, 2, 2) if block == "5b" else x, block)
        return x

    def logits(self, x):
        """Pixels in [-1, 1] (B, ..., H, W, C) -> logits."""
        x = self.maps(x)
        if self.rank == 3:
            x = tf.nn.pool(x, (2, *x.shape[2:4]), "AVG", (1, 1, 1), "VALID")
        else:
            x = tf.reduce_mean(x, (1, 2), keepdims=True)
        shape = (1,) * self.rank + (1024, self.classes)
        kernel = self.variable(self.name("Logits", "kernel"), shape, lambda s: self.rng.normal(0, 0.1, s))
        bias = self.variable(self.name("Logits", "bias"), (self.classes,), lambda s: self.rng.normal(0, 1, s))
        x = tf.nn.convolution(x, kernel, padding="VALID") + bias
        return tf.reduce_mean(x, tuple(range(1, self.rank + 1))).numpy()


def deepmind(scope):
    """Names as in google-deepmind/kinetics-i3d."""

    def name(unit, part):
        unit = {"Logits": "Logits/Conv_0c_1x1"}.get(unit, unit).replace("Conv_", "Conv3d_")
        return f"{scope}{unit}/" + {
            "kernel": "conv_3d/w",
            "bias": "conv_3d/b",
        }.get(part, f"batch_norm/{part}")

    return name


def slim(unit, part):
    """Names as in inception_v1.ckpt."""
    unit = {"Logits": "Logits/Conv_0c_1x1"}.get(unit, unit).replace("Conv_", "Conv2d_")
    return f"InceptionV1/{unit}/" + {"kernel": "weights", "bias": "biases"}.get(part, f"BatchNorm/{part}")


def save_checkpoint(prefix, variables):
    """Write a checkpoint with any names, as TensorFlow 1 does."""
    names = list(variables)
    tensors = [tf.constant(variables[name]) for name in names]
    tf.raw_ops.SaveV2(
        prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors
    )
    return prefix


def clips_of(*shape):
    return np.random.default_rng(0).integers(0, 256, (2, *shape)).astype(np.float32)


def logits_of(model, x):
    """What goes into the softmax of I3D, or comes close to it: log-probabilities up to a constant."""
    last = model.get_layer("probabilities")
    if isinstance(last, keras.layers.Dense):
        features = keras.Model(model.input, last.input)(x)
        return keras.ops.convert_to_numpy(features) @ last.kernel.numpy() + last.bias.numpy()
    return keras.ops.convert_to_numpy(keras.Model(model.input, last.input)(x))


def assert_close(ours, theirs):
    scale = np.abs(theirs).max()
    assert np.ptp(theirs / scale, axis=-1).min() > 0.1
    np.testing.assert_allclose(ours / scale, theirs / scale, atol=1e-4)


@pytest.fixture(scope="module", params=["RGB", "Flow", "600"])
def deepmind_checkpoint(request, tmp_path_factory):
    """A checkpoint, the clips that were shown, and the logits."""
    channels = 2 if request.param == "Flow" else 3
    scope = "" if request.param == "600" else f"{request.param}/inception_i3d/"
    source = Inception(3, 7, deepmind(scope))
    clips = clips_of(17, 40, 48, channels)
    pixels = (clips - 128) / 127 if channels == 2 else clips / 127.5 - 1
    logits = source.logits(pixels)
    variables = dict(source.variables)
    if request.param == "600":  # in the midst of training, and with more axes
        for name in list(variables):
            if "batch_norm" in name:
                variables[name] = variables[name].reshape(1, 1, 1, 1, -1)
            if "moving" not in name:
                variables[f"{name}/Momentum"] = variables[name]
        variables["global_step"] = np.array(5)
    return save_checkpoint(tmp_path_factory.mktemp("i3d") / "model.ckpt", variables), clips, logits


class TestDeepMind:
    @pytest.mark.parametrize("suffix", ["", ".index"])
    def test_same_outputs_after_conversion(self, deepmind_checkpoint, suffix):
        prefix, clips, logits = deepmind_checkpoint
        model = load_weights(create_i3d_model(7, clips.shape[1:]), f"{prefix}{suffix}")
        assert_close(logits_of(model, clips), logits)

    def test_other_classes(self, deepmind_checkpoint):
        prefix, clips, _ = deepmind_checkpoint
        model = create_i3d_model(3, clips.shape[1:])
        head = model.get_layer("Logits_Conv3d_0c_1x1").get_weights()
        with pytest.raises(
            ValueError, match=r"Logits/Conv3d_0c_1x1/conv_3d/b is \(7,\) .*; head=False leaves"
        ):
            load_weights(model, prefix)
        load_weights(model, prefix, head=False)
        assert all(map(np.array_equal, head, model.get_layer("Logits_Conv3d_0c_1x1").get_weights()))
        assert model.get_layer("Mixed_5b_Branch_2_Conv3d_0b_3x3_batch_norm").beta.numpy().any()


@pytest.fixture(scope="module")
def slim_checkpoint(tmp_path_factory):
    source = Inception(2, 7, slim)
    images = clips_of(64, 48, 3)
    logits = source.logits(images / 127.5 - 1)
    prefix = tmp_path_factory.mktemp("slim") / "inception_v1.ckpt"
    return save_checkpoint(prefix, source.variables), images, logits, source


class TestInceptionV1:
    def test_images(self, slim_checkpoint):
        prefix, images, logits, _ = slim_checkpoint
        model = load_weights(create_googlenet_model(7, (64, 48, 3), batch_norm=True), prefix)
        assert_close(logits_of(model, images), logits)

    def test_clips_by_inflation(self, slim_checkpoint):
        prefix, _, _, source = slim_checkpoint
        clips = clips_of(9, 40, 32, 3)
        model = create_i3d_model(3, clips.shape[1:])
        head = model.get_layer("Logits_Conv3d_0c_1x1").get_weights()
        load_weights(model, prefix)
        inflated = Inception(3, 3, slim)
        for name, value in source.variables.items():
            if value.ndim == 4:
                value = np.repeat(value[None] / len(value), len(value), axis=0)
            inflated.variables[name] = value
        expected = inflated.maps(clips / 127.5 - 1).numpy()
        ours = keras.Model(model.input, model.get_layer("Mixed_5c").output)(clips)
        assert_close(keras.ops.convert_to_numpy(ours), expected)
        assert all(map(np.array_equal, head, model.get_layer("Logits_Conv3d_0c_1x1").get_weights()))

    def test_into_another_network(self, slim_checkpoint):
        with pytest.raises(ValueError, match=r"the model must be I3D, .*, got r3d"):
            load_weights(create_r3d_model(2, (2, 32, 32, 3), filters=2), slim_checkpoint[0])

    def test_in_an_archive(self, slim_checkpoint, tmp_path):
        prefix = slim_checkpoint[0]
        with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
            for file in prefix.parent.iterdir():
                archive.add(file, f"folder/{file.name}")
        model = create_googlenet_model(7, (32, 32, 3), batch_norm=True)
        load_weights(model, tmp_path / "x.tar.gz")
        with tarfile.open(tmp_path / "empty.tar.gz", "w:gz"):
            pass
        with pytest.raises(ValueError, match=r"empty.tar.gz must hold one TensorFlow checkpoint, got 0"):
            load_weights(model, tmp_path / "empty.tar.gz")


SHAPE = (4, 32, 32, 3)


def c3d_state(model):
    """The weights of our C3D as its ports to PyTorch name them and lay them out."""
    names = {"conv1a": "conv1", "conv2a": "conv2", "probabilities": "fc8"}
    state = {}
    for layer in model.layers:
        for weight in layer.weights:
            value = weight.numpy()
            if weight.name == "kernel":
                value = np.ascontiguousarray(np.moveaxis(value, (-1, -2), (0, 1)))
            part = {"kernel": "weight"}.get(weight.name, weight.name)
            state[f"{names.get(layer.name, layer.name)}.{part}"] = value
    return state


@pytest.fixture(scope="module")
def donor():
    model = create_r3d_model(3, SHAPE, filters=2)
    rng = np.random.default_rng(27)
    model.set_weights([rng.uniform(0.5, 1, w.shape) for w in model.get_weights()])
    return model


class TestStateDict:
    """The layout of PyTorch, in a file that needs no PyTorch."""

    @pytest.fixture
    def state(self, donor):
        return torchvision_state(donor) | {"stem.1.num_batches_tracked": np.array(7)}

    def test_arrives(self, donor, state, tmp_path):
        model = create_r3d_model(3, SHAPE, filters=2)
        for source in (None, "torchvision"):
            load_weights(model, save_safetensors(tmp_path / "x.safetensors", state), source=source)
            assert all(map(np.array_equal, model.get_weights(), donor.get_weights()))

    def test_says_what_does_not_fit(self, donor, state, tmp_path):
        model = create_r3d_model(3, SHAPE, filters=2)
        before = model.get_weights()
        state["layer9.conv.weight"] = state.pop("layer2.0.downsample.1.running_mean")
        state["stem.1.bias"] = np.zeros(3, np.float32)
        with pytest.raises(
            ValueError,
            match=r"x.safetensors \(torchvision.*\) must fit the model r3d: "
            r"missing for the model: layer2_0_downsample_1/moving_mean; "
            r"left over in the file: layer9.conv.weight; "
            r"of another shape: stem.1.bias is \(3,\) where stem_1 has \(2,\); head=False",
        ):
            load_weights(model, save_safetensors(tmp_path / "x.safetensors", state))
        assert all(map(np.array_equal, model.get_weights(), before))

    def test_unknown(self, state, tmp_path):
        path = save_safetensors(tmp_path / "x.safetensors", {"a": np.zeros(2, np.float32)})
        model = create_lrcn_model(2)
        with pytest.raises(ValueError, match=r"x.safetensors must have the names of one of .*; got a$"):
            load_weights(model, path)
        with pytest.raises(ValueError, match=r"source must be one of i3d_deepmind, .*, got 'x'"):
            load_weights(model, path, source="x")
        with pytest.raises(ValueError, match=r"must fit the model lrcn: missing .*left over .* in all\)"):
            load_weights(model, save_safetensors(path, state))
        with pytest.raises(FileNotFoundError, match=r"no file of weights at .*none.pth"):
            load_weights(model, tmp_path / "none.pth")
        path.write_bytes(b"no weights")
        with pytest.raises(ValueError, match=r"x.safetensors is not a .safetensors file that can be read"):
            load_weights(model, path)
        (tmp_path / "x.ckpt").write_bytes(b"no weights")
        with pytest.raises(ValueError, match=r"x.ckpt is not a whole TensorFlow checkpoint"):
            load_weights(model, tmp_path / "x.ckpt")

    @pytest.mark.parametrize("kind", ["resnet3d", "c3d"])
    def test_asks_where_two_networks_of_equal_names_compute_different_things(self, tmp_path, kind):
        if kind == "c3d":
            model = create_c3d_model(3, (16, 16, 16, 3), width_multiplier=1 / 32)
            other = create_c3d_model(3, (16, 112, 112, 3), width_multiplier=1 / 32, pools="pytorch")
            state, argument = c3d_state(model), "pools"
        else:
            model = create_resnet3d_model(3, (2, 16, 16, 3), filters=2)
            other = create_resnet3d_model(3, (2, 16, 16, 3), filters=2, normalization="kinetics")
            state, argument = torchvision_state(model), "normalization"
        path = save_safetensors(tmp_path / "x.safetensors", state)
        later = {"c3d": "c3d_pytorch", "resnet3d": "resnet3d_master"}[kind]
        for network in (model, other):
            with pytest.raises(
                ValueError, match=rf"source must be '{kind}' \(.*\) or '{later}' \(.*\) for .*x\.safete"
            ):
                load_weights(network, path)
        before = other.get_weights()
        with pytest.raises(ValueError, match=rf"model must be built with {argument}=.* for .*x\.safetensors"):
            load_weights(other, path, source=kind)
        assert all(map(np.array_equal, other.get_weights(), before))
        load_weights(model, path, source=kind)

    def test_c3d_of_sports_1m_is_known_by_its_classes(self, tmp_path):
        model = create_c3d_model(487, (16, 16, 16, 3), width_multiplier=1 / 32)
        load_weights(model, save_safetensors(tmp_path / "x.safetensors", c3d_state(model)))

    def test_two_streams_are_loaded_one_by_one(self, tmp_path):
        with pytest.raises(
            ValueError, match=r"with rgb inside; .*load_weights\(model.get_layer\('rgb'\), ...\)"
        ):
            load_weights(create_two_stream_i3d_model(2, (8, 32, 32, 5), width_multiplier=0.1), tmp_path / "x")


@pytest.mark.slow
def test_published_check_of_i3d():
    """DeepMind's own figures: the clip CricketShot, 79 frames, both streams, ImageNet and Kinetics."""
    names = ("i3d_rgb_imagenet", "i3d_flow_imagenet", "cricket_shot_rgb", "cricket_shot_flow")
    try:
        rgb, flow, *samples = (assets.find_asset(name, download=False) for name in names)
    except FileNotFoundError as error:
        pytest.skip(f"DeepMind's checkpoints and sample are not here: {error}")
    rgb_clip, flow_clip = map(np.load, samples)
    streams = {rgb: rgb_clip * 127.5 + 127.5, flow: flow_clip * 127 + 128}
    logits = 0
    for checkpoint, clip in streams.items():
        model = load_weights(create_i3d_model(400, clip.shape[1:]), checkpoint)
        logits = logits + logits_of(model, clip)[0]
    classes = assets.find_asset("kinetics400_labels").read_text().splitlines()
    assert classes[logits.argmax()] == "playing cricket"
    assert logits.max() == pytest.approx(41.8137, abs=1e-3)
    assert np.linalg.norm(logits) == pytest.approx(138.468643, abs=1e-3)
