"""An open camera, stream or file: pictures one after another, each converted when it is asked for."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import av
import cv2
import numpy as np

from harkeras.recipe import Interpolation
from harkeras.video._pixels import Converter
from harkeras.video.addresses import is_stream
from harkeras.video.decoding import MAX_PIXELS, VideoError
from harkeras.video.images import resize_image
from harkeras.video.reading import VideoInfo, iter_decoded

# How long a source may take to open, and to send the next packet.
OPEN_SECONDS, SILENCE_SECONDS = 10.0, 5.0
# What FFmpeg reads in pieces of some seconds, or faster than it was filmed: shown at its own speed.
_PIECEWISE_FORMATS = {"hls", "dash"}


class Picture(Protocol):
    """A picture that has not been converted."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels as displayed."""

    def rgb(
        self, height: int | None = None, width: int | None = None, *, interpolation: Interpolation = "area"
    ) -> np.ndarray:
        """Return uint8 RGB (H, W, 3) in the given size; as displayed by default."""


class Connection(Protocol):
    """An open source.

    Attributes:
        end_seconds: When it ends on its own clock; None if nobody knows.
        own_clock: Whether its pictures are shown at their own times instead of at once.
        waited_seconds: How long the source was waited for until now, decoding not counted.
    """

    end_seconds: float | None
    own_clock: bool
    waited_seconds: float

    def pictures(self, tell_damage: Callable[[str], None]) -> Iterator[tuple[float, Picture, bytes]]:
        """Yield the time of each picture on the source's clock, the picture, and some of its pixels.

        Raises:
            OSError: If nothing comes any more, or nothing that can be read.
            VideoError: If a file cannot be decoded.
        """

    def close(self) -> None:
        """Let go of the source."""


def connect(source: int | str | os.PathLike) -> Connection:
    """Open a camera by its number, a stream by its address, or a file.

    Raises:
        FileNotFoundError: If there is no such file.
        VideoError: If the source cannot be opened, or holds no video.
    """
    text = str(source)
    if not is_stream(text):
        return _File(text)
    number = text.removeprefix("/dev/video")
    return _Camera(int(number)) if number.isdecimal() else _Stream(text)


def name_source(source: int | str | os.PathLike) -> str:
    """Return how a source is called in a message: an address without what may be a password."""
    text = str(source)
    if not is_stream(text):
        return text
    number = text.removeprefix("/dev/video")
    return f"camera {number}" if number.isdecimal() else re.sub(r"(?<=://)[^/@]*@", "", text)


class _StreamPicture:
    """A picture of a stream, in its own pixel format."""

    def __init__(self, frame: av.VideoFrame, converter: Converter):
        self._frame, self._converter = frame, converter
        self.size = converter.displayed_size(frame)

    def rgb(
        self, height: int | None = None, width: int | None = None, *, interpolation: Interpolation = "area"
    ) -> np.ndarray:
        height, width = height or self.size[0], width or self.size[1]
        return self._converter.to_rgb(self._frame, height, width, interpolation)


class _CameraPicture:
    """A picture of a camera, BGR as OpenCV gives it."""

    def __init__(self, image: np.ndarray):
        self._image, self.size = image, image.shape[:2]

    def rgb(
        self, height: int | None = None, width: int | None = None, *, interpolation: Interpolation = "area"
    ) -> np.ndarray:
        image = self._image
        height, width = height or self.size[0], width or self.size[1]
        if (height, width) != self.size:
            image = resize_image(image, height, width, interpolation=interpolation)
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


class _Camera:
    end_seconds, own_clock, waited_seconds = None, False, 0.0

    def __init__(self, number: int):
        self._capture = cv2.VideoCapture(number)
        if not self._capture.isOpened():
            raise VideoError(f"camera {number}: there is no such camera, or another program uses it")
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)

    def pictures(self, tell_damage: Callable[[str], None]) -> Iterator[tuple[float, Picture, bytes]]:
        while True:
            began = time.perf_counter()
            there = self._capture.grab()
            self.waited_seconds += time.perf_counter() - began
            there, image = self._capture.retrieve() if there else (False, None)
            if not there:
                raise OSError("it sends nothing")
            yield 0.0, _CameraPicture(image), image.ravel()[::97].tobytes()

    def close(self) -> None:
        self._capture.release()


class _File:
    own_clock, waited_seconds = True, 0.0

    def __init__(self, path: str):
        info = VideoInfo.read(path)
        self._path, self.end_seconds = info.path, info.duration_seconds

    def pictures(self, tell_damage: Callable[[str], None]) -> Iterator[tuple[float, Picture, bytes]]:
        for frame in iter_decoded(self._path):
            yield frame.seconds, frame, b""

    def close(self) -> None:
        pass


class _Stream:
    waited_seconds = 0.0

    def __init__(self, address: str):
        self._name = name_source(address)
        options = {"max_pixels": str(MAX_PIXELS), "fflags": "nobuffer"}
        if address.lower().startswith("rtsp"):
            options["rtsp_transport"] = "tcp"  # what is lost on the way of UDP is gray for seconds
        try:
            times = (OPEN_SECONDS, SILENCE_SECONDS)
            self._container = av.open(address, timeout=times, metadata_errors="replace", options=options)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise VideoError(f"{self._name}: the stream cannot be opened ({reason})") from error
        if not self._container.streams.video:
            self.close()
            raise VideoError(f"{self._name}: the stream holds no video")
        self._stream = self._container.streams.video[0]
        context = self._stream.codec_context
        context.options = {"max_pixels": str(MAX_PIXELS)}
        context.thread_type, context.thread_count = "SLICE", 0  # threads by frame would hold frames back
        known = self._container.duration
        self.end_seconds = None if known is None or known <= 0 else known / av.time_base
        self.own_clock = self.end_seconds is not None or self._container.format.name in _PIECEWISE_FORMATS

    def pictures(self, tell_damage: Callable[[str], None]) -> Iterator[tuple[float, Picture, bytes]]:
        converter, start = Converter(self._stream.sample_aspect_ratio), None
        for packet in self._packets():
            try:
                frames = self._stream.codec_context.decode(packet)
            except av.error.FFmpegError as error:
                tell_damage(str(error.strerror or error))
                continue
            for frame in frames:
                seconds = frame.time or 0.0
                start = seconds if start is None else start
                pixels = np.frombuffer(frame.planes[0], np.uint8)[::97].tobytes()
                yield seconds - start, _StreamPicture(frame, converter), pixels

    def _packets(self) -> Iterator[av.Packet]:
        packets = self._container.demux(self._stream)
        try:
            while True:
                began = time.perf_counter()
                packet = next(packets, None)
                self.waited_seconds += time.perf_counter() - began
                if packet is None:
                    return
                if packet.size:
                    yield packet
        except av.error.FFmpegError as error:
            raise OSError(error.strerror or str(error)) from error

    def close(self) -> None:
        self._container.close()
