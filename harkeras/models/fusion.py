"""Early, late and slow fusion: one CNN for frames, and three places where time can enter it.

Karpathy et al., "Large-scale Video Classification with Convolutional Neural Networks", CVPR 2014.

- Early: the first filters reach over all frames, 11 x 11 x 3 x T. They can see the direction and speed of an
  edge at once, and nothing after them knows of time. Cheap: it costs little more than one frame.
- Late: two frames, half a second apart, go through the same CNN, and the first dense layer compares what came
  out. It sees what has changed in the large, not how. The tutorials call late fusion what merges the frames'
  predictions instead; `merge="predictions"` builds this.
- Slow: the first three convolutions each reach over a few frames and merge them by and by: 10 frames, then
  4, 2 and 1. Deeper layers see longer motions. Best of the three, and the slowest: this is a 3-D CNN in its
  youth.

On Sports-1M the gain was modest: of the videos, 59.3 % are named by single frames, 57.7 by early, 59.3 by
late, 60.9 by slow fusion, 63.9 by the average of all four. Motion needs more than stacked frames.

The paper's frames are consecutive; here they are as far apart as the clips are sampled. Pixels, edges and
dropout are as described in `_sports1m.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from keras import KerasTensor, Model, layers

from harkeras.models._sports1m import SMALLEST_FRAME, center_pixels, classify_frames, convolutions
from harkeras.models.blocks import classify, clip_input, dense_layers
from harkeras.models.registry import register


@register("early_fusion", paper="Karpathy et al., CVPR 2014")
def create_early_fusion_model(
    num_classes: int,
    input_shape: tuple[int, int, int, int] = (10, 170, 170, 3),
    *,
    width_multiplier: float = 1.0,
    dropout: float = 0.5,
) -> Model:
    """Build the early fusion network, uncompiled, with random weights.

    Args:
        num_classes: Number of actions, at least 2.
        input_shape: Clip shape (frames, height, width, channels), at least 2 frames of 22 x 22 pixels. The
            first filters reach over all frames.
        width_multiplier: Factor for all numbers of filters and units; 0.125 trains on a laptop.
        dropout: Share of the units dropped after each of the two dense layers, in training.

    Returns:
        `keras.Model`: clips (B, T, H, W, 3), RGB 0-255 -> float32 probabilities (B, num_classes).

    Raises:
        ValueError: If there are fewer than 2 classes, the clip is too small or of one frame, or
            `width_multiplier` is not positive.
    """
    clip = clip_input(num_classes, input_shape, smallest=SMALLEST_FRAME)
    x = fuse_early(center_pixels(clip), partial(convolutions, width_multiplier=width_multiplier))
    x = dense_layers(x, width_multiplier=width_multiplier, dropout=dropout)
    return Model(clip, classify(x, num_classes), name="early_fusion")


@register("late_fusion", paper="Karpathy et al., CVPR 2014")
def create_late_fusion_model(
    num_classes: int,
    input_shape: tuple[int, int, int, int] = (16, 170, 170, 3),
    *,
    merge: Literal["features", "predictions"] = "features",
    distance: int = 15,
    width_multiplier: float = 1.0,
    dropout: float = 0.5,
) -> Model:
    """Build the late fusion network, uncompiled, with random weights.

    Args:
        num_classes: Number of actions, at least 2.
        input_shape: Clip shape (frames, height, width, channels), at least 22 x 22 pixels.
        merge: "features" joins the maps of two frames in the first dense layer, as in the paper;
            "predictions" classifies every frame and has a last dense layer weigh up the results.
        distance: Frames from the first to the second of the two, which stand in the middle of the clip; no
            other is looked at. (2, height, width, 3) with a distance of 1 is the same network shown only
            those two. Ignored if predictions are merged.
        width_multiplier: Factor for all numbers of filters and units; 0.125 trains on a laptop.
        dropout: Share of the units dropped after each of the two dense layers, in training.

    Returns:
        `keras.Model`: clips (B, T, H, W, 3), RGB 0-255 -> float32 probabilities (B, num_classes).

    Raises:
        ValueError: If there are fewer than 2 classes, the clip is too small, too short for `distance`,
            `merge` is not one of the two, or `width_multiplier` or `distance` is not positive.
    """
    if merge not in ("features", "predictions"):
        raise ValueError(f"merge must be features or predictions, got {merge!r}")
    clip = clip_input(num_classes, input_shape, smallest=SMALLEST_FRAME)
    x, cnn = center_pixels(clip), partial(convolutions, width_multiplier=width_multiplier)
    if merge == "features":
        x = dense_layers(fuse_late(x, cnn, distance), width_multiplier=width_multiplier, dropout=dropout)
    else:
        x = classify_frames(x, num_classes, cnn, width_multiplier=width_multiplier, dropout=dropout)
        x = layers.Flatten(name="flatten")(x)  # each class at each time has a weight of its own
    return Model(clip, classify(x, num_classes), name="late_fusion")


@register("slow_fusion", paper="Karpathy et al., CVPR 2014")
def create_slow_fusion_model(
    num_classes: int,
    input_shape: tuple[int, int, int, int] = (10, 170, 170, 3),
    *,
    width_multiplier: float = 1.0,
    dropout: float = 0.5,
) -> Model:
    """Build the slow fusion network, uncompiled, with random weights.

    All is as in `create_early_fusion_model`, but a clip has 10 frames, or 18, 26 and so on: these leave 2, 3,
    ... steps in time to the dense layers.

    Raises:
        ValueError: As there, and if the clip is of another number of frames.
    """
    clip = clip_input(num_classes, input_shape, smallest=SMALLEST_FRAME)
    x = fuse_slow(center_pixels(clip), partial(convolutions, width_multiplier=width_multiplier))
    x = dense_layers(x, width_multiplier=width_multiplier, dropout=dropout)
    return Model(clip, classify(x, num_classes), name="slow_fusion")


def fuse_early(x: KerasTensor, cnn: Callable[[tuple[int, ...]], Model]) -> KerasTensor:
    """Clips (B, T, H, W, C) -> maps (B, H', W', F), through the model that `cnn` builds for a shape."""
    frames, height, width, channels = x.shape[1:]
    if frames < 2:
        raise ValueError(f"input_shape must have at least 2 frames for early fusion, got {frames}")
    x = layers.Permute((2, 3, 1, 4), name="time_last")(x)  # (B, H, W, T, C)
    # As channels: a 2-D convolution of T * C channels is the 3-D one over T frames, and faster.
    x = layers.Reshape((height, width, frames * channels), name="stack")(x)
    return cnn(x.shape[1:])(x)


def fuse_late(x: KerasTensor, cnn: Callable[[tuple[int, ...]], Model], distance: int) -> KerasTensor:
    """Clips (B, T, H, W, C) -> maps (B, 2, H', W', F) of two frames, through the same weights."""
    frames = x.shape[1]
    if distance < 1:
        raise ValueError(f"distance must be at least 1, got {distance}")
    if frames <= distance:
        raise ValueError(
            f"input_shape must have at least {distance + 1} frames for a distance of {distance}, got {frames}"
        )
    if frames > 2:
        first = (frames - 1 - distance) // 2
        x = x[:, first : first + distance + 1 : distance]  # (B, 2, H, W, C)
    return layers.TimeDistributed(cnn(x.shape[2:]), name="towers")(x)


def fuse_slow(x: KerasTensor, cnn: Callable[[tuple[int, ...]], Model]) -> KerasTensor:
    """Clips (B, T, H, W, C) -> maps (B, T', H', W', F), T' = 1 of 10 frames."""
    frames = x.shape[1]
    if frames < 10 or frames % 8 != 2:  # else the strides in time would leave out the last frames
        raise ValueError(f"input_shape must have 10, 18, 26, ... frames for slow fusion, got {frames}")
    return cnn(x.shape[1:])(x)
