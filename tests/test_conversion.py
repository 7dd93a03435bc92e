"""`runtime=`: the same answers by another engine, converted once."""

import sys

import keras
import numpy as np
import pytest
from keras import layers, ops

from harkeras.cli import main
from harkeras.data.samples import create_sample_video
from harkeras.deploy import export_model
from harkeras.inference import ActionStream, predict_on_video, predict_single_action
from harkeras.inference.conversion import in_runtime
from harkeras.inference.exported import ExportedModel
from harkeras.inference.resolve import resolve_model
from harkeras.models import create_lrcn_model, create_model, create_movinet_stream_model
from harkeras.models.saving import save_model
from harkeras.recipe import Recipe

pytest.importorskip("onnxruntime", reason='needs ONNX Runtime: pip install "harkeras[onnx]"')
pytest.importorskip("tf2onnx", reason='needs tf2onnx: pip install "harkeras[onnx]"')
pytest.importorskip("ai_edge_litert", reason='needs LiteRT: pip install "harkeras[litert]"')

CLASSES = ("fall", "walk", "sit")
RUNTIMES = ("keras", "onnx", "litert")


def build(function=None):
    keras.utils.set_random_seed(3)
    if function is None:
        model = create_lrcn_model(3, (4, 64, 64, 3), filters=(4, 4, 6, 8), units=5)
    else:
        clip = keras.Input((4, 64, 64, 3))
        x = layers.GlobalAveragePooling3D()(layers.Lambda(function)(clip))
        model = keras.Model(clip, layers.Dense(3, activation="softmax")(x), name="odd")
    model.set_weights([5 * weight for weight in model.get_weights()])  # sure of something
    # What the engine must not do twice, or forget.
    model.recipe = Recipe(CLASSES, 4, 64, 64, 1.0, temperature=1.7, normalize=True, channel_order="bgr")
    return model


@pytest.fixture(scope="module")
def lrcn():
    return build()


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "long.mp4"
    create_sample_video(path, actions=("Walking", "Falling"))
    return path


def by(runtime, model, clips):
    resolved = resolve_model(model, runtime=runtime)
    return ActionStream(resolved.model, resolved.recipe).classify(clips)


def test_a_video_is_named_alike(lrcn, video):
    wanted = predict_on_video(video, lrcn, progress=False)
    assert np.ptp(wanted.probabilities, axis=0).max() > 1e-3
    for runtime in RUNTIMES:
        got = predict_on_video(video, lrcn, progress=False, runtime=runtime)
        np.testing.assert_allclose(got.probabilities, wanted.probabilities, atol=1e-5)
        assert [each[:3] for each in got.segments] == [each[:3] for each in wanted.segments]
    whole = predict_single_action(video, lrcn, runtime="onnx").probabilities
    assert whole == pytest.approx(predict_single_action(video, lrcn).probabilities, abs=1e-5)


def test_each_frame_is_still_computed_once(lrcn):
    for runtime in RUNTIMES:
        model = resolve_model(lrcn, runtime=runtime).model
        assert model.splits
        assert model.runtime == runtime
        assert model.recipe.temperature == lrcn.recipe.temperature
        assert not model.recipe.normalize


def test_keras_alone_stays_there(lrcn):
    resolved = resolve_model(lrcn, runtime="keras")
    stream = ActionStream(resolved.model, resolved.recipe)
    before = stream._model
    stream.warm_up()
    assert stream._model is before


def test_it_is_converted_once_and_anew_for_other_weights():
    model = build()
    first = resolve_model(model, runtime="litert").model
    assert resolve_model(model, runtime="litert").model is first
    stream = ActionStream(model, model.recipe)
    stream.warm_up()  # what long streams do by themselves is the same
    assert stream._model._model is first
    model.set_weights([2 * weight for weight in model.get_weights()])
    clips = np.random.default_rng(0).integers(0, 256, (2, 4, 64, 64, 3), np.uint8)
    np.testing.assert_allclose(by("litert", model, clips), by(None, model, clips), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_other_kinds(runtime):
    keras.utils.set_random_seed(3)
    stream = create_movinet_stream_model(3, (1, 64, 64, 3), width_multiplier=0.25)
    stream.recipe = Recipe(CLASSES, 4, 64, 64, 1.0, temperature=1.7)
    joints = create_model("pose_lstm", 3, (6, 17, 3), units=8)
    joints.recipe = Recipe(CLASSES, 6, None, None, 2.0, streams="pose", joints=17, coordinates=3)
    convlstm = create_model("convlstm", 3, (4, 64, 64, 3), filters=(3, 4))
    convlstm.recipe = Recipe(CLASSES, 4, 64, 64, 1.0, normalize=True)
    for model in (stream, joints, convlstm):
        rng, shape = np.random.default_rng(0), (2, *model.recipe.clip_shape)
        clips = rng.random(shape, np.float32) if model is joints else rng.integers(0, 256, shape, np.uint8)
        np.testing.assert_allclose(by(runtime, model, clips), by(None, model, clips), atol=1e-4)


def test_commands_take_it(tmp_path, lrcn, video, capsys, monkeypatch):
    path = save_model(lrcn, tmp_path / "run", recipe=lrcn.recipe)
    for command in (
        ["predict", video, "--model", path, "--runtime", "onnx"],
        ["watch", video, "--model", path, "--runtime", "litert", "--seconds", "1"],
        ["bench", path, video, "--runtime", "onnx", "--seconds", "2", "--target-fps", "1"],
    ):
        monkeypatch.setattr("sys.argv", ["harkeras", *map(str, command)])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0, capsys.readouterr().err
    assert "lrcn by onnx (4 x 64 x 64 x 3)" in capsys.readouterr().out


class TestRefused:
    def test_no_engine(self, lrcn):
        with pytest.raises(ValueError, match="runtime must be one of 'keras', 'onnx', 'litert', got 'torch'"):
            resolve_model(lrcn, runtime="torch")

    def test_exported_for_another(self, tmp_path, lrcn):
        clips = np.zeros((1, 4, 64, 64, 3), np.uint8)
        model = ExportedModel(export_model(lrcn, tmp_path / "m.onnx", clips=clips).path)
        assert in_runtime(model, model.recipe, "onnx") is model
        message = r"runtime must be left out for m\.onnx, which was exported for onnx, got 'litert'"
        with pytest.raises(ValueError, match=message):
            resolve_model(tmp_path / "m.onnx", runtime="litert")

    @pytest.mark.parametrize(
        ("runtime", "module", "extra"),
        [
            ("onnx", "onnxruntime", "onnx"),
            ("onnx", "tf2onnx", "onnx"),
            ("litert", "ai_edge_litert", "litert"),
        ],
    )
    def test_not_installed(self, runtime, module, extra, monkeypatch):
        for name in (module, "ai_edge_litert.interpreter") if runtime == "litert" else (module,):
            monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ImportError, match=rf'pip install "harkeras\[{extra}\]"'):
            resolve_model(build(), runtime=runtime)

    @pytest.mark.parametrize(("runtime", "engine"), [("onnx", "ONNX"), ("litert", "LiteRT")])
    def test_what_the_engine_does_not_know(self, runtime, engine):
        model = build(lambda x: ops.erfinv(ops.tanh(x / 1000)))
        with pytest.raises(ValueError, match=f"odd cannot be converted for {engine}: .*Erfinv"):
            resolve_model(model, runtime=runtime)
