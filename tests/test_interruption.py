"""Ctrl-C as a user presses it: a real signal, sent to a real process."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harkeras.models.saving import read_recipe

ROOT = Path(__file__).parents[1]
EPOCHS = 5000  # more than the test has time for


def start(folder, *command):
    """Start Python in a folder; what it says on its standard error goes to a file there."""
    with (folder / "stderr.txt").open("w") as errors:
        return subprocess.Popen(
            [sys.executable, *map(str, command)],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env={"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "PATH": "/usr/bin:/bin"},
        )


def wait_for(process, happened):
    end = time.monotonic() + 120
    while not happened():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)


def press_ctrl_c(process):
    process.send_signal(signal.SIGINT)
    process.wait(120)


def said(folder):
    """What was written to the standard error, without progress bars."""
    return (folder / "stderr.txt").read_text()


@pytest.fixture
def train_command(sample_dir):
    small = ["--model", "lrcn", "--option", "filters=(2, 2, 2, 2)", "--option", "units=4"]
    small += ["--frames", 3, "--batch-size", 8]
    return ["-m", "harkeras", "train", sample_dir, *small, "--epochs", EPOCHS, "--patience", EPOCHS]


@pytest.mark.slow
def test_train_keeps_the_best_model_so_far(train_command, tmp_path):
    state = tmp_path / "state"
    process = start(tmp_path, *train_command, "--resume", state)
    wait_for(process, lambda: state.exists())
    press_ctrl_c(process)
    assert process.returncode == 0, said(tmp_path)
    (path,) = (tmp_path / "saved_models").glob("*/model.keras")
    assert read_recipe(path).classes == ("SittingDown", "StandingUp")
    assert re.search(
        r"training was interrupted; the model has the weights of epoch \d+ of \d+", said(tmp_path)
    )
    assert state.exists()  # the training may go on


@pytest.mark.slow
def test_train_in_the_first_epoch_saves_nothing(train_command, sample_dir, tmp_path):
    code = """
import os, signal, sys
import harkeras.training._stopping, harkeras.cli
def press_ctrl_c(self, batch, logs=None):
    os.kill(os.getpid(), signal.SIGINT)
harkeras.training._stopping.Stopper.on_train_batch_end = press_ctrl_c
sys.argv = ["harkeras", *sys.argv[1:]]
harkeras.cli.main()"""
    process = start(tmp_path, "-c", code, *train_command[2:])
    assert process.wait(120) == 130
    assert said(tmp_path).splitlines()[-1] == "interrupted"
    assert "Traceback" not in said(tmp_path)
    assert not list(tmp_path.rglob("*.keras"))


@pytest.mark.slow
def test_compare_writes_no_row(sample_dir, tmp_path):
    models = "lrcn:filters=(2, 2, 2, 2):units=4,single_frame:width_multiplier=0.05"
    command = ["-m", "harkeras", "compare", sample_dir, "--models", models, "--frames", 3, "--folds", 2]
    started = tmp_path / "comparison" / "frames.npy"
    process = start(tmp_path, *command, "--epochs", EPOCHS, "--patience", EPOCHS)
    wait_for(process, lambda: started.exists())
    time.sleep(8)  # somewhere in the training of the first fold
    press_ctrl_c(process)
    assert process.returncode == 130, said(tmp_path)
    assert said(tmp_path).splitlines()[-1] == "interrupted"
    assert not list((tmp_path / "comparison").glob("rows/*"))


@pytest.mark.slow
def test_a_finished_training_survives_a_model_that_cannot_be_saved(train_command, sample_dir, tmp_path):
    """The disk is full after the last epoch: the state is there, and the next call only saves."""
    code = """
import resource, sys
import tensorflow as tf
import harkeras.workflow
from harkeras.workflow import train_on_folder
options = {"input_shape": (3, 64, 64, 3), "model_options": {"filters": (2, 2, 2, 2), "units": 4}}
tf.config.run_functions_eagerly(True)
evaluate = harkeras.workflow.evaluate
def fill_the_disk(*args, **kwargs):
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    return evaluate(*args, **kwargs)
if sys.argv[2] == "full":
    harkeras.workflow.evaluate = fill_the_disk
trained = train_on_folder(sys.argv[1], "lrcn", epochs=2, verbose=False, resume="state", **options)
print(len(trained.history.epoch), file=open("epochs.txt", "w"))"""
    process = start(tmp_path, "-c", code, sample_dir, "full")
    assert process.wait(120) == 1
    assert "OSError" in said(tmp_path)
    assert not list(tmp_path.rglob("*.keras"))
    state = tmp_path / "state"
    assert state.exists()
    process = start(tmp_path, "-c", code, sample_dir, "empty")
    assert process.wait(120) == 0, said(tmp_path)
    assert (tmp_path / "epochs.txt").read_text() == "2\n"
    assert len(list(tmp_path.rglob("*.keras"))) == 1
    assert not state.exists()
