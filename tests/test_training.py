import csv
import inspect
import json
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import harkeras.data.batches
import harkeras.training._stopping
import harkeras.training.loop
from harkeras.data.augment import HorizontalFlip, Pepper
from harkeras.data.datasets import Dataset
from harkeras.data.loading import create_dataset
from harkeras.data.presentation import Presentation
from harkeras.data.sources import Sources
from harkeras.evaluation.scores import evaluate
from harkeras.models import create_lrcn_model, create_pose_lstm_model, set_batch_norm_momentum
from harkeras.models.saving import load_model, save_model
from harkeras.recipe import Recipe
from harkeras.training._clip_recipe import clip_recipe
from harkeras.training.loop import check_options
from harkeras.training.loop import train as train_on
from harkeras.video.writing import VideoWriter

ROOT = Path(__file__).resolve().parents[1]
SHAPE = (2, 4, 4, 3)
CLASSES = ("dark", "bright")
COSINE = keras.optimizers.schedules.CosineDecay
FOCAL = keras.losses.CategoricalFocalCrossentropy(alpha=1.0)
SMOOTH = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
FAST = {"classes": CLASSES, "batch_size": 8, "verbose": False}


def dataset_of(features, labels, **facts):
    """Arrays and what is known of them as a data set, to be shown in some way."""
    shown = {name: facts.pop(name) for name in Presentation.__dataclass_fields__ if name in facts}
    return Dataset(features, labels, **facts).for_training(**shown)


def train(model, features, labels, *, learning_rate=None, **options):
    """Train on arrays, with Adam at a learning rate; what concerns the clips goes into a data set."""
    known = inspect.signature(train_on).parameters
    facts = {name: options.pop(name) for name in options.keys() - known}
    if learning_rate is not None:
        options["optimizer"] = keras.optimizers.Adam(learning_rate)
    return train_on(model, dataset_of(features, labels, **facts), **options)


@pytest.fixture(autouse=True)
def eager(request):
    """Run the tiny models step by step: tracing them takes longer."""
    tf.config.run_functions_eagerly("make_model" in request.fixturenames)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def clips():
    """24 clips of two classes, 4 of each of 6 sources, and the sources."""
    rng = np.random.default_rng(0)
    labels = np.arange(24) % 2
    features = rng.integers(0, 200, (24, *SHAPE)) + 55 * labels[:, None, None, None, None]
    return features.astype(np.uint8), labels, np.arange(24) // 4


