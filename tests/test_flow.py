import cv2
import keras
import numpy as np
import pytest

from harkeras.data.loading import create_dataset
from harkeras.inference._video_windows import blocks as blocks_of
from harkeras.inference.prediction import predict_on_video, predict_single_action
from harkeras.inference.streaming import ActionStream
from harkeras.models import create_two_stream_model
from harkeras.models.saving import save_model
from harkeras.recipe import ClipFormat, Recipe, count_channels, read_channels
from harkeras.training.loop import train
from harkeras.video.flow import (
    FlowStack,
    flow_size,
    flow_to_rgb,
    from_uint8,
    optical_flow,
    plot_flow,
    to_uint8,
)
from harkeras.video.frames import ModelView
from harkeras.video.reading import VideoError, VideoInfo, flow_extraction, frames_extraction, read_clip
from harkeras.video.writing import VideoWriter

METHODS = ["dis", "farneback", *(["tvl1"] if hasattr(cv2, "optflow") else [])]


def texture(height=120, width=160):
    """A smooth random picture that is longer than a frame is wide."""
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)


def panning(steps, height=120, width=160):
    """Frames whose content moves by these (right, down) pixels from each to the next."""
    world = texture(height + 200, width + 200)
    x, y, frames = 100, 100, []
    for right, down in [(0, 0), *steps]:
        x, y = x - right, y - down
        frames.append(world[y : y + height, x : x + width])
    return frames


@pytest.fixture
def video(tmp_path):
    """Twelve frames: the picture goes right by 2 pixels a frame six times, then down by 1."""
    path = tmp_path / "v_Moving_g01_c01.mp4"
    with VideoWriter(path, fps=10, crf=5) as writer:
        for frame in panning([(2, 0)] * 6 + [(0, 1)] * 5):
            writer.write(frame)
    return path


class TestOpticalFlow:
    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("step", [(3, 0), (0, -2), (-1, 1)])
    def test_direction_and_length(self, method, step):
        field = optical_flow(*panning([step]), method)
        assert (field.shape, field.dtype) == ((120, 160, 2), np.float32)
        assert np.median(field[10:-10, 10:-10], axis=(0, 1)) == pytest.approx(step, abs=0.15)

    def test_frames_must_be_alike(self):
        frame = np.zeros((8, 8, 3), np.uint8)
        for other in (frame[:4], frame[..., 0], frame.astype(float)):
            with pytest.raises(ValueError, match=r"frames must be uint8 \(H, W, 3\) of one size, got uint8"):
                optical_flow(frame, other)

    def test_method(self):
        frame = np.zeros((32, 32, 3), np.uint8)
        with pytest.raises(ValueError, match="method must be 'dis', 'farneback' or 'tvl1', got 'lk'"):
            optical_flow(frame, frame, "lk")

    @pytest.mark.skipif(hasattr(cv2, "optflow"), reason="OpenCV has TV-L1 here")
    def test_tvl1_without_contrib(self, video):
        with pytest.raises(ImportError, match="pip install opencv-contrib-python"):
            flow_extraction(video, method="tvl1")


