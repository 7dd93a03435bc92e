"""From the URL of a video to a file: YouTube, the other sites that yt-dlp knows, or a direct link.

Sound is not used for recognition, so pictures alone are asked for, with few lines: one small download, and no
ffmpeg needed to join the two. What yt-dlp says at length on failure, `DownloadError` says in one sentence.
"""

from __future__ import annotations

import filecmp
import io
import math
import os
import re
import tempfile
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from tqdm import tqdm

from harkeras.base.files import publish

_SIGN_IN = "pass cookies='cookies.txt' (exported from a signed-in browser) or cookies_from_browser='firefox'"
_LATER = "the broadcast is not over; try again when it is"
# What yt-dlp's message contains -> what happened, and what to do. The first match wins.
_REASONS = {
    r"failed to resolve|name resolution|getaddrinfo|nodename|not known|unreachable|refused|timed out": (
        "the site cannot be reached; check the address and the internet connection"
    ),
    r"bytes read|bytes, expected|aborted|closed connection|reset by peer|too short|data blocks": (
        "the connection broke off; try again"
    ),
    r"no space left|not enough space": "the disk is full; free some space, then try again",
    r"permission denied|read-only": "the folder cannot be written to; choose another output_dir",
    r"cookies? database|load cookies|netscape": "the cookies cannot be read; export a Netscape cookies file",
    r"not a bot|captcha": f"the site wants to see that you are not a bot; {_SIGN_IN}",
    r"rate.limit|too many requests|http error 429": (
        f"the site has had too many requests from here; try again in an hour, or {_SIGN_IN}"
    ),
    r"confirm your age|age.restricted|inappropriate": f"the video is age-restricted; {_SIGN_IN}",
    r"members.only|for members|requires payment|subscri(be|ption)|premium|purchase": (
        f"the video is for paying members; if you are one, {_SIGN_IN}"
    ),
    r"private": f"the video is private; if its owner lets you see it, {_SIGN_IN}",
    r"sign in|log in|login|logged.in|registered users|requires authentication|account (is needed|auth)": (
        f"the site shows the video to those who have signed in; {_SIGN_IN}"
    ),
    r"on this app|latest version of youtube": (
        "the site does not answer this version of yt-dlp any more; `pip install -U 'yt-dlp[default]'`"
    ),
    r"file is empty|empty (media )?response": (
        "the site sent nothing; `pip install -U 'yt-dlp[default]'` and try again"
    ),
    r"password": "the video is protected by a password; ask its owner for the file",
    r"your country|your location|geo.?restrict": "the video is blocked in this country; choose another one",
    r"live event|premiere|not currently live": _LATER,
    r"\bdrm\b": "the video is protected against copying (DRM); choose another one",
    r"unsupported url|truncated|not a valid url": "yt-dlp finds no video there; check the URL",
    r"http error 5\d\d": "the site is in trouble (HTTP 5xx); try again later",
    r"http error 4(04|10)": "there is nothing at this address (HTTP 404); check the URL",
    r"http error 40[13]": f"the site refuses access (HTTP 403); `pip install -U yt-dlp`, or {_SIGN_IN}",
    r"removed|terminated|unavailable|(?<!format is )not available|isn.t available|no longer|does not exist": (
        "the video was removed or is not available; look at the URL in a browser"
    ),
    r"javascript runtime|challenge solving failed": (
        "the site needs a JavaScript runtime; install Deno or Node.js and `pip install -U 'yt-dlp[default]'`"
    ),
}


class DownloadError(RuntimeError):
    """A video that could not be downloaded. The message names the URL, what happened, and what to do."""


class DownloadedVideo(NamedTuple):
    """A complete video file, and the title that its page gives it."""

    path: Path
    title: str


def is_url(text: str | os.PathLike) -> bool:
    """Tell whether `text` is an http or https URL rather than the name of a file."""
    try:
        parts = urlsplit(str(text).strip())
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:  # half an IPv6 address
        return False


