"""The table of models: multiply-adds against published numbers, and by hand for each kind of layer."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import applications, layers, ops

import harkeras
from harkeras.models import count_multiply_adds, create_model, list_models, model_table
from harkeras.models.registry import no_weights, register


class TestPublishedNumbers:
    @pytest.mark.parametrize(
        ("name", "giga", "tolerance"),
        [
            ("VGG16", 15.5, 0.005),  # Simonyan and Zisserman 2015, as counted everywhere
            ("ResNet50", 3.8, 0.02),  # He et al. 2016, table 1
            ("MobileNetV2", 0.300, 0.005),  # Sandler et al. 2018, table 4: 300 million
            ("Xception", 8.4, 0.01),  # Chollet 2017 by way of Zoph et al. 2018
        ],
    )
    def test_image_models(self, name, giga, tolerance):
        with no_weights():
            model = getattr(applications, name)(weights=None)
            assert count_multiply_adds(model) / 1e9 == pytest.approx(giga, rel=tolerance)

    @pytest.mark.parametrize(
        ("name", "classes", "giga", "tolerance"),
        [
            ("c3d", 487, 38.5, 0.005),  # Tran et al. 2018, table 4
            ("r2plus1d", 400, 40.5, 0.005),  # torchvision
            ("r3d", 400, 40.7, 0.005),  # torchvision
            ("i3d", 400, 108, 0.04),  # Xie et al. 2018; their variant has 5 % fewer parameters
            ("movinet", 600, 2.71, 0.04),  # Kondratyuk et al. 2021, which also counts activations
        ],
    )
    def test_video_models(self, name, classes, giga, tolerance):
        with no_weights():
            model = create_model(name, classes)
            assert count_multiply_adds(model) / 1e9 == pytest.approx(giga, rel=tolerance)


def model_of(shape, *steps):
    x = first = keras.Input(shape)
    for step in steps:
        x = step(x)
    return keras.Model(first, x)


MAPS, CLIP, LINE = (9, 11, 4), (5, 9, 11, 4), (7, 6)
_inner = keras.Sequential([keras.Input(MAPS), layers.Conv2D(8, 3), layers.Flatten(), layers.Dense(3)])
_INNER = 7 * 9 * 9 * 4 * 8 + 7 * 9 * 8 * 3

_shared = layers.Dense(8)


def as_images(clips):
    return ops.reshape(clips, (-1, *MAPS))


BY_HAND = {
    "conv": (MAPS, layers.Conv2D(8, 3, strides=2, padding="same"), 5 * 6 * 9 * 4 * 8),
    "conv in groups": (MAPS, layers.Conv2D(8, 3, groups=2), 7 * 9 * 9 * 2 * 8),
    "conv, channels first": ((9, 8), layers.Conv1D(4, 3, data_format="channels_first"), 6 * 3 * 9 * 4),
    "conv 1-D": (LINE, layers.Conv1D(8, 3, padding="causal"), 7 * 3 * 6 * 8),
    "conv 3-D": (CLIP, layers.Conv3D(8, (2, 3, 3)), 4 * 7 * 9 * 18 * 4 * 8),
    "transposed": (MAPS, layers.Conv2DTranspose(8, 3, strides=2), 9 * 11 * 9 * 4 * 8),
    "depthwise": (MAPS, layers.DepthwiseConv2D(3, depth_multiplier=2), 7 * 9 * 9 * 4 * 2),
    "separable": (MAPS, layers.SeparableConv2D(8, 3), 7 * 9 * (9 * 4 + 4 * 8)),
    "dense": (LINE, layers.Dense(8), 7 * 6 * 8),
    "einsum dense": (LINE, layers.EinsumDense("abc,cde->abde", (None, 2, 3)), 7 * 6 * 2 * 3),
    "einsum dense, any rank": (MAPS, layers.EinsumDense("...c,cd->...d", 3), 9 * 11 * 4 * 3),
    "lstm": (LINE, layers.LSTM(8), 7 * 4 * 8 * (6 + 8)),
    "gru": (LINE, layers.GRU(8, return_sequences=True), 7 * 3 * 8 * (6 + 8)),
    "rnn of two cells": (
        LINE,
        layers.RNN([layers.SimpleRNNCell(8), layers.SimpleRNNCell(3)]),
        7 * (8 * (6 + 8) + 3 * (8 + 3)),
    ),
    "bidirectional": (LINE, layers.Bidirectional(layers.LSTM(8)), 2 * 7 * 4 * 8 * (6 + 8)),
    "convlstm": (CLIP, layers.ConvLSTM2D(8, 3), 5 * 7 * 9 * 9 * 4 * 8 * (4 + 8)),
    "convlstm, all": (CLIP, layers.ConvLSTM2D(8, 3, return_sequences=True), 5 * 7 * 9 * 9 * 4 * 8 * (4 + 8)),
    "per frame": (CLIP, layers.TimeDistributed(layers.Conv2D(8, 3)), 5 * 7 * 9 * 9 * 4 * 8),
    "a model per frame": (CLIP, layers.TimeDistributed(_inner), 5 * _INNER),
    "all frames as one batch": (CLIP, lambda x: ops.reshape(_inner(as_images(x)), (-1, 15)), 5 * _INNER),
    "matmul": (LINE, lambda x: ops.matmul(x, ops.transpose(x, (0, 2, 1))), 7 * 7 * 6),
    "einsum": (LINE, lambda x: ops.einsum("bnc,bmc->bnm", x, x), 7 * 7 * 6),
    "conv as operation": (MAPS, lambda x: ops.conv(x, np.ones((3, 3, 4, 8), "float32")), 7 * 9 * 9 * 4 * 8),
    "depthwise as operation": (MAPS, lambda x: ops.depthwise_conv(x, np.ones((3, 3, 4, 1), "float32")), 2268),
    "called twice": (LINE, lambda x: _shared(x) + _shared(x * 2), 2 * 7 * 6 * 8),
    "nothing": (MAPS, lambda x: layers.ReLU()(layers.BatchNormalization()(layers.MaxPooling2D()(x))), 0),
    "normalized": (LINE, lambda x: layers.PReLU()(layers.LayerNormalization([1, 2])(x)), 0),
    "embedding": ((7,), layers.Embedding(10, 8), 0),
}  # fmt: skip


@pytest.mark.parametrize("kind", BY_HAND)
def test_by_hand(kind):
    shape, step, expected = BY_HAND[kind]
    assert count_multiply_adds(model_of(shape, step)) == expected


def test_a_sequential_model():
    assert count_multiply_adds(_inner) == _INNER


def test_attention():
    """Projections of queries, keys and values; queries times keys; products times values; last projection."""
    query, value = keras.Input((7, 6)), keras.Input((5, 4))
    out = layers.MultiHeadAttention(2, 3, value_dim=8)(query, value)
    projections = 7 * 6 * 2 * 3 + 5 * 4 * 2 * 3 + 5 * 4 * 2 * 8 + 7 * 2 * 8 * 6
    expected = projections + 2 * 7 * 5 * (3 + 8)
    assert count_multiply_adds(keras.Model([query, value], out)) == expected


def test_attention_within_each_moment():
    tokens = keras.Input((3, 7, 6))
    out = layers.MultiHeadAttention(2, 3, attention_axes=2)(tokens, tokens)
    assert count_multiply_adds(keras.Model(tokens, out)) == 3 * (4 * 7 * 6 * 6 + 2 * 7 * 7 * 6)


class Unknown(layers.Layer):
    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 2))

    def call(self, x):
        return x @ self.kernel

    def compute_output_shape(self, shape):
        return (*shape[:-1], 2)


class UnknownCell(layers.Layer):
    state_size = output_size = 2

    def call(self, x, states):
        return x[:, :2], [x[:, :2]]


class TestErrors:
    @pytest.mark.parametrize(
        ("kind", "call"),
        [
            ("Unknown", lambda x: Unknown()(x)),
            ("GroupedQueryAttention", lambda x: layers.GroupQueryAttention(2, 2, 1)(x, x)),
            ("Attention", lambda x: layers.Attention()([x, x])),
            ("Unknown", lambda x: layers.TimeDistributed(Unknown())(layers.Reshape((7, 2, 3))(x))),
        ],
    )
    def test_unknown_layers(self, kind, call):
        with pytest.raises(ValueError, match=f"cannot count the multiply-adds of the layer {kind}"):
            count_multiply_adds(model_of(LINE, call))

    def test_unknown_cells(self):
        model = model_of(LINE, layers.RNN(UnknownCell(), name="memory"))
        with pytest.raises(ValueError, match="cannot count the multiply-adds of the cells of memory"):
            count_multiply_adds(model)

    def test_unknown_operations(self):
        model = model_of(LINE, lambda x: ops.tensordot(x, np.ones((6, 2), "float32"), 1))
        with pytest.raises(ValueError, match="cannot count the multiply-adds of the operation Tensordot"):
            count_multiply_adds(model)

    def test_unknown_shapes(self):
        with pytest.raises(ValueError, match=r"shapes must be known but for the batch, got \(None, None, "):
            count_multiply_adds(model_of((None, None, 3), layers.Conv2D(2, 3)))

    def test_other_models(self):
        with pytest.raises(ValueError, match="model must be functional or sequential, and built, got plain"):
            count_multiply_adds(keras.Sequential([layers.Dense(2)], name="plain"))


def in_markdown(row):
    """A row as the table in harkeras/models/README.md has it."""
    unit, letter = (1e9, "G") if row.multiply_adds >= 1e9 else (1e6, "M")
    cells = (
        f"[`{row.name}`]({Path(row.file).name})",
        " x ".join(map(str, row.input_shape)),
        f"{row.parameters:,}",
        f"{row.multiply_adds / unit:,.1f} {letter}",
        row.paper,
    )
    return f"| {' | '.join(cells)} |"


def test_the_table_has_a_row_for_every_model():
    rows = model_table()
    assert [row.name for row in rows] == list_models() + list_models("images")
    root = Path(harkeras.__file__).parents[1]
    for row in rows:
        assert row.parameters > 0
        assert row.multiply_adds > 0
        assert row.paper[-4:].isdigit(), row.name
        text = (root / row.file).read_text()
        assert f'@register("{row.name}"' in text
        assert row.paper.split()[0] in text.partition("from __future__")[0], row.name
    page = (root / "harkeras" / "models" / "README.md").read_text().splitlines()
    assert [line for line in page if line.startswith("| [`")] == list(map(in_markdown, rows))


def test_names_of_papers_are_asked_for():
    with pytest.raises(TypeError, match="paper"):
        register("new")
