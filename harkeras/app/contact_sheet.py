"""Suggested ranges side by side, each as a small moving picture: click the wrong ones, keep all at once."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import streamlit as st
from PIL import Image

from harkeras.app.components import load_component
from harkeras.app.labeler import class_css
from harkeras.app.playing_copies import recording_info
from harkeras.base.text import printable
from harkeras.teaching.suggesting import Suggestion
from harkeras.video.reading import frames_extraction

_HEIGHT, _FRAMES = 120, 12

_sheet = load_component("contact_sheet")
_KINDS = {"sure": "sure", "doubt": "in doubt", "new": "unlike the others", "held out": "to score on"}


def show_contact_sheet(
    suggestions: Sequence[Suggestion],
    classes: list[str],
    key: str,
    on_answers: Callable[[list[tuple[Suggestion, str]]], None],
) -> None:
    """Draw suggestions, and tell what was said of them, once.

    Args:
        suggestions: The ranges to ask about.
        classes: What they may be.
        key: Name of the widget, another one for other suggestions.
        on_answers: Is given each suggestion that was answered with its label, empty where it is not worth
            one.
    """

    def take() -> None:
        if said := st.session_state[key].get("answers"):
            on_answers([(suggestions[place], label) for place, label in said])

    data = {
        "classes": [{"name": name, "color": class_css(name, classes)} for name in classes],
        "tiles": [_tile(each) for each in suggestions],
    }
    _sheet(key=key, data=data, on_answers_change=take)


def _tile(suggestion: Suggestion) -> dict:
    start, end = suggestion.start_seconds, suggestion.end_seconds
    where = f"{printable(suggestion.video.name)}, {start:.1f} to {end:.1f} s"
    sure = f" {suggestion.confidence:.0%}" if suggestion.label else ""
    picture = _picture_address(str(suggestion.video), start, end)
    return {"picture": picture, "label": suggestion.label, "sure": sure, "title": where} | {
        "kind": _KINDS[suggestion.kind]
    }


@st.cache_data(show_spinner=False, max_entries=500)
def _picture_address(video: str, start: float, end: float) -> str:
    return f"data:image/webp;base64,{base64.b64encode(moving_picture(video, start, end)).decode()}"


def moving_picture(video: str | Path, start_seconds: float, end_seconds: float) -> bytes:
    """Return a range of a video as animated WebP, 120 pixels high and as long as the range.

    Raises:
        VideoError: If the range cannot be decoded.
        ValueError: If it is empty.
    """
    info = recording_info(Path(video))
    width = max(round(_HEIGHT * info.width / info.height), 1)
    times = {"start_seconds": start_seconds, "end_seconds": end_seconds}
    first, *others = map(Image.fromarray, frames_extraction(video, _FRAMES, _HEIGHT, width, **times))
    milliseconds = max(round(1000 * (end_seconds - start_seconds) / _FRAMES), 40)
    file = io.BytesIO()
    first.save(file, "webp", save_all=True, append_images=others, duration=milliseconds, loop=0, quality=50)
    return file.getvalue()
