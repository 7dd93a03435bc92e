import subprocess
import sys
from typing import NamedTuple

import keras
import numpy as np
import pytest
from backends import gradients_of, run

from harkeras.models import (
    create_c3d_model,
    create_cnn_lstm_model,
    create_convlstm_model,
    create_early_fusion_model,
    create_i3d_model,
    create_late_fusion_model,
    create_lrcn_model,
    create_model,
    create_movinet_model,
    create_multiresolution_model,
    create_pose_lstm_model,
    create_r2plus1d_model,
    create_r3d_model,
    create_resnet3d_model,
    create_resnext3d_model,
    create_single_frame_model,
    create_slow_fusion_model,
    create_two_stream_i3d_model,
    create_two_stream_model,
    create_video_transformer_model,
    list_models,
    set_batch_norm_momentum,
)
from harkeras.models.registry import count_parameters, no_weights, register
from harkeras.models.saving import save_model
from harkeras.recipe import Recipe, read_channels


class Case(NamedTuple):
    """A model: its builder and published size, and small options that build and run fast."""

    builder: object
    input_shape: tuple
    classes: int
    parameters: int
    small_shape: tuple
    small_options: dict


# A new model is one file, and one line here.
CASES = {
    "c3d": Case(
        create_c3d_model, (16, 112, 112, 3), 487, 79_991_015, (3, 16, 18, 3), {"width_multiplier": 1 / 16}
    ),
    # Published as 9 million.
    "cnn_lstm": Case(create_cnn_lstm_model, (25, 224, 224, 3), 400, 8_947_648, (3, 32, 34, 3), {"units": 8}),
    "convlstm": Case(
        create_convlstm_model, (20, 64, 64, 3), 4, 44_524, (3, 15, 17, 3), {"filters": (2, 3, 2)}
    ),
    "early_fusion": Case(
        create_early_fusion_model,
        (10, 170, 170, 3),
        487,
        74_221_703,
        (3, 24, 26, 3),
        {"width_multiplier": 0.1},
    ),
    "i3d": Case(
        create_i3d_model, (64, 224, 224, 3), 400, 12_689_984, (6, 40, 44, 3), {"width_multiplier": 0.1}
    ),
    "late_fusion": Case(
        create_late_fusion_model,
        (16, 170, 170, 3),
        487,
        125_288_295,
        (2, 24, 26, 3),
        {"width_multiplier": 0.1, "distance": 1},
    ),
    "lrcn": Case(create_lrcn_model, (20, 64, 64, 3), 4, 73_060, (3, 64, 66, 3), {"filters": (2, 3, 2, 4)}),
    # Without the running means of batch normalization, which make it the published 3,126,071.
    "movinet": Case(
        create_movinet_model,
        (50, 172, 172, 3),
        600,
        3_111_799,
        (3, 24, 26, 3),
        {"width_multiplier": 0.1, "stochastic_depth": 0},
    ),
    "multiresolution": Case(
        create_multiresolution_model,
        (20, 178, 178, 3),
        487,
        129_035_495,
        (3, 24, 26, 3),
        {"width_multiplier": 0.1},
    ),
    # Nothing is published of this mixture: counted once.
    "pose_lstm": Case(
        create_pose_lstm_model, (32, 15, 2), 14, 140_718, (6, 5, 3), {"filters": 4, "units": 4}
    ),
    "r2plus1d": Case(
        create_r2plus1d_model, (16, 112, 112, 3), 400, 31_505_325, (5, 34, 36, 3), {"filters": 4}
    ),
    "r3d": Case(create_r3d_model, (16, 112, 112, 3), 400, 33_371_472, (5, 34, 36, 3), {"filters": 4}),
    "resnet3d": Case(
        create_resnet3d_model, (16, 112, 112, 3), 400, 33_235_280, (5, 34, 36, 3), {"filters": 4}
    ),
    "resnext3d": Case(
        create_resnext3d_model,
        (16, 112, 112, 3),
        400,
        48_340_816,
        (5, 34, 36, 3),
        {"depth": 50, "filters": 8, "groups": 4},
    ),
    "single_frame": Case(
        create_single_frame_model,
        (20, 170, 170, 3),
        487,
        73_908_071,
        (3, 24, 26, 3),
        {"width_multiplier": 0.1},
    ),
    "slow_fusion": Case(
        create_slow_fusion_model,
        (10, 170, 170, 3),
        487,
        75_511_751,
        (10, 24, 26, 3),
        {"width_multiplier": 0.1},
    ),
    # Nothing is published of both together: the sums of their streams.
    "two_stream": Case(
        create_two_stream_model,
        (25, 224, 224, 23),
        101,
        181_335_594,
        (3, 48, 50, 7),
        {"width_multiplier": 0.05},
    ),
    "two_stream_i3d": Case(
        create_two_stream_i3d_model,
        (64, 224, 224, 5),
        400,
        25_358_016,
        (6, 40, 44, 5),
        {"width_multiplier": 0.1},
    ),
    # The paper's size is tested with the model; this small one was counted once.
    "video_transformer": Case(
        create_video_transformer_model,
        (16, 64, 64, 3),
        4,
        236_804,
        (4, 16, 24, 3),
        {"units": 8, "heads": 2, "depths": (1, 1)},
    ),
}


