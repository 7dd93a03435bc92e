"""What a process that watches does, see `harkeras.app.watching`."""

from __future__ import annotations

import io
import itertools
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from PIL import Image

from harkeras.inference.decisions import UNSURE
from harkeras.inference.events import ActionEvent
from harkeras.inference.resolve import load_named, resolve_model
from harkeras.inference.watching import WatchState, watch
from harkeras.video.drawing import class_color, draw_caption
from harkeras.video.live import SourceEvent

_PICTURE_SECONDS = 0.15  # a page is no faster
_WIDTH = 640
_PROBED = 30  # pictures that a slow camera is not waited for: who opens a stream looks at some first


def watch_source(
    source: str, model: str, options: dict[str, Any], rules: dict[str, Any], connection: Connection
) -> None:
    """Watch a stream or a file, at its own speed.

    Args:
        source: What `harkeras.inference.watch` takes.
        model: Path of the model.
        options: What a model without a recipe needs.
        rules: `actions`, `on_seconds` and `off_seconds`.
        connection: Is told looks and events.
    """
    loaded, shown = load_named(model), 0.0
    classes = resolve_model(loaded, **options).recipe.classes

    def show(state: WatchState) -> None:
        nonlocal shown
        if time.monotonic() < shown + _PICTURE_SECONDS:
            return
        shown = time.monotonic()
        labels = list(state.labels.values())
        label, confidence = labels[0] if labels else (UNSURE, 0.0)
        if len(labels) > 1:
            label, confidence = ", ".join(sorted({name for name, _ in labels})), min(p for _, p in labels)
        _send(connection, state.frame.image, label, confidence, state.lag_seconds, classes)

    for event in watch(source, loaded, on_state=show, **rules, **options):
        connection.send(("event", _describe(event, source)))


def watch_camera(model: str, options: dict[str, Any], rules: dict[str, Any], connection: Connection) -> None:
    """Watch the pictures that the connection gives, JPEG, as those of any camera in the network."""
    with _serve_pictures(connection) as address:
        watch_source(address, model, options, rules, connection)


@contextmanager
def _serve_pictures(connection: Connection) -> Iterator[str]:
    """Serve the newest picture as Motion JPEG on 127.0.0.1, under a name that nobody knows; yield it."""
    path, newest, came = f"/{secrets.token_urlsafe(16)}.mjpeg", [b""], threading.Condition()

    def receive() -> None:
        with suppress(OSError, EOFError):
            while True:
                picture = connection.recv()
                with came:
                    newest[0] = picture
                    came.notify_all()

    class Pictures(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != path:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
            self.end_headers()
            with suppress(OSError):
                for count in itertools.count():
                    with came:
                        came.wait(_PICTURE_SECONDS if count < _PROBED else None)
                        picture = newest[0]
                    head = f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                    self.wfile.write(head.encode() + picture + b"\r\n")

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Pictures) as server:
        server.daemon_threads = True
        for work in (receive, server.serve_forever):
            threading.Thread(target=work, daemon=True).start()
        try:
            with came:  # a browser may need long to begin, and who opens a stream does not wait so long
                came.wait_for(lambda: newest[0])
            yield f"http://127.0.0.1:{server.server_port}{path}"
        finally:
            server.shutdown()


def _send(
    connection: Connection,
    image: np.ndarray,
    label: str,
    confidence: float,
    lag_seconds: float,
    classes: tuple[str, ...],
) -> None:
    height, width = image.shape[:2]
    small = Image.fromarray(image)
    if width > _WIDTH:
        small = small.resize((_WIDTH, round(_WIDTH * height / width)))
    drawn = np.array(small)
    known = None if label == UNSURE else confidence
    draw_caption(drawn, label, known, class_color(label, classes))
    file = io.BytesIO()
    Image.fromarray(drawn).save(file, "jpeg", quality=80)
    connection.send(("look", (file.getvalue(), label, float(confidence), float(lag_seconds))))


def _describe(event: ActionEvent | SourceEvent, source: str) -> dict[str, Any]:
    """Return an event as a row of the page's table."""
    row = {"time": event.time.strftime("%H:%M:%S"), "what": event.kind}
    if isinstance(event, ActionEvent):
        row |= {"action": event.label, "seconds": round(event.seconds, 1)}
        row["confidence"] = round(event.confidence, 2)
    else:
        row |= {
            "action": event.message.replace(source, "the camera"),
            "seconds": round(event.seconds, 1),
            "confidence": None,
        }
    return row
