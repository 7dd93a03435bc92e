"""Published networks of videos, tuned to other actions; their files hold random weights here."""

import hashlib
import sys

import keras
import numpy as np
import pytest
from published_files import save_safetensors, save_torch, torchvision_state

from harkeras import cli
from harkeras.assets.store import FOLDER_VARIABLE
from harkeras.assets.table import ASSETS, PRETRAINED, Asset, Pretrained
from harkeras.data.loading import create_dataset
from harkeras.evaluation.comparison import Contestant, compare
from harkeras.evaluation.cross_validation import cross_validate
from harkeras.inference.prediction import predict_single_action
from harkeras.models import create_r3d_model
from harkeras.models.saving import load_model
from harkeras.training.trainer import NetworkTrainer
from harkeras.transfer.auto import create_trainer, find_trainer
from harkeras.transfer.published_trainer import PublishedTrainer
from harkeras.workflow import train_on_folder

FAST = {"epochs": 1, "batch_size": 8, "verbose": False}


def publish(folder, monkeypatch, file, name, entry):
    """Put a file of weights into the table, under the checksum that it has."""
    digits = hashlib.sha256((folder / file).read_bytes()).hexdigest()
    monkeypatch.setitem(ASSETS, file, Asset(file, None, "MIT", None, f"sha256:{digits}", "a page"))
    monkeypatch.setitem(PRETRAINED, name, entry)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder HARKERAS_ASSETS, with what a test publishes; nothing else is here."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path


@pytest.fixture
def published(folder, monkeypatch):
    """A small R3D of 5 classes, published as "tiny" by a file of PyTorch."""
    model = create_r3d_model(5, (4, 32, 32, 3), filters=2)
    save_torch(folder / "tiny.pth", torchvision_state(model))
    entry = Pretrained("r3d", "tiny.pth", "kinetics400_labels", 4, 32, 32, 0.8, (("filters", 2),))
    publish(folder, monkeypatch, "tiny.pth", "tiny", entry)
    return model


class TestTrainer:
    def test_is_found_by_name(self):
        assert {find_trainer(name) for name in PRETRAINED} == {PublishedTrainer}
        assert find_trainer("i3d") is NetworkTrainer
        assert create_trainer("movinet-a0-kinetics600").input_shape == (50, 172, 172, 3)
        trainer = create_trainer("i3d-kinetics400", input_shape=(16, 64, 64, 3))
        assert (trainer.name, trainer.fallback) == ("i3d-kinetics400", None)
        assert trainer.clip_format.shape == (16, 64, 64, 3)
        assert trainer.cache_name != create_trainer("r3d-kinetics400").cache_name

    def test_begins_with_the_published_weights_under_a_new_last_layer(self, published):
        model = create_trainer("tiny").build(2)
        assert model.output_shape == (None, 2)
        for layer in published.layers:
            if layer.weights and layer.name != "probabilities":
                assert all(
                    map(np.array_equal, layer.get_weights(), model.get_layer(layer.name).get_weights())
                )

    @pytest.mark.parametrize(
        ("options", "settings", "message"),
        [
            ({"filters": 3}, {}, "filters must be left out for tiny: its weights settle it"),
            ({"depth": 3}, {}, "options of r3d must be among .*, got depth"),
            ({"backbone_factor": 0}, {}, "backbone_factor must lie in 0 to 1, 0 excluded, got 0"),
            ({"backbone_factor": "x"}, {}, "backbone_factor must lie in 0 to 1, 0 excluded, got 'x'"),
            (
                {},
                {"input_shape": (4, 32, 32, 2)},
                r"must be \(frames, height, width, 3\) for tiny, got \(4, 32",
            ),
            ({}, {"flow_method": "dis"}, "flow_method is for clips with optical flow"),
            ({}, {"optimizer": keras.optimizers.SGD()}, "must be keras.optimizers.Adam where .*, got SGD"),
            ({}, {"epoch": 3}, "options of train must be among .*, got epoch"),
        ],
    )
    def test_refusals(self, published, options, settings, message):
        with pytest.raises(ValueError, match=message):
            create_trainer("tiny", options, **settings)

    def test_refuses_other_streams(self):
        with pytest.raises(ValueError, match="streams must be 'rgb' for r3d-kinetics400, got 'flow'"):
            find_trainer("r3d-kinetics400").read_shape("r3d-kinetics400", (None,) * 3, "flow", None)

    def test_sizes_that_were_not_asked_for_are_the_published_ones(self):
        read = find_trainer("movinet-a0-kinetics600").read_shape
        assert read("movinet-a0-kinetics600", (16, None, None), "rgb", None) == ((16, 172, 172, 3), {})

    def test_a_file_that_is_missing_or_of_another_network(self, published, folder, monkeypatch):
        entry = PRETRAINED["tiny"]
        other = Pretrained(entry.model, entry.weights, entry.labels, 4, 32, 32, 0.8, (("filters", 3),))
        monkeypatch.setitem(PRETRAINED, "tiny", other)
        with pytest.raises(
            ValueError, match=r"tiny\.pth \(torchvision.models.video\) must fit the model r3d"
        ):
            create_trainer("tiny").check(2)
        (folder / "tiny.pth").unlink()
        with pytest.raises(FileNotFoundError, match=r"tiny\.pth is neither in the folder HARKERAS_ASSETS"):
            create_trainer("tiny").check(2)


def bodies(model):
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


