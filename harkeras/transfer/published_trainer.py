"""Published networks of videos, put to actions of one's own.

A network that was trained on Kinetics has seen hundreds of thousands of clips, and knows how people move. A
few hundred clips of other actions need not teach it that again: they get a last layer of their own, with
random weights, which learns at the rate of a new layer. All others follow at a tenth of it, so that what the
new layer asks of them at first, when it knows nothing, does little harm (as I3D was put to UCF-101 and
HMDB-51: Carreira and Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017). Batch normalization stays as it
was: its means are those of all those clips, and a batch of four holds few places.

Clips are read as the network saw them when it was trained, in number of frames and size, unless others are
asked for: smaller ones are faster, and further from what it knows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from harkeras.assets.store import find_asset
from harkeras.assets.table import PRETRAINED
from harkeras.data.batches import ClipDataset
from harkeras.data.datasets import Dataset
from harkeras.models.blocks import all_layers
from harkeras.models.registry import count_parameters
from harkeras.pretrained.weights import HEAD_LAYERS, load_weights
from harkeras.recipe import Streams
from harkeras.training.fine_tuning import check_factor, read_learning_rate, train_at_two_rates
from harkeras.training.trainer import NetworkTrainer, Size, complete_shape


class PublishedTrainer(NetworkTrainer):
    """Fine-tunes a published network of videos: the `Trainer` of the models that `list_pretrained` names.

    Args:
        model: One of `list_pretrained()`.
        options: `backbone_factor`: the learning rate of all layers but the last is this times that of the
            last, 0.1 by default; further arguments of the builder, as far as the weights leave a choice.
        input_shape: Clip shape (frames, height, width, 3); that of the published model by default.
        **training: As of `NetworkTrainer`; `optimizer` must be Adam, whose learning rate is that of the last
            layer, 0.001 by default.

    Raises:
        ValueError: If an argument is unknown, settled by the weights, or out of its range.
    """

    def __init__(
        self,
        model: str,
        options: dict[str, Any] | None = None,
        *,
        input_shape: tuple[int, int, int, int] | None = None,
        **training: Any,
    ):
        """Check everything that can be judged without clips and weights."""
        entry, options = PRETRAINED[model], dict(options or {})
        self.weights, self.backbone_factor = entry.weights, options.pop("backbone_factor", 0.1)
        check_factor(self.backbone_factor)
        settled = sorted(options.keys() & dict(entry.options).keys())
        if settled:
            raise ValueError(f"{', '.join(settled)} must be left out for {model}: its weights settle it")
        super().__init__(
            entry.model,
            options | dict(entry.options),
            input_shape=input_shape or (entry.frames, entry.height, entry.width, 3),
            **training,
        )
        if self.clip_format.streams != "rgb":
            raise ValueError(f"input_shape must be (frames, height, width, 3) for {model}, got {input_shape}")
        self.name, self.cache_name = model, f"frames-{model}.npy"
        self.learning_rate = read_learning_rate(self.fitting.pop("optimizer", None))

    @property
    def settings(self) -> dict[str, Any]:
        """All arguments, defaults included."""
        return super().settings | {"backbone_factor": self.backbone_factor}

    @staticmethod
    def read_shape(
        model: str | Callable[[], keras.Model], size: Size, streams: Streams, flow_fields: int | None
    ) -> tuple[tuple[int, int, int, int] | None, dict[str, Any]]:
        """Return the clip shape that a command line asks for, by default that of the published model."""
        entry = PRETRAINED[model]
        if streams != "rgb":
            raise ValueError(f"streams must be 'rgb' for {model}, got {streams!r}")
        return complete_shape(size, (entry.frames, entry.height, entry.width), streams, flow_fields), {}

    def check(self, num_classes: int) -> int:
        """Build the network and load its weights, which may be missing or damaged; count them."""
        return count_parameters(self.build(num_classes))

    def build(self, num_classes: int) -> keras.Model:
        """Build the network, its last layer with random weights, the others with those that were published.

        Raises:
            FileNotFoundError: If the file of weights is missing and cannot be downloaded.
            OSError: If the download fails.
            ValueError: If the file is damaged, or the clips are too small for the network.
        """
        return load_weights(super().build(num_classes), find_asset(self.weights), head=False)

    def fit(self, model: keras.Model, dataset: Dataset | ClipDataset, *, seed: int) -> None:
        """Train the last layer, and all others at a smaller rate."""
        for layer in all_layers(model):
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
        body = (layer for layer in model.layers if layer.name not in HEAD_LAYERS)
        train_at_two_rates(
            model,
            dataset,
            [weight for layer in body for weight in layer.trainable_variables],
            learning_rate=self.learning_rate,
            factor=self.backbone_factor,
            seed=seed,
            **self.fitting,
        )
