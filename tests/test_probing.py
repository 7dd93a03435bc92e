import tracemalloc
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from hypothesis import given, settings, strategies
from keras import layers

from harkeras.data.datasets import Dataset
from harkeras.evaluation._reordering import _lay_out, _stack, reorder
from harkeras.evaluation.probing import (
    early_recognition,
    grad_cam,
    motion_report,
    plot_early_recognition,
    plot_grad_cam,
)
from harkeras.models import create_c3d_model
from harkeras.recipe import Recipe
from harkeras.video.reading import flow_extraction
from harkeras.video.writing import VideoWriter

CLASSES = ("darker", "brighter")


def order_model():
    """Names "brighter" if the last frame is brighter than the first."""
    clip = keras.Input((5, 4, 4, 3))
    step = keras.ops.mean(clip[:, -1] - clip[:, 0], axis=(1, 2, 3))[:, None]
    brighter = keras.ops.sigmoid(step - 1)  # what does not change is darker
    return keras.Model(clip, keras.ops.concatenate([1 - brighter, brighter], axis=1))


def ramps():
    ramp = (np.arange(5, dtype=np.uint8) * 40)[:, None, None, None] + np.zeros((5, 4, 4, 3), np.uint8)
    return np.stack([ramp[::-1], ramp, ramp[::-1], ramp]), np.array([0, 1, 0, 1])


class TestMotionReport:
    def test_a_model_that_reads_the_order(self):
        report = motion_report(order_model(), Dataset(*ramps(), classes=CLASSES))
        assert (report.in_order, report.reversed, report.frozen) == (1, 0, 0.5)
        assert str(report).splitlines()[1].split() == ["in", "order", "1.000"]

    def test_a_model_that_does_not(self):
        clip = keras.Input((5, 4, 4, 3))
        mean = layers.GlobalAveragePooling3D()(clip)[:, :2]
        report = motion_report(
            keras.Model(clip, keras.ops.softmax(mean / 255)), Dataset(*ramps(), classes=CLASSES)
        )
        assert report.in_order == report.shuffled == report.reversed

    def test_tuned_thresholds_count(self):
        model, (features, labels) = order_model(), ramps()
        features //= 40  # 0.05 for "darker" where it is brighter
        assert motion_report(model, Dataset(features, labels, classes=CLASSES)).in_order == 1
        model.recipe = Recipe(CLASSES, 5, 4, 4, 1.0, thresholds={"darker": 0.01})
        assert motion_report(model, Dataset(features, labels, classes=CLASSES)).in_order == 0.5

    def test_a_data_set_brings_labels_and_classes(self):
        clips = Dataset(*ramps(), [Path(f"{i}.mp4") for i in range(4)], classes=CLASSES)
        report = motion_report(order_model(), clips[np.array([1, 2, 3])])
        assert (report.in_order, report.reversed) == (1, 0)

    def test_gray(self):
        gray = ramps()[0][..., :1], ramps()[1]
        clip = keras.Input((5, 4, 4, 1))
        report = motion_report(
            keras.Model(clip, order_model()(keras.ops.repeat(clip, 3, axis=-1))),
            Dataset(*gray, classes=CLASSES),
        )
        assert (report.in_order, report.reversed, report.frozen) == (1, 0, 0.5)

    def test_joints(self):
        """Clips (N, T, K, D): rising or sinking."""
        clip = keras.Input((5, 3, 2))
        up = keras.ops.sigmoid(keras.ops.mean(clip[:, -1] - clip[:, 0], axis=(1, 2))[:, None] - 0.5)
        model = keras.Model(clip, keras.ops.concatenate([1 - up, up], axis=1))
        rising = np.arange(5, dtype=np.float32)[:, None, None] + np.zeros((5, 3, 2), np.float32)
        clips, labels = np.stack([rising, rising[::-1]]), np.array([1, 0])
        for recipe in (None, Recipe(CLASSES, 5, None, None, 1.0, streams="pose", joints=3, coordinates=2)):
            model.recipe = recipe
            report = motion_report(model, Dataset(clips, labels, classes=CLASSES))
            assert (report.in_order, report.reversed, report.frozen) == (1, 0, 0.5)

    def test_memory_mapped_clips_are_read_batch_by_batch(self, tmp_path):
        features, labels = np.tile(ramps()[0], (4000, 1, 1, 1, 1)), np.tile(ramps()[1], 4000)
        np.save(tmp_path / "clips.npy", features)
        mapped, model = np.load(tmp_path / "clips.npy", mmap_mode="r"), order_model()
        motion_report(model, Dataset(mapped[:16], labels[:16], classes=CLASSES))
        tracemalloc.start()
        report = motion_report(model, Dataset(mapped, labels, classes=CLASSES), batch_size=500)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert report.in_order == 1
        assert peak < features.nbytes / 2

    def test_refusals(self):
        with pytest.raises(ValueError, match="labels must be 4 integers"):
            motion_report(order_model(), Dataset(ramps()[0], np.zeros(4), classes=CLASSES))
        bare = order_model()
        bare.recipe = None
        with pytest.raises(ValueError, match="streams must say what the clips hold"):
            motion_report(bare, Dataset(np.float32(ramps()[0]), ramps()[1], classes=CLASSES))
        model = order_model()
        model.recipe = Recipe(CLASSES, 5, 4, 4, 1.0)
        with pytest.raises(ValueError, match="classes must be in the model's order"):
            motion_report(model, Dataset(*ramps(), classes=CLASSES[::-1]))
        picture = keras.Input((4, 4, 3))
        model = keras.Model(picture, layers.Dense(2, "softmax")(layers.Flatten()(picture)))
        model.recipe = Recipe(CLASSES, 1, 4, 4, 1.0)
        with pytest.raises(ValueError, match="dataset must hold clips of streams 'rgb'"):
            motion_report(model, Dataset(np.zeros((2, 4, 4, 3)), np.zeros(2, int), classes=CLASSES))


