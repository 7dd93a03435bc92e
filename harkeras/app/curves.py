"""The curves of a training, drawn while it goes on."""

from __future__ import annotations

import altair
import pandas as pd
import streamlit as st


def draw_curves(epochs: list[dict[str, float]]) -> None:
    """Draw loss and accuracy per epoch, of training and validation clips."""
    if not epochs:
        return
    table = pd.DataFrame(epochs)
    for column, metric in zip(st.columns(2), ("loss", "accuracy"), strict=True):
        names = {metric: "training", f"val_{metric}": "validation"}
        lines = table.melt("epoch", [name for name in names if name in table], "clips", "value")
        lines["clips"] = lines["clips"].map(names)
        limits = altair.Scale(domain=[0, 1]) if metric == "accuracy" else altair.Undefined
        chart = altair.Chart(lines).mark_line(point=len(epochs) < 30)
        chart = chart.encode(
            altair.X("epoch:Q", axis=altair.Axis(tickMinStep=1), title="epoch"),
            altair.Y("value:Q", scale=limits, title=metric),
            altair.Color("clips:N", legend=altair.Legend(orient="top", title=None)),
            tooltip=["epoch", "clips", "value"],
        )
        column.altair_chart(chart.properties(height=240))