# Models that average over frames, each seen alone.
ORDERLESS = ("multiresolution", "single_frame", "two_stream")
# Models of Hara et al. subtract the mean from pixels, and leave their range as it is.
UNSCALED = ("resnet3d", "resnext3d")
# From the darkest pixel to the brightest, where not 1.
SPANS = {"cnn_lstm": 2, "i3d": 2, "two_stream_i3d": 2, "video_transformer": 2} | dict.fromkeys(UNSCALED, 255)
# Models of joints, which look at no picture.
POSE = ("pose_lstm",)
WITHOUT_DROPOUT = ("cnn_lstm", "r2plus1d", "r3d", "resnet3d", "resnext3d")


def small_clips(case, count=2, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *case.small_shape), np.uint8)


def first_layer(model):
    """The first layer that does something, also where it is inside another model."""
    layer = next(layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer))
    while isinstance(layer, keras.Model):
        layer = first_layer(layer)
    return layer


@pytest.fixture(scope="module", params=CASES)
def case(request):
    return CASES[request.param]


@pytest.fixture(scope="module")
def built(case):
    """A small model, never trained, and the weights that it had when it was new."""
    model = build_small(case)
    weights = model.get_weights()
    if model.name in UNSCALED:  # fresh weights would drive the softmax to 0 and 1
        kernel = model.trainable_variables[0]
        kernel.assign(kernel / 128)
    for layer in model.layers:
        if layer.name.endswith("_rezero"):  # a fresh block of MoViNet adds nothing
            layer.set_weights([np.ones((1, 1))])
    return model, weights


@pytest.fixture(scope="module")
def model(built):
    return built[0]


def build_small(case):
    keras.utils.set_random_seed(27)
    return case.builder(3, case.small_shape, **case.small_options)


def test_the_table_is_complete():
    assert list_models() == sorted(CASES)


class TestEveryModel:
    def test_sizes_are_those_of_the_source(self, case, model):
        """The parameters as published, and the default shape."""
        with no_weights():
            full = create_model(model.name, case.classes)
        assert full.input_shape == (None, *case.input_shape)
        assert count_parameters(full) == case.parameters

    def test_probabilities(self, case, model):
        probabilities = run(model, small_clips(case))
        assert (probabilities.shape, probabilities.dtype) == ((2, 3), np.float32)
        assert probabilities.sum(axis=1) == pytest.approx([1, 1], abs=1e-6)
        assert (probabilities > 0).all()

    def test_float_pixels_are_those_of_uint8(self, case, model):
        clips = small_clips(case)
        assert np.array_equal(run(model, clips), run(model, clips.astype(np.float32)))

    def test_rescales_by_itself(self, model):
        if model.name in POSE:
            pytest.skip("joints are not pixels")
        rescale = first_layer(model)
        assert isinstance(rescale, keras.layers.Rescaling)
        channels = rescale.input.shape[-1]
        darkest, brightest = (run(rescale, np.full((1, channels), v, "float32"))[0, :3] for v in (0, 255))
        span = SPANS.get(model.name, 1)
        if model.name in ("r2plus1d", "r3d"):  # divides by the deviation of each channel
            span = brightest - darkest
            assert ((span > 3) & (span < 5)).all()
        assert brightest - darkest == pytest.approx(np.broadcast_to(span, 3), rel=1e-5)
        assert (darkest <= 0).all()
        assert (darkest >= -span).all()
        assert (brightest > 0).all()

    def test_looks_at_every_frame(self, case, model):
        frames = case.small_shape[0]
        clips = np.repeat(small_clips(case, 1), 1 + frames, axis=0)
        for frame in range(frames):
            clips[1 + frame, frame] = 255 - clips[1 + frame, frame]
        before, *changed = run(model, clips)
        differences = [np.abs(probabilities - before).max() for probabilities in changed]
        assert min(differences) > 1e-6, differences

    def test_minds_the_order_of_frames(self, case, model):
        clips = small_clips(case, 1)
        difference = np.abs(run(model, clips) - run(model, clips[:, ::-1])).max()
        assert difference < 1e-6 if model.name in ORDERLESS else difference > 1e-6

    def test_every_weight_gets_a_gradient(self, case, model):
        gradients = gradients_of(model, small_clips(case), np.array([0, 1]))
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
            assert gradient is not None, variable.path
            assert np.abs(gradient).max() > 0, variable.path

    def test_dropout_in_training_only(self, case, model):
        clips = small_clips(case)
        assert np.array_equal(run(model, clips), run(model, clips))
        again = np.array_equal(run(model, clips, training=True), run(model, clips, training=True))
        assert again == (model.name in WITHOUT_DROPOUT)

    def test_is_uncompiled_functional_and_named(self, model):
        assert type(model).__name__ == "Functional"
        assert not model.compiled

    def test_by_name_and_seed(self, case, built):
        """The same name, options and seed give the same layers, without counters in their names, and
        weights."""
        model, weights = built
        keras.utils.set_random_seed(27)
        again = create_model(model.name, 3, list(case.small_shape), **case.small_options)
        assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
        assert again.to_json().count("class_name") == model.to_json().count("class_name")
        assert all(map(np.array_equal, again.get_weights(), weights))

    def test_smallest_clip(self, case, model):
        """The builder refuses just what Keras could not build."""
        if model.name in POSE:
            pytest.skip("joints are not pixels")
        frames, _, width, channels = case.small_shape
        for smallest in range(1, 100):
            try:
                case.builder(3, (frames, smallest, smallest, channels), **case.small_options)
            except ValueError:
                continue
            break
        if smallest > 1:
            message = f"input_shape must be at least {smallest} x {smallest} pixels, got"
            with pytest.raises(ValueError, match=message):
                case.builder(3, (frames, smallest - 1, width, channels), **case.small_options)

    @pytest.mark.parametrize("shape", [(64, 64, 3), (0, 64, 64, 3), (3, None, 64, 3), (3, 64.0, 64, 3)])
    def test_bad_shapes(self, case, model, shape):
        if model.name in POSE:
            pytest.skip("joints are not pixels")
        with pytest.raises(ValueError, match=r"input_shape must be four positive integers \(frames, height"):
            case.builder(3, shape)

    def test_too_few_classes(self, case):
        with pytest.raises(ValueError, match="num_classes must be at least 2, got 1"):
            case.builder(1)


