"""When the frames of a file are on screen: from its packets if these can be believed, or from its frames."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.format import Flags

from harkeras.video import frame_times
from harkeras.video._packets import Packets
from harkeras.video.frame_times import ROUNDING_SECONDS, check_range

# So many frames at the end may wait for others that the encoder did not write.
_UNFINISHED_FRAMES = 2


@dataclass(frozen=True)
class Scan:
    """When the frames of a file are on screen, in ticks of `base` seconds.

    Attributes:
        base: Seconds per tick.
        ticks: int64 (N,), strictly increasing: when each frame appears.
        zero: The time zero of the file: where its first stream starts, sound or pictures, as FFmpeg and the
            tools for labelling have it.
        end: When the last frame goes.
        keys: int64 (K,): at which frames decoding can start; the first frame is always among them.
        by_order: Whether frames are known by their number, because their own times are not these.
        damage: What was lost; empty if nothing.
    """

    base: Fraction
    ticks: np.ndarray
    zero: int
    end: int
    keys: np.ndarray
    by_order: bool
    damage: str = ""

    def to_seconds(self, tick: int) -> float:
        """Return a time on the file's clock."""
        return float((tick - self.zero) * self.base)

    @property
    def seconds(self) -> np.ndarray:
        """When each frame appears on the file's clock: float64 (N,)."""
        return (self.ticks - self.zero) * float(self.base)

    @property
    def end_seconds(self) -> float:
        """When the last frame goes on the file's clock."""
        return self.to_seconds(self.end)

    @property
    def _rounding(self) -> float:
        return ROUNDING_SECONDS / float(self.base)

    def on_screen(self, ticks: np.ndarray | float) -> np.ndarray:
        """For each time, return the tick of the frame that is on screen then; before the first, the first."""
        rows = np.searchsorted(self.ticks, ticks + self._rounding, side="right") - 1
        return self.ticks[np.maximum(rows, 0)]

    def translate(self, ticks: np.ndarray, other: Scan) -> np.ndarray:
        """Return the frames to read in place of some of another scan of the file; of a whole part, all."""
        first, last = np.searchsorted(other.ticks, ticks[[0, -1]])
        if last - first + 1 > len(ticks):
            return np.unique(self.on_screen(ticks))
        stop = self.end if last + 1 == len(other.ticks) else other.ticks[last + 1]
        return self.ticks[(self.ticks >= self.on_screen(ticks[0])) & (self.ticks < stop)]

    def span(self, start_seconds: float | None, end_seconds: float | None) -> tuple[float, float]:
        """Return the half-open range in ticks, checked; from the first frame to the last by default."""
        first = float(self.seconds[0])
        start, stop = check_range(start_seconds, end_seconds, first, self.end_seconds)
        base = float(self.base)
        return self.zero + start / base, self.zero + stop / base

    def spread(self, frames: int, start_seconds: float | None, end_seconds: float | None) -> np.ndarray:
        """Return the ticks of the frames on screen at the middles of `frames` equal parts of the range."""
        start, stop = self.span(start_seconds, end_seconds)
        return self.on_screen(start + (stop - start) * (np.arange(frames) + 0.5) / frames)

    def every(
        self, step_seconds: float | None, start_seconds: float | None, end_seconds: float | None
    ) -> np.ndarray:
        """Return the ticks of the frames of a range, or of those on screen at each multiple of a step."""
        start, stop = self.span(start_seconds, end_seconds)
        if step_seconds is None:
            return self.ticks[(self.ticks >= self.on_screen(start)) & (self.ticks < stop - self._rounding)]
        edges = np.minimum(np.append(self.ticks, self.end), stop) - start - self._rounding
        edges[0] = 0  # before the first frame, it is the first
        steps = np.ceil(np.maximum(edges, 0) * float(self.base) / step_seconds)  # how many come before
        return self.ticks[np.diff(steps) > 0]


