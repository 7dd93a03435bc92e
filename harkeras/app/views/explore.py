"""Explore: a test clip, what it shows, what the model says, and where it looks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from harkeras.app import jobs
from harkeras.app.storage import current_visit, models_folder, new_file
from harkeras.base.model_files import list_saved
from harkeras.base.text import printable

_KEY, _MOTION = "explain", "motion"
_SEED = 27


def show() -> None:
    """Draw the page."""
    st.title("Explore")
    runs = {printable(path.name): path for path in list_saved(models_folder()) if _report(path).is_file()}
    if not runs:
        st.info(f"There is no model with a report in {models_folder()} yet: train one on the page Train.")
        return
    run = runs[st.selectbox("Model", runs)]
    try:
        changed = _report(run).stat().st_mtime_ns
        tested = jobs.remembered("exploring.list_test_clips", str(run), changed)
    except (RuntimeError, OSError) as error:
        st.error(jobs.one_line(error), icon=":material/error:")
        return
    if tested is None:
        st.info("Waiting for another computation")
        return
    noun = "pictures" if tested["still"] else "clips"
    st.caption(f"{tested['accuracy']:.0%} of its test {noun} named right: {printable(tested['split'])}")
    with st.container():  # whatever is in it, what is below does not move: an open expander would close
        clip = _choose_clip(tested["clips"])
        if clip is not None:
            _show_clip(run, clip)
    if not tested["still"]:
        _show_motion(run)


def _report(run: Path) -> Path:
    return run / "report.json"


def _choose_clip(clips: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Draw the filters, and return the clip whose turn it is."""
    state = current_visit().state
    left, middle, right = st.columns([2, 3, 1], vertical_alignment="bottom")
    classes = sorted({clip["true"] for clip in clips})
    name = left.selectbox("Class", ["All", *classes], format_func=printable)
    kinds = ["All", "Mistakes", "Mistakes, the surest first"]
    kind = middle.segmented_control("Clips", kinds, default="All", required=True)
    clips = [clip for clip in clips if name in ("All", clip["true"])]
    if kind != "All":
        clips = [clip for clip in clips if clip["named"] != clip["true"]]
    if kind == kinds[2]:
        clips = sorted(clips, key=lambda clip: -clip["confidence"])
    else:
        clips = [clips[row] for row in np.random.default_rng(_SEED).permutation(len(clips))]
    if right.button("Refresh", icon=":material/refresh:", type="primary", width="stretch"):
        state["turn"] = state.get("turn", 0) + 1
    if not clips:
        st.success("None was named wrong." if kind != "All" else "There is none.")
        return None
    return clips[state.get("turn", 0) % len(clips)]


def _show_clip(run: Path, clip: dict[str, Any]) -> None:
    """Draw a clip with the truth and the answer; compute the rest when it is shown first."""
    shown = (str(run), clip["path"])
    state = current_visit().state
    if state.get("explained") != shown:
        state["explained"] = shown
        jobs.start_job(
            _KEY, "exploring.explain", *shown, str(new_file("clip")), names={clip["path"]: clip["name"]}
        )
    right = clip["named"] == clip["true"]
    icon, color = (":material/check:", "green") if right else (":material/close:", "red")
    first, second = st.columns(2)
    first.metric("It shows", printable(clip["true"]))
    second.metric("The model says", f"{printable(clip['named'])}, {clip['confidence']:.0%}")
    word = "right" if right else "wrong"
    st.markdown(f":{color}[{icon} named {word}]")
    st.caption(printable(clip["name"]))
    found = jobs.show_job(_KEY)
    if found is None:
        return
    left, middle, right = st.columns(3)
    with left:
        _draw(found["video"])
    if "heat" in found:
        with middle:
            _draw(found["heat"])
        middle.caption("The brighter, the more it counts for the answer (Grad-CAM).")
    else:
        middle.info(printable(found["no_heat"]))
    with right:
        top = sorted(found["probabilities"].items(), key=lambda each: -each[1])[:8]
        for name, share in top:
            st.progress(min(max(share, 0.0), 1.0), f"{printable(name)} {share:.0%}")


def _draw(path: Path) -> None:
    if path.suffix == ".png":
        st.image(str(path), width="stretch")
    else:
        st.video(str(path), autoplay=True, loop=True, muted=True)


def _show_motion(run: Path) -> None:
    """Measure whether the model uses motion, when asked to."""
    with st.expander("Does it use motion?"):
        st.caption(
            "The test clips again, with their frames shuffled, reversed, and frozen to the middle one. If "
            "frozen frames are named as well as those in order, the model knows places and poses, not motion."
        )
        if st.button("Measure"):
            current_visit().state["measured"] = str(run)
            jobs.start_job(_MOTION, "exploring.measure_motion", str(run))
        if current_visit().state.get("measured") != str(run):
            return
        accuracies = jobs.show_job(_MOTION)
        if accuracies is not None:
            for column, (order, share) in zip(st.columns(4), accuracies.items(), strict=True):
                column.metric(order.replace("_", " "), f"{share:.0%}")
