import av
import numpy as np
import pytest

from harkeras.video.decoding import VideoError
from harkeras.video.headers import VideoHeader, read_header

LIMIT = 3840 * 2160


def test_says_what_the_file_says(make_video):
    assert read_header(make_video(), max_pixels=LIMIT) == VideoHeader(64, 96, 2.4)


def test_frames_beyond_the_limit_have_no_size(tmp_path, write_huge_header):
    assert read_header(write_huge_header(tmp_path / "huge.avi"), max_pixels=LIMIT)[:2] == (0, 0)


@pytest.mark.parametrize(
    "text",
    ["ffconcat version 1.0\nfile clip.mp4\n", "#EXTM3U\n#EXTINF:1,\nclip.mp4\n#EXT-X-ENDLIST\n", "nothing"],
)
def test_what_leads_to_other_files_is_refused(tmp_path, make_video, text):
    make_video()
    (tmp_path / "video").write_text(text)
    with pytest.raises(VideoError, match="not a video that can be read"):
        read_header(tmp_path / "video", max_pixels=LIMIT)


def test_sound_is_no_video(tmp_path):
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", 8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(VideoError, match="holds no video stream"):
        read_header(tmp_path / "sound.mkv", max_pixels=LIMIT)


def test_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no video file at"):
        read_header(tmp_path / "video", max_pixels=LIMIT)
