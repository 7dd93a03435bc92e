"""Fine-tuning: the last layers of a network that was trained on photographs learn from the clips at hand.

It is the second of two steps. In the first, `train`, the backbone is frozen: a head with random weights would
send senseless gradients through it, and undo what it knows. In the second the last layers are released, which
see large and special things, and follow the head at a smaller learning rate; the first ones, which see edges
and textures, stay (Yosinski et al., "How transferable are features in deep neural networks?", NeurIPS 2014).

Batch normalization stays frozen too: its means are those of a million photographs, and a batch of clips holds
many frames of few places.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real

import keras

from harkeras.data.batches import ClipDataset
from harkeras.data.datasets import Dataset
from harkeras.training.loop import train


def fine_tune(
    model: keras.Model,
    dataset: Dataset | ClipDataset,
    *,
    last_layers: int = 10,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 1e-4,
    backbone_factor: float = 0.1,
    epochs: int = 10,
    patience: int = 3,
    **training,
) -> keras.callbacks.History:
    """Train a model whose head has learned, together with the last layers of its backbone.

    Args:
        model: A model that stands on a backbone, such as `cnn_lstm` or what `auto` made; changed in place.
        dataset: Clips, as for `train`.
        last_layers: How many layers of the backbone to release, of those that have weights; batch
            normalization is never one of them.
        learning_rate: Learning rate of the head, or a schedule of Keras.
        backbone_factor: The learning rate of the backbone is this times that of the head.
        epochs: Passes over the clips, at most.
        patience: Epochs without a better validation loss after which to stop.
        **training: Further arguments of `train`, such as `batch_size`, but for `optimizer`.

    Returns:
        `keras.callbacks.History`. Afterwards the backbone is frozen again, so that `train` would change the
        head alone. Temperature and thresholds of the recipe are gone: what the model says has changed.

    Raises:
        ValueError: If the model has no backbone, a number is out of its range, an optimizer is given, or
            `train` refuses.
        RuntimeError: If the loss is not a number in the first epoch; the model is then as it was.
    """
    if last_layers < 1:
        raise ValueError(f"last_layers must be at least 1, got {last_layers}")
    check_factor(backbone_factor)
    if "optimizer" in training:
        raise ValueError(
            "optimizer must be left out: head and backbone learn at two rates, which are Adam's; set "
            "learning_rate and backbone_factor"
        )
    backbone = find_backbone(model)
    slow = release(backbone, last_layers)
    options = {"epochs": epochs, "patience": patience} | training
    return train_at_two_rates(
        model,
        dataset,
        slow,
        learning_rate=learning_rate,
        factor=backbone_factor,
        frozen_after=backbone[:1],
        **options,
    )


def train_at_two_rates(
    model: keras.Model,
    dataset: Dataset | ClipDataset,
    slow: list[keras.Variable],
    *,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    factor: float,
    frozen_after: Sequence[keras.layers.Layer] = (),
    **training,
) -> keras.callbacks.History:
    """Train some weights at a smaller learning rate than the others; else as `train`.

    Args:
        model: A model; changed in place. Afterwards it is compiled with Adam at the larger rate.
        dataset: Clips, as for `train`.
        slow: The weights to train at the smaller rate.
        learning_rate: Learning rate of the others, or a schedule of Keras.
        factor: The smaller rate is this times the larger, above 0 and at most 1.
        frozen_after: Layers to freeze when training has ended, in whatever way.
        **training: Further arguments of `train`, but for `optimizer`.
    """
    places = {id(weight): place for place, weight in enumerate(model.trainable_variables)}
    optimizer = TwoRates([places[id(weight)] for weight in slow], factor, learning_rate)
    try:
        return train(model, dataset, optimizer=optimizer, **training)
    finally:
        for layer in frozen_after:
            layer.trainable = False
        # In float16, Keras puts it into one that scales the loss.
        if model.compiled and isinstance(
            getattr(model.optimizer, "inner_optimizer", model.optimizer), TwoRates
        ):
            # The saved file must open in Keras alone, which does not know this optimizer.
            model.compile(keras.optimizers.Adam(learning_rate), loss=model.loss, metrics=["accuracy"])
            model.optimizer.build(model.trainable_variables)


def check_factor(backbone_factor: float) -> None:
    """Raise ValueError if the learning rate of the backbone would not lie between 0 and that of the head."""
    if not (isinstance(backbone_factor, Real) and 0 < backbone_factor <= 1):
        raise ValueError(f"backbone_factor must lie in 0 to 1, 0 excluded, got {backbone_factor!r}")


def read_learning_rate(
    optimizer: keras.optimizers.Optimizer | None,
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Return the learning rate, or schedule, of an optimizer that will learn at two rates; 0.001 of None.

    Raises:
        ValueError: If it is another one than Adam, of which alone there is a variant with two rates.
    """
    if optimizer is None:
        return 1e-3
    if type(optimizer) is not keras.optimizers.Adam:
        raise ValueError(
            "optimizer must be keras.optimizers.Adam where head and backbone learn at two rates, got "
            f"{type(optimizer).__name__}"
        )
    rate = optimizer.get_config()["learning_rate"]
    return keras.optimizers.schedules.deserialize(rate) if isinstance(rate, dict) else rate


def find_backbone(model: keras.Model) -> list[keras.Model]:
    """Return the first model among the layers of a model, then what holds most of its weights inside it.

    Raises:
        ValueError: If there is none.
    """
    inside = _models(model)
    if not inside:
        raise ValueError(f"model must stand on a backbone, a model among its layers, got {model.name}")
    found = [inside[0]]
    while parts := [
        each for each in _models(found[-1]) if 2 * each.count_params() > found[-1].count_params()
    ]:
        found.append(parts[0])
    return found


def release(backbone: list[keras.Model], last_layers: int) -> list[keras.Variable]:
    """Make the last layers of what `find_backbone` found trainable, and no others; return their weights."""
    backbone[0].trainable = True  # and all that is inside
    layers = [layer for layer in backbone[-1].layers if layer.weights]
    others = [layer for layer in layers if not isinstance(layer, keras.layers.BatchNormalization)]
    for layer in layers:
        layer.trainable = layer in others[-last_layers:]
    return [weight for layer in others[-last_layers:] for weight in layer.trainable_variables]


def _models(model: keras.Model) -> list[keras.Model]:
    """Return the models with weights among the layers, also those inside a `TimeDistributed`."""
    layers = (getattr(layer, "layer", layer) for layer in model.layers)
    return [layer for layer in layers if isinstance(layer, keras.Model) and layer.weights]


class TwoRates(keras.optimizers.Adam):
    """Adam with a smaller learning rate for some weights.

    Args:
        slow: Places of the weights among those that are trained.
        factor: Their learning rate is this times that of the others.
        learning_rate: That of the others, or a schedule.
        **adam: Further arguments of Adam.
    """

    def __init__(self, slow: Sequence[int], factor: float, learning_rate, **adam):
        """Remember which weights are slow."""
        super().__init__(learning_rate, **adam)
        self.slow, self.factor = sorted(slow), factor

    def update_step(self, gradient, variable, learning_rate):
        """Make a step of Adam for one weight."""
        share = self.factor if self._get_variable_index(variable) in self.slow else 1.0
        super().update_step(gradient, variable, learning_rate * share)

    def get_config(self):
        """Return what makes one training differ from another, for `train` to compare when it goes on."""
        return super().get_config() | {"slow": self.slow, "factor": self.factor}
