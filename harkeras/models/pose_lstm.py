"""Pose LSTM: name the action from the joints alone, without a look at the picture.

Yang et al., "Make Skeleton-based Action Recognition Model Smaller, Faster and Better" (DD-Net), MMAsia 2019.

Joints are what is left of a person when room, light and clothes are taken away: 30 numbers per frame instead
of a picture. A small network learns from a few hundred clips what would take pictures many thousands, and no
room can betray the action. What it gains in data it loses in sight: the glass being poured is not there, and
it is no better than the program that finds the joints.

Where the person stands and how near to the camera says nothing, so the model first subtracts the body's
center and divides by its size. Both are measured inside the model: it takes joints in pixels or in metres
alike. (Shares of a picture's width and height will do too, but squeeze the body, so then all videos should
have one shape.) Four views of the same body follow:

- pose: each joint as seen from the body's center in its frame, and the way of that center through the clip;
- distances between all pairs of joints, which do not change when the camera is tilted;
- slow motion: how far each joint moves until the next frame;
- fast motion: how far it moves in two frames.

Each view is embedded by a few convolutions; then `form="lstm"` reads their sequence in both directions, and
`form="conv"` convolves along time, as DD-Net does.

Distances, motion and embeddings are DD-Net's. Here pose is a view of its own, "fast" is measured at every
frame and not at every other, two pairs of convolutions follow and not three, the summary is the average over
time and not the maximum, and goes through one dense layer and not two. The LSTM is ours. A joint that is
missing stands in the body's center, at no distance from others and without motion.
"""

from __future__ import annotations

from numbers import Integral
from typing import Literal

import keras
import numpy as np
from keras import Model, layers, ops

from harkeras.models.blocks import check_num_classes, classify
from harkeras.models.registry import register


@register("pose_lstm", paper="Yang et al., MMAsia 2019")
def create_pose_lstm_model(
    num_classes: int,
    input_shape: tuple[int, int, int] = (32, 15, 2),
    *,
    form: Literal["lstm", "conv"] = "lstm",
    filters: int = 32,
    units: int = 64,
    dropout: float = 0.5,
    spatial_dropout: float = 0.1,
) -> Model:
    """Build a classifier of moving joints, uncompiled, with random weights.

    Args:
        num_classes: Number of actions, at least 2.
        input_shape: Shape (frames, joints, 2 or 3): x and y of each joint, in any unit, and perhaps a score.
            A joint is missing where its score is 0; without scores, where x and y are both exactly 0, as
            OpenPose and COCO write it.
        form: "lstm" (in both directions) or "conv": what reads the sequence of embedded frames.
        filters: Filters of the convolutions that embed each view.
        units: Size of the LSTM's state in each direction; or filters of the first two convolutions along
            time, half as many as of the next two.
        dropout: Share of the summary dropped before the last layer, in training.
        spatial_dropout: Share of the features dropped for all frames of a clip, in training.

    Returns:
        `keras.Model`: keypoints (B, T, K, 2 or 3) -> float32 probabilities (B, num_classes).

    Raises:
        ValueError: If there are fewer than 2 classes, the shape is not that of keypoints, or `form` is not
            one of the two.
    """
    if form not in ("lstm", "conv"):
        raise ValueError(f"form must be lstm or conv, got {form!r}")
    keypoints = _keypoints_input(num_classes, input_shape)
    embedded = [_embed(view, filters, spatial_dropout, name=name) for name, view in _views(keypoints).items()]
    x = layers.Concatenate(name="views")(embedded)  # (B, T / 2, 4 * filters)
    if form == "lstm":
        lstm = layers.LSTM(units, return_sequences=True, name="lstm")
        x = layers.Bidirectional(lstm, name="both_directions")(x)  # (B, T / 2, 2 * units)
    else:
        x = _convolve(x, units, spatial_dropout)  # (B, T / 8, 2 * units)
    x = layers.GlobalAveragePooling1D(name="average")(x)  # (B, 2 * units)
    x = layers.Dense(2 * units, use_bias=False, name="summary")(x)
    x = layers.Dropout(dropout, name="dropout")(_activate(x, name="summary"))
    return Model(keypoints, classify(x, num_classes), name="pose_lstm")


def _keypoints_input(num_classes, input_shape):
    """Check a builder's first two arguments and make its input."""
    check_num_classes(num_classes)
    if (
        len(input_shape) != 3
        or not all(isinstance(size, Integral) for size in input_shape)
        or min(input_shape) < 2
        or input_shape[2] > 3
    ):
        raise ValueError(
            "input_shape must be (frames, joints, 2 or 3), at least 2 frames and 2 joints, "
            f"got {tuple(input_shape)}; joints are found in videos with streams='pose' (--streams pose)"
        )
    return keras.Input(input_shape, name="keypoints")


