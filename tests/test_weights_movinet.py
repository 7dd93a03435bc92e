"""MoViNet A0 written in operations of TensorFlow, its variables saved under the names of two codes."""

import re
import warnings

import numpy as np
import pytest
import tensorflow as tf
from published_files import save_safetensors
from test_weights import assert_close, clips_of, logits_of

from harkeras.models import create_movinet_model
from harkeras.pretrained.weights import load_weights

BLOCKS = (  # filters, and for each layer: channels inside, frames and pixels of the kernel
    (8, ((24, 1, 5),)),
    (32, ((80, 3, 3),) * 3),
    (56, ((184, 5, 3), (112, 3, 3), (184, 3, 3))),
    (56, ((184, 5, 3), *((184, 3, 3),) * 3)),
    (104, ((384, 5, 3), (280, 1, 5), (280, 1, 5), (344, 1, 5))),
)
CLASSES = 7


def multiple_of_8(size):
    nearest = max(8, int(size + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * size else nearest


class Source:
    """The network; its variables are named as in tensorflow/models, but for what stands after the unit."""

    def __init__(self, causal):
        self.causal, self.variables, self.rng = causal, {}, np.random.default_rng(27)
        self.activate = (lambda x: x * tf.nn.relu6(x + 3) / 6) if causal else tf.nn.silu
        self.gate = (lambda x: tf.nn.relu6(x + 3) / 6) if causal else tf.nn.sigmoid

    def variable(self, unit, part, shape, low, high):
        name = f"{unit}|{part}"
        if name not in self.variables:
            self.variables[name] = self.rng.uniform(low, high, shape).astype(np.float32)
        return self.variables[name]

    def kernel(self, unit, part, shape, inputs):
        limit = np.sqrt(6 / inputs)
        return self.variable(unit, part, shape, -limit, limit)

    def norm(self, x, unit, part="bn"):
        shape = (x.shape[-1],)
        spreads = {"gamma": (0.8, 1.2), "beta": (-0.2, 0.2), "moving_mean": (-0.2, 0.2)}
        spreads["moving_variance"] = (0.8, 1.2)
        gamma, beta, mean, variance = (
            self.variable(unit, f"{part}/{name}", shape, *spread) for name, spread in spreads.items()
        )
        return (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta

    def point(self, x, unit, filters, bias=False):
        x = x @ self.kernel(unit, "conv/kernel", (x.shape[-1], filters), x.shape[-1])
        return x + self.variable(unit, "conv/bias", (filters,), -0.2, 0.2) if bias else self.norm(x, unit)

    def depthwise(self, x, unit, part, size, stride=1):
        """Convolve each channel by itself; along time, with zeros around the clip or before it."""
        frames, channels = size[0], x.shape[-1]
        kernel = self.kernel(unit, part, (*size, 1, channels), np.prod(size))
        before = frames - 1 if self.causal else frames // 2
        padded = tf.pad(x, ((0, 0), (before, frames - 1 - before), (0, 0), (0, 0), (0, 0)))
        total = 0
        for i in range(frames):
            images = tf.reshape(padded[:, i : i + x.shape[1]], (-1, *x.shape[2:]))
            tap = kernel[i].reshape(*size[1:], channels, 1)
            total += tf.nn.depthwise_conv2d(images, tap, (1, stride, stride, 1), "SAME")
        return tf.reshape(total, (x.shape[0], x.shape[1], *total.shape[1:]))

    def look_around(self, x, name, frames, size, stride):
        unit = f"{name}/bneck/feature"
        split = self.causal and frames > 1
        flat = 1 if self.causal else frames
        x = self.depthwise(x, unit, "conv/depthwise_kernel", (flat, size, size), stride)
        x = self.activate(self.norm(x, unit))
        if split:
            x = self.depthwise(x, unit, "conv_temporal/depthwise_kernel", (frames, 1, 1))
            x = self.activate(self.norm(x, unit, "bn_temporal"))
        return x

    def squeeze_excite(self, x, name):
        if self.causal:
            means = tf.reduce_mean(x, (2, 3), keepdims=True)
            counts = np.arange(1, x.shape[1] + 1, dtype=np.float32).reshape(1, -1, 1, 1, 1)
            pooled = tf.concat([tf.cumsum(means, 1) / counts, means], -1)
        else:
            pooled = tf.reduce_mean(x, (1, 2, 3), keepdims=True)
        hidden = multiple_of_8(pooled.shape[-1] / 4)
        y = self.activate(self.point(pooled, f"{name}/bneck/se/se_reduce", hidden, bias=True))
        return x * self.gate(self.point(y, f"{name}/bneck/se/se_expand", x.shape[-1], bias=True))

    def block(self, x, name, filters, layer, stride):
        inside, frames, size = layer
        y = self.activate(self.point(x, f"{name}/bneck/expansion", inside))
        y = self.squeeze_excite(self.look_around(y, name, frames, size, stride), name)
        y = self.point(y, f"{name}/bneck/projection", filters) * self.variable(name, "scale", (), 0.6, 0.8)
        if stride == 2:
            images = tf.reshape(x, (-1, *x.shape[2:]))
            images = tf.nn.avg_pool2d(images, 3, 2, "SAME")
            x = tf.reshape(images, (*x.shape[:2], *images.shape[1:]))
        if x.shape[-1] != filters or stride == 2:
            x = self.point(x, f"{name}/skip/skip_project", filters)
        return x + y

    def logits(self, clips):
        """Pixels in [0, 1] (B, T, H, W, 3) -> logits."""
        stem = self.kernel("stem/stem", "conv/kernel", (1, 3, 3, 3, 8), 27)
        x = self.activate(self.norm(tf.nn.conv3d(clips, stem, (1, 1, 2, 2, 1), "SAME"), "stem/stem"))
        for i, (filters, inner) in enumerate(BLOCKS):
            for j, layer in enumerate(inner):
                x = self.block(x, f"b{i}/l{j}", filters, layer, 2 if j == 0 and i != 3 else 1)
        x = self.activate(self.point(x, "head/project", 480))
        x = tf.reduce_mean(x, (1, 2, 3))
        x = tf.nn.silu(self.point(x, "classifier_head/head", 2048, bias=True))
        return self.point(x, "classifier_head/classifier", CLASSES, bias=True).numpy()


def lay_out(kernel, causal, temporal):
    """Give a kernel the axes of a 3-D convolution, or of the 2-D one that the stream has in its place."""
    kernel = kernel.reshape((1,) * (5 - kernel.ndim) + kernel.shape)  # frames, height, width, in, out
    if not causal:
        return kernel
    return kernel[:, :, 0] if temporal else kernel[0]


def tensorflow_names(variables, causal):
    """As in the checkpoints of tensorflow/models."""
    named = {}
    for name, value in variables.items():
        unit, part = name.split("|")
        kind, _, leaf = part.partition("/")
        if "kernel" in leaf:
            value = lay_out(value, causal, temporal=kind.endswith("_temporal"))
        if kind.startswith("conv") and causal:
            depthwise = leaf == "depthwise_kernel"
            value = value.swapaxes(-1, -2) if depthwise else value
            part = f"{kind.replace('conv', 'conv2d')}/{'depthwise_conv2d' if depthwise else 'conv2d'}/{leaf}"
        elif kind.startswith("conv"):
            part = f"{kind.replace('conv', 'conv3d')}/{leaf.removeprefix('depthwise_')}"
        named[f"{unit}/{part}"] = value
    return named


UNITS_OF_PYTORCH = {
    "stem/stem": "conv1",
    "expansion": "expand",
    "feature": "deep",
    "se/se_reduce": "se.fc1",
    "se/se_expand": "se.fc2",
    "projection": "project",
    "skip/skip_project": "res.1",
    "head/project": "conv7",
    "classifier_head/head": "classifier.0",
    "classifier_head/classifier": "classifier.3",
}
PARTS_OF_PYTORCH = {
    "kernel": "weight",
    "depthwise_kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def pytorch_names(variables, causal):
    """As in the state dicts of Atze00/MoViNet-pytorch."""
    state = {}
    for name, value in variables.items():
        unit, part = name.split("|")
        block = re.match(r"b(\d)/l(\d)/?(?:bneck/)?(.*)", unit)
        place, unit = (f"blocks.b{block[1]}_l{block[2]}.", block[3]) if block else ("", unit)
        if part == "scale":
            state[f"{place}alpha"] = value
            continue
        kind, leaf = part.split("/")
        temporal = kind.endswith("_temporal")
        module = f"{place}{UNITS_OF_PYTORCH[unit]}.conv_{2 if temporal else 1}."
        if kind.startswith("conv"):
            module += "conv2d" if causal else "conv3d"
        else:
            module += "norm"
            state[f"{module}.num_batches_tracked"] = np.array(5)
        if "kernel" in leaf:
            value = np.ascontiguousarray(np.moveaxis(lay_out(value, causal, temporal), (-1, -2), (0, 1)))
        state[f"{module}.{PARTS_OF_PYTORCH.get(leaf, leaf)}"] = value
    return state


@pytest.fixture(scope="module", params=[False, True], ids=["base", "stream"])
def source(request):
    """Whether causal, the variables, the clips that were shown, and the logits."""
    network = Source(request.param)
    clips = clips_of(6, 44, 40, 3)
    logits = network.logits(clips / 255)
    return request.param, network.variables, clips, logits


def test_pytorch(source, tmp_path):
    causal, variables, clips, logits = source
    state = pytorch_names(variables, causal)
    assert f"blocks.b1_l0.deep.conv_1.{'conv2d' if causal else 'conv3d'}.weight" in state
    assert "blocks.b1_l0.alpha" in state
    path = save_safetensors(tmp_path / "movinet.safetensors", state)
    model = create_movinet_model(CLASSES, clips.shape[1:], causal=causal)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_weights(model, path)
    assert ["MoViNet-pytorch has another" in str(item.message) for item in caught] == [True] * causal
    assert_close(logits_of(model, clips), logits)


def test_tensorflow(source, tmp_path):
    """A checkpoint of TensorFlow 2, which knows variables by their way through objects and by their names."""
    causal, variables, clips, logits = source
    named = tensorflow_names(variables, causal)
    objects = {f"layer-{i}": tf.Variable(value, name=name) for i, (name, value) in enumerate(named.items())}
    module = tf.Module()
    module.parts = objects
    prefix = tf.train.Checkpoint(model=module).save(str(tmp_path / "ckpt"))
    model = load_weights(create_movinet_model(CLASSES, clips.shape[1:], causal=causal), prefix)
    assert_close(logits_of(model, clips), logits)
