import re
import struct
import warnings
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from harkeras.video.reading import (
    VIDEO_SUFFIXES,
    VideoError,
    VideoInfo,
    frames_extraction,
    iter_decoded,
    iter_frames,
)

OPEN_GOP = "open-gop=1:bframes=3:b-pyramid=2:keyint=12"
CONTAINERS = {
    "h264.mp4": {},
    "b_frames.mp4": {"b_frames": 3},
    "open_gop.mp4": {"b_frames": 3, "x264opts": OPEN_GOP},
    "intra_only.mp4": {"gop": 1},
    "one_gop.mp4": {"gop": 1000, "b_frames": 2},
    "negative_start.mp4": {"b_frames": 2, "container_options": {"use_editlist": "0"}},
    "fragmented.mp4": {"b_frames": 2, "container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "hevc.mp4": {"codec": "libx265", "b_frames": 3, "x265__params": "log-level=none"},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mpeg4_b_frames.avi": {"codec": "mpeg4", "b_frames": 2},
    "h264.avi": {},
    "h264_b_frames.avi": {"b_frames": 3},
    "motion_jpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "b_frames.mkv": {"b_frames": 3},
    "open_gop.mkv": {"b_frames": 3, "x264opts": OPEN_GOP},
    "vp8.webm": {"codec": "libvpx", "b": "300k", "deadline": "realtime", "cpu__used": "8", "threads": "1"},
    "vp9.webm": {
        "codec": "libvpx-vp9",
        "b": "300k",
        "deadline": "realtime",
        "cpu__used": "8",
        "threads": "1",
    },
    "rotated_90.mov": {"b_frames": 2, "rotation": 90},
    "rotated_180.mov": {"b_frames": 2, "rotation": 180},
    "rotated_270.mov": {"b_frames": 2, "rotation": 270},
    "colours.gif": {"codec": "gif", "pix_fmt": "rgb8"},
    "b_frames.ts": {"b_frames": 2},
    "mpeg2.mpg": {"codec": "mpeg2video", "b_frames": 2},
    "windows.wmv": {"codec": "wmv2"},
    "flash.flv": {"codec": "flv"},
    "phone.3gp": {},
    "deep_10_bit.mp4": {"pix_fmt": "yuv420p10le"},
    "full_444.mp4": {"pix_fmt": "yuv444p"},
    "alpha.mov": {"codec": "qtrle", "pix_fmt": "argb"},
    "long_audio.mp4": {"b_frames": 2, "audio_seconds": 5},
}


def middles(frames, start, stop):
    """The frame index on screen at the middle of each part, where one frame takes one second."""
    return [int(start + (2 * k + 1) * (stop - start) / (2 * frames)) for k in range(frames)]


@pytest.fixture
def indices_in(index_of):
    return lambda clip: [index_of(frame) for frame in clip]


@pytest.fixture(scope="module", params=CONTAINERS)
def video(request, encode, tmp_path_factory):
    return encode(tmp_path_factory.mktemp("video") / request.param, **CONTAINERS[request.param])


class TestContainers:
    @pytest.mark.parametrize("frames", [1, 7, 20, 60])
    def test_frames_are_exact(self, video, frames, indices_in):
        clip = frames_extraction(video, frames)
        assert clip.shape == (frames, 64, 64, 3)
        assert clip.dtype == np.uint8
        assert indices_in(clip) == middles(frames, 0, 60)

    def test_range_is_exact(self, video, indices_in):
        clip = frames_extraction(video, 5, start_seconds=30 / 25, end_seconds=50 / 25)
        assert indices_in(clip) == middles(5, 30, 50)

    def test_every_frame_comes_in_order(self, video, indices_in):
        frames = list(iter_frames(video))
        assert indices_in(frame.image for frame in frames) == list(range(60))
        assert np.allclose([frame.seconds for frame in frames], np.arange(60) / 25, atol=0.006)
        assert {frame.image.shape for frame in frames} == {(64, 96, 3)}

    def test_info(self, video):
        info = VideoInfo.read(video)
        assert (info.height, info.width, info.frame_count) == (64, 96, 60)
        assert info.fps == pytest.approx(25, rel=1e-3)
        assert info.duration_seconds == pytest.approx(2.4, abs=0.006)
        assert np.allclose(info.frame_seconds, np.arange(60) / 25, atol=0.006)
        assert info.path == video


class TestFramesExtraction:
    def test_height_and_width_are_not_swapped(self, make_video, indices_in):
        clip = frames_extraction(make_video(), 3, height=32, width=80)
        assert clip.shape == (3, 32, 80, 3)
        assert indices_in(clip) == middles(3, 0, 60)

    @pytest.mark.parametrize("gop", [5, 250])
    @pytest.mark.parametrize("b_frames", [0, 3])
    @pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi"])
    def test_jumps_give_what_one_pass_gives(self, make_video, indices_in, suffix, gop, b_frames):
        codec = "mpeg4" if suffix == "avi" else "libx264"
        video = make_video(f"long.{suffix}", range(1500), codec=codec, gop=gop, b_frames=b_frames)
        for frames, start, stop in [(4, 0, 1500), (20, 0, 1500), (6, 1000, 1013), (3, 1490, 1500)]:
            clip = frames_extraction(video, frames, start_seconds=start / 25, end_seconds=stop / 25)
            assert indices_in(clip) == middles(frames, start, stop)

    def test_long_open_gop(self, make_video, indices_in):
        video = make_video("long.mp4", range(1500), b_frames=3, x264opts=OPEN_GOP)
        assert indices_in(frames_extraction(video, 50)) == middles(50, 0, 1500)

    def test_packed_b_frames(self, make_video, tmp_path, indices_in):
        video = pack_b_frames(
            make_video("plain.avi", range(201), codec="mpeg4", b_frames=1), tmp_path / "packed.avi"
        )
        for start, stop in [(0, 201), (50, 70), (190, 201)]:
            clip = frames_extraction(video, 11, start_seconds=start / 25, end_seconds=stop / 25)
            assert indices_in(clip) == middles(11, start, stop)
        assert indices_in(frame.image for frame in iter_frames(video)) == list(range(201))

    @pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
    def test_intra_refresh_has_no_clean_key_frames(self, make_video, indices_in, suffix):
        video = make_video(f"refresh.{suffix}", range(600), x264opts="intra-refresh=1:keyint=50")
        assert indices_in(frames_extraction(video, 6)) == middles(6, 0, 600)
        images = [f.image for f in iter_frames(video, start_seconds=425 / 25, end_seconds=440 / 25)]
        assert indices_in(images) == list(range(425, 440))

    def test_start_cut_away_by_an_edit_list(self, make_video, tmp_path, indices_in):
        whole = make_video("whole.mp4", range(60), b_frames=2, gop=20)
        video = tmp_path / "trimmed.mp4"
        with av.open(str(whole)) as source, av.open(str(video), "w") as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.size:
                    shift = round(Fraction(7, 25) / packet.time_base)
                    packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                    target.mux(packet)
        assert VideoInfo.read(video).frame_count == 53
        assert indices_in(frames_extraction(video, 53)) == list(range(7, 60))
        assert indices_in(frame.image for frame in iter_frames(video)) == list(range(7, 60))

    def test_grey_has_three_channels(self, make_video):
        clip = frames_extraction(make_video("grey.mkv", codec="ffv1", pix_fmt="gray"), 2)
        assert clip.shape == (2, 64, 64, 3)
        assert np.ptp(clip, axis=-1).max() <= 1

    def test_short_clip_repeats_frames_evenly(self, make_video, indices_in):
        video = make_video(indices=range(5))
        assert indices_in(frames_extraction(video, 20)) == sorted([*range(5)] * 4)
        assert indices_in(frames_extraction(video, 7)) == middles(7, 0, 5)

    def test_one_frame_video(self, make_video, indices_in):
        for name in ("one.mp4", "one.mkv", "one.gif"):
            codec = {"codec": "gif", "pix_fmt": "rgb8"} if name.endswith("gif") else {}
            video = make_video(name, [77], **codec)
            assert indices_in(frames_extraction(video, 4)) == [77] * 4
            assert VideoInfo.read(video).duration_seconds == pytest.approx(1 / 25, abs=0.07)

    def test_variable_frame_rate_is_sampled_by_time(self, make_video, indices_in):
        # Ten frames in the first second, then one frame for nine seconds, then ten in the last.
        ticks = [*range(0, 1000, 100), *range(10_000, 11_000, 100)]
        for name, b_frames in (("a.mp4", 0), ("b.mp4", 3), ("c.mkv", 3)):
            video = make_video(name, range(20), ticks=ticks, time_base=Fraction(1, 1000), b_frames=b_frames)
            assert indices_in(frames_extraction(video, 10, end_seconds=10.9)) == [5, *[9] * 8, 13]
            assert indices_in(frames_extraction(video, 10, end_seconds=1)) == list(range(10))
            assert np.allclose(VideoInfo.read(video).frame_seconds, np.array(ticks) / 1000)

    def test_long_pause(self, make_video, indices_in):
        ticks = [0, 40, 80, 480_000, 480_040]
        video = make_video("pause.mkv", range(5), ticks=ticks, time_base=Fraction(1, 1000))
        assert indices_in(frames_extraction(video, 3)) == [2, 2, 2]
        assert indices_in(frames_extraction(video, 2, start_seconds=480)) == [3, 4]

    def test_normalize(self, make_video):
        video = make_video()
        clip = frames_extraction(video, 3, normalize=True)
        assert clip.dtype == np.float32
        assert np.array_equal(clip, frames_extraction(video, 3).astype(np.float32) / 255)

    def test_path_and_str_and_non_ascii_names(self, make_video, indices_in):
        video = make_video("Жест 歩く é #1%20.mp4")
        for path in (video, str(video)):
            assert indices_in(frames_extraction(path, 2)) == [15, 45]

    def test_name_that_looks_like_a_protocol(self, make_video, indices_in, monkeypatch):
        video = make_video("concat:clip.mp4")
        monkeypatch.chdir(video.parent)
        assert indices_in(frames_extraction("concat:clip.mp4", 2)) == [15, 45]
        assert VideoInfo.read("concat:clip.mp4").path == Path("concat:clip.mp4")

    @pytest.mark.parametrize("size", ["frames", "height", "width"])
    def test_size_below_one(self, make_video, size):
        with pytest.raises(ValueError, match=f"{size} must be at least 1, got 0"):
            frames_extraction(make_video(), **{size: 0})

    @pytest.mark.parametrize(
        ("start", "end", "message"),
        [
            (2.4, None, r"start_seconds must lie in the video, 0 to 2\.400, got 2\.4"),
            (-1, None, "start_seconds must lie in the video"),
            (float("nan"), None, "start_seconds must lie in the video"),
            (1, 1, r"end_seconds must be greater than start_seconds \(1\), got 1"),
            (1, 0.5, "end_seconds must be greater"),
            (None, 0, "end_seconds must be greater"),
            (None, float("nan"), "end_seconds must be greater"),
        ],
    )
    def test_bad_range(self, make_video, start, end, message):
        with pytest.raises(ValueError, match=message):
            frames_extraction(make_video(), start_seconds=start, end_seconds=end)
        with pytest.raises(ValueError, match=message):
            list(iter_frames(make_video(), start_seconds=start, end_seconds=end))

    def test_end_behind_the_video_is_its_end(self, make_video, indices_in):
        assert indices_in(frames_extraction(make_video(), 2, end_seconds=99)) == [15, 45]


def pack_b_frames(source, target):
    """Join each B-frame to the frame before it and put an empty one behind it, as in UCF's clips (DivX)."""
    picture, not_coded = b"\0\0\1\xb6", b"\0\0\1\xb6\x50\x7f"
    chunks = []
    with av.open(str(source)) as container:
        template = container.streams.video[0]
        for packet in container.demux(template):
            content = bytes(packet)
            if content and content[content.index(picture) + 4] >> 6 == 2:  # a B-frame
                chunks[-1] = (chunks[-1][0] + content, chunks[-1][1])
                chunks.append((not_coded, False))
            elif content:
                chunks.append((content, packet.is_keyframe))
        chunks[0] = (chunks[0][0].replace(picture, b"\0\0\1\xb2DivX503b1393p" + picture, 1), True)
        with av.open(str(target), "w") as packed:
            stream = packed.add_stream_from_template(template)
            for position, (content, is_key) in enumerate(chunks):
                packet = av.Packet(content)
                packet.stream, packet.time_base, packet.is_keyframe = stream, template.time_base, is_key
                packet.pts = packet.dts = position
                packed.mux(packet)
    return target


class TestIterFrames:
    def test_every_seconds(self, make_video, indices_in):
        frames = list(iter_frames(make_video(b_frames=3), every_seconds=0.5))
        assert indices_in(frame.image for frame in frames) == [0, 12, 25, 37, 50]
        assert [round(frame.seconds * 25) for frame in frames] == [0, 12, 25, 37, 50]

    def test_every_seconds_finer_than_the_frames(self, make_video, indices_in):
        frames = iter_frames(make_video(indices=range(5)), every_seconds=0.01)
        assert indices_in(frame.image for frame in frames) == list(range(5))

    def test_range_is_half_open(self, make_video, indices_in):
        video = make_video(b_frames=3)
        images = [f.image for f in iter_frames(video, start_seconds=10 / 25, end_seconds=20 / 25)]
        assert indices_in(images) == list(range(10, 20))
        images = [f.image for f in iter_frames(video, 0.2, start_seconds=0.4, end_seconds=0.8)]
        assert indices_in(images) == [10, 15]

    def test_times_between_the_ticks_of_a_coarse_clock(self, make_video, indices_in):
        video = make_video("coarse.avi", codec="mpeg4")  # one tick is one frame, 0.04 s
        images = [frame.image for frame in iter_frames(video, 0.1)]
        assert indices_in(images) == [int(k * 2.5) for k in range(24)]
        images = [frame.image for frame in iter_frames(video, start_seconds=0.3, end_seconds=0.5)]
        assert indices_in(images) == [7, 8, 9, 10, 11, 12]
        assert indices_in(frames_extraction(video, 2, start_seconds=0.3, end_seconds=0.5)) == [8, 11]

    def test_start_between_frames_gives_the_frame_on_screen(self, make_video, indices_in):
        images = [f.image for f in iter_frames(make_video(), start_seconds=0.41, end_seconds=0.5)]
        assert indices_in(images) == [10, 11, 12]

    def test_late_start_in_a_long_video(self, make_video, indices_in):
        video = make_video("long.mp4", range(1500), b_frames=3, gop=30)
        images = [f.image for f in iter_frames(video, start_seconds=1400 / 25, end_seconds=1410 / 25)]
        assert indices_in(images) == list(range(1400, 1410))

    def test_resized(self, make_video, indices_in):
        images = [frame.image for frame in iter_frames(make_video(rotation=90), height=40, width=50)]
        assert {image.shape for image in images} == {(40, 50, 3)}
        assert indices_in(images) == list(range(60))

    def test_images_are_independent(self, make_video, indices_in):
        images = [frame.image for frame in iter_frames(make_video(indices=range(3)))]
        images[0][:] = 0
        assert images[1].flags.writeable
        assert indices_in(images[1:]) == [1, 2]

    def test_bad_every_seconds(self, make_video):
        for every in (0, -1, float("nan")):
            with pytest.raises(ValueError, match=f"every_seconds must be positive, got {every}"):
                list(iter_frames(make_video(), every))
            with pytest.raises(ValueError, match=f"every_seconds must be positive, got {every}"):
                list(iter_decoded(make_video(), every))

    def test_iter_decoded_converts_in_any_size(self, make_video, index_of):
        for index, frame in enumerate(iter_decoded(make_video())):
            assert frame.seconds == pytest.approx(index / 25)
            assert index_of(frame.rgb()) == index_of(frame.rgb(20, 30)) == index
            assert frame.rgb(20, 30).shape == (20, 30, 3)


class TestBadFiles:
    @pytest.fixture(params=[frames_extraction, VideoInfo.read, lambda video: list(iter_frames(video))])
    def read(self, request):
        return request.param

    def test_missing(self, read, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no video file at .*gone\.mp4"):
            read(tmp_path / "gone.mp4")

    def test_folder(self, read, tmp_path):
        with pytest.raises(FileNotFoundError, match="is a folder"):
            read(tmp_path)

    def test_empty(self, read, tmp_path):
        (tmp_path / "empty.mp4").touch()
        with pytest.raises(VideoError, match=r"empty\.mp4: the file is empty"):
            read(tmp_path / "empty.mp4")

    def test_text(self, read, tmp_path):
        (tmp_path / "text.mp4").write_text("This is not a video.\n" * 100)
        with pytest.raises(VideoError, match=r"text\.mp4: not a video that can be read"):
            read(tmp_path / "text.mp4")

    def test_without_moov(self, read, make_video):
        video = make_video()
        video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
        with pytest.raises(VideoError, match=r"clip\.mp4: not a video that can be read, or cut off"):
            read(video)

    def test_only_audio(self, read, tmp_path):
        for name, cover in (("sound.m4a", False), ("song.mp3", True)):
            video = write_audio(tmp_path / name, cover)
            with pytest.raises(VideoError, match=f"{name}: the file holds no video stream"):
                read(video)

    def test_headers_without_frames(self, read, make_video):
        video = make_video(container_options={"movflags": "faststart"})
        content = video.read_bytes()
        video.write_bytes(content[: content.index(b"mdat") + 4])
        with pytest.raises(VideoError, match=r"clip\.mp4: no frame could be decoded"):
            read(video)

    @pytest.mark.parametrize("share", [0.3, 0.5, 0.95])
    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("cut.mp4", {"b_frames": 2, "container_options": {"movflags": "faststart"}}),
            ("cut.mkv", {"b_frames": 2}),
            ("cut.avi", {"codec": "mpeg4"}),
            ("cut.ts", {"b_frames": 2}),
            (
                "cut.webm",
                {"codec": "libvpx", "b": "1M", "deadline": "realtime", "cpu__used": "8", "threads": "1"},
            ),
        ],
    )
    def test_cut_in_the_middle_gives_what_is_there(self, make_video, index_of, name, options, share):
        video = make_video(name, height=240, width=320, gop=3, **options)
        with video.open("r+b") as file:
            file.truncate(int(video.stat().st_size * share))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            # The frame at the cut may be half there.
            found = [index_of(frame.image) for frame in iter_frames(video)][:-2]
            clip = [index_of(frame) for frame in frames_extraction(video, 20)][:-1]
        if video.suffix in (".mp4", ".avi"):  # only these say how many frames there should be
            assert re.search(
                r"cut\.\w+: cut off or damaged, \d+ of 60 frames could be read", str(caught[0].message)
            )
        assert found == list(range(len(found)))
        assert 60 * share / 4 < len(found) < 60
        assert clip == sorted(clip)
        assert len(found) * 0.8 < clip[-1] < len(found) + 5

    def test_damaged_frames_are_replaced_by_those_around(self, make_video, index_of):
        video = make_video("holes.mp4", height=240, width=320, gop=5)
        content = bytearray(video.read_bytes())
        with av.open(str(video)) as container:
            places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
        for position, size in places[20:25]:
            content[position : position + size] = bytes(size)
        video.write_bytes(content)
        with pytest.warns(UserWarning, match=r"holes\.mp4: cut off or damaged, 55 of 60 frames"):
            clip = frames_extraction(video, 60)
        assert [index_of(frame) for frame in clip] == [*range(20), *[19] * 5, *range(25, 60)]
        with pytest.warns(UserWarning, match=r"holes\.mp4: cut off or damaged, 55 of 60 frames"):
            found = [index_of(frame.image) for frame in iter_frames(video)]
        assert found == [*range(20), *range(25, 60)]

    def test_nothing_decodes(self, read, make_video):
        video = make_video()
        content = bytearray(video.read_bytes())
        start = content.index(b"mdat") + 4
        content[start : content.index(b"moov") - 4] = bytes(content.index(b"moov") - 4 - start)
        video.write_bytes(content)
        with pytest.raises(VideoError, match=r"clip\.mp4: no frame could be decoded"):
            read(video)

    def test_zero_fps_header(self, make_video, indices_in):
        video = make_video("zero.avi", codec="mpeg4")
        content = bytearray(video.read_bytes())
        header = content.index(b"strh") + 8
        content[header + 20 : header + 28] = struct.pack("<II", 0, 0)  # dwScale, dwRate
        content[content.index(b"avih") + 8 :][:4] = bytes(4)
        video.write_bytes(content)
        assert indices_in(frames_extraction(video, 20)) == middles(20, 0, 60)
        assert VideoInfo.read(video).frame_count == 60
        assert VideoInfo.read(video).fps > 0

    def test_first_of_several_video_streams(self, tmp_path, coded_frame, indices_in):
        path = tmp_path / "two.mkv"
        with av.open(str(path), "w") as container:
            streams = [container.add_stream("libx264", rate=25) for _ in range(2)]
            for stream in streams:
                stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
            for index in range(40):
                for stream, start in zip(streams, (0, 1000), strict=True):
                    frame = av.VideoFrame.from_ndarray(coded_frame(start + index), format="rgb24")
                    container.mux(stream.encode(frame))
            for stream in streams:
                container.mux(stream.encode(None))
        assert indices_in(frames_extraction(path, 10)) == middles(10, 0, 40)


