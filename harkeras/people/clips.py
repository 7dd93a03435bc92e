"""From a file to a clip: whole frames as `harkeras.video` reads them, squares around people, or joints."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from harkeras.people.everybody import EverybodyView
from harkeras.people.main_person import find_largest, read_people
from harkeras.people.pose import PoseEstimator, PoseTracker
from harkeras.people.tracking import Box
from harkeras.recipe import ClipFormat, Subject
from harkeras.video.frames import FrameView, ModelView, VideoFrame, mark_through
from harkeras.video.images import is_image_name, read_image, resize_image
from harkeras.video.reading import read_view


def read_clip(
    video: str | os.PathLike,
    clip_format: ClipFormat,
    *,
    estimator: PoseEstimator | None = None,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
) -> np.ndarray:
    """Read a video, or a range of it, as a model sees it, in training as in prediction.

    A picture is a video of one frame, which is repeated as often as the format asks for.

    Args:
        video: Path of the video file.
        clip_format: What a clip holds.
        estimator: What finds joints for streams "pose", see `find_joints`; MoveNet by default.
        start_seconds: Start of the range; the first frame by default.
        end_seconds: End of the range, not included; the end of the video by default.

    Returns:
        uint8 (T, H, W, C), or float32 (T, K, D) of joints.

    Raises:
        ValueError: If the range is empty, outside the video or of a picture, or the estimator gives other
            joints than the format says.
        FileNotFoundError: If there is no such file.
        VideoError: If the file holds no video that can be decoded, or nobody is found who is looked for.
        ImportError: If LiteRT or `trackers` is needed and not installed, or OpenCV has no TV-L1.
    """
    if clip_format.streams == "rgb" and clip_format.subject == "frame" and is_image_name(Path(video)):
        if (start_seconds, end_seconds) != (None, None):
            raise ValueError(f"start_seconds and end_seconds must be left out for a picture, got {video}")
        size = clip_format.height, clip_format.width
        image = resize_image(read_image(video), *size, interpolation=clip_format.interpolation)
        return np.repeat(image[None], clip_format.frames, axis=0)
    span = {"start_seconds": start_seconds, "end_seconds": end_seconds}
    view: Callable[[], FrameView] = partial(create_view, clip_format, estimator)
    if clip_format.subject != "frame":
        if clip_format.streams != "pose":
            return read_people(video, clip_format, **span)
        tracks, boxes = find_largest(video, **span)
        view = partial(PoseView, clip_format, estimator, box_at=lambda at: boxes[tracks.row_at(at)])
    return read_view(video, clip_format.frames, view, **span)


def create_view(
    clip_format: ClipFormat,
    estimator: PoseEstimator | None = None,
    seen: list[tuple[float, np.ndarray]] | None = None,
) -> FrameView:
    """Return what a model sees of frames, one after another; the arguments are those of `PoseView`.

    Of subjects "people" and "frame+people", that is a `Scene` for each frame, as objects in an array.

    Raises:
        ValueError: If it sees one person, as each of several has a view of their own.
    """
    if clip_format.subject == "person":
        raise ValueError("clip_format must be of what all people share here, got subject 'person'")
    if clip_format.subject in ("people", "frame+people"):
        return EverybodyView()
    if clip_format.streams == "pose":
        return PoseView(clip_format, estimator, seen)
    return ModelView(clip_format)


class PoseView:
    """The joints of one person in the frames of a video, see `PoseTracker`.

    The square around the body and the filter go from frame to frame: every frame is looked at, from the first
    that is wanted on, and those that are wanted are taken.

    Args:
        clip_format: What a clip holds.
        estimator: What finds joints; MoveNet by default.
        seen: Filled with the time in seconds of each frame that is looked at, and the joints (K, 3) in it.
        box_at: Where the person is at a moment, in pixels, if that is known.
    """

    def __init__(
        self,
        clip_format: ClipFormat,
        estimator: PoseEstimator | None = None,
        seen: list[tuple[float, np.ndarray]] | None = None,
        box_at: Callable[[float], Box] | None = None,
    ):
        """Start with no frame."""
        self._format, self._tracker, self._seen = clip_format, PoseTracker(estimator=estimator), seen
        self._box_at = box_at

    def frames_needed(self, wanted: np.ndarray) -> np.ndarray:
        """Mark all frames from the first wanted one to the last: bool (N,) -> bool (N,)."""
        return mark_through(wanted)

    def read(self, frame: VideoFrame, index: int, wanted: bool) -> np.ndarray | None:
        """Find the joints in the next frame; if it is wanted, return them: float32 (K, D)."""
        box = None if self._box_at is None else self._box_at(frame.seconds)
        joints = self._tracker.update(frame.rgb(), frame.seconds, box)
        if len(joints) != self._format.joints:
            raise ValueError(f"estimator must give {self._format.joints} joints, got {len(joints)}")
        if self._seen is not None:
            self._seen.append((frame.seconds, joints))
        return joints[:, : self._format.coordinates] if wanted else None


def pose_extraction(
    video: str | os.PathLike,
    frames: int = 32,
    *,
    estimator: PoseEstimator | None = None,
    joints: int = 17,
    subject: Subject = "frame",
    start_seconds: float | None = None,
    end_seconds: float | None = None,
) -> np.ndarray:
    """Read the joints of the person in a video, at frames spread evenly over it, or over a range of it.

    The frames are those of `frames_extraction`. Joints are followed through all frames between the first and
    the last of them, so that the square around the body and the smoothing have their neighbors. A joint that
    is not found is missing: its x, y and score are 0.

    Args:
        video: Path of the video file.
        frames: Number of frames T.
        estimator: Function of an image uint8 RGB (H, W, 3) -> joints (K, 3), x and y in its pixels, score;
            MoveNet by default. It is called on squares of frames.
        joints: Number of joints K that it gives.
        subject: "frame" to look for joints in the whole frame, and then around those that were found; or
            "person" to look at the largest person of the clip, whom a detector finds and follows: for
            pictures of several people, or of small ones.
        start_seconds: Start of the range; the first frame by default.
        end_seconds: End of the range, not included; the end of the video by default.

    Returns:
        float32 (T, 17, 3), or (T, K, 3): x and y in pixels of the video as displayed, and the score.

    Raises:
        ValueError: If a number is below 1, the range is empty or outside the video, or the estimator gives
            something else than K joints.
        FileNotFoundError: If there is no such file.
        VideoError: If the file holds no video that can be decoded, or nobody is found who is looked for.
        ImportError: If LiteRT or `trackers` is needed and not installed.
    """
    clip_format = ClipFormat(frames, streams="pose", joints=joints, subject=subject)
    span = {"start_seconds": start_seconds, "end_seconds": end_seconds}
    return read_clip(video, clip_format, estimator=estimator, **span)