@pytest.fixture
def make_model():
    """A model that traces fast, and has what must survive an interruption: dropout and batch statistics."""

    def make(seed=27):
        keras.utils.set_random_seed(seed)
        clip = keras.Input(SHAPE)
        x = keras.layers.Rescaling(1 / 255)(clip)
        x = keras.layers.Flatten()(x)
        x = keras.layers.Dense(8, activation="relu")(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.Dropout(0.3)(x)
        return keras.Model(clip, keras.layers.Dense(2, activation="softmax")(x))

    return make


@pytest.fixture
def spied(monkeypatch):
    """The rows of each epoch, in order."""
    epochs = []
    begin = harkeras.training._stopping.Stopper.on_epoch_begin

    def spy(self, epoch, logs=None):
        begin(self, epoch, logs)
        epochs.append(self.batches.order.tolist())

    monkeypatch.setattr(harkeras.training._stopping.Stopper, "on_epoch_begin", spy)
    return epochs


def interrupt(monkeypatch, *, epoch, batch=None):
    """Press Ctrl-C at the beginning of an epoch, or at one of its batches."""

    def press(self, number, logs=None):
        if number == epoch:
            raise KeyboardInterrupt
        original(self, number, logs)

    def press_in_batch(self, number, logs=None):
        if len(self.logs) == epoch and number == batch:
            raise KeyboardInterrupt

    stopper = harkeras.training._stopping.Stopper
    original = stopper.on_epoch_begin
    if batch is None:
        monkeypatch.setattr(stopper, "on_epoch_begin", press)
    else:
        monkeypatch.setattr(stopper, "on_train_batch_end", press_in_batch)


def train_interrupted(monkeypatch, *args, epoch, batch=None, warning="interrupted", **options):
    with monkeypatch.context() as patch:
        interrupt(patch, epoch=epoch, batch=batch)
        with pytest.warns(UserWarning, match=warning), pytest.raises(KeyboardInterrupt):
            train(*args, **options)


def same_weights(one, other):
    return all(map(np.array_equal, one.get_weights(), other.get_weights()))


class TestTrain:
    def test_history_and_recipe(self, clips, make_model):
        features, labels, groups = clips
        model = make_model()
        history = train(model, features, labels, groups=groups, epochs=3, clip_seconds=2.5, **FAST)
        assert isinstance(history, keras.callbacks.History)
        assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
        assert history.epoch == [0, 1, 2]
        assert all(len(values) == 3 for values in history.history.values())
        assert model.recipe == Recipe(CLASSES, *SHAPE[:3], clip_seconds=2.5)

    def test_compiles_with_adam_unless_compiled(self, clips, make_model):
        model = make_model()
        train(model, *clips[:2], epochs=1, learning_rate=0.02, **FAST)
        assert isinstance(model.optimizer, keras.optimizers.Adam)
        assert float(model.optimizer.learning_rate) == pytest.approx(0.02)
        model = make_model()
        model.compile(keras.optimizers.SGD(0.5), "mse")
        train(model, *clips[:2], epochs=1, **FAST)
        assert isinstance(model.optimizer, keras.optimizers.SGD)
        assert float(model.optimizer.learning_rate) == 0.5
        assert isinstance(model.loss, keras.losses.SparseCategoricalCrossentropy)

    def test_again_with_another_loss(self, clips, make_model):
        """As when a cell of a notebook is run again, or the next one has other settings."""
        model = make_model()
        for options in ({"loss": FOCAL}, {"loss": FOCAL}, {}, {"mixup": 0.2}, {}):
            history = train(model, *clips[:2], epochs=1, **FAST, **options)
            assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
            assert np.isfinite(history.history["val_loss"]).all()
        assert isinstance(model.loss, keras.losses.SparseCategoricalCrossentropy)

    def test_an_optimizer_compiles_anew(self, clips, make_model):
        model = make_model()
        train(model, *clips[:2], epochs=1, **FAST)
        sgd = keras.optimizers.SGD(0.5)
        train(model, *clips[:2], epochs=1, optimizer=sgd, loss=FOCAL, **FAST)
        assert model.optimizer is sgd
        other = make_model()
        train(other, *clips[:2], epochs=1, optimizer=sgd, **FAST)  # as in the next fold
        assert isinstance(other.optimizer, keras.optimizers.SGD)
        assert other.optimizer is not sgd

    def test_a_loss_that_is_no_number(self, clips, make_model, tmp_path):
        """It ends the training with what was good, and is never passed over in silence."""
        model = make_model()
        with pytest.raises(RuntimeError, match="loss is nan in the first epoch: try a smaller"):
            train(model, *clips[:2], epochs=3, optimizer=keras.optimizers.SGD(np.nan), **FAST)

        model, good = make_model(), make_model()

        rate = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 1e-3 if epoch < 2 else np.nan)
        state = tmp_path / "state"
        with pytest.warns(UserWarning, match=r"loss is nan in epoch 3: .* has the weights of epoch [12]$"):
            history = train(model, *clips[:2], epochs=5, callbacks=[rate], resume=state, **FAST)
        assert len(history.history["loss"]) == 2
        train(good, *clips[:2], epochs=2, callbacks=[rate], **FAST)
        assert same_weights(model, good)

        with pytest.raises(RuntimeError, match="val_loss is nan in the first epoch"):  # the last step did it
            train(
                make_model(),
                *clips[:2],
                **FAST | {"batch_size": 24},
                epochs=1,
                optimizer=keras.optimizers.SGD(np.nan),
            )

    def test_best_weights_are_kept(self, clips, make_model):
        features, labels, groups = clips
        model = make_model()
        history = train(
            model, features, labels, groups=groups, epochs=30, patience=3, learning_rate=0.3, **FAST
        )
        losses = history.history["val_loss"]
        best = int(np.argmin(losses))
        assert len(losses) == best + 1 + 3 < 30
        dataset = dataset_of(features, labels, groups=groups)
        _, validation = harkeras.training.loop._validation_rows(dataset, 0.2, 27)
        loss, _ = model.evaluate(features[validation], labels[validation], verbose=0)
        assert loss == pytest.approx(losses[best], rel=1e-4)

    def test_validation_clips_are_of_other_sources_and_never_trained_on(self, clips, make_model, spied):
        features, labels, groups = clips
        train(make_model(), features, labels, groups=groups, epochs=1, **FAST)
        trained = set(spied[0])
        validation = set(range(24)) - trained
        assert len(validation) == 4
        assert not set(groups[list(trained)]) & set(groups[list(validation)])

    def test_validation_at_random_without_groups(self, clips, make_model, spied):
        train(make_model(), *clips[:2], epochs=1, **FAST)
        validation = sorted(set(range(24)) - set(spied[0]))
        assert len(validation) == 5
        assert len(set(clips[2][validation])) > 2

    def test_without_validation_the_training_loss_decides(self, clips, make_model, spied):
        history = train(make_model(), *clips[:2], epochs=2, validation_split=0, **FAST)
        assert set(history.history) == {"loss", "accuracy"}
        assert sorted(spied[0]) == list(range(24))

    def test_each_epoch_has_its_own_order_of_all_clips(self, clips, make_model, spied):
        train(make_model(), *clips[:2], epochs=3, **FAST)
        assert sorted(spied[0]) == sorted(spied[1]) == sorted(spied[2])
        assert spied[0] != spied[1] != spied[2] != spied[0]
        train(make_model(), *clips[:2], epochs=1, **FAST)
        assert spied[3] == spied[0]
        train(make_model(), *clips[:2], epochs=1, seed=1, **FAST)
        assert spied[4] != spied[0]

    def test_every_clip_comes_once_with_its_label(self, clips):
        features, labels, _ = clips
        batches = harkeras.data.batches.Batches(features, labels, np.arange(3, 20), batch_size=5, seed=1)
        batches.shuffle(2)
        assert [len(batch) for batch, _ in (batches[i] for i in range(len(batches)))] == [5, 5, 5, 2]
        got = [
            (clip.tobytes(), label)
            for i in range(len(batches))
            for clip, label in zip(*batches[i], strict=True)
        ]
        assert sorted(got) == sorted((features[row].tobytes(), labels[row]) for row in range(3, 20))

    def test_progress_bar(self, clips, make_model, capsys):
        train(make_model(), *clips[:2], epochs=2, **FAST | {"verbose": True})
        assert "2/2" in capsys.readouterr().err
        train(make_model(), *clips[:2], epochs=2, **FAST)
        assert capsys.readouterr() == ("", "")

    def test_labels_may_be_a_list(self, clips, make_model):
        train(make_model(), clips[0], clips[1].tolist(), groups=clips[2].tolist(), epochs=1, **FAST)

    def test_memory_mapped_clips_are_never_copied_whole(self, make_model, tmp_path, monkeypatch):
        features = np.lib.format.open_memmap(tmp_path / "clips.npy", "w+", np.uint8, (200, *SHAPE))
        labels, most = np.arange(200) % 2, 0
        getitem = np.memmap.__getitem__

        def spy(self, rows):
            nonlocal most
            result = getitem(self, rows)
            most = max(most, result.size)
            return result

        monkeypatch.setattr(np.memmap, "__getitem__", spy)
        monkeypatch.setattr(
            np.memmap, "__array__", lambda *args, **kwargs: pytest.fail("copied"), raising=False
        )
        train(make_model(), features, labels, epochs=2, **FAST)
        assert most == 8 * np.prod(SHAPE)