def moving(frames, step, shift=0, height=48, width=64):
    """A texture that moves to the right by `step` pixels a frame; uint8 (T, H, W, 3)."""
    texture = cv2.GaussianBlur(np.random.default_rng(0).normal(size=(height, 4 * width)), (0, 0), 3)
    texture = np.clip(128 + 400 * texture, 0, 255).astype(np.uint8)
    starts = [width + shift - step * frame for frame in range(frames)]
    return np.stack([texture[:, start : start + width, None].repeat(3, axis=2) for start in starts])


def direction_model(shape, first=0):
    """Names "brighter" where what moves goes to the right, by the flow behind `first` channels."""
    clip = keras.Input(shape)
    x = keras.ops.mean(clip[..., first::2], axis=(1, 2, 3, 4))[:, None] - 128
    right = keras.ops.sigmoid(20 * x - 0.1)
    return keras.Model(clip, keras.ops.concatenate([1 - right, right], axis=1))


class TestMotionReportOfFlow:
    @pytest.mark.parametrize(("streams", "fields"), [("flow", 1), ("flow", 4), ("rgb+flow", 4)])
    @pytest.mark.parametrize("frames", [1, 6, 24])
    def test_a_model_that_knows_only_the_direction(self, tmp_path, streams, fields, frames):
        """Right in order, wrong backwards, at chance where nothing moves; real flow of real files."""
        clips = []
        for name, step in (("right", 1), ("left", -1)):
            with VideoWriter(tmp_path / f"{name}.mp4", fps=25) as writer:
                for frame in moving(24, step):
                    writer.write(frame)
            span = {"start_seconds": 0.5} if frames == 1 else {}  # the first frame of a video has no flow
            clips.append(
                flow_extraction(
                    tmp_path / f"{name}.mp4", frames, 16, 16, streams=streams, fields=fields, **span
                )
            )
        clips, labels = np.stack(clips), np.array([1, 0])
        model = direction_model(clips.shape[1:], first=3 * (streams == "rgb+flow"))
        for recipe in (
            None,
            Recipe(CLASSES, frames, 16, 16, 1.0, streams=streams, flow_fields=fields),
        ):
            model.recipe = recipe
            dataset = Dataset(clips, labels, classes=CLASSES, streams=streams)
            report = motion_report(model, dataset)
            assert (report.in_order, report.shuffled, report.reversed, report.frozen) == (1, 1, 0, 0.5)

    def test_backwards_is_the_flow_of_the_video_played_backwards(self, tmp_path):
        """With frames that follow each other, or lie apart: as near as two computations of flow can be."""
        pictures = np.concatenate([moving(12, 1), moving(12, 2, shift=-24)])
        for name, images in (("forth", pictures), ("back", pictures[::-1])):
            with VideoWriter(tmp_path / f"{name}.mp4", fps=25, crf=5) as writer:
                for image in images:
                    writer.write(image)
        for frames, fields in ((24, 1), (24, 5), (12, 5)):
            forth, back = (
                flow_extraction(tmp_path / f"{name}.mp4", frames, 12, 16, fields=fields)
                for name in ("forth", "back")
            )
            made = reorder(forth, "reversed", "flow", np.random.default_rng(0))
            inside = (slice(None), slice(3, -3), slice(4, -4))
            apart = np.abs(made[inside].astype(float) - back[inside])
            if frames == 24:
                assert np.median(apart.max(axis=(1, 2))) <= 4
                assert (made[0] == 128).all()  # as that of the other, which begins a video
            assert np.abs(forth[inside].astype(float) - back[inside]).mean() > 5 * apart.mean()

    @settings(max_examples=60, deadline=None)
    @given(
        fields=strategies.integers(1, 5),
        steps=strategies.lists(strategies.integers(0, 7), min_size=0, max_size=6),
        start=strategies.integers(0, 6),
        kinds=strategies.integers(1, 200),
        seed=strategies.integers(0, 99),
    )
    def test_stacks_of_known_fields(self, fields, steps, start, kinds, seed):
        """At whatever distance the frames lie, and whether or not the video begins with them."""
        rng = np.random.default_rng(seed)
        video = rng.integers(1, kinds + 2, (start + sum(steps), 1, 1, 2)).astype(np.uint8)
        ends = [start, *(start + np.cumsum(steps)).tolist()]
        still = [np.full((1, 1, 2), 128, np.uint8)]

        def stack(line, end):
            known = list(line[max(end - fields, 0) : end]) or still
            return np.concatenate([known[0]] * (fields - len(known)) + known, axis=-1)

        clip = np.stack([stack(video, end) for end in ends])
        line, places = _lay_out(clip)
        assert np.array_equal(_stack(line, places, clip), clip)
        backwards = reorder(clip, "reversed", "flow", rng)
        assert (backwards.shape, backwards.dtype) == (clip.shape, clip.dtype)

    @pytest.mark.parametrize(("fields", "step"), [(1, 1), (3, 1), (5, 2), (4, 4)])
    def test_backwards_to_the_field(self, fields, step):
        """Field t of the clip played backwards is minus the field between the mirrored frames."""
        video = np.random.default_rng(0).integers(1, 256, (6 * step, 4, 4, 2)).astype(np.uint8)
        turned = (256 - video[::-1].astype(int)).clip(1, 255).astype(np.uint8)

        def clip(line):
            still, stacks = np.full((4, 4, 2), 128, np.uint8), []
            for end in range(0, 6 * step + 1, step):
                known = list(line[max(end - fields, 0) : end]) or [still]
                stacks.append(np.concatenate([known[0]] * (fields - len(known)) + known, axis=-1))
            return np.stack(stacks)

        assert np.array_equal(reorder(clip(video), "reversed", "flow", None), clip(turned))


