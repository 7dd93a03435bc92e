"""One frame at a time: as it comes from the decoder, and as a model sees it."""

from __future__ import annotations

import av
import numpy as np

from harkeras.recipe import Interpolation, Recipe, Streams
from harkeras.video.decoding import Source
from harkeras.video.flow import FlowMethod, FlowStack, flow_size, to_gray


class DecodedFrame:
    """A decoded frame, still in the file's pixel format."""

    def __init__(self, tick: int, frame: av.VideoFrame, source: Source):
        """Keep the frame; nothing is converted yet."""
        self.seconds = source.scan.to_seconds(tick)
        self._frame = frame
        self._source = source

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the video in pixels as displayed; a single frame may be stored in another."""
        return self._source.size

    def rgb(
        self, height: int | None = None, width: int | None = None, *, interpolation: Interpolation = "area"
    ) -> np.ndarray:
        """Return uint8 RGB (H, W, 3) in the given size, upright; as displayed by default."""
        return self._source.to_rgb(self._frame, height, width, interpolation)


class ModelView:
    """What a model sees of frames: in its size, as RGB, gray, optical flow, or RGB with flow behind.

    Args:
        height: Height in pixels.
        width: Width in pixels.
        streams: "rgb", "gray", "flow" or "rgb+flow".
        flow_fields: Number of fields L, where there is flow.
        flow_method: How flow is computed, see `optical_flow`.
        interpolation: How frames are resized, see `frames_extraction`.
    """

    def __init__(
        self,
        height: int,
        width: int,
        *,
        streams: Streams = "rgb",
        flow_fields: int = 0,
        flow_method: FlowMethod = "dis",
        interpolation: Interpolation = "area",
    ):
        """Start with no frame."""
        self._size, self._interpolation, self._streams = (height, width), interpolation, streams
        self._flow = None
        if streams in ("flow", "rgb+flow"):
            self._flow = FlowStack(height, width, fields=flow_fields, method=flow_method)

    @classmethod
    def of(cls, recipe: Recipe) -> ModelView:
        """Return what the model of a recipe sees."""
        names = ("height", "width", "streams", "flow_fields", "flow_method", "interpolation")
        return cls(**{name: getattr(recipe, name) for name in names})

    def frames_needed(self, wanted: np.ndarray) -> np.ndarray:
        """Mark the frames that `read` must be shown for the wanted ones: bool (N,) -> bool (N,)."""
        return wanted if self._flow is None else self._flow.frames_needed(wanted)

    def read(self, frame: DecodedFrame, index: int, wanted: bool) -> np.ndarray | None:
        """Take in frame number `index`; if it is wanted, return what the model sees: uint8 (H, W, C)."""
        if self._flow is not None:
            self._flow.push(frame.rgb(*flow_size(*frame.size)), index)
        if not wanted:
            return None
        if self._streams == "flow":
            return self._flow.beside()
        image = frame.rgb(*self._size, interpolation=self._interpolation)
        if self._streams == "gray":
            return to_gray(image)[..., None]
        return image if self._flow is None else self._flow.beside(image)