class TestWaysToTrain:
    """Losses, weights, sampling, mixup and schedules; what they do to batches is tested with `Batches`."""

    @pytest.mark.parametrize(
        "options",
        [
            {"loss": SMOOTH, "sampling": "balanced", "augment": lambda clips, seed: clips},
            {"mixup": 0.2, "class_weight": {0: 1.0, 1: 0.5}},
            {"loss": FOCAL, "mixup": 0.2, "class_weight": "balanced"},
        ],
    )
    def test_learns(self, clips, make_model, options):
        model = set_batch_norm_momentum(make_model(seed=1), 0.5)
        history = train(model, *clips[:2], **FAST, epochs=25, learning_rate=0.01, **options)
        assert min(history.history["val_loss"]) < history.history["val_loss"][0]
        assert evaluate(model, Dataset(*clips[:2])).accuracy >= 0.8

    def test_weights_count_in_validation_too(self, clips, make_model):
        halves = {0: 0.5, 1: 0.5}
        plain = train(make_model(), *clips[:2], **FAST, epochs=1, learning_rate=1e-9)
        half = train(make_model(), *clips[:2], **FAST, epochs=1, learning_rate=1e-9, class_weight=halves)
        for key in ("loss", "val_loss"):
            assert half.history[key][0] == pytest.approx(plain.history[key][0] / 2, rel=1e-3)

    def test_schedules_of_keras_count_steps(self, clips, make_model):
        decay = keras.optimizers.schedules.PiecewiseConstantDecay([3, 5], [0.1, 0.01, 0.001])
        for optimizer in (keras.optimizers.Adam(decay), keras.optimizers.SGD(decay)):
            model = make_model()
            train(model, *clips[:2], **FAST, epochs=2, optimizer=optimizer)  # 3 steps each
            assert float(model.optimizer.learning_rate) == pytest.approx(0.001)

    def test_callbacks(self, clips, make_model, tmp_path):
        log = keras.callbacks.CSVLogger(tmp_path / "log.csv")
        history = train(make_model(), *clips[:2], **FAST, epochs=3, callbacks=[log])
        rows = list(csv.DictReader((tmp_path / "log.csv").open()))
        assert [float(row["val_loss"]) for row in rows] == pytest.approx(history.history["val_loss"])

    def test_resumed_with_all_of_it(self, clips, make_model, monkeypatch, tmp_path):
        schedule = keras.optimizers.schedules.CosineDecay(0.05, 18, warmup_target=0.1, warmup_steps=3)
        options = FAST | {"groups": clips[2], "epochs": 6, "learning_rate": schedule, "mixup": 0.3}
        options |= {"sampling": "balanced", "class_weight": "balanced", "loss": FOCAL}
        expected = train(make_model(), *clips[:2], **options)
        train_interrupted(
            monkeypatch, make_model(), *clips[:2], resume=tmp_path / "state", epoch=3, **options
        )
        history = train(make_model(), *clips[:2], resume=tmp_path / "state", **options)
        assert history.history == expected.history

    @pytest.mark.parametrize("epoch", [2, 3, 4])
    def test_a_plateau_is_resumed(self, clips, make_model, monkeypatch, tmp_path, epoch):
        """Keras's callback keeps no state in a file: the epochs before are shown to it again."""
        options = FAST | {"epochs": 6, "learning_rate": 0.3}

        def plateau():
            return [keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=1, min_delta=10)]  # at each epoch

        whole, model = make_model(), make_model()
        expected = train(whole, *clips[:2], callbacks=plateau(), **options)
        assert float(whole.optimizer.learning_rate) == pytest.approx(0.3 * 0.5**5)
        state = tmp_path / "state"
        train_interrupted(
            monkeypatch, make_model(), *clips[:2], resume=state, callbacks=plateau(), epoch=epoch, **options
        )
        history = train(model, *clips[:2], resume=state, callbacks=plateau(), **options)
        assert float(model.optimizer.learning_rate) == float(whole.optimizer.learning_rate)
        assert history.history == expected.history


