"""The blocks of MoViNet, in three forms: for whole clips, causal, and causal with a memory.

A state of the stream is an input of the model and an output of the same name and shape. What computes the new
state is a small model of operations, without weights; where a clip is seen as a whole, a layer that assumes
nothing before the clip stands in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import keras
from keras import KerasTensor, Model, layers, ops


class Form(NamedTuple):
    """What all layers of one network need to know.

    Attributes:
        causal: Whether no frame looks at later ones.
        one: Ones (B, T, 1, 1, 1).
        numbers: int32 (B, T, 1, 1, 1), 1 for the first frame of the video; None unless causal.
        memory: Name of each state -> what it was and what it becomes, filled on the way; None without states.
    """

    causal: bool
    one: KerasTensor
    numbers: KerasTensor | None
    memory: dict[str, tuple[KerasTensor, KerasTensor]] | None


def make_form(clip: KerasTensor, causal: bool, memory: dict | None) -> Form:
    """Count the frames of clips (B, T, H, W, C)."""
    # A one for each frame, made from a corner of it, because a layer of Keras must have an input.
    rest = tuple((0, size - 1) for size in clip.shape[2:])
    one = layers.Cropping3D(rest, data_format="channels_first", name="corner")(clip)
    one = layers.Rescaling(0.0, 1.0, name="one")(one)
    if not causal:
        return Form(causal, one, None, memory)
    ones = keras.Input(one.shape[1:])
    numbers = ops.cumsum(ops.cast(ones, "int32"), axis=1)
    if memory is None:
        return Form(causal, one, Model(ones, numbers, name="frame_numbers")(one), memory)
    before, seen = (keras.Input((1,), dtype="int32", name=name) for name in ("frame_count", None))
    numbers += ops.reshape(seen, (-1, 1, 1, 1, 1))
    update = Model([ones, seen], [numbers, numbers[:, -1, 0, 0]], name="frame_numbers")
    numbers, after = update([one, before])
    memory["frame_count"] = before, after
    return Form(causal, one, numbers, memory)


def add_block(
    x: KerasTensor,
    filters: int,
    expansion: int,
    kernel: Sequence[int],
    stride: int,
    drop: float,
    *,
    name: str,
    form: Form,
) -> KerasTensor:
    """Widen, look around, weigh the channels and narrow; add that to the shortcut.

    Args:
        x: Features (B, T, H, W, C).
        filters: Channels of the result.
        expansion: Channels in between.
        kernel: Frames and pixels that a convolution sees.
        stride: Of the convolution, in space.
        drop: Share of clips for which the shortcut alone is left, in training.
        name: Prefix of the layers' names.
        form: What the network's layers have in common.
    """
    y = activate(pointwise(x, expansion, name=f"{name}_expansion"), name=f"{name}_expansion", form=form)
    y = _look_around(y, kernel, (1, stride, stride), name, form)
    y = _squeeze_excite(y, name, form)
    y = pointwise(y, filters, name=f"{name}_projection")
    # A weight for the block as a whole: that of a dense layer whose only input is always one.
    weight = layers.Dense(1, use_bias=False, kernel_initializer="zeros", name=f"{name}_rezero")(form.one)
    y = layers.Multiply(name=f"{name}_scale")([y, weight])
    if drop:
        y = layers.Dropout(drop, noise_shape=(None, 1, 1, 1, 1), name=f"{name}_stochastic_depth")(y)
    if stride > 1:
        x = layers.AveragePooling3D((1, 3, 3), (1, 2, 2), padding="same", name=f"{name}_skip_pool")(x)
    if stride > 1 or x.shape[-1] != filters:
        x = pointwise(x, filters, name=f"{name}_skip_project")
    return layers.Add(name=f"{name}_add")([y, x])


def convolve(
    x: KerasTensor,
    filters: int,
    kernel_size: tuple[int, int, int],
    strides: int | tuple[int, int, int] = 1,
    *,
    name: str,
    form: Form,
    padding: str = "same",
    groups: int = 1,
) -> KerasTensor:
    """3-D convolution without bias, batch normalization and activation."""
    conv = layers.Conv3D(
        filters,
        kernel_size,
        strides,
        padding=padding,
        groups=groups,
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )
    return activate(layers.BatchNormalization(name=f"{name}_bn")(conv(x)), name=name, form=form)


def pointwise(x: KerasTensor, filters: int, *, name: str) -> KerasTensor:
    """Convolution of one point, which is a dense layer over channels, and batch normalization."""
    dense = layers.Dense(filters, use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv")
    return layers.BatchNormalization(name=f"{name}_bn")(dense(x))


def activate(x: KerasTensor, *, name: str, form: Form) -> KerasTensor:
    """Swish, or its piecewise form, which is cheap on a phone, in the causal network."""
    return layers.Activation("hard_silu" if form.causal else "silu", name=f"{name}_swish")(x)


def pool_clip(x: KerasTensor, *, name: str, form: Form) -> KerasTensor:
    """Mean (B, C) over all points of all frames (B, T, H, W, C), those of earlier chunks included."""
    if form.memory is None:
        return layers.GlobalAveragePooling3D(name=name)(x)
    frames, numbers, total, before = _pool_inputs(x, name, form)
    sums = total + ops.sum(ops.mean(frames, axis=(2, 3), keepdims=True), axis=1, keepdims=True)
    mean = ops.reshape(sums / ops.cast(numbers[:, -1:], sums.dtype), (-1, x.shape[-1]))
    mean, after = Model([frames, numbers, total], [mean, sums], name=name)([x, form.numbers, before])
    form.memory[f"{name}_buffer"] = before, after
    return mean


def _look_around(x, kernel, strides, name, form):
    """Convolve each channel by itself: in space and time at once, or in space and then along the past."""
    (frames, size), channels = kernel, x.shape[-1]
    whole = not form.causal
    space = (frames if whole else 1, size, size)
    x = convolve(x, channels, space, strides, name=f"{name}_feature", form=form, groups=channels)
    if whole or frames == 1:
        return x
    x = _with_past(x, frames - 1, f"{name}_stream_buffer", form)  # (B, frames - 1 + T, H, W, C)
    options = {"form": form, "padding": "valid", "groups": channels}
    return convolve(x, channels, (frames, 1, 1), name=f"{name}_feature_temporal", **options)


def _with_past(x, count, name, form):
    """Put `count` frames in front: the last ones of the chunks before, or zeros before a clip."""
    if form.memory is None:
        return layers.ZeroPadding3D(((count, 0), (0, 0), (0, 0)), name=name)(x)
    past, frames = keras.Input((count, *x.shape[2:])), keras.Input(x.shape[1:])
    joined = ops.concatenate([past, frames], axis=1)
    before = keras.Input(past.shape[1:], name=name)
    update = Model([past, frames], [joined, joined[:, -count:]], name=f"{name}_update")
    x, after = update([before, x])
    form.memory[name] = before, after
    return x


def _squeeze_excite(x, name, form):
    """Multiply each channel by a number between 0 and 1 that depends on the means of all."""
    if form.causal:
        pooled = _means_so_far(x, f"{name}_pool", form)
    else:
        pooled = layers.GlobalAveragePooling3D(keepdims=True, name=f"{name}_pool")(x)  # (B, 1, 1, 1, C)
    hidden = _multiple_of_8(pooled.shape[-1] / 4)
    gate = layers.Dense(hidden, kernel_initializer="he_normal", name=f"{name}_se_reduce")(pooled)
    gate = activate(gate, name=f"{name}_se_reduce", form=form)
    gate = layers.Dense(
        x.shape[-1],
        activation="hard_sigmoid" if form.causal else "sigmoid",
        kernel_initializer="he_normal",
        name=f"{name}_se_expand",
    )(gate)
    return layers.Multiply(name=f"{name}_se")([x, gate])


def _means_so_far(x, name, form):
    """For each frame, the mean of all frames up to it, and its own (B, T, 1, 1, 2C)."""
    frames, numbers, total, before = _pool_inputs(x, name, form)
    means = ops.mean(frames, axis=(2, 3), keepdims=True)
    sums = ops.cumsum(means, axis=1)
    if form.memory is not None:
        sums += total
    pooled = ops.concatenate([sums / ops.cast(numbers, sums.dtype), means], axis=-1)
    if form.memory is None:
        return Model([frames, numbers], pooled, name=name)([x, form.numbers])
    update = Model([frames, numbers, total], [pooled, sums[:, -1:]], name=name)
    pooled, after = update([x, form.numbers, before])
    form.memory[f"{name}_buffer"] = before, after
    return pooled


def _pool_inputs(x, name, form):
    """What a pool with a memory is made of: frames, their numbers, the sum of those before, and its state."""
    total = (1, 1, 1, x.shape[-1])
    return (
        keras.Input(x.shape[1:]),
        keras.Input(form.numbers.shape[1:], dtype="int32"),
        keras.Input(total),
        keras.Input(total, name=f"{name}_buffer"),
    )


def _multiple_of_8(size):
    """The nearest multiple of 8, but not less than 8, nor than 90 % of `size`."""
    nearest = max(8, int(size + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * size else nearest
