"""What a file says of itself before any of its frames is decoded: for files that strangers send."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import av
from av.stream import Disposition

from harkeras.video.decoding import VideoError

# Formats that hold their frames themselves. Others, such as playlists, name further files and addresses,
# which FFmpeg would open.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,h264,hevc,m4v,mjpeg,mxf,rm,"
    "yuv4mpegpipe,ivf,obu"
)


class VideoHeader(NamedTuple):
    """What a file says of itself.

    Attributes:
        height: Height in pixels; 0 where it is not said, or is more than can be decoded.
        width: Width in pixels; the same.
        seconds: How long the video is; None where it is not said.
    """

    height: int
    width: int
    seconds: float | None


def read_header(video: str | os.PathLike, *, max_pixels: int) -> VideoHeader:
    """Read what a file says of itself; it may be untrue.

    Args:
        video: Path of the file.
        max_pixels: Frames that are larger are not decoded, not even to find out about them.

    Raises:
        FileNotFoundError: If there is no such file.
        VideoError: If it holds no video, or is of a format that leads to other files.
    """
    path = Path(video)
    if not path.is_file():
        raise FileNotFoundError(f"no video file at {path}")
    options = {"max_pixels": str(max_pixels), "format_whitelist": _FORMATS, "protocol_whitelist": "file"}
    try:
        with av.open(str(path.absolute()), metadata_errors="replace", options=options) as container:
            for stream in container.streams.video:
                context = stream.codec_context
                if context and not stream.disposition & Disposition.attached_pic:
                    duration = None if container.duration is None else container.duration / av.time_base
                    return VideoHeader(context.height, context.width, duration)
    except (av.error.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise VideoError(f"{path}: not a video that can be read, or cut off ({reason})") from error
    raise VideoError(f"{path}: the file holds no video stream")
