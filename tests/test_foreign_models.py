"""Models that others made, as they come: what fits is taken, and each other one hears what to do."""

import gc
import warnings
import weakref

import keras
import numpy as np
import pytest
from keras import layers

from harkeras.inference._foreign_models import check_model_file
from harkeras.inference.prediction import predict_image, predict_on_video, predict_single_action
from harkeras.inference.resolve import resolve_model
from harkeras.models import create_lrcn_model
from harkeras.models.saving import load_model, save_model
from harkeras.recipe import Recipe
from harkeras.video.reading import frames_extraction

SHAPE = (4, 16, 16, 3)
KNOWN = {"normalize": False, "channel_order": "rgb", "clip_seconds": 9.0}


def dense_model(shape=SHAPE, units=3, activation="softmax"):
    clip = keras.Input(shape)
    x = layers.Rescaling(1 / 255)(clip)
    x = layers.GlobalAveragePooling3D()(x) if None in shape else layers.Flatten()(x)
    return keras.Model(clip, layers.Dense(units, activation=activation, kernel_initializer="orthogonal")(x))


def resolve(model, classes=("a", "b", "c"), **options):
    return resolve_model(model, classes=classes, **options)


def several(name):
    clip, other = keras.Input(SHAPE), keras.Input(SHAPE)
    x = layers.Flatten()(clip)
    if name == "inputs":
        return keras.Model([clip, other], layers.Dense(3)(layers.Concatenate()([x, layers.Flatten()(other)])))
    return keras.Model(clip, [layers.Dense(3)(x), layers.Dense(2)(x)])


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.flatten, self.dense = layers.Flatten(), layers.Dense(3, activation="softmax")

    def call(self, x):
        return self.dense(self.flatten(x) / 255)


def unbuilt():
    return keras.Sequential([layers.Flatten(), layers.Dense(3, activation="softmax")])


def stateful():
    clip = keras.Input(batch_shape=(1, *SHAPE))
    x = layers.LSTM(4, stateful=True)(layers.TimeDistributed(layers.Flatten())(clip))
    return keras.Model(clip, layers.Dense(3, activation="softmax")(x))


def per_frame():
    clip = keras.Input(SHAPE)
    return keras.Model(clip, layers.Dense(3, activation="softmax")(layers.Reshape((4, -1))(clip)))


