"""The worst mistakes as one picture: which test clips were named wrong, and how sure the model was."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harkeras.base.plot_style import styled
from harkeras.evaluation.scores import Evaluation
from harkeras.video.reading import VideoError, VideoInfo, frames_extraction

_FRAMES = 4  # of a clip
_FRAME_HEIGHT = 180  # pixels
_GAP = 4  # pixels between frames
_COLUMNS = 2
_LONGEST_NAME, _LONGEST_CLASS = 64, 24  # letters


@styled
def plot_mistakes(
    evaluation: Evaluation,
    video_paths: Sequence[str | os.PathLike],
    *,
    names: Sequence[str] | None = None,
    most: int = 12,
) -> Figure | None:
    """Draw the clips that were named wrong, the surest first: frames in the order of time, and both classes.

    Args:
        evaluation: What `evaluate` returned.
        video_paths: The N files that were scored, in the same order.
        names: What to call them; their file names by default.
        most: Number of clips to draw.

    Returns:
        `matplotlib.figure.Figure`, or None if every clip was named right.

    Raises:
        ValueError: If there is not a path for each clip that was scored, or `most` is below 1.
    """
    if len(video_paths) != len(evaluation.labels):
        raise ValueError(
            f"video_paths must be one per clip, got {len(video_paths)} for {len(evaluation.labels)} clips"
        )
    if most < 1:
        raise ValueError(f"most must be at least 1, got {most}")
    names = [Path(path).name for path in video_paths] if names is None else names
    wrong, sure = list_mistakes(evaluation)
    if not len(wrong):
        return None
    shown = wrong[:most]
    columns = min(_COLUMNS, len(shown))
    grid = (-(-len(shown) // columns), columns)
    figure = Figure(figsize=(7.0 * columns, 1.95 * grid[0] + 0.5), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.08, w_pad=0.1)
    figure.subplots(*grid, squeeze=False)
    for axes in figure.axes:
        axes.axis("off")
    for axes, row in zip(figure.axes, shown, strict=False):
        true, named = (
            _shorten(evaluation.classes[label], _LONGEST_CLASS)
            for label in (evaluation.labels[row], evaluation.named[row])
        )
        title = f"{true}, named {named} ({sure[row]:.0%})\n{_shorten(names[row], _LONGEST_NAME)}"
        axes.set_title(title, fontsize=10, loc="left", parse_math=False)
        _draw_frames(axes, video_paths[row])
    verb = "was" if len(wrong) == 1 else "were"
    title = f"{len(wrong)} of {len(evaluation.labels)} test clips {verb} named wrong"
    if len(wrong) > len(shown):
        title += f", here the {len(shown)}"
    if len(wrong) > 1:
        title += " of which the model was surest" if len(wrong) > len(shown) else ", the surest first"
    figure.suptitle(title, fontsize=12)
    return figure


def list_mistakes(evaluation: Evaluation) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that were named wrong, the surest first, and how sure the model was of each of N."""
    sure = evaluation.probabilities[np.arange(len(evaluation.labels)), evaluation.named]
    wrong = np.flatnonzero(evaluation.named != evaluation.labels)
    return wrong[np.argsort(-sure[wrong], kind="stable")], sure


def _draw_frames(axes: Axes, path: str | os.PathLike) -> None:
    """Draw frames of a clip side by side, with their times."""
    try:
        info = VideoInfo.read(path)
        width = min(max(round(_FRAME_HEIGHT * info.width / info.height), 1), 3 * _FRAME_HEIGHT)
        frames = frames_extraction(path, _FRAMES, _FRAME_HEIGHT, width)
    except (VideoError, OSError) as error:  # since it was scored
        axes.text(0, 0.5, f"cannot be read: {error}"[:100], fontsize=8, parse_math=False)
        return
    sheet = np.full((_FRAME_HEIGHT, _FRAMES * (width + _GAP) - _GAP, 3), 255, np.uint8)
    for i, frame in enumerate(frames):
        sheet[:, i * (width + _GAP) :][:, :width] = frame
    axes.imshow(sheet)
    axes.axis("on")
    axes.spines[:].set_visible(False)
    start = float(info.frame_seconds[0])
    step = (info.duration_seconds - start) / _FRAMES
    times = [f"{start + step * (i + 0.5):.1f} s" for i in range(_FRAMES)]
    axes.set_xticks([width / 2 + i * (width + _GAP) for i in range(_FRAMES)], times, fontsize=8)
    axes.tick_params(length=0)
    axes.set_yticks([])


def _shorten(text: str, most: int) -> str:
    """Cut a text in the middle: how a name of a file begins and ends tells most."""
    if len(text) <= most:
        return text
    end = most // 2
    return f"{text[: most - end - 1]}\N{HORIZONTAL ELLIPSIS}{text[-end:]}"
