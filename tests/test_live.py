import threading
import time
from datetime import UTC, datetime, timedelta

import cv2
import numpy as np
import pytest
from mjpeg import Camera
from rtsp import RtspCamera

from harkeras.video import live as live_module
from harkeras.video._connections import name_source
from harkeras.video.decoding import VideoError
from harkeras.video.live import LiveVideo


def watch_until(live, wanted, longest_seconds=20):
    """Take frames until something of this kind was told; return all that was told."""
    told, until = [], time.monotonic() + longest_seconds
    while time.monotonic() < until:
        live.newest(0.1)
        told += live.events()
        if wanted in [event.kind for event in told]:
            return told
    raise AssertionError(f"not told within {longest_seconds} s: {wanted}, but {told}")


def test_the_newest_frame_is_given_however_long_the_last_one_took(index_of):
    with Camera() as camera, LiveVideo(camera.url) as live:
        behind, last = [], -1
        for _ in range(8):
            frame = live.newest(10)
            behind.append(camera.sent - index_of(frame.image))
            assert index_of(frame.image) > last
            last = index_of(frame.image)
            time.sleep(0.2)  # six frames
        assert np.median(behind) <= 2  # one on its way, one being decoded
        assert max(behind) < 6
        assert frame.size == (96, 128)
        assert frame.rgb(32, 48).shape == (32, 48, 3)
        assert abs((datetime.now(UTC) - frame.time).total_seconds()) < 5
        assert 5 < live.fps < 60


def test_a_camera_that_goes_away_is_waited_for_and_said_once(index_of, monkeypatch):
    monkeypatch.setattr(live_module, "_FIRST_WAIT_SECONDS", 0.1)
    with Camera() as camera, LiveVideo(camera.url) as live:
        before = live.newest(10)
        camera.kill()
        told = watch_until(live, "lost")
        time.sleep(0.8)
        assert not live.events()  # it is said once, however many tries fail
        camera.start()
        told += watch_until(live, "back")
        assert [event.kind for event in told] == ["lost", "back"]
        assert "is lost" in told[0].message
        assert "is back after" in told[1].message
        frame = live.newest(10)
        assert frame.seconds > before.seconds + 0.8
        assert camera.sent - index_of(frame.image) < 15


def test_a_stream_that_is_corrupted_and_resized_goes_on(index_of, monkeypatch):
    monkeypatch.setattr(live_module, "_FIRST_WAIT_SECONDS", 0.1)
    with Camera() as camera, LiveVideo(camera.url) as live:
        live.newest(10)
        camera.garbage = True
        assert [event.kind for event in watch_until(live, "back")] == ["lost", "back"]
        camera.size = (64, 96)
        (event,) = watch_until(live, "resized")
        assert event.message.endswith("now sends 96 x 64 pixels, before 128 x 96")
        frame = live.newest(10)
        assert frame.image.shape == (64, 96, 3)
        index_of(frame.image)
        camera.broken = True
        (event,) = watch_until(live, "damaged")
        assert "cannot be decoded" in event.message
        assert live.newest(10) is not None


def test_a_picture_that_stands_still_is_told_once():
    with Camera() as camera, LiveVideo(camera.url, frozen_seconds=0.5) as live:
        live.newest(10)
        camera.frozen = True
        told = watch_until(live, "frozen")
        until = time.monotonic() + 1
        while time.monotonic() < until:
            live.newest(0.1)
        camera.frozen = False
        told += watch_until(live, "moving")
        assert [event.kind for event in told] == ["frozen", "moving"]


class Clock:
    """Clocks that can be set."""

    def __init__(self):
        self.shift = self.day_shift = 0.0

    def __call__(self):
        return time.monotonic() + self.shift

    def now(self):
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=time.monotonic() + self.day_shift)


