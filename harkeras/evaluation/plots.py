"""The plots of a training and of its test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from harkeras.base.plot_style import styled

if TYPE_CHECKING:
    import keras
    from matplotlib.axes import Axes

# Beyond so many classes, numbers in the cells cannot be read; beyond so many, nor can the names.
_MOST_WITH_NUMBERS, _MOST_CLASSES = 30, 120
_LONGEST_NAME = 30  # letters
_LARGEST_SIDE = 18.0  # inches of the matrix


@styled
def plot_metric(history: keras.callbacks.History, metric: str, other: str, title: str) -> Figure:
    """Draw two metrics of a training over its epochs.

    Args:
        history: What `train` returned.
        metric: Name of a metric, such as "loss".
        other: Name of another, such as "val_loss".
        title: Title of the plot.

    Returns:
        `matplotlib.figure.Figure`

    Raises:
        ValueError: If the history has no metric of that name.
    """
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for name, style in ((metric, "-"), (other, "--")):
        if name not in history.history:
            raise ValueError(f"metric must be one of {', '.join(history.history)}, got {name!r}")
        values = history.history[name]
        axes.plot(range(1, len(values) + 1), values, style, marker=".", label=name)
    axes.set(title=title, xlabel="epoch", ylabel=_with_unit(metric))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid()
    axes.legend()
    return figure


@styled
def plot_confusion_matrix(confusion: np.ndarray, classes: Sequence[str], title: str = "") -> Figure:
    """Draw a confusion matrix: clips, colored by their share of each true class.

    Numbers stand in the cells as long as they can be read. Of more than 120 classes, those are drawn that
    were confused most often, and the title says so.

    Args:
        confusion: int (classes, classes), clips by true class (row) and named class (column).
        classes: Names of the classes.
        title: Title of the plot.

    Returns:
        `matplotlib.figure.Figure`, at most 20 inches wide and high, whatever the number of classes.

    Raises:
        ValueError: If the matrix does not fit the classes.
    """
    confusion = np.asarray(confusion)
    if confusion.shape != (len(classes), len(classes)):
        raise ValueError(f"confusion must be {len(classes)} x {len(classes)}, got {confusion.shape}")
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    shown = _most_confused(confusion)
    if len(shown) < len(classes):
        title = f"{title}\nthe {len(shown)} of {len(classes)} classes that were confused most".strip()
    names = [_shorten(classes[row]) for row in shown]
    confusion, share = confusion[np.ix_(shown, shown)], share[np.ix_(shown, shown)]
    with_numbers = len(shown) <= _MOST_WITH_NUMBERS
    cell = min(0.6 if with_numbers else 0.25, _LARGEST_SIDE / len(shown))  # inches
    letters = min(10.0, 60 * cell)  # points: of a line of text and its distance, 72 would fill the cell
    margin = 1.0 + max(map(len, names)) * letters * 0.6 / 72  # inches, for the names and the title
    side = min(cell * len(shown) + margin, 20.0)
    figure = Figure(figsize=(min(side + 1.0, 20.0), side), layout="constrained")
    axes = figure.subplots()
    # Where no numbers stand, small shares must be seen by their color.
    image = axes.imshow(share, cmap="Blues", norm=PowerNorm(1 if with_numbers else 0.5, 0, 1))
    if with_numbers:
        _write_numbers(axes, confusion, share, cell)
    # A dollar sign in a name begins no formula.
    turned = {"rotation": 45, "ha": "right"} if with_numbers else {"rotation": 90}
    axes.set_xticks(range(len(shown)), names, fontsize=letters, parse_math=False, **turned)
    axes.set_yticks(range(len(shown)), names, fontsize=letters, parse_math=False)
    axes.set(xlabel="named", ylabel="true", title=title)
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    return figure


def _with_unit(metric: str) -> str:
    """Return what an axis says of a metric: its name, and the unit where there is one."""
    units = {"loss": "nats per clip", "accuracy": "share of clips"}
    name = metric.replace("_", " ")
    return f"{name} ({units[metric]})" if metric in units else name


def _write_numbers(axes: Axes, confusion: np.ndarray, share: np.ndarray, cell: float) -> None:
    """Write the numbers into cells of so many inches."""
    for row, column in np.ndindex(*confusion.shape):
        number = confusion[row, column]
        color = "white" if share[row, column] > 0.5 else "black"
        size = min(10.0, 90 * cell / len(str(number)))
        axes.text(column, row, number, ha="center", va="center", color=color, fontsize=size)


def _most_confused(confusion: np.ndarray) -> np.ndarray:
    """Return the classes to draw, in their order: all, or those with the most errors in row and column."""
    errors = confusion * (1 - np.eye(len(confusion), dtype=int))
    most = np.argsort(-(errors.sum(axis=0) + errors.sum(axis=1)), kind="stable")[:_MOST_CLASSES]
    return np.sort(most)


def _shorten(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}\N{HORIZONTAL ELLIPSIS}"