class TestFineTuning:
    @pytest.mark.parametrize(
        "rate",
        [0.01, keras.optimizers.schedules.ExponentialDecay(0.01, 100, 0.9)],
        ids=["number", "schedule"],
    )
    def test_two_rates_and_frozen_batch_norm(self, published, sample_dir, eager, rate):
        dataset = create_dataset(sample_dir, frames=4, height=32, width=32)
        trainer = create_trainer(
            "tiny",
            {"backbone_factor": 0.01},
            optimizer=keras.optimizers.Adam(rate),
            validation_split=0,
            **FAST | {"batch_size": 99},
        )
        trained = trainer.train(dataset, seed=27).model
        before, after = bodies(published), bodies(trained)
        moved = {
            name: max(float(np.abs(a - b).max()) for a, b in zip(before[name], after[name], strict=True))
            for name in before
            if name != "probabilities"
        }
        norms = {
            name for name in moved if isinstance(trained.get_layer(name), keras.layers.BatchNormalization)
        }
        assert norms
        assert all(moved[name] == 0 for name in norms)
        # The first step of Adam is as long as the learning rate.
        assert all(0 < moved[name] <= 1.01e-4 for name in moved.keys() - norms)
        assert np.abs(after["probabilities"][1]).max() == pytest.approx(0.01, rel=0.01)
        assert type(trained.optimizer) is keras.optimizers.Adam
        assert float(trained.optimizer.learning_rate) == pytest.approx(0.01)

    def test_the_saved_model_predicts_through_its_recipe(self, published, sample_dir, tmp_path, eager):
        trained = train_on_folder(sample_dir, "tiny", output_dir=tmp_path / "models", **FAST)
        recipe = load_model(trained.path).recipe
        assert (recipe.frames, recipe.height, recipe.width) == (4, 32, 32)
        assert recipe.classes == trained.evaluation.classes
        clip = next(sample_dir.rglob("*.mp4"))
        assert predict_single_action(clip, trained.path).label in recipe.classes
        text = trained.report.read_text()
        assert "tiny" in text
        assert "backbone_factor" in text + (trained.folder / "report.json").read_text()
        keras.saving.load_model(trained.path)

    @pytest.mark.slow
    def test_cross_validation_and_comparison(self, published, sample_dir, tmp_path, eager):
        dataset = create_dataset(sample_dir, frames=4, height=32, width=32)
        result = cross_validate(create_trainer("tiny", **FAST), dataset, folds=2)
        assert len(result.labels) == len(dataset)
        small = Contestant("lrcn", {"filters": (2, 2, 2, 2), "units": 4})
        rows = compare(sample_dir, [small, "tiny"], output_dir=tmp_path / "compared", folds=2, **FAST)
        assert [row["model"].partition("(")[0] for row in rows] == ["lrcn", "tiny"]
        assert rows[1]["clips"] == len(dataset)

    @pytest.mark.slow
    def test_command_line(self, published, folder, sample_dir, tmp_path, monkeypatch, capsys, eager):
        def run(*arguments):
            monkeypatch.setattr(sys, "argv", ["harkeras", *map(str, arguments)])
            with pytest.raises(SystemExit) as stop:
                cli.main()
            return stop.value.code or 0, *capsys.readouterr()

        options = (
            "--model",
            "tiny",
            "--epochs",
            1,
            "--learning-rate",
            0.01,
            "--output-dir",
            tmp_path / "models",
        )
        status, _, err = run("train", sample_dir, *options, "--option", "backbone_factor=0.5", "--height", 40)
        assert status == 0, err
        (run_folder,) = (tmp_path / "models").glob("tiny__*")
        recipe = load_model(run_folder / "model.keras").recipe
        assert (recipe.frames, recipe.height, recipe.width) == (4, 40, 32)
        (folder / "tiny.pth").unlink()
        status, _, err = run("train", sample_dir, *options)
        assert status == 2
        assert "error: tiny.pth is neither in the folder HARKERAS_ASSETS" in err.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shape"),
    [("movinet-a0-kinetics600", (6, 48, 48, 3)), ("r3d-kinetics400", (4, 32, 32, 3))],
)
@pytest.mark.real_data
def test_published_networks_learn_from_real_clips(
    name, shape, folder, monkeypatch, real_data, tmp_path, eager
):
    """Whole networks, under the names of their files, on clips of fights; sources are held out."""
    clips = tmp_path / "clips"
    for kind in ("Fight", "NoFight"):
        (clips / kind).mkdir(parents=True)
        for clip in sorted((real_data / "surveillance_fights" / kind).glob("*_c01.*"))[:8]:
            (clips / kind / clip.name).symlink_to(clip)
    entry = PRETRAINED[name]
    file = ASSETS[entry.weights].file
    save_safetensors(folder / file, weights_of(name))
    monkeypatch.setitem(ASSETS, entry.weights, Asset(file, None, "MIT", None, None, "a page"))
    trained = train_on_folder(
        clips, name, input_shape=shape, output_dir=tmp_path / "models", epochs=2, batch_size=4, verbose=False
    )
    assert trained.history.history["loss"][1] < trained.history.history["loss"][0]
    action = predict_single_action(next(clips.rglob("v_*")), trained.path)
    assert action.label in ("Fight", "NoFight")


def weights_of(name):
    """Random weights as the authors, or those who converted them, lay them out."""
    if name.startswith("r3d"):
        return torchvision_state(create_r3d_model(400, (4, 32, 32, 3)))
    from test_weights_movinet import Source, clips_of, pytorch_names

    network = Source(causal=False)
    network.logits(clips_of(2, 32, 32, 3) / 255)
    return pytorch_names(network.variables, causal=False)