class TestRefusals:
    @pytest.mark.parametrize(
        ("build", "message"),
        [
            (lambda: several("inputs"), r"one input and one output, got 2 inputs: \(None, 4, 16, 16, 3\), "),
            (
                lambda: several("outputs"),
                r"got 2 outputs: .* keras\.Model\(model\.inputs, model\.outputs\[0\]",
            ),
            (stateful, r"start anew with each clip, got a layer with stateful=True: build it without"),
            (per_frame, r"got \(None, 4, 3\), an answer per frame: average .*GlobalAveragePooling1D"),
            (lambda: dense_model((3, 4, 16, 16)), r"channels last, .*Permute\(\(4, 1, 2, 3\)\)"),
            (lambda: dense_model((4, 3, 16, 16)), r"channels last, .*Permute\(\(1, 4, 2, 3\)\)"),
            (lambda: dense_model((2, 4, 16, 16)), r"channels last, .*pass streams"),
            (lambda: dense_model((4, 16, 16, 20)), "streams must be given .* have 20 channels"),
            (lambda: dense_model((4, 16, 16, 4)), "streams must be given .* have 4 channels"),
            (
                lambda: dense_model((None, 16, 16, 3)),
                r"fixed size, .*pass the sizes .* as input_shape=\(T, H",
            ),
            (unbuilt, r"got a model that was never built: pass the sizes .* as input_shape"),
            (Subclassed, r"got a model that was never built: pass the sizes .* as input_shape"),
            (lambda: dense_model((16, 16, 3)), r"not images, got \(None, 16, 16, 3\); for images there is"),
            (lambda: dense_model((20, 16, 16)), r"gray frames, .*keras\.layers\.Reshape\(\(20, 16, 16\)\)"),
            (lambda: dense_model((20, 512)), r"not features of frames, .*TimeDistributed\(backbone\)"),
            (
                lambda: dense_model(activation="sigmoid"),
                r"add up to 1, got sums of 1\.\d+ to .* one sigmoid per",
            ),
            (lambda: dense_model(units=4), r"classes must name the model's 4 outputs, got 3"),
            (lambda: layers.Dense(3), "model must be a path, a name or a keras.Model of Keras 3, got <class"),
        ],
    )
    def test_each_says_what_to_do(self, build, message):
        with pytest.raises(ValueError, match=message):
            resolve(build())

    @pytest.mark.parametrize("shape", [(4, 17, 16, 3), (16, 16, 3), (4, 16, 16)])
    def test_sizes_that_do_not_fit(self, shape):
        with pytest.raises(ValueError, match=r"input_shape must be \(T, H, W, C\) that fits .*16, 3\), got"):
            resolve(dense_model((None, 16, 16, 3)), input_shape=shape)
        with pytest.raises(ValueError, match=r"input_shape must be what the model takes, \(4, 16, 16, 3\)"):
            resolve(dense_model(), input_shape=shape)
        model = dense_model()
        model.recipe = Recipe(("a", "b", "c"), 4, 16, 16, 1.0)
        with pytest.raises(ValueError, match=r"input_shape must be what the model takes, \(4, 16, 16, 3\)"):
            resolve_model(model, input_shape=shape)

    def test_streams_that_do_not_fit(self):
        for streams in ("rgb", "gray", "flow"):
            with pytest.raises(ValueError, match=r"streams must fit the 7 channels of \(4, 16, 16, 7\), got"):
                resolve(dense_model((4, 16, 16, 7)), streams=streams)

    def test_a_recipe_of_another_model(self):
        model = dense_model()
        model.recipe = Recipe(("a", "b", "c"), 5, 16, 16, 1.0)
        with pytest.raises(
            ValueError, match=r"recipe must fit the model, which takes \(4, 16, 16, 3\), got \(5"
        ):
            resolve_model(model)

    def test_missing_classes_name_what_else_is_missing(self):
        with pytest.raises(ValueError, match=r"classes are missing.*normalize=True.*'bgr'.*clip_seconds"):
            resolve(dense_model(), classes=None)

    def test_options_that_there_are_not(self):
        with pytest.raises(
            TypeError, match="got an unexpected keyword argument 'normalise'; of a model: clas"
        ):
            resolve(dense_model(), normalise=True)
        with pytest.raises(
            TypeError, match="argument 'clip_seconds'; of a model: classes, normalize, channel"
        ):
            predict_image(np.zeros((9, 9, 3), np.uint8), dense_model(), clip_seconds=2.0)

    def test_one_class_of_one_output(self):
        with pytest.raises(ValueError, match="classes must name both meanings of the model's one output"):
            resolve(dense_model(units=1, activation="sigmoid"), classes=["fall"])

    def test_a_softmax_over_one_output(self):
        with pytest.raises(ValueError, match="softmax over one output, which always is 1"):
            resolve(dense_model(units=1), classes=("no", "yes"))

    def test_joints(self):
        pose = keras.Input((4, 15, 2))
        model = keras.Model(pose, layers.Dense(2, activation="softmax")(layers.Flatten()(pose)))
        model.recipe = Recipe(("a", "b"), 4, None, None, 1.0, streams="pose", joints=15, coordinates=2)
        assert resolve_model(model).model is model
        with pytest.raises(ValueError, match=r"model must take images .* got 'pose' clips"):
            predict_image(np.zeros((9, 9, 3), np.uint8), model)

    def test_an_image_from_a_model_of_flow(self):
        model = dense_model((16, 16, 2))
        model.recipe = Recipe(("a", "b", "c"), 1, 16, 16, 1.0, streams="flow", flow_fields=1)
        with pytest.raises(ValueError, match=r"model must take images .* got 'flow' clips"):
            predict_image(np.zeros((9, 9, 3), np.uint8), model)