class TestFlowExtraction:
    def test_pixels_are_of_a_short_side_of_256(self, video):
        clip = flow_extraction(video, 12, 30, 40, fields=1)
        assert (clip.shape, clip.dtype) == ((12, 30, 40, 2), np.uint8)
        motion = np.median(from_uint8(clip)[:, 5:-5, 5:-5], axis=(1, 2))
        expected = np.array([(0, 0)] + [(2, 0)] * 6 + [(0, 1)] * 5) * 256 / 120
        assert motion == pytest.approx(expected, abs=0.4)

    def test_fields_lead_up_to_the_frame_oldest_first(self, video):
        single = flow_extraction(video, 12, 30, 40, fields=1)
        stacked = flow_extraction(video, 12, 30, 40, fields=4)
        assert stacked.shape == (12, 30, 40, 8)
        for frame in range(12):
            for i in range(4):
                field = min(max(frame - 3 + i, 1), frame)
                assert np.array_equal(stacked[frame, ..., 2 * i : 2 * i + 2], single[field])

    def test_sparse_frames_have_the_same_fields(self, video):
        """Fields lie between neighbours in the video, not between the frames of the clip."""
        every = flow_extraction(video, 12, 30, 40, fields=2)
        assert np.array_equal(flow_extraction(video, 2, 30, 40, fields=2), every[[3, 9]])
        some = flow_extraction(video, 2, 30, 40, fields=2, start_seconds=0.6, end_seconds=1.2)
        assert np.array_equal(some, every[[7, 10]])

    def test_beside_rgb(self, video):
        both = flow_extraction(video, 5, 30, 40, streams="rgb+flow", fields=3)
        assert both.shape == (5, 30, 40, 9)
        assert np.array_equal(both[..., :3], frames_extraction(video, 5, 30, 40))
        assert np.array_equal(both[..., 3:], flow_extraction(video, 5, 30, 40, fields=3))

    def test_one_frame_does_not_move(self, make_video):
        clip = flow_extraction(make_video(indices=[7]), 3, 10, 12, fields=2)
        assert (clip.shape, clip.min(), clip.max()) == ((3, 10, 12, 4), 128, 128)

    def test_read_clip(self, video):
        assert np.array_equal(read_clip(video, ClipFormat(4, 20, 30)), frames_extraction(video, 4, 20, 30))
        for channels, streams in ((4, "flow"), (7, "rgb+flow")):
            expected = flow_extraction(video, 4, 20, 30, streams=streams, fields=2, method="farneback")
            clip_format = ClipFormat.from_shape((4, 20, 30, channels), flow_method="farneback")
            assert (clip_format.streams, clip_format.flow_fields) == (streams, 2)
            assert np.array_equal(read_clip(video, clip_format), expected)

    @pytest.mark.parametrize("name", ["frames", "height", "width", "fields"])
    def test_numbers(self, video, name):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            flow_extraction(video, **{name: 0})

    def test_refusals(self, video, tmp_path):
        with pytest.raises(ValueError, match="streams must be 'flow' or 'rgb\\+flow', got 'rgb'"):
            flow_extraction(video, streams="rgb")
        with pytest.raises(ValueError, match="start_seconds must lie in the video"):
            flow_extraction(video, start_seconds=9)
        with pytest.raises(FileNotFoundError, match="no video file at"):
            flow_extraction(tmp_path / "none.mp4")
        (tmp_path / "bad.mp4").write_bytes(b"no video")
        with pytest.raises(VideoError, match=r"bad\.mp4"):
            flow_extraction(tmp_path / "bad.mp4")


class TestStorage:
    def test_8_bits(self):
        pixels = np.array([-99, -20, -0.05, 0, 10, 20, 99], np.float32)
        stored = to_uint8(pixels)
        assert stored.tolist() == [1, 1, 128, 128, 192, 255, 255]
        assert from_uint8(stored) == pytest.approx([-20, -20, 0, 0, 10, 20, 20], abs=0.08)

    def test_size(self):
        assert flow_size(240, 320) == (160, 213)
        assert flow_size(1280, 720) == (284, 160)
        assert flow_size(96, 128) == (96, 128)

    def test_channels(self):
        assert [read_channels(n) for n in (3, 2, 20, 23, 5)] == [
            ("rgb", 0), ("flow", 1), ("flow", 10), ("rgb+flow", 10), ("rgb+flow", 1),
        ]  # fmt: skip
        for channels in (2, 3, 5, 20, 23):
            assert count_channels(*read_channels(channels)) == channels
        with pytest.raises(
            ValueError, match="streams must be 'rgb', 'gray', 'flow' or 'rgb\\+flow', got 'both'"
        ):
            count_channels("both", 1)

    def test_a_gap_starts_anew(self):
        stack = FlowStack(30, 40, fields=2)
        frames = panning([(2, 0)] * 3)
        for index, frame in zip((0, 1, 5), frames, strict=False):
            stack.push(frame, index)
        assert (stack.beside() == 128).all()
        stack.push(frames[3], 6)
        assert np.median(from_uint8(stack.beside())[..., 0]) == pytest.approx(2 * 256 / 120, abs=0.3)


class TestPlot:
    def test_directions_have_colours(self):
        right, down = (
            flow_to_rgb(np.full((1, 1, 2), step, float) * 2, 2.0)[0, 0] for step in ([1, 0], [0, 1])
        )
        assert right.tolist() == [255, 0, 0]
        assert down.argmax() == 1
        assert flow_to_rgb(np.zeros((1, 1, 2)), 2.0).tolist() == [[[255, 255, 255]]]

    def test_frames_above_their_flow(self, video):
        figure = plot_flow(flow_extraction(video, 6, 30, 40, streams="rgb+flow", fields=2), count=3)
        assert [axes.get_title() for axes in figure.axes if axes.get_title()] == [
            "frame 1",
            "frame 3",
            "frame 6",
        ]
        assert len(figure.axes) == 7
        alone = plot_flow(flow_extraction(video, 6, 30, 40, fields=2), count=3)
        assert len(alone.axes) == 4
        assert any("px per frame" in text.get_text() for axes in alone.axes for text in axes.texts)

    def test_refusals(self):
        for shape in ((4, 8, 8, 3), (8, 8, 5)):
            with pytest.raises(
                ValueError, match=r"clip must be \(T, H, W, C\) with 2L or 3 \+ 2L channels, got"
            ):
                plot_flow(np.zeros(shape, np.uint8))
        with pytest.raises(ValueError, match="count must be at least 1, got 0"):
            plot_flow(np.zeros((4, 8, 8, 5), np.uint8), count=0)


