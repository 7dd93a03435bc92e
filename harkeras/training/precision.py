"""Mixed precision: layers compute in 16 bits and keep their weights in 32.

Micikevicius et al., "Mixed Precision Training", ICLR 2018. GPUs with tensor cores, and TPUs, are two to three
times as fast so, and clips take half the memory; most CPUs are slower. What is trained is saved in 32 bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras


@contextmanager
def mixed_precision() -> Iterator[None]:
    """Let what is built inside compute in 16 bits; afterwards Keras's policy is what it was."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(choose_policy())
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def choose_policy() -> str:
    """Return Keras's name of the numbers that this machine computes with.

    bfloat16 has the range of float32, so that nothing underflows; GPUs before NVIDIA's Ampere, of compute
    capability 8, know only float16, for which Keras scales the loss.
    """
    capability = _compute_capability()
    return "mixed_float16" if capability is not None and capability < 8 else "mixed_bfloat16"


def _compute_capability() -> int | None:
    """Return the first number of a GPU's compute capability; None where there is no GPU that says it."""
    if keras.backend.backend() == "jax":
        import jax

        capability = getattr(jax.local_devices()[0], "compute_capability", None)
        return None if capability is None else int(float(capability))
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        capability = tf.config.experimental.get_device_details(gpu).get("compute_capability")
        return None if capability is None else capability[0]
    return None


def in_single_precision(model: keras.Model) -> keras.Model:
    """Build a model again, of the same layers with weights of their own, that computes in 32 bits."""
    return type(model).from_config(_in_float32(model.get_config()))


def _in_float32(config: Any) -> Any:
    if isinstance(config, list | tuple):
        return type(config)(map(_in_float32, config))
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "DTypePolicy" and config["config"]["name"].startswith("mixed_"):
        return config | {"config": {"name": "float32"}}
    return {key: _in_float32(value) for key, value in config.items()}
