"""An RTSP camera on loopback: just enough of RFC 2326 and RFC 6184, over one TCP connection."""

import socket
import struct
import threading
import time
from contextlib import suppress
from fractions import Fraction

import av
from conftest import make_coded_frame

SDP = """v=0
o=- 0 0 IN IP4 127.0.0.1
s=camera
c=IN IP4 127.0.0.1
t=0 0
m=video 0 RTP/AVP 96
a=rtpmap:96 H264/90000
a=fmtp:96 packetization-mode=1
a=control:track0
""".replace("\n", "\r\n")


class RtspCamera:
    """Sends frame number n, coded in its pixels, n / fps seconds after the start, as H.264; ends by itself.

    Attributes:
        sent: Number of the last frame that was sent.
    """

    def __init__(self, fps=25, longest_seconds=30):
        self.fps, self.longest_seconds, self.sent = fps, longest_seconds, -1
        self._closed = threading.Event()

    def __enter__(self):
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(self.longest_seconds)
        self.url = f"rtsp://127.0.0.1:{self._server.getsockname()[1]}/camera"
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._closed.set()
        self._server.close()

    def _serve(self):
        with suppress(OSError):
            while not self._closed.is_set():
                client, _ = self._server.accept()
                client.settimeout(self.longest_seconds)
                with client, suppress(OSError):
                    self._answer(client)
                    self._play(client)

    def _answer(self, client):
        """Answer requests until the client wants to play."""
        text = ""
        while True:
            while "\r\n\r\n" not in text:
                if not (more := client.recv(4096).decode()):
                    raise OSError
                text += more
            request, text = text.split("\r\n\r\n", 1)
            method = request.split()[0]
            number = next(line for line in request.split("\r\n") if line.lower().startswith("cseq"))
            lines, body = ["RTSP/1.0 200 OK", number, "Session: 1"], ""
            if method == "OPTIONS":
                lines.append("Public: DESCRIBE, SETUP, PLAY, TEARDOWN")
            elif method == "DESCRIBE":
                body = SDP
                lines += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
            elif method == "SETUP":
                lines.append("Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
            client.sendall(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
            if method == "PLAY":
                return

    def _play(self, client):
        encoder = av.CodecContext.create("libx264", "w")
        encoder.width, encoder.height, encoder.pix_fmt = 128, 96, "yuv420p"
        encoder.time_base, encoder.framerate = Fraction(1, self.fps), Fraction(self.fps)
        encoder.options = {
            "tune": "zerolatency",
            "preset": "ultrafast",
            "g": "10",
            "x264-params": "repeat-headers=1",
        }
        began, sequence = time.monotonic(), 0
        for number in range(self.longest_seconds * self.fps):
            if self._closed.wait(max(began + number / self.fps - time.monotonic(), 0)):
                return
            frame = av.VideoFrame.from_ndarray(make_coded_frame(number, 96, 128), format="rgb24")
            frame.pts = number
            for packet in encoder.encode(frame):
                units = [unit.rstrip(b"\0") for unit in bytes(packet).split(b"\0\0\1")[1:]]
                for place, unit in enumerate(units, 1):
                    marker = 0x80 if place == len(units) else 0
                    time_stamp = number * 90000 // self.fps
                    head = struct.pack(">BBHII", 0x80, marker | 96, sequence & 0xFFFF, time_stamp, 1)
                    client.sendall(struct.pack(">cBH", b"$", 0, len(head + unit)) + head + unit)
                    sequence += 1
            self.sent = number
