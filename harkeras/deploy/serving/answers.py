"""What a service says of a video."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from harkeras.deploy.serving.errors import refuse
from harkeras.deploy.serving.limits import ServiceLimits
from harkeras.inference.prediction import predict_on_video, predict_single_action
from harkeras.inference.streaming import SharedModel
from harkeras.video.headers import read_header
from harkeras.video.reading import VideoError, VideoInfo

Mode = Literal["timeline", "single"]


class Health(BaseModel):
    """Whether videos are taken."""

    status: Literal["ready"]


class TimelineSegment(BaseModel):
    """A part of a video with one label, half-open; `confidence` is the label's mean probability."""

    start_seconds: float
    end_seconds: float
    label: str
    confidence: float


class Answer(BaseModel):
    """The action of a video, that which holds longest where there are several, and the parts of it."""

    label: str
    confidence: float
    probabilities: dict[str, float]
    segments: list[TimelineSegment] | None = None


def answer_video(video: Path, model: SharedModel, mode: Mode, limits: ServiceLimits) -> Answer:
    """Name the actions of a video.

    Raises:
        HTTPException: 413 if it is too long or its frames are too large, which is looked at before they are
            decoded; 422 if there is no video that can be read.
    """
    try:
        header = read_header(video, max_pixels=limits.pixels)
        _check(header.height * header.width or limits.pixels + 1, header.seconds or 0, limits)
        info = VideoInfo.read(video)  # which has counted
        _check(info.height * info.width, info.duration_seconds, limits)
        if mode == "single":
            action = predict_single_action(video, model)
            return Answer(**action._asdict())
        prediction = predict_on_video(video, model, progress=False)
    except (VideoError, ValueError) as error:
        raise refuse(422, str(error).replace(str(video), "video")) from error
    longest = prediction.held_actions()[0]
    return Answer(
        label=longest.label,
        confidence=longest.confidence,
        probabilities=prediction.probabilities_of(),
        segments=[TimelineSegment(**segment._asdict()) for segment in prediction.segments],
    )


def _check(pixels: int, seconds: float, limits: ServiceLimits) -> None:
    if pixels > limits.pixels:
        raise refuse(413, f"the frames of a video may have {limits.pixels} pixels")
    if seconds > limits.seconds:
        raise refuse(413, f"a video may be {limits.seconds:g} seconds long, got {seconds:.1f}")
