"""Teach: label a little, see what is made of the rest, correct it, and train anew."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from harkeras.app import jobs
from harkeras.app.contact_sheet import show_contact_sheet
from harkeras.app.labeler import keep, show_labeler
from harkeras.app.playing_copies import playing_file
from harkeras.app.recordings import show_recordings
from harkeras.app.teaching_panel import show_panel
from harkeras.base.text import printable
from harkeras.teaching.labels import LabeledRecordings
from harkeras.teaching.suggesting import Suggestion
from harkeras.video.reading import VideoError

_KEY = "teach"


def show() -> None:
    """Draw the page."""
    st.title("Teach")
    try:
        project = _open_project()
        if project is not None:
            _show_project(project)
    except (OSError, ValueError, VideoError) as error:
        st.error(printable(error), icon=":material/error:")


def _open_project() -> LabeledRecordings | None:
    """Draw the choice of a folder; open it, or offer to make a project of it."""
    # What the address of the page says is opened again after a reload.
    known = st.query_params.get("project", "")
    text = st.text_input("Folder of the project", known, placeholder="projects/falls").strip()
    if not text:
        st.info(
            "A project is a folder with the names of recordings, what was labeled in them, and models. Name "
            "one, or a new one.",
            icon=":material/folder_open:",
        )
        return None
    st.query_params["project"] = text
    folder = Path(text).expanduser()
    if (folder / "project.json").exists():
        return LabeledRecordings(folder)
    with st.form("teach create"):
        st.write(f"There is no project in {printable(folder)} yet.")
        names = st.text_input(
            "Actions to tell apart, with commas between them", placeholder="Falling, Walking"
        )
        if st.form_submit_button("Make the project", type="primary"):
            classes = [name.strip() for name in names.split(",") if name.strip()]
            jobs.compute("teaching_work.create_project", str(folder), classes)
            st.rerun()
    return None


def _show_project(project: LabeledRecordings) -> None:
    with st.container():  # without a problem too: what is below must not move, the player would begin anew
        if problem := st.session_state.pop("teach problem", None):
            st.error(problem, icon=":material/error:")
    left, right = st.columns([3, 1], gap="large")
    with left:
        views = {"Recordings": show_recordings, "Label": _show_label, "Suggestions": _show_suggestions}
        first = "Label" if project.recordings else "Recordings"
        view = st.segmented_control(
            "View", list(views), default=first, required=True, label_visibility="collapsed"
        )
        jobs.show_job(_KEY)
        views[view](project)
    with right:
        show_panel(project)


def _show_label(project: LabeledRecordings) -> None:
    readable = {
        printable(each.video): project.path_of(each) for each in project.recordings if not each.problem
    }
    if not readable:
        st.info("Add recordings first.")
        return
    video = readable[st.selectbox("Recording", list(readable))]
    playing = playing_file(project, video)
    if playing != video and not playing.exists():
        st.info("Browsers cannot play this file, or it is very large.")
        if st.button("Make a small copy to look at", type="primary"):
            jobs.start_job(_KEY, "playing_copies.make_playing_copy", video, playing)
            st.rerun()
        return
    show_labeler(project, video, playing, "teach")
    hint = "Where nothing is labeled, nothing happens; a model has to know what that looks like."
    if st.button("Nothing happens in the rest of this recording", help=hint):
        keep(lambda: project.label_rest(video))
        st.rerun()


def _show_suggestions(project: LabeledRecordings) -> None:
    hint = "Ranges of the recordings that are held out, drawn at random: what models are scored on."
    held_out = st.toggle("To score on", help=hint)
    if st.button("Suggest", type="primary", icon=":material/lightbulb:"):
        _suggest(project, held_out)
    result = jobs.show_job("teach suggest")
    if result is None:
        st.caption("Ranges that the model is sure of, doubts most, or has not seen the like of.")
        return
    number, suggestions = result
    if not suggestions:
        st.info("There is nothing left to ask about.")
        return

    def answer(said: list[tuple[Suggestion, str]]) -> None:
        for suggestion, label in said:
            keep(lambda each=suggestion, label=label: _answer(project, each, label))
        _suggest(project, held_out)

    show_contact_sheet(suggestions, project.classes, f"teach sheet {number}", answer)


def _answer(project: LabeledRecordings, suggestion: Suggestion, label: str) -> None:
    if label:
        project.answer(suggestion, label)
    else:
        project.reject(suggestion)


def _suggest(project: LabeledRecordings, held_out: bool) -> None:
    number = st.session_state["teach round"] = st.session_state.get("teach round", 0) + 1
    jobs.start_job("teach suggest", "teaching_work.suggest", str(project.folder), held_out, number)
