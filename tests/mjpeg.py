"""A camera on loopback: an HTTP server that sends coded frames as MJPEG, and can be told to misbehave."""

import contextlib
import http.server
import threading
import time

import cv2
from conftest import make_coded_frame


class Camera:
    """Sends frame number n, coded in its pixels, n / fps seconds after the start; ends by itself.

    Attributes:
        sent: Number of the last frame that was sent.
        size: Height and width of the frames.
        frozen: Whether to send the same frame again and again.
        garbage: Whether to put noise between two frames, once.
        broken: Whether to send a picture that is none, once.
    """

    def __init__(self, fps=30, longest_seconds=60):
        self.fps, self.longest_seconds = fps, longest_seconds
        self.sent, self.size = -1, (96, 128)
        self.frozen = self.garbage = self.broken = False
        self.began = time.monotonic()
        self._alive = threading.Event()
        self._server, self.port = None, 0

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/"

    def start(self):
        """Serve, at the port of the last time."""
        camera, alive = self, threading.Event()
        alive.set()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                with contextlib.suppress(OSError):
                    camera._send(self, alive)

            def log_message(self, *_):
                pass

        self._alive = alive
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def kill(self):
        """Hang up, and refuse connections."""
        if self._alive.is_set():
            self._alive.clear()
            self._server.shutdown()
            self._server.server_close()

    def _send(self, handler, alive):
        handler.send_response(200)
        handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        handler.end_headers()
        while alive.is_set() and time.monotonic() - self.began < self.longest_seconds:
            number = int((time.monotonic() - self.began) * self.fps)
            if number <= self.sent and not self.frozen:
                time.sleep(max(self.began + (number + 1) / self.fps - time.monotonic(), 0.001))
                continue
            jpeg = cv2.imencode(".jpg", make_coded_frame(number % 4096, *self.size)[..., ::-1])[1].tobytes()
            if self.frozen:
                jpeg = cv2.imencode(".jpg", make_coded_frame(7, *self.size)[..., ::-1])[1].tobytes()
                time.sleep(1 / self.fps)
            if self.broken:
                jpeg, self.broken = b"\xff\xd8" + bytes(range(256)) * 4, False
            if self.garbage:
                handler.wfile.write(b"noise " * 500)
                self.garbage = False
            part = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n"
            handler.wfile.write(part % (len(jpeg), jpeg))
            self.sent = number