class TestEarlyRecognition:
    def test_more_is_seen_more_is_known(self, make_video):
        """A model that counts: "brighter" is what it says once it has seen the frames of the second half."""
        video = make_video(indices=[0] * 20 + [4095] * 20)
        clip = keras.Input((4, 16, 16, 3))
        light = keras.ops.mean(clip[:, -1], axis=(1, 2, 3))[:, None] / 255
        model = keras.Model(clip, keras.ops.concatenate([1 - light, light], axis=1))
        model.recipe = Recipe(CLASSES, 4, 16, 16, 1.0)
        shares, accuracies = early_recognition(
            model, [video, video], np.array([1, 0]), shares=(0.25, 0.45, 0.8, 1)
        )
        assert shares.tolist() == [0.25, 0.45, 0.8, 1]
        assert accuracies.tolist() == [0.5] * 4
        _, of_one = early_recognition(model, [video], np.array([1]), shares=(0.25, 0.45, 0.8, 1))
        assert of_one.tolist() == [0, 0, 1, 1]
        axes = plot_early_recognition(shares, accuracies, chance=0.5).axes[0]
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("seen of each clip (%)", "accuracy")
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["model", "chance"]

    def test_refusals(self, make_video):
        model = order_model()
        with pytest.raises(ValueError, match="model must have a recipe"):
            early_recognition(model, [], np.array([]))
        model.recipe = Recipe(CLASSES, 5, 4, 4, 1.0)
        with pytest.raises(ValueError, match="labels must be one per video, got 2 and 1 videos"):
            early_recognition(model, [make_video()], np.array([0, 1]))
        with pytest.raises(ValueError, match=r"shares must lie over 0 and up to 1, got \[0.0\]"):
            early_recognition(model, [make_video()], np.array([0]), shares=[0])


