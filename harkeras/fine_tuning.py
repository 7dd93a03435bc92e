"""Fine-tuning: the last layers of a network that was trained on photographs learn from the clips at hand.

It is the second of two steps. In the first, `train`, the backbone is frozen: a head with random weights would
send senseless gradients through it, and undo what it knows. In the second the last layers are released, which
see large and special things, and follow the head at a smaller learning rate; the first ones, which see edges
and textures, stay (Yosinski et al., "How transferable are features in deep neural networks?", NeurIPS 2014).

Batch normalization stays frozen too: its means are those of a million photographs, and a batch of clips holds
many frames of few places.
"""

from __future__ import annotations

import keras
import numpy as np

from harkeras.batches import ClipDataset
from harkeras.schedules import Schedule
from harkeras.training import train


def fine_tune(
    model: keras.Model,
    features: np.ndarray | ClipDataset,
    labels: np.ndarray | None = None,
    *,
    last_layers: int = 10,
    learning_rate: float | Schedule = 1e-4,
    backbone_factor: float = 0.1,
    epochs: int = 10,
    patience: int = 3,
    **training,
) -> keras.callbacks.History:
    """Train a model whose head has learnt, together with the last layers of its backbone.

    Args:
        model: A model that stands on a backbone, such as `cnn_lstm` or what `auto` made; changed in place.
        features: Clips, as for `train`.
        labels: int (N,), their classes.
        last_layers: How many layers of the backbone to release, of those that have weights; batch
            normalization is never one of them.
        learning_rate: Learning rate of the head, or a schedule.
        backbone_factor: The learning rate of the backbone is this times that of the head.
        epochs: Passes over the clips, at most.
        patience: Epochs without a better validation loss after which to stop.
        **training: Further arguments of `train`, such as `classes`, `groups` and `augment`.

    Returns:
        `keras.callbacks.History`

    Raises:
        ValueError: If the model has no backbone, a number is out of its range, or `train` refuses.
    """
    if last_layers < 1:
        raise ValueError(f"last_layers must be at least 1, got {last_layers}")
    if not 0 < backbone_factor <= 1:
        raise ValueError(f"backbone_factor must lie in 0 to 1, 0 excluded, got {backbone_factor}")
    optimizer = TwoRates(release(model, last_layers), backbone_factor)
    options = {"epochs": epochs, "patience": patience, "learning_rate": learning_rate, **training}
    history = train(model, features, labels, optimizer=optimizer, **options)
    # The saved file must open in Keras alone, which does not know this optimizer.
    model.compile("adam", loss=model.loss, metrics=["accuracy"])
    model.optimizer.build(model.trainable_variables)
    return history


def release(model: keras.Model, last_layers: int) -> list[keras.Variable]:
    """Make the last layers of a model's backbone trainable, and no others of it; return their weights.

    Raises:
        ValueError: If no other model is among the layers.
    """
    networks = [model]
    while inside := [layer for layer in map(_unwrap, networks[-1].layers) if isinstance(layer, keras.Model)]:
        largest = max(inside, key=lambda network: network.count_params())
        if 2 * largest.count_params() < networks[-1].count_params() and len(networks) > 1:
            break  # a part of the backbone
        networks.append(largest)
    if len(networks) == 1:
        raise ValueError(f"model must stand on a backbone, a model among its layers, got {model.name}")
    networks[1].trainable = True  # and all inside it; the head stays as it is
    layers = [layer for layer in networks[-1].layers if layer.weights]
    released = [each for each in layers if not isinstance(each, keras.layers.BatchNormalization)][
        -last_layers:
    ]
    for layer in layers:
        layer.trainable = layer in released
    return [weight for layer in released for weight in layer.trainable_variables]


def _unwrap(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Return what is inside a `TimeDistributed`."""
    return getattr(layer, "layer", layer)


class TwoRates(keras.optimizers.Adam):
    """Adam with a smaller learning rate for some weights.

    Args:
        slow: The weights.
        factor: Their learning rate is this times that of the others.
    """

    def __init__(self, slow: list[keras.Variable], factor: float):
        """Start with Adam's own learning rate."""
        super().__init__()
        self.slow, self.factor = {id(weight) for weight in slow}, factor

    def update_step(self, gradient, variable, learning_rate):
        """Make a step of Adam for one weight."""
        weight = self._trainable_variables[self._get_variable_index(variable)]
        share = self.factor if id(weight) in self.slow else 1.0
        super().update_step(gradient, variable, learning_rate * share)

    def get_config(self):
        """Return what makes one training differ from another, for `train` to compare when it goes on."""
        return super().get_config() | {"slow": len(self.slow), "factor": self.factor}
