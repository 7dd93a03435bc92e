"""Beside the labels: how many there are, what the model is worth, and what to do with both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import altair
import streamlit as st

from harkeras.app import jobs
from harkeras.app.labeler import keep
from harkeras.base.text import printable
from harkeras.data.annotation_writers import write_annotations
from harkeras.teaching.labels import LabeledRecordings

_KEY = "teach retrain"
_FORMATS = {
    "Table (CSV)": ("csv", "csv"),
    "VoTT": ("vott", "json"),
    "Label Studio": ("label_studio", "json"),
    "CVAT": ("cvat", "xml"),
    "ActivityNet": ("activitynet", "json"),
    "BORIS": ("boris", "boris"),
    "ELAN": ("elan", "eaf"),
}


def show_panel(project: LabeledRecordings) -> None:
    """Draw the panel."""
    counts = project.counts()
    rows = [{"class": name, "to learn": learn, "to score": score} for name, (learn, score) in counts.items()]
    st.dataframe(rows, hide_index=True)
    undo, retrain = st.columns(2)
    if undo.button("Undo", icon=":material/undo:", width="stretch", help="Take the last answer back"):
        _undo(project)
    if retrain.button("Retrain", icon=":material/model_training:", type="primary", width="stretch"):
        jobs.start_job(_KEY, "teaching_work.retrain", str(project.folder))
    with st.container():  # whatever is in it, what is below does not move: an open expander would close
        _show_models(project)
    _show_exports(project)


def _show_models(project: LabeledRecordings) -> None:
    result = jobs.show_job(_KEY)
    if result is not None:
        _show_result(result)
        return
    models = sorted(project.folder.glob("models/*.keras"))
    if models:
        _show_score(jobs.remembered("teaching_work.read_score", str(project.folder), models[-1].name))


def _undo(project: LabeledRecordings) -> None:
    words: list[str] = []
    if keep(lambda: words.append(project.undo())):
        st.toast(f"Taken back: {printable(words[0])}" if words[0] else "There is nothing to take back.")
        st.rerun()


def _show_result(result: dict[str, Any]) -> None:
    if result["accepted"]:
        st.success("The new model was taken over.")
    else:
        st.warning("The model before does better, and stays.")
    _show_score(result["score"], result["before"])
    if result["curve"] is not None:
        points = altair.Chart(altair.Data(values=result["curve"]["points"])).encode(
            altair.X("clips:Q", title="labeled ranges")
        )
        scale = altair.Scale(domain=[0, 1])
        line = points.mark_line(point=True).encode(altair.Y("accuracy:Q", title="accuracy", scale=scale))
        band = points.mark_area(opacity=0.2).encode(altair.Y("low:Q", scale=scale), altair.Y2("high:Q"))
        st.altair_chart((band + line).properties(height=180))
        st.caption(result["curve"]["sentence"])


def _show_score(score: dict[str, Any] | None, before: float | None = None) -> None:
    if score is None:
        st.caption("No score yet: that takes labels in several recordings.")
        return
    change = None if before is None else f"{score['balanced_accuracy'] - before:+.0%} from the model before"
    st.metric(f"Balanced accuracy, {score['how']}", f"{score['balanced_accuracy']:.0%}", change)
    low, high = score["interval"]
    sources = "1 source" if score["sources"] == 1 else f"{score['sources']} sources"
    st.caption(
        f"{score['right']} of {score['ranges']} ranges of {sources} right; accuracy {low:.0%} to {high:.0%}"
    )


def _show_exports(project: LabeledRecordings) -> None:
    with st.expander("Take it elsewhere"):
        name = st.selectbox("Labels for", _FORMATS)
        file_format, suffix = _FORMATS[name]
        if st.button("Write the labels", width="stretch"):
            target, files = project.folder / "exports" / f"labels.{suffix}", list[Path]()
            options = {"videos": project.folder, "format": file_format}
            if keep(lambda: files.extend(write_annotations(project.ranges, target, **options))):
                st.success("Written: " + ", ".join(printable(each) for each in files))
        if st.button("Cut the labeled ranges into clips", width="stretch"):
            clips = project.folder / "clips"
            if keep(lambda: project.cut(clips)):
                st.success(f"They are in {printable(clips)}; the page Train trains on it.")