def recipe_of(features, streams=None):
    return clip_recipe(Dataset(features, np.arange(4) % 2, streams=streams), CLASSES, None)


class TestWhatItIsGiven:
    """Arrays, data sets, and what they know."""

    def test_a_dataset_brings_all_that_it_knows(self, clips, make_model, spied, tmp_path, monkeypatch):
        features, labels, groups = clips
        paths = [tmp_path / f"{i}.mp4" for i in range(24)]
        sources = Sources(np.array([f"g{group}" for group in groups]), "by hand")
        data = Dataset(features, labels, paths, classes=CLASSES, sources=sources, clip_seconds=2.5)
        model = make_model()
        history = train_on(model, data, epochs=1, batch_size=8, verbose=False)
        assert model.recipe == Recipe(CLASSES, *SHAPE[:3], clip_seconds=2.5)
        expected = train(make_model(), features, labels, groups=groups, epochs=1, **FAST)
        assert history.history == expected.history
        evaluation = evaluate(model, data)
        assert evaluation.classes == CLASSES
        assert evaluation.group_interval is not None
        assert evaluation.loss == evaluate(model, Dataset(features, labels)).loss

    def test_what_nobody_says_is_taken_from_the_recipe(self, clips, make_model):
        model = make_model()
        train(model, *clips[:2], epochs=1, clip_seconds=1.5, **FAST)
        train_on(model, Dataset(*clips[:2]), epochs=1, verbose=False)
        assert model.recipe == Recipe(CLASSES, *SHAPE[:3], clip_seconds=1.5)

    @pytest.mark.parametrize(
        ("shape", "dtype", "streams", "expected"),
        [
            ((2, 4, 5, 3), np.uint8, None, ("rgb", 0)),
            ((2, 4, 5, 1), np.uint8, None, ("gray", 0)),
            ((4, 5, 3), np.uint8, None, ("rgb", 0)),
            ((2, 4, 5, 4), np.uint8, "flow", ("flow", 2)),
            ((2, 4, 5, 5), np.uint8, "rgb+flow", ("rgb+flow", 1)),
            ((2, 4, 5, 3), np.float32, "rgb", ("rgb", 0)),
        ],
    )
    def test_streams_of_arrays(self, shape, dtype, streams, expected):
        features = np.full((4, *shape), 9, dtype)
        recipe = recipe_of(features, streams)
        assert (recipe.streams, recipe.flow_fields) == expected
        assert recipe.clip_shape[-3:] == shape[-3:]
        assert not recipe.normalize

    @pytest.mark.parametrize(
        ("shape", "dtype"),
        [
            ((2, 4, 5, 4), np.uint8),
            ((2, 4, 5, 2), np.uint8),
            ((2, 4, 5, 5), np.uint8),
            ((2, 4, 5, 20), np.uint8),
            ((2, 4, 5, 3), np.float32),
            ((12, 15, 4), np.float32),
            ((12, 15, 2), np.uint8),
            ((7,), np.float32),
        ],
    )
    def test_streams_that_cannot_be_told(self, shape, dtype):
        with pytest.raises(ValueError, match=r"streams must say what the clips hold: 'rgb', 'gray', 'flow'"):
            recipe_of(np.zeros((4, *shape), dtype))

    @pytest.mark.parametrize(
        ("shape", "streams"),
        [
            ((2, 4, 5, 4), "rgb"),
            ((2, 4, 5, 3), "flow"),
            ((2, 4, 5, 4), "rgb+flow"),
            ((2, 4, 5, 3), "pose"),
            ((2, 4, 5, 3), "gray"),
            ((7,), "rgb"),
        ],
    )
    def test_streams_that_do_not_fit(self, shape, streams):
        with pytest.raises(ValueError, match=r"for streams 'pose'|has another number of channels than"):
            recipe_of(np.zeros((4, *shape), np.uint8), streams)

    def test_pixels_between_0_and_1(self):
        features = np.random.default_rng(0).random((4, *SHAPE), np.float32)
        assert recipe_of(features, "rgb").normalize
        assert not recipe_of(255 * features, "rgb").normalize

    @pytest.mark.parametrize("coordinates", [2, 3])
    def test_joints(self, tmp_path, coordinates):
        shape, labels = (6, 5, coordinates), np.arange(12) % 2
        joints = np.random.default_rng(0).normal(size=(12, *shape)).astype(np.float32)
        tf.config.run_functions_eagerly(True)
        model = create_pose_lstm_model(2, shape, filters=4, units=4)
        train(model, joints, labels, epochs=1, clip_seconds=1, **FAST)
        assert model.recipe.streams == "pose"
        assert model.recipe.clip_shape == shape
        assert (model.recipe.height, model.recipe.width) == (None, None)
        loaded = load_model(save_model(model, tmp_path))
        assert loaded.recipe == model.recipe
        data = Dataset(joints, labels)
        assert evaluate(loaded, data).loss == pytest.approx(evaluate(model, data).loss, abs=1e-5)

    def test_what_is_no_set_of_clips(self, clips, make_model):
        features, labels, _ = clips
        for given in (tf.data.Dataset.from_tensor_slices((features, labels)), list(features), None):
            with pytest.raises(ValueError, match="features must be an array, got"):
                Dataset(given, labels)
            with pytest.raises(ValueError, match="dataset must be a Dataset or a ClipDataset, got"):
                train_on(make_model(), given)
            with pytest.raises(ValueError, match="dataset must be a Dataset or a ClipDataset, got"):
                evaluate(make_model(), given)
        with pytest.raises(ValueError, match="classes is missing"):
            train_on(make_model(), Dataset(features, labels))


