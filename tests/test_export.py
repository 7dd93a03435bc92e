"""Models that leave Keras: the same answers, with the recipe on board."""

import zipfile
from dataclasses import replace

import keras
import numpy as np
import pytest

from harkeras.cli import main
from harkeras.data.samples import create_sample_video
from harkeras.deploy import export_model
from harkeras.deploy._folders import folder_written_whole
from harkeras.inference.exported import ExportedModel
from harkeras.inference.prediction import predict_on_video, predict_single_action
from harkeras.inference.runtimes import RECIPE_FILE, load_network
from harkeras.inference.streaming import ActionStream
from harkeras.models import create_model, create_movinet_stream_model
from harkeras.models.unrolled import for_litert, for_onnx
from harkeras.recipe import Recipe

onnx = pytest.importorskip("onnx", reason="pip install harkeras[onnx]")
pytest.importorskip("tf2onnx", reason="pip install harkeras[onnx]")
pytest.importorskip("onnxruntime", reason="pip install harkeras[onnx]")
pytest.importorskip("ai_edge_litert", reason="pip install harkeras[litert]")

CLASSES = ("fall", "walk", "sit")
SHAPE = (6, 64, 64, 3)
SMALL = {
    "lrcn": {"filters": (4, 4, 8, 8), "units": 8},
    "convlstm": {"filters": (3, 4)},
    "i3d": {},
    "movinet": {"width_multiplier": 0.25, "causal": True},
    "video_transformer": {},
}


def sharpened(shape=SHAPE, **options):
    options = {"temperature": 1.7, "thresholds": {"fall": 0.3}} | options
    return Recipe(CLASSES, *shape[:3], 2.0, **options)


def build(name, **recipe):
    keras.utils.set_random_seed(1)
    model = create_model(name, len(CLASSES), SHAPE, **SMALL.get(name, {}))
    model.recipe = sharpened(**recipe)
    return model


def some_clips(recipe, count=3):
    rng = np.random.default_rng(5)
    if recipe.streams == "pose":
        return rng.random((count, *recipe.clip_shape), np.float32)
    return rng.integers(0, 256, (count, *recipe.clip_shape), np.uint8)


@pytest.fixture(scope="module")
def lrcn():
    return build("lrcn", channel_order="bgr")


@pytest.fixture(scope="module")
def clips(lrcn):
    return some_clips(lrcn.recipe)


@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
def test_file_answers_as_keras_does(tmp_path, lrcn, clips, suffix):
    export = export_model(lrcn, tmp_path / f"m{suffix}", clips=clips)
    assert export.largest_difference < 1e-5
    assert export.same_labels == 1
    assert export.clips == len(clips)
    assert export.size_bytes == export.path.stat().st_size
    assert "same label" in str(export)
    model = ExportedModel(export.path)
    answers = ActionStream(model, model.recipe).classify(clips)
    np.testing.assert_allclose(answers, ActionStream(lrcn, lrcn.recipe).classify(clips), atol=1e-5)


def test_what_the_file_does_by_itself_is_not_done_twice(tmp_path, lrcn, clips):
    recipe = ExportedModel(export_model(lrcn, tmp_path / "m.onnx", clips=clips).path).recipe
    assert recipe == replace(lrcn.recipe, channel_order="rgb", temperature=1.0)
    assert recipe.thresholds == {"fall": 0.3}


@pytest.mark.slow
def test_saved_model_has_its_recipe(tmp_path, lrcn, clips):
    export = export_model(lrcn, tmp_path / "served", format="saved_model", clips=clips)
    assert export.largest_difference < 1e-5
    assert ExportedModel(export.path).recipe.classes == CLASSES


@pytest.mark.parametrize("format", ["onnx", pytest.param("litert", marks=pytest.mark.slow)])
def test_two_files_encode_each_frame_once(tmp_path, lrcn, clips, format):
    export = export_model(lrcn, tmp_path / "m", format=format, split=True, clips=clips)
    assert export.largest_difference < 1e-5
    model = ExportedModel(export.path)
    assert model.splits
    assert model.encode(clips[0]).shape[0] == SHAPE[0]
    suffix = {"onnx": "onnx", "litert": "tflite"}[format]
    encoder = load_network(export.path / f"encoder.{suffix}")
    ((shape, dtype),) = encoder.inputs.values()
    assert len(shape) == 4  # as GPUs of phones want it
    assert dtype == np.uint8


