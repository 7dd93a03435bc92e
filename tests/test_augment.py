"""Augmentation: one draw for all frames of a clip, another for each clip, by seed."""

import hashlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

import harkeras.data
from harkeras import cli
from harkeras.data.augment import (
    Add,
    Augmentation,
    ClipFilter,
    ElasticDeformation,
    GaussianBlur,
    HorizontalFlip,
    Multiply,
    Pan,
    Pepper,
    RandomResizedCrop,
    Salt,
    TemporalJitter,
    TimeCrop,
    default_augmentation,
)
from harkeras.data.batches import Batches
from harkeras.data.datasets import Dataset
from harkeras.data.presentation import Presentation
from harkeras.data.preview import plot_augmentations
from harkeras.training.loop import train
from harkeras.video.flow import optical_flow, to_uint8

COLORS = (Add, Multiply, Salt, Pepper, GaussianBlur)
PLACES = (ElasticDeformation, HorizontalFlip, RandomResizedCrop)
TIMES = (TemporalJitter, TimeCrop)
STEADY = (*COLORS, *PLACES, *TIMES)
ALL = (*COLORS, *PLACES, Pan, *TIMES)
EVERY = pytest.mark.parametrize("make", ALL, ids=lambda make: make.__name__)


def noise(*shape, low=0, high=256, seed=0):
    return np.random.default_rng(seed).integers(low, high, shape, dtype=np.uint8)


CLIPS = noise(6, 5, 24, 32, 3)


class TestEveryFilter:
    @EVERY
    def test_changes_clips_and_keeps_shape_and_dtype(self, make):
        before = CLIPS.copy()
        changed = make()(CLIPS, 3)
        assert (changed.shape, changed.dtype) == (CLIPS.shape, np.uint8)
        assert np.array_equal(CLIPS, before)
        assert (changed != CLIPS).any()
        assert not np.shares_memory(changed, CLIPS)

    @pytest.mark.parametrize("make", STEADY, ids=lambda make: make.__name__)
    def test_every_frame_gets_the_same(self, make):
        options = {"same_pixels": True} if issubclass(make, Salt) else {}
        still = np.repeat(CLIPS[:, :1], 5, axis=1)
        changed = make(**options)(still, 3)
        assert (changed == changed[:, :1]).all()

    @EVERY
    def test_clips_get_different_draws(self, make):
        changed = make()(np.repeat(CLIPS[:1], 8, axis=0), 3)
        assert len({clip.tobytes() for clip in changed}) > 1

    @EVERY
    def test_follows_from_the_seed(self, make):
        layer = make()
        assert np.array_equal(layer(CLIPS, 3), make()(CLIPS, 3))
        assert (layer(CLIPS, 3) != layer(CLIPS, 4)).any()
        assert np.array_equal(layer(CLIPS, 3)[:2], layer(CLIPS[:2], 3))

    @EVERY
    def test_is_inactive_unless_training(self, make):
        layer = make(seed=1)
        floats = CLIPS.astype("float32")
        assert np.array_equal(layer(floats), floats)
        assert np.array_equal(layer(floats, training=False), floats)
        assert (np.asarray(layer(floats, training=True)) != floats).any()

    @EVERY
    def test_survives_its_config(self, make):
        layer = make(seed=5, name="mine")
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
        assert again.get_config() == layer.get_config()
        assert np.array_equal(again(CLIPS, 3), layer(CLIPS, 3))
        assert np.array_equal(again(CLIPS, training=True), layer(CLIPS, training=True))

    @EVERY
    def test_takes_images_and_single_frames(self, make):
        assert make()(CLIPS[:, 0], 3).shape == CLIPS[:, 0].shape
        assert make()(CLIPS[:, :1], 3).shape == CLIPS[:, :1].shape

    @pytest.mark.parametrize("clips", [CLIPS / 255, CLIPS[0, 0], np.zeros((2, 3), np.uint8)])
    def test_refuses_what_is_no_clip(self, clips):
        with pytest.raises(ValueError, match=r"clips must be uint8 \(B, T, H, W, C\), got "):
            Add()(clips, 3)