class TestInterruption:
    def test_leaves_the_best_weights_and_a_recipe(self, clips, make_model, monkeypatch, tmp_path):
        expected = make_model()
        history = train(expected, *clips[:2], epochs=3, **FAST)
        model = make_model()
        interrupt(monkeypatch, epoch=3, batch=1)
        best = int(np.argmin(history.history["val_loss"])) + 1
        message = f"was interrupted; the model has the weights of epoch {best} of 3"
        with pytest.warns(UserWarning, match=message), pytest.raises(KeyboardInterrupt):
            train(model, *clips[:2], epochs=50, **FAST)
        assert model.history.history == history.history
        assert same_weights(model, expected)
        assert load_model(save_model(model, tmp_path)).recipe.classes == CLASSES
        data = Dataset(*clips[:2])
        assert evaluate(model, data).loss == evaluate(expected, data).loss

    def test_in_the_first_epoch(self, clips, make_model, monkeypatch):
        """Nothing was learnt that would be worth keeping."""
        model, untrained = make_model(), make_model()
        interrupt(monkeypatch, epoch=0, batch=1)
        with pytest.raises(KeyboardInterrupt):
            train(model, *clips[:2], **FAST)
        assert same_weights(model, untrained)
        assert not hasattr(model, "recipe")

    def test_by_an_error(self, clips, make_model):
        """It reaches the caller as what it is, and what was learnt stays."""

        class Broken(Exception):
            pass

        def augment(clips, seed):
            raise Broken

        model, untrained = make_model(), make_model()
        with pytest.raises(Broken):
            train(model, *clips[:2], **FAST, augment=augment)
        assert same_weights(model, untrained)


