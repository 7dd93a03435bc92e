"""A picture of a model, from the clip on the left to the probabilities on the right."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

import keras

from harkeras.base.plot_style import styled
from harkeras.models._folding import Box, Shape, fold

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colors, light enough to write on.
_COLORS = {
    "input": "#E8E8E8",
    "convolution": "#A6CFE8",
    "recurrent": "#F6D38A",
    "attention": "#E8C2D8",
    "dense": "#9AD9C4",
    "other": "#E8E8E8",
}
_TIMES = "\N{MULTIPLICATION SIGN}"
_MOST_COLUMNS = 7  # boxes side by side
_WIDTH, _HEIGHT = 1.0, 0.9  # of a box, in inches, as are the next
_GAP, _LANE, _ROW = 0.66, 1.1, 0.3  # from box to box, from lane to lane, and between rows
_TITLE, _LEFT, _FRAME = 0.6, 0.3, 0.3  # room above, at the left, and above what is framed


@styled
def plot_architecture(model: keras.Model) -> Figure:
    """Draw a model from left to right: what its layers do, their weights, and the shapes between them.

    Layers whose names begin alike, such as those of one block, are one box; a layer without weights belongs
    to the box before it. A model inside the model, such as the CNN that sees each frame, is framed. Shapes
    are (T, H, W, C), without the number of clips.

    Args:
        model: A functional or sequential model that is built.

    Returns:
        `matplotlib.figure.Figure`, at most 12 inches wide.

    Raises:
        ValueError: If the layers of the model cannot be listed.
    """
    from matplotlib.figure import Figure

    boxes = fold(model) if getattr(model, "inputs", None) else []
    if len(boxes) < 2:
        raise ValueError(f"model must be a functional or sequential model that is built, got {model.name!r}")
    count = 1 + max(box.column for box in boxes)
    columns = math.ceil(count / math.ceil(count / _MOST_COLUMNS))
    places, height = _lay_out(boxes, columns)
    width = _LEFT + columns * (_WIDTH + _GAP) + 0.05
    figure = Figure(figsize=(width, height), layout="none")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    axes.text(_LEFT, 0.32, f"{model.name}: {model.count_params():,} weights", fontsize=14, va="center")
    _draw_scopes(axes, boxes, places, columns)
    for box in boxes:
        _draw_box(axes, box, *places[box])
        for source, shape in box.sources.items():
            wraps = _row(source, columns) != _row(box, columns)
            _draw_arrow(axes, places[source], places[box], shape, wraps=wraps)
    for box in set(boxes) - {source for each in boxes for source in each.sources}:
        x, y = places[box]
        _draw_arrow(axes, (x, y), (x + _WIDTH + _GAP, y), box.shape, wraps=False)
    return figure


def _row(box: Box, columns: int) -> int:
    return box.column // columns


def _lay_out(boxes: list[Box], columns: int) -> tuple[dict[Box, tuple[float, float]], float]:
    """Return the upper left corner of each box and the height of the figure, in inches."""
    by_column = defaultdict(list)
    for box in boxes:
        by_column[box.column].append(box)
    places, top = {}, _TITLE
    for first in range(0, len(by_column), columns):
        inside = [by_column[column] for column in range(first, min(first + columns, len(by_column)))]
        frame = _FRAME if any(box.scope for column in inside for box in column) else 0
        lane, lanes = _LANE + frame, max(map(len, inside))
        for i, column in enumerate(inside):
            x, y = _LEFT + i * (_WIDTH + _GAP), top + frame + (lanes - len(column)) / 2 * lane
            places |= {box: (x, y + j * lane) for j, box in enumerate(column)}
        top += frame + (lanes - 1) * lane + _HEIGHT + _ROW
    return places, top


def _draw_box(axes: Axes, box: Box, x: float, y: float) -> None:
    """Draw a box with its name, what it does and its number of weights."""
    from matplotlib.patches import FancyBboxPatch

    shape = {"boxstyle": "round,pad=0,rounding_size=0.06", "edgecolor": "#555555"}
    axes.add_patch(FancyBboxPatch((x, y), _WIDTH, _HEIGHT, facecolor=_COLORS[box.kind], **shape))
    lines = [box.name, *box.lines]
    if box.weights:
        lines.append(f"{box.weights:,}")
    elif box.kind not in ("input", "other"):
        lines.append("same weights")
    for i, line in enumerate(lines):
        middle = x + _WIDTH / 2, y + _HEIGHT / 2 + (i - (len(lines) - 1) / 2) * 0.2
        font = {"fontsize": min(9.5, 118 / len(line)), "fontweight": "normal" if i else "bold"}
        axes.text(*middle, line.replace(" x ", _TIMES), ha="center", va="center", **font)


def _draw_arrow(
    axes: Axes, source: tuple[float, float], box: tuple[float, float], shape: Shape, *, wraps: bool
) -> None:
    """Draw an arrow from box to box, or out of one row and into the next, with the shape beside it."""
    start, end = (source[0] + _WIDTH, source[1] + _HEIGHT / 2), (box[0], box[1] + _HEIGHT / 2)
    style = {"arrowstyle": "-|>", "color": "#333333", "shrinkA": 0, "shrinkB": 0, "linewidth": 1.2}
    if wraps:
        axes.annotate("", end, (end[0] - _LEFT * 0.9, end[1]), arrowprops=style)
        end = start[0] + _GAP * 0.9, start[1]
    axes.annotate("", end, start, arrowprops=style, zorder=0)
    *outer, channels = ["any" if size is None else str(size) for size in shape]
    frames, pixels = (outer, []) if len(outer) == 1 else (outer[:-2], outer[-2:])
    lines = [_TIMES.join(frames), _TIMES.join(pixels), channels]
    font = {"fontsize": 9, "ha": "center", "linespacing": 1.15}
    x, y = start[0] + _GAP / 2, (start[1] + end[1]) / 2
    if start[1] == end[1]:
        axes.text(x, y - 0.05, lines[0], va="bottom", **font)
        axes.text(x, y + 0.06, "\n".join(filter(None, lines[1:])), va="top", **font)
    else:
        background = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axes.text(x, y, "\n".join(filter(None, lines)), va="center", bbox=background, **font)


def _draw_scopes(axes: Axes, boxes: list[Box], places: dict[Box, tuple[float, float]], columns: int) -> None:
    """Frame the boxes of each model inside the model, row by row, under its name."""
    from matplotlib.patches import Rectangle

    inside = defaultdict(list)
    for box in boxes:
        if box.scope:
            inside[box.scope, _row(box, columns)].append(places[box])
    for (scope, _), corners in inside.items():
        (left, right), (top, bottom) = ((min(each), max(each)) for each in zip(*corners, strict=True))
        size = right - left + _WIDTH + 0.16, bottom - top + _HEIGHT + 0.34
        style = {"facecolor": "#F7F7F7", "edgecolor": "#999999", "linestyle": "--", "zorder": -1}
        axes.add_patch(Rectangle((left - 0.08, top - 0.26), *size, **style))
        label = " / ".join(scope) if right > left else scope[-1].split(":")[0]
        axes.text(left - 0.02, top - 0.13, label, fontsize=9, va="center")