def write_audio(path, cover):
    with av.open(str(path), "w") as container:
        sound = container.add_stream("libmp3lame" if path.suffix == ".mp3" else "aac", rate=16000)
        sound.layout = "mono"
        if cover:
            picture = container.add_stream("mjpeg", rate=1)
            picture.height, picture.width, picture.pix_fmt = 64, 96, "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
            for packet in picture.encode(av.VideoFrame(96, 64, "yuvj420p")):
                container.mux(packet)
        for start in range(0, 32000, 1000):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1000), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, start
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


@pytest.mark.real_data
class TestRealClips:
    @staticmethod
    def clips(folder):
        fights = sorted(folder.glob("surveillance_fights/*/*.mp4"))[::60]
        return [*sorted(folder.glob("videos/*.mp4")), *fights, *sorted(folder.glob("falls/*/*/*.mp4"))[::8]]

    def test_same_frames_as_plain_decoding(self, real_data):
        for video in self.clips(real_data):
            with av.open(str(video)) as container:
                by_av = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
            capture, by_cv2 = cv2.VideoCapture(str(video)), []
            while (result := capture.read())[0]:
                by_cv2.append(result[1][..., ::-1])
            assert len(by_av) == len(by_cv2) == VideoInfo.read(video).frame_count
            height, width = by_av[0].shape[:2]
            for clip_frame, index in zip(
                frames_extraction(video, 8, height, width), middles(8, 0, len(by_av)), strict=True
            ):
                for whole in (by_av, by_cv2):
                    distances = [np.abs(clip_frame[::8, ::8].astype(int) - f[::8, ::8]).mean() for f in whole]
                    assert distances[index] == min(distances) < 2, (video.name, index, np.argmin(distances))

    def test_every_clip_is_read_whole(self, real_data):
        for video in self.clips(real_data):
            info = VideoInfo.read(video)
            assert sum(1 for _ in iter_decoded(video)) == info.frame_count
            assert frames_extraction(video, normalize=True).max() <= 1


def test_suffixes():
    assert {".mp4", ".avi", ".mkv", ".webm", ".mov", ".gif"} <= set(VIDEO_SUFFIXES)
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in VIDEO_SUFFIXES)
