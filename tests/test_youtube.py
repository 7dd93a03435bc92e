import http.server
import re
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from harkeras.video.reading import VideoInfo, iter_frames
from harkeras.video.youtube import (
    DownloadedVideo,
    DownloadError,
    _explain,
    _file_stem,
    _place,
    download_youtube_videos,
    is_url,
)

YOUTUBE = "https://www.youtube.com/watch?v=abcdefghijk"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.pages`: path -> (content type, bytes), or a function that answers by itself."""

    def do_GET(self):
        self.server.asked.append(self.path)
        page = self.server.pages.get(self.path)
        if callable(page):
            return page(self)
        if page is None:
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Type", page[0])
        self.send_header("Content-Length", str(len(page[1])))
        self.end_headers()
        self.wfile.write(page[1])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def site():
    """A server on the loopback device; `site.url + path` leads to `site.pages[path]`."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.pages, server.asked = {}, []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture(autouse=True)
def outside(request, monkeypatch):
    """Collects, and refuses, every attempt to reach a host other than this machine."""
    if request.node.get_closest_marker("network"):
        yield []
        return
    attempts, resolve = [], socket.getaddrinfo

    def resolve_here(host, *arguments, **options):
        if host in ("127.0.0.1", b"127.0.0.1"):
            return resolve(host, *arguments, **options)
        attempts.append(host)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", resolve_here)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield attempts
    if "offline" not in request.node.name:
        assert attempts == []


@pytest.fixture
def clip(site, make_video):
    """The URL of a video of 60 coded frames, 25 per second."""
    site.pages["/clip.mp4"] = ("video/mp4", make_video(b_frames=2).read_bytes())
    return f"{site.url}/clip.mp4"


@pytest.fixture
def on_youtube(monkeypatch):
    """`on_youtube(answer)`: yt-dlp's YouTube extractor gives `answer`, or raises it, and asks nobody."""
    from yt_dlp.extractor.youtube import YoutubeIE

    def set_answer(answer, warning=None):
        def real_extract(self, url):
            if warning:
                self.report_warning(warning)
            if isinstance(answer, Exception):
                raise answer
            return dict(answer)

        monkeypatch.setattr(YoutubeIE, "_real_extract", real_extract)

    return set_answer


def indices(path, index_of):
    return [index_of(frame.image) for frame in iter_frames(path)]


def broken_off(length, sent):
    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "video/mp4")
        if length:
            handler.send_header("Content-Length", str(length))
        handler.end_headers()
        handler.wfile.write(sent)

    return answer


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


# What comes down


def test_downloads_a_direct_link(clip, tmp_path, index_of, capfd):
    result = download_youtube_videos(clip, tmp_path / "videos")
    assert isinstance(result, DownloadedVideo)
    path, title = result
    assert (path, title) == (tmp_path / "videos" / "clip.mp4", "clip")
    assert path.read_bytes() == (tmp_path / "clip.mp4").read_bytes()
    assert indices(path, index_of) == list(range(60))
    out, err = capfd.readouterr()
    assert out == ""
    assert "clip: 100%" in err
    assert "B/s" in err
    assert "WARNING" not in err


def test_progress_can_be_switched_off(clip, tmp_path, capfd):
    download_youtube_videos(clip, tmp_path / "videos", start_seconds=1, progress=False)
    assert capfd.readouterr() == ("", "")


def test_needs_no_ffmpeg(clip, tmp_path, index_of, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    path, _ = download_youtube_videos(clip, tmp_path / "videos", start_seconds=1)
    assert indices(path, index_of) == list(range(25, 60))


def test_finds_the_video_of_a_page(clip, site, tmp_path):
    page = "<!doctype html><title>Tai Chi / Lesson 1: été</title><video src='clip.mp4'></video>".encode()
    site.pages["/lesson"] = ("text/html; charset=utf-8", page)
    path, title = download_youtube_videos(f"{site.url}/lesson", tmp_path / "videos")
    assert title == "Tai Chi / Lesson 1: été (1)"  # yt-dlp counts the videos of a page
    assert path.name.startswith("Tai_Chi_Lesson_1_ete_1-lesson")
    assert VideoInfo.read(path).frame_count == 60


def test_a_video_without_a_known_suffix_becomes_mp4(clip, site, tmp_path, index_of):
    site.pages["/stream"] = ("application/octet-stream", site.pages["/clip.mp4"][1])
    path, _ = download_youtube_videos(f"{site.url}/stream", tmp_path / "videos")
    assert path.name == "stream.mp4"
    assert indices(path, index_of) == list(range(60))


@pytest.mark.parametrize(
    ("start", "end", "expected", "name"),
    [
        (0.4, 1.2, range(10, 30), "clip-0.4s-1.2s.mp4"),
        (None, 0.2, range(5), "clip-0s-0.2s.mp4"),
        (2, None, range(50, 60), "clip-2s-end.mp4"),
        (2.38, 99, range(59, 60), "clip-2.38s-99s.mp4"),
        (0, None, range(60), "clip.mp4"),
    ],
)
def test_cuts_a_range_exactly(clip, tmp_path, index_of, start, end, expected, name):
    path, _ = download_youtube_videos(clip, tmp_path / "videos", start_seconds=start, end_seconds=end)
    assert path.name == name
    assert indices(path, index_of) == list(expected)
    info = VideoInfo.read(path)
    assert info.fps == 25
    assert info.duration_seconds == pytest.approx(len(expected) / 25)
    assert list((tmp_path / "videos").iterdir()) == [path]


def test_a_cut_keeps_the_times_of_a_variable_rate(site, make_video, tmp_path, index_of):
    video = make_video("vary.mp4", range(6), ticks=[0, 100, 300, 350, 800, 1000], time_base="1/1000")
    site.pages["/vary.mp4"] = ("video/mp4", video.read_bytes())
    path, _ = download_youtube_videos(f"{site.url}/vary.mp4", tmp_path / "videos", start_seconds=0.1)
    assert indices(path, index_of) == [1, 2, 3, 4, 5]
    assert VideoInfo.read(path).frame_seconds == pytest.approx([0, 0.2, 0.25, 0.7, 0.9], abs=0.005)


def test_scales_down_what_comes_only_larger(site, make_video, tmp_path, index_of):
    site.pages["/hd.mp4"] = ("video/mp4", make_video("hd.mp4", range(8), height=720, width=1280).read_bytes())
    path, _ = download_youtube_videos(f"{site.url}/hd.mp4", tmp_path / "videos")
    info = VideoInfo.read(path)
    assert (info.height, info.width) == (480, 854)
    assert indices(path, index_of) == list(range(8))
    path, _ = download_youtube_videos(f"{site.url}/hd.mp4", tmp_path / "all", max_height=None)
    assert VideoInfo.read(path).height == 720


def test_picks_h264_pictures_of_at_most_480_lines(site, make_video, on_youtube, tmp_path, index_of):
    formats = []
    for name, codec, height, sound in [
        ("a", "avc1.4d401e", 240, False),
        ("b", "avc1.4d401f", 480, False),
        ("c", "vp9", 480, False),
        ("d", "avc1.42001E", 360, True),
        ("e", "avc1.640028", 1080, False),
    ]:
        site.pages[f"/{name}.mp4"] = (
            "video/mp4",
            make_video(f"{name}.mp4", range(5), height=64).read_bytes(),
        )
        formats.append(
            {
                "format_id": name,
                "url": f"{site.url}/{name}.mp4",
                "ext": "mp4",
                "protocol": "http",
                "vcodec": codec,
                "acodec": "mp4a.40.2" if sound else "none",
                "height": height,
                "width": height * 2,
            }
        )
    formats.append(
        {"format_id": "f", "url": f"{site.url}/f.m4a", "ext": "m4a", "vcodec": "none", "acodec": "mp4a"}
    )
    on_youtube({"id": "abcdefghijk", "title": "Tai Chi: 太极 / ../CON?", "formats": formats})
    path, title = download_youtube_videos(YOUTUBE, tmp_path / "videos")
    assert title == "Tai Chi: 太极 / ../CON?"
    assert path.name == "Tai_Chi_CON-abcdefghijk-480p.mp4"
    assert site.asked == ["/b.mp4"]
    # the same video again: nothing is downloaded
    assert download_youtube_videos(YOUTUBE, tmp_path / "videos") == (path, title)
    assert site.asked == ["/b.mp4"]
    # other lines, or a range: another file
    small, _ = download_youtube_videos(YOUTUBE, tmp_path / "videos", max_height=300)
    cut, _ = download_youtube_videos(YOUTUBE, tmp_path / "videos", end_seconds=0.08)
    assert small.name == "Tai_Chi_CON-abcdefghijk-240p.mp4"
    assert cut.name == "Tai_Chi_CON-abcdefghijk-480p-0s-0.08s.mp4"
    assert indices(cut, index_of) == [0, 1]
    assert site.asked == ["/b.mp4", "/a.mp4", "/b.mp4"]


def test_never_overwrites_another_video(clip, site, make_video, tmp_path):
    folder = tmp_path / "videos"
    first, _ = download_youtube_videos(clip, folder)
    again, _ = download_youtube_videos(clip, folder)
    assert again == first
    content = first.read_bytes()
    site.pages["/clip.mp4"] = ("video/mp4", make_video("other.mp4", range(7)).read_bytes())
    other, _ = download_youtube_videos(clip, folder)
    assert other == folder / "clip_2.mp4"
    assert first.read_bytes() == content
    assert VideoInfo.read(other).frame_count == 7
    assert sorted(folder.iterdir()) == [first, other]


# Names


@pytest.mark.parametrize(
    ("title", "video_id", "expected"),
    [
        ("clip", "clip", "clip"),
        ("Fall: detection / part 2", "x-y_z", "Fall_detection_part_2-x-y_z"),
        ("../../etc/passwd", "../..", "etc_passwd"),
        ("CON", "con", "CON-con"),
        ("nul", "nul", "nul_"),
        ("com1", "", "com1_"),
        (".hidden", "a", "hidden-a"),
        ("Ünïcödé ﬁ", "b", "Unicode_fi-b"),
        ("太极拳", "太极", "video"),
        ("", "-abc", "video--abc"),
        ("a\x00b\nc\\d|e<f>", "1", "a_b_c_d_e_f-1"),
        ("x" * 300, "y" * 300, "x" * 80 + "-" + "y" * 60),
    ],
)
def test_file_names_are_safe(title, video_id, expected):
    stem = _file_stem({"id": video_id}, title, 480, None, None)
    assert stem == expected
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", stem)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (YOUTUBE, True),
        (" http://127.0.0.1:80/x ", True),
        ("HTTPS://youtu.be/abc", True),
        ("videos/fall.mp4", False),
        ("https", False),
        ("http://", False),
        ("http://[::1", False),
        ("file:///etc/passwd", False),
        ("rtsp://camera/1", False),
        ("C:\\videos\\fall.mp4", False),
        ("", False),
    ],
)
def test_is_url(text, expected):
    assert is_url(text) is expected


# What goes wrong


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (None, r"nothing at this address \(HTTP 404\)"),
        (lambda handler: handler.send_error(403), "refuses access"),
        (lambda handler: handler.send_error(503), r"in trouble \(HTTP 5xx\); try again later"),
        (lambda handler: handler.send_error(429), "too many requests"),
        (("text/plain", b"just some text\n" * 20), "not a video"),
        (
            ("text/html", b"<html><title>private</title></html>"),
            "yt-dlp finds no video there",
        ),
        (("video/mp4", b"no video in spite of its type" * 20), "not a video"),
        (("video/mp4", b""), "connection broke off|not a video"),
        (broken_off(100_000, b"x" * 5000), "the connection broke off; try again"),
        (broken_off(None, b"x" * 5000), "not a video"),
    ],
)
def test_a_failure_gives_one_clear_error_and_leaves_nothing(site, tmp_path, capfd, page, reason):
    if page:
        site.pages["/private/clip"] = page
    folder = tmp_path / "videos"
    with pytest.raises(DownloadError, match=reason) as caught:
        download_youtube_videos(f"{site.url}/private/clip", folder)
    assert f"could not download {site.url}/private/clip: " in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(folder.iterdir()) == []
    assert "ERROR" not in capfd.readouterr().err


def test_half_a_file_is_an_error(clip, site, tmp_path):
    content = site.pages["/clip.mp4"][1]
    site.pages["/clip.mp4"] = broken_off(len(content), content[: len(content) // 2])
    with pytest.raises(DownloadError, match="broke off"):
        download_youtube_videos(clip, tmp_path / "videos")
    assert list((tmp_path / "videos").iterdir()) == []


def test_a_closed_port_and_offline(tmp_path, outside):
    for url in (f"http://127.0.0.1:{closed_port()}/clip.mp4", "http://nowhere.invalid/clip.mp4", YOUTUBE):
        with pytest.raises(DownloadError, match="cannot be reached; check the address"):
            download_youtube_videos(url, tmp_path / "videos")
    assert list((tmp_path / "videos").iterdir()) == []
    assert set(outside) == {"nowhere.invalid", "www.youtube.com"}


@pytest.mark.parametrize(
    "place", ["youtube._progress_hook", "reading.VideoInfo.read", "writing.VideoWriter.write"]
)
def test_an_interruption_leaves_nothing(clip, tmp_path, monkeypatch, place):
    def interrupt(*arguments):
        assert list((tmp_path / "videos").rglob("video.mp4*"))
        raise KeyboardInterrupt

    hook = (lambda bar: interrupt) if place.endswith("hook") else interrupt
    monkeypatch.setattr(f"harkeras.video.{place}", hook)
    with pytest.raises(KeyboardInterrupt):
        download_youtube_videos(clip, tmp_path / "videos", end_seconds=1)
    assert list((tmp_path / "videos").iterdir()) == []


def test_a_full_disk(clip, tmp_path, monkeypatch):
    def write(self, *arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("harkeras.video.writing.VideoWriter.write", write)
    with pytest.raises(DownloadError, match="the disk is full"):
        download_youtube_videos(clip, tmp_path / "videos", end_seconds=1)
    assert list((tmp_path / "videos").iterdir()) == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            {"_type": "playlist", "id": "p", "entries": [{"_type": "url", "url": YOUTUBE, "id": "a"}]},
            "a list of videos",
        ),
        ({"live_status": "is_live"}, "the broadcast is not over"),
    ],
)
def test_lists_and_live_streams_are_refused(on_youtube, site, tmp_path, answer, reason):
    formats = [{"format_id": "a", "url": f"{site.url}/a.mp4", "ext": "mp4", "height": 360, "vcodec": "avc1"}]
    on_youtube({"id": "abcdefghijk", "title": "x", "formats": formats, **answer})
    with pytest.raises(DownloadError, match=reason):
        download_youtube_videos(YOUTUBE, tmp_path / "videos")
    assert site.asked == []
    assert list((tmp_path / "videos").iterdir()) == []


# Reasons that YouTube and yt-dlp give, and a part of what the user reads.
NO_BOT = "not a bot; pass cookies='cookies.txt' .* or cookies_from_browser='firefox'"
GONE, BLOCKED, LATER, MEMBERS = (
    "was removed or is not",
    "in this country",
    "broadcast is not over",
    "paying members",
)


def test_files_of_one_name_are_all_kept(tmp_path):
    """Two downloads may end at the same moment; each tries the names of the other."""
    folder = tmp_path / "videos"
    folder.mkdir()

    def place(number):
        file = tmp_path / f"{number}.mp4"
        file.write_bytes(b"%d" % (number % 8))
        return _place(file, folder, "video")

    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(place, range(8)))
    assert len(set(paths)) == 8
    assert sorted(path.read_bytes() for path in paths) == [b"%d" % number for number in range(8)]
    assert place(3) == paths[3]  # an equal file is kept


SIGN_IN = "shows the video to those who have signed in; pass cookies"
SAYINGS = [
    ("Private video. Sign in if you've been granted access to this video", "is private; if its owner"),
    ("Video unavailable. This video is private", "is private; if its owner"),
    ("Video unavailable", GONE),
    ("Video unavailable. This video has been removed by the uploader", GONE),
    ("This video is no longer available because the YouTube account has been terminated.", GONE),
    ("This video is not available", GONE),
    ("Sign in to confirm you\u2019re not a bot. Use --cookies-from-browser or --cookies", NO_BOT),
    ("Sign in to confirm you're not a bot. This helps protect our community. Learn more", NO_BOT),
    ("Video unavailable. YouTube is requiring a captcha challenge before playback", NO_BOT),
    (
        "Sign in to confirm your age. This video may be inappropriate for some users.",
        "age-restricted; pass cookies",
    ),
    ("Join this channel to get access to members-only content like this video", MEMBERS),
    ("This video requires payment to watch", MEMBERS),
    ("The uploader has not made this video available in your country", BLOCKED),
    ("Video unavailable. This video contains content from X, who has blocked it in your country", BLOCKED),
    ("This video is not available from your location due to geo restriction", BLOCKED),
    ("This live event will begin in 3 hours.", LATER),
    ("Premieres in 2 days", LATER),
    ("The channel is not currently live", LATER),
    ("This content isn't available, try again later. The session has been rate-limited", "too many requests"),
    ("This video is DRM protected", r"\(DRM\)"),
    ("Please sign in. Use --cookies-from-browser or --cookies for the authentication.", SIGN_IN),
    ("You need to log in to access this content. Use --cookies", SIGN_IN),
    ("This video is only available for registered users. Use --username and --password", SIGN_IN),
    ("NSFW tweet requires authentication. Use --cookies", SIGN_IN),
    ("This video is only available for premium users", MEMBERS),
    ("Requested content is not available, rate-limit reached or login required", "too many requests"),
    ("You have exceeded the rate limit. Try again later", "too many requests"),
    ("HTTP Error 429: Too Many Requests", "too many requests"),
    (
        "The following content is not available on this app. Watch on the latest version of YouTube.",
        "this version of yt-dlp any more; `pip install -U",
    ),
    ("The downloaded file is empty", "sent nothing; `pip install -U"),
    ("Instagram sent an empty media response. Check if this post is accessible", "sent nothing"),
    ("This video is protected by a password, use the --video-password option", "by a password; ask its"),
    ("Incomplete YouTube ID abc. URL https://youtu.be/abc looks truncated.", "finds no video there"),
    ("Some new trouble", "Some new trouble; sites change often, so try `pip install -U 'yt-dlp"),
]


