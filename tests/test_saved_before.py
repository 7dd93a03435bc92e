"""Models saved before the package had rooms open, predict the same, and know what they were trained on.

All three have 5 classes and take clips (4, 64, 64, 3). `lrcn.keras` was made by `train_on_folder` on the
sample data set of 4 groups; `lrcn_recipe_1.keras` has a recipe of version 1; `own_layers.keras` holds
`default_augmentation()` and `EveryStep`, which are found by the names they are registered under.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harkeras.data.samples import create_sample_dataset
from harkeras.evaluation.held_out import evaluate_on_folder
from harkeras.models.saving import load_model, read_recipe

FOLDER = Path(__file__).parent / "saved_before"
CLIPS = np.random.default_rng(0).integers(0, 256, (2, 4, 64, 64, 3)).astype("uint8").astype("float32")
# What each version said of these two clips.
PROBABILITIES = {
    "lrcn": [
        [0.183045, 0.210679, 0.202688, 0.190925, 0.212663],
        [0.183865, 0.210941, 0.201599, 0.190071, 0.213525],
    ],
    "lrcn_recipe_1": [
        [0.184692, 0.210607, 0.202414, 0.188887, 0.213399],
        [0.185664, 0.210864, 0.201179, 0.187961, 0.214331],
    ],
    "own_layers": [
        [0.192835, 0.214328, 0.168016, 0.199539, 0.225281],
        [0.192127, 0.214885, 0.167079, 0.200434, 0.225475],
    ],
}


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """The folder that lrcn.keras was trained on, rendered anew: 40 clips, those of group 4 held out."""
    return create_sample_dataset(tmp_path_factory.mktemp("samples"), groups=4, clips_per_group=2, seed=27)


@pytest.mark.parametrize("name", PROBABILITIES)
def test_predicts_the_same(name):
    model = load_model(FOLDER / f"{name}.keras")
    probabilities = np.asarray(model(CLIPS, training=False))
    np.testing.assert_allclose(probabilities, PROBABILITIES[name], atol=1e-4)


def test_keras_alone_opens_it_and_harkeras_finds_its_own_layers():
    code = f"""
import json, sys, keras, numpy as np
clips = np.random.default_rng(0).integers(0, 256, (2, 4, 64, 64, 3)).astype("uint8").astype("float32")
lrcn = keras.saving.load_model("{FOLDER / "lrcn.keras"}")(clips, training=False)
assert not any(name.startswith("harkeras") for name in sys.modules)
from harkeras.models.saving import load_model
own_layers = load_model("{FOLDER / "own_layers.keras"}")(clips, training=False)
print(json.dumps([np.asarray(lrcn).tolist(), np.asarray(own_layers).tolist()]))"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    expected = [PROBABILITIES["lrcn"], PROBABILITIES["own_layers"]]
    np.testing.assert_allclose(json.loads(process.stdout.splitlines()[-1]), expected, atol=1e-4)


def test_only_what_it_was_not_trained_on_is_scored(samples):
    record = read_recipe(FOLDER / "lrcn.keras").training
    assert record.test_groups == ("g04",)
    evaluation = evaluate_on_folder(FOLDER / "lrcn.keras", samples)
    assert evaluation.support.tolist() == [2] * 5
    assert evaluation.split.startswith(
        "10 of 40 clips of the folder; the model was not trained on them (group split, seed 27); left out: "
        "30 that it was trained on, 0 more of their sources"
    )
    # Without its test clips there is nothing left.
    for clip in samples.rglob("*_g04_*"):
        clip.rename(clip.with_suffix(".later"))
    try:
        with pytest.raises(ValueError, match="clips that the model was not trained on, got none of 30"):
            evaluate_on_folder(FOLDER / "lrcn.keras", samples)
    finally:
        for clip in samples.rglob("*.later"):
            clip.rename(clip.with_suffix(".mp4"))


def test_a_recipe_of_version_1_cannot_know(samples):
    path = FOLDER / "lrcn_recipe_1.keras"
    assert read_recipe(path).training is None
    with pytest.raises(ValueError, match="does not say what it was trained on"):
        evaluate_on_folder(path, samples)
    assert (
        "the model does not say what it was trained on"
        in evaluate_on_folder(path, samples, clips="all").split
    )