class TestColours:
    def test_add_and_multiply_treat_all_pixels_alike(self):
        clips = noise(4, 2, 8, 8, 3, low=100, high=130)
        added = Add((-50, 50))(clips, 1).astype(int) - clips
        assert all(len(np.unique(clip)) == 1 for clip in added)
        assert np.array_equal(Add((7, 7))(clips, 1), clips + 7)
        assert np.array_equal(Multiply((0.5, 0.5))(clips, 1), np.rint(clips * 0.5))
        assert (Add((200, 200))(clips, 1) == 255).all()
        assert (Add((-200, -200))(clips, 1) == 0).all()

    @pytest.mark.parametrize(("make", "value"), [(Salt, 255), (Pepper, 0)])
    def test_salt_and_pepper(self, make, value):
        grey = np.full((3, 20, 32, 32, 3), 90, np.uint8)
        changed = make((0.1, 0.1))(grey, 1)
        hit = changed != 90
        assert (changed[hit] == value).all()
        assert (hit.all(axis=-1) == hit.any(axis=-1)).all()
        assert hit.mean() == pytest.approx(0.1, abs=0.01)
        assert (hit[0, 0] != hit[0, 1]).any()
        hit = make((0.1, 0.1), same_pixels=True)(grey, 1) != 90
        assert (hit == hit[:, :1]).all()
        assert (hit[0] != hit[1]).any()
        assert np.array_equal(make((0, 0))(grey, 1), grey)

    def test_blur(self):
        dot = np.zeros((1, 2, 15, 15, 3), np.uint8)
        dot[:, :, 7, 7] = 250
        blurred = GaussianBlur((1, 1))(dot, 1)
        assert blurred[0, 0, 7, 7, 0] == pytest.approx(250 / (2 * np.pi), abs=3)
        assert np.array_equal(GaussianBlur((0, 0))(CLIPS, 1), CLIPS)


class TestPlaces:
    def test_flip(self):
        assert np.array_equal(HorizontalFlip(1)(CLIPS, 1), CLIPS[:, :, :, ::-1])
        assert np.array_equal(HorizontalFlip(0)(CLIPS, 1), CLIPS)
        flipped = (HorizontalFlip()(np.repeat(CLIPS[:1], 200, axis=0), 1) != CLIPS[:1]).any(axis=(1, 2, 3, 4))
        assert flipped.mean() == pytest.approx(0.5, abs=0.15)

    def test_crop_is_a_window_of_the_frame(self):
        y, x = np.indices((64, 96))
        ramp = np.stack([2 * y, 2 * x, 0 * x], axis=-1).astype(np.uint8)[None, None].repeat(6, axis=0)
        for clip in RandomResizedCrop((0.25, 0.25), aspect=(1, 1))(ramp, 1).astype(float) / 2:
            assert np.ptp(clip[0, :, 0, 0]) == pytest.approx(31, abs=1)
            assert np.ptp(clip[0, 0, :, 1]) == pytest.approx(47, abs=1)
            assert np.ptp(clip[0, :, :, 0], axis=1).max() == 0  # rows stay rows
        assert np.array_equal(RandomResizedCrop((1, 1), aspect=(1, 1))(CLIPS, 1), CLIPS)

    def test_pan_drifts_evenly(self):
        dot = np.zeros((1, 5, 9, 41, 3), np.uint8)
        dot[:, :, 4, 20] = 200
        panned = Pan((0.4, 0.4))(dot, 1)[0, :, :, :, 0].astype(float)
        assert panned.sum(axis=(1, 2)) == pytest.approx(200, rel=0.05)
        x = (panned[:, 4] * np.arange(41)).sum(axis=1) / panned[:, 4].sum(axis=1)
        assert x == pytest.approx(20 + 0.4 * 41 * np.array([-0.5, -0.25, 0, 0.25, 0.5]), abs=0.1)
        assert np.array_equal(Pan((0, 0))(CLIPS, 1), CLIPS)

    @pytest.mark.parametrize(("channels", "streams"), [(4, "flow"), (5, r"rgb\+flow")])
    def test_pan_refuses_flow(self, channels, streams):
        with pytest.raises(ValueError, match=f"Pan is for clips of colors alone, and these are '{streams}'"):
            Pan()(noise(2, 3, 8, 8, channels), 1)

    def test_elastic_displacement(self):
        y, x = np.indices((64, 96))
        ramp = np.stack([2 * y, 2 * x, 0 * x], axis=-1).astype(np.uint8)[None, None]
        bent = ElasticDeformation((0.05, 0.05))(ramp, 1)[0, 0, 8:-8, 8:-8]
        moved = (bent.astype(float) - ramp[0, 0, 8:-8, 8:-8])[..., :2] / 2
        assert np.sqrt((moved**2).sum(axis=-1).mean()) == pytest.approx(0.05 * 64, rel=0.35)
        assert np.abs(np.diff(moved, axis=0)).max() < 3  # smooth
        assert np.array_equal(ElasticDeformation((0, 0))(CLIPS, 1), CLIPS)