def scan_packets(stream: av.VideoStream, packets: Packets) -> Scan | None:
    """Take the times of the frames from the packets; None if frames would not come at these times."""
    clock = _Clock.of(stream, packets)
    ticks = sorted(tick for tick in packets.visible_ticks if tick is not None)
    if not _are_true(stream, packets, ticks, clock):
        return None
    keys = [tick for tick, key in zip(packets.ticks, packets.keys, strict=True) if key]
    return Scan(
        base=stream.time_base,
        ticks=np.array(ticks, np.int64),
        zero=_zero(stream, ticks[0], clock),
        end=ticks[-1] + _last_duration(packets, ticks, clock),
        keys=np.unique([ticks[0], *(key for key in keys if key > ticks[0])]),
        by_order=False,
        damage=_damage(stream, packets, len(ticks)),
    )


def scan_frames(stream: av.VideoStream, packets: Packets, times: Sequence[int | None]) -> Scan:
    """Take the times of the frames from what the decoder gave.

    Args:
        stream: The stream.
        packets: Its packets.
        times: Times of the frames in the decoder's order, with pieces joined (`piece_offsets`); None where
            unknown.
    """
    if all(time is None for time in times):  # a bare stream: only its header may say how fast it goes
        ticks = np.arange(len(times))
        base, zero, end = 1 / _rate(stream), 0, len(times)
    else:
        base, clock = stream.time_base, _Clock.of(stream, packets)
        times = _avi_times(times, packets) if _is_avi(stream) else times
        ticks = frame_times.increasing_times(times, clock.period, clock.longest, clock.shortest)
        zero = _zero(stream, int(ticks[0]), clock)
        end = int(ticks[-1]) + _last_duration(packets, ticks, clock)
    damage = _damage(stream, packets, len(ticks))
    return Scan(base, ticks, zero, end, keys=ticks[:1], by_order=True, damage=damage)


def piece_offsets(stream: av.VideoStream, packets: Packets) -> list[int | None]:
    """Return what to add to the times of each packet, see `join_pieces`."""
    clock = _Clock.of(stream, packets)
    return frame_times.join_pieces(packets.decoded, clock.period, clock.longest, clock.step_back)[0]


@dataclass(frozen=True)
class _Clock:
    """The bounds of `frame_times` in ticks of a stream."""

    period: int
    longest: int
    shortest: int
    step_back: int = 0

    @classmethod
    def of(cls, stream: av.VideoStream, packets: Packets) -> _Clock:
        base = stream.time_base
        longest = max(int(frame_times.LONGEST_PAUSE_SECONDS / base), 1)
        shortest = max(int(frame_times.SHORTEST_FRAME_SECONDS / base), 1)
        period = frame_times.usual_period(packets.decoded, longest)
        if period is None:
            period = min(round(1 / _rate(stream) / base), longest)
        if Flags(stream.container.format.flags) & Flags.ts_discont:
            pause = int(frame_times.LONGEST_PAUSE_SECONDS_WHERE_JOINED / base)
            longest = min(max(pause, frame_times.LONGEST_PAUSE_FRAMES_WHERE_JOINED * period), longest)
        step_back = int(frame_times.STEP_BACK_SECONDS / base)
        return cls(max(period, shortest), max(longest, shortest), shortest, step_back)


def _are_true(stream: av.VideoStream, packets: Packets, ticks: list[int], clock: _Clock) -> bool:
    """Whether a frame will decode from each packet that shows one, and at the packet's own time."""
    codec = stream.codec_context
    if not ticks or len(set(ticks)) < len(packets.visible_ticks) or not packets.plain:
        return False
    # Frames at the start that lean on one before it do not decode.
    if packets.first_key is None or ticks[0] < packets.first_key:
        return False
    reordered = packets.reordered or codec.has_b_frames
    if _is_avi(stream) and (reordered or (codec.codec.reorder and codec.name != "mpeg4")):
        return False  # AVI knows times of decoding only
    if reordered and len(ticks) > 1 and packets.visible_ticks == ticks:
        return False  # these are times of decoding as well
    _, in_order = frame_times.join_pieces(packets.decoded, clock.period, clock.longest, clock.step_back)
    steps = np.diff(ticks)
    return in_order and bool(((steps >= clock.shortest) & (steps <= clock.longest)).all())


