"""What yt-dlp says at length when a download fails, in one sentence: what happened, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SIGN_IN = "pass cookies='cookies.txt' (exported from a signed-in browser) or cookies_from_browser='firefox'"
LATER = "the broadcast is not over; try again when it is"
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
    r"live event|premiere|not currently live": LATER,
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


def explain(url: str, messages: Iterable[str]) -> str:
    """Return what happened and what to do, from what yt-dlp said of a URL: its error, and its warnings."""
    texts = [re.sub(r"\x1b\[[0-9;]*m", "", message).replace(url, "").strip() for message in messages]
    texts = [re.sub(r"^(ERROR: *)?(\[[\w:+-]+\] +)?(\S+: )?", "", text) for text in texts]
    for text in texts:
        for pattern, reason in _REASONS.items():
            if re.search(pattern, text, re.IGNORECASE):
                return reason
    reason = re.split(r"; please report this issue| \(caused by", texts[0])[0].rstrip(".")
    return f"{reason}; sites change often, so try `pip install -U 'yt-dlp[default]'`"
