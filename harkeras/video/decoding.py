"""An open file: when its frames are on screen, and the way to their pixels.

Packets say quickly when frames are shown and where decoding can start, and most files tell the truth. What
can be checked is checked, before decoding and on the way. A file that is found to be wrong is decoded once
from its start to its end, and what came out counts.
"""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition

from harkeras.recipe import Interpolation
from harkeras.video._packets import Packets, read_packets, sane
from harkeras.video._pixels import Converter
from harkeras.video._scans import Scan, ScanCache, piece_offsets, scan_frames, scan_packets
from harkeras.video.addresses import refuse_address

# Larger frames are refused: a damaged header could ask for gigabytes. 8K has 33 million pixels. For still
# more, set `harkeras.video.decoding.MAX_PIXELS` before reading.
MAX_PIXELS = 2**26
# A jump to a key frame costs about as much as decoding this many frames.
_JUMP_COST_FRAMES = 8
# From when a frame is decoded to when it is shown, because frames before it are decoded after it.
_LONGEST_DELAY_SECONDS = 1

_scans = ScanCache()


class VideoError(RuntimeError):
    """A video that cannot be decoded. The message names the file."""


class _FalseKeyError(Exception):
    """Decoding cannot start where the container says."""


class _FalseTimesError(Exception):
    """Frames do not come at the times that their packets promised."""


