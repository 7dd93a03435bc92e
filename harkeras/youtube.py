"""From the URL of a video to a file: YouTube, the other sites that yt-dlp knows, or a direct link.

Sound is not used for recognition, so a video-only file of few lines is asked for: one small download, and no ffmpeg
to join picture and sound. yt-dlp says in many words what went wrong; `DownloadError` says it in one sentence.
"""

import filecmp
import re
import tempfile
import unicodedata
from pathlib import Path
from typing import NamedTuple

_SIGN_IN = (
    "pass cookies='cookies.txt' (exported from a browser that is signed in) or cookies_from_browser='firefox'"
)
# The first pattern that is found in yt-dlp's message wins, so the special cases stand before the general ones.
_REASONS = (
    (r"not a bot|captcha", f"the site asks to sign in, to check that you are not a bot; {_SIGN_IN}"),
    (
        r"rate.limited|HTTP Error 429",
        "the site has had too many requests from here; wait an hour, then try again",
    ),
    (
        r"cookies? database|load cookies",
        "the cookies could not be read; export them in Netscape format and pass cookies=",
    ),
    (r"confirm your age|age.restricted", f"the video is age-restricted; {_SIGN_IN}"),
    (
        r"members.only|members on|requires payment",
        f"the video is for members or buyers only; with such an account, {_SIGN_IN}",
    ),
    (r"private", f"the video is private; if its owner has let you in, {_SIGN_IN}"),
    (
        r"your country|your location|geo.?restrict",
        "the video is blocked in your country; choose another video",
    ),
    (
        r"live event|premieres in|not currently live",
        "it is a live stream that has not begun; try again after it has ended",
    ),
    (r"DRM", "the video is protected against copying (DRM); choose another video"),
    (
        r"Unsupported URL|truncated|is not a valid URL",
        "there is no video that yt-dlp knows how to find; check the URL",
    ),
    (r"HTTP Error 404|HTTP Error 410", "there is nothing at this address (HTTP 404); check the URL"),
    (
        r"HTTP Error 40[13]",
        f"the site refuses access (HTTP 403); update with `pip install -U yt-dlp`, or {_SIGN_IN}",
    ),
    (
        r"removed|terminated|unavailable|not available(?! in)|isn.t available|does not exist",
        "the video was removed or is unavailable; check the URL in a browser",
    ),
    (r"No space left|not enough space|Errno 28", "the disk is full; free some space, then try again"),
    (
        r"resolve|getaddrinfo|name resolution|nodename|Name or service not known|unreachable|refused|timed out|Errno 11[01]",
        "the site cannot be reached; check the internet connection",
    ),
    (
        r"bytes read|IncompleteRead|Connection aborted|Remote end closed|reset by peer|content too short",
        "the connection broke off; try again",
    ),
)
_EXTENSIONS = {"mp4", "m4v", "mov", "webm", "mkv", "avi", "flv", "mpg", "mpeg", "ts", "ogv", "wmv", "3gp"}
