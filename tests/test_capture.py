import re

import numpy as np
import pytest
from mjpeg import Camera

from harkeras.video import VideoError
from harkeras.video.capture import describe_source, iter_captured


def test_a_file_as_fast_as_it_goes(make_video, index_of):
    video = make_video(indices=range(50))
    captured = list(iter_captured(video, 1.0))
    np.testing.assert_allclose([frame.seconds for frame, *_ in captured], np.arange(25) / 25, atol=1e-9)
    assert [index_of(frame.image) for frame, *_ in captured] == list(range(25))
    assert all(waited == 0 and decoding >= 0 for _, waited, decoding in captured)


def test_a_camera_is_waited_for(index_of):
    with Camera(fps=20) as camera:
        captured = list(iter_captured(camera.url, 0.8))
    indices = [index_of(frame.image) for frame, *_ in captured]
    assert indices == sorted(set(indices))
    assert 5 < len(captured) < 25
    assert (np.diff([frame.seconds for frame, *_ in captured]) > 0).all()
    assert np.median([waited for _, waited, _ in captured[1:]]) > 0.01


def test_what_a_source_is_called(make_video):
    assert describe_source(make_video()) == "clip.mp4"
    assert describe_source(2) == "camera 2"
    assert describe_source("rtsp://me:secret@10.0.0.1/live") == "rtsp://10.0.0.1/live"


def test_no_such_source(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(f"no video file at {tmp_path / 'none.mp4'}")):
        next(iter_captured(tmp_path / "none.mp4", 1.0))
    with pytest.raises(VideoError, match="the stream cannot be opened"):
        next(iter_captured("http://127.0.0.1:9/", 1.0))