@pytest.mark.parametrize(("said", "reason"), SAYINGS)
@pytest.mark.parametrize("expected", [True, False])
def test_yt_dlp_errors_are_explained(on_youtube, tmp_path, said, reason, expected):
    from yt_dlp.utils import ExtractorError

    on_youtube(ExtractorError(said, expected=expected))
    with pytest.raises(DownloadError, match=reason) as caught:
        download_youtube_videos(YOUTUBE, tmp_path)
    assert str(caught.value).startswith(f"could not download {YOUTUBE}: ")
    assert not re.search("ERROR|please report|\n", str(caught.value))
    assert list(tmp_path.iterdir()) == []


def test_a_warning_may_name_the_cause(on_youtube, tmp_path):
    formats = [{"format_id": "a", "url": "http://127.0.0.1/a.m4a", "ext": "m4a", "vcodec": "none"}]
    answer = {"id": "abcdefghijk", "title": "x", "formats": formats}
    on_youtube(answer, "n challenge solving failed: Some formats may be missing.")
    with pytest.raises(DownloadError, match="needs a JavaScript runtime; install Deno"):
        download_youtube_videos(YOUTUBE, tmp_path)


OFFLINE, PAGE = "the site cannot be reached", "ERROR: [youtube] x: Unable to download API page:"


