"""Where the app keeps files: a private folder for each visitor, removed with the visit, and the models.

Names that users gave to their files never become paths. What a server that was killed has left is removed by
the next one: each holds a lock in its folder, which the system takes back when it ends, however it ends.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import sys
import tempfile
import weakref
from pathlib import Path
from typing import Any

import streamlit as st
from filelock import FileLock, Timeout

from harkeras.base.text import printable
from harkeras.video.reading import VIDEO_SUFFIXES

_PREFIX = "harkeras-app-"
_LOCK = "server.lock"
_PARAMETER = "visit"  # of the address of a page


class Visit:
    """One visitor, that is, one tab: a folder and jobs, until Streamlit forgets the session.

    A page that is loaded anew is a new session, which finds the visit of the one before by the address of the
    page, as long as that one is not forgotten: for two minutes.

    Attributes:
        folder: For this user of the computer alone.
        token: In the address of the page; nobody can guess it.
        jobs: By their keys, see `harkeras.app.jobs`.
        uploads: Files that were kept, by Streamlit's names of uploads.
        state: What pages remember when they are loaded anew.
    """

    def __init__(self, server_folder: Path):
        """Make the folder."""
        self.folder = Path(tempfile.mkdtemp(dir=server_folder))
        self.token = secrets.token_urlsafe(16)
        self.jobs: dict[str, Any] = {}
        self.uploads: dict[str, Path] = {}
        self.state: dict[str, Any] = {}
        weakref.finalize(self, _end, self.folder, self.jobs)


def models_folder() -> Path:
    """Return the folder of the models, the argument of the script: saved_models by default."""
    return Path(sys.argv[1] if len(sys.argv) > 1 else "saved_models")


@st.cache_resource(show_spinner=False)
def server_folder() -> Path:
    """Make the folder of this server, for this user alone, and remove those of servers that are gone."""
    remove_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    lock = FileLock(folder / _LOCK, is_singleton=False)
    lock.acquire()
    atexit.register(_remove_with_lock, folder, lock)
    return folder


def remove_leftovers() -> None:
    """Remove the folders that servers of this user have left which no longer run."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        lock = folder / _LOCK
        if folder.is_symlink() or not lock.is_file() or not _is_ours(folder):
            continue
        try:
            with FileLock(lock, timeout=0, is_singleton=False):
                shutil.rmtree(folder, ignore_errors=True)
        except (Timeout, OSError):
            continue


def current_visit() -> Visit:
    """Return the visit of the session that runs the script, or that its address names."""
    if "visit" not in st.session_state:
        visit = _visits().get(st.query_params.get(_PARAMETER, "")) or Visit(server_folder())
        st.session_state.visit = _visits()[visit.token] = visit
    return st.session_state.visit


def remember_visit() -> None:
    """Write the visit into the address of the page, where it is found when the page is loaded anew."""
    token = current_visit().token
    if st.query_params.get(_PARAMETER) != token:
        st.query_params[_PARAMETER] = token


@st.cache_resource(show_spinner=False)
def _visits() -> weakref.WeakValueDictionary[str, Visit]:
    return weakref.WeakValueDictionary()


def keep_upload(upload: Any) -> Path:
    """Write what was uploaded into the visitor's folder, once, and return its path.

    Args:
        upload: What `st.file_uploader` returns.

    Raises:
        ValueError: If it is empty.
    """
    if not upload.size:
        raise ValueError(f"{printable(upload.name)} is empty")
    kept = current_visit().uploads
    if upload.file_id not in kept:
        if not any(job.running for job in current_visit().jobs.values()):  # one at a time is enough
            for path in kept.values():
                path.unlink(missing_ok=True)
            kept.clear()
        suffix = Path(upload.name).suffix.lower()
        path = new_file("upload", suffix if suffix in VIDEO_SUFFIXES else "")
        with path.open("wb") as file:
            shutil.copyfileobj(upload, file)
        kept[upload.file_id] = path
    return kept[upload.file_id]


def new_file(name: str, suffix: str = "") -> Path:
    """Return a path in the visitor's folder that is not used yet."""
    return current_visit().folder / f"{name}-{secrets.token_hex(8)}{suffix}"


def _is_ours(folder: Path) -> bool:
    return not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()


def _end(folder: Path, jobs: dict[str, Any]) -> None:
    for job in jobs.values():
        job.cancel()
    shutil.rmtree(folder, ignore_errors=True)


def _remove_with_lock(folder: Path, lock: FileLock) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    lock.release()
