"""Models of still images, and the backbones under them."""

import subprocess
import sys
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import applications

from harkeras.models import (
    backbones,
    create_densenet121_model,
    create_efficientnet_lite0_model,
    create_googlenet_model,
    create_mobilenet_v2_model,
    create_resnet50_model,
    create_vgg16_model,
    inflate,
)
from harkeras.models.backbones import create_backbone, image_backbone, list_backbones
from harkeras.models.registry import no_weights
from harkeras.models.saving import save_model
from harkeras.recipe import Recipe
from harkeras.video.images import read_image

SIZE = (40, 36, 3)


class Case(NamedTuple):
    """A model: its builder, its original in Keras and how that prepares pixels, options that run fast."""

    builder: object
    original: object | None
    preprocess: object | None
    small_options: dict


# A new image model is one line here.
CASES = {
    "densenet121": Case(
        create_densenet121_model, applications.DenseNet121, applications.densenet.preprocess_input, {}
    ),
    "efficientnet_lite0": Case(create_efficientnet_lite0_model, None, None, {}),
    "mobilenet_v2": Case(
        create_mobilenet_v2_model,
        applications.MobileNetV2,
        applications.mobilenet_v2.preprocess_input,
        {"alpha": 0.35},
    ),
    "resnet50": Case(
        create_resnet50_model, applications.ResNet50, applications.resnet50.preprocess_input, {}
    ),
    "vgg16": Case(
        create_vgg16_model,
        applications.VGG16,
        applications.vgg16.preprocess_input,
        {"width_multiplier": 0.02, "dropout": 0.1},
    ),
}
# The smallest network of each way of preprocessing, for what does not depend on the architecture.
SMALL_BACKBONE = "mobilenet_v2_0.35"


def run(model, images, **options):
    return keras.ops.convert_to_numpy(model(images, **options))


def rendered(count=6, size=SIZE, seed=0):
    """Pictures of two kinds: a bright bar lies in one, and stands in the other."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (count, *size), np.uint8)
    labels = np.arange(count) % 2
    for image, label in zip(images, labels, strict=True):
        at = rng.integers(8, min(size[:2]) - 12)
        bar = image[at : at + 8] if label else image[:, at : at + 8]
        bar += 180
    return images, labels


@pytest.fixture(scope="module", params=CASES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def models():
    """All models, small, and never changed."""
    keras.utils.set_random_seed(27)
    return {name: case.builder(2, SIZE, **case.small_options) for name, case in CASES.items()}


@pytest.fixture
def model(models, name):
    return models[name]


class TestEveryImageModel:
    def test_parameters_are_those_of_keras(self, name):
        case = CASES[name]
        if case.original is None:
            pytest.skip("not in Keras; see test_models_efficientnet_lite.py")
        with no_weights():
            model, original = case.builder(1000), case.original(weights=None)
        assert model.count_params() == original.count_params()
        assert [v.shape for v in model.trainable_variables] == [v.shape for v in original.trainable_variables]
        assert model.input_shape == (None, 224, 224, 3)

    def test_probabilities(self, model):
        images, _ = rendered()
        probabilities = run(model, images)
        assert (probabilities.shape, probabilities.dtype) == ((6, 2), np.float32)
        assert probabilities.sum(axis=1) == pytest.approx(np.ones(6), abs=1e-6)
        assert np.array_equal(probabilities, run(model, images.astype(np.float32)))

    def test_is_uncompiled_functional_and_named(self, name, model):
        assert (type(model).__name__, model.name, model.compiled) == ("Functional", name, False)
        assert [layer.name for layer in model.layers][:2] == ["image", "backbone"]
        assert model.layers[-1].name == "probabilities"

    def test_learns_and_every_weight_gets_a_gradient(self, name):
        keras.utils.set_random_seed(27)
        model = CASES[name].builder(2, SIZE, **CASES[name].small_options)
        images, labels = rendered()
        optimizer, losses = keras.optimizers.Adam(1e-4), []
        for _ in range(8):
            with tf.GradientTape() as tape:
                answers = model(images, training=True)
                loss = keras.ops.mean(keras.losses.sparse_categorical_crossentropy(labels, answers))
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply(gradients, model.trainable_variables)
            losses.append(float(loss))
            if losses[-1] < 0.8 * losses[0]:
                break
        assert losses[-1] < 0.8 * losses[0], losses
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
            assert gradient is not None, variable.path
            assert np.abs(gradient).max() > 0, variable.path

    def test_frozen(self, name):
        with no_weights():
            model = CASES[name].builder(2, SIZE, freeze=True, **CASES[name].small_options)
        head = {id(v) for layer in model.layers if layer.name != "backbone" for v in layer.trainable_weights}
        assert {id(variable) for variable in model.trainable_variables} == head

    @pytest.mark.parametrize("shape", [(64, 64), (16, 64, 64, 3), (0, 64, 3), (64.0, 64, 3)])
    def test_bad_shapes(self, name, shape):
        with pytest.raises(ValueError, match=r"input_shape must be three positive integers \(height, width"):
            CASES[name].builder(2, shape)

    def test_refusals(self, name):
        builder = CASES[name].builder
        with pytest.raises(ValueError, match="num_classes must be at least 2, got 1"):
            builder(1)
        with pytest.raises(ValueError, match=r"at least 32 x 32 pixels, got \(31, 64, 3\)"):
            builder(2, (31, 64, 3))
        with pytest.raises(ValueError, match=r"input_shape must have 3 channels, got \(64, 64, 1\)"):
            builder(2, (64, 64, 1))
        with pytest.raises(FileNotFoundError, match=r"no file at nowhere.weights.h5; weights must be None"):
            builder(2, weights="nowhere.weights.h5")


def test_frozen_batch_norm_stays_as_it_is():
    backbone = create_mobilenet_v2_model(2, SIZE, freeze=True, alpha=0.35).get_layer("backbone")
    images, _ = rendered()
    before = backbone.get_weights()
    features = run(backbone, images, training=True)
    assert np.array_equal(features, run(backbone, images, training=False))
    assert all(map(np.array_equal, before, backbone.get_weights()))


def test_refusals_of_multipliers():
    with pytest.raises(ValueError, match="alpha must be positive, got 0"):
        create_mobilenet_v2_model(2, SIZE, alpha=0)
    with pytest.raises(ValueError, match="width_multiplier must be positive, got -1"):
        create_vgg16_model(2, SIZE, width_multiplier=-1)


@pytest.mark.slow
def test_saved_models_open_without_harkeras(models, tmp_path):
    """In one process that never imports harkeras, each saved model gives the same output."""
    images, _ = rendered(2)
    models = models | {"googlenet": create_googlenet_model(2, SIZE, width_multiplier=0.1)}
    for name, model in models.items():
        save_model(model, tmp_path / f"{name}.keras", recipe=Recipe(("a", "b"), 1, *SIZE[:2], 1))
        np.savez(tmp_path / name, images=images, output=run(model, images))
    code = """