def _views(keypoints):
    """Keypoints (B, T, K, 2 or 3) -> views (B, T, F) that stay the same when the body is moved or scaled."""
    frames, joints, channels = keypoints.shape[1:]
    xy, scores = keypoints[..., :2], keypoints[..., 2:]
    present = scores > 0 if channels == 3 else ops.any(xy != 0, axis=-1, keepdims=True)
    present = ops.cast(present, xy.dtype)  # (B, T, K, 1)
    seen = ops.max(present, axis=2, keepdims=True)  # (B, T, 1, 1): 0 where nobody is in the frame
    center = _mean(xy, present, axis=2)  # (B, T, 1, 2)
    pose = (xy - center) * present  # (B, T, K, 2)
    area = _mean(ops.sum(pose**2, axis=-1, keepdims=True), present, axis=(1, 2))  # (B, 1, 1, 1)
    size = ops.sqrt(area + 1e-12)  # root mean square distance of joints from the center, one for a clip
    pose = pose / size
    way = (center - _mean(center, seen, axis=1)) * seen / size  # (B, T, 1, 2)
    whole = (pose + way) * present  # (B, T, K, 2): from the center of the clip, not of the frame

    i, j = np.triu_indices(joints, 1)
    between = ops.take(pose, i, axis=2) - ops.take(pose, j, axis=2)  # (B, T, K * (K - 1) / 2, 2)
    both = ops.take(present, i, axis=2) * ops.take(present, j, axis=2)
    distances = ops.sqrt(ops.sum(between**2, axis=-1, keepdims=True) + 1e-6) * both
    parts = [pose, way] if channels == 2 else [pose, way, ops.clip(scores, 0, 1)]
    return {
        "pose": ops.concatenate([_flatten(part) for part in parts], axis=-1),
        "distances": _flatten(distances),
        "slow": _flatten(_motion(whole, present, 1)),
        "fast": _flatten(_motion(whole, present, min(2, frames - 1))),
    }


def _mean(values, weights, axis):
    """Mean of what is present; 0 where nothing is."""
    total = ops.sum(weights, axis=axis, keepdims=True)
    return ops.sum(values * weights, axis=axis, keepdims=True) / ops.maximum(total, 1)


def _motion(whole, present, step):
    """Speed over the next `step` frames, body sizes per clip; 0 at the end, and where a joint is missing."""
    moved = (whole[:, step:] - whole[:, :-step]) * present[:, step:] * present[:, :-step]
    speed = moved * (whole.shape[1] / step)
    return ops.pad(speed, ((0, 0), (0, step), (0, 0), (0, 0)))


def _flatten(x):
    """(B, T, K, C) -> (B, T, K * C)."""
    return ops.reshape(x, (-1, x.shape[1], x.shape[2] * x.shape[3]))


def _embed(x, filters, dropout, *, name):
    """One view (B, T, F) -> (B, T / 2, filters)."""
    for i, kernel_size in enumerate((1, 3, 1), start=1):
        x = _convolution(x, filters, kernel_size, name=f"{name}{i}")
        if i == 3:
            x = layers.MaxPooling1D(2, padding="same", name=f"{name}_pool")(x)
        x = layers.SpatialDropout1D(dropout, name=f"{name}{i}_dropout")(x)
    return x


def _convolve(x, filters, dropout):
    """Embedded frames (B, T, F) -> (B, T / 4, 2 * filters)."""
    for i, factor in enumerate((1, 2), start=1):
        for part in "ab":
            x = _convolution(x, factor * filters, 3, name=f"time{i}{part}")
        x = layers.MaxPooling1D(2, padding="same", name=f"time{i}_pool")(x)
        x = layers.SpatialDropout1D(dropout, name=f"time{i}_dropout")(x)
    return x


def _convolution(x, filters, kernel_size, *, name):
    """Convolve along time, without bias because the normalization has one."""
    x = layers.Conv1D(filters, kernel_size, padding="same", use_bias=False, name=name)(x)
    return _activate(x, name=name)


def _activate(x, *, name):
    """Batch normalization and a leaky ReLU, as after every layer of DD-Net."""
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
    return layers.LeakyReLU(negative_slope=0.2, name=f"{name}_relu")(x)
