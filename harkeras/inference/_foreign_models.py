"""Models that were made elsewhere: checked once, at the door, with a sentence on how to make them fit.

Behind it, a model has one input of fixed size, channels last, and one output: the probabilities of classes.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import keras
import numpy as np

from harkeras.models.blocks import all_layers
from harkeras.recipe import Streams, count_channels, read_channels

_HDF5 = b"\x89HDF\r\n\x1a\n"  # the first bytes of such a file
_OTHER_FORMATS = {
    **dict.fromkeys((".pt", ".pth", ".tar"), "one of PyTorch"),
    ".ckpt": "a checkpoint",
    ".pb": "a frozen graph of TensorFlow",
    ".safetensors": "a file of weights alone",
    ".json": "an architecture without weights",
}
# How far probabilities may be from adding up to 1: float16 keeps three digits.
_TOLERANCE = 0.02
# Models in memory that were tried -> the same with probabilities; None for those that have them.
_EXTENDED: WeakKeyDictionary[keras.Model, keras.Model | None] = WeakKeyDictionary()


def check_model_file(path: str | os.PathLike) -> None:
    """Raise ValueError for a file or folder of another format, saying how to convert it."""
    path = Path(path)
    other = _describe_format(path)
    if other is not None:
        raise ValueError(f"{path} must be a .keras file, as Keras 3 writes it; it is {other}")


def _describe_format(path: Path) -> str | None:
    """Say what a file or folder is that Keras 3 does not open, and how to convert it."""
    if path.is_dir():
        if not (path / "saved_model.pb").is_file():
            return "a folder without a model.keras"
        return (
            "a SavedModel, which Keras 3 opens as a layer. Pass a model instead of the path: "
            "clip = keras.Input((T, H, W, 3)); "
            f"layer = keras.layers.TFSMLayer({str(path)!r}, call_endpoint='serving_default'); "
            "model = keras.Model(clip, next(iter(layer(clip).values())))"
        )
    if not path.is_file():
        return None
    if path.name.endswith(".weights.h5"):
        return (
            f"a file of weights alone: build the model, call model.load_weights({str(path)!r}), and save it"
        )
    with path.open("rb") as file:
        start = file.read(len(_HDF5))
    if start == _HDF5 or path.suffix in (".h5", ".hdf5"):
        return (
            "one of Keras 2, in HDF5. Convert it: "
            f"keras.models.load_model({str(path)!r}, compile=False).save('model.keras'); where that fails, "
            "build the model anew and call model.load_weights on the same file"
        )
    if path.suffix in _OTHER_FORMATS:
        return (
            f"{_OTHER_FORMATS[path.suffix]}: build the model in Keras and load the weights into it, with "
            "harkeras.load_weights for the architectures that 'harkeras models' lists"
        )
    return None


def prepare_model(
    model: Any, input_shape: tuple[int, ...] | None, *, images: bool, joints: bool = False
) -> keras.Model:
    """Return a model of one input of fixed size, and one output.

    Args:
        model: A Keras model.
        input_shape: (T, H, W, C), or (H, W, C) for images, where the model leaves sizes open.
        images: Whether it must take images.
        joints: Whether it takes joints (B, T, K, D), of fixed size.

    Raises:
        ValueError: If it is no Keras model, has several inputs or outputs, leaves sizes open and
            `input_shape` is None, or takes and gives something else.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(f"model must be a path, a name or a keras.Model of Keras 3, got {type(model)}")
    if not joints:
        model = _fix_sizes(model, input_shape, images)
    for name in ("inputs", "outputs"):
        tensors = getattr(model, name)
        if len(tensors) != 1:
            shapes = ", ".join(str(tensor.shape) for tensor in tensors)
            raise ValueError(
                f"model must have one input and one output, got {len(tensors)} {name}: {shapes}; make a "
                "model of those that are wanted, such as keras.Model(model.inputs, model.outputs[0])"
            )
    if not joints:
        _check_rank(model.inputs[0].shape, images)
    if any(getattr(layer, "stateful", False) for layer in all_layers(model)):
        raise ValueError(
            "model must start anew with each clip, got a layer with stateful=True: build it without, and "
            "copy the weights with set_weights(model.get_weights())"
        )
    _check_output(model.outputs[0].shape)
    if isinstance(model, keras.Sequential) or (
        model.input is model.inputs[0] and model.output is model.outputs[0]
    ):
        return model
    return keras.Model(model.inputs[0], model.outputs[0], name=model.name)  # of a list or dictionary of one


