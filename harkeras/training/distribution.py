"""One model on several devices: each computes its part of every batch, and all take the same step.

The parts of a batch, put together, are the batch that one device would see: the weights that come out are the
same but for rounding. (Batch normalization takes the statistics of all parts on JAX, and of each by itself on
TensorFlow.) Several GPUs of one host work on both backends; several hosts, each a process of the same
program, on JAX. On the first of two, and with PROCESS_ID=1 on the other:

    export KERAS_BACKEND=jax KERAS_DISTRIBUTION_JOB_ADDRESSES=10.0.0.1:1234
    export KERAS_DISTRIBUTION_NUM_PROCESSES=2 KERAS_DISTRIBUTION_PROCESS_ID=0
    harkeras train FOLDER --model lrcn --distribute --resume shared/state

If one of them ends, all do, some after a minute; the same commands then go on from the state.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import keras
import numpy as np

from harkeras.data.sharing import Share
from harkeras.training._copies import assign_all, take_back

_logger = logging.getLogger("harkeras")
_PROCESSES = "KERAS_DISTRIBUTION_NUM_PROCESSES"
_LONGEST_TEXT = 4096  # bytes


def join_processes() -> None:
    """Let this process work together with those that the environment names, if it names any.

    It must come before anything is computed, in every process. The variables are those of
    `keras.distribution.initialize`: KERAS_DISTRIBUTION_JOB_ADDRESSES, the host and port of the first process;
    KERAS_DISTRIBUTION_NUM_PROCESSES; and KERAS_DISTRIBUTION_PROCESS_ID, from 0.

    Raises:
        ValueError: If it names several, and Keras does not run on JAX.
    """
    if int(os.environ.get(_PROCESSES, "1")) > 1:
        _check_backend_of_processes()
        keras.distribution.initialize()


def find_share() -> Share:
    """Return the part of each batch that this process computes, on all devices of all processes.

    Raises:
        ValueError: If there are several processes that have not been joined, or Keras runs on a backend that
            cannot do it.
    """
    asked, backend = int(os.environ.get(_PROCESSES, "1")), keras.backend.backend()
    if backend not in ("tensorflow", "jax"):
        raise ValueError(f"distribute needs Keras on TensorFlow or JAX, got {backend}")
    if asked > 1:
        _check_backend_of_processes()
    if backend == "tensorflow":
        return Share(devices=len(_devices_of_tensorflow()))
    import jax

    if asked != jax.process_count() and asked > 1:
        raise ValueError(
            f"distribute is for {asked} processes by {_PROCESSES}, got {jax.process_count()}: call "
            "keras.distribution.initialize() before anything is computed"
        )
    return Share(jax.process_index(), jax.process_count(), jax.device_count())


@contextmanager
def on_all_devices(model: keras.Model, share: Share) -> Iterator[keras.Model]:
    """Give a copy of a model that all devices compute; afterwards the model is as its copy.

    Args:
        model: A model that was built from layers; in all processes with the same weights.
        share: What `find_share` says; where there is one device, the copy is the model.

    Raises:
        ValueError: If a process has other weights than the first one.
    """
    if share.devices == 1:
        _logger.info("distribute: there is one device, on which the model is trained as ever")
        yield model
        return
    _logger.info("distribute: %d devices in %d processes", share.devices, share.processes)
    agree(share, [float(np.sum(value)) for value in model.get_weights()], "model must have the same weights")
    devices = _all_devices()
    with devices.scope():
        copy = keras.models.clone_model(model)
        assign_all(model.variables, copy.variables)
    try:
        with devices.scope():
            yield copy
    except BaseException:
        with suppress(ValueError, RuntimeError):  # when another process has ended, nothing can be read
            take_back(copy, model, finished=False)
        raise
    take_back(copy, model)


def agree(share: Share, values: list[float], what: str) -> None:
    """Raise ValueError in every process if a process has other numbers than the first one.

    Args:
        share: The part of this process.
        values: As many in each process.
        what: What must be so, for the message.
    """
    if share.processes == 1:
        return
    from jax.experimental import multihost_utils

    every = multihost_utils.process_allgather(np.array(values, np.float32))  # (processes, values)
    others = np.flatnonzero((every != every[0]).any(axis=1))
    if len(others):
        raise ValueError(f"{what} in every process, got others in process {others[0]} than in process 0")


def text_of_first(share: Share, text: str) -> str:
    """Return in every process the text of the first one; the others wait for it."""
    if share.processes == 1:
        return text
    from jax.experimental import multihost_utils

    content = np.zeros(_LONGEST_TEXT, np.uint8)
    encoded = text.encode()[:_LONGEST_TEXT]
    content[: len(encoded)] = list(encoded)
    return bytes(multihost_utils.broadcast_one_to_all(content)).rstrip(b"\0").decode()


def _check_backend_of_processes() -> None:
    backend = keras.backend.backend()
    if backend != "jax":
        raise ValueError(
            f"{_PROCESSES} must be 1, or Keras run on JAX, KERAS_BACKEND=jax: on {backend} a model is "
            f"trained by one process, got {os.environ[_PROCESSES]}"
        )


def _devices_of_tensorflow() -> list[str]:
    import tensorflow as tf

    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name for device in devices]


def _all_devices():
    """Return an object of Keras or TensorFlow, in whose scope what is built is on all devices."""
    if keras.backend.backend() == "jax":
        # What `Batches` gives are this process's own parts already.
        return keras.distribution.DataParallel(auto_shard_dataset=False)
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(_devices_of_tensorflow())