class TestResume:
    """With `batch` None, Ctrl-C comes between epochs, else in the middle of one."""

    @pytest.mark.parametrize(("epoch", "batch"), [(1, None), (1, 0), (4, 1)])
    def test_equals_uninterrupted_training(self, clips, make_model, monkeypatch, tmp_path, epoch, batch):
        state = tmp_path / "states" / "training"
        options = FAST | {"groups": clips[2], "epochs": 6, "learning_rate": 0.05}
        whole = make_model()
        expected = train(whole, *clips[:2], **options)

        moment = {"epoch": epoch, "batch": batch, "warning": f" of {epoch}$"}
        train_interrupted(monkeypatch, make_model(), *clips[:2], resume=state, **moment, **options)
        assert list(state.parent.iterdir()) == [state]

        keras.utils.set_random_seed(999)
        model = keras.models.clone_model(make_model())
        keras.utils.set_random_seed(998)
        history = train(model, *clips[:2], resume=str(state), **options)
        assert history.history == expected.history
        assert history.epoch == expected.epoch
        assert same_weights(model, whole)
        assert state.exists()

    def test_with_the_same_model_in_the_same_session(self, clips, make_model, monkeypatch, tmp_path):
        """As in a notebook: the cell is interrupted, and run again."""
        whole, model = make_model(), make_model()
        expected = train(whole, *clips[:2], epochs=4, **FAST)
        for epoch in (1, 2):
            options = FAST | {"epochs": 4, "resume": tmp_path / "state"}
            train_interrupted(monkeypatch, model, *clips[:2], epoch=epoch, batch=1, **options)
        history = train(model, *clips[:2], epochs=4, resume=tmp_path / "state", **FAST)
        assert history.history == expected.history
        assert same_weights(model, whole)

    def test_interrupted_before_a_new_epoch_ends_keeps_the_best(
        self, clips, make_model, monkeypatch, tmp_path
    ):
        models = [make_model(), make_model()]
        for model in models:
            options = FAST | {"resume": tmp_path / "state", "warning": "weights of epoch . of 2"}
            train_interrupted(monkeypatch, model, *clips[:2], epoch=2, batch=0, **options)
        assert same_weights(*models)

    @pytest.mark.parametrize("patient", [False, True])
    def test_a_finished_training_is_not_trained_further(self, clips, make_model, tmp_path, spied, patient):
        """Killed after the last epoch, and before the model was saved: the state is there."""
        options = FAST | {"patience": 2, "learning_rate": 0.5, "resume": tmp_path / "state"}
        options |= {"epochs": 30} if patient else {"epochs": 2}
        whole, model = make_model(), make_model()
        expected = train(whole, *clips[:2], **options)
        assert (len(expected.epoch) < 30) if patient else (len(expected.epoch) == 2)
        spied.clear()
        history = train(model, *clips[:2], **options)
        assert not spied
        assert history.history == expected.history
        assert same_weights(model, whole)
        assert model.recipe == whole.recipe

    def test_more_epochs(self, clips, make_model, tmp_path):
        expected = train(make_model(), *clips[:2], epochs=4, **FAST)
        train(make_model(), *clips[:2], epochs=2, resume=tmp_path / "state", **FAST)
        history = train(make_model(), *clips[:2], epochs=4, resume=tmp_path / "state", **FAST)
        assert history.history == expected.history

    @pytest.mark.parametrize("moment", ["writestr", "savez", "replace"])
    def test_ctrl_c_while_the_state_is_written(self, clips, make_model, monkeypatch, tmp_path, moment):
        state = tmp_path / "state"
        expected = train(make_model(), *clips[:2], epochs=4, **FAST)
        owner = {"writestr": zipfile.ZipFile, "savez": np, "replace": Path}[moment]
        calls = 0

        def interrupted(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == (6 if moment == "savez" else 3):  # in the third epoch
                raise KeyboardInterrupt
            return original(*args, **kwargs)

        original = getattr(owner, moment)
        with monkeypatch.context() as patch:
            patch.setattr(owner, moment, interrupted)
            with (
                pytest.warns(UserWarning, match="weights of epoch . of 3"),
                pytest.raises(KeyboardInterrupt),
            ):
                train(make_model(), *clips[:2], epochs=4, resume=state, **FAST)
        assert list(tmp_path.iterdir()) == [state]
        with zipfile.ZipFile(state) as file:
            assert len(json.loads(file.read("state.json"))["logs"]) == 2
        history = train(make_model(), *clips[:2], epochs=4, resume=state, **FAST)
        assert history.history == expected.history

    def test_a_disk_that_fills(self, clips, make_model, monkeypatch, tmp_path):
        state = tmp_path / "state"
        train_interrupted(monkeypatch, make_model(), *clips[:2], epoch=1, resume=state, **FAST)
        before, limit = state.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limit[1]))
        try:
            with pytest.raises(OSError, match=r"File too large|errno = 27"):
                train(make_model(), *clips[:2], resume=state, **FAST)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        assert list(tmp_path.iterdir()) == [state]
        assert state.read_bytes() == before