class TestFiles:
    def test_hdf5(self, tmp_path):
        model = dense_model()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.save(tmp_path / "old.h5")
        (tmp_path / "renamed.keras").write_bytes((tmp_path / "old.h5").read_bytes())
        for name in ("old.h5", "renamed.keras"):
            with pytest.raises(ValueError, match=rf"Keras 2, in HDF5\. Convert it: .*{name}.*\.save\('model"):
                resolve(tmp_path / name)
        keras.models.load_model(tmp_path / "old.h5", compile=False).save(tmp_path / "model.keras")
        assert resolve(tmp_path / "model.keras")[1].classes == ("a", "b", "c")

    def test_saved_model(self, tmp_path, make_video):
        model = dense_model()
        model.export(tmp_path / "exported", verbose=False)
        with pytest.raises(ValueError, match=r"it is a SavedModel, which .*TFSMLayer") as error:
            resolve(tmp_path / "exported")
        assert "next(iter(layer(clip).values()))" in str(error.value)  # which is done here
        clip = keras.Input(SHAPE)
        layer = keras.layers.TFSMLayer(str(tmp_path / "exported"), call_endpoint="serving_default")
        wrapped = keras.Model(clip, next(iter(layer(clip).values())))
        answers = [
            predict_single_action(make_video(), m, classes="a b c".split(), **KNOWN) for m in (wrapped, model)
        ]
        np.testing.assert_allclose(*[list(a.probabilities.values()) for a in answers], atol=1e-6)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("model.weights.h5", "a file of weights alone: build the model, call model.load_weights"),
            ("model.pth", "one of PyTorch: build the model in Keras"),
            ("model.safetensors", "a file of weights alone"),
        ],
    )
    def test_other_formats(self, tmp_path, name, message):
        (tmp_path / name).write_bytes(b"something else")
        with pytest.raises(
            ValueError, match=f"{name} must be a .keras file, as Keras 3 writes it; it is {message}"
        ):
            resolve(tmp_path / name)

    @pytest.mark.parametrize("name", ["model.onnx", "model.tflite"])
    def test_networks_of_others(self, tmp_path, name):
        pytest.importorskip("onnxruntime")
        (tmp_path / name).write_bytes(b"something else")
        with pytest.raises(ValueError, match=f"{name} (has no recipe|must be a network in ONNX)"):
            resolve(tmp_path / name)

    def test_folder(self, tmp_path):
        with pytest.raises(ValueError, match="it is a folder"):
            resolve(tmp_path)

    def test_a_keras_file_and_none_at_all(self, tmp_path):
        dense_model().save(tmp_path / "model.keras")
        assert check_model_file(tmp_path / "model.keras") is None
        with pytest.raises(FileNotFoundError, match=r"no model file at .*none\.h5; published models: i3d"):
            resolve(tmp_path / "none.h5")
        with pytest.raises(
            FileNotFoundError, match="lrcn is an architecture without weights; train it first"
        ):
            resolve("lrcn")


class TestProbabilities:
    @pytest.fixture
    def clip(self, make_video):
        self.video = make_video()
        return frames_extraction(self.video, *SHAPE[:3])[None].astype(np.float32)

    def answer(self, model, classes=("a", "b", "c"), **options):
        action = predict_single_action(self.video, model, classes=classes, **(KNOWN | options))
        assert action.confidence == max(action.probabilities.values())
        return list(action.probabilities.values())

    def test_logits_get_a_softmax(self, clip):
        model = dense_model(activation=None)
        with pytest.warns(
            UserWarning, match="no probabilities .* taken as logits, and a softmax is put behind"
        ):
            answer = self.answer(model)
        np.testing.assert_allclose(answer, keras.ops.softmax(model(clip))[0], atol=1e-5)

    @pytest.mark.parametrize("build", ["pooled", "log", "nested", "sequential"])
    def test_logits_of_every_shape(self, clip, build):
        inputs = keras.Input(SHAPE)
        x = layers.Rescaling(1 / 25)(inputs)
        model = {
            "pooled": lambda: keras.Model(inputs, layers.GlobalAveragePooling3D()(layers.Conv3D(3, 3)(x))),
            "log": lambda: keras.Model(inputs, keras.ops.log_softmax(layers.Dense(3)(layers.Flatten()(x)))),
            "nested": lambda: keras.Sequential([inputs, dense_model(activation=None)]),
            "sequential": lambda: keras.Sequential([inputs, layers.Flatten(), layers.Dense(3)]),
        }[build]()
        with pytest.warns(UserWarning, match="a softmax is put behind"):
            answer = self.answer(model)
        np.testing.assert_allclose(answer, keras.ops.softmax(model(clip))[0], atol=1e-4)

    def test_one_sigmoid_is_two_classes(self, clip):
        model = dense_model(units=1, activation="sigmoid")
        answer, p = self.answer(model, ("no", "yes")), float(model(clip)[0, 0])
        np.testing.assert_allclose(answer, [1 - p, p], atol=1e-5)

    def test_one_logit(self, clip):
        model = dense_model(units=1, activation=None)
        with pytest.warns(UserWarning, match="a sigmoid is put behind"):
            answer = self.answer(model, ("no", "yes"))
        p = float(keras.ops.sigmoid(model(clip))[0, 0])
        np.testing.assert_allclose(answer, [1 - p, p], atol=1e-5)

    @pytest.mark.parametrize("kind", ["plain", "list", "dict", "nested", "averaged"])
    def test_probabilities_are_left_alone(self, clip, kind):
        model = dense_model()
        inputs = keras.Input(SHAPE)
        wrapped = {
            "plain": lambda: model,
            "list": lambda: keras.Model([inputs], [model(inputs)]),
            "dict": lambda: keras.Model(inputs, {"action": model(inputs)}),
            "nested": lambda: keras.Sequential([inputs, model]),
            "averaged": lambda: keras.Model(inputs, layers.Average()([model(inputs), model(inputs)])),
        }[kind]()
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            answer = self.answer(wrapped)
        np.testing.assert_allclose(answer, model(clip)[0], atol=1e-5)

    def test_a_recipe_proves_nothing(self, clip, tmp_path):
        """Who trained with from_logits=True has logits, and a recipe."""
        model = dense_model(activation=None)
        model.recipe = Recipe(("a", "b", "c"), 4, 16, 16, 9.0)
        with pytest.warns(UserWarning, match="taken as logits"):
            answer = self.answer(load_model(save_model(model, tmp_path / "model.keras")))
        assert sum(answer) == pytest.approx(1, abs=1e-5)

    @pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
    def test_probabilities_are_float32(self, make_video, policy):
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        try:
            model = dense_model()
        finally:
            keras.config.set_dtype_policy(before)
        prediction = predict_on_video(make_video(), model, classes="a b c".split(), progress=False, **KNOWN)
        assert prediction.probabilities.dtype == np.float32
        assert prediction.probabilities.sum(axis=1) == pytest.approx(1, abs=0.01)

    def test_batches_of_a_fixed_size(self, make_video):
        clip, open_size = keras.Input(batch_shape=(8, *SHAPE)), keras.Input(SHAPE)
        head = layers.Dense(3, activation="softmax")
        model = keras.Model(clip, head(layers.Flatten()(clip)))
        same = keras.Model(open_size, head(layers.Flatten()(open_size)))
        answers = [
            predict_single_action(make_video(), m, classes="a b c".split(), **KNOWN) for m in (model, same)
        ]
        assert answers[0] == answers[1]

    def test_a_model_that_has_to_be_tried_is_tried_once(self, monkeypatch):
        inputs = keras.Input(SHAPE)
        model = keras.Model(inputs, layers.Average()([dense_model()(inputs), dense_model()(inputs)]))
        assert resolve(model)[0] is model
        monkeypatch.setattr("harkeras.inference._foreign_models._try", None)
        assert resolve(model)[0] is model

    def test_models_of_ours_are_taken_as_they_are(self):
        model = create_lrcn_model(2)
        model.recipe = Recipe(("a", "b"), 20, 64, 64, 1.0)
        assert resolve_model(model)[0] is model

    def test_a_model_is_extended_once_and_not_kept_alive(self):
        model = dense_model(units=1, activation="sigmoid")
        first, second = (resolve(model, ("no", "yes"))[0] for _ in range(2))
        assert first is second
        reference = weakref.ref(model)
        del model, first, second
        gc.collect()
        assert reference() is None


