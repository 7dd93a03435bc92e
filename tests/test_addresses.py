import pytest

from harkeras.video.addresses import is_playlist, refuse_address
from harkeras.video.reading import VideoInfo, frames_extraction


@pytest.mark.parametrize(
    ("video", "message"),
    [
        ("rtsp://user:pw@192.168.0.2:554/live", r"a stream: .*'ffmpeg -i rtsp://user.*/live -t 60 -c copy"),
        ("rtmp://host/app", "a stream: this version reads files, and 'harkeras watch' looks at what is live"),
        ("udp://239.0.0.1:1234", "a stream"),
        ("https://host/live/index.m3u8?token=1", r"a stream: .*index\.m3u8\?token=1 -t 60"),
        (
            "https://host/clip.mp4",
            "the address https://host/clip.mp4: download it first, with .*harkeras download",
        ),
        ("https://youtu.be/abc", "download it first"),
        (0, r"got 0, a camera: .*-i /dev/video0 -t 60"),
        ("1", r"got '1', a camera: .*-i /dev/video1 -t 60"),
        ("/dev/video7", "a camera"),
        ("-", "got '-': this version does not read standard input"),
    ],
)
def test_what_is_no_file_is_named(video, message):
    for read in (refuse_address, VideoInfo.read, frames_extraction):
        with pytest.raises(ValueError, match=f"video must be a file, .*{message}"):
            read(video)


@pytest.mark.parametrize(
    "video", ["none.mp4", "C:/clips/none.mp4", "a:b.mp4", "folder/1", "12.mp4", "~/x.avi"]
)
def test_names_of_files_are_none(video):
    assert refuse_address(video) is None
    with pytest.raises(FileNotFoundError, match="no video file at"):
        VideoInfo.read(video)


def test_a_file_may_be_called_so(make_video, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_video("clip.mkv").rename("0")
    assert VideoInfo.read("0").frame_count == 60


def test_playlists():
    assert is_playlist("https://host/a.M3U8")
    assert is_playlist("http://host/manifest.mpd?x=1")
    assert not is_playlist("https://host/m3u8/clip.mp4")
