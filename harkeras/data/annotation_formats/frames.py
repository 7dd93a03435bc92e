"""Numbers of frames and their times: several tools count in frames, and say no rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harkeras.video.reading import VideoError, VideoInfo


def read_info(video: Path | str) -> VideoInfo:
    """Read how long a video is, and when its frames appear.

    Raises:
        ValueError: If it is not there or cannot be read.
    """
    try:
        return VideoInfo.read(video)
    except (OSError, VideoError) as error:
        raise ValueError(
            f"the range is known only with the video (numbers of frames: or fps): {error}"
        ) from error


def end_of(info: VideoInfo) -> float:
    """Return when the last frame goes, on the clock that time ranges count on."""
    return float(info.frame_seconds[-1]) + 1 / info.fps


def appears(frame: int, info: VideoInfo) -> float:
    """Return when a frame appears; what comes after the last one is the end of the video.

    Raises:
        ValueError: If the number is negative.
    """
    if frame < 0:
        raise ValueError(f"frames count from 0, got {frame}")
    return float(info.frame_seconds[frame]) if frame < info.frame_count else end_of(info)


def frame_range(start: float, end: float, info: VideoInfo | None, fps: float | None) -> tuple[int, int]:
    """Return the first frame of a time range and the first one after it, of at least one frame.

    Frames count from 0, at `fps`, or where there is none, at the times that the video has.

    Raises:
        ValueError: If there is neither.
    """
    if fps is None and info is None:
        raise ValueError("its frames are known only with the video, which cannot be read, or with fps")
    if fps is not None or info is None:
        first, last = round(start * fps), round(end * fps)
    else:
        borders = np.append(info.frame_seconds, end_of(info))
        first, last = (int(np.abs(borders - seconds).argmin()) for seconds in (start, end))
        first = min(first, info.frame_count - 1)
    return max(first, 0), max(last, first + 1)