class TestSizesAndStreams:
    @pytest.mark.parametrize("build", [Subclassed, unbuilt, lambda: dense_model((None, None, 16, 3))])
    def test_sizes_that_are_passed(self, make_video, build):
        model, video = build(), make_video()
        action = predict_single_action(video, model, classes="a b c".split(), input_shape=SHAPE, **KNOWN)
        clip = frames_extraction(video, *SHAPE[:3])[None].astype(np.float32)
        np.testing.assert_allclose(list(action.probabilities.values()), model(clip)[0], atol=1e-5)

    def test_what_one_and_three_channels_hold_is_known(self):
        for channels, streams in ((1, "gray"), (3, "rgb")):
            assert resolve(dense_model((4, 16, 16, channels)))[1].streams == streams

    @pytest.mark.parametrize(
        ("channels", "streams", "fields"), [(4, "flow", 2), (7, "rgb+flow", 2), (2, "flow", 1)]
    )
    def test_flow(self, make_video, channels, streams, fields):
        model = dense_model((4, 16, 16, channels))
        recipe = resolve(model, streams=streams)[1]
        assert (recipe.streams, recipe.flow_fields, recipe.clip_shape[-1]) == (streams, fields, channels)
        action = predict_single_action(make_video(), model, classes="a b c".split(), streams=streams)
        assert sum(action.probabilities.values()) == pytest.approx(1, abs=1e-5)

    def test_gray_images(self):
        image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
        model = dense_model((16, 16, 1))
        gray = np.full((16, 16, 3), 77, np.uint8)
        action = predict_image(gray, model, classes="a b c".split())
        expected = model(np.full((1, 16, 16, 1), 77, np.float32))[0]
        np.testing.assert_allclose(list(action.probabilities.values()), expected, atol=1e-5)
        assert predict_image(image, model, classes="a b c".split()) != action
