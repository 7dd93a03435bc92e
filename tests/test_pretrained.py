import hashlib
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from published_files import save_safetensors, torchvision_state

from harkeras import cli, list_pretrained, load_pretrained, predict_on_video, predict_single_action
from harkeras.assets.store import FOLDER_VARIABLE
from harkeras.assets.table import ASSETS, PRETRAINED, Asset, Pretrained
from harkeras.models import create_r3d_model, list_models

CLASSES = ("abseiling", "air drumming", "zumba")


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A small network published as "tiny": its weights as torchvision lays them out, and its class names."""
    model = create_r3d_model(3, (4, 32, 32, 3), filters=2)
    save_safetensors(tmp_path / "tiny.safetensors", torchvision_state(model))
    (tmp_path / "names.txt").write_text("\n".join(CLASSES) + "\n")
    for name in ("tiny.safetensors", "names.txt"):
        digits = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        monkeypatch.setitem(ASSETS, name, Asset(name, None, "MIT", None, f"sha256:{digits}", "a page"))
    entry = Pretrained("r3d", "tiny.safetensors", "names.txt", 4, 32, 32, 0.8, (("filters", 2),))
    monkeypatch.setitem(PRETRAINED, "tiny", entry)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    return model


def test_comes_with_its_weights_and_its_recipe(published):
    model = load_pretrained("tiny")
    assert all(map(np.array_equal, model.get_weights(), published.get_weights()))
    assert model.recipe.classes == CLASSES
    assert (model.recipe.frames, model.recipe.height, model.recipe.clip_seconds) == (4, 32, 0.8)
    assert "tiny" in list_pretrained()


def test_names_the_action_of_a_video(published, make_video):
    video = make_video()
    action = predict_single_action(video, "tiny")
    assert action.label in CLASSES
    assert action == predict_single_action(video, load_pretrained("tiny"))
    prediction = predict_on_video(video, "tiny", stride_seconds=0.4, progress=False)
    assert prediction.classes == CLASSES


def test_in_the_command_line(published, make_video, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["harkeras", "predict", str(make_video()), *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code or 0, *capsys.readouterr()

    status, out, _ = run("--model", "tiny", "--single")
    assert status == 0
    assert re.search(r"Action: (abseiling|air drumming|zumba)\n", out)
    status, out, _ = run("--model", "tiny")
    assert status == 0
    assert re.search(r"0.00 s  to .* s  \w+", out)
    status, _, err = run("--model", "tini")
    assert status == 2
    assert "error: no model file at tini; published models: i3d-kinetics400, " in err


def test_missing_weights_say_where_to_put_them(published, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    (tmp_path / "tiny.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"tiny.safetensors is neither in the folder HARKERAS_ASSETS"):
        load_pretrained("tiny")


def test_unknown():
    with pytest.raises(ValueError, match=r"name must be one of i3d-kinetics400, .*, got 'x'"):
        load_pretrained("x")


@pytest.mark.parametrize("name", PRETRAINED)
def test_the_table_is_consistent(name):
    entry = PRETRAINED[name]
    assert entry.weights in ASSETS
    assert entry.labels in ASSETS
    assert entry.model in list_models()


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["i3d-kinetics400", "i3d-kinetics600"])
def test_real_class_names(real_data, monkeypatch, name):
    """All but the weights, which are not here."""
    folder = real_data / "kinetics"
    monkeypatch.setattr(
        "harkeras.pretrained.published.find_asset", lambda name, progress: folder / ASSETS[name].file
    )
    monkeypatch.setattr("harkeras.pretrained.published.create_model", lambda *_, **__: SimpleNamespace())
    monkeypatch.setattr("harkeras.pretrained.published.load_weights", lambda *_: None)
    classes = load_pretrained(name).recipe.classes
    assert (len(classes), classes[0], classes[-1]) == (int(name[-3:]), "abseiling", "zumba")