@pytest.fixture
def moving_dir(tmp_path):
    """Two classes that no frame tells apart: something goes left, or right, before a still background."""
    background, patch = texture(), texture(160, 160)[40:100, 40:100, ::-1]
    for name, step in (("Left", -3), ("Right", 3)):
        for group in range(1, 7):
            path = tmp_path / "clips" / name / f"v_{name}_g{group:02d}_c01.mp4"
            with VideoWriter(path, fps=10) as writer:
                for shift in range(-4, 5):
                    frame, left = background.copy(), 45 + group + step * shift
                    frame[30:90, left : left + 60] = patch
                    writer.write(frame)
    return tmp_path / "clips"


class TestPipeline:
    """From a folder to the prediction on a long video, with flow in the clips."""

    def test_dataset_and_cache(self, moving_dir, tmp_path):
        settings = {"frames": 3, "height": 24, "width": 32, "streams": "rgb+flow", "flow_fields": 2}
        data = create_dataset(moving_dir, **settings)
        assert data.features.shape == (12, 3, 24, 32, 7)
        expected = flow_extraction(data.video_paths[4], 3, 24, 32, streams="rgb+flow", fields=2)
        assert np.array_equal(data.features[4], expected)
        cache = tmp_path / "cache.npy"
        cached = create_dataset(moving_dir, **settings, cache=cache)
        assert np.array_equal(cached.features, data.features)
        written = cache.stat().st_mtime_ns
        create_dataset(moving_dir, **settings, cache=cache)
        assert cache.stat().st_mtime_ns == written
        other = create_dataset(moving_dir, **settings, flow_method="farneback", cache=cache)
        assert cache.stat().st_mtime_ns != written
        assert not np.array_equal(other.features, data.features)

    def test_temporal_stream_tells_left_from_right(self, moving_dir, tmp_path):
        keras.utils.set_random_seed(27)
        dataset = create_dataset(moving_dir, frames=2, height=41, width=41, streams="flow", flow_fields=2)
        features, labels, paths = dataset
        model = create_two_stream_model(2, features.shape[1:], width_multiplier=0.05, dropout=0)
        train(model, dataset, epochs=12, validation_split=0, verbose=False)
        assert (model.predict(features, verbose=0).argmax(1) == labels).all()
        assert (model.recipe.clip_shape[-1], model.recipe.streams, model.recipe.flow_fields) == (4, "flow", 2)
        path = save_model(model, tmp_path / "model.keras")
        for path_of_clip in paths[::5]:
            assert predict_single_action(path_of_clip, path).label == path_of_clip.parent.name
        output = tmp_path / "out.mp4"
        prediction = predict_on_video(paths[-1], path, output, clip_seconds=0.5, progress=False)
        assert prediction.label_at(0.6).label == "Right"

    def test_windows_of_a_long_video_hold_what_extraction_gives(self, video):
        recipe = Recipe(("a", "b"), 3, 48, 56, clip_seconds=0.6, streams="rgb+flow", flow_fields=2)
        model = create_two_stream_model(2, (3, 48, 56, 7), width_multiplier=0.05)
        stream = ActionStream(model, recipe)
        info = VideoInfo.read(video)
        bar = type("Bar", (), {"update": lambda self: None})()
        blocks = list(blocks_of(info, stream, ModelView(recipe.clip_format), bar, 0.0, info.duration_seconds))
        images = np.concatenate([np.stack(images) for images, _ in blocks])
        seconds = [moment for _, times in blocks for moment in times]
        every = flow_extraction(video, 12, 48, 56, streams="rgb+flow", fields=2)
        assert len(images) >= 3
        for image, moment in zip(images, seconds, strict=True):
            assert np.array_equal(image, every[round(moment * 10)])

    def test_recipe(self):
        with pytest.raises(
            ValueError, match=r"normalize and channel_order are for streams 'rgb', got 'rgb.flow'"
        ):
            Recipe(("a", "b"), 3, 30, 40, clip_seconds=1, streams="rgb+flow", flow_fields=1, normalize=True)