class Source:
    """An open video file: when its frames are on screen, and the way to their pixels.

    `scan` says when. It changes if decoding shows that the packets were wrong.
    """

    def __init__(self, video: str | os.PathLike, threads: int = 1):
        """Open the file and read when its frames are on screen."""
        if not isinstance(video, str | os.PathLike) or not Path(video).is_file():
            refuse_address(video)
        self.path = Path(video)
        if not self.path.is_file():
            folder = " (it is a folder)" if self.path.is_dir() else ""
            raise FileNotFoundError(f"no video file at {self.path}{folder}")
        status = self.path.stat()
        if not status.st_size:
            raise VideoError(f"{self.path}: the file is empty")
        self._cache_key = (str(self.path.absolute()), status.st_ino, status.st_size, status.st_mtime_ns)
        self._threads = threads
        self._size: tuple[int, int] | None = None
        self._errors, self._is_cut = 0, False
        self._open(threads)
        self._converter = Converter(self.stream.sample_aspect_ratio)
        try:
            self.scan = _scans.get(self._cache_key)
            self._read_times() if self.scan is None else self._warn()
        except BaseException:
            self.close()
            raise

    @property
    def ticks(self) -> np.ndarray:
        """The times of the frames, in ticks of the stream."""
        return self.scan.ticks

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _open(self, threads: int) -> None:
        limit = {"max_pixels": str(MAX_PIXELS)}
        try:
            # An absolute path is never taken for an address such as "concat:clip.mp4".
            path = str(self.path.absolute())
            self._container = av.open(path, metadata_errors="replace", options=limit)
        except av.error.FFmpegError as error:
            reason = error.strerror or error
            raise VideoError(f"{self.path}: not a video that can be read, or cut off ({reason})") from error
        for stream in self._container.streams.video:
            if stream.codec_context and not stream.disposition & Disposition.attached_pic:
                self.stream = stream
                break
        else:
            self.close()
            raise VideoError(f"{self.path}: the file holds no video stream")
        context = self.stream.codec_context
        self._check_size(context.height, context.width)
        context.options = limit
        context.thread_count = threads
        context.thread_type = "NONE" if threads == 1 else "AUTO"

    # Times

    def _read_times(self) -> None:
        packets = self._read_packets()
        scan = scan_packets(self.stream, packets)
        self._count(packets) if scan is None else self._keep(scan)

    def count(self) -> None:
        """Take the times from the frames that decode: slow, but right for damaged and untrue files."""
        self._reopen()
        self._count(self._read_packets())

    def _read_packets(self) -> Packets:
        packets = read_packets(self._demux(), self.stream.codec_context.name)
        packets.lost = int(self._is_cut)
        packets.pictures += packets.lost
        if not packets.ticks:
            raise self.undecodable()
        return packets

    def _count(self, packets: Packets) -> None:
        self._reopen(threads=1)
        offsets, times, self._errors = piece_offsets(self.stream, packets), [], 0
        for packet, tick, offset in zip(self._demux(), packets.ticks, offsets, strict=False):
            packet.pts = None if tick is None or offset is None else tick + offset
            times += [sane(frame.pts) for frame in self._decode_packet(packet)]
        times += [sane(frame.pts) for frame in self._decode_packet(None)]
        if not times:
            raise self.undecodable()
        packets.lost += self._errors
        self._keep(scan_frames(self.stream, packets, times))

    def _keep(self, scan: Scan) -> None:
        self.scan = scan
        _scans.put(self._cache_key, scan)
        self._warn()

    def _warn(self) -> None:
        if self.scan.damage:
            warnings.warn(f"{self.path}: {self.scan.damage}", stacklevel=3)

    # Frames

    def decode(self, ticks: np.ndarray) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yield (tick, frame) for ticks, once each, as far as they decode; jump to key frames if that pays.

        Where a key frame turns out to be none, decoding starts anew at the first frame. Where frames do not
        come as promised, they are counted, `self.ticks` changes, and what is left comes at its new times.
        """
        ticks, last = np.unique(ticks), None
        try:
            for tick, frame in self._decode_runs(ticks):
                if tick == self.ticks[0]:
                    size = self._converter.displayed_size(frame)
                    self._check_size(*size)
                    self._size = size
                yield tick, frame
                last = tick
            return
        except _FalseKeyError:
            self.scan = replace(self.scan, keys=self.ticks[:1])
            _scans.put(self._cache_key, self.scan)
        except _FalseTimesError:
            before = self.scan
            self.count()
            ticks = self.scan.translate(ticks, before)
        yield from self.decode(ticks if last is None else ticks[ticks > last])

    def _decode_runs(self, ticks: np.ndarray) -> Iterator[tuple[int, av.VideoFrame]]:
        if not len(ticks):
            return
        starts = self.scan.keys
        keys = starts[np.searchsorted(starts, ticks, side="right") - 1]
        frames_to_key = np.searchsorted(self.ticks, keys[1:]) - np.searchsorted(self.ticks, ticks[:-1])
        jumps = np.flatnonzero(frames_to_key > _JUMP_COST_FRAMES) + 1
        for run, key in zip(np.split(ticks, jumps), keys[[0, *jumps]].tolist(), strict=True):
            decode = self._decode_by_order if self.scan.by_order else self._decode_from
            yield from decode(run.tolist(), key)

    def _decode_by_order(self, run: list[int], key: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decode from the start and count, up to the last wanted frame."""
        wanted, ticks = set(run), iter(self.ticks.tolist())
        self._reopen(threads=1)  # with threads, a damaged file may give other frames each time
        for frame in self._frames(self._demux()):
            tick = next(ticks, None)
            if tick in wanted:
                yield tick, frame
            if tick is None or tick >= run[-1]:
                return

    def _decode_from(self, run: list[int], key: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decode on from a key frame, leaving out unwanted frames that no other frame needs."""
        wanted, coming = set(run), deque(run)
        last, jumped = None, key > self.ticks[0]
        for frame in self._frames(self._packets(key), wanted):
            tick = frame.pts
            if tick is None or (last is not None and tick <= last):
                raise _FalseTimesError
            if tick < key and jumped:
                continue  # of the group of pictures before
            if last is None and jumped and (tick != key or not frame.key_frame):
                raise _FalseKeyError
            if frame.is_corrupt and jumped:
                raise _FalseKeyError
            last = tick
            if tick > coming[0]:
                break
            if tick == coming[0]:
                yield coming.popleft(), frame
                if not coming:
                    return
        raise _FalseKeyError if jumped else _FalseTimesError

    def _packets(self, key: int) -> Iterator[av.Packet]:
        """Yield the packets from a key frame on, or from the start where the file cannot be entered there."""
        # MPEG-TS is searched by times of decoding, which are earlier than those of display.
        for target in (key, key - round(_LONGEST_DELAY_SECONDS / self.scan.base)):
            with suppress(av.error.FFmpegError):
                self._container.seek(target, stream=self.stream)
                self.stream.codec_context.flush_buffers()
                packets = self._demux()
                first = next(packets, None)
                if first is not None and first.pts is not None and first.pts <= key:
                    yield first
                    yield from packets
                    return
        self._reopen()
        yield from self._demux()

    def _frames(
        self, packets: Iterator[av.Packet], wanted: set[int] | None = None
    ) -> Iterator[av.VideoFrame]:
        """Decode packets; of frames that no other frame needs, only those that are wanted, all by default."""
        for packet in packets:
            needed = wanted is None or packet.pts in wanted
            self.stream.codec_context.skip_frame = "DEFAULT" if needed else "NONREF"
            yield from self._decode_packet(packet)
        yield from self._decode_packet(None)

    def _reopen(self, threads: int | None = None) -> None:
        self.close()
        self._open(self._threads if threads is None else threads)

    def _demux(self) -> Iterator[av.Packet]:
        """Yield the packets that hold something; an empty one repeats a frame in AVI, or is the end."""
        held = None
        with suppress(av.error.FFmpegError):  # cut off in the middle: what came before counts
            for packet in filter(lambda packet: packet.size, self._container.demux(self.stream)):
                if held is not None:
                    yield held
                held = packet
        # Half a packet at the end of a cut file is left out: decoding it would lose whole frames before it.
        self._is_cut = held is not None and held.is_corrupt
        if held is not None and not self._is_cut:
            yield held

    def _decode_packet(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        try:
            return self.stream.codec_context.decode(packet)
        except av.error.FFmpegError:
            self._errors += 1
            return []  # the frames around a damaged packet count

    # Pixels

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the video as displayed, in pixels: those of its first frame."""
        if self._size is None:
            with closing(Source(self.path)) as other:
                for _ in other.decode(other.ticks[:1]):
                    self._size = other._size
        if self._size is None:
            raise self.undecodable()
        return self._size

    def to_rgb(
        self,
        frame: av.VideoFrame,
        height: int | None,
        width: int | None,
        interpolation: Interpolation = "area",
    ) -> np.ndarray:
        """Convert to uint8 RGB (H, W, 3), upright, in one pass with the resizing; `size` is the default."""
        if height is None or width is None:
            whole = self.size
            height, width = height or whole[0], width or whole[1]
        try:
            return self._converter.to_rgb(frame, height, width, interpolation)
        except av.error.FFmpegError as error:
            kind = f"{frame.format.name}, color matrix {frame.colorspace}"
            raise VideoError(f"{self.path}: a frame ({kind}) cannot be made RGB: {error.strerror}") from error

    def undecodable(self) -> VideoError:
        """Make the error of a file of which no frame comes out."""
        context, message = self.stream.codec_context, f"{self.path}: no frame could be decoded"
        if not context.width * context.height:  # what FFmpeg leaves of a size beyond the limit
            message += (
                f"; frames of more than {MAX_PIXELS} pixels need a higher harkeras.video.decoding.MAX_PIXELS"
            )
        return VideoError(message)

    def _check_size(self, height: int, width: int) -> None:
        if height * width > MAX_PIXELS:
            self.close()
            raise VideoError(
                f"{self.path}: frames of {height} x {width} are not decoded: more than {MAX_PIXELS} pixels "
                "need a higher harkeras.video.decoding.MAX_PIXELS"
            )
