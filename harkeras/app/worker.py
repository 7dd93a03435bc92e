"""The process in which models compute.

Streamlit clears the state of Keras after each run of a page, and collects garbage: what computes meanwhile in
a thread of the same process loses its kernels, again and again. So the server does not import Keras at all.
One process does, which keeps the models that it has loaded; it takes one call after the other, from all
visitors.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

from harkeras.base.progress import Progress

_PATIENCE_SECONDS = 10.0  # of somebody who has canceled
_POLL_SECONDS = 0.1


class CanceledError(Exception):
    """Somebody has ended the work."""


class Worker:
    """Calls functions in a process of its own, which starts with the first call and again if it has died."""

    def __init__(self) -> None:
        """Nothing is started yet."""
        self._lock, self._process = threading.Lock(), None

    @property
    def busy(self) -> bool:
        """Whether a call is being computed."""
        return self._lock.locked()

    def call(self, function: str, *arguments: Any, tell: Progress | None = None) -> Any:
        """Return `function(*arguments)`, computed in the process; its errors come as RuntimeError.

        Args:
            function: Module in `harkeras.app` and function, such as "computing.recognize"; with `tell`,
                it takes a function of the progress as `tell`.
            arguments: What can be pickled.
            tell: Is told the progress, see `harkeras.base.progress`, and what the call waits for. If it
                raises CanceledError, the call ends, if need be with the process.

        Raises:
            CanceledError: As `tell` does.
            RuntimeError: If the function raised an error, or the process died, perhaps for want of memory.
        """
        while not self._lock.acquire(timeout=_POLL_SECONDS):
            if tell is not None:
                tell("Waiting for another computation", 0.0)
        try:
            return self._call(function, arguments, tell)
        finally:
            self._lock.release()

    def _call(self, function: str, arguments: tuple, tell: Progress | None) -> Any:
        if self._process is None or not self._process.is_alive():
            self._start()
        self._cancel.clear()
        self._connection.send((function, arguments, tell is not None))
        doing, share, canceled_at = "Loading", 0.0, None
        while True:
            try:
                kind, value = (
                    self._connection.recv() if self._connection.poll(_POLL_SECONDS) else (None, None)
                )
            except (EOFError, OSError):
                self._stop()
                raise RuntimeError("the computing process has ended, perhaps for want of memory") from None
            if kind == "result":
                return value
            if kind == "error":
                raise value
            if kind == "progress":
                doing, share = value
            try:
                if tell is not None:
                    tell(doing, share)
            except CanceledError:
                self._cancel.set()
                canceled_at = canceled_at or time.monotonic()
                if time.monotonic() > canceled_at + _PATIENCE_SECONDS:
                    self._stop()
                    raise

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._cancel = context.Event()
        self._process = context.Process(target=serve, args=(other, self._cancel), daemon=True)
        self._process.start()
        other.close()

    def _stop(self) -> None:
        self._connection.close()
        self._process.kill()
        self._process.join()
        self._process = None


def serve(connection: Connection, cancel: Any) -> None:
    """Answer calls until the other end is closed."""

    def tell(doing: str, share: float) -> None:
        connection.send(("progress", (doing, share)))
        if cancel.is_set():
            raise CanceledError

    while True:
        try:
            function, arguments, told = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            module, _, name = function.partition(".")
            work = getattr(import_module(f"harkeras.app.{module}"), name)
            answer = "result", work(*arguments, **({"tell": tell} if told else {}))
        except BrokenPipeError:
            return
        except Exception as error:
            answer = "error", _plain(error)
        connection.send(answer)


def _plain(error: Exception) -> Exception:
    """Return an error that can be pickled and says the same; one that nobody foresaw is named."""
    text = str(error)
    if isinstance(error, CanceledError):
        return error
    if isinstance(error, ValueError | OSError | RuntimeError | MemoryError | ImportError):
        return RuntimeError(text)
    return RuntimeError(f"{type(error).__name__}: {text}")
