"""MoViNet: a network searched for phones, and its twin that takes a video frame by frame.

Kondratyuk et al., "MoViNets: Mobile Video Networks for Efficient Video Recognition", CVPR 2021; layers as in
the authors' code, `official/projects/movinet` of tensorflow/models, whose tables differ from the paper's.

A block widens its channels, looks at each channel by itself over space and time ("depthwise", which costs
about a hundredth of a full 3-D convolution), weighs the channels by what the whole clip holds ("squeeze and
excite"), and narrows them again. What a block adds is multiplied by a number that starts at zero, so that a
new network is a chain of its shortcuts and blocks open one by one. A0 names 72 % of Kinetics-600's clips with
3 million parameters.

The causal form never looks ahead: a convolution along time sees the frame and those before it, and the
pooling of squeeze-excite is the mean of the frames so far. Each frame can thus be computed once, when it
comes, if a few numbers are kept: the last frames that each kernel reaches back to, and sums for the means.
`create_movinet_stream_model` has these states as inputs and outputs, and gives after the last frame what
`causal=True` gives for the whole clip, in constant memory and however the frames were cut into chunks. What
it gains is a video of any length without windows: A0 takes a frame in 17 ms on two cores. What it costs is
that its means forget nothing, so that the states should be set to zero again where an action may begin.

Here convolutions of 1x1x1 are `Dense` layers over channels (the same numbers, faster), the outputs are
probabilities, and one count of frames serves all blocks. Layers are named after those of the authors' code.
"""

from __future__ import annotations

from typing import Literal

import keras
import numpy as np
from keras import Model, layers

from harkeras.models._movinet_blocks import activate, add_block, convolve, make_form, pointwise, pool_clip
from harkeras.models.blocks import classify, clip_input, scaled, speed_up_groups
from harkeras.models.registry import register

_FRAMES = 50
_HEAD = 2048
_STRIDES = (2, 2, 2, 1, 2)  # of the first layer of each block


# Pixels of a frame, and filters of the stem and of what follows the blocks.
_SIZES = {"a0": (172, 8, 480), "a1": (172, 16, 600), "a2": (224, 16, 640)}
# A block is its filters and, for each layer, the channels inside and the frames and pixels of its kernel.
_BLOCKS = {
    "a0": (
        (8, ((24, 1, 5),)),
        (32, ((80, 3, 3),) * 3),
        (56, ((184, 5, 3), (112, 3, 3), (184, 3, 3))),
        (56, ((184, 5, 3), *((184, 3, 3),) * 3)),
        (104, ((384, 5, 3), (280, 1, 5), (280, 1, 5), (344, 1, 5))),
    ),
    "a1": (
        (16, ((40, 1, 5), (40, 3, 3))),
        (40, ((96, 3, 3), (120, 3, 3), (96, 3, 3), (96, 3, 3))),
        (64, ((216, 5, 3), (128, 3, 3), (216, 3, 3), (168, 3, 3), (216, 3, 3))),
        (64, ((216, 5, 3), (216, 3, 3), (216, 3, 3), (128, 3, 3), (128, 1, 5), (216, 3, 3))),
        (136, ((456, 5, 3), *((360, 1, 5),) * 3, (456, 1, 5), (456, 3, 3), (544, 1, 3))),
    ),
    "a2": (
        (16, ((40, 1, 5), (40, 3, 3), (64, 3, 3))),
        (40, ((96, 3, 3), (120, 3, 3), (96, 3, 3), (96, 3, 3), (120, 3, 3))),
        (72, ((240, 5, 3), (160, 3, 3), (240, 3, 3), (192, 3, 3), (240, 3, 3))),
        (72, ((240, 5, 3), *((240, 3, 3),) * 3, (144, 1, 5), (240, 3, 3))),
        (144, ((480, 5, 3), *((384, 1, 5),) * 2, *((480, 1, 5),) * 2, (480, 3, 3), (576, 1, 3))),
    ),
}


@register("movinet", paper="Kondratyuk et al., CVPR 2021")
def create_movinet_model(
    num_classes: int,
    input_shape: tuple[int, int, int, int] | None = None,
    *,
    variant: Literal["a0", "a1", "a2"] = "a0",
    causal: bool = False,
    width_multiplier: float = 1.0,
    dropout: float = 0.5,
    stochastic_depth: float = 0.2,
) -> Model:
    """Build MoViNet for whole clips, uncompiled, with random weights.

    Args:
        num_classes: Number of actions, at least 2.
        input_shape: Clip shape (frames, height, width, channels), of any size. By default that of the source,
            50 x 172 x 172 x 3, or 50 x 224 x 224 x 3 for A2.
        variant: "a0", "a1" or "a2", from small to large.
        causal: Whether no frame looks at later ones. These are the weights that a stream can use, and the
            layers of the source's stream: convolutions split into space and time, piecewise linear
            activations, and squeeze-excite that also sees the frame itself.
        width_multiplier: Factor for all numbers of filters.
        dropout: Share of features dropped before the last layer, in training; the source has 0.2 for A0.
        stochastic_depth: Share of clips for which the last block adds nothing, in training; proportionally
            less in the blocks before it.

    Returns:
        `keras.Model`: clips (B, T, H, W, 3), RGB 0-255 -> float32 probabilities (B, num_classes).

    Raises:
        ValueError: If there are fewer than 2 classes or no such variant, `input_shape` is not that of a clip,
            or `width_multiplier` is not positive.
    """
    usual_shape = _usual_shape(variant)
    clip = clip_input(num_classes, input_shape or usual_shape)
    output = _network(clip, num_classes, variant, width_multiplier, causal, None, dropout, stochastic_depth)
    return speed_up_groups(Model(clip, output, name="movinet"))


