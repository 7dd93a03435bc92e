"""Parts of pages in JavaScript: each has a script and a style of its name, and all share `elements.js`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

_FOLDER = Path(__file__).parent


def load_component(name: str) -> Callable[..., Any]:
    """Return what draws a component, see `st.components.v2.component`."""
    script = "\n".join(_read(file) for file in ("elements.js", f"{name}.js"))
    return st.components.v2.component(f"harkeras_{name}", css=_read(f"{name}.css"), js=script)


def _read(file: str) -> str:
    return (_FOLDER / file).read_text(encoding="utf-8")
