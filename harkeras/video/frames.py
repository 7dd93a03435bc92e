"""One frame at a time: as it comes from the decoder, and as a model sees it."""

from __future__ import annotations

from typing import Protocol

import av
import numpy as np

from harkeras.recipe import ClipFormat, Interpolation
from harkeras.video.decoding import Source
from harkeras.video.flow import FlowStack, flow_size, to_gray


class DecodedFrame:
    """A decoded frame, still in the file's pixel format."""

    def __init__(self, tick: int, frame: av.VideoFrame, source: Source):
        """Keep the frame; nothing is converted yet."""
        self._tick, self._scan = tick, source.scan
        self._frame, self._source = frame, source

    @property
    def seconds(self) -> float:
        """When the frame appears on the file's clock."""
        return self._scan.to_seconds(self._tick)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the video in pixels as displayed; a single frame may be stored in another."""
        return self._source.size

    def rgb(
        self, height: int | None = None, width: int | None = None, *, interpolation: Interpolation = "area"
    ) -> np.ndarray:
        """Return uint8 RGB (H, W, 3) in the given size, upright; as displayed by default."""
        return self._source.to_rgb(self._frame, height, width, interpolation)


class VideoFrame(Protocol):
    """A frame of a file or of a live source, converted when it is asked for."""

    @property
    def seconds(self) -> float:
        """When it appears on the clock of its source."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels as displayed."""

    def rgb(
        self, height: int | None = None, width: int | None = None, *, interpolation: Interpolation = "area"
    ) -> np.ndarray:
        """Return uint8 RGB (H, W, 3) in the given size; as displayed by default."""


class FrameView(Protocol):
    """What a model sees of frames that come one after another; some are only needed for others."""

    def frames_needed(self, wanted: np.ndarray) -> np.ndarray:
        """Mark the frames that `read` must be shown for the wanted ones: bool (N,) -> bool (N,)."""

    def read(self, frame: VideoFrame, index: int, wanted: bool) -> np.ndarray | None:
        """Take in frame number `index`; if it is wanted, return what the model sees."""


def mark_through(wanted: np.ndarray) -> np.ndarray:
    """Mark all frames from the first wanted one to the last: bool (N,) -> bool (N,)."""
    rows, needed = np.flatnonzero(wanted), np.zeros_like(wanted)
    if len(rows):
        needed[rows[0] : rows[-1] + 1] = True
    return needed


class ModelView:
    """What a model sees of frames, as a format of clips says: RGB, gray, optical flow, or RGB and flow."""

    def __init__(self, clip_format: ClipFormat):
        """Start with no frame."""
        self._format, self._flow = clip_format, None
        if clip_format.flow_fields:
            size, fields = (clip_format.height, clip_format.width), clip_format.flow_fields
            self._flow = FlowStack(*size, fields=fields, method=clip_format.flow_method)

    def frames_needed(self, wanted: np.ndarray) -> np.ndarray:
        """Mark the frames that `read` must be shown for the wanted ones: bool (N,) -> bool (N,)."""
        return wanted if self._flow is None else self._flow.frames_needed(wanted)

    def read(self, frame: VideoFrame, index: int, wanted: bool) -> np.ndarray | None:
        """Take in frame number `index`; if it is wanted, return what the model sees: uint8 (H, W, C)."""
        if self._flow is not None:
            self._flow.push(frame.rgb(*flow_size(*frame.size)), index)
        if not wanted:
            return None
        clip_format = self._format
        if clip_format.streams == "flow":
            return self._flow.beside()
        image = frame.rgb(clip_format.height, clip_format.width, interpolation=clip_format.interpolation)
        if clip_format.streams == "gray":
            return to_gray(image)[..., None]
        return image if self._flow is None else self._flow.beside(image)
