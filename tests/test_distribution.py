"""One model on several devices: its batches, and the weights that come out, against one device."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from harkeras.data.augment import Pepper
from harkeras.data.batches import Batches, ClipDataset
from harkeras.data.datasets import Dataset
from harkeras.data.presentation import Presentation
from harkeras.data.sharing import Share
from harkeras.training.distribution import find_share, join_processes, on_all_devices
from harkeras.training.loop import train

ROOT = Path(__file__).resolve().parents[1]
LABELS = np.arange(23) % 2
CLIPS = np.random.default_rng(0).integers(0, 256, (23, 4, 6, 6, 3), np.uint8)


def parts_of(processes, devices, seed, *, features=CLIPS, weights=None, mixup=0.0, **presentation):
    """The batches of every process, and those of one device."""

    def make(share):
        labels = np.eye(2, dtype=np.float32)[LABELS] if mixup else LABELS
        shown = Presentation(mixup=mixup, **presentation)
        options = {"seed": seed, "presentation": shown, "weights": weights, "groups": LABELS // 4}
        return Batches(features, labels, np.arange(2, 21), 6, share=share, **options)

    return [make(Share(process, processes, devices)) for process in range(processes)], make(Share())


class TestParts:
    @pytest.mark.parametrize(("processes", "devices"), [(1, 2), (2, 2), (2, 4), (3, 3)])
    @pytest.mark.parametrize(
        "options",
        [
            {"seed": None},
            {"seed": None, "weights": {0: 0.5, 1: 2.0}},
            {"seed": 3},
            {"seed": 3, "augment": Pepper(), "weights": {0: 0.5, 1: 2.0}},
            {"seed": 3, "mixup": 0.4, "joins": 0.5},
        ],
    )
    def test_together_they_are_the_batch(self, processes, devices, options):
        parts, whole = parts_of(processes, devices, **options)
        sums, shown = 0.0, 0
        for index in range(len(whole)):
            clips, labels, *weights = whole[index]
            shared = [np.concatenate(each) for each in zip(*(part[index] for part in parts), strict=True)]
            assert len({len(part[index][0]) for part in parts}) == 1
            assert len(shared[0]) % devices == 0
            assert np.array_equal(shared[0][: len(clips)], clips)
            assert np.array_equal(shared[1][: len(clips)], labels)
            losses = clips.mean(axis=(1, 2, 3, 4)) * (weights[0] if weights else 1)
            weighted = shared[0].mean(axis=(1, 2, 3, 4)) * shared[2]
            if options["seed"] is not None:
                assert weighted.mean() == pytest.approx(losses.mean(), rel=1e-6)
            sums += losses.sum() - weighted.sum() * 19 / sum(map(len, padded(whole, devices)))
            shown += len(clips)
        assert shown == 19
        if options["seed"] is None:
            assert sums == pytest.approx(0, abs=1e-3)

    def test_each_process_decodes_its_own_part(self, sample_dir, monkeypatch):
        videos = sorted(Path(sample_dir).rglob("*.mp4"))
        decoded = []

        def read(self, row, place):
            decoded.append(row)
            return np.full((4, 6, 6, 3), row * place % 256, np.uint8)

        monkeypatch.setattr(ClipDataset, "_read_clip", read)
        data = ClipDataset(videos, np.arange(16) % 2, frames=4, height=6, width=6, clip_seconds=0.5)
        both = []
        for share in (Share(0, 2, 2), Share(1, 2, 2), Share()):
            batches = Batches(data, data.labels, np.arange(16), 6, seed=5, share=share)
            both.append(np.concatenate([batches[index][0] for index in range(3)]))
            assert len(decoded) == (16 if share == Share() else 8)
            decoded.clear()
        halves = [np.split(each, [3, 6]) for each in both[:2]]
        together = np.concatenate([part for pair in zip(*halves, strict=True) for part in pair])
        assert np.array_equal(together, both[2])


def padded(batches, devices):
    sizes = [len(batches[index][0]) for index in range(len(batches))]
    return [range(size + -size % devices) for size in sizes]


class TestErrors:
    def model(self):
        clip = keras.Input(CLIPS.shape[1:])
        return keras.Model(clip, keras.layers.Dense(2, "softmax")(keras.layers.Flatten()(clip)))

    def test_what_does_not_fit(self, monkeypatch):
        data = Dataset(CLIPS, LABELS, classes=("a", "b"))
        with pytest.raises(ValueError, match="distribute must be True or False, got 'yes'"):
            train(self.model(), data, distribute="yes")
        monkeypatch.setattr("harkeras.training.loop.find_share", lambda: Share(devices=8))
        with pytest.raises(ValueError, match="batch_size must be at least the 8 devices, got 4"):
            train(self.model(), data, distribute=True)
        monkeypatch.setattr("harkeras.training.loop.find_share", lambda: Share(devices=1))
        history = train(self.model(), data, distribute=True, epochs=1, verbose=False)
        assert history.epoch == [0]

    def test_a_loss_that_is_no_mean(self, monkeypatch):
        monkeypatch.setattr("harkeras.training.loop.find_share", lambda: Share(devices=2))
        loss = keras.losses.SparseCategoricalCrossentropy(reduction="sum")
        with pytest.raises(ValueError, match="loss must have the reduction sum_over_batch_size, got 'sum'"):
            train(self.model(), Dataset(CLIPS, LABELS, classes=("a", "b")), distribute=True, loss=loss)

    @pytest.mark.tensorflow_only
    def test_several_hosts_need_jax(self, monkeypatch):
        monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", "2")
        for call in (join_processes, find_share):
            with pytest.raises(
                ValueError, match="NUM_PROCESSES must be 1, or Keras run on JAX, KERAS_BACKEND"
            ):
                call()

    def test_other_backends(self, monkeypatch):
        monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
        with pytest.raises(ValueError, match="distribute needs Keras on TensorFlow or JAX, got torch"):
            find_share()

    def test_one_device_is_the_model_itself(self, caplog):
        model = self.model()
        with caplog.at_level("INFO", "harkeras"), on_all_devices(model, Share()) as same:
            assert same is model
        assert "there is one device" in caplog.text


# Trains with dropout, a schedule and a batch that does not divide; writes its weights, and says what it did.
SCRIPT = """
import os, signal, sys
import keras, numpy as np
folder, backend = sys.argv[1], keras.backend.backend()
process = os.environ.get("KERAS_DISTRIBUTION_PROCESS_ID", "")
if backend == "tensorflow":
    import tensorflow as tf
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from harkeras.data.datasets import Dataset
from harkeras.training.distribution import join_processes
from harkeras.training.loop import train
join_processes()
labels = np.arange(23) % 2
clips = np.random.default_rng(0).integers(0, 200, (23, 2, 4, 4, 3)) + 55 * labels[:, None, None, None, None]
data = Dataset(clips.astype(np.uint8), labels, classes=("a", "b"), groups=np.arange(23) // 3)

class Killed(keras.callbacks.Callback):
    batches = 0
    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1
        if self.batches == 7:  # in the second epoch
            os.kill(os.getpid(), signal.SIGKILL)

def once(distribute, resume=None):
    keras.utils.set_random_seed(27)
    clip = keras.Input((2, 4, 4, 3))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(clip))
    x = keras.layers.Dense(8, "relu")(x)
    if backend == "jax":  # TensorFlow draws for each device by itself
        x = keras.layers.Dropout(0.3)(x)
    model = keras.Model(clip, keras.layers.Dense(2, "softmax")(x))
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.05, 12)))
    killed = [Killed()] if process == os.environ.get("KILLED") else []
    history = train(model, data, epochs=3, batch_size=5, verbose=False, callbacks=killed,
                    distribute=distribute, resume=resume)
    assert model.recipe.classes == ("a", "b") and model.history is history
    assert int(model.optimizer.iterations) == 12 and len(history.epoch) == 3
    assert keras.distribution.distribution() is None
    return model, history.history["val_loss"]