def create_movinet_stream_model(
    num_classes: int,
    input_shape: tuple[int | None, int, int, int] | None = None,
    *,
    variant: Literal["a0", "a1", "a2"] = "a0",
    width_multiplier: float = 1.0,
) -> Model:
    """Build the causal MoViNet that takes a video chunk by chunk and hands its memory on; for prediction.

    Its weights are those of `create_movinet_model(..., causal=True)`, in the same order.

    Args:
        num_classes: Number of actions, at least 2.
        input_shape: Chunk shape (frames, height, width, channels); frames may be None, for chunks of any
            length, and is by default.
        variant: "a0", "a1" or "a2".
        width_multiplier: Factor for all numbers of filters.

    Returns:
        `keras.Model`: a dictionary of "clip", frames (B, T, H, W, 3), RGB 0-255, and the states ->
        a dictionary of "probabilities" (B, num_classes), of the video so far, and the new states.

    Raises:
        ValueError: As `create_movinet_model`.

    Example:
        >>> stream = create_movinet_stream_model(5)
        >>> stream.set_weights(causal_model.get_weights())
        >>> states = create_movinet_states(stream)
        >>> for frame in frames:  # uint8 RGB (172, 172, 3)
        ...     states = stream.predict_on_batch({"clip": frame[None, None], **states})
        ...     print(states.pop("probabilities"))  # (1, 5), of the video so far
    """
    usual_shape = _usual_shape(variant)
    frames, *frame = input_shape or (None, *usual_shape[1:])
    clip = clip_input(num_classes, (1 if frames is None else frames, *frame))  # checks numbers alone
    if frames is None:
        clip = keras.Input((None, *frame), name="clip")
    memory: dict[str, tuple] = {}
    output = _network(clip, num_classes, variant, width_multiplier, True, memory, 0, 0)
    before = {name: state for name, (state, _) in memory.items()}
    after = {name: state for name, (_, state) in memory.items()}
    model = Model({"clip": clip, **before}, {"probabilities": output, **after}, name="movinet_stream")
    return speed_up_groups(model)


def create_movinet_states(model: Model, batch_size: int = 1) -> dict[str, np.ndarray]:
    """Make the states of a stream that has seen nothing yet.

    Args:
        model: What `create_movinet_stream_model` built, or what was loaded from its file.
        batch_size: How many videos go through it side by side.

    Returns:
        Name of each state -> zeros (batch_size, ...).
    """
    states = {name: state for name, state in model.input.items() if name != "clip"}
    return {name: np.zeros((batch_size, *s.shape[1:]), s.dtype) for name, s in states.items()}


def is_stream_model(model: Model) -> bool:
    """Whether a model takes a chunk and states, and gives probabilities and states."""
    if len(getattr(model, "inputs", None) or []) < 2:
        return False
    both = isinstance(model.input, dict) and isinstance(model.output, dict)
    return both and "clip" in model.input and "probabilities" in model.output


def _usual_shape(variant):
    if variant not in _SIZES:
        raise ValueError(f"variant must be a0, a1 or a2, got {variant!r}")
    pixels = _SIZES[variant][0]
    return _FRAMES, pixels, pixels, 3


def _network(clip, num_classes, variant, width_multiplier, causal, memory, dropout, stochastic_depth):
    """Clips (B, T, H, W, 3) -> probabilities (B, num_classes); `memory` is filled with a stream's states."""
    (_, stem, project), blocks = _SIZES[variant], _BLOCKS[variant]
    x = layers.Rescaling(1 / 255, name="rescale")(clip)  # (B, T, H, W, 3) in [0, 1]
    form = make_form(x, causal, memory)
    x = convolve(x, scaled(stem, width_multiplier), (1, 3, 3), (1, 2, 2), name="stem", form=form)
    depth, count = 0, sum(len(inner) for _, inner in blocks)
    for i, (filters, inner) in enumerate(
        blocks
    ):  # from (B, T, H/2, W/2, stem) to (B, T, H/32, W/32, filters)
        for j, (expansion, *kernel) in enumerate(inner):
            depth += 1
            x = add_block(
                x,
                scaled(filters, width_multiplier),
                scaled(expansion, width_multiplier),
                kernel,
                _STRIDES[i] if j == 0 else 1,
                stochastic_depth * depth / count,
                name=f"block{i}_layer{j}",
                form=form,
            )
    x = pointwise(x, scaled(project, width_multiplier), name="head_project")
    x = pool_clip(activate(x, name="head_project", form=form), name="head_pool", form=form)  # (B, project)
    units, initializer = scaled(_HEAD, width_multiplier), "he_normal"
    x = layers.Dense(units, activation="silu", kernel_initializer=initializer, name="head_dense")(x)
    if dropout:
        x = layers.Dropout(dropout, name="head_dropout")(x)
    return classify(x, num_classes)
