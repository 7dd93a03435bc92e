"""Single frame: name the action in each picture alone, and let the pictures vote.

Karpathy et al., "Large-scale Video Classification with Convolutional Neural Networks", CVPR 2014.

The baseline to beat, and often a hard one: a lake betrays the swimming, a horse the riding. The order of the
frames makes no difference, so standing up and sitting down are the same to it. Any picture classifier
becomes one for videos in this way, and on Sports-1M it came within two points of the best fusion in time
(59.3 against 60.9 % of videos). Each frame is classified once however many windows it is in.

Two ways to vote. The average of the probabilities lets a frame that is sure outweigh several in doubt. The
majority counts one voice per frame, however unsure: a backflip that looks like falling in most of its
frames is called falling. A count has no gradient, so in a majority the average votes too, as one more voice
among the frames'. That voice can break a tie and never turns a vote, keeps every probability above 0, and
is what training improves; clips that most frames get wrong count the more in it.

The frame classifier is the paper's, which averages over 20 random places of a video; hence 20 frames. Pixels
and dropout are as described in `_sports1m.py`. Or it is a `backbone` that learned to see from photographs,
with one dense layer on top: then a few hundred clips suffice.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Literal

import keras
from keras import Model, layers, ops

from harkeras.models._sports1m import SMALLEST_FRAME, center_pixels, classify_frames, convolutions
from harkeras.models.backbones import create_backbone
from harkeras.models.blocks import clip_input
from harkeras.models.registry import register


@register("single_frame", paper="Karpathy et al., CVPR 2014")
def create_single_frame_model(
    num_classes: int,
    input_shape: tuple[int, int, int, int] = (20, 170, 170, 3),
    *,
    vote: Literal["average", "majority"] = "average",
    width_multiplier: float = 1.0,
    dropout: float = 0.5,
    backbone: str | None = None,
    weights: str | os.PathLike | None = None,
    trainable: bool = True,
) -> Model:
    """Build the single-frame network, uncompiled, with random weights but for those of `weights`.

    Args:
        num_classes: Number of actions, at least 2.
        input_shape: Clip shape (frames, height, width, channels), at least 22 x 22 pixels, or 32 x 32 for a
            backbone, which takes RGB.
        vote: "average" of the frames' probabilities, or "majority" of their first choices. Both have the same
            weights: `majority.set_weights(average.get_weights())` compares them after one training.
        width_multiplier: Factor for all numbers of filters and units of the paper's network; 0.125 trains on
            a laptop.
        dropout: Share of the units dropped in training: after each of the two dense layers, or of the
            features of a backbone.
        backbone: None for the paper's network, or the name of one that has learned to see, such as
            "mobilenet_v2"; `create_backbone` knows which there are.
        weights: Of the backbone: None for random ones, "imagenet", or the path of a `.weights.h5` file.
        trainable: Whether training changes the backbone; if not, its batch norm also stays as it is.

    Returns:
        `keras.Model`: clips (B, T, H, W, 3), RGB 0-255 -> float32 probabilities (B, num_classes).

    Raises:
        ValueError: If there are fewer than 2 classes, the clip is too small, `vote` is not one of the two,
            `width_multiplier` is not positive, there is no such backbone or the file is not for it, or an
            argument goes with the other kind of network.
        FileNotFoundError, OSError: If there are no such weights, see `image_backbone`.
    """
    if vote not in ("average", "majority"):
        raise ValueError(f"vote must be average or majority, got {vote!r}")
    if backbone is None and (weights is not None or not trainable):
        raise ValueError(f"weights and trainable need a backbone, got {weights!r} and {trainable} without")
    if backbone is not None and width_multiplier != 1:
        raise ValueError(
            f"width_multiplier is of the network without a backbone, got {width_multiplier} and {backbone!r}"
        )
    clip = clip_input(num_classes, input_shape, smallest=SMALLEST_FRAME if backbone is None else 1)
    if backbone is None:
        cnn = partial(convolutions, width_multiplier=width_multiplier)
        x = center_pixels(clip)
        x = classify_frames(x, num_classes, cnn, width_multiplier=width_multiplier, dropout=dropout)
    else:
        cnn = create_backbone(backbone, input_shape[1:], weights=weights)
        cnn.trainable = trainable
        x = cnn(ops.reshape(clip, (-1, *input_shape[1:])))  # (B * T, F): all frames are one batch of images
        x = layers.Dropout(dropout, name="dropout")(x)
        x = layers.Dense(num_classes, activation="softmax", dtype="float32", name="frame_probabilities")(x)
        x = ops.reshape(x, (-1, input_shape[0], num_classes))  # (B, T, num_classes)
    if vote == "average":
        count = layers.GlobalAveragePooling1D(dtype="float32", name="probabilities")
    else:
        count = _majority(*x.shape[1:])
    return Model(clip, count(x), name="single_frame")


def _majority(frames, num_classes):
    """Frames' probabilities (B, T, num_classes) -> shares of T + 1 votes (B, num_classes)."""
    opinions = keras.Input((frames, num_classes), name="opinions")
    choices = ops.one_hot(ops.argmax(opinions, axis=-1), num_classes)  # (B, T, num_classes), no gradient
    shares = (ops.sum(choices, axis=1) + ops.mean(opinions, axis=1)) / (frames + 1)
    return Model(opinions, shares, name="probabilities")
