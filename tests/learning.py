"""Clips that only motion tells apart, and a short training on them, for the tests of the models."""

import keras
import numpy as np


def moving_blocks(frames, size, count=32):
    """Clips of a block that moves right (1) or left (0) from anywhere; no frame alone tells which."""
    rng = np.random.default_rng(27)
    labels = np.arange(count) % 2
    picture = np.zeros((size, size, 3), np.uint8)
    picture[size // 3 : 2 * size // 3, : size // 3] = 255
    starts = rng.integers(size, size=count)
    return np.stack(
        [
            [np.roll(picture, start + (2 * t if label else -2 * t), axis=1) for t in range(frames)]
            for start, label in zip(starts, labels, strict=True)
        ]
    ), labels


def moving_bars(shape, count=8):
    """Clips (count, *shape) of a bar that goes from left to right (1) or back (0), each a bit further
    right."""
    frames, _, width, _ = shape
    clips, labels = np.zeros((count, *shape), np.uint8), np.arange(count) % 2
    step = (width - 4 - count) // (frames - 1)
    for i, label in enumerate(labels):
        for frame in range(frames):
            left = i + step * (frame if label else frames - 1 - frame)
            clips[i, frame, :, left : left + 4] = 255
    return clips, labels


def losses_of(model, clips, labels, *, learning_rate, steps):
    """The loss at each of a few steps; eagerly, because tracing would take longer than the steps."""
    model.compile(keras.optimizers.Adam(learning_rate), "sparse_categorical_crossentropy", run_eagerly=True)
    return [float(model.train_on_batch(clips, labels)) for _ in range(steps)]


def fit(model, clips, labels, *, learning_rate=1e-3, epochs, batch_size=8):
    """Train, and return the loss of the first epoch, and accuracy and loss after the last one."""
    model.compile(
        keras.optimizers.Adam(learning_rate),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,  # compiling would take longer than training
    )
    history = model.fit(clips, labels, batch_size=batch_size, epochs=epochs, verbose=0).history
    loss, accuracy = model.evaluate(clips, labels, verbose=0)
    return history["loss"][0], accuracy, loss