class TestResumeRefused:
    @pytest.fixture
    def state(self, clips, make_model, monkeypatch, tmp_path):
        train_interrupted(monkeypatch, make_model(), *clips[:2], epoch=1, resume=tmp_path / "state", **FAST)
        return tmp_path / "state"

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            ({"batch_size": 4}, "batch_size"),
            ({"seed": 1}, "labels and validation clips, seed"),
            ({"patience": 3}, "patience"),
            ({"learning_rate": 0.1}, "optimizer"),
            ({"optimizer": keras.optimizers.SGD(1e-3)}, "optimizer"),
            ({"loss": SMOOTH}, "loss"),
            ({"augment": Pepper()}, "augment"),
            ({"mixup": 0.2}, "mixup, loss"),
            ({"class_weight": "balanced"}, "class_weight"),
            ({"classes": ("low", "high")}, "classes"),
            ({"validation_split": 0.4}, "labels and validation clips"),
            ({"groups": np.arange(24) // 4}, "labels and validation clips"),
        ],
    )
    def test_other_settings(self, clips, make_model, state, options, named):
        before = state.read_bytes()
        with pytest.raises(
            ValueError, match=f"resume must name the state of this training; .* another {named}$"
        ):
            train(make_model(), *clips[:2], resume=state, **FAST | options)
        assert state.read_bytes() == before

    @pytest.mark.parametrize(
        ("one", "other", "named"),
        [
            ({"augment": Pepper()}, {"augment": Pepper((0, 0.5))}, "augment"),
            ({"augment": Pepper()}, {"augment": HorizontalFlip()}, "augment"),
            ({"learning_rate": COSINE(0.1, 5)}, {"learning_rate": COSINE(0.1, 6)}, "optimizer"),
            ({"loss": SMOOTH}, {"loss": keras.losses.CategoricalCrossentropy(label_smoothing=0.2)}, "loss"),
        ],
    )
    def test_another_schedule_or_augmentation(self, clips, make_model, tmp_path, one, other, named):
        options = FAST | {"epochs": 1, "resume": tmp_path / "state"}
        train(make_model(), *clips[:2], **options, **one)
        with pytest.raises(ValueError, match=f"is of one with another {named}$"):
            train(make_model(), *clips[:2], **options, **other)
        train(make_model(), *clips[:2], **options, **one)

    def test_functions_that_could_not_be_told_from_others(self, clips, make_model, tmp_path):
        options = {"augment": lambda clips, seed: clips}
        with pytest.raises(
            ValueError, match="must say what it was made of, so that it can be told from another"
        ):
            train(make_model(), *clips[:2], **FAST, resume=tmp_path / "state", **options)

    def test_one_other_pixel(self, clips, make_model, state):
        features = clips[0].copy()
        features[17, 1, 2, 3, 1] ^= 1
        with pytest.raises(ValueError, match=r"is of one with another clips$"):
            train(make_model(), features, clips[1], resume=state, **FAST)

    def test_damaged(self, clips, make_model, state):
        whole, rng = state.read_bytes(), np.random.default_rng(0)
        for size in rng.integers(0, len(whole), 20):
            state.write_bytes(whole[:size])
            with pytest.raises(ValueError, match=r"resume must name a file that train\(\) wrote, got"):
                train(make_model(), *clips[:2], resume=state, **FAST)

    def test_other_clips_or_model(self, clips, make_model, state):
        features, labels, _ = clips
        with pytest.raises(ValueError, match=r"with another clips, labels and validation clips$"):
            train(make_model(), features[:20], labels[:20], resume=state, **FAST)
        with pytest.raises(ValueError, match=r"with another labels and validation clips$"):
            train(make_model(), features, 1 - labels, resume=state, **FAST)
        clip = keras.Input(SHAPE)
        other = keras.Model(clip, keras.layers.Dense(2, "softmax")(keras.layers.Flatten()(clip)))
        with pytest.raises(ValueError, match=r"with another model$"):
            train(other, features, labels, resume=state, **FAST)

    def test_other_files(self, clips, make_model, tmp_path):
        text = tmp_path / "notes.txt"
        text.write_text("my diary")
        model = make_model()
        train(model, *clips[:2], epochs=1, **FAST)
        with pytest.raises(ValueError, match=r"resume must be a regular file, got .*, which is a folder"):
            train(make_model(), *clips[:2], resume=tmp_path, **FAST)
        with pytest.raises(OSError, match=r"notes\.txt"):
            train(make_model(), *clips[:2], resume=text / "state", **FAST)
        for path in (text, save_model(model, tmp_path / "model.keras")):
            with pytest.raises(ValueError, match=r"resume must name a file that train\(\) wrote, got"):
                train(make_model(), *clips[:2], resume=path, **FAST)
        assert text.read_text() == "my diary"
        assert load_model(tmp_path / "model.keras").recipe is not None


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                {"classes": ("a", "b", "c")},
                r"classes must name the model's 2 outputs, got 3: \['a', 'b', 'c'\]",
            ),
            ({"groups": [1, 2]}, "groups must be as many as clips, got 2 and 24"),
            ({"groups": [1] * 24}, r"groups must be at least 2 source videos, got \['1'\]"),
            ({"epochs": 0}, "epochs must be a whole number of at least 1, got 0"),
            ({"batch_size": 0}, "batch_size must be a whole number of at least 1, got 0"),
            ({"patience": 0}, "patience must be a whole number of at least 1, got 0"),
            ({"validation_split": 1}, "validation_split must be 0 or lie between 0 and 1, got 1"),
            ({"validation_split": -0.1}, "validation_split must be 0 or lie between 0 and 1, got -0.1"),
            ({"clip_seconds": 0}, "clip_seconds must be a positive number, got 0"),
            ({"loss": "hinge"}, "loss must be a Keras loss, an object, got 'hinge'"),
            ({"mixup": -1}, "mixup must be a finite number that is not negative, got -1"),
            ({"joins": 1.1}, "joins must be a share in 0 to 1, got 1.1"),
            ({"joins": np.nan}, "joins must be a share in 0 to 1, got nan"),
            ({"joins": 0.5}, "joins must be 0 for clips of fewer than 3 frames, got clips of 2"),
            ({"sampling": "all"}, "sampling must be 'natural' or 'balanced', got 'all'"),
            ({"class_weight": {0: 1.0}}, r"class_weight must have the keys 0 to 1, got \{0: 1.0\}"),
            ({"seed": -1}, "seed must be a whole number in 0 to 4294967295, got -1"),
            ({"seed": 2**32}, "seed must be a whole number in 0 to 4294967295, got 4294967296"),
        ],
    )
    def test_arguments(self, clips, make_model, options, message):
        model = make_model()
        before = model.get_weights()
        with pytest.raises(ValueError, match=message):
            train(model, *clips[:2], **FAST | options)
        assert all(map(np.array_equal, model.get_weights(), before))

    def test_clips(self, clips, make_model):
        features, labels, _ = clips
        with pytest.raises(ValueError, match=r"features must be clips \(2, 4, 4, 3\), got \(2, 4, 3, 3\)"):
            train(make_model(), features[:, :, :, :3], labels, **FAST)
        with pytest.raises(ValueError, match="labels must lie in 0 to 1, got 0 to 5"):
            train(make_model(), features, labels * 5, **FAST)
        with pytest.raises(ValueError, match="features must hold at least one clip"):
            train(make_model(), features[:0], labels[:0], **FAST)