def _fix_sizes(model: keras.Model, input_shape: tuple[int, ...] | None, images: bool) -> keras.Model:
    """Wrap a model that leaves sizes open, or was never built, into one of fixed sizes."""
    inputs = getattr(model, "inputs", None) or []
    shape = tuple(inputs[0].shape) if inputs else None
    if len(inputs) > 1 or (shape is not None and None not in shape[1:]):
        return model
    axes = "(H, W, C)" if images else "(T, H, W, C)"
    if input_shape is None:
        _check_rank(shape, images)
        takes = "images (B, H, W, C)" if images else "clips (B, T, H, W, C)"
        received = shape or "a model that was never built"
        raise ValueError(
            f"model must take {takes} of fixed size, where C is 3 for RGB, got {received}: pass the sizes it "
            f"was trained on as input_shape={axes}"
        )
    fits = shape is None or all(a in (None, b) for a, b in zip(shape[1:], input_shape, strict=False))
    if len(input_shape) != (3 if images else 4) or (shape and len(shape) != len(input_shape) + 1) or not fits:
        raise ValueError(f"input_shape must be {axes} that fits {shape}, got {input_shape}")
    clip = keras.Input(tuple(input_shape))
    return keras.Model(clip, model(clip), name=model.name)


def _check_rank(shape: tuple[int | None, ...] | None, images: bool) -> None:
    """Raise ValueError if something else than images (B, H, W, C) or clips (B, T, H, W, C) goes in."""
    if shape is None or len(shape) == (4 if images else 5):
        return
    if images:
        raise ValueError(f"model must take images (B, H, W, 3) of fixed size, got {shape}")
    unlike, advice = "where C is 3 for RGB", ""
    if len(shape) == 4 and shape[-1] in (1, 2, 3, None):
        unlike, advice = "not images", "; for images there is predict_image"
    elif len(shape) == 4:
        unlike = "not (B, T, H, W)"
        advice = (
            f"; if those are gray frames, make one of keras.Input({(*shape[1:], 1)}) with "
            f"keras.layers.Reshape({shape[1:]}) in front"
        )
    elif len(shape) == 3:
        unlike = "not features of frames"
        advice = (
            "; put the network that makes them in front: "
            "keras.Model(clip, model(keras.layers.TimeDistributed(backbone)(clip)))"
        )
    raise ValueError(f"model must take clips (B, T, H, W, C) of fixed size, {unlike}, got {shape}{advice}")


def _check_output(shape: tuple[int | None, ...]) -> None:
    if len(shape) == 3:
        raise ValueError(
            f"model must answer once per clip, (B, classes), got {shape}, an answer per frame: average them "
            "with keras.Model(model.input, keras.layers.GlobalAveragePooling1D()(model.output))"
        )
    if len(shape) != 2 or shape[1] is None:
        raise ValueError(f"model must answer once per clip, (B, classes), got {shape}")


def read_streams(shape: tuple[int, ...], streams: Streams | None) -> tuple[Streams, int]:
    """Return what the clips (T, H, W, C) or images (H, W, C) of a model hold, and the fields of flow.

    Args:
        shape: Of the input, without the batch.
        streams: The option that was passed, or None.

    Raises:
        ValueError: If they have to be passed and are not, do not fit, or the channels come first.
    """
    channels = shape[-1]
    usual = read_channels(channels)
    if streams is not None:
        count_channels(streams, 1)  # raises for streams that there are not
        if streams != usual[0]:
            raise ValueError(f"streams must fit the {channels} channels of {shape}, got {streams!r}")
        return usual
    if channels in (1, 3):
        return usual
    first = next((axis for axis in range(len(shape) - 2) if shape[axis] in (1, 2, 3)), None)
    if first is not None:
        order = [axis for axis in range(len(shape)) if axis != first]
        last = (*(shape[axis] for axis in order), shape[first])
        permutation = tuple(int(axis) + 1 for axis in np.argsort([*order, first]))
        raise ValueError(
            f"model must take channels last, got {shape}, which has them first, as PyTorch does. Put a layer "
            f"in front: clip = keras.Input({last}); "
            f"model = keras.Model(clip, model(keras.layers.Permute({permutation})(clip))). "
            f"If the last {channels} are channels, of optical flow, pass streams"
        )
    raise ValueError(
        f"streams must be given for a model without a recipe whose frames have {channels} channels: 'flow' "
        "for 2L, fields of optical flow to the right and down, 'rgb+flow' for 3 + 2L; 1 is gray, 3 is RGB"
    )