@pytest.mark.parametrize("name", ["m.onnx", "parts"])
def test_video_is_named_alike_by_either_engine(tmp_path, lrcn, clips, name):
    create_sample_video(tmp_path / "long.mp4", actions=("Walking", "Falling"))
    path = export_model(lrcn, tmp_path / name, format="onnx", split=name == "parts", clips=clips).path
    wanted = predict_on_video(tmp_path / "long.mp4", lrcn, progress=False, stride_seconds=0.5)
    got = predict_on_video(tmp_path / "long.mp4", path, progress=False, stride_seconds=0.5)
    assert [each[:3] for each in got.segments] == [each[:3] for each in wanted.segments]
    np.testing.assert_allclose(got.probabilities, wanted.probabilities, atol=1e-5)
    whole = predict_single_action(tmp_path / "long.mp4", path)
    assert whole.label == predict_single_action(tmp_path / "long.mp4", lrcn).label


@pytest.mark.slow
def test_half_precision_is_half_as_large(tmp_path, lrcn, clips):
    whole = export_model(lrcn, tmp_path / "a.tflite", clips=clips)
    half = export_model(lrcn, tmp_path / "b.tflite", precision="float16", clips=clips)
    assert half.size_bytes < whole.size_bytes
    assert half.largest_difference < 0.01


def test_eight_bits_leave_the_temperature_to_the_recipe(tmp_path, lrcn, clips):
    export = export_model(lrcn, tmp_path / "m.tflite", precision="int8", clips=clips)
    model = ExportedModel(export.path)
    assert model.recipe.temperature == lrcn.recipe.temperature
    wanted = lrcn.predict(clips[..., ::-1].astype("float32"), verbose=0)
    np.testing.assert_allclose(model.answer(clips[:1]), wanted[:1], atol=0.1)
    assert export.largest_difference < 0.1


@pytest.mark.slow
def test_stream_takes_a_frame_and_its_states(tmp_path):
    keras.utils.set_random_seed(2)
    stream = create_movinet_stream_model(3, (1, 64, 64, 3), width_multiplier=0.25)
    stream.recipe = sharpened()
    clips = some_clips(stream.recipe, 2)
    for name in ("m.onnx", "m.tflite"):
        export = export_model(stream, tmp_path / name, clips=clips)
        assert export.largest_difference < 1e-4
        assert ExportedModel(export.path).keeps_memory


@pytest.mark.slow
@pytest.mark.parametrize("name", ["convlstm", "i3d", "movinet", "video_transformer"])
@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
def test_families(tmp_path, name, suffix):
    model = build(name)
    export = export_model(model, tmp_path / f"m{suffix}", clips=some_clips(model.recipe))
    assert export.largest_difference < 1e-4


@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
def test_loops_inside_other_layers(tmp_path, suffix):
    """The heads of `auto` have an LSTM in both directions."""
    clip = keras.Input((4, 8, 8, 3))
    features = keras.layers.TimeDistributed(keras.layers.Flatten())(clip)
    states = keras.layers.Bidirectional(keras.layers.LSTM(4))(features)
    model = keras.Model(clip, keras.layers.Dense(3, activation="softmax")(states), name="both")
    model.recipe = Recipe(CLASSES, 4, 8, 8, 2.0)
    export = export_model(model, tmp_path / f"m{suffix}", clips=some_clips(model.recipe))
    assert export.largest_difference < 1e-5
    assert not model.layers[-2].forward_layer.unroll  # the model itself is as it was


@pytest.mark.slow
def test_joints(tmp_path):
    model = create_model("pose_lstm", 3, (6, 17, 3), units=8)
    model.recipe = Recipe(CLASSES, 6, None, None, 2.0, streams="pose", joints=17, coordinates=3)
    assert export_model(model, tmp_path / "m.onnx").largest_difference < 1e-5
    assert export_model(model, tmp_path / "m.tflite").largest_difference < 1e-5


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kind", ["MaxPooling3D", "AveragePooling3D"])
def test_pools_in_two_steps_are_the_same(kind, padding):
    clip = keras.Input((5, 7, 9, 2))
    pool = getattr(keras.layers, kind)((3, 2, 3), (2, 2, 1), padding=padding)
    model = keras.Model(clip, pool(clip))
    x = np.random.default_rng(0).normal(size=(2, 5, 7, 9, 2)).astype("float32")
    np.testing.assert_allclose(for_litert(model)(x), model(x), atol=1e-6)


