"""How clips are shown to a model in training: in what proportion, how weighted, how changed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
from sklearn.utils.class_weight import compute_class_weight

Sampling = Literal["natural", "balanced"]
ClassWeight = dict[int, float] | Literal["balanced"]
# Clips, such as uint8 (B, T, H, W, C), and a seed -> clips of the same kind.
Augmentation = Callable[[np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class Presentation:
    """See `Dataset.for_training`, whose arguments these are.

    Raises:
        ValueError: If a value is out of its range.
    """

    augment: Augmentation | None = None
    mixup: float = 0.0
    joins: float = 0.0
    sampling: Sampling = "natural"
    class_weight: ClassWeight | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if self.augment is not None and not callable(self.augment):
            raise ValueError(f"augment must be a function of clips and a seed, got {self.augment!r}")
        if not isinstance(self.mixup, Real) or not 0 <= self.mixup < np.inf:
            raise ValueError(f"mixup must be a finite number that is not negative, got {self.mixup!r}")
        if not isinstance(self.joins, Real) or not 0 <= self.joins <= 1:
            raise ValueError(f"joins must be a share in 0 to 1, got {self.joins!r}")
        if self.sampling not in ("natural", "balanced"):
            raise ValueError(f"sampling must be 'natural' or 'balanced', got {self.sampling!r}")
        if self.class_weight not in (None, "balanced") and not _are_weights(self.class_weight):
            raise ValueError(
                "class_weight must be 'balanced' or a number for each label, not negative, got "
                f"{self.class_weight!r}"
            )

    @property
    def changes_clips(self) -> bool:
        """Whether a model is shown something else than the clips themselves."""
        return self.augment is not None or bool(self.mixup or self.joins)

    def weigh(self, labels: np.ndarray, num_classes: int) -> dict[int, float] | None:
        """Return the weight of each class in the loss, by the labels of the clips trained on."""
        weights = self.class_weight
        if weights == "balanced":
            return class_weights(labels, num_classes)
        if weights is not None and weights.keys() != set(range(num_classes)):
            raise ValueError(f"class_weight must have the keys 0 to {num_classes - 1}, got {weights}")
        return weights


class Presented:
    """A data set that can say how its clips are to be shown in training."""

    presentation = Presentation()

    def for_training(
        self,
        *,
        augment: Augmentation | None = None,
        mixup: float = 0.0,
        joins: float = 0.0,
        sampling: Sampling = "natural",
        class_weight: ClassWeight | None = None,
    ) -> Self:
        """Return a view of the same clips that are shown in another way in training, and only there.

        Args:
            augment: Function that changes training clips at random, see `harkeras.data.augment`.
            mixup: Mix clips and their labels in pairs, by weights from Beta(mixup, mixup) (Zhang et al., ICLR
                2018); 0.2 is common, 0 is none.
            joins: Share of the clips that begin or end in another action, as windows of a long video do, see
                `harkeras.data.joining`; 0.5 is a good start where such videos will be named.
            sampling: "balanced" shows every class equally often, the clips of rare ones again and again.
            class_weight: Weight of each class in the loss, in training and validation; "balanced" takes those
                of `class_weights`.

        Raises:
            ValueError: If a value is out of its range.
        """
        view = copy.copy(self)
        view.presentation = Presentation(augment, mixup, joins, sampling, class_weight)
        return view


def class_weights(labels: np.ndarray, num_classes: int | None = None) -> dict[int, float]:
    """Return a weight for each class, by inverse class frequency: scikit-learn's "balanced" weights.

    With n_c clips of class c, its weight is len(labels) / (num_classes * n_c), whose mean over the clips is
    1: the loss stays of the same size, and with it the effect of the learning rate. Errors in a rare class
    then count as much as those in a common one: its recall rises, and its precision falls. A milder choice is
    the square root.

    Args:
        labels: int (N,), the classes of the clips.
        num_classes: Number of classes; the largest label plus one by default.

    Raises:
        ValueError: If there is no label, or a class has no clip.
    """
    if not len(labels):
        raise ValueError("labels must name at least one clip, got none")
    counts = np.bincount(labels, minlength=num_classes or 0)
    if not counts.all():
        raise ValueError(f"labels must name every class, got {counts.tolist()} clips")
    each = np.arange(len(counts))
    return dict(enumerate(compute_class_weight("balanced", classes=each, y=labels).tolist()))


def _are_weights(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(label, Integral) and isinstance(weight, Real) and 0 <= weight < np.inf
        for label, weight in value.items()
    )
