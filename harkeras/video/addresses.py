"""What is meant for a video and is no file: said with what to do instead."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_RECORD = "this version reads files, and 'harkeras watch' looks at what is live: record a part of it, such as"


def is_playlist(url: str) -> bool:
    """Tell whether an address names the playlist of a stream, HLS or DASH, which may have no end."""
    return re.search(r"\.(m3u8|mpd)\b", url, re.IGNORECASE) is not None


def is_stream(source: Any) -> bool:
    """Tell whether a source is a camera, by its number, or the address of a stream, and no file."""
    text = str(source)
    if re.match(r"[a-z][a-z0-9+.-]+://", text, re.IGNORECASE):
        return True
    return re.fullmatch(r"(?:/dev/video)?\d+", text) is not None and not Path(text).is_file()


def check_source(source: Any) -> None:
    """Raise FileNotFoundError for a file that is not there; whether a stream is there is known later."""
    if not is_stream(source) and not Path(source).exists():
        raise FileNotFoundError(f"no video file at {source}")


def refuse_address(video: Any) -> None:
    """Raise ValueError for the address of a stream, a camera's number, or "-" for standard input."""
    text = str(video)
    if text == "-":
        raise ValueError(
            "video must be a file, got '-': this version does not read standard input; write a file first"
        )
    if re.fullmatch(r"\d+", text) or re.match(r"/dev/video\d", text):
        device = text if text.startswith("/") else f"/dev/video{text}"
        raise ValueError(
            f"video must be a file, got {video!r}, a camera: {_RECORD} "
            f"'ffmpeg -f v4l2 -i {device} -t 60 part.mkv'"
        )
    if not (address := re.match(r"([a-z][a-z0-9+.-]+):/{1,2}(?!/)", text, re.IGNORECASE)):
        return
    if address[1].lower() in ("http", "https") and not is_playlist(text):
        raise ValueError(
            f"video must be a file, got the address {text}: download it first, with "
            "harkeras.download_youtube_videos(url) or 'harkeras download URL'"
        )
    raise ValueError(
        f"video must be a file, got {text}, a stream: {_RECORD} 'ffmpeg -i {text} -t 60 -c copy part.mkv'"
    )