def download_youtube_videos(
    url: str,
    output_dir: str | os.PathLike = "data",
    *,
    max_height: int | None = 480,
    cookies: str | os.PathLike | None = None,
    cookies_from_browser: str | None = None,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    progress: bool = True,
) -> DownloadedVideo:
    """Download one video; return where it is and its title.

    The file's ASCII name is made of title, id, height and range; it appears only when complete. A YouTube
    video that is already there is not downloaded again. Other files are never overwritten: an equal one is
    kept, and beside a different one of the same name the new name gets a number.

    Args:
        url: Page of the video (YouTube, or another site that yt-dlp knows), or direct link to a video file.
        output_dir: Folder for the file, made if missing.
        max_height: Largest height in pixels, at least 2; a video that comes only larger is scaled down. None
            for no limit.
        cookies: Netscape cookies file of a signed-in browser, for age and bot checks. It is not changed.
        cookies_from_browser: Browser to take cookies from, such as "firefox" or "chrome:Profile 1".
        start_seconds: Start of the range to keep, from the frame on screen then; the first by default.
        end_seconds: End of the range, not included; the end of the video by default, and at the latest.
        progress: Show progress bars on standard error.

    Returns:
        `DownloadedVideo(path, title)`. A range or a scaled video is encoded anew: exact frames, no sound.

    Raises:
        ValueError: If `url` is no URL, an option is out of range, or the start lies behind the video's end.
        FileNotFoundError: If there is no such cookies file.
        DownloadError: If the video cannot be had: private, removed, bot check, offline, disk full, no video.

    Example:
        >>> path, title = download_youtube_videos(url, "data", start_seconds=10, end_seconds=25)
    """
    _check(url, output_dir, max_height, cookies, start_seconds, end_seconds)
    options = _options(max_height, cookies, cookies_from_browser)
    from yt_dlp import YoutubeDL
    from yt_dlp.utils import YoutubeDLError

    from harkeras.video.reading import VIDEO_SUFFIXES, VideoError

    url, folder, log = str(url).strip(), Path(output_dir), _Log()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as work:
            with YoutubeDL({**options, "paths": {"home": work}, "logger": log}) as site:
                info = site.extract_info(url, download=False)
                if "entries" in info:
                    raise _failure(url, "it is a list of videos; pass the URL of one of them")
                if info.get("live_status") in ("is_live", "is_upcoming"):
                    raise _failure(url, _LATER)
                title = info.get("title") or info["id"]
                stem = _file_stem(info, title, max_height, start_seconds, end_seconds)
                if info["extractor_key"] == "Youtube":  # on other sites, ids may not tell videos apart
                    for known in folder.iterdir():
                        if known.stem == stem and known.suffix in VIDEO_SUFFIXES:
                            return DownloadedVideo(known, title)
                with tqdm(desc=stem[:40], unit="B", unit_scale=True, disable=not progress) as bar:
                    site.add_progress_hook(_progress_hook(bar))
                    site.process_info(info)
            file = _fit(Path(info["filepath"]), max_height, start_seconds, end_seconds, progress)
            return DownloadedVideo(_place(file, folder, stem), title)
    except VideoError as error:
        raise _failure(url, "what came from there is not a video; check the URL") from error
    except (YoutubeDLError, OSError) as error:
        raise _failure(url, _explain(url, [str(error), *log.warnings])) from error


def _failure(url, reason):
    return DownloadError(f"could not download {url}: {reason}")


class _Log:
    """Takes what yt-dlp would print. Its warnings may name the cause that its error leaves out."""

    def __init__(self):
        self.warnings = []

    def debug(self, message: str) -> None:
        pass

    def warning(self, message: str) -> None:
        self.warnings.append(message)

    def error(self, message: str) -> None:
        pass  # comes as an exception too


def _check(url, output_dir, max_height, cookies, start_seconds, end_seconds):
    start = 0 if start_seconds is None else start_seconds
    if not is_url(url):
        raise ValueError(f"url must be an http:// or https:// address, got {str(url)!r}")
    if Path(output_dir).exists() and not Path(output_dir).is_dir():
        raise ValueError(f"output_dir must be a folder, but {output_dir} is a file")
    if max_height is not None and max_height < 2:
        raise ValueError(f"max_height must be at least 2 lines, got {max_height}")
    if not 0 <= start < math.inf:
        raise ValueError(f"start_seconds must be at least 0, got {start_seconds}")
    if end_seconds is not None and not end_seconds > start:
        raise ValueError(f"end_seconds must be greater than start_seconds ({start}), got {end_seconds}")
    if cookies is not None and not Path(cookies).is_file():
        raise FileNotFoundError(f"no cookies file at {cookies}")


