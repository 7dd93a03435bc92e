"""What the timeline under a video draws: segments and curves, as JSON can hold them."""

from __future__ import annotations

from typing import Any

import numpy as np

from harkeras.inference.prediction import VideoPrediction
from harkeras.video.drawing import COLOR_COUNT, Color, class_color

_MOST_POINTS, _MOST_CURVES = 600, 6


def timeline_data(prediction: VideoPrediction) -> dict[str, Any]:
    """Return segments, and the curves of the most probable classes, in the colors that the video shows."""
    colors = prediction.label_colors()
    top = [name for name, _ in prediction.most_probable(len(prediction.classes))]
    top.sort(key=lambda name: name not in colors)  # what was named comes first
    rows = np.unique(np.linspace(0, len(prediction.moments) - 1, _MOST_POINTS).round().astype(int))
    palette = prediction.classes if len(prediction.classes) <= COLOR_COUNT else ()
    return {
        "start": prediction.segments[0].start_seconds,
        "end": prediction.segments[-1].end_seconds,
        "segments": [
            segment._asdict() | {"color": _css(colors[segment.label])} for segment in prediction.segments
        ],
        "moments": prediction.moments[rows].round(3).tolist(),
        "curves": [
            {
                "label": name,
                "color": _css(colors.get(name) or class_color(name, palette)),
                "values": prediction.smoothed[rows, prediction.classes.index(name)].round(4).tolist(),
            }
            for name in top[:_MOST_CURVES]
        ],
    }


def _css(color: Color) -> str:
    return f"rgb({color[0]}, {color[1]}, {color[2]})"
