"""Settings as plain JSON: alike for what is alike, in every process, and different for what is not."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest

from harkeras.base.configs import plain_config
from harkeras.data.augment import Augmentation, HorizontalFlip, Pepper, default_augmentation
from harkeras.models import create_lrcn_model

SCHEDULES = keras.optimizers.schedules


@dataclass
class Brighter:
    """An augmentation of one's own."""

    amount: int

    def __call__(self, clips, seed):
        return clips + self.amount


MAKERS = [
    lambda: 3,
    lambda: "3",
    lambda: [3],
    lambda: {0: 0.5, 1: np.float32(1)},
    lambda: np.arange(3),
    lambda: Path("a/b"),
    HorizontalFlip,
    Pepper,
    lambda: Pepper((0, 0.5)),
    lambda: Augmentation([Pepper(), HorizontalFlip()]),
    lambda: Augmentation([Pepper((0, 0.5)), HorizontalFlip()]),
    lambda: Augmentation([HorizontalFlip(), Pepper()], mode="all"),
    default_augmentation,
    lambda: keras.layers.Dense(2, dtype="mixed_bfloat16"),
    lambda: keras.layers.Dense(2),
    lambda: keras.optimizers.SGD(0.5),
    lambda: keras.optimizers.SGD(0.1),
    lambda: keras.optimizers.Adam(0.1),
    lambda: keras.optimizers.Adam(SCHEDULES.CosineDecay(0.1, 10)),
    lambda: keras.optimizers.Adam(SCHEDULES.CosineDecay(0.1, 20)),
    lambda: SCHEDULES.PiecewiseConstantDecay([1], [0.1, 0.2]),
    lambda: SCHEDULES.PiecewiseConstantDecay([2], [0.1, 0.2]),
    lambda: Brighter(5),
    lambda: Brighter(6),
]


def texts():
    return [json.dumps(plain_config("x", make()), sort_keys=True) for make in MAKERS]


def test_each_is_like_itself_and_unlike_every_other():
    assert texts() == texts()
    assert len(set(texts())) == len(MAKERS)


@pytest.mark.slow
def test_another_process_writes_the_same():
    code = "import sys; sys.path.insert(0, 'tests'); import test_configs as t; print(*t.texts(), sep='\\n')"
    root = Path(__file__).parents[1]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == texts()


class Own(keras.layers.Layer):
    """A layer that does not say what it was made of."""

    def __init__(self, function):
        super().__init__()
        self.function = function


@pytest.mark.parametrize(
    "value",
    [print, lambda clips, seed: clips, object(), Own(print), {"a": [print]}, Pepper, create_lrcn_model],
)
def test_what_could_not_be_told_from_another_is_refused(value):
    with pytest.raises(ValueError, match="augment must say what it was made of, so that it can be told"):
        plain_config("augment", value)
