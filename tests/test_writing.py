import os
from contextlib import ExitStack
from fractions import Fraction

import av
import numpy as np
import pytest

from harkeras.video.reading import (
    VideoInfo,
    frames_extraction,
    iter_frames,
)
from harkeras.video.writing import VideoWriter


@pytest.fixture
def indices_in(index_of):
    return lambda clip: [index_of(frame) for frame in clip]


class TestVideoWriter:
    def write(self, path, images, fps=25, **options):
        with VideoWriter(path, fps, **options) as writer:
            for image in images:
                writer.write(image)
        return path

    def write_all(self, path, arguments):
        with VideoWriter(path, 25) as writer:
            for frame in arguments:
                writer.write(*frame)

    def test_round_trip(self, tmp_path, coded_frame, indices_in):
        path = self.write(tmp_path / "out.mp4", map(coded_frame, range(50)))
        assert indices_in(frame.image for frame in iter_frames(path)) == list(range(50))
        assert indices_in(frames_extraction(path, 10)) == list(range(2, 50, 5))
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")

    @pytest.mark.parametrize(
        "fps",
        [25, 12.5, 30000 / 1001, 24000 / 1001, 60000 / 1001, 29.97, 7, 240, 1, 0.5, Fraction(30000, 1001)],
    )
    def test_exact_rate(self, tmp_path, coded_frame, fps):
        path = self.write(tmp_path / "out.mp4", [coded_frame(0)] * 30, fps)
        exact = Fraction(fps).limit_denominator(1001)
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert stream.average_rate == exact
            assert stream.frames == 30
            assert stream.duration * stream.time_base == 30 / exact
            assert [frame.pts * stream.time_base for frame in container.decode(stream)] == [
                index / exact for index in range(30)
            ]
        assert VideoInfo.read(path).fps == float(exact)

    @pytest.mark.parametrize(("height", "width"), [(63, 95), (64, 95), (63, 96), (1, 1), (17, 640)])
    def test_odd_sizes_are_padded(self, tmp_path, coded_frame, height, width):
        images = [coded_frame(index, height, width) for index in range(5)]
        for image in iter_frames(self.write(tmp_path / "out.mp4", images)):
            assert image.image.shape == (height + height % 2, width + width % 2, 3)
            edge = image.image[[height - 1, -1]].mean((1, 2))  # the last row of the frame, and its copy
            assert abs(edge[0] - edge[1]) < 8

    def test_given_times(self, tmp_path, coded_frame, indices_in):
        seconds = [0, 0.1, 0.15, 1, 3]
        with VideoWriter(tmp_path / "out.mp4", 25) as writer:
            for index, second in enumerate(seconds):
                writer.write(coded_frame(index), second)
            writer.write(coded_frame(5))
        info = VideoInfo.read(tmp_path / "out.mp4")
        assert np.allclose(info.frame_seconds, [*seconds, 3.04], atol=1 / 25 / 256)
        assert indices_in(frames_extraction(tmp_path / "out.mp4", 3)) == [2, 3, 3]

    def test_variable_rate_survives_a_copy(self, make_video, tmp_path, indices_in):
        ticks = [0, 33, 67, 120, 121, 700, 1500]
        video = make_video("a.mkv", range(7), ticks=ticks, time_base=Fraction(1, 1000))
        with VideoWriter(tmp_path / "b.mp4", 30) as writer:
            for frame in iter_frames(video):
                writer.write(frame.image, frame.seconds)
        assert np.allclose(
            VideoInfo.read(tmp_path / "b.mp4").frame_seconds, np.array(ticks) / 1000, atol=1e-3
        )

    @pytest.mark.parametrize(("height", "width"), [(112, 112), (240, 320)])
    def test_same_frames_give_the_same_bytes(self, tmp_path, coded_frame, height, width):
        images = [coded_frame(index, height, width) for index in range(30)]
        files = {self.write(tmp_path / "out.mp4", images).read_bytes() for _ in range(10)}
        assert len(files) == 1

    def test_crf_trades_quality_for_size(self, tmp_path):
        images = np.random.default_rng(0).integers(0, 255, (5, 64, 96, 3), np.uint8)
        sizes = [self.write(tmp_path / f"{crf}.mp4", images, crf=crf).stat().st_size for crf in (10, 40)]
        assert sizes[0] > 2 * sizes[1]

    def test_index_comes_first(self, tmp_path, coded_frame):
        content = self.write(tmp_path / "out.mp4", [coded_frame(0)] * 5).read_bytes()
        assert content.index(b"moov") < content.index(b"mdat")

    @pytest.mark.parametrize(("height", "width"), [(240, 320), (720, 1280)])
    def test_colours_survive(self, tmp_path, height, width):
        path = tmp_path / "out.mp4"
        for colour in [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 120, 40), (255, 255, 255), (16, 16, 16)]:
            self.write(path, [np.full((height, width, 3), colour, np.uint8)], crf=10)
            decoded = next(iter_frames(path)).image
            assert np.abs(decoded.astype(int) - colour).max() <= 4

    def test_files_say_their_colours(self, tmp_path, coded_frame):
        with av.open(str(self.write(tmp_path / "out.mp4", [coded_frame(0)]))) as container:
            context = container.streams.video[0].codec_context
            assert (context.colorspace, context.color_range) == (5, 1)  # BT.601, limited

    @pytest.mark.parametrize(
        ("name", "container"),
        [("a.mp4", "mp4"), ("a.MP4", "mp4"), ("a.m4v", "mp4"), ("a.mov", "mov"), ("a.mkv", "matroska")],
    )
    def test_the_suffix_says_the_container(self, tmp_path, coded_frame, indices_in, name, container):
        path = self.write(tmp_path / name, map(coded_frame, range(20)))
        assert indices_in(frame.image for frame in iter_frames(path)) == list(range(20))
        assert VideoInfo.read(path).frame_seconds == pytest.approx(np.arange(20) / 25, abs=1e-3)
        brand = path.read_bytes()[:12]
        assert brand.startswith(b"\x1aE\xdf\xa3") if container == "matroska" else brand[4:8] == b"ftyp"
        assert (brand[8:10] == b"qt") == (container == "mov")

    @pytest.mark.parametrize("name", ["out.avi", "out.gif", "out.webm", "out.wmv", "out.mp4.txt", "out"])
    def test_what_holds_no_h264_is_refused_before_the_work(self, tmp_path, name):
        with pytest.raises(ValueError, match=rf"path must end in \.mp4, .* which hold H\.264, got .*{name}$"):
            VideoWriter(tmp_path / name, 25)

    def test_processes_that_write_one_path_leave_a_whole_file(self, tmp_path, coded_frame):
        writers = [VideoWriter(tmp_path / "out.mp4", 25) for _ in range(4)]
        with ExitStack() as stack:
            for writer in writers:
                stack.enter_context(writer)
            for index in range(30):
                for number, writer in enumerate(writers):
                    if index < 10 * number + 5:
                        writer.write(coded_frame(index))
            assert len(list(tmp_path.iterdir())) == 4
        assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
        assert VideoInfo.read(tmp_path / "out.mp4").frame_count in (5, 15, 25, 30)

    def test_what_is_no_file_is_not_replaced(self, tmp_path, coded_frame):
        os.mkfifo(tmp_path / "out.mp4")
        with pytest.raises(
            ValueError, match=r"path must be a regular file, got .*out\.mp4, which is a device"
        ):
            self.write(tmp_path / "out.mp4", [coded_frame(0)])
        assert (tmp_path / "out.mp4").is_fifo()

    def test_appears_only_when_complete(self, tmp_path, coded_frame):
        path = tmp_path / "new folder" / "out.mp4"
        with VideoWriter(path, 25) as writer:
            writer.write(coded_frame(0))
            assert not path.exists()
            assert len(list(path.parent.iterdir())) == 1
        assert list(path.parent.iterdir()) == [path]

    def test_error_keeps_the_older_file(self, tmp_path, coded_frame):
        path = tmp_path / "out.mp4"
        path.write_text("older")

        def broken_source():
            yield coded_frame(0)
            raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            self.write(path, broken_source())
        assert path.read_text() == "older"
        assert list(tmp_path.iterdir()) == [path]

    def test_replaces_an_older_file(self, tmp_path, coded_frame):
        path = tmp_path / "out.mp4"
        path.write_text("older")
        self.write(path, [coded_frame(0)])
        assert VideoInfo.read(path).frame_count == 1

    @pytest.mark.parametrize(
        "kind", ["size", "dtype", "grey", "channels", "list", "seconds", "nan", "far", "nothing"]
    )
    def test_bad_frames(self, tmp_path, coded_frame, kind):
        image = coded_frame(0)
        frames, message = {
            "size": ([(image,), (image[:32],)], r"size of the first, \(64, 96, 3\), got \(32, 96, 3\)"),
            "dtype": ([(image / 255,)], r"uint8 \(height, width, 3\), got float64"),
            "grey": ([(image[..., 0],)], r"uint8 \(height, width, 3\), got uint8 \(64, 96\)"),
            "channels": ([(image[..., :2],)], r"got uint8 \(64, 96, 2\)"),
            "list": ([(image.tolist(),)], r"uint8 \(height, width, 3\)"),
            "seconds": ([(image, 1.0), (image, 1.0)], "seconds must increase from frame to frame, got 1.0"),
            "nan": ([(image, 0.0), (image, float("nan"))], r"seconds must be below 1e\+08, got nan"),
            "far": ([(image, 0.0), (image, 1e300)], r"seconds must be below 1e\+08, got 1e\+300"),
            "nothing": ([], "no frame was written"),
        }[kind]
        with pytest.raises(ValueError, match=message):
            self.write_all(tmp_path / "out.mp4", frames)
        assert not list(tmp_path.iterdir())

    def test_without_with(self, tmp_path, coded_frame):
        with pytest.raises(ValueError, match="inside `with VideoWriter"):
            VideoWriter(tmp_path / "out.mp4", 25).write(coded_frame(0))

    @pytest.mark.parametrize("fps", [0, -1, float("nan"), 1e-9])
    def test_bad_fps(self, tmp_path, fps):
        with pytest.raises(ValueError, match=f"fps must be .*, got {fps}"):
            VideoWriter(tmp_path / "out.mp4", fps)

    @pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.99])
    def test_full_disk(self, tmp_path, share):
        resource = pytest.importorskip("resource", reason="needs a limit on the size of files")
        images = np.random.default_rng(0).integers(0, 255, (30, 120, 160, 3), np.uint8)
        size = self.write(tmp_path / "whole.mp4", images).stat().st_size
        (tmp_path / "out.mp4").write_text("older")
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(size * share), limits[1]))
        try:
            with pytest.raises(OSError, match=r"out\.mp4"):
                self.write(tmp_path / "out.mp4", images)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "whole.mp4"]
        assert (tmp_path / "out.mp4").read_text() == "older"

    def test_folder_that_cannot_be_made(self, tmp_path, coded_frame):
        (tmp_path / "file").touch()
        with pytest.raises(OSError, match="file"):
            self.write(tmp_path / "file" / "out.mp4", [coded_frame(0)])

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
    def test_read_only_folder(self, tmp_path, coded_frame):
        tmp_path.chmod(0o500)
        with pytest.raises(OSError, match=r"out\.mp4"):
            self.write(tmp_path / "out.mp4", [coded_frame(0)])


@pytest.mark.browser
@pytest.mark.parametrize(("height", "width"), [(239, 319), (720, 1280)])
@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255)])
def test_browser_plays_a_written_file(tmp_path, play_in_browser, height, width, colour):
    with VideoWriter(tmp_path / "clip.mp4", 25) as writer:
        for _ in range(10):
            writer.write(np.full((height, width, 3), colour, np.uint8))
    result = play_in_browser(tmp_path / "clip.mp4")
    assert "error" not in result, result
    assert (result["height"], result["width"]) == (height + height % 2, width + width % 2)
    assert result["seconds"] == pytest.approx(0.4, abs=0.05)
    assert np.abs(np.array(result["colour"][:3]) - colour).max() <= 6
