"""What is trained: something that takes a data set and gives a model with its recipe.

`NetworkTrainer` trains a network from end to end; `harkeras.transfer.auto` has another one. Cross-validation,
comparison and `train_on_folder` know only what they have in common, the `Trainer`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import keras

from harkeras.assets.table import PRETRAINED
from harkeras.base.configs import keyword_defaults
from harkeras.base.keras_state import seeded
from harkeras.data.batches import ClipDataset
from harkeras.data.datasets import Dataset
from harkeras.data.folders import ClipFolder
from harkeras.data.loading import load_folder
from harkeras.data.presentation import Presentation
from harkeras.models.registry import check_options as check_model_options
from harkeras.models.registry import count_parameters, create_model, describe_unknown, list_models, no_weights
from harkeras.people.pose import ensure_estimator
from harkeras.recipe import ClipFormat, FlowMethod, Streams, Subject, count_channels
from harkeras.training._copies import take_back
from harkeras.training.loop import BATCH_SIZE, check_options, train
from harkeras.training.precision import in_single_precision, mixed_precision

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PRESENTATION = tuple(Presentation.__dataclass_fields__)


_POSE_FRAMES = 32  # of a clip of joints, which takes next to no memory
# Frames, height and width, None where nobody said.
Size = tuple[int | None, int | None, int | None]


def complete_shape(
    size: Size, defaults: tuple[int, int, int], streams: Streams, flow_fields: int | None
) -> tuple[int, ...]:
    """Return frames, height, width and channels, or, of "pose", frames, joints and their 3 numbers.

    Raises:
        ValueError: If `flow_fields` is given where there is no flow, or height or width where there are
            joints.
    """
    if flow_fields is not None and "flow" not in streams:
        raise ValueError(f"flow_fields is for streams with optical flow, got {flow_fields} for {streams!r}")
    if streams == "pose":
        if size[1:] != (None, None):
            raise ValueError(f"height and width are for frames, got {size[1:]} for streams 'pose'")
        return ClipFormat(_POSE_FRAMES if size[0] is None else size[0], streams="pose").shape
    frames, height, width = (
        default if value is None else value for value, default in zip(size, defaults, strict=True)
    )
    return frames, height, width, count_channels(streams, 10 if flow_fields is None else flow_fields)


@dataclass(frozen=True)
class Training:
    """What a training left.

    Attributes:
        model: The model, with its recipe.
        history: The epochs, where there were any.
        interrupted: Whether Ctrl-C ended it early; the model is the best so far.
    """

    model: keras.Model
    history: keras.callbacks.History | None = None
    interrupted: bool = False

    def explain(self, accuracy: float, interval: tuple[float, float]) -> str:
        """Say how it went, for a report that has the accuracy on test clips and its interval."""
        epochs = len(self.history.epoch)
        end = ", when it was interrupted" if self.interrupted else ""
        return f"trained for {epochs} epoch{'' if epochs == 1 else 's'}{end}"

    def details(self) -> dict[str, Any]:
        """Return what else is known of the training, as JSON can hold it: text, numbers, lists, mappings."""
        return {}

    def figures(self) -> dict[str, Figure]:
        """Return pictures of the training beside its curves, by a name that a file may have."""
        return {}


class Trainer(Protocol):
    """What cross-validation, comparison and `train_on_folder` know of a way to train.

    Attributes:
        name: Of the model, for tables and reports.
        takes_settings: Whether clips, their flow and the training are for the caller to settle, or chosen by
            the trainer itself.
        cache_name: What the `cache` of `read` is called in a folder that several trainers share.
        fallback: The model to train instead where weights cannot be had; None for none.
        settings: All that was asked for, and what is usual of the rest, by the names of arguments.
    """

    name: str
    takes_settings: ClassVar[bool]
    cache_name: ClassVar[str]
    fallback: str | None
    settings: dict[str, Any]

    def check(self, num_classes: int) -> int:
        """Refuse before the long work what cannot work out; return how many parameters will be trained."""

    def read(
        self, folder: ClipFolder, *, cache: str | os.PathLike | None = None, workers: int | None = None
    ) -> Dataset:
        """Read from the clips of a folder what the model looks at; `cache` names where to keep it."""

    def train(self, dataset: Dataset, *, seed: int) -> Training:
        """Train a new model."""


class NetworkTrainer:
    """Trains a network from end to end.

    Args:
        model: One of `list_models()`, or a function without arguments that builds an uncompiled model.
        options: Further arguments of the builder.
        input_shape: Clip shape (frames, height, width, channels): 3 channels are RGB, 1 is gray, 2L are L
            fields of flow, 3 + 2L are RGB and flow. By default (20, 64, 64, 3). Or (frames, 17, 3), of the
            joints of a person.
        flow_method: How to compute the flow, where there is any.
        subject: What to look at, see `harkeras.recipe.ClipFormat`.
        mixed_precision: Whether to train in 16 bits, see `harkeras.training.precision`; the model that comes
            out computes in 32.
        **training: Further arguments of `train` and of `Dataset.for_training`.

    Raises:
        ValueError: If there is no such model, or an argument is unknown or out of its range.
    """

    takes_settings: ClassVar[bool] = True
    cache_name: ClassVar[str] = "frames.npy"
    fallback: ClassVar[None] = None

    def __init__(
        self,
        model: str | Callable[[], keras.Model],
        options: dict[str, Any] | None = None,
        *,
        input_shape: tuple[int, ...] | None = None,
        flow_method: FlowMethod | None = None,
        subject: Subject = "frame",
        mixed_precision: bool = False,
        **training: Any,
    ):
        """Check everything that can be judged without clips."""
        if not isinstance(mixed_precision, bool):
            raise ValueError(f"mixed_precision must be True or False, got {mixed_precision!r}")
        self.mixed_precision = mixed_precision
        self.model, self.options = model, dict(options or {})
        self.name = model if isinstance(model, str) else getattr(model, "__name__", "model")
        if isinstance(model, str):
            if model not in list_models():
                raise ValueError(describe_unknown(model, [*list_models(), *PRETRAINED, "auto"]))
            check_model_options(model, self.options)
        self.input_shape = (20, 64, 64, 3) if input_shape is None else tuple(input_shape)
        # Of joints, there are as many as MoveNet finds.
        if len(self.input_shape) not in (3, 4) or (len(self.input_shape) == 3 and self.input_shape[1] != 17):
            raise ValueError(
                "input_shape must be (frames, height, width, channels), or (frames, 17, 3) of joints, got "
                f"{input_shape}"
            )
        self.clip_format = ClipFormat.from_shape(
            self.input_shape, flow_method=flow_method or "dis", subject=subject
        )
        if flow_method is not None and not self.clip_format.flow_fields:
            raise ValueError(f"flow_method is for clips with optical flow, got {flow_method!r}")
        self.training = training
        self.shown = {name: training[name] for name in training if name in _PRESENTATION}
        Presentation(**self.shown)
        self.fitting = {name: training[name] for name in training if name not in _PRESENTATION}
        check_options(self.fitting)

    @property
    def settings(self) -> dict[str, Any]:
        """All arguments, defaults included."""
        usual = keyword_defaults(train) | {"batch_size": BATCH_SIZE} | vars(Presentation())
        clips = {"input_shape": self.input_shape, "subject": self.clip_format.subject}
        clips["mixed_precision"] = self.mixed_precision
        if self.clip_format.flow_fields:
            clips["flow_method"] = self.clip_format.flow_method
        everything = clips | {"model_options": self.options} | usual | self.training
        return {name: value for name, value in everything.items() if name != "verbose"}  # changes nothing

    @staticmethod
    def read_shape(
        model: str | Callable[[], keras.Model], size: Size, streams: Streams, flow_fields: int | None
    ) -> tuple[tuple[int, ...] | None, dict[str, Any]]:
        """Return the clip shape that a command line asks for, 20 x 64 x 64 by default, and options."""
        return complete_shape(size, (20, 64, 64), streams, flow_fields), {}

    def check(self, num_classes: int) -> int:
        """Build the network without weights, because a builder may refuse its arguments; count them."""
        if self.clip_format.streams == "pose":
            ensure_estimator(None)
        with no_weights():
            return count_parameters(self.build(num_classes))

    def build(self, num_classes: int) -> keras.Model:
        """Build the network, uncompiled."""
        if callable(self.model):
            return self.model()
        return create_model(self.model, num_classes, self.input_shape, **self.options)

    def read(
        self, folder: ClipFolder, *, cache: str | os.PathLike | None = None, workers: int | None = None
    ) -> Dataset:
        """Read the clips; `cache` is a `.npy` file."""
        return load_folder(folder, self.clip_format, cache=cache, workers=workers)

    def train(self, dataset: Dataset | ClipDataset, *, seed: int) -> Training:
        """Build the network and train it."""
        interrupted = False
        with seeded(seed):
            with mixed_precision() if self.mixed_precision else nullcontext():
                network = self.build(len(dataset.classes))
            model = in_single_precision(network) if self.mixed_precision else network
            try:
                self.fit(network, dataset.for_training(**self.shown), seed=seed)
            except KeyboardInterrupt:
                if getattr(network, "recipe", None) is None:  # in the first epoch: there is nothing to keep
                    raise
                interrupted = True
            if model is not network:
                take_back(network, model, finished=not interrupted)
        return Training(model, model.history, interrupted)

    def fit(self, model: keras.Model, dataset: Dataset | ClipDataset, *, seed: int) -> None:
        """Train what was built, in place."""
        train(model, dataset, seed=seed, **self.fitting)