class TestCheckOptions:
    """What can be judged without clips or a model, before a folder is read."""

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"classes_": ("a", "b")}, "options of train must be among .*, got classes_"),
            ({"epochs": "3"}, "epochs must be a whole number of at least 1, got '3'"),
            ({"epochs": None}, "epochs must be a whole number of at least 1, got None"),
            ({"patience": 2.5}, "patience must be a whole number of at least 1, got 2.5"),
            ({"patience": 0}, "patience must be a whole number of at least 1, got 0"),
            ({"optimizer": "adam"}, "optimizer must be a Keras optimizer, an object, got 'adam'"),
            ({"loss": "focal"}, "loss must be a Keras loss, an object, got 'focal'"),
            ({"callbacks": [print]}, "callbacks must be a sequence of Keras callbacks, got"),
            ({"seed": 1.5}, "seed must be a whole number in 0 to 4294967295, got 1.5"),
        ],
    )
    def test_refused(self, options, message):
        with pytest.raises(ValueError, match=message):
            check_options(options)

    def test_allowed(self):
        check_options({})
        check_options({"seed": None, "batch_size": None, "optimizer": None, "loss": FOCAL})
        check_options({"seed": np.int64(2**32 - 1), "epochs": np.int64(3)})
        check_options({"callbacks": (keras.callbacks.TerminateOnNaN(),)})

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"mixup": np.nan}, "mixup must be a finite number that is not negative, got nan"),
            ({"class_weight": "equal"}, "class_weight must be 'balanced' or a number .*, got 'equal'"),
            ({"class_weight": [1, 2]}, "class_weight must be 'balanced' or a number for each label, not"),
            ({"class_weight": {"dark": 1.0}}, "class_weight must be 'balanced' or a number for each label"),
            ({"class_weight": {0: -1.0, 1: 1.0}}, "class_weight must be .*, not negative, got"),
            ({"augment": "flip"}, "augment must be a function of clips and a seed, got 'flip'"),
            ({"streams": "depth"}, "streams must be one of 'rgb', 'gray', .*'pose', got 'depth'"),
            ({"flow_method": "lk"}, "flow_method must be one of 'dis', 'farneback', 'tvl1', got 'lk'"),
        ],
    )
    def test_what_a_data_set_refuses(self, clips, options, message):
        with pytest.raises(ValueError, match=message):
            dataset_of(*clips[:2], **options)


@pytest.mark.slow
def test_two_processes_train_the_same_weights():
    code = """
import hashlib, keras, numpy as np
from harkeras.models import create_convlstm_model, create_lrcn_model
from harkeras.data.splits import split_by_group
from harkeras.data import Dataset
from harkeras.training.loop import train
labels, groups = np.arange(24) % 2, np.arange(24) // 4
print(*split_by_group(list(map(str, groups)), labels, group_of=str))
for build, shape, options in (
    (create_convlstm_model, (2, 15, 15, 3), {"filters": (4, 4)}),
    (create_lrcn_model, (2, 64, 64, 3), {"filters": (4, 4, 4, 4)}),
):
    keras.utils.set_random_seed(27)
    model = build(2, shape, **options)
    features = np.random.default_rng(0).integers(0, 256, (24, *shape), np.uint8)
    train(model, Dataset(features, labels, classes=("a", "b"), groups=groups), epochs=2, verbose=False)
    print(hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights())).hexdigest())"""
    command = [sys.executable, "-c", code]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(2)]
    one, other = [process.communicate()[0].splitlines() for process in processes]
    assert len(one[-1]) == 64
    assert one == other


@pytest.mark.slow
def test_learns_from_videos_which_way_a_block_moves(tmp_path):
    """From files to the score. Frames without their order tell nothing."""
    rng = np.random.default_rng(0)
    for group in range(1, 13):
        background, colour = rng.integers(0, 90, 3), rng.integers(150, 256, 3)
        for clip in range(1, 4):
            top, size = rng.integers(16, 60), rng.integers(28, 44)
            for name in ("left", "right"):
                path = tmp_path / name / f"v_{name}_g{group:02d}_c{clip:02d}.mp4"
                with VideoWriter(path, fps=12) as writer:
                    for x in np.linspace(-size / 2, 128 - size / 2, 12)[
                        :: 1 if name == "right" else -1
                    ].astype(int):
                        frame = np.full((128, 128, 3), background, np.uint8)
                        frame[top : top + size, max(x, 0) : x + size] = colour
                        writer.write(frame)
    data = create_dataset(tmp_path, frames=6)
    train_set, test_set = data.split()
    keras.utils.set_random_seed(27)
    model = create_lrcn_model(2, (6, 64, 64, 3))
    train_on(model, train_set, epochs=10, optimizer=keras.optimizers.Adam(3e-3), verbose=False)
    evaluation = evaluate(model, test_set)
    assert evaluation.accuracy > 0.9, str(evaluation)
