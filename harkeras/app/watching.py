"""Watching in the page: a process looks at a source, and tells what it sees.

It is a process of its own for each visitor who watches, as it computes all the time; `harkeras.app.worker`
says why it is no thread of the server. The pictures of a browser's camera are sent to it.
"""

from __future__ import annotations

import io
import multiprocessing
import threading
import time
import weakref
from collections import deque
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

_MOST_EVENTS = 200
_PATIENCE_SECONDS = 5.0
_CAMERA_SECONDS = 1 / 16  # between two pictures of a browser's camera


class Look(NamedTuple):
    """What was seen last: a JPEG with the label drawn on it, the label, and how late that is."""

    picture: bytes
    label: str
    confidence: float
    lag_seconds: float


class Watching:
    """Looks at a source in a process of its own, until it is stopped or forgotten.

    Args:
        function: Of `harkeras.app.watching_work`: "watch_source" or "watch_camera".
        arguments: Its arguments.

    Attributes:
        function: As given.
        look: What was seen last; None before.
        events: What happened, the newest first, in words.
        error: Why it has ended, in one line; empty if it was told to, or the source has ended.
    """

    def __init__(self, function: str, *arguments: Any):
        """Start the process."""
        self.function = function
        self.look: Look | None = None
        self.events: deque[dict[str, Any]] = deque(maxlen=_MOST_EVENTS)
        self.error = ""
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=run_apart, args=(function, arguments, other), daemon=True)
        self._process.start()
        other.close()
        self._pushed = 0.0
        self._finalizer = weakref.finalize(self, _end, self._process)
        threading.Thread(target=_listen, args=(weakref.ref(self), self._connection), daemon=True).start()

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return self._process.is_alive()

    def push(self, image: np.ndarray) -> None:
        """Show it a picture of the browser's camera, uint8 RGB (H, W, 3); it takes some in a second."""
        if time.monotonic() < self._pushed + _CAMERA_SECONDS:
            return
        self._pushed = time.monotonic()
        file = io.BytesIO()
        Image.fromarray(image).save(file, "jpeg", quality=90)
        with suppress(OSError):  # it has ended
            self._connection.send(file.getvalue())

    def cancel(self) -> None:
        """End it."""
        self._finalizer()

    def take(self, message: tuple[str, Any]) -> None:
        """Remember what the process says."""
        kind, value = message
        if kind == "look":
            self.look = Look(*value)
        elif kind == "event":
            self.events.appendleft(value)
        elif kind == "error":
            self.error = value


def run_apart(function: str, arguments: tuple, connection: Connection) -> None:
    """Run a function of `watching_work`, and tell its error, if it is one that a person can mend."""
    from harkeras.app import watching_work

    try:
        getattr(watching_work, function)(*arguments, connection)
    except (BrokenPipeError, EOFError, KeyboardInterrupt):
        return
    except Exception as error:
        connection.send(("error", " ".join(str(error).split()) or type(error).__name__))
    connection.close()


def _listen(watching: weakref.ref, connection: Connection) -> None:
    while True:
        try:
            message = connection.recv()
        except (EOFError, OSError):
            return
        if (target := watching()) is None:
            return
        target.take(message)
        del target


def _end(process: Any) -> None:
    process.terminate()
    process.join(_PATIENCE_SECONDS)
    if process.is_alive():
        process.kill()
