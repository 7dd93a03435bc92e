"""The script that Streamlit runs: the pages, and what is around each of them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import streamlit as st

from harkeras.app.storage import current_visit

# A module of `harkeras.app.views` -> its title and its symbol, one of Google's Material Symbols. (A folder
# beside this script that is called `pages` would mean something to Streamlit.)
PAGES = {
    "recognize": ("Recognize", "movie"),
    "train": ("Train", "model_training"),
    "explore": ("Explore", "search"),
    "teach": ("Teach", "school"),
    "watch": ("Watch", "videocam"),
}
_HOME = "recognize"


def main() -> None:
    """Show the page that was chosen."""
    st.set_page_config("harkeras", "🏃", layout="wide")
    current_visit()  # whose folder is removed when the visitor has gone
    pages = [
        st.Page(
            _shower(name),
            title=title,
            icon=f":material/{symbol}:",
            url_path="home" if name == _HOME else name,
            default=name == _HOME,
        )
        for name, (title, symbol) in PAGES.items()
    ]
    # The first page lies at the root; under its own name it is found as well.
    elsewhere = st.Page(
        lambda: st.switch_page(pages[0]), title=PAGES[_HOME][0], url_path=_HOME, visibility="hidden"
    )
    st.navigation([*pages, elsewhere], position="top").run()


def _shower(name: str) -> Callable[[], None]:
    """Return a function that loads a page when it is first shown: TensorFlow takes some seconds."""

    def show() -> None:
        with st.spinner("Loading"):
            page = import_module(f"harkeras.app.views.{name}")
        page.show()

    return show


if __name__ == "__main__":
    main()
