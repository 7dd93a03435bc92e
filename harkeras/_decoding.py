"""The inside of `harkeras.video`: when the frames of a file are on screen, and the way to their pixels."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import VideoReformatter

# A jump to a key frame costs about as much as decoding this many frames.
_JUMP_COST_FRAMES = 8
# A frame counts as on screen at its own time, whatever the rounding of seconds.
ROUNDING_SECONDS = 1e-6


class VideoError(RuntimeError):
    """A video that cannot be decoded. The message names the file."""


class Source:
    """An open video file: when its frames are on screen, and the way to their pixels.

    Times are ticks of `base` seconds. `ticks` (int64, ascending) says when each frame appears, `end` when the
    last one goes, and `keys` at which frames decoding can start.
    """

    def __init__(self, video: str | os.PathLike, threads: int = 1):
        self.path = Path(video)
        if not self.path.is_file():
            folder = " (it is a folder)" if self.path.is_dir() else ""
            raise FileNotFoundError(f"no video file at {self.path}{folder}")
        if not self.path.stat().st_size:
            raise VideoError(f"{self.path}: the file is empty")
        self._reformatter = VideoReformatter()
        self._threads = threads
        self.ticks = np.empty(0, np.int64)
        self._open()
        try:
            self._scan()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._container.close()

    def _open(self) -> None:
        try:
            # An absolute path is never taken for an address such as "concat:clip.mp4".
            self._container = av.open(str(self.path.absolute()))
        except (av.error.FFmpegError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise VideoError(f"{self.path}: not a video that can be read, or cut off ({reason})") from error
        for stream in self._container.streams.video:
            if stream.codec_context and not stream.disposition & Disposition.attached_pic:
                self.stream = stream
                break
        else:
            self.close()
            raise VideoError(f"{self.path}: the file holds no video stream")
        self.stream.codec_context.thread_count = self._threads
        self.stream.codec_context.thread_type = "NONE" if self._threads == 1 else "AUTO"

    def _scan(self) -> None:
        """Read the times of the frames from the packets, without decoding."""
        self.base, self._by_order = self.stream.time_base, False
        ticks, keys, duration, count = [], [], 0, 0
        for packet in self._demux():
            count += packet.size > 0
            if packet.size and not packet.is_discard:
                ticks.append(packet.pts)
                keys += [packet.pts] if packet.is_keyframe else []
                duration = packet.duration or 0
        if not ticks or None in ticks or len(set(ticks)) < len(ticks):
            self.count()
            return
        if count < self.stream.frames:
            self.warn(count, self.stream.frames)
        # AVI holds no presentation times. Where FFmpeg does not see its B-frames (H.264, and MPEG-4 packed as
        # in UCF's clips), frames bear wrong times but come in the right order.
        if "avi" in self._container.format.name and self.stream.codec_context.has_b_frames:
            self._by_order = ticks == sorted(ticks)
        self._set_times(sorted(ticks), [] if self._by_order else keys, duration)

    def count(self) -> None:
        """Take the times from the frames that decode: slow, but right for damaged and untimed files."""
        promised, self._by_order = len(self.ticks), True
        ticks = [frame.pts for packet in self._packets(None) for frame in self._decode_packet(packet)]
        if not ticks:
            raise self.undecodable()
        if len(ticks) < promised:
            self.warn(len(ticks), promised)
        if None in ticks or any(before >= after for before, after in pairwise(ticks)):
            ticks, self.base = range(len(ticks)), 1 / self._rate
        self._set_times(ticks, [], 0)

    def _set_times(self, ticks: Sequence[int], keys: list[int], last_duration: int) -> None:
        self.ticks = np.array(ticks, np.int64)
        if not last_duration:
            last_duration = np.median(np.diff(self.ticks)) if len(ticks) > 1 else 1 / self._rate / self.base
        self.end = int(self.ticks[-1]) + max(round(last_duration), 1)
        self.keys = np.unique(np.array([self.ticks[0], *keys]))

    @property
    def rounding_ticks(self) -> float:
        return ROUNDING_SECONDS / float(self.base)

    @property
    def _rate(self) -> Fraction:
        return self.stream.average_rate or self.stream.guessed_rate or Fraction(25)

    def span(self, start_seconds: float | None, end_seconds: float | None) -> tuple[float, float]:
        """Return the half-open range in ticks, checked."""
        base, first = float(self.base), float(self.ticks[0])
        duration = (self.end - first) * base
        start = 0.0 if start_seconds is None else start_seconds
        stop = duration if end_seconds is None else end_seconds
        if not 0 <= start < duration:
            raise ValueError(f"start_seconds must lie in the video, 0 to {duration:.3f}, got {start_seconds}")
        if not stop > start:
            raise ValueError(f"end_seconds must be greater than start_seconds ({start}), got {end_seconds}")
        return first + start / base, first + min(stop, duration) / base

    def on_screen(self, ticks: np.ndarray | float) -> np.ndarray:
        """For each time, return the tick of the frame that is on screen then."""
        return self.ticks[np.searchsorted(self.ticks, ticks + self.rounding_ticks, side="right") - 1]

    def spread(self, frames: int, start_seconds: float | None, end_seconds: float | None) -> np.ndarray:
        """Return the ticks of the frames on screen at the middles of `frames` equal parts of the range."""
        start, stop = self.span(start_seconds, end_seconds)
        return self.on_screen(start + (stop - start) * (np.arange(frames) + 0.5) / frames)

    def decode(self, ticks: np.ndarray) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yield (tick, frame) for ascending ticks as far as they decode; jump to key frames if that pays."""
        keys = self.keys[np.searchsorted(self.keys, ticks, side="right") - 1]
        frames_to_key = np.searchsorted(self.ticks, keys[1:]) - np.searchsorted(self.ticks, ticks[:-1])
        jumps = np.flatnonzero(frames_to_key > _JUMP_COST_FRAMES) + 1
        for run, key in zip(np.split(ticks, jumps), keys[[0, *jumps]].tolist(), strict=True):
            yield from self._decode_run(run.tolist(), key)

    def _decode_run(self, run: list[int], key: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decode on from a key frame, leaving out unwanted frames that no other frame needs."""
        context, wanted, order = self.stream.codec_context, set(run), iter(self.ticks.tolist())
        jumped = key > self.ticks[0]
        for packet in self._packets(key):
            needed = self._by_order or packet.pts in wanted
            context.skip_frame = "DEFAULT" if needed else "NONREF"
            for frame in self._decode_packet(packet):
                tick = next(order, None) if self._by_order else frame.pts
                if tick in wanted and not (jumped and frame.is_corrupt):
                    yield tick, frame
                if tick is None or tick >= run[-1]:
                    return

    def _packets(self, key: int | None) -> Iterator[av.Packet]:
        """Yield the packets from a key frame on, or from the start where the file cannot be entered there."""
        if not self._by_order:
            with suppress(av.error.FFmpegError):
                self._container.seek(key, stream=self.stream)
                self.stream.codec_context.flush_buffers()
                packets = self._demux()
                first = next(packets, None)
                if first is not None and first.pts is not None and first.pts <= key:
                    yield first
                    yield from packets
                    return
        self.close()
        self._open()
        yield from self._demux()

    def _demux(self) -> Iterator[av.Packet]:
        with suppress(av.error.FFmpegError):  # cut off in the middle: what came before counts
            yield from self._container.demux(self.stream)

    def _decode_packet(self, packet: av.Packet) -> list[av.VideoFrame]:
        if packet.is_corrupt:
            return []  # half a packet at the end of a cut file: decoding it would lose whole frames before it
        try:
            return self.stream.codec_context.decode(packet if packet.size else None)
        except av.error.FFmpegError:
            return []  # a damaged packet: the frames around it count

    def displayed_size(self, frame: av.VideoFrame) -> tuple[int, int]:
        """Return height and width of an upright frame in pixels."""
        turned = frame.rotation % 180
        return (frame.width, frame.height) if turned else (frame.height, frame.width)

    def to_rgb(self, frame: av.VideoFrame, height: int | None, width: int | None) -> np.ndarray:
        """Convert to uint8 RGB (H, W, 3), upright, in one pass with the resizing."""
        turns = round(frame.rotation / 90) % 4  # counter-clockwise quarter turns that make it upright
        if turns % 2:
            height, width = width, height
        width, height = width or frame.width, height or frame.height
        # Averaging over areas is for making pictures smaller, and slow where they are not.
        scaling = "BILINEAR" if (width, height) == (frame.width, frame.height) else "AREA"
        image = self._reformatter.reformat(frame, width, height, "rgb24", interpolation=scaling, threads=1)
        image = image.to_ndarray()
        return np.ascontiguousarray(np.rot90(image, turns)) if turns else image

    def undecodable(self) -> VideoError:
        return VideoError(f"{self.path}: no frame could be decoded")

    def warn(self, found: int, promised: int) -> None:
        message = f"{self.path}: cut off or damaged, {found} of {promised} frames could be read"
        warnings.warn(message, stacklevel=3)