class TestGradCam:
    def model(self):
        """Sees brightness; class 1 is "something bright"."""
        clip = x = keras.Input((6, 32, 32, 3))
        x = layers.Rescaling(1 / 255)(x)
        x = layers.Conv3D(1, 3, padding="same", use_bias=False, kernel_initializer="ones", name="conv")(x)
        x = layers.MaxPooling3D((1, 4, 4), name="pool")(x)
        x = layers.GlobalMaxPooling3D()(x)
        x = keras.ops.sigmoid(x - 40)
        return keras.Model(clip, keras.ops.concatenate([1 - x, x], axis=1))

    def test_finds_where_and_when(self):
        clip = np.zeros((6, 32, 32, 3), np.uint8)
        clip[3:5, 4:12, 20:28] = 255
        heat = grad_cam(self.model(), clip, class_row=1)
        assert (heat.shape, heat.dtype, heat.max()) == ((6, 32, 32), np.float32, pytest.approx(1, abs=0.2))
        when, row, column = np.unravel_index(heat.argmax(), heat.shape)
        assert when in (3, 4)
        assert 2 <= row < 14
        assert 18 <= column < 30
        figure = plot_grad_cam(clip, heat, "bright", count=3)
        assert [axes.get_title() for axes in figure.axes if axes.get_title()] == [
            "frame 1",
            "frame 3",
            "frame 6",
        ]

    @pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 20])
    def test_any_kind_of_clip_is_drawn(self, channels):
        clip = np.random.default_rng(0).integers(1, 256, (3, 8, 9, channels)).astype(np.uint8)
        figure = plot_grad_cam(clip, np.zeros((3, 8, 9), np.float32))
        drawn = figure.axes[0].images[0].get_array()
        assert drawn.shape == (8, 9, 3)
        if channels in (3, 5):
            assert np.array_equal(drawn, clip[0, ..., :3])

    def test_of_a_network(self):
        model = create_c3d_model(3, (4, 32, 32, 3), width_multiplier=1 / 16)
        clip = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
        heat = grad_cam(model, clip)
        assert heat.shape == (4, 32, 32)
        assert np.isfinite(heat).all()

    @pytest.mark.parametrize("kind", ["time distributed", "one batch"])
    def test_of_a_network_that_sees_single_frames(self, kind):
        frame = keras.Input((16, 16, 3))
        maps = keras.layers.Conv2D(1, 3, padding="same", kernel_initializer="ones", use_bias=False)(frame)
        images = keras.Model(frame, keras.layers.GlobalAveragePooling2D()(maps))
        images.trainable = False
        clip = keras.Input((4, 16, 16, 3))
        if kind == "one batch":
            x = keras.ops.reshape(images(keras.ops.reshape(clip, (-1, 16, 16, 3))), (-1, 4, 1))
        else:
            x = keras.layers.TimeDistributed(images)(clip)
        x = keras.layers.Dense(2, "sigmoid", kernel_initializer="ones")(keras.layers.Flatten()(x / 1e4))
        bright = np.zeros((4, 16, 16, 3), np.uint8)
        bright[2, 2:6, 8:12] = 255
        heat = grad_cam(keras.Model(clip, x), bright)
        assert heat.shape == (4, 16, 16)
        assert heat[2, 4, 10] == pytest.approx(1, abs=0.1)
        assert heat[0].max() == 0

    def test_refusals(self):
        model = self.model()
        clip = np.zeros((6, 32, 32, 3), np.uint8)
        with pytest.raises(ValueError, match=r"clip must be \(6, 32, 32, 3\), got \(5, 32, 32, 3\)"):
            grad_cam(model, clip[:5])
        with pytest.raises(ValueError, match="layer must be one that gives maps"):
            grad_cam(model, clip, layer="none")
        vectors = keras.Sequential([keras.Input((6, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
        with pytest.raises(ValueError, match="model must have layers that give maps"):
            grad_cam(vectors, np.zeros((6, 3), np.float32))
        with pytest.raises(ValueError, match="heat must be"):
            plot_grad_cam(clip, np.zeros((1, 2, 3)))
