"""A folder that names actions in a browser: a page, the model in ONNX, and what runs it there.

Any host of static files serves the folder, or `python -m http.server` inside it. Nothing is uploaded: the
visitor's camera, or a video that they drop, is looked at by ONNX Runtime Web on their own device, in a thread
of its own, with more of them where the host sends the headers COOP and COEP. No other host is asked for
anything, which the page makes the browser see to. A browser of 2024 or later is needed, and for a camera
https:// or localhost.

The page does what `predict_on_video(..., causal=True)` does: the same windows, the same frames of each, the
same rules of decision; pixels differ by a few gray levels, as browsers convert colors in their own way (see
tests/benchmarks/README.md). It leaves out the windows that had begun before a gap of the camera, and takes a
file to have no gaps. Models of clips are shown here, in color or gray, and streams with states; not those of
flow, joints, people or still images.

`recipe.json` is the model's recipe, without what it says of the training clips, which are nobody's business
there; `settings.json` holds the settings of the decision and may be edited.
"""

from __future__ import annotations

import inspect
import json
import shutil
import tarfile
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from harkeras.assets.store import find_asset
from harkeras.inference.decisions import Decider
from harkeras.inference.exported import ENCODER, HEAD, WHOLE
from harkeras.inference.network_files import write_onnx
from harkeras.inference.recipe_network import exported_recipe, split_with_recipe, with_recipe
from harkeras.inference.resolve import ResolvedModel
from harkeras.inference.runtimes import RECIPE_FILE
from harkeras.inference.streaming import ActionStream
from harkeras.models.movinet import is_stream_model

ENGINE = "onnxruntime_web"
_SETTINGS_FILE = "settings.json"
# What the page needs of the package: the library, and the network's engine. The first is renamed, since some
# hosts do not know that a file .mjs is JavaScript.
_ENGINE_FILES = {
    "package/dist/ort.wasm.bundle.min.mjs": "ort.js",
    "package/dist/ort-wasm-simd-threaded.wasm": "ort-wasm-simd-threaded.wasm",
}


def check_for_web(resolved: ResolvedModel) -> None:
    """Raise ValueError for a model that the page cannot show what it must be shown."""
    recipe, model = resolved.recipe, resolved.model
    if recipe.streams not in ("rgb", "gray") or recipe.subject != "frame":
        seen = recipe.streams if recipe.subject == "frame" else f"one square around its {recipe.subject}"
        raise ValueError(
            f"format must not be 'web' for {model.name}: the page shows whole frames, not {seen}"
        )
    if not is_stream_model(model) and len(model.input_shape) == 4:
        raise ValueError(
            f"format must not be 'web' for {model.name}, which takes images: the page shows clips"
        )


def write_web(folder: Path, resolved: ResolvedModel) -> None:
    """Fill a folder with the page.

    Args:
        folder: An empty folder.
        resolved: A model that `check_for_web` lets pass. One that can be cut, see `split_per_frame`, becomes
            two networks, so that the features of a frame are computed once.

    Raises:
        FileNotFoundError: If ONNX Runtime Web is not here, and cannot be downloaded.
        OSError: If the download fails, or a file cannot be written.
    """
    engine = find_asset(ENGINE)
    model, recipe = resolved.model, resolved.recipe
    left = replace(exported_recipe(recipe), training=None)
    parts = split_with_recipe(model, recipe)
    networks = (
        {WHOLE: with_recipe(model, recipe)}
        if parts is None
        else dict(zip((ENCODER, HEAD), parts, strict=True))
    )
    for name, network in networks.items():
        write_onnx(network, folder / f"{name}.onnx", left)
    (folder / RECIPE_FILE).write_text(left.to_json(), encoding="utf-8")
    stride_seconds = ActionStream(model, recipe).stride_seconds
    settings = {"networks": [f"{name}.onnx" for name in networks], "stride_seconds": stride_seconds}
    (folder / _SETTINGS_FILE).write_text(
        json.dumps(settings | _decision_settings(), indent=2), encoding="utf-8"
    )
    page = resources.files("harkeras.deploy") / "_web"
    for file in page.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    _unpack_engine(engine, folder / "onnxruntime")


def _decision_settings() -> dict[str, Any]:
    """Return the settings of `Decider` that have a number by default."""
    parameters = inspect.signature(Decider).parameters.values()
    return {each.name: each.default for each in parameters if isinstance(each.default, float)}


def _unpack_engine(archive: Path, folder: Path) -> None:
    folder.mkdir()
    with tarfile.open(archive) as package:
        for member, name in _ENGINE_FILES.items():
            with (folder / name).open("wb") as file:
                shutil.copyfileobj(package.extractfile(member), file)
