"""A look at suggestions: some frames of each, and what the model takes it for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from harkeras.base.plot_style import styled
from harkeras.teaching.suggesting import Suggestion
from harkeras.video.reading import frames_extraction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FRAMES, _HEIGHT, _WIDTH, _COLUMNS = 3, 108, 144, 3


@styled
def plot_suggestions(suggestions: Sequence[Suggestion]) -> Figure:
    """Draw a contact sheet: three frames of each suggestion, with its number from 1 on.

    Args:
        suggestions: What `Project.suggest` proposed, at least one.

    Returns:
        `matplotlib.figure.Figure`

    Raises:
        ValueError: If there is no suggestion.
        VideoError: If a recording cannot be read.
    """
    from matplotlib.figure import Figure

    if not suggestions:
        raise ValueError("suggestions must be at least one, got none")
    columns = min(_COLUMNS, len(suggestions))
    rows = -(-len(suggestions) // columns)
    figure = Figure(figsize=(5.2 * columns, 2.1 * rows), layout="constrained")
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.axis("off")
    for number, (axes, each) in enumerate(zip(figure.axes, suggestions, strict=False), 1):
        clip = frames_extraction(
            each.video,
            _FRAMES,
            _HEIGHT,
            _WIDTH,
            start_seconds=each.start_seconds,
            end_seconds=each.end_seconds,
        )
        axes.imshow(np.concatenate(list(clip), axis=1))
        title = describe_suggestion(each).replace(": ", "\n", 1)
        axes.set_title(f"{number}  {title}", fontsize=11, loc="left", parse_math=False)
    return figure


def describe_suggestion(each: Suggestion) -> str:
    """Return a suggestion in a line: what it is taken for, how surely, why it is asked about, and where."""
    label = f"{each.label} {each.confidence:.0%}, " if each.label else ""
    where = "/".join(each.video.parts[-2:])
    return f"{label}{each.kind}: {where} {each.start_seconds:.1f} to {each.end_seconds:.1f} s"
