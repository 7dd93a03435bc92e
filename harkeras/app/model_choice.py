"""Choosing a model: a list of what was saved, the newest first, or the path of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import streamlit as st

from harkeras.app.jobs import one_line, remembered
from harkeras.app.storage import models_folder
from harkeras.base.model_files import find_model_file, list_saved
from harkeras.base.text import list_some, printable

_OTHER = "A file elsewhere"
_BUSY: dict[str, Any] = {"busy": True}


class ModelChoice(NamedTuple):
    """A model file or the folder of a run, and what was said of a model that has no recipe."""

    path: Path
    options: dict[str, Any]


def choose_model(key: str) -> ModelChoice | None:
    """Draw the choice of a model; return None, and say why, as long as there is none."""
    saved = {printable(path.name): path for path in list_saved(models_folder())}
    name = st.selectbox("Model", [*saved, _OTHER], key=f"{key} model")
    if name != _OTHER:
        path = saved[name]
    elif text := st.text_input("Path of a .keras file or of a run's folder", key=f"{key} path").strip():
        path = Path(text).expanduser()
    else:
        if not saved:
            st.info(f"There is no model in {models_folder()} yet: train one on the page Train.")
        return None
    try:
        changed = find_model_file(path).stat().st_mtime_ns
        facts = remembered("computing.describe_model", str(path), changed, default=_BUSY)
    except (RuntimeError, OSError) as error:
        st.error(one_line(error), icon=":material/error:")
        return None
    if facts == _BUSY:
        return ModelChoice(path, {})
    if facts is None:
        return _ask(path, key)
    st.caption(f"Knows {printable(list_some(facts['classes'], 8))}. Looks at {facts['looks']}.")
    return ModelChoice(path, {})


def _ask(path: Path, key: str) -> ModelChoice | None:
    """Ask for what a model without a recipe does not say."""
    st.caption("harkeras has not saved this model, so it does not say what its outputs mean.")
    names = st.text_input("Names of its outputs, in order, with commas between them", key=f"{key} classes")
    normalize = st.checkbox("It was trained on pixels from 0 to 1, not 0 to 255", key=f"{key} normalize")
    classes = tuple(name.strip() for name in names.split(",") if name.strip())
    return ModelChoice(path, {"classes": classes, "normalize": normalize}) if classes else None