def test_clocks_that_jump_are_told_and_seconds_increase():
    clock, seconds = Clock(), []
    with (
        Camera() as camera,
        LiveVideo(
            camera.url, clock=clock, now=clock.now, each_frame=lambda frame: seconds.append(frame.seconds)
        ) as live,
    ):
        live.newest(10)
        clock.day_shift = -3600
        (event,) = watch_until(live, "clock")
        assert "set by -3600 s" in event.message
        clock.shift = clock.day_shift = -50  # the whole machine
        watch_until(live, "clock")
        clock.shift += 100
        assert "gap" in [event.kind for event in watch_until(live, "gap")]
        live.newest(10)
    assert (np.diff(seconds) > 0).all()
    assert 90 < max(seconds) < 160


def test_a_file_is_played_at_its_own_speed_and_ends(make_video, index_of):
    video, seconds = make_video(indices=range(25)), []
    begin = time.monotonic()
    with LiveVideo(video, each_frame=lambda frame: seconds.append(frame.seconds)) as live:
        last = -1
        while not live.ended:
            frame = live.newest(1)
            if frame is not None:
                assert index_of(frame.image) > last
                last = index_of(frame.image)
        assert last == 24
        assert not live.events()
        assert live.end_seconds == pytest.approx(1)
        assert live.newest(0.1) is None
    assert time.monotonic() - begin >= 0.9
    np.testing.assert_allclose(seconds, np.arange(25) / 25)


def test_what_cannot_be_opened_is_told_in_one_line(tmp_path):
    with pytest.raises(VideoError, match=r"http://127.0.0.1:1/: the stream cannot be opened \("):
        LiveVideo("http://user:secret@127.0.0.1:1/").__enter__()
    with pytest.raises(FileNotFoundError, match="no video file at"):
        LiveVideo(tmp_path / "none.mp4").__enter__()
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(VideoError, match=r"text\.mp4"):
        LiveVideo(tmp_path / "text.mp4").__enter__()
    with pytest.raises(ValueError, match="frozen_seconds must be positive, got 0"):
        LiveVideo(0, frozen_seconds=0)
    assert name_source("rtsp://me:secret@camera.local:554/a@b") == "rtsp://camera.local:554/a@b"


class Capture:
    """What OpenCV has for a camera: 30 pictures, then nothing."""

    def __init__(self, number):
        self.number, self.count = number, 0

    def isOpened(self):
        return self.number == 0

    def set(self, *_):
        return True

    def grab(self):
        self.count += 1
        time.sleep(0.01)
        return self.count <= 30

    def retrieve(self):
        return True, np.full((48, 64, 3), (255, 0, self.count), np.uint8)  # blue

    def release(self):
        pass


def test_a_camera_by_its_number(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    with LiveVideo(0) as live:
        frame = live.newest(5)
        assert frame.image[0, 0, 2] == 255
        assert frame.rgb(24, 32).shape == (24, 32, 3)
        assert watch_until(live, "lost")[0].message.startswith("camera 0 is lost (it sends nothing)")
    with pytest.raises(VideoError, match="camera 3: there is no such camera"):
        LiveVideo("/dev/video3").__enter__()


def test_an_error_in_the_thread_is_raised_where_frames_are_taken(make_video):
    def fail(frame):
        raise ValueError("bad frame")

    with LiveVideo(make_video(), each_frame=fail) as live, pytest.raises(ValueError, match="bad frame"):
        live.newest(5)


def test_no_thread_is_left():
    with Camera() as camera, LiveVideo(camera.url) as live:
        live.newest(10)
        thread = live._thread
    thread.join(10)
    assert thread not in threading.enumerate()


def test_an_rtsp_camera(index_of):
    with RtspCamera() as camera, LiveVideo(camera.url) as live:
        behind = []
        for _ in range(8):
            frame = live.newest(15)
            behind.append(camera.sent - index_of(frame.image))
            time.sleep(0.2)
        assert np.median(behind[2:]) <= 2
        assert frame.size == (96, 128)
        assert not live.events()
