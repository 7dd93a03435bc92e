"""What the packets of a video stream say, before anything is decoded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import av

# The start of a coded picture in MPEG-4 part 2, and its type of picture that is shown before an earlier one.
_MPEG4_PICTURE = b"\0\0\1\xb6"
_MPEG4_B = 2
# A picture that only says "nothing changed" is shorter than this behind its start code.
_MPEG4_CODED_BYTES = 4
# Beyond this, clocks are damaged and sums overflow.
_LARGEST_TICK = 2**61


@dataclass
class Packets:
    """The packets of a stream in decoding order, those without content left out.

    Attributes:
        ticks: Times of display, None where unknown.
        decoded: Times of decoding, None where unknown.
        keys: Whether the container says that decoding can start here.
        visible: Whether a frame of it is part of the video: not so before the start of an edit list.
        pictures: Number of frames that should come out of the visible packets.
        plain: Whether each packet is whole and holds one picture.
        reordered: Whether the pictures themselves say that some are shown before earlier ones.
        last_duration: Duration of the last packet in ticks, 0 where unknown.
        lost: Number of packets that are cut off or did not decode, as far as is known.
    """

    ticks: list[int | None] = field(default_factory=list)
    decoded: list[int | None] = field(default_factory=list)
    keys: list[bool] = field(default_factory=list)
    visible: list[bool] = field(default_factory=list)
    pictures: int = 0
    plain: bool = True
    reordered: bool = False
    last_duration: int = 0
    lost: int = 0

    @property
    def visible_ticks(self) -> list[int | None]:
        """Times of display of the visible packets, in decoding order."""
        return [tick for tick, visible in zip(self.ticks, self.visible, strict=True) if visible]

    @property
    def undecodable(self) -> int:
        """Number of packets before the first key frame, and of those behind it that lean on one before it."""
        if True not in self.keys:
            return 0
        start = self.keys.index(True)
        key = self.ticks[start]
        return start + sum(tick is not None and key is not None and tick < key for tick in self.ticks[start:])

    @property
    def first_key(self) -> int | None:
        """Time of display of the first packet, if decoding can start there."""
        return self.ticks[0] if self.keys[0] else None


def read_packets(packets: Iterable[av.Packet], codec: str) -> Packets:
    """Read the packets of a stream; `codec` is FFmpeg's name of it."""
    table = Packets()
    for packet in packets:
        pictures = 1
        if codec == "mpeg4":
            types = _mpeg4_types(bytes(packet))
            pictures, table.reordered = len(types), table.reordered or _MPEG4_B in types
            table.plain &= pictures == 1
        elif codec == "vp8":
            pictures = memoryview(packet)[0] >> 4 & 1  # some are never shown, only referred to
        visible = not packet.is_discard and (pictures > 0 or codec != "vp8")
        table.plain &= not packet.is_corrupt
        table.ticks.append(sane(packet.pts))
        table.decoded.append(sane(packet.dts))
        table.keys.append(packet.is_keyframe)
        table.visible.append(visible)
        table.pictures += pictures if visible else 0
        table.last_duration = packet.duration or 0
    return table


def sane(tick: int | None) -> int | None:
    """Return a time, or None if no clock shows it."""
    return tick if tick is not None and abs(tick) < _LARGEST_TICK else None


def _mpeg4_types(content: bytes) -> list[int]:
    """Return the type of each picture in a packet of MPEG-4: 0 I, 1 P, 2 B, 3 S; without those not coded."""
    pictures = content.split(_MPEG4_PICTURE)[1:]
    return [picture[0] >> 6 for picture in pictures if len(picture) >= _MPEG4_CODED_BYTES]
