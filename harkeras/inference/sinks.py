"""Where events go: a file, an address on the web. What is slow there never holds the stream back."""

from __future__ import annotations

import base64
import http.client
import json
import os
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections import deque
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

import numpy as np

from harkeras.base.files import naming, resolve_target
from harkeras.inference.events import ActionEvent

_MOST_WAITING = 1000  # events
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 60.0
_REQUEST_SECONDS = 10.0
_FAREWELL_SECONDS = 5.0

Say = Callable[[str], None]


def warn(text: str) -> None:
    """Say something in a warning."""
    warnings.warn(text, stacklevel=3)


class EventSink:
    """Where events go; it is closed at the end of a `with` block.

    A class of your own overrides `on_event`, and what else it needs. Its methods must not wait for anything
    slow: the stream waits for them.

    Attributes:
        needs_frames: Whether it wants frames; otherwise they are not even copied for it.
    """

    needs_frames = False

    def on_event(self, event: ActionEvent) -> None:
        """Take in an event."""
        raise NotImplementedError

    def on_frame(self, image: np.ndarray, seconds: float, label: str | None, confidence: float) -> None:
        """Take in a frame; the events that begin or end at it come behind it.

        Args:
            image: uint8 RGB (H, W, 3), which nobody changes later.
            seconds: When it appeared, on the clock of the source.
            label: What is to be written on it; None where nothing is, or all is drawn already.
            confidence: The probability of the label.
        """

    def close(self) -> None:
        """Deliver what can be delivered in a bounded time; a second call does nothing."""

    def __enter__(self) -> EventSink:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.close()


class JsonLinesSink(EventSink):
    """Append each event to a file as one line of JSON, see `ActionEvent.to_dict`.

    A line is written whole and at once, so that other programs may follow the file, and several may write it.

    Args:
        path: The file; its folder is made. What it holds stays.

    Raises:
        ValueError: If `path` is no regular file.
        OSError: If the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike):
        """Open the file, so that a path that cannot be written is known at once."""
        self.path = resolve_target(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a+b", buffering=0)
        size = self._file.seek(0, os.SEEK_END)
        if size:
            self._file.seek(size - 1)
            if self._file.read(1) != b"\n":  # another program was ended in the middle of a line
                self._file.write(b"\n")

    def on_event(self, event: ActionEvent) -> None:
        """Write a line."""
        line = json.dumps(event.to_dict(), ensure_ascii=False) + "\n"
        with naming(self.path):
            self._file.write(line.encode(errors="backslashreplace"))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class WebhookSink(EventSink):
    """POST each event to an address as JSON, see `ActionEvent.to_dict`, in their order.

    A thread delivers them. While the target cannot be reached or answers with anything but success, the first
    event is tried again after 1, 2, 4 and up to 60 s, and others wait behind it, up to 1000; of more, the
    oldest are dropped. That a target is down, and that it is back, is said once each. At the end 5 s are left
    to deliver what waits; how many events could not be delivered is said.

    Args:
        url: Address, http or https; a user and a password in it are sent as basic authentication.
        say: Is told what goes wrong, from the thread; a warning by default.

    Raises:
        ValueError: If `url` is no such address.
    """

    def __init__(self, url: str, *, say: Say = warn):
        """Start the thread."""
        self._url, self._headers = _read_address(url)
        self.name = f"webhook {urlsplit(self._url).netloc}"
        self._say = say
        self._waiting: deque[bytes] = deque()
        self._dropped = 0
        self._change = threading.Condition()
        self._deadline: float | None = None  # of what is delivered after `close`
        # A redirected POST would arrive as a GET without the event.
        self._opener = urllib.request.build_opener(_NoRedirect)
        self._thread = threading.Thread(target=self._deliver_all, name=self.name, daemon=True)
        self._thread.start()

    def on_event(self, event: ActionEvent) -> None:
        """Put an event into the queue."""
        body = json.dumps(event.to_dict()).encode()
        with self._change:
            if len(self._waiting) == _MOST_WAITING:
                self._waiting.popleft()
                self._dropped += 1
            self._waiting.append(body)
            self._change.notify()

    def close(self) -> None:
        """Deliver what waits, for 5 s at most, and say how many events were not delivered."""
        if self._deadline is not None:
            return
        with self._change:
            self._deadline = time.monotonic() + _FAREWELL_SECONDS
            self._change.notify()
        self._thread.join(_FAREWELL_SECONDS + 1)
        if lost := self._dropped + len(self._waiting):
            self._say(f"{self.name}: {lost} {'event was' if lost == 1 else 'events were'} not delivered")

    def _deliver_all(self) -> None:
        pause, down = 0.0, False
        while True:
            with self._change:
                self._change.wait_for(lambda: self._deadline is not None or self._waiting)
                if not self._waiting:
                    return
                if pause:
                    self._change.wait_for(lambda: self._deadline is not None, timeout=pause)
                if self._deadline is not None and time.monotonic() >= self._deadline:
                    return
                body = self._waiting[0]
            problem = self._post(body)
            if problem is None:
                with self._change:
                    if self._waiting and self._waiting[0] is body:  # else it was dropped meanwhile
                        self._waiting.popleft()
                    else:
                        self._dropped -= 1
                if down:
                    self._say(f"{self.name}: it takes events again")
                pause, down = 0.0, False
                continue
            if not down:
                self._say(f"{self.name}: {problem}; events wait until it takes them")
            down = True
            if self._deadline is not None:
                return
            pause = min(max(2 * pause, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)

    def _post(self, body: bytes) -> str | None:
        """Send an event, and return what went wrong, if anything."""
        timeout = _REQUEST_SECONDS
        if self._deadline is not None:
            timeout = max(self._deadline - time.monotonic(), 0.1)
        request = urllib.request.Request(self._url, body, self._headers, method="POST")
        try:
            with self._opener.open(request, timeout=timeout):
                return None
        except urllib.error.HTTPError as error:
            error.close()
            return f"it answered {error.code} {error.reason}"
        except (OSError, http.client.HTTPException, ValueError) as error:
            return f"it cannot be reached ({getattr(error, 'reason', None) or error or type(error).__name__})"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def _read_address(url: str) -> tuple[str, dict[str, str]]:
    """Return an address without its password, and the headers of a request."""
    message = "url must be an address that begins with http:// or https://"
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError as error:
        raise ValueError(f"{message}, got {url!r} ({error})") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable() or " " in url:
        raise ValueError(f"{message}, got {url!r}")
    headers = {"Content-Type": "application/json", "User-Agent": "harkeras"}
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return parts._replace(netloc=host + port, fragment="").geturl(), headers