def with_probabilities(model: keras.Model, *, normalize: bool = False) -> keras.Model:
    """Return a model whose outputs are probabilities of its classes, which exclude one another.

    One output is that of a sigmoid: the probability of the second of two classes. What ends without an
    activation gives logits, and gets the softmax or sigmoid that it lacks.

    Args:
        model: The model.
        normalize: Whether it expects pixels in [0, 1].

    Raises:
        ValueError: If the outputs cannot be made probabilities: several sigmoids, or numbers that are none.

    Warns:
        UserWarning: If a softmax or sigmoid was put behind the model.
    """
    activation = _last_activation(model)
    if model.outputs[0].shape[-1] > 1 and activation == "softmax":
        return model
    if model not in _EXTENDED:
        _EXTENDED[model] = _extend(model, activation, normalize)
    return model if _EXTENDED[model] is None else _EXTENDED[model]


def _extend(model: keras.Model, activation: str | None, normalize: bool) -> keras.Model | None:
    """Put behind a model what makes its outputs probabilities; return None if they are."""
    outputs, x = _try(model, 1 if normalize else 255), model.outputs[0]
    if outputs.shape[-1] == 1:
        if activation == "softmax":
            raise ValueError("model must not end in a softmax over one output, which always is 1")
        if activation == "linear" or outputs.min() < 0 or outputs.max() > 1:
            x = keras.layers.Activation("sigmoid")(x)
            _warn("sigmoid", outputs)
        return keras.Model(model.inputs[0], keras.layers.Concatenate()([1 - x, x]), name=model.name)
    inside = outputs.min() >= -_TOLERANCE and outputs.max() <= 1 + _TOLERANCE
    sums = outputs.sum(axis=-1)
    if inside and np.abs(sums - 1).max() <= _TOLERANCE:
        return None
    if inside and activation != "linear":
        raise ValueError(
            f"model must answer with probabilities that add up to 1, got sums of {sums.min():.2f} to "
            f"{sums.max():.2f}, as of one sigmoid per class. If only one class is true at a time: "
            "keras.Model(model.input, model.output / keras.ops.sum(model.output, axis=-1, keepdims=True))"
        )
    _warn("softmax", outputs)
    return keras.Model(model.inputs[0], keras.layers.Softmax()(x), name=model.name)


def _warn(activation: str, outputs: np.ndarray) -> None:
    warnings.warn(
        f"the model's outputs are no probabilities (on noise, {outputs.min():.2f} to {outputs.max():.2f}): "
        f"they are taken as logits, and a {activation} is put behind them",
        stacklevel=6,
    )


def _try(model: keras.Model, white: float) -> np.ndarray:
    """Show a model a black clip and noise; return its outputs (2, classes)."""
    noise = np.random.default_rng(27).uniform(size=model.inputs[0].shape[1:]).astype(np.float32)
    clips = (np.zeros_like(noise), white * noise)
    outputs = [keras.ops.convert_to_numpy(model(clip[None], training=False)) for clip in clips]
    outputs = np.concatenate(outputs).astype(np.float64)
    if not np.isfinite(outputs).all():
        raise ValueError("model must answer with finite numbers, got NaN or infinity")
    return outputs


def _last_activation(model: keras.Model) -> str | None:
    """Return the name of the activation that a model ends in, if it can be told: "linear" for none."""
    steps = model.layers if isinstance(model, keras.Sequential) else getattr(model, "operations", [])
    last = steps[-1] if steps else None
    if isinstance(last, keras.Model):
        return _last_activation(last)
    if type(last).__name__ in ("Softmax", "Sigmoid"):  # layers and operations alike
        return type(last).__name__.lower()
    return getattr(getattr(last, "activation", None), "__name__", None)
