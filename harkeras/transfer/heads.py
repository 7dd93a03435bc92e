"""Heads: small models that name the action from the features of a clip's frames.

They stand on a frozen backbone (`harkeras.transfer.features`). With a few hundred clips, the simplest do
best: the mean of each feature over time says what is in the clip, its standard deviation how much it changes,
its mean absolute difference from frame to frame how fast. On these a logistic regression finds the best
weights there are, by a convex problem, in less than a second; they are written into an ordinary dense layer.

An LSTM or temporal convolutions can also tell what came first, and need more clips to learn it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import keras
import numpy as np
from keras import Model, layers, ops
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from harkeras.base.keras_state import seeded

STATISTICS = {
    "mean_std": ("mean", "std"),
    "mean_diff": ("mean", "diff"),
    "mean_std_diff": ("mean", "std", "diff"),
}
HEADS = (*STATISTICS, "lstm", "tcn")
# Those that `train_auto` tries. All statistics go into one head, whose regularization weighs them.
DEFAULT_HEADS = ("mean_std_diff", "lstm", "tcn")
# Of the heads that are trained by gradient descent.
_EPOCHS, _BATCH_SIZE, _LEARNING_RATE, _WEIGHT_DECAY, _SMOOTHING = 20, 32, 2e-3, 1e-2, 0.1


def fewest_frames(name: str) -> int:
    """Return how many frames a head must see: between two, something may differ."""
    return 1 if name == "mean_std" else 2


def create_head(
    name: str, num_classes: int, input_shape: tuple[int, int], *, units: int = 64, dropout: float = 0.5
) -> Model:
    """Build a head, uncompiled, with random weights.

    Args:
        name: "mean_std", "mean_diff", "mean_std_diff": statistics over time and one dense layer; "lstm": a
            bidirectional LSTM, its states weighed by attention; "tcn": dilated temporal convolutions.
        num_classes: Number of actions, at least 2.
        input_shape: Features of a clip (frames, F).
        units: Size of the LSTM's states, or filters of the convolutions; without meaning for statistics.
        dropout: Of the features before and after; without meaning for statistics.

    Returns:
        `keras.Model`: features (B, T, F) -> float32 probabilities (B, num_classes).

    Raises:
        ValueError: If there is no head of that name, there are fewer than 2 classes, or there is only one
            frame for a head other than "mean_std", and nothing differs from frame to frame.
    """
    if name not in HEADS:
        raise ValueError(f"name of a head must be one of {', '.join(HEADS)}, got {name!r}")
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes}")
    fewest = fewest_frames(name)
    if len(input_shape) != 2 or input_shape[0] < fewest:
        raise ValueError(
            f"input_shape must be (at least {fewest} frames, features), got {tuple(input_shape)}"
        )
    features = keras.Input(input_shape, name="features")
    if name in STATISTICS:
        x = _statistics(features, STATISTICS[name])
    else:
        # Frozen, it is a plain standardization with the mean and variance that `fit_head` writes into it.
        standardize = layers.BatchNormalization(center=False, scale=False, epsilon=1e-6, name="standardize")
        standardize.trainable = False
        x = standardize(features, training=False)
        x = layers.Dropout(dropout, name="dropout_in")(x)
        x = layers.Dense(units, name="project")(x)  # (B, T, units)
        x = _lstm(x, units) if name == "lstm" else _tcn(x, units)
        x = layers.Dropout(dropout, name="dropout_out")(x)
    probabilities = layers.Dense(num_classes, activation="softmax", dtype="float32", name="probabilities")(x)
    return Model(features, probabilities, name=name)


def _statistics(features, names):
    """(B, T, F) -> (B, len(names) * F)."""
    made = {
        "mean": lambda x: ops.mean(x, axis=1),
        "std": _std,
        "diff": lambda x: ops.mean(ops.abs(x[:, 1:] - x[:, :-1]), axis=1),
    }
    return layers.Concatenate(name="statistics")([made[name](features) for name in names])


def _std(x):
    """(B, T, F) -> (B, F), with the gradient 0 where nothing changes; that of the root would be infinite."""
    variance = ops.var(x, axis=1)
    moves = variance > 0
    return ops.where(moves, ops.sqrt(ops.where(moves, variance, 1.0)), 0.0)


def _lstm(x, units):
    """(B, T, units) -> (B, 2 * units): the states of a bidirectional LSTM, weighed by attention."""
    states = layers.Bidirectional(layers.LSTM(units, return_sequences=True), name="lstm")(x)
    weights = layers.Softmax(axis=1, name="attention")(layers.Dense(1, name="attention_score")(states))
    return ops.sum(states * weights, axis=1)


def _tcn(x, units):
    """(B, T, units) -> (B, units): each layer looks twice as far in time, and adds to what came in."""
    for dilation in (1, 2, 4):
        y = layers.Conv1D(
            units, 3, padding="same", dilation_rate=dilation, activation="relu", name=f"conv_{dilation}"
        )(x)
        x = layers.Add(name=f"add_{dilation}")([x, y])
    return layers.GlobalAveragePooling1D(name="avgpool")(x)


def fit_head(
    head: Model, features: np.ndarray, labels: np.ndarray, *, strength: float = 10.0, seed: int = 27
) -> Model:
    """Fit a head to clips; it is changed in place.

    Args:
        head: What `create_head` built.
        features: float (N, T, F).
        labels: int (N,), their classes.
        strength: How far the weights of a statistics head may go, the inverse of its regularization, as
            `harkeras.transfer.auto` chooses it. Without meaning for the others, which take a fixed number
            of epochs.
        seed: Seed of the order of clips and the dropout, of heads that are trained by gradient descent.

    Returns:
        The head.

    Raises:
        ValueError: If the features do not fit the head, or the labels name fewer than 2 classes.
    """
    if features.shape[1:] != head.input_shape[1:] or len(features) != len(labels):
        raise ValueError(
            f"features must be (N, {', '.join(map(str, head.input_shape[1:]))}) and as many as labels, got "
            f"{features.shape} and {len(labels)}"
        )
    if len(np.unique(labels)) < 2:
        raise ValueError(f"labels must name at least 2 classes, got {np.unique(labels).tolist()}")
    if head.name in STATISTICS:
        numbers = statistics_of(head, features)
        with threadpool_limits(1):
            ((kernel, bias),) = fit_regressions(numbers, labels, head.output_shape[-1], [strength])
        head.get_layer("probabilities").set_weights([kernel.astype(np.float32), bias.astype(np.float32)])
        return head
    with seeded(seed):  # Keras draws weights, dropout and order from its global generators
        return _train(head, features, labels)


def _train(head, features, labels):
    """Train a head by gradient descent, from new random weights."""
    fresh = keras.models.clone_model(head)
    for mine, theirs in zip(head.variables, fresh.variables, strict=True):  # also the state of the dropout
        mine.assign(theirs)
    head.get_layer("standardize").set_weights([features.mean((0, 1)), features.var((0, 1))])
    if head.compiled:  # fitted before: as new, and nothing has to be traced again
        for variable in head.optimizer.variables:
            variable.assign(np.zeros(variable.shape, variable.dtype))
        head.optimizer.learning_rate = _LEARNING_RATE
    else:
        head.compile(
            keras.optimizers.AdamW(_LEARNING_RATE, weight_decay=_WEIGHT_DECAY),
            keras.losses.CategoricalCrossentropy(label_smoothing=_SMOOTHING),
            jit_compile=False,  # compiling would take longer than training
        )
    targets = keras.utils.to_categorical(labels, head.output_shape[-1])
    head.fit(features, targets, epochs=_EPOCHS, batch_size=_BATCH_SIZE, verbose=0)
    return head


def statistics_of(head: Model, features: np.ndarray) -> np.ndarray:
    """Return the numbers that the dense layer of a statistics head sees: float32 (N, D)."""
    seen = Model(head.input, head.get_layer("statistics").output)
    starts = range(0, len(features), 64)  # called, not `predict`: that would compile what is used once
    return np.concatenate([ops.convert_to_numpy(seen(features[i : i + 64])) for i in starts])


def fit_regressions(
    numbers: np.ndarray, labels: np.ndarray, num_classes: int, strengths: Sequence[float]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Fit logistic regressions to standardized numbers, and return them as softmax layers on the numbers.

    Each strength is divided by how many numbers there are, so that one means the same for any head.

    Args:
        numbers: float (N, D), of the training clips.
        labels: int (N,), their classes.
        num_classes: Number of classes; those without a clip are never named.
        strengths: Inverse of the regularization, for each regression.

    Returns:
        For each strength the kernel (D, num_classes) and the bias (num_classes,), float64.
    """
    scaler = StandardScaler()
    standard = scaler.fit_transform(numbers.astype(np.float64))
    axes = None
    if standard.shape[0] < standard.shape[1]:
        # The best weights are sums of clips: on axes that the clips span, which are fewer, nothing is lost.
        axes = np.linalg.qr(standard.T)[0]  # (D, N)
        standard = standard @ axes
    fitted = []
    for strength in strengths:
        regression = LogisticRegression(C=strength / numbers.shape[1], tol=1e-5, max_iter=1000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the last digits of weights do not matter
            regression.fit(standard, labels)
        weights, offsets = regression.coef_, regression.intercept_
        if len(regression.classes_) == 2:  # one logit, for the second class
            weights, offsets = np.concatenate([-weights, weights]) / 2, np.append(-offsets, offsets) / 2
        kernel, bias = np.zeros((numbers.shape[1], num_classes)), np.full(num_classes, -1e3)
        kernel[:, regression.classes_] = (weights.T if axes is None else axes @ weights.T) / scaler.scale_[
            :, None
        ]
        bias[regression.classes_] = offsets
        fitted.append((kernel, bias - scaler.mean_ @ kernel))
    return fitted


def average_heads(heads: list[Model], places: list[list[slice]], width: int) -> Model:
    """Join heads that look at parts of the same features: the mean of their probabilities.

    Args:
        heads: One or more heads.
        places: For each head, which of the features it looks at, as one or more slices.
        width: How many features there are.

    Returns:
        `keras.Model`: features (B, T, width) -> float32 probabilities (B, classes).
    """
    features = keras.Input((heads[0].input_shape[1], width), name="features")
    outputs = []
    for i, (head, slices) in enumerate(zip(heads, places, strict=True)):
        if head.input_shape[-1] == width:
            seen = features
        else:
            seen = [features[:, :, place] for place in slices]
            seen = seen[0] if len(seen) == 1 else layers.Concatenate(name=f"parts_{i}")(seen)
        copy = keras.models.clone_model(head)  # two heads of a kind must not have one name
        copy.set_weights(head.get_weights())
        copy.name = f"{head.name}_{i}" if len(heads) > 1 else head.name
        outputs.append(copy(seen))
    mean = outputs[0] if len(outputs) == 1 else layers.Average(name="average")(outputs)
    return Model(features, mean, name="head")


def join(encoder: Model, head: Model, *, name: str = "transfer") -> Model:
    """Put a head on the encoder of frames.

    Args:
        encoder: What `harkeras.transfer.features.frame_encoder` built.
        head: Features (B, T, F) -> probabilities (B, classes).
        name: Name of the model.

    Returns:
        `keras.Model`: clips (B, T, H, W, C), 0-255 -> float32 probabilities (B, classes). In a long video
        each frame goes through the encoder once.
    """
    frames, width = head.input_shape[1:]
    clip = keras.Input((frames, *encoder.input_shape[1:]), name="clip")
    x = ops.reshape(clip, (-1, *encoder.input_shape[1:]))  # (B * T, H, W, C): one batch of images
    x = ops.reshape(encoder(x), (-1, frames, width))
    return Model(clip, head(x), name=name)