def _avi_times(times: Sequence[int | None], packets: Packets) -> Sequence[int | None]:
    """Return times from AVI's, which are those of decoding.

    If every slot holds a frame, the k-th frame is shown in the k-th slot. If frames are repeated or missing,
    the frames' own times tell which; they are late by what the decoder waits for.
    """
    slots = [tick for tick in packets.decoded if tick is not None]
    if not slots:
        return times
    if slots == list(range(slots[0], slots[0] + len(times))):
        return slots
    delay = min(time for time in times if time is not None) - slots[0]
    return [None if time is None else time - delay for time in times]


def _last_duration(packets: Packets, ticks: Sequence[int], clock: _Clock) -> int:
    """Return how long the last frame stays, in ticks."""
    if packets.last_duration:
        return min(packets.last_duration, clock.longest)
    return int(np.median(np.diff(ticks))) if len(ticks) > 1 else clock.period


def _zero(stream: av.VideoStream, first: int, clock: _Clock) -> int:
    """Return the file's time zero, at or before the first frame, in ticks."""
    start = stream.container.start_time  # microseconds
    if start is None:
        return first
    zero = int(max(start, 0) / 1e6 / stream.time_base)
    longest = frame_times.LONGEST_PAUSE_SECONDS / stream.time_base
    return zero if clock.shortest < first - zero <= longest else first


def _damage(stream: av.VideoStream, packets: Packets, count: int) -> str:
    promised, present = packets.pictures - packets.undecodable, len(packets.ticks)
    if _is_avi(stream):
        # Empty packets, which repeat a frame, have a time but do not come. A whole file's index counts them
        # at the end as well; a cut one has lost it, and FFmpeg guesses how long it is.
        present = packets.decoded[-1] + 1 if packets.decoded[-1] is not None else present
        present = stream.frames if stream.duration == stream.frames else present
    if present < stream.frames:
        promised = stream.frames
    elif not packets.lost and (promised - count <= _UNFINISHED_FRAMES or abs(promised - 2 * count) <= 2):
        return ""  # nothing, or two fields in packets of their own are one frame
    return f"cut off or damaged, {count} of {promised} frames could be read" if count < promised else ""


def _is_avi(stream: av.VideoStream) -> bool:
    return stream.container.format.name == "avi"


def _rate(stream: av.VideoStream) -> Fraction:
    """Return the frame rate that the headers give; of a bare stream, its own header knows better."""
    bare = Flags(stream.container.format.flags) & Flags.no_timestamps
    own = stream.codec_context.framerate if bare else None
    rate = own or stream.average_rate or stream.guessed_rate or Fraction(25)
    fastest = Fraction(round(1 / frame_times.SHORTEST_FRAME_SECONDS))
    return min(max(rate, Fraction(1 / frame_times.LONGEST_PAUSE_SECONDS)), fastest)


class ScanCache:
    """The scans of the files that were read last, by what tells whether a file has changed."""

    _MAX_FRAMES = 2_000_000  # 16 MB

    def __init__(self):
        """Start empty."""
        self._scans: OrderedDict[tuple, Scan] = OrderedDict()
        self._frames = 0
        self._lock = threading.Lock()

    def get(self, key: tuple) -> Scan | None:
        """Return the scan of a file, or None."""
        with self._lock:
            if key in self._scans:
                self._scans.move_to_end(key)
            return self._scans.get(key)

    def put(self, key: tuple, scan: Scan) -> None:
        """Keep a scan, and forget those that were asked for longest ago."""
        with self._lock:
            if key in self._scans:
                self._frames -= len(self._scans.pop(key).ticks)
            self._scans[key] = scan
            self._frames += len(scan.ticks)
            while self._frames > self._MAX_FRAMES:
                self._frames -= len(self._scans.popitem(last=False)[1].ticks)