if process:
    model, losses = once(True, folder + "/state")
    np.savez(f"{folder}/weights{process}.npz", *model.get_weights(), losses)
else:
    (one, losses), (two, others) = once(False), once(True)
    print(max(np.abs(a - b).max() for a, b in zip(one.get_weights(), two.get_weights())))
    print(max(np.abs(np.subtract(losses, others))))
    np.savez(f"{folder}/weights.npz", *one.get_weights(), losses)
    again = train(two, data, epochs=1, batch_size=5, verbose=False)  # on one device, as ever
    assert len(again.epoch) == 1
"""


def start(folder, backend, **variables):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, folder],
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_two(folder, **variables):
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    variables |= {"KERAS_DISTRIBUTION_JOB_ADDRESSES": address, "KERAS_DISTRIBUTION_NUM_PROCESSES": "2"}
    variables |= {"JAX_COORDINATOR_BIND_ADDRESS": address}
    return [
        start(folder, "jax", KERAS_DISTRIBUTION_PROCESS_ID=str(process), **variables) for process in range(2)
    ]


def end(*processes):
    """What each printed, after all have ended well."""
    try:
        texts = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * len(processes), "\n".join(texts)
    return texts


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_devices_give_the_weights_of_one(tmp_path, backend):
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    (text,) = end(start(tmp_path, backend, XLA_FLAGS="--xla_force_host_platform_device_count=2"))
    weights, losses = map(float, text.splitlines()[-2:])
    assert weights < 1e-5
    assert losses < 1e-5


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one_also_after_one_was_killed(tmp_path):
    pytest.importorskip("jax", reason="jax is not installed")
    (tmp_path / "one").mkdir()
    alone = start(tmp_path / "one", "jax")
    first, killed = start_two(tmp_path, KILLED="1")
    killed.communicate(timeout=300)
    assert killed.returncode == -signal.SIGKILL
    first.kill()  # a job of several processes begins again as a whole
    first.communicate()
    end(alone)
    assert (tmp_path / "state").is_file()
    assert not list(tmp_path.glob("weights*"))

    end(*start_two(tmp_path))
    expected = np.load(tmp_path / "one" / "weights.npz")
    for process in range(2):
        found = np.load(tmp_path / f"weights{process}.npz")
        for name in expected.files:
            np.testing.assert_allclose(found[name], expected[name], atol=1e-5)