def clip_facts(shape):
    """What a recipe says of clips of this shape: (T, H, W, C) of pixels or flow, or (T, K, D) of joints."""
    if len(shape) == 3:
        frames, joints, coordinates = shape
        size = {"height": None, "width": None, "streams": "pose"}
        return size | {"frames": frames, "joints": joints, "coordinates": coordinates}
    frames, height, width, channels = shape
    streams, flow_fields = read_channels(channels)
    size = {"frames": frames, "height": height, "width": width}
    return size | {"streams": streams, "flow_fields": flow_fields}


def test_predicts_pixels_as_they_are():
    """`predict` takes uint8 too, and gives what calling the model gives."""
    model, clips = build_small(CASES["lrcn"]), small_clips(CASES["lrcn"])
    model.jit_compile = False  # compiling would take longer than predicting
    assert model.predict_on_batch(clips) == pytest.approx(run(model, clips), abs=1e-6)


@pytest.mark.slow
def test_saved_models_open_without_harkeras(tmp_path):
    """In one process that never imports harkeras, each saved model gives the same output."""
    for name, case in CASES.items():
        model = case.builder(3, case.small_shape, **case.small_options)
        recipe = Recipe(("a", "b", "c"), **clip_facts(case.small_shape), clip_seconds=2)
        save_model(model, tmp_path / f"{name}.keras", recipe=recipe)
        np.savez(tmp_path / name, clips=small_clips(case), output=run(model, small_clips(case)))
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
    assert sorted(process.stdout.split()) == sorted(CASES), process.stderr


def test_lrcn_filters():
    with pytest.raises(ValueError, match=r"filters must name 4 numbers, got \(8, 8\)"):
        create_lrcn_model(2, filters=(8, 8))


def test_batch_norm_momentum():
    inner = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.BatchNormalization()])
    clip = keras.Input((2, 4, 4, 3))
    x = keras.layers.TimeDistributed(inner)(keras.layers.BatchNormalization(momentum=0.999)(clip))
    model = set_batch_norm_momentum(keras.Model(clip, x), 0.8)
    assert [model.layers[1].momentum, inner.layers[0].momentum] == [0.8, 0.8]
    with pytest.raises(ValueError, match="momentum must lie between 0 and 1, got 1"):
        set_batch_norm_momentum(model, 1)


class TestRegistry:
    def test_unknown_name(self):
        with pytest.raises(ValueError, match=r"name must be one of .*convlstm.*, lrcn.*, got 'lcrn'"):
            create_model("lcrn", 4)

    def test_kinds(self):
        assert list_models("images") == [
            "densenet121",
            "efficientnet_lite0",
            "googlenet",
            "mobilenet_v2",
            "resnet50",
            "vgg16",
        ]
        assert create_model("googlenet", 3, (32, 32, 3), width_multiplier=0.05).output_shape == (None, 3)
        with pytest.raises(ValueError, match="kind must be 'clips' or 'images', got 'videos'"):
            list_models("videos")

    def test_unknown_option(self):
        with pytest.raises(
            ValueError, match="options of lrcn must be among filters, units, dropout, got widht"
        ):
            create_model("lrcn", 4, widht=2)

    def test_builder_refuses(self):
        with pytest.raises(ValueError, match="num_classes must be at least 2, got 1"):
            create_model("lrcn", 1)

    def test_names_are_unique(self):
        with pytest.raises(ValueError, match="a model named 'lrcn' is registered already"):
            register("lrcn", paper="")(create_lrcn_model)
