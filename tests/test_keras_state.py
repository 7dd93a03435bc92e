"""What the library builds and seeds on the way leaves the caller's process as it was."""

import os
import random
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from harkeras.base.keras_state import seeded
from harkeras.models import create_lrcn_model, model_table
from harkeras.models.registry import count_parameters, no_weights
from harkeras.transfer.heads import create_head, fit_head


def draws():
    """What the next draws of each generator would be, and the weights and the name of the next model."""
    model = create_lrcn_model(2, (2, 64, 64, 3), filters=(2, 2, 2, 2), units=3)
    return (
        random.random(),
        np.random.random(),  # noqa: NPY002
        float(tf.random.normal(())),
        float(keras.random.normal(())),
        [float(weight.sum()) for weight in model.get_weights()],
        keras.layers.Dense(1).name,
    )


def fit_a_head():
    features = np.random.default_rng(0).normal(size=(8, 3, 5))
    fit_head(create_head("tcn", 2, (3, 5), units=4), features, np.arange(8) % 2)


def build_without_weights():
    with no_weights():
        assert count_parameters(create_lrcn_model(4)) == 73_060


def draw_inside():
    with seeded(3):
        draws()


@pytest.mark.parametrize("work", [build_without_weights, draw_inside])
def test_generators_go_on_as_if_nothing_had_happened(work):
    def once(between):
        keras.utils.clear_session()
        keras.utils.set_random_seed(1)
        draws()
        between()
        return draws()

    names = slice(None, 5 if work is draw_inside else 6)  # layers that are used keep their names
    assert once(work)[names] == once(lambda: None)[names]


def test_fitting_a_head_does_not_seed_the_caller():
    def once(seed):
        keras.utils.set_random_seed(seed)
        create_head("tcn", 2, (3, 5), units=4)  # draws
        fit_a_head()
        return random.random(), np.random.random(), float(tf.random.normal(()))  # noqa: NPY002

    assert once(1) != once(2)


def test_the_dtype_policy_survives(monkeypatch):
    monkeypatch.setattr("harkeras.models.table.list_models", lambda *kind: [] if kind else ["lrcn"])
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        assert model_table()[0].parameters == 73_060
        build_without_weights()
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")


def test_the_same_seed_draws_the_same():
    def once():
        with seeded(5):
            return draws()[:5]

    assert once() == once()


def test_it_is_undone_after_an_error():
    keras.utils.set_random_seed(1)
    expected = random.random()
    keras.utils.set_random_seed(1)
    with pytest.raises(ZeroDivisionError), seeded(9):
        1 / 0  # noqa: B018
    assert random.random() == expected


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_on_another_backend_models_train_and_what_cannot_work_says_so(sample_dir, tmp_path, backend):
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    code = """
import sys
import keras, numpy as np
import harkeras
from harkeras.data.augment import Pepper
from harkeras.deploy import export_model
data = harkeras.create_dataset(sys.argv[1], frames=2, height=64, width=64)
model = harkeras.create_lrcn_model(2, (2, 64, 64, 3), filters=(2, 2, 2, 2), units=2)
options = {"epochs": 2, "verbose": False, "resume": sys.argv[2] + "/state"}
data = data.for_training(augment=Pepper())
history = harkeras.train(model, data, **options)
assert len(history.epoch) == 2 and harkeras.evaluate(model, data).support.sum() == 16
assert len(harkeras.train(model, data, **options).epoch) == 2
model = harkeras.load_model(harkeras.save_model(model, sys.argv[2]))
clip = keras.Input((2, 4, 4, 3))
inside = keras.Model(clip, Pepper()(clip))
assert harkeras.predict_on_video(data.video_paths[0], model, progress=False).segments
for work in (
    lambda: harkeras.grad_cam(model, data.features[0]),
    lambda: inside(np.zeros((1, 2, 4, 4, 3), np.float32), training=True),
    lambda: export_model(model, sys.argv[2] + "/model.onnx", clips=data.features[:2]),
    lambda: export_model(model, sys.argv[2] + "/model.tflite", clips=data.features[:2]),
    lambda: harkeras.predict_single_action(data.video_paths[0], model, runtime="onnx"),
):
    try:
        work()
    except RuntimeError as error:
        assert f"needs Keras on TensorFlow, got {sys.argv[3]}: set the environment" in str(error), error
    else:
        raise AssertionError("nothing was said")"""
    run = subprocess.run(
        [sys.executable, "-c", code, sample_dir, tmp_path, backend],
        env=os.environ | {"KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.slow
def test_a_process_without_a_seed_stays_without():
    code = """
import random, tensorflow as tf
from harkeras.base.keras_state import seeded
with seeded(3):
    pass
print(random.random(), float(tf.random.normal(())))"""
    command = [sys.executable, "-c", code]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert runs[0].split()[0] != runs[1].split()[0]
    assert runs[0].split()[1] != runs[1].split()[1]


def test_no_weights_leaves_none_to_be_made_later():
    """Keras would give values to what was built without, at the next model."""
    with no_weights():
        model = create_lrcn_model(4)
    create_lrcn_model(2, (2, 64, 64, 3), filters=(2, 2, 2, 2), units=3)
    with keras.StatelessScope():
        keras.layers.Dense(1)
    assert model.weights[0]._value is None
