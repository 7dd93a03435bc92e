"""Every way of reading gives the frames that ffmpeg's own program gives, in its order, on every file."""

import shutil
import subprocess
from fractions import Fraction

import av
import keras
import numpy as np
import pytest

import harkeras.video.decoding
from harkeras.data.annotations import Annotation
from harkeras.data.batches import ClipDataset
from harkeras.data.cutting import cut_clips
from harkeras.inference.prediction import predict_on_video
from harkeras.recipe import Recipe
from harkeras.video.decoding import Source
from harkeras.video.flow import FlowStack
from harkeras.video.reading import (
    VideoError,
    VideoInfo,
    flow_extraction,
    frames_extraction,
    iter_decoded,
    iter_frames,
)

FRAMES = 75
OPEN_GOP = {"b_frames": 3, "x264opts": "open-gop=1:bframes=3:b-pyramid=2:keyint=12"}

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="no ffmpeg on this machine")
needs_mencoder = pytest.mark.skipif(not shutil.which("mencoder"), reason="no mencoder on this machine")


def with_gap(milliseconds):
    """Times of frames in milliseconds, 25 a second, with a gap in the middle."""
    return [40 * k + (k > FRAMES // 2) * milliseconds for k in range(FRAMES)]


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.fixture
def encode_here(encode, tmp_path):
    """`encode_here(name, **options)`: see `encode_video`; 75 frames by default."""
    return lambda name, indices=range(FRAMES), **options: encode(tmp_path / name, indices, **options)


def run(*command):
    subprocess.run([str(word) for word in command], check=True, capture_output=True, timeout=60)


def decode_with_ffmpeg(path):
    """Return all frames, upright, uint8 RGB (N, H, W, 3), in the size of the first."""
    source = ["ffmpeg", "-v", "quiet", "-i", str(path), "-map", "0:v:0"]
    first = [*source, "-frames:v", "1", "-f", "image2pipe", "-c:v", "ppm", "-"]
    header = subprocess.run(first, capture_output=True, timeout=60).stdout.split(b"\n", 3)
    width, height = map(int, header[1].split())
    every = [*source, "-fps_mode", "passthrough", "-s", f"{width}x{height}", "-f", "rawvideo"]
    frames = subprocess.run([*every, "-pix_fmt", "rgb24", "-"], capture_output=True, timeout=60).stdout
    return np.frombuffer(frames, np.uint8).reshape(-1, height, width, 3)


def distance(frames, others):
    assert np.shape(frames) == np.shape(others)
    return np.abs(np.asarray(frames, int) - others).mean(axis=(1, 2, 3)).max()


def assert_all_ways_agree(path, tmp_path, limit=2):
    """Compare every way of reading with ffmpeg's program; return when the frames appear."""
    truth = decode_with_ffmpeg(path)
    count, height, width = truth.shape[:3]
    info = VideoInfo.read(path)
    seconds, duration = info.frame_seconds, info.duration_seconds
    assert info.frame_count == len(seconds) == count
    assert (np.diff(seconds) > 0).all()
    assert seconds[0] >= 0
    assert seconds[-1] < duration

    def on_screen(times):
        return np.maximum(np.searchsorted(seconds, times + 1e-6, side="right") - 1, 0)

    # iter_frames, and iter_decoded, which prediction reads
    frames = list(iter_frames(path, height=height, width=width))
    assert [frame.seconds for frame in frames] == pytest.approx(seconds)
    assert distance([frame.image for frame in frames], truth) <= limit
    decoded = [(frame.seconds, frame.rgb(height, width)) for frame in iter_decoded(path, 0.2)]
    rows = np.unique(on_screen(seconds[0] + 0.2 * np.arange(np.ceil((duration - seconds[0]) / 0.2))))
    assert [second for second, _ in decoded] == pytest.approx(seconds[rows])
    assert distance([image for _, image in decoded], truth[rows]) <= limit

    # frames_extraction, few and many, whole and in a range
    for number, first, stop in ((3, 0, count), (2 * count, 0, count), (5, count // 2, count // 2 + 10)):
        start, end = seconds[first], duration if stop == count else seconds[stop]
        clip = frames_extraction(path, number, height, width, start_seconds=start, end_seconds=end)
        rows = on_screen(start + (np.arange(number) + 0.5) * (end - start) / number)
        assert distance(clip, truth[rows]) <= limit

    # ClipDataset
    (clip,), _ = ClipDataset([path], np.array([0]), frames=5, height=height, width=width)[0]
    assert np.array_equal(clip, frames_extraction(path, 5, height, width))

    # optical flow, between frames that follow each other
    stack, first = FlowStack(16, 24, fields=2), count // 2 - 2
    for number in range(first, count // 2 + 1):
        stack.push(frames[number].image, number)
    start, end = seconds[count // 2], seconds[count // 2 + 1]
    flow = flow_extraction(path, 1, 16, 24, fields=2, start_seconds=start, end_seconds=end)
    assert np.array_equal(flow[0], stack.beside())

    # cut
    start, end = seconds[count // 3], seconds[count // 3 + 12]
    (clip,) = cut_clips([Annotation(path, start, end, "Falling")], tmp_path / "cut")
    cut = list(iter_frames(clip, height=height, width=width))
    assert [frame.seconds for frame in cut] == pytest.approx(
        seconds[count // 3 : count // 3 + 12] - start, abs=0.005
    )
    assert distance([frame.image for frame in cut], truth[count // 3 : count // 3 + 12]) <= limit + 2
    return seconds


@needs_ffmpeg
@needs_mencoder
class TestMEncoder:
    @pytest.mark.parametrize("packed", ["packed", "nopacked"])
    @pytest.mark.parametrize("b_frames", [slow(1), 2, slow(3)])
    def test_xvid(self, encode_here, tmp_path, index_of, packed, b_frames):
        raw = encode_here("raw.avi", codec="rawvideo")
        video = tmp_path / "xvid.avi"
        options = f"bitrate=500:max_bframes={b_frames}:{packed}"
        run("mencoder", raw, "-o", video, "-ovc", "xvid", "-xvidencopts", options, "-nosound")
        seconds = assert_all_ways_agree(video, tmp_path)
        # Of packed frames, the last may be late by one: it waits for a frame that does not come.
        assert seconds == pytest.approx(np.arange(len(seconds)) / 25, abs=0.041)
        assert seconds[:-1] == pytest.approx(np.arange(len(seconds) - 1) / 25)
        indices = [index_of(frame.image) for frame in iter_frames(video)]
        assert indices == sorted(set(indices))

    @pytest.mark.parametrize("b_frames", [slow(0), slow(1), 2, slow(3)])
    def test_lavc(self, encode_here, tmp_path, index_of, b_frames):
        raw, video = encode_here("raw.avi", codec="rawvideo"), tmp_path / "lavc.avi"
        options = f"vcodec=mpeg4:vmax_b_frames={b_frames}:vbitrate=800"
        run("mencoder", raw, "-o", video, "-ovc", "lavc", "-lavcopts", options, "-nosound")
        seconds = assert_all_ways_agree(video, tmp_path)
        assert seconds == pytest.approx(np.arange(FRAMES) / 25)
        assert [index_of(frame.image) for frame in iter_frames(video)] == list(range(FRAMES))


@needs_ffmpeg
class TestFFmpeg:
    @pytest.mark.parametrize("suffix", ["avi", "mp4", "mkv"])
    @pytest.mark.parametrize("b_frames", [slow(1), 2, slow(3)])
    @pytest.mark.parametrize("codec", [slow("mpeg4"), "libxvid"])
    def test_mpeg4(self, encode_here, tmp_path, codec, b_frames, suffix):
        raw, video = encode_here("raw.avi", codec="rawvideo"), tmp_path / f"b_frames.{suffix}"
        try:
            run("ffmpeg", "-i", raw, "-c:v", codec, "-bf", b_frames, "-g", 20, "-b:v", "800k", video)
        except subprocess.CalledProcessError:
            pytest.skip(f"this ffmpeg has no {codec}")
        assert_all_ways_agree(video, tmp_path)

    @pytest.mark.parametrize("b_frames", [slow(0), 2])
    @pytest.mark.parametrize(
        ("codec", "suffix"),
        [
            ("mpeg1video", "avi"),
            slow("mpeg2video", "avi"),
            slow("libx264", "avi"),
            slow("libx265", "mkv"),
            slow("mpeg1video", "mpg"),
            slow("mpeg2video", "ts"),
            ("libx264", "h264"),
        ],
    )
    def test_reordering_codecs(self, encode_here, tmp_path, index_of, codec, suffix, b_frames):
        raw, video = encode_here("raw.avi", codec="rawvideo"), tmp_path / f"clip.{suffix}"
        run("ffmpeg", "-i", raw, "-c:v", codec, "-bf", b_frames, "-g", 20, "-b:v", "800k", video)
        seconds = assert_all_ways_agree(video, tmp_path)
        assert seconds == pytest.approx(np.arange(FRAMES) / 25, abs=1e-3)
        assert [index_of(frame.image) for frame in iter_frames(video)] == list(range(FRAMES))

    @pytest.mark.parametrize("suffix", ["mp4", "mkv"])
    def test_packed_b_frames_copied_from_avi(self, encode_here, tmp_path, suffix):
        if not shutil.which("mencoder"):
            pytest.skip("no mencoder on this machine")
        raw, packed = encode_here("raw.avi", codec="rawvideo"), tmp_path / "packed.avi"
        options = "bitrate=500:max_bframes=2:packed"
        run("mencoder", raw, "-o", packed, "-ovc", "xvid", "-xvidencopts", options, "-nosound")
        video = tmp_path / f"copy.{suffix}"
        run("ffmpeg", "-fflags", "+genpts", "-i", packed, "-c", "copy", video)
        seconds = assert_all_ways_agree(video, tmp_path)
        assert np.diff(seconds)[:-1] == pytest.approx(1 / 25, abs=2e-3)

    @pytest.mark.parametrize("b_frames", [0, 2])
    def test_dropped_frames_of_avi_are_repeats(self, encode_here, tmp_path, b_frames, recwarn):
        raw, video = encode_here("raw.avi", codec="rawvideo"), tmp_path / "drops.avi"
        drop = "select='not(between(mod(n,10),4,5))'"
        options = ["-vf", drop, "-fps_mode", "passthrough", "-c:v", "mpeg4", "-bf", b_frames, "-b:v", "800k"]
        run("ffmpeg", "-i", raw, *options, video)
        seconds = assert_all_ways_agree(video, tmp_path)
        kept = np.array([k for k in range(FRAMES) if k % 10 not in (4, 5)])
        assert seconds == pytest.approx(kept / 25)
        assert not recwarn.list

    def test_hidden_frames_of_vp8(self, encode_here, tmp_path):
        raw, video = encode_here("raw.avi", codec="rawvideo"), tmp_path / "hidden.webm"
        options = "-c:v libvpx -b:v 300k -auto-alt-ref 1 -lag-in-frames 16 -g 40".split()
        run("ffmpeg", "-i", raw, *options, video)
        seconds = assert_all_ways_agree(video, tmp_path)
        assert seconds == pytest.approx(np.arange(FRAMES) / 25, abs=1e-3)


@needs_ffmpeg
class TestKeyFrames:
    @pytest.mark.parametrize("codec", ["mpeg4", "cinepak", "msmpeg4v2"])
    def test_avi_without_index(self, encode_here, tmp_path, codec):
        pix_fmt = "rgb24" if codec == "cinepak" else "yuv420p"
        video = encode_here("lost.avi", codec=codec, pix_fmt=pix_fmt, gop=250)
        content = video.read_bytes()
        assert content.count(b"idx1") == 1
        video.write_bytes(content.replace(b"idx1", b"JUNK"))
        assert_all_ways_agree(video, tmp_path)

    @pytest.mark.parametrize("codec", ["mpeg4", "libx264", "libx265"])
    def test_mp4_without_key_frames(self, encode_here, tmp_path, codec):
        options = {"x265__params": "log-level=none"} if codec == "libx265" else {}
        video = encode_here("lost.mp4", codec=codec, gop=250, **options)
        content = video.read_bytes()
        assert content.count(b"stss") == 1
        video.write_bytes(content.replace(b"stss", b"free"))
        assert_all_ways_agree(video, tmp_path)

    def test_open_gop_at_the_start(self, encode_here, tmp_path):
        whole, video = encode_here("whole.ts", **OPEN_GOP), tmp_path / "cut.ts"
        with av.open(str(whole)) as source, av.open(str(video), "w") as target:
            stream, begun = target.add_stream_from_template(source.streams.video[0]), False
            for number, packet in enumerate(source.demux(video=0)):
                begun |= number > 20 and packet.is_keyframe
                if begun and packet.size:
                    packet.stream = stream
                    target.mux(packet)
        assert_all_ways_agree(video, tmp_path)
        assert VideoInfo.read(video).frame_count < FRAMES - 20

    def test_a_key_frame_that_is_none_is_remembered(self, encode_here):
        video = encode_here("lost.mp4", codec="mpeg4", gop=250)
        video.write_bytes(video.read_bytes().replace(b"stss", b"free"))
        frames_extraction(video, 2)
        assert len(Source(video).scan.keys) == 1


class TestTimes:
    def joined(self, encode_here, tmp_path, starts):
        """Streams of 25 frames, one behind the other in one file, with the times that each had alone."""
        video, content = tmp_path / "joined.ts", b""
        for part, start in enumerate(starts):
            indices = range(25 * part, 25 * part + 25)
            ticks = [round(25 * start) + k for k in range(25)]
            content += encode_here("part.ts", indices, ticks=ticks, b_frames=2).read_bytes()
        video.write_bytes(content)
        return video

    @needs_ffmpeg
    @pytest.mark.parametrize(
        "starts", [(100, 0), (0, 0.6), (0, 0), (0, 20, 3), (0, 30_000), (50_000, 0, 50_000), (5, 4.5, 4, 3)]
    )
    def test_joined_streams(self, encode_here, tmp_path, index_of, starts):
        video = self.joined(encode_here, tmp_path, starts)
        seconds = assert_all_ways_agree(video, tmp_path)
        assert [index_of(frame.image) for frame in iter_frames(video)] == list(range(25 * len(starts)))
        assert seconds == pytest.approx(np.arange(25 * len(starts)) / 25, abs=0.1)

    @pytest.mark.parametrize(("suffix", "gap"), [("mp4", 3601), ("mp4", 1e5), ("mkv", 1e5), ("mkv", 1e8)])
    def test_length_follows_from_the_number_of_frames(self, encode_here, suffix, gap, index_of):
        ticks = [40 * k + (0 if k < 12 else int(gap * 1000)) for k in range(24)]
        video = encode_here(f"gap.{suffix}", range(24), ticks=ticks, time_base=Fraction(1, 1000))
        info = VideoInfo.read(video)
        assert info.frame_seconds == pytest.approx(np.arange(24) / 25, abs=2e-3)
        assert [index_of(frame.image) for frame in iter_frames(video)] == list(range(24))
        assert [index_of(image) for image in frames_extraction(video, 4)] == [3, 9, 15, 21]

    @pytest.mark.parametrize("pause", [5, 60, 599])
    def test_pauses_are_real(self, encode_here, pause):
        ticks = [40 * k + (0 if k < 12 else pause * 1000) for k in range(24)]
        for name in ("pause.mkv", "pause.mp4"):
            video = encode_here(name, range(24), ticks=ticks, time_base=Fraction(1, 1000), b_frames=2)
            assert VideoInfo.read(video).frame_seconds == pytest.approx(np.array(ticks) / 1000)

    @pytest.mark.parametrize("name", ["slides.gif", "screen.mkv", "screen.mp4", "screen.ts"])
    def test_slow_pictures(self, encode_here, index_of, name):
        options = {"codec": "gif", "pix_fmt": "rgb8"} if name == "slides.gif" else {}
        ticks = [1000 * k for k in range(6)]
        video = encode_here(name, range(6), ticks=ticks, time_base=Fraction(1, 100), **options)
        assert VideoInfo.read(video).frame_seconds == pytest.approx(np.arange(6) * 10)
        assert [
            index_of(image) for image in frames_extraction(video, 3, start_seconds=15, end_seconds=45)
        ] == [2, 3, 4]

    @pytest.mark.parametrize("name", ["fast.mp4", "fast.mkv"])  # Matroska's ticks are milliseconds
    def test_a_million_frames_a_second(self, encode_here, index_of, name):
        video = encode_here(name, ticks=range(FRAMES), time_base=Fraction(1, 1_000_000))
        info = VideoInfo.read(video)
        assert info.frame_count == FRAMES
        assert (np.diff(info.frame_seconds) > 5e-6).all()
        assert [index_of(frame.image) for frame in iter_frames(video)] == list(range(FRAMES))
        end = info.frame_seconds[-1] + np.diff(info.frame_seconds)[-1]
        clip = frames_extraction(video, FRAMES, end_seconds=end)
        assert [index_of(image) for image in clip] == list(range(FRAMES))

    @pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
    def test_seconds_count_from_the_start_of_the_sound(self, encode_here, tmp_path, index_of, suffix):
        ticks = range(25, 25 + FRAMES)
        video = encode_here(f"late.{suffix}", ticks=ticks, audio_seconds=4, b_frames=2)
        info = VideoInfo.read(video)
        assert info.frame_seconds == pytest.approx(1 + np.arange(FRAMES) / 25, abs=0.03)
        assert info.duration_seconds == pytest.approx(4, abs=0.03)
        assert info.fps == pytest.approx(25)
        images = frames_extraction(video, 25, start_seconds=2, end_seconds=3)
        assert [index_of(image) for image in images] == pytest.approx(np.arange(25, 50), abs=1)
        images = [frame.image for frame in iter_frames(video, start_seconds=2.03, end_seconds=3.03)]
        assert len(images) in (25, 26)
        assert index_of(images[0]) in (25, 26)
        (clip,) = cut_clips([Annotation(video, 1.97, 2.97, "Falling")], tmp_path / "out")
        assert [index_of(frame.image) for frame in iter_frames(clip)] == list(range(25, 50))
        # Spread over the whole clip means over its pictures.
        assert index_of(frames_extraction(video, FRAMES)[0]) == 0
        assert index_of(frames_extraction(video, 2, start_seconds=0, end_seconds=0.5)[1]) == 0
        assert index_of(frames_extraction(video, 2, end_seconds=0.5)[1]) == 0
        size = {"frames": 5, "height": 64, "width": 96}
        (clip,), _ = ClipDataset([video], np.array([0]), clip_seconds=1, **size)[0]
        assert [index_of(image) for image in clip] == pytest.approx([27, 32, 37, 42, 47], abs=1)

    @pytest.mark.parametrize("start", [1.4, 95_000])
    def test_the_clock_of_a_broadcast(self, encode_here, start):
        ticks = [round(start * 25) + k for k in range(FRAMES)]
        info = VideoInfo.read(encode_here("air.ts", ticks=ticks, b_frames=2))
        assert info.frame_seconds == pytest.approx(np.arange(FRAMES) / 25, abs=1e-3)

    @needs_ffmpeg
    def test_a_bare_stream_has_the_rate_of_its_header(self, encode_here, tmp_path):
        for rate, name in ((30, "bare.h264"), (10, "bare.m4v"), (50, "bare.hevc")):
            codec = {"h264": "libx264", "m4v": "mpeg4", "hevc": "libx265"}[name.split(".")[1]]
            whole, video = tmp_path / "whole.mkv", tmp_path / name
            run(
                "ffmpeg", "-y", "-i", encode_here("raw.avi", codec="rawvideo", fps=rate), "-c:v", codec, whole
            )
            run("ffmpeg", "-y", "-i", whole, "-c", "copy", video)
            assert VideoInfo.read(video).duration_seconds == pytest.approx(FRAMES / rate)


class TestPrediction:
    """Prediction stands on VideoInfo and iter_decoded, and writes a frame for each that it reads."""

    @pytest.fixture
    def model(self):
        clip = keras.Input((4, 16, 16, 3))
        scores = keras.layers.GlobalAveragePooling3D()(keras.layers.Rescaling(1 / 255)(clip))
        model = keras.Model(clip, keras.layers.Dense(2, activation="softmax")(scores))
        model.recipe = Recipe(("a", "b"), 4, 16, 16, clip_seconds=0.5)
        return model

    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("b_frames.avi", {"codec": "mpeg4", "b_frames": 2}),
            (
                "jump.mkv",
                {"ticks": with_gap(10**10), "time_base": "1/1000"},
            ),
            ("late.mp4", {"ticks": range(25, 25 + FRAMES), "audio_seconds": 4}),
            (
                "pause.mkv",
                {"ticks": with_gap(20_000), "time_base": "1/1000"},
            ),
        ],
    )
    def test_every_frame_is_read_and_written(self, encode_here, tmp_path, model, name, options):
        video, output = encode_here(name, **options), tmp_path / "out.mp4"
        prediction = predict_on_video(video, model, output, progress=False)
        info = VideoInfo.read(video)
        assert prediction.segments[0].start_seconds == 0
        assert prediction.segments[-1].end_seconds == info.duration_seconds
        assert prediction.windows[0, 0] == info.frame_seconds[0]
        assert prediction.windows.max() <= info.duration_seconds + 1e-6
        assert len(prediction.windows) <= 10 * info.duration_seconds
        written = VideoInfo.read(output)
        assert written.frame_count == info.frame_count
        # Where pictures begin late, the first one stands from the file's time zero on.
        assert written.frame_seconds[1:] == pytest.approx(info.frame_seconds[1:], abs=0.01)


class TestPixels:
    @needs_ffmpeg
    @pytest.mark.parametrize(
        "matrix", [1, 8, 10, 14, *map(slow, (0, 3, 4, 5, 6, 7, 9, 11, 12, 13, 15, 16, 17))]
    )
    def test_every_color_matrix(self, encode_here, tmp_path, matrix):
        plain, video = encode_here("plain.mp4", range(5)), tmp_path / "matrix.mp4"
        run(
            "ffmpeg",
            "-i",
            plain,
            "-c",
            "copy",
            "-bsf:v",
            f"h264_metadata=matrix_coefficients={matrix}",
            video,
        )
        truth = decode_with_ffmpeg(video)
        assert distance([frame.image for frame in iter_frames(video)], truth) < 0.5

    @needs_ffmpeg
    @pytest.mark.parametrize("turned", [False, True])
    @pytest.mark.parametrize("first", [1, -1])
    @pytest.mark.parametrize("second", [1, -1])
    def test_every_display_matrix(self, encode_here, turned, first, second):
        video = encode_here("turned.mov", range(5), rotation=90)
        content, one = video.read_bytes(), 1 << 16
        place = content.index(b"tkhd") + 4 + 40
        matrix = [0, first, 0, second, 0] if turned else [first, 0, 0, 0, second]
        for k, value in enumerate(matrix):
            content = (
                content[: place + 4 * k]
                + (value * one).to_bytes(4, "big", signed=True)
                + content[place + 4 * k + 4 :]
            )
        video.write_bytes(content)
        truth = decode_with_ffmpeg(video)
        info = VideoInfo.read(video)
        assert (info.height, info.width) == truth.shape[1:3]
        assert distance([frame.image for frame in iter_frames(video)], truth) < 0.5

    @pytest.mark.parametrize(
        ("aspect", "width"), [("64/45", 137), ("8/9", 85), ("1/1", 96), ("0/1", 96), ("1000/1", 96)]
    )
    def test_pixels_that_are_not_square(self, tmp_path, coded_frame, index_of, aspect, width):
        video = tmp_path / "wide.mkv"
        with av.open(str(video), "w") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
            stream.codec_context.sample_aspect_ratio = Fraction(aspect)
            for index in range(30):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(coded_frame(index), format="rgb24")))
            container.mux(stream.encode(None))
        info = VideoInfo.read(video)
        assert (info.height, info.width) == (64, width)
        frames = list(iter_frames(video))
        assert {frame.image.shape for frame in frames} == {(64, width, 3)}
        assert [index_of(frame.image) for frame in frames] == list(range(30))
        (clip,) = cut_clips([Annotation(video, 0, 1, "Falling")], tmp_path / "out")
        assert VideoInfo.read(clip).width == width + width % 2

    @needs_ffmpeg
    def test_sizes_that_change(self, encode_here, tmp_path, index_of):
        parts = [
            encode_here(f"{k}.ts", range(25 * k, 25 * k + 25), height=64 + 32 * k, width=96 + 64 * k)
            for k in (0, 1)
        ]
        video = tmp_path / "changes.ts"
        video.write_bytes(b"".join(part.read_bytes() for part in parts))
        info = VideoInfo.read(video)
        frames = list(iter_frames(video))
        assert {frame.image.shape for frame in frames} == {(64, 96, 3)} == {(info.height, info.width, 3)}
        assert [index_of(frame.image) for frame in frames] == list(range(50))
        start = info.frame_seconds[30]
        assert {f.image.shape for f in iter_frames(video, start_seconds=start)} == {(64, 96, 3)}
        (clip,) = cut_clips([Annotation(video, 0.4, 1.6, "Falling")], tmp_path / "out")
        assert [index_of(frame.image) for frame in iter_frames(clip)] == list(range(10, 40))
        assert flow_extraction(video, 5, 16, 24, fields=2).shape == (5, 16, 24, 4)

    @pytest.mark.parametrize("name", ["large.mp4", "large.mkv"])
    def test_frames_beyond_the_limit(self, encode_here, monkeypatch, name):
        video = encode_here(name, range(3), height=128, width=256)
        monkeypatch.setattr(harkeras.video.decoding, "MAX_PIXELS", 128 * 256 - 1)
        for read in (
            VideoInfo.read,
            frames_extraction,
            lambda path: list(iter_frames(path)),
            flow_extraction,
        ):
            with pytest.raises(VideoError, match=rf"{name}: frames of .*MAX_PIXELS"):
                read(video)
        monkeypatch.undo()
        assert VideoInfo.read(video).width == 256


class TestTags:
    @pytest.mark.parametrize("name", ["title.avi", "title.mkv"])
    def test_tags_that_are_not_utf_8(self, encode_here, name):
        video = encode_here(name)
        with (
            av.open(str(video)) as source,
            av.open(str(video.with_suffix(".x" + video.suffix)), "w") as target,
        ):
            target.metadata["title"] = "clipXX"
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    target.mux(packet)
        video = video.with_suffix(".x" + video.suffix)
        content = video.read_bytes()
        assert content.count(b"clipXX") == 1
        video.write_bytes(content.replace(b"clipXX", b"clip\xe9\xe8"))
        assert VideoInfo.read(video).frame_count == FRAMES


class TestTrust:
    """Sound files are not decoded more often than they must be."""

    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("plain.mp4", {}),
            ("b_frames.mp4", {"b_frames": 3}),
            ("b_frames.mkv", {"b_frames": 3}),
            ("b_frames.ts", {"b_frames": 2}),
            ("open_gop.mp4", OPEN_GOP),
            ("mpeg4.avi", {"codec": "mpeg4"}),
            ("vp8.webm", {"codec": "libvpx"}),
            ("variable.mkv", {"ticks": with_gap(5000), "time_base": "1/1000"}),
        ],
    )
    @pytest.mark.parametrize("frames", [3, 2 * FRAMES])
    def test_packets_are_believed(self, encode_here, monkeypatch, name, options, frames):
        video = encode_here(name, **options)
        monkeypatch.setattr(Source, "_count", lambda *args: pytest.fail("the frames were counted"))
        frames_extraction(video, frames)
        assert len(list(iter_frames(video))) == VideoInfo.read(video).frame_count == FRAMES
        list(iter_frames(video, 0.3, start_seconds=1))
        flow_extraction(video, 3, 16, 24, fields=2)


class TestScanCache:
    def test_a_changed_file_is_read_anew(self, encode_here):
        for count in (30, 40):
            assert VideoInfo.read(encode_here("clip.mp4", range(count))).frame_count == count

    def test_a_file_is_scanned_once(self, encode_here, monkeypatch):
        video = encode_here("clip.mp4")
        frames_extraction(video, 3)
        monkeypatch.setattr(Source, "_read_times", lambda self: pytest.fail("the file was scanned again"))
        frames_extraction(video, 3)
        list(iter_frames(video, start_seconds=2))

    @pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi"])
    def test_a_late_part_is_jumped_to(self, encode_here, monkeypatch, suffix):
        codec = "mpeg4" if suffix == "avi" else "libx264"
        b_frames = 0 if suffix == "avi" else 2
        video = encode_here(f"long.{suffix}", range(1500), codec=codec, b_frames=b_frames, gop=25)
        frames_extraction(video, 3)
        decoded, decode = [], Source._decode_packet
        monkeypatch.setattr(Source, "_decode_packet", lambda *args: decoded.append(1) or decode(*args))
        frames_extraction(video, 20, start_seconds=57, end_seconds=58)
        assert len(decoded) < 100

    def test_memory_is_bounded(self, encode_here):
        cache = type(harkeras.video.decoding._scans)()
        scan = Source(encode_here("clip.mp4")).scan
        cache._MAX_FRAMES = 4 * FRAMES
        for key in range(10):
            cache.put((key,), scan)
        assert [cache.get((key,)) is not None for key in range(10)] == [False] * 6 + [True] * 4
