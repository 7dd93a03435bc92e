"""Work that takes longer than a click: with its progress on the page, and a button to end it.

Streamlit runs a page from top to bottom at each click; what takes long must not stand in its way. A `Job` is
kept with the visit, waits in a thread for the worker's answer, and ends when the visitor has gone. A page
that is loaded anew finds it again.
"""

from __future__ import annotations

import threading
from typing import Any

import streamlit as st

from harkeras.app.storage import current_visit, remember_visit
from harkeras.app.worker import CanceledError, Worker
from harkeras.base.text import printable


class Job:
    """A call of the worker.

    Args:
        worker: Who computes.
        function: Name of the function, see `Worker.call`; it takes `tell`.
        arguments: Its arguments.
        names: Paths, and what they are called on the page, for messages.

    Attributes:
        doing: What is being done.
        share: How much of it is done, 0 to 1.
        result: What the function has returned.
        error: Why there is no result, in one line.
    """

    def __init__(self, worker: Worker, function: str, arguments: tuple, names: dict[str, str]):
        """Start the thread."""
        self.doing, self.share, self.result, self.error = "Loading", 0.0, None, None
        self._call, self._names, self._canceled = (worker, function, arguments), names, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether the work goes on."""
        return self._thread.is_alive()

    @property
    def canceled(self) -> bool:
        """Whether it was told to end."""
        return self._canceled.is_set()

    def cancel(self) -> None:
        """End the work at its next step."""
        self._canceled.set()

    def tell(self, doing: str, share: float) -> None:
        """Remember the progress; raise CanceledError if the work is to end."""
        if self.canceled:
            raise CanceledError
        self.doing, self.share = doing, share

    def _run(self) -> None:
        worker, function, arguments = self._call
        try:
            self.result = worker.call(function, *arguments, tell=self.tell)
        except CanceledError:
            pass
        except (RuntimeError, OSError) as error:
            self.error = one_line(error, self._names)


def one_line(error: Exception, names: dict[str, str] | None = None) -> str:
    """Return the text of an error with the names that the visitor knows in place of paths."""
    text = str(error)
    for path, name in (names or {}).items():
        text = text.replace(path, name)
    return printable(" ".join(text.split()))


@st.cache_resource(show_spinner=False)
def shared_worker() -> Worker:
    """Return the one worker of the server."""
    return Worker()


def compute(function: str, *arguments: Any) -> Any:
    """Return what a quick function returns, computed by the worker."""
    with st.spinner("One moment"):
        return shared_worker().call(function, *arguments)


def remembered(function: str, *arguments: Any, default: Any = None) -> Any:
    """Return what a quick function returned when first called.

    While the worker is busy, it is the default, and the page runs again when the worker is free.
    """
    known, key = _answers(), (function, arguments)
    if key not in known:
        if shared_worker().busy:
            _run_again_when_free()
            return default
        known[key] = compute(function, *arguments)
    return known[key]


@st.cache_resource(show_spinner=False)
def _answers() -> dict[tuple, Any]:
    return {}


@st.fragment(run_every=0.5)
def _run_again_when_free() -> None:
    if not shared_worker().busy:
        st.rerun()


def start_job(key: str, function: str, *arguments: Any, names: dict[str, str] | None = None) -> None:
    """Start a job in place of an older one of the same key."""
    end_job(key)
    current_visit().jobs[key] = Job(shared_worker(), function, arguments, names or {})
    remember_visit()


def end_job(key: str) -> None:
    """Forget a job; if it runs, it ends."""
    if (job := current_visit().jobs.pop(key, None)) is not None:
        job.cancel()


def show_job(key: str) -> Any:
    """Draw the progress of a job with a button to cancel it, or its error; return its result."""
    job = current_visit().jobs.get(key)
    place = st.container()  # there without a job too: what is below must not move, a player would begin anew
    if job is None:
        return None
    remember_visit()
    with place:
        if job.running:
            _draw_progress(key)
        elif job.error is not None:
            st.error(job.error, icon=":material/error:")
        elif job.canceled:
            st.info("Canceled.")
    return job.result


@st.fragment(run_every=0.5)
def _draw_progress(key: str) -> None:
    job = current_visit().jobs.get(key)
    if job is None or not job.running:
        st.rerun()
    bar, button = st.columns([5, 1], vertical_alignment="center")
    doing = "Ending" if job.canceled else job.doing
    bar.progress(job.share, f"{doing}: {job.share:.0%}" if job.share else doing)
    if button.button("Cancel", key=f"cancel {key}", width="stretch"):
        job.cancel()