import pathlib, sys, keras, numpy as np
for path in pathlib.Path().glob("*.keras"):
    data = np.load(path.stem + ".npz")
    np.testing.assert_allclose(keras.saving.load_model(path)(data["images"]), data["output"], atol=1e-5)
    print(path.stem)
assert not any(name.startswith("harkeras") for name in sys.modules)"""
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert sorted(process.stdout.split()) == sorted(models), process.stderr


class TestBackbones:
    @pytest.mark.parametrize(
        "backbone", [*(name for name in CASES if CASES[name].original), "efficientnet_v2_b0"]
    )
    def test_pixels_are_normalized_as_the_original_wants_them(self, backbone):
        case = CASES.get(backbone)
        original = case.original if case else applications.EfficientNetV2B0
        preprocess = case.preprocess if case else applications.efficientnet_v2.preprocess_input
        original = original(include_top=False, weights=None, input_shape=SIZE)
        model = image_backbone(backbone, SIZE)
        model.set_weights(original.get_weights())
        images, _ = rendered(2)
        expected = run(original, preprocess(images.astype(np.float32)))
        spread = np.ptp(expected)
        assert spread > 0
        np.testing.assert_allclose(run(model, images) / spread, expected / spread, atol=1e-4)

    @pytest.mark.parametrize("backbone", list_backbones())
    def test_features_are_the_mean_of_the_maps(self, backbone):
        keras.utils.set_random_seed(27)
        with no_weights():
            maps, features = image_backbone(backbone, SIZE), create_backbone(backbone, SIZE)
        assert len(maps.output_shape) == 4
        assert features.output_shape == (None, maps.output_shape[-1])
        assert maps.name == features.name == backbone
        assert maps.layers[1].name == features.layers[1].name == "rescale"

    def test_googlenet_may_see_small_images(self):
        with no_weights():
            assert create_backbone("googlenet", (20, 20, 3)).output_shape == (None, 1024)

    def test_weights_from_a_file(self, tmp_path):
        path = tmp_path / "x.weights.h5"
        model = image_backbone(SMALL_BACKBONE, SIZE)
        model.set_weights([w + np.float32(0.01) for w in model.get_weights()])
        model.save_weights(path)
        images, _ = rendered(2)
        expected = run(model, images)
        again = create_mobilenet_v2_model(2, (64, 64, 3), alpha=0.35, weights=path)  # at another size
        assert all(map(np.array_equal, again.get_layer("backbone").get_weights(), model.get_weights()))
        features = run(create_backbone(SMALL_BACKBONE, SIZE, weights=str(path)), images)
        assert features == pytest.approx(expected.mean(axis=(1, 2)), rel=1e-4, abs=1e-5)
        with pytest.raises(ValueError, match=r"must be a file for mobilenet_v2 without top, got .*x.weights"):
            image_backbone("mobilenet_v2", SIZE, weights=path)
        (tmp_path / "x.txt").write_text("no weights")
        with pytest.raises(
            ValueError, match=r"a file for vgg16 without top, got .*x.txt, which does not fit"
        ):
            image_backbone("vgg16", SIZE, weights=tmp_path / "x.txt")

    def test_a_damaged_file_is_refused_by_name(self, tmp_path):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(2)])
        model.save_weights(tmp_path / "whole.weights.h5")
        content, rng, refused = (tmp_path / "whole.weights.h5").read_bytes(), np.random.default_rng(27), 0
        for number in range(60):
            path = tmp_path / f"{number}.weights.h5"
            changed = bytearray(content if number % 2 else content[: rng.integers(len(content))])
            for place in rng.integers(len(changed), size=3) if changed else ():
                changed[place] ^= 255
            path.write_bytes(changed)
            try:
                backbones._load(model, path)
            except ValueError as error:
                assert str(path) in str(error)  # noqa: PT017
                refused += 1
        assert refused >= 30  # those cut short
        backbones._load(model, tmp_path / "whole.weights.h5")

    def test_unknown(self):
        with pytest.raises(ValueError, match=r"name of a backbone must be one of densenet121, .*, got 'vgg'"):
            create_backbone("vgg")

    def test_imagenet_where_there_is_none(self):
        with pytest.raises(ValueError, match=r"googlenet, got 'imagenet': keras.applications has"):
            create_backbone("googlenet", weights="imagenet")

    def test_a_backbone_with_blue_first_can_be_inflated(self):
        """The operations that swap the channels do to each frame what they do to an image."""
        keras.utils.set_random_seed(27)
        maps = image_backbone("vgg16", (32, 32, 3))
        pooled = keras.layers.GlobalAveragePooling2D(name="avgpool")(maps.get_layer("block1_conv2").output)
        model = keras.Model(maps.input, pooled)
        images, _ = rendered(2, (32, 32, 3))
        clips = np.repeat(images[:, None], 3, axis=1)
        expected = run(model, images)
        assert run(inflate(model, 3, edges="repeat"), clips) == pytest.approx(expected, rel=1e-4, abs=1e-3)


@pytest.mark.real_data
class TestPublishedWeights:
    """Those in ../shared/models."""

    FILES = {  # noqa: RUF012
        "mobilenet_v2": ("mobilenet_v2_1.0_224_from_ptq_no_top.weights.h5", 224, 1.0),
        "mobilenet_v2_0.35": ("mobilenet_v2_0.35_96_no_top_from_drq.weights.h5", 96, 0.35),
    }

    @pytest.mark.parametrize("backbone", FILES)
    def test_mobilenet_v2(self, real_data, backbone):
        name, size, alpha = self.FILES[backbone]
        models = real_data.parent / "models"
        if not (models / name).is_file():
            pytest.skip(f"no {name} in ../shared/models")
        image = read_image(models / "squat.bmp", size, size)[None]
        features = run(create_backbone(backbone, (size, size, 3), weights=models / name), image)
        original = applications.MobileNetV2((size, size, 3), alpha, include_top=False, weights=None)
        original.load_weights(models / name)
        pixels = applications.mobilenet_v2.preprocess_input(image.astype(np.float32))
        expected = run(original, pixels).mean(axis=(1, 2))
        assert features.shape == (1, 1280)
        assert expected.std() > 0.1
        np.testing.assert_allclose(features, expected, atol=1e-3)
        model = create_mobilenet_v2_model(3, (size, size, 3), alpha=alpha, weights=models / name, freeze=True)
        probe = keras.Model(model.input, model.get_layer("avgpool").output)
        np.testing.assert_allclose(run(probe, image), expected, atol=1e-3)