def _options(max_height, cookies, cookies_from_browser):
    lines = "" if max_height is None else f"[height<={max_height}]"
    # Pictures alone ("bv") or with sound ("b"): H.264 as one HTTP file, else another codec, else in pieces,
    # else of unknown height, else the smallest there is.
    wishes = (f"[vcodec^=avc1][protocol^=http]{lines}", f"[protocol^=http]{lines}", lines)
    formats = [kind + wish for wish in wishes for kind in ("bv", "b")]
    formats += [f"bv*{lines.replace('<=', '<=?')}", "wv*"]
    options = {
        "format": "/".join(formats),
        "outtmpl": "video.%(ext)s",
        "noplaylist": True,
        "extract_flat": "in_playlist",
        "playlist_items": "1",
        "quiet": True,
        "noprogress": True,
        "color": "no_color",
        "socket_timeout": 20,
        "retries": 3,
        "fragment_retries": 3,
        "js_runtimes": {"deno": {}, "node": {}},  # yt-dlp runs a site's scripts in their sandboxes
    }
    if cookies is not None:  # in memory, because yt-dlp would write to the file
        options["cookiefile"] = io.StringIO(Path(cookies).read_text(encoding="utf-8", errors="replace"))
    if cookies_from_browser is not None:
        from yt_dlp.cookies import SUPPORTED_BROWSERS

        browser, _, profile = cookies_from_browser.partition(":")
        if browser not in SUPPORTED_BROWSERS:
            browsers = ", ".join(sorted(SUPPORTED_BROWSERS))
            raise ValueError(f"cookies_from_browser must be one of {browsers}, got {cookies_from_browser!r}")
        options["cookiesfrombrowser"] = (browser, profile or None)
    return options


def _file_stem(info, title, max_height, start_seconds, end_seconds):
    title, video_id = _ascii(title).strip("_-")[:80], _ascii(info["id"])[:60]
    parts = [title or "video"]
    if video_id.strip("_-") not in ("", title):
        parts.append(video_id)
    if info.get("height"):
        parts.append(f"{min(info['height'], max_height or info['height'])}p")
    if start_seconds or end_seconds is not None:
        end = "end" if end_seconds is None else f"{end_seconds:.10g}s"
        parts.append(f"{start_seconds or 0:.10g}s-{end}")
    stem = "-".join(parts)
    reserved = re.fullmatch(r"con|prn|aux|nul|com\d|lpt\d", stem, re.IGNORECASE)  # devices of Windows
    return f"{stem}_" if reserved else stem


def _ascii(text):
    # OpenCV cannot open other names on Windows.
    letters = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_-]+", "_", letters)


def _progress_hook(bar):
    def hook(state):
        bar.total = state.get("total_bytes") or state.get("total_bytes_estimate") or bar.total
        bar.update((state.get("downloaded_bytes") or bar.n) - bar.n)

    return hook


def _fit(file, max_height, start_seconds, end_seconds, progress):
    from harkeras.video.reading import VIDEO_SUFFIXES, VideoInfo, iter_frames
    from harkeras.video.writing import write_frames

    video = VideoInfo.read(file)
    too_high = max_height is not None and video.height > max_height
    ranged = bool(start_seconds) or end_seconds is not None
    if not (too_high or ranged) and file.suffix.lower() in VIDEO_SUFFIXES:
        return file
    size = {}
    if too_high:
        height = max_height - max_height % 2
        size = {"height": height, "width": max(2, round(video.width * height / video.height / 2) * 2)}
    frames = iter_frames(file, **size, start_seconds=start_seconds, end_seconds=end_seconds)
    target = file.with_name("encoded.mp4")
    write_frames(
        target, tqdm(frames, desc="encoding", unit=" frames", disable=not progress), video.writing_fps
    )
    return target


def _place(file, folder, stem):
    for number in range(1, 10_000):
        target = folder / (f"{stem}_{number}{file.suffix}" if number > 1 else f"{stem}{file.suffix}")
        try:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))  # the name is ours from now on
        except FileExistsError:
            if target.is_file() and filecmp.cmp(file, target, shallow=False):
                return target
        else:
            return publish(file, target)
    raise FileExistsError(f"{folder} holds too many files named {stem}")


def _explain(url: str, messages: Iterable[str]) -> str:
    """Return what happened and what to do, from what yt-dlp said of a URL: its error, and its warnings."""
    texts = [re.sub(r"\x1b\[[0-9;]*m", "", message).replace(url, "").strip() for message in messages]
    texts = [re.sub(r"^(ERROR: *)?(\[[\w:+-]+\] +)?(\S+: )?", "", text) for text in texts]
    for text in texts:
        for pattern, reason in _REASONS.items():
            if re.search(pattern, text, re.IGNORECASE):
                return reason
    reason = re.split(r"; please report this issue| \(caused by", texts[0])[0].rstrip(".")
    return f"{reason}; sites change often, so try `pip install -U 'yt-dlp[default]'`"
