"""Train: a folder of clips or pictures in, what is in it, and a model with its report out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from harkeras.app import jobs
from harkeras.app.curves import draw_curves
from harkeras.app.storage import models_folder
from harkeras.app.trainings import Training, list_trainings, start_training
from harkeras.base.text import counted, printable

_KEY = "inspect"
_SAMPLES = "data/sample"


def show() -> None:
    """Draw the page."""
    st.title("Train")
    trainings = list_trainings(models_folder())
    running = next((training for training in trainings if training.running), None)
    if running is not None:
        _show_running(running.folder)
        return
    if trainings and not st.session_state.get("train anew"):
        _show_result(trainings[0])
        if st.button("Train another model", type="primary"):
            st.session_state["train anew"] = True
            st.rerun()
        return
    _choose_folder()
    contents = jobs.show_job(_KEY)
    if contents is not None and _show_contents(contents):
        st.session_state.pop("train anew", None)
        jobs.end_job(_KEY)
        st.rerun()


def _choose_folder() -> None:
    """Draw the choice of the clips, and look into them."""
    kind = st.segmented_control("Clips", ["Folder", "Samples"], default="Folder", required=True)
    if kind == "Samples":
        st.caption(f"Rendered figures, in {_SAMPLES}: five actions, to try all of this.")
        if st.button("Render and look"):
            jobs.start_job(_KEY, "inspecting.inspect_samples", _SAMPLES)
        return
    hint = "Folder on this computer with one folder of clips, or of pictures, per class"
    text = st.text_input(hint, placeholder="/home/me/my_actions").strip()
    if st.button("Look into it", disabled=not text):
        jobs.start_job(_KEY, "inspecting.inspect_folder", str(Path(text).expanduser()))


def _show_contents(contents: dict[str, Any]) -> bool:
    """Draw what is in a folder, and how to train on it; return whether a training was started."""
    rows, noun = contents["rows"], "picture" if contents["still"] else "clip"
    clips = sum(row[f"{noun}s"] for row in rows)
    st.subheader(f"{counted(clips, noun)} of {counted(len(rows), 'class', 'classes')}")
    pictures = {name: picture for name, picture in contents["pictures"].items() if picture is not None}
    with st.container(horizontal=True):
        for name, picture in list(pictures.items())[:10]:
            st.image(picture, printable(name), width=128)
    st.dataframe(rows, hide_index=True)
    st.caption(printable(contents["sources"]))
    for note in contents["notes"]:
        st.warning(printable(note), icon=":material/warning:")
    if contents["unreadable"]:
        with st.expander(f"Left out, because they cannot be read: {len(contents['unreadable'])}"):
            st.text("\n".join(map(printable, contents["unreadable"])))
    return _start(contents["data_dir"], contents["models"], contents["still"])


def _start(data_dir: str, models: list[str], still: bool) -> bool:
    hint = "auto finds out what suits real clips; the others learn to see from these clips alone."
    model = st.selectbox("Model", models, help=hint)
    settings: dict[str, Any] = {"data_dir": data_dir, "model": model}
    with st.form("start", border=model != "auto"):
        if model != "auto":
            settings |= _choose_settings(still)
        if not st.form_submit_button("Train", type="primary"):
            return False
    start_training(models_folder(), settings)
    return True


def _choose_settings(still: bool) -> dict[str, Any]:
    """Draw what a network that is trained from end to end has to be told."""
    first, second = st.columns(2), st.columns(2 if still else 3)
    epochs = first[0].number_input("Epochs, at most", 1, 1000, 50)
    batch_size = first[1].number_input("Pictures per step" if still else "Clips per step", 1, 256, 8)
    frames = 1 if still else second[0].number_input("Frames of a clip", 2, 128, 20)
    height = second[-2].number_input("Height in pixels", 16, 512, 64)
    width = second[-1].number_input("Width in pixels", 16, 512, 64)
    shape = (int(frames), int(height), int(width), 3)
    return {"epochs": int(epochs), "batch_size": int(batch_size), "input_shape": shape}


@st.fragment(run_every=1.0)
def _show_running(folder: Path) -> None:
    training = Training(folder)
    if not training.running:
        st.rerun()
    settings, progress = training.settings, training.progress
    st.subheader(printable(f"{settings['model']} learns {settings['data_dir']}"))
    left = f", {progress.left} left" if progress.left else ""
    st.progress(min(progress.share, 1.0), f"{printable(progress.doing)}: {progress.share:.0%}{left}")
    draw_curves(training.epochs)
    st.caption("It goes on when you close this page, and you find it here again.")
    first, second, _ = st.columns([2, 2, 3])
    if training.epochs and first.button("Stop, and keep the best so far", width="stretch"):
        training.stop()
    if second.button("End at once", width="stretch"):
        training.stop(at_once=True)
    with st.expander("What it says"):
        st.code(printable_lines(training.log), language=None, height=240)


def _show_result(training: Training) -> None:
    """Draw the report of the newest training."""
    result, settings = training.result, training.settings
    st.subheader(printable(f"{settings['model']} on {settings['data_dir']}"))
    if "error" in result:
        st.error(printable(result["error"]), icon=":material/error:")
        draw_curves(training.epochs)
        with st.expander("What it said"):
            st.code(printable_lines(training.log), language=None, height=240)
        return
    run = Path(result["run"])
    report = (run / "report.txt").read_text(encoding="utf-8")
    st.info(printable(" ".join(report.split("\n")[2:5])), icon=":material/check:")
    st.markdown("The model lies in")
    st.code(str(run), language=None)
    draw_curves(training.epochs)
    pictures = [run / f"{name}.png" for name in ("confusion", "learning_curve", "mistakes")]
    for column, picture in zip(st.columns(2) * 2, filter(Path.exists, pictures), strict=False):
        column.image(str(picture))
    with st.expander("The whole report"):
        st.code(report, language=None)


def printable_lines(text: str) -> str:
    """Return text of which each line is printable."""
    return "\n".join(map(printable, text.split("\n")))
