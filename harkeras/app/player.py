"""A video with its timeline: segments and probabilities over time, which lead the player when clicked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from harkeras.app.components import load_component

_timeline = load_component("timeline")


def show_player(video: str | Path, key: str, **options: Any) -> None:
    """Play a file; a timeline of the same key leads it."""
    with st.container(key=f"player-{key}"):
        st.video(str(video), **options)


def show_timeline(data: dict[str, Any], key: str) -> None:
    """Draw what `harkeras.app.timeline` makes of a prediction; a click moves the player of that key."""
    _timeline(key=f"timeline-{key}", data=data | {"player": f"st-key-player-{key}"})
