"""The recordings of a project in the page: what there is, and adding more."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import streamlit as st

from harkeras.app import jobs
from harkeras.base.files import partial_name, publish
from harkeras.base.text import duration, printable
from harkeras.teaching.labels import LabeledRecordings
from harkeras.video.reading import VIDEO_SUFFIXES

_KEY = "teach"


def show_recordings(project: LabeledRecordings) -> None:
    """Draw the ways to add recordings, and the table of those there are."""
    with st.form("teach add", clear_on_submit=True):
        hint = "A file, a folder or an address on this computer or the web"
        text = st.text_input(hint, placeholder="recordings/monday.mp4").strip()
        kinds = [each[1:] for each in VIDEO_SUFFIXES]
        uploads = st.file_uploader("or files to copy into the project", kinds, accept_multiple_files=True)
        if st.form_submit_button("Add", type="primary"):
            videos = [str(_take_over(project, each)) for each in uploads] + ([text] if text else [])
            if videos:
                jobs.start_job(_KEY, "teaching_work.add_recordings", str(project.folder), videos)
                st.rerun()
    rows = [
        {
            "recording": printable(each.video),
            "length": duration(each.seconds),
            "labels": sum(item.video == project.path_of(each) for item in project.ranges),
            "held out": bool(each.held_out),
            "problem": printable(each.problem),
        }
        for each in project.recordings
    ]
    if rows:
        st.dataframe(rows, hide_index=True)
        st.caption("Models are scored on the recordings that are held out, and never learn from them.")
        if st.button("Look at what was not looked at yet"):
            jobs.start_job(_KEY, "teaching_work.compute_features", str(project.folder))
            st.rerun()


def _take_over(project: LabeledRecordings, upload: Any) -> Path:
    """Write what was uploaded into the project, under a name of letters, digits and dashes."""
    stem = re.sub(r"[^\w-]+", "_", Path(upload.name).stem)[:80].strip("_") or "upload"
    suffix = Path(upload.name).suffix.lower()
    suffix = suffix if suffix in VIDEO_SUFFIXES else ".video"
    target = project.folder / "recordings" / f"{stem}{suffix}"
    target.parent.mkdir(exist_ok=True)
    partial = partial_name(target)
    try:
        with partial.open("wb") as file:
            shutil.copyfileobj(upload, file)
        return publish(partial, target, overwrite=False)
    finally:
        partial.unlink(missing_ok=True)