def test_copies_answer_alike():
    clip = keras.Input((4, 6))
    x = keras.layers.Dense(5, activation="gelu")(clip)
    lstm = keras.layers.LSTM(4, return_sequences=True, recurrent_dropout=0.2)
    model = keras.Model(clip, keras.layers.GRU(3)(lstm(x)))
    x = np.random.default_rng(0).normal(size=(2, 4, 6)).astype("float32")
    for copy in (for_onnx(model), for_litert(model)):
        assert copy.get_layer(lstm.name).cell.recurrent_dropout == 0  # of training alone
        assert lstm.cell.recurrent_dropout == 0.2
        np.testing.assert_allclose(copy(x), model(x), atol=1e-6)


class TestRefused:
    @pytest.mark.parametrize(
        ("path", "options", "message"),
        [
            ("m", {}, "format must be one of onnx, litert, saved_model, web where .*m does not say"),
            ("m.tflite", {"format": "onnx"}, "path must end in .onnx for onnx, got .*m.tflite"),
            ("m.onnx", {"format": "saved_model"}, "path must be a folder for saved_model"),
            ("m.onnx", {"split": True}, "path must be a folder for two files"),
            ("m", {"format": "saved_model", "split": True}, "split must be False for saved_model"),
            ("m.onnx", {"precision": "int8"}, "precision must be 'float32' for onnx, got 'int8'"),
            ("m.onnx", {"precision": "int4"}, "precision must be one of 'float32', 'float16', 'int8'"),
            ("m.onnx", {"format": "coreml"}, "format must be one of 'onnx'"),
        ],
    )
    def test_argument(self, tmp_path, lrcn, path, options, message):
        with pytest.raises(ValueError, match=message):
            export_model(lrcn, tmp_path / path, **options)

    def test_model_that_was_exported(self, tmp_path, lrcn, clips):
        path = export_model(lrcn, tmp_path / "m.onnx", clips=clips).path
        with pytest.raises(
            ValueError, match=r"model must be a Keras model, got .*m\.onnx, which was exported"
        ):
            export_model(path, tmp_path / "m.tflite")

    def test_clips_of_another_size(self, tmp_path, lrcn):
        with pytest.raises(ValueError, match=r"clips must be uint8 \(N, 6, 64, 64, 3\), got float32"):
            export_model(lrcn, tmp_path / "m.onnx", clips=np.zeros((1, *SHAPE), np.float32))

    def test_model_that_never_sees_a_frame_alone(self, tmp_path):
        with pytest.raises(ValueError, match="split must be False for convlstm"):
            export_model(build("convlstm"), tmp_path / "m", format="onnx", split=True)

    def test_folder_that_is_there(self, tmp_path, lrcn):
        (tmp_path / "kept.txt").write_text("mine")
        with pytest.raises(ValueError, match=r"path must be a new folder, got .*, which is there"):
            export_model(lrcn, tmp_path, format="saved_model")
        assert (tmp_path / "kept.txt").read_text() == "mine"

    def test_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="no exported model at"):
            load_network(tmp_path / "m.onnx")

    def test_missing_part(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"must hold encoder\.onnx and head\.onnx or"):
            ExportedModel(tmp_path)

    @pytest.mark.parametrize("name", ["m.onnx", "m.tflite"])
    def test_file_that_is_none(self, tmp_path, name):
        (tmp_path / name).write_bytes(b"no network")
        with pytest.raises(ValueError, match=f"{name} (must be a network|has no recipe)"):
            load_network(tmp_path / name)

    def test_other_suffix(self, tmp_path):
        (tmp_path / "m.pt").touch()
        with pytest.raises(ValueError, match=r"path must be a \.onnx or \.tflite file or the folder of"):
            load_network(tmp_path / "m.pt")

    def test_damaged_recipe(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "m.tflite", "w") as archive:
            archive.writestr(RECIPE_FILE, "[]")
        with pytest.raises(ValueError, match=r"m\.tflite: the recipe is not JSON"):
            load_network(tmp_path / "m.tflite")


def test_folder_that_fails_leaves_nothing(tmp_path):
    def fail():
        with folder_written_whole(tmp_path / "m") as partial:
            (partial / "a").touch()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_commands_take_an_exported_file(tmp_path, lrcn, clips, capsys, monkeypatch):
    video = tmp_path / "long.mp4"
    create_sample_video(video, actions=("Walking",))
    model = export_model(lrcn, tmp_path / "m.onnx", clips=clips).path
    for command in (
        ["predict", video, "--model", model, "--stride-seconds", "0.5"],
        ["bench", model, video, "--target-fps", "100000"],
        ["watch", video, "--model", model, "--seconds", "1"],
    ):
        monkeypatch.setattr("sys.argv", ["harkeras", *map(str, command)])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0, capsys.readouterr().err
