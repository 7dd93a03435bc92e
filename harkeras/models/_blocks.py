"""What two or more models share."""

from __future__ import annotations

from numbers import Integral

import keras
from keras import layers


def clip_input(num_classes: int, input_shape: tuple[int, ...], *, smallest: int) -> keras.KerasTensor:
    """Check a builder's first two arguments and make the input of a model that classifies clips.

    Args:
        num_classes: Number of actions.
        input_shape: Clip shape (frames, height, width, channels).
        smallest: Least height and width in pixels that the model's convolutions and pools leave something of.

    Returns:
        Symbolic float32 clips (B, T, H, W, 3); uint8 is cast when it comes in.

    Raises:
        ValueError: If there are fewer than 2 classes, or the shape is not that of a clip, or too small.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes}")
    if len(input_shape) != 4 or not all(isinstance(size, Integral) and size > 0 for size in input_shape):
        raise ValueError(
            f"input_shape must be four positive integers (frames, height, width, channels), got {input_shape}"
        )
    if min(input_shape[1:3]) < smallest:
        raise ValueError(
            f"input_shape must be at least {smallest} x {smallest} pixels, got {tuple(input_shape)}"
        )
    return keras.Input(input_shape, name="clip")


def classify(x: keras.KerasTensor, num_classes: int) -> keras.KerasTensor:
    """Features (B, F) -> float32 probabilities (B, num_classes)."""
    return layers.Dense(num_classes, activation="softmax", dtype="float32", name="probabilities")(x)