@pytest.mark.parametrize(
    ("message", "warning", "reason"),
    [
        (
            "\x1b[0;31mERROR:\x1b[0m unable to download video data: HTTP Error 403: Forbidden",
            "",
            "refuses access",
        ),
        ("ERROR: [generic] x: HTTP Error 410: Gone (caused by <HTTPError 410: Gone>)", "", "HTTP 404"),
        ("ERROR: unable to write data: [Errno 28] No space left on device", "", "the disk is full"),
        ("ERROR: unable to open for writing: [Errno 13] Permission denied: 'x'", "", "another output_dir"),
        (f"{PAGE} The read operation timed out", "", OFFLINE),
        (f"{PAGE} [Errno 101] Network is unreachable", "", OFFLINE),
        (f"{PAGE} <urlopen error [Errno 11001] getaddrinfo failed>", "", OFFLINE),
        (f"{PAGE} [Errno 8] nodename nor servname provided, or not known", "", OFFLINE),
        (f"{PAGE} ('Connection aborted.', ConnectionResetError(104, 'reset by peer'))", "", "broke off"),
        ("ERROR: Could not copy Chrome cookie database. See  https://...", "", "cookies cannot be read"),
        (
            "ERROR: [youtube] x: Requested format is not available. Use --list-formats for a list",
            "[youtube] No supported JavaScript runtime could be found. Only deno is enabled by default",
            "needs a JavaScript runtime; install Deno or Node.js",
        ),
        (
            "ERROR: [youtube] x: Failed to extract any player response; please report this issue on  https://...",
            "[youtube] Failed to resolve 'www.youtube.com' ([Errno -3] Temporary failure in name resolution)",
            OFFLINE,
        ),
        ("ERROR: Unsupported URL: https://a.b/private/unavailable", "", "finds no video there"),
        ("ERROR: [x:y] private-1: Nothing known", "", "^Nothing known; sites change often"),
    ],
)
def test_other_messages_are_explained(message, warning, reason):
    assert re.search(reason, _explain("https://a.b/private/unavailable", [message, warning]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "clip.mp4"}, "url must be an http:// or https:// address, got 'clip.mp4'"),
        ({"url": "file:///etc/passwd"}, "url must be"),
        ({"max_height": 1}, "max_height must be at least 2 lines, got 1"),
        ({"start_seconds": -1}, "start_seconds must be at least 0, got -1"),
        ({"start_seconds": float("nan")}, "start_seconds must be at least 0, got nan"),
        (
            {"start_seconds": 5, "end_seconds": 5},
            r"end_seconds must be greater than start_seconds \(5\), got 5",
        ),
        ({"end_seconds": 0}, r"end_seconds must be greater than start_seconds \(0\), got 0"),
        ({"cookies_from_browser": "lynx"}, "cookies_from_browser must be one of .*firefox.*, got 'lynx'"),
        ({"start_seconds": 3}, r"start_seconds must lie in the video, 0 to 2.400, got 3"),
    ],
)
def test_wrong_arguments(clip, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        download_youtube_videos(**{"url": clip, "output_dir": tmp_path / "videos", **options})
    assert not list(tmp_path.glob("videos/*"))


def test_output_dir_must_be_a_folder(clip, tmp_path):
    with pytest.raises(ValueError, match=r"output_dir must be a folder, but .*clip.mp4 is a file"):
        download_youtube_videos(clip, tmp_path / "clip.mp4")


def test_cookies(clip, site, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no cookies file at .*cookies\.txt"):
        download_youtube_videos(clip, tmp_path / "videos", cookies=tmp_path / "cookies.txt")
    sent, page = [], site.pages["/clip.mp4"]
    site.pages["/clip.mp4"] = lambda handler: (
        sent.append(handler.headers["Cookie"]),
        broken_off(len(page[1]), page[1])(handler),
    )
    cookies = tmp_path / "cookies.txt"
    text = "# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t4000000000\tsession\tsecret\n"
    cookies.write_text(text)
    download_youtube_videos(clip, tmp_path / "videos", cookies=cookies)
    assert set(sent) == {"session=secret"}
    assert cookies.read_text() == text
    cookies.write_text("not a cookies file")
    with pytest.raises(DownloadError, match="the cookies cannot be read"):
        download_youtube_videos(clip, tmp_path / "more", cookies=cookies)


def test_cookies_of_a_browser_that_is_not_there(clip, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(DownloadError, match="the cookies cannot be read"):
        download_youtube_videos(clip, tmp_path / "videos", cookies_from_browser="firefox:nobody")


def test_importing_loads_neither_yt_dlp_nor_av():
    code = "import sys, harkeras.video.youtube; sys.exit(bool({'yt_dlp', 'av', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


@pytest.mark.network
def test_downloads_from_youtube(tmp_path):
    path, title = download_youtube_videos(
        "https://www.youtube.com/watch?v=jNQXAC9IVRw", tmp_path, start_seconds=2, end_seconds=4
    )
    assert title == "Me at the zoo"
    info = VideoInfo.read(path)
    assert info.height <= 480
    assert info.duration_seconds == pytest.approx(2, abs=0.1)
