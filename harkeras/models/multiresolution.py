"""Multiresolution: the whole picture small, and its middle large, each in a stream of its own.

Karpathy et al., "Large-scale Video Classification with Convolutional Neural Networks", CVPR 2014.

Who films keeps what matters in the middle. So the context stream gets the whole frame at half its height
and width, the fovea stream the middle half in full detail: half as many pixels altogether, and so about half
the work, without loss in the paper (60.0 against 59.3 % of videos with single frames). It fails where the
action is at the edge and small.

Both streams are the CNN of `_sports1m.py` without its last pool, with weights of their own; their 7 x 7 x
256 maps are joined before the first dense layer. How time is handled is another matter: every fusion goes
with it. The frame is halved by averaging 2 x 2 pixels; an odd row or column at the end is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from keras import Model, layers

from harkeras.models._sports1m import SMALLEST_STREAMS, center_pixels, classify_frames, two_streams
from harkeras.models.blocks import classify, clip_input, dense_layers
from harkeras.models.fusion import fuse_early, fuse_late, fuse_slow
from harkeras.models.registry import register

_FRAMES = {"single_frame": 20, "early": 10, "late": 16, "slow": 10}  # as the networks of one stream have it


@register("multiresolution", paper="Karpathy et al., CVPR 2014")
def create_multiresolution_model(
    num_classes: int,
    input_shape: tuple[int, int, int, int] | None = None,
    *,
    fusion: Literal["single_frame", "early", "late", "slow"] = "single_frame",
    distance: int = 15,
    width_multiplier: float = 1.0,
    dropout: float = 0.5,
) -> Model:
    """Build the network of two streams, uncompiled, with random weights.

    Args:
        num_classes: Number of actions, at least 2.
        input_shape: Clip shape (frames, height, width, channels), at least 20 x 20 pixels. By default 178 x
            178 RGB pixels and 20 frames, of early and slow fusion 10, of late fusion 16.
        fusion: "single_frame" averages the frames' probabilities; "early", "late" and "slow" are the fusions.
        distance: Frames between the two that late fusion looks at.
        width_multiplier: Factor for all numbers of filters and units; 0.125 trains on a laptop.
        dropout: Share of the units dropped after each of the two dense layers, in training.

    Returns:
        `keras.Model`: clips (B, T, H, W, 3), RGB 0-255 -> float32 probabilities (B, num_classes).

    Raises:
        ValueError: If there are fewer than 2 classes, the clip is too small or does not have the frames
            that the fusion needs, `fusion` is none of the four, or `width_multiplier` or `distance` is not
            positive.
    """
    if fusion not in _FRAMES:
        raise ValueError(f"fusion must be one of {', '.join(_FRAMES)}, got {fusion!r}")
    if input_shape is None:
        input_shape = (_FRAMES[fusion], 178, 178, 3)
    clip = clip_input(num_classes, input_shape, smallest=SMALLEST_STREAMS)
    x, cnn = center_pixels(clip), partial(two_streams, width_multiplier=width_multiplier)
    if fusion == "single_frame":
        x = classify_frames(x, num_classes, cnn, width_multiplier=width_multiplier, dropout=dropout)
        probabilities = layers.GlobalAveragePooling1D(dtype="float32", name="probabilities")(x)
    else:
        late = partial(fuse_late, distance=distance)
        fusions: dict[str, Callable] = {"early": fuse_early, "late": late, "slow": fuse_slow}
        x = dense_layers(fusions[fusion](x, cnn), width_multiplier=width_multiplier, dropout=dropout)
        probabilities = classify(x, num_classes)
    return Model(clip, probabilities, name="multiresolution")