class TestTimes:
    NUMBERED = np.repeat(np.arange(20, dtype=np.uint8), 4 * 4 * 3).reshape(1, 20, 4, 4, 3).repeat(30, axis=0)

    def taken(self, layer):
        changed = layer(self.NUMBERED, 1)
        assert (changed == changed[:, :, :1, :1, :1]).all()
        return changed[:, :, 0, 0, 0].astype(int)

    def test_jitter_is_in_order_and_near(self):
        taken = self.taken(TemporalJitter(2))
        assert (np.diff(taken) >= 0).all()
        assert np.abs(taken - np.arange(20)).max() <= 2
        assert (taken != np.arange(20)).any(axis=1).all()

    def test_time_crop_is_a_part(self):
        taken = self.taken(TimeCrop((0.5, 0.5)))
        assert (np.diff(taken) >= 0).all()
        assert set(np.ptp(taken, axis=1).tolist()) <= {9, 10}
        assert len(np.unique(taken[:, 0])) > 3
        assert np.array_equal(self.taken(TimeCrop((1, 1)))[0], np.arange(20))


class TestFlow:
    @pytest.mark.parametrize("make", COLORS, ids=lambda make: make.__name__)
    def test_color_filters_leave_flow_alone_and_refuse_flow_only(self, make):
        clips = noise(2, 5, 24, 32, 7)
        changed = make()(clips, 3)
        assert np.array_equal(changed[..., 3:], clips[..., 3:])
        assert np.array_equal(changed[..., :3], make()(np.ascontiguousarray(clips[..., :3]), 3))
        for each in (make(), Augmentation([HorizontalFlip(), make()], "one")):
            with pytest.raises(ValueError, match=f"{make.__name__} changes colors, and the clips have none"):
                each(clips[..., 3:], 3)

    @pytest.mark.parametrize("make", [*PLACES, *TIMES], ids=lambda make: make.__name__)
    @pytest.mark.parametrize("channels", [2, 4, 20, 5, 23])
    def test_other_filters_take_any_flow(self, make, channels):
        clips = noise(2, 5, 24, 32, channels, low=1)
        changed = make()(clips, 3)
        assert changed.shape == clips.shape
        if channels % 2:
            assert np.array_equal(changed[..., :3], make()(np.ascontiguousarray(clips[..., :3]), 3))

    def test_flip_turns_what_moves_right_into_left(self):
        clips = noise(2, 3, 8, 10, 7, low=1)
        flipped = HorizontalFlip(1)(clips, 3)
        assert np.array_equal(flipped[..., 3::2], 256 - clips[:, :, :, ::-1, 3::2].astype(int))
        assert np.array_equal(flipped[..., 4::2], clips[:, :, :, ::-1, 4::2])

    def test_flipped_frames_have_the_flipped_flow(self):
        squares = np.kron(noise(8, 10), np.ones((8, 8), np.uint8))[..., None].repeat(3, axis=-1)
        pair = np.stack([squares, np.roll(squares, 3, axis=1)])
        turned = [np.median(optical_flow(*each)[..., 0]) for each in (pair, pair[:, :, ::-1].copy())]
        assert turned == pytest.approx([3, -3], abs=0.3)

    def test_motion_grows_with_the_picture(self):
        clips = np.full((1, 2, 64, 64, 4), 128 + 20, np.uint8)
        changed = RandomResizedCrop((0.25, 0.25), aspect=(1, 1))(clips, 3)
        assert (changed == 128 + 40).all()
        wide = RandomResizedCrop((0.5, 0.5), aspect=(2, 2))(clips, 3)  # all of the width, half of the height
        assert (wide[..., ::2] == 128 + 20).all()
        assert (wide[..., 1::2] == 128 + 40).all()

    def test_elastic_deformation_turns_flow_as_it_turns_the_picture(self):
        """A point moves by (u, v); where the deformation takes both ends tells how it moves afterwards."""
        y, x = np.indices((96, 96), np.float32)
        ramp = np.stack([y, x, 0 * x], axis=-1).astype(np.uint8)
        step = to_uint8(np.full((96, 96, 2), (8.0, 0.0), np.float32))
        clip = np.concatenate([ramp, step], axis=-1)[None, None]
        changed = ElasticDeformation((0.06, 0.06), smoothness=0.2)(clip, 3)[0, 0].astype(float)
        across = changed[..., :2]  # where each pixel of the result comes from: y, x
        d_y, d_x = np.gradient(across[..., 0]), np.gradient(across[..., 1])
        u, v = ((changed[..., i] - 128) / (step[0, 0, 0] - 128.0) for i in (3, 4))
        inner = np.s_[20:-20, 20:-20]
        # Going by (u, v) in the result is going by (1, 0) in the source.
        assert (d_x[1] * u + d_x[0] * v)[inner].mean() == pytest.approx(1, abs=0.03)
        assert np.abs((d_y[1] * u + d_y[0] * v)[inner].mean()) < 0.03
        assert np.abs(u[inner] - 1).max() > 0.1

    def test_no_motion_stays_none(self):
        still = np.full((2, 3, 24, 32, 6), 128, np.uint8)
        for make in (*PLACES, *TIMES):
            assert np.array_equal(make()(still, 3), still)


