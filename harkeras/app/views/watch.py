"""Watch: the browser's camera, a stream or a file, with the label drawn on it and the events listed."""

from __future__ import annotations

from typing import Any

import av
import streamlit as st
from streamlit_webrtc import WebRtcMode, webrtc_streamer

from harkeras.app.jobs import remembered
from harkeras.app.model_choice import ModelChoice, choose_model
from harkeras.app.storage import current_visit, keep_upload, remember_visit
from harkeras.app.watching import Watching
from harkeras.base.model_files import find_model_file
from harkeras.base.text import printable
from harkeras.video.reading import VIDEO_SUFFIXES

_KEY = "watch"
_SOURCES = ["Camera of this browser", "Stream", "File"]


def show() -> None:
    """Draw the page."""
    st.title("Watch")
    left, right = st.columns(2, gap="large")
    with right:
        choice = choose_model(_KEY)
        rules = _choose_rules(choice) if choice else {}
    with left:
        kind = st.segmented_control("Source", _SOURCES, default=_SOURCES[0], required=True)
        if choice is None:
            return
        source = None if kind == _SOURCES[0] else _choose_address() if kind == "Stream" else _choose_file()
        if _is_watching("watch_source"):
            if st.button("Stop", icon=":material/stop:"):
                _stop()
                st.rerun()
        elif kind == _SOURCES[0]:
            _show_camera(choice, rules)
        elif st.button("Watch", type="primary", icon=":material/play_arrow:", disabled=source is None):
            _start("watch_source", source, str(choice.path), choice.options, rules)
            st.rerun()
    if _current() is not None:
        remember_visit()
        with left:
            _draw_look()
        with right:
            _draw_events()


def _choose_rules(choice: ModelChoice) -> dict[str, Any]:
    changed = find_model_file(choice.path).stat().st_mtime_ns
    facts = remembered("computing.describe_model", str(choice.path), changed) or choice.options
    actions = st.multiselect("Tell of", facts.get("classes", ()), placeholder="All actions")
    seconds = st.slider("An action begins and ends after this many seconds", 0.2, 5.0, 1.0, 0.1)
    return {"actions": actions or None, "on_seconds": seconds, "off_seconds": seconds}


def _show_camera(choice: ModelChoice, rules: dict[str, Any]) -> None:
    """Draw the camera; without one, or where it is refused, say what else there is."""
    holder = st.session_state.setdefault("watch holder", {})

    def push(frame: av.VideoFrame) -> av.VideoFrame:
        if (watching := holder.get("watching")) is not None:
            watching.push(frame.to_ndarray(format="rgb24"))
        return frame

    context = webrtc_streamer(
        _KEY,
        mode=WebRtcMode.SENDONLY,
        rtc_configuration={"iceServers": []},  # the page and the browser are one computer
        media_stream_constraints={"video": True, "audio": False},
        video_frame_callback=push,
    )
    if context.state.playing and "watching" not in holder:
        holder["watching"] = _start("watch_camera", str(choice.path), choice.options, rules)
    elif not context.state.playing:
        holder.pop("watching", None)
        if _is_watching("watch_camera"):
            _stop()
        st.caption("START asks for the camera. Where there is none, choose a stream or a file instead.")


def _choose_address() -> str | None:
    hint = "Address of a camera: rtsp://, http:// or https://"
    text = st.text_input(hint, placeholder="rtsp://user:password@192.168.1.20/stream1").strip()
    if text and not text.lower().startswith(("rtsp://", "rtsps://", "http://", "https://")):
        st.error("The address of a camera begins with rtsp:// or http://", icon=":material/error:")
        return None
    return text or None


def _choose_file() -> str | None:
    kinds = [suffix[1:] for suffix in VIDEO_SUFFIXES]
    upload = st.file_uploader("Video file", kinds, label_visibility="collapsed", key="watch upload")
    if upload is None:
        return None
    try:
        return str(keep_upload(upload))
    except (ValueError, OSError) as error:
        st.error(printable(error), icon=":material/error:")
        return None


def _current() -> Watching | None:
    return current_visit().jobs.get(_KEY)


def _is_watching(function: str) -> bool:
    watching = _current()
    return watching is not None and watching.running and watching.function == function


def _start(function: str, *arguments: Any) -> Watching:
    _stop()
    current_visit().jobs[_KEY] = Watching(function, *arguments)
    return current_visit().jobs[_KEY]


def _stop() -> None:
    if (watching := current_visit().jobs.pop(_KEY, None)) is not None:
        watching.cancel()


@st.fragment(run_every=0.25)
def _draw_look() -> None:
    """Draw what was seen last, again and again."""
    watching = _current()
    if watching is None:
        return
    if watching.error:
        st.error(printable(watching.error), icon=":material/error:")
    elif watching.look is None:
        st.info("Loading the model" if watching.running else "It has ended.")
    if watching.look is not None:
        st.image(watching.look.picture, width="stretch")
        words = f"{watching.look.label} {watching.look.confidence:.0%}"
        st.caption(
            f"{words}, {watching.look.lag_seconds:.1f} s late" if watching.running else "It has ended."
        )


@st.fragment(run_every=1.0)
def _draw_events() -> None:
    watching = _current()
    if watching is None or not watching.events:
        st.caption("No event yet.")
        return
    st.dataframe(list(watching.events), hide_index=True)
