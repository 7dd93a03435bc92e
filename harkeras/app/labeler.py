"""Labeling ranges of a recording in the page: a timeline under the player, and keys.

The page keeps each answer in the project as soon as it comes. The browser goes on showing, and sending,
what it has not heard back about, so that two answers in quick succession are two.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

from harkeras.app.components import load_component
from harkeras.app.player import show_player
from harkeras.app.playing_copies import recording_info
from harkeras.base.text import printable
from harkeras.data.annotations import Annotation
from harkeras.teaching.labels import LabeledRecordings
from harkeras.video.drawing import class_color

_REMEMBERED = 200  # answers that the browser may still send again

_labeler = load_component("labeler")


def show_labeler(project: LabeledRecordings, video: Path, playing: Path, key: str) -> None:
    """Play a recording, and let its ranges be labeled.

    Args:
        project: Where answers go.
        video: The recording.
        playing: What a browser can play of it.
        key: Name of the widget.
    """
    show_player(playing, key)
    done = st.session_state.setdefault(f"{key} done", [])
    name = f"labeler-{key}"

    def take() -> None:
        for action in st.session_state[name].get("actions") or []:
            if action["id"] not in done:
                done.append(action["id"])
                keep(lambda action=action: _keep(project, video, action))
        del done[:-_REMEMBERED]

    info = recording_info(video)
    data = {
        "player": f"st-key-player-{key}",
        "video": str(video),
        "seconds": info.duration_seconds,
        "fps": info.fps,
        "classes": [{"name": each, "color": class_css(each, project.classes)} for each in project.classes],
        "ranges": [list(each[1:5]) for each in project.ranges if each.video == video],
        "done": list(done),
    }
    _labeler(key=name, data=data, on_actions_change=take)


def keep(change: Callable[[], Any]) -> bool:
    """Let a function change the project; say what could not be kept, and return whether all was."""
    try:
        change()
    except (ValueError, OSError) as error:
        st.session_state["teach problem"] = printable(f"Not kept: {error}")
        return False
    return True


def class_css(name: str, classes: list[str]) -> str:
    """Return the color of a class as CSS writes it."""
    red, green, blue = class_color(name, tuple(classes))
    return f"rgb({red}, {green}, {blue})"


def _keep(project: LabeledRecordings, video: Path, action: dict[str, Any]) -> None:
    old = Annotation(video, *action["range"]) if action.get("range") else None
    if action["kind"] == "label":
        project.label(video, action["start"], action["end"], action["label"])
    elif action["kind"] == "relabel":
        project.relabel(old, action["label"])
    elif action["kind"] == "move":
        project.move(old, action["start"], action["end"])
    elif action["kind"] == "remove":
        project.remove(old)