class TestAugmentation:
    FILTERS = (Add((1, 1)), Add((10, 10)), Add((100, 100)))

    def sums(self, mode):
        zeros = np.zeros((60, 2, 4, 4, 3), np.uint8)
        return Augmentation(self.FILTERS, mode)(zeros, 1)[:, 0, 0, 0, 0].tolist()

    def test_modes(self):
        assert set(self.sums("one")) == {1, 10, 100}
        assert set(self.sums("some")) == {1, 10, 100, 11, 101, 110, 111}
        assert set(self.sums("all")) == {111}

    def test_the_order_is_random(self):
        both = Augmentation([Add((10, 10)), Multiply((2, 2))], "all")
        assert set(both(np.full((30, 1, 2, 2, 3), 5, np.uint8), 1).ravel().tolist()) == {20, 30}

    def test_two_processes_agree(self):
        code = (
            "import hashlib, numpy as np; from harkeras.data.augment import *\n"
            "clips = np.random.default_rng(0).integers(0, 256, (4, 5, 24, 32, 7), dtype=np.uint8)\n"
            "filters = [Add(), Salt(), ElasticDeformation(), RandomResizedCrop(), TimeCrop()]\n"
            "print(hashlib.sha256(Augmentation(filters, 'some')(clips, 9).tobytes()).hexdigest())"
        )
        filters = [Add(), Salt(), ElasticDeformation(), RandomResizedCrop(), TimeCrop()]
        here = Augmentation(filters, "some")(noise(4, 5, 24, 32, 7), 9)
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert run.stdout.split()[-1] == hashlib.sha256(here.tobytes()).hexdigest()

    def test_refusals(self):
        for filters in ([], [layers.RandomFlip()]):
            with pytest.raises(
                ValueError, match=r"filters must be one or more filters of harkeras.data.augment"
            ):
                Augmentation(filters)
        with pytest.raises(ValueError, match="mode must be 'one', 'some' or 'all', got 'any'"):
            Augmentation([Add()], "any")

    def test_default(self):
        assert (default_augmentation()(CLIPS, 1) != CLIPS).any(axis=(1, 2, 3, 4)).all()
        assert default_augmentation("rgb+flow")(noise(2, 3, 8, 8, 5), 1).shape == (2, 3, 8, 8, 5)
        assert default_augmentation("flow")(noise(2, 3, 8, 8, 4), 1).shape == (2, 3, 8, 8, 4)
        with pytest.raises(ValueError, match=r"default_augmentation\('flow'\)"):
            default_augmentation()(noise(2, 3, 8, 8, 4), 1)


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (Add, {"amount": (5, -5)}, "amount must be two numbers in order, in -255 to 255"),
        (Multiply, {"factor": (-1, 1)}, "factor must be two numbers in order, in 0 to 10"),
        (Salt, {"share": (0, 2)}, "share must be two numbers in order, in 0 to 1"),
        (Pepper, {"share": (0.1,)}, "share must be two numbers in order, in 0 to 1"),
        (GaussianBlur, {"sigma_px": (-1, 1)}, "sigma_px must be two numbers in order, in 0 to 100"),
        (ElasticDeformation, {"displacement": (0, 1)}, "displacement must be two numbers in order, in 0 to"),
        (ElasticDeformation, {"smoothness": 0}, "smoothness must be above 0, got 0"),
        (HorizontalFlip, {"probability": 1.5}, "probability must lie in 0 to 1, got 1.5"),
        (RandomResizedCrop, {"area": (0, 1)}, "area must be two numbers in order, in 0.01 to 1"),
        (RandomResizedCrop, {"aspect": (0, 1)}, "aspect must be two numbers in order, in 0.1 to 10"),
        (Pan, {"shift": (-2, 0)}, "shift must be two numbers in order, in -1 to 1"),
        (TemporalJitter, {"frames": 0}, "frames must be at least 1, got 0"),
        (TimeCrop, {"share": (0, 1)}, "share must be two numbers in order, in 0.01 to 1"),
    ],
)  # fmt: skip
def test_bad_arguments(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


class TestInAModel:
    def model(self, layer, dtype="float32"):
        clip = keras.Input(CLIPS.shape[1:], dtype=dtype)
        return keras.Model(clip, layer(clip))

    @pytest.mark.parametrize("dtype", ["float32", "uint8"])
    def test_is_active_in_training_only(self, dtype):
        model = self.model(default_augmentation(seed=1), dtype)
        clips = CLIPS.astype(dtype)
        assert model.output.dtype == dtype
        assert np.array_equal(model.predict(clips, verbose=0), clips)
        assert np.array_equal(model(clips), clips)
        first, second = (np.asarray(model(clips, training=True)) for _ in range(2))
        assert first.dtype == dtype
        assert (first != clips).any(axis=(1, 2, 3, 4)).all()
        assert (first != second).any()

    def test_same_seed_same_draws(self):
        runs = [
            [np.asarray(model(CLIPS, training=True)) for _ in range(2)]
            for model in (self.model(default_augmentation(seed=s), "uint8") for s in (1, 1, 2))
        ]
        assert np.array_equal(runs[0], runs[1])
        assert not np.array_equal(runs[0], runs[2])

    def test_trains_saves_and_loads(self, tmp_path):
        clip = keras.Input(CLIPS.shape[1:])
        x = layers.Rescaling(1 / 255)(Augmentation([Salt(), HorizontalFlip()], "one", seed=3)(clip))
        model = keras.Model(clip, layers.Dense(2, activation="softmax")(layers.Flatten()(x)))
        train(
            model,
            Dataset(CLIPS, np.arange(6) % 2, classes=["a", "b"]),
            epochs=2,
            validation_split=0,
            verbose=False,
        )
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        assert again.predict(CLIPS, verbose=0) == pytest.approx(model.predict(CLIPS, verbose=0), abs=1e-6)
        assert again.layers[1].mode == "one"
        assert [type(each) for each in again.layers[1].filters] == [Salt, HorizontalFlip]

    def test_a_filter_of_ones_own(self):
        class Invert(ClipFilter):
            def change(self, clip, rng):
                return 255 - clip

        assert np.array_equal(Augmentation([Invert(), Invert()], "all")(CLIPS, 1), CLIPS)
        assert np.array_equal(Invert()(CLIPS, training=True), 255 - CLIPS)


class TestInThePipeline:
    def test_batches(self):
        labels = np.arange(6)
        presentation = Presentation(default_augmentation())
        batches = Batches(CLIPS, labels, labels, 4, seed=1, presentation=presentation)
        clips, batch_labels = batches[0]
        assert (clips.shape, clips.dtype) == ((4, *CLIPS.shape[1:]), np.uint8)
        assert np.array_equal(batch_labels, batches.order[:4])
        assert np.array_equal(clips, batches[0][0])
        batches.on_epoch_end()
        batches.order = np.r_[batch_labels, batches.order][:6]
        assert not np.array_equal(batches[0][0], clips)

    def test_train(self):
        def run(augmentation):
            keras.utils.set_random_seed(1)
            clip = keras.Input(CLIPS.shape[1:])
            x = layers.Flatten()(layers.Rescaling(1 / 255)(clip))
            model = keras.Model(clip, layers.Dense(2, activation="softmax")(x))
            dataset = Dataset(CLIPS, np.arange(6) % 2, classes=["a", "b"]).for_training(augment=augmentation)
            return train(model, dataset, epochs=2, validation_split=0, verbose=False).history["loss"]

        assert run(default_augmentation()) == run(default_augmentation())
        assert run(default_augmentation()) != run(None)


class TestPlot:
    def test_rows_and_columns(self):
        figure = plot_augmentations(CLIPS[0], count=4)
        titles = [axes.get_ylabel() for axes in figure.axes[::4]]
        assert titles == ["the clip", *(make.__name__ for make in ALL)]
        assert [axes.get_title() for axes in figure.axes[:4]] == ["frame 1", "frame 2", "frame 4", "frame 5"]
        flipped = figure.axes[4 * titles.index("HorizontalFlip")].images[0].get_array()
        assert np.array_equal(flipped, CLIPS[0, 0, :, ::-1])

    def test_own_filters_and_flow(self):
        figure = plot_augmentations(noise(5, 8, 8, 7), [HorizontalFlip(1), HorizontalFlip(0)], count=1)
        assert len(figure.axes) == 3

    def test_refusals(self):
        for clip in (CLIPS, CLIPS[0, ..., :2]):
            with pytest.raises(ValueError, match=r"clip must be \(T, H, W, C\) with colors, got"):
                plot_augmentations(clip)
        with pytest.raises(ValueError, match="count must be at least 1, got 0"):
            plot_augmentations(CLIPS[0], count=0)


def test_public_names_are_those_of_the_room():
    assert harkeras.data.default_augmentation is default_augmentation
    assert harkeras.data.plot_augmentations is plot_augmentations


@pytest.mark.parametrize(("options", "count"), [(["--augment"], 5), (["--augment", "--streams", "flow"], 3)])
def test_command_line(monkeypatch, options, count):
    passed = []

    def stop(*_args, augment=None, **_kwargs):
        passed.append(augment)
        raise KeyboardInterrupt

    monkeypatch.setattr("harkeras.workflow.train_on_folder", stop)
    for arguments in (options, options[1:]):
        monkeypatch.setattr(sys, "argv", ["harkeras", "train", "anywhere", "--model", "lrcn", *arguments])
        with pytest.raises(SystemExit):
            cli.main()
    assert len(passed[0].filters) == count
    assert passed[1] is None
