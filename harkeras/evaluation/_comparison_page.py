"""The page that shows a comparison: one HTML file with its pictures inside."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from harkeras.base.files import write_text
from harkeras.base.plot_style import styled
from harkeras.evaluation.plots import plot_confusion_matrix

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Comparison of models</title><style> body {{ font-family:
sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; color: #222; }} table {{ border-collapse:
collapse; }} td, th {{ padding: .3em .7em; border-bottom: 1px solid #ccc; text-align: right; }}
td:first-child, th:first-child, td:nth-child(2), th:nth-child(2) {{ text-align: left; }} figure {{ display:
inline-block; margin: 1em 1em 0 0; }} img {{ max-width: 100%; }} </style></head><body><h1>Comparison of
models</h1> <p>Accuracy is the share of all test clips of all folds that are named right. With the split
&quot;group&quot;, no source video is on both sides of a fold; with &quot;random&quot;, accuracy is
overstated: leaking clips have a sibling, of the same source, among those trained on. Where two intervals
overlap widely, the difference may be chance.</p> <p>{sources}</p>
<table><tr>{head}</tr>{body}</table> <h2>What accuracy costs</h2><figure><img alt="accuracy against time per
clip" src="{scatter}"></figure> <h2>Which action is taken for which</h2>{confusions} </body></html>
"""


HEAD = (
    "model", "split", "accuracy", "95 %", "95 % over sources", "macro F1", "leaking", "parameters",
    "multiply-adds", "training", "ms per clip (p95)", "frames per second",
)  # fmt: skip


def in_words(row: dict[str, Any]) -> tuple[str, ...]:
    """Return the cells of a row of `compare` for the columns of `HEAD`."""
    return (
        row["model"],
        row["split"],
        f"{row['accuracy']:.3f}",
        f"{row['low']:.2f} to {row['high']:.2f}",
        "sources unknown"
        if row["group_low"] is None
        else f"{row['group_low']:.2f} to {row['group_high']:.2f}",
        f"{row['macro_f1']:.3f}",
        "unknown" if row["leaking_clips"] is None else f"{row['leaking_clips']} of {row['clips']}",
        f"{row['parameters']:,}",
        f"{row['multiply_adds'] / 1e6:,.0f} M",
        f"{row['train_seconds']:,.0f} s",
        f"{row['ms_per_clip']:.1f} ({row['ms_per_clip_p95']:.1f})",
        f"{row['frames_per_second']:,.0f}",
    )


def write_page(
    path: Path,
    rows: Sequence[dict[str, Any]],
    confusions: dict[str, np.ndarray],
    classes: Sequence[str],
    sources: str,
) -> None:
    """Write the rows of a comparison, accuracy against latency, and the confusion matrices as one page.

    Args:
        path: The file.
        rows: What `compare` returns.
        confusions: Confusion matrices by their titles.
        classes: Names of the classes.
        sources: What is known of the sources of the clips, in words.
    """
    body = ["".join(f"<td>{html.escape(value)}</td>" for value in in_words(row)) for row in rows]
    drawn = [plot_confusion_matrix(matrix, classes, name) for name, matrix in confusions.items()]
    figures = "".join(
        f'<figure><img alt="confusions" src="{_data_url(figure)}"></figure>' for figure in drawn
    )
    page = _PAGE.format(
        head="".join(f"<th>{name}</th>" for name in HEAD),
        body="".join(f"<tr>{cells}</tr>" for cells in body),
        scatter=_data_url(plot_comparison(rows)),
        confusions=figures,
        sources=html.escape(sources),
    )
    write_text(path, page)


@styled
def plot_comparison(rows: Sequence[dict[str, Any]]) -> Figure:
    """Draw accuracy, with its 95 % interval, against the time per clip: the rows of `compare`."""
    figure = Figure(figsize=(7, 4 + 0.2 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for row in rows:
        errors = [[row["accuracy"] - row["low"]], [row["high"] - row["accuracy"]]]
        label = f"{row['model']}, {row['split']}"
        axes.errorbar(row["ms_per_clip"], row["accuracy"], yerr=errors, fmt="o", capsize=3, label=label)
    axes.set(xscale="log", xlabel="time per clip (ms)", ylabel="accuracy (95 % interval)", ylim=(0, 1.02))
    axes.xaxis.set_major_formatter(LogFormatter())  # 10 and 2, not powers of ten
    axes.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.4)))
    axes.set_title("Up is better, left is faster")
    figure.legend(loc="outside lower left")
    axes.grid()
    return figure


def _data_url(figure: Figure) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=90)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
