"""Recognize: a video in, its actions over time out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from harkeras.app import jobs
from harkeras.app.model_choice import choose_model
from harkeras.app.player import show_player, show_timeline
from harkeras.app.storage import current_visit, keep_upload, new_file
from harkeras.base.text import printable
from harkeras.video.reading import VIDEO_SUFFIXES
from harkeras.video.youtube import is_url

_KEY = "recognize"


def show() -> None:
    """Draw the page."""
    st.title("Recognize")
    left, right = st.columns(2, gap="large")
    with left:
        source = _choose_video()
    with right:
        choice = choose_model(_KEY)
    if st.button("Recognize", type="primary", disabled=source is None or choice is None):
        name, video = source
        current_visit().state["recognized"] = name
        folder = str(new_file("actions"))
        names = {video: name, str(choice.path): choice.path.name, f"{folder}/": ""}
        work = "computing.recognize", video, folder, str(choice.path), choice.options
        jobs.start_job(_KEY, *work, names=names)
    if (result := jobs.show_job(_KEY)) is not None:
        _show_result(current_visit().state["recognized"], result)


def _choose_video() -> tuple[str, str] | None:
    """Draw the three ways to a video; return its name, and what `computing.recognize` takes."""
    kind = st.segmented_control("Video", ["File", "Address", "Sample"], default="File", required=True)
    if kind == "File":
        return _upload()
    if kind == "Address":
        hint = "A page of YouTube or another site, or a link to a video file"
        text = st.text_input(hint, placeholder="https://").strip()
        if text and not is_url(text):
            st.error("The address of a video begins with https://", icon=":material/error:")
            return None
        return (printable(text), text) if text else None
    number = st.number_input("Number of a person, who is rendered now", 101, 999)
    return f"Sample {number}", f"sample:{number}"


def _upload() -> tuple[str, str] | None:
    suffixes = [suffix[1:] for suffix in VIDEO_SUFFIXES]
    upload = st.file_uploader("Video file", suffixes, label_visibility="collapsed")
    if upload is None:
        return None
    try:
        return printable(upload.name), str(keep_upload(upload))
    except (ValueError, OSError) as error:
        st.error(jobs.one_line(error), icon=":material/error:")
    return None


def _show_result(name: str, result: dict[str, Any]) -> None:
    st.subheader(name)
    timelines = result["timelines"]
    left, right = st.columns([5, 6], gap="large")
    with left:
        show_player(result["video"], _KEY, muted=True)
    with right:
        who = "" if "" in timelines else st.selectbox("Who", timelines)
        show_timeline(timelines[who], _KEY)
        st.caption("Click on an action or on the curves: the video goes there.")
        _show_downloads(name, [result["video"], *result["tables"]])
    with st.expander("As a table"):
        share = st.column_config.NumberColumn("confidence", format="percent")
        columns = {"start_seconds": "from (s)", "end_seconds": "to (s)", "confidence": share, "color": None}
        st.dataframe(timelines[who]["segments"], hide_index=True, column_config=columns)


def _show_downloads(name: str, files: list[Path]) -> None:
    stem = Path(name).stem or "video"
    for column, path in zip(st.columns(len(files)), files, strict=True):
        label = "Video" if path.suffix == ".mp4" else path.suffix[1:].upper()
        column.download_button(
            label,
            path.read_bytes,
            f"{stem}_actions{path.suffix}",
            icon=":material/download:",
            on_click="ignore",
            width="stretch",
        )
