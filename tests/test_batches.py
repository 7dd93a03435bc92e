import gc
import shutil
import threading
import weakref

import keras
import numpy as np
import pytest
from keras import layers
from sklearn.utils.class_weight import compute_class_weight

from harkeras.data.batches import Batches, ClipDataset
from harkeras.data.datasets import median_clip_seconds
from harkeras.data.folders import list_videos
from harkeras.data.presentation import Presentation, class_weights
from harkeras.evaluation.scores import evaluate
from harkeras.recipe import ClipFormat
from harkeras.training.loop import train
from harkeras.video.reading import VideoError, VideoInfo, read_clip

LABELS = np.array([0] * 12 + [1] * 3 + [2] * 6)
WEIGHTS = [21 / 36, 21 / 9, 21 / 18]  # 21 clips of 3 classes
CLIPS = np.arange(21, dtype=np.uint8)[:, None, None, None, None] + np.zeros((1, 2, 3, 3, 3), np.uint8)


def rows_of(batches):
    return [clip.flat[0] for index in range(len(batches)) for clip in batches[index][0]]


class TestClassWeights:
    def test_inverse_frequency(self):
        expected = compute_class_weight("balanced", classes=np.arange(3), y=LABELS)
        assert list(class_weights(LABELS).values()) == pytest.approx(expected)
        assert list(expected) == pytest.approx(WEIGHTS)
        assert np.mean([class_weights(LABELS)[label] for label in LABELS]) == pytest.approx(1)
        assert class_weights(np.array([0, 1]), 2) == {0: 1.0, 1: 1.0}

    def test_refusals(self):
        with pytest.raises(ValueError, match="labels must name at least one clip, got none"):
            class_weights(np.array([], int))
        with pytest.raises(ValueError, match=r"labels must name every class, got \[1, 1, 0\] clips"):
            class_weights(np.array([0, 1]), 3)


class TestBatches:
    def make(self, **options):
        labels = np.eye(3, dtype=np.float32)[LABELS] if options.get("mixup") else LABELS
        seed, weights = options.pop("seed", None), options.pop("weights", None)
        presentation = Presentation(**options)
        return Batches(
            CLIPS, labels, np.arange(1, 21), 6, seed=seed, presentation=presentation, weights=weights
        )

    def test_in_order_without_a_seed(self):
        batches = self.make()
        assert rows_of(batches) == list(range(1, 21))
        assert [len(batches[i][1]) for i in range(len(batches))] == [6, 6, 6, 2]

    def test_order_follows_from_seed_and_epoch(self):
        one, two, other = self.make(seed=1), self.make(seed=1), self.make(seed=2)
        assert rows_of(one) == rows_of(two) != rows_of(other)
        first = rows_of(one)
        one.on_epoch_end()
        assert rows_of(one) != first
        two.shuffle(1)
        assert rows_of(one) == rows_of(two)
        assert sorted(first) == list(range(1, 21))

    def test_balanced_sampling(self):
        batches = self.make(seed=1, sampling="balanced")
        labels = np.concatenate([batches[i][1] for i in range(len(batches))])
        assert len(labels) == 20
        assert np.ptp(np.bincount(labels)) <= 1
        rare = [row for row in rows_of(batches) if 12 <= row < 15]
        assert set(rare) == {12, 13, 14}
        assert len(rare) > 3

    def test_weights_go_with_their_clips(self):
        batches = self.make(seed=1, weights=class_weights(LABELS))
        for index in range(len(batches)):
            _, labels, weights = batches[index]
            assert weights.dtype == np.float32
            assert weights.tolist() == pytest.approx([WEIGHTS[label] for label in labels])

    def test_mixup(self):
        batches = self.make(seed=1, mixup=0.4)
        clips, labels = batches[0]
        assert (clips.dtype, labels.dtype) == (np.float32, np.float32)
        assert labels.sum(axis=1) == pytest.approx(np.ones(6))
        assert ((labels > 0) & (labels < 1)).any()
        plain = self.make(seed=1)[0]
        low, high = plain[0].min(), plain[0].max()
        assert (clips >= low - 1e-4).all()
        assert (clips <= high + 1e-4).all()
        assert np.array_equal(clips, self.make(seed=1, mixup=0.4)[0][0])

    def test_augmentation_gets_other_seeds_for_other_batches(self):
        seen = []

        def augment(clips, seed):
            seen.append(seed)
            return 255 - clips

        batches = self.make(seed=1, augment=augment)
        assert sorted(255 - np.array(rows_of(batches), int)) == list(range(1, 21))
        batches.shuffle(1)
        rows_of(batches)
        assert len(set(seen)) == 8
        batches.shuffle(0)
        rows_of(batches)
        assert seen[8:] == seen[:4]


@pytest.fixture(scope="module")
def videos(sample_dir):
    return list_videos(sample_dir)


FORMAT = ClipFormat(3, 12, 16)
SIZE = {"classes": ("a", "b"), "frames": 3, "height": 12, "width": 16}


def small_model(classes=2):
    keras.utils.set_random_seed(27)
    clip = keras.Input((3, 12, 16, 3))
    x = layers.Flatten()(layers.Rescaling(1 / 255)(clip))
    return keras.Model(clip, layers.Dense(classes, activation="softmax")(x))


class TestClipDataset:
    def test_whole_videos(self, videos):
        paths, labels = videos
        dataset = ClipDataset(paths, labels, **SIZE, batch_size=5)
        assert len(dataset) == -(-len(paths) // 5)
        clips, batch_labels = dataset[1]
        assert (clips.shape, clips.dtype) == ((5, 3, 12, 16, 3), np.uint8)
        assert np.array_equal(batch_labels, labels[5:10])
        assert np.array_equal(clips[0], read_clip(paths[5], FORMAT))

    def test_testing_takes_the_middle(self, videos):
        paths, labels = videos
        duration = VideoInfo.read(paths[0]).duration_seconds
        clips, _ = ClipDataset(paths, labels, **SIZE, clip_seconds=1.0)[0]
        start = (duration - 1) / 2
        expected = read_clip(paths[0], FORMAT, start_seconds=start, end_seconds=start + 1)
        assert np.array_equal(clips[0], expected)

    def test_training_takes_random_parts_that_follow_from_the_seed(self, videos):
        def read(seed, epoch):
            dataset = ClipDataset(*videos, **SIZE, clip_seconds=0.7, batch_size=len(videos[0]), seed=seed)
            dataset.shuffle(epoch)
            clips, _ = dataset[0]
            return clips[np.argsort(dataset.order)]  # of the first video, the second, ...

        assert np.array_equal(read(1, 0), read(1, 0))
        assert not np.array_equal(read(1, 0)[0], read(1, 1)[0])
        assert not np.array_equal(read(1, 0)[0], read(2, 0)[0])

    def test_several_clips_per_video(self, videos):
        paths, labels = videos
        dataset = ClipDataset(paths, labels, **SIZE, clip_seconds=0.5, clips_per_video=3)
        clips = np.stack([dataset.try_to_read(2, place) for place in dataset.places])
        duration = VideoInfo.read(paths[2]).duration_seconds
        for i, place in enumerate((1 / 6, 1 / 2, 5 / 6)):
            start = place * (duration - 0.5)
            expected = read_clip(paths[2], FORMAT, start_seconds=start, end_seconds=start + 0.5)
            assert np.array_equal(clips[i], expected)
        model = small_model()
        evaluation = evaluate(model, dataset)
        assert evaluation.probabilities[2] == pytest.approx(
            model.predict_on_batch(clips).mean(axis=0), abs=1e-6
        )

    def test_flow(self, videos):
        dataset = ClipDataset(
            *videos, **SIZE, streams="rgb+flow", flow_fields=2, flow_method="farneback", batch_size=2
        )
        assert dataset[0][0].shape == (2, 3, 12, 16, 7)

    def test_trains(self, videos):
        model = small_model()
        dataset = ClipDataset(*videos, **SIZE, clip_seconds=1.0, seed=5)
        history = train(model, dataset, epochs=2, verbose=False)
        assert len(history.history["val_loss"]) == 2
        assert (model.recipe.clip_seconds, model.recipe.frames) == (1.0, 3)
        model.fit(dataset, epochs=1, verbose=0)

    def test_batch_size_and_seed_are_said_once(self, videos, monkeypatch):
        sizes = []

        def make(self, index):
            sizes.append((len(self.order), self.batch_size, self.seed))
            return original(self, index)

        original = Batches.__getitem__
        monkeypatch.setattr(Batches, "__getitem__", make)
        options = {"epochs": 1, "validation_split": 0, "verbose": False}
        for of_dataset, of_train, expected in (
            ({}, {}, (8, 27)),
            ({"batch_size": 5, "seed": 3}, {}, (5, 3)),
            ({}, {"batch_size": 6, "seed": 4}, (6, 4)),
            ({"batch_size": 5, "seed": 3}, {"batch_size": 5, "seed": 3}, (5, 3)),
        ):
            sizes.clear()
            train(small_model(), ClipDataset(*videos, **SIZE, **of_dataset), **options, **of_train)
            assert {size[1:] for size in sizes} == {expected}
        for of_train, message in (
            ({"batch_size": 6}, "batch_size is 5 in the ClipDataset, got 6: say it once"),
            ({"seed": 4}, "seed is 3 in the ClipDataset, got 4: say it once"),
        ):
            dataset = ClipDataset(*videos, **SIZE, batch_size=5, seed=3, clip_seconds=1.0)
            with pytest.raises(ValueError, match=message):
                train(small_model(), dataset, **options, **of_train)

    def test_the_recipe_knows_how_long_the_videos_are(self, videos):
        model = small_model()
        train(model, ClipDataset(*videos, **SIZE), epochs=1, verbose=False)
        assert model.recipe.clip_seconds == pytest.approx(median_clip_seconds(videos[0]))

    def test_a_training_goes_on_to_the_same_weights(self, videos, tmp_path):
        """Random cuts included; with other content of a file, it is refused."""
        paths = [shutil.copy(path, tmp_path / path.name) for path in videos[0]]

        def run(epochs, **options):
            model = small_model()
            dataset = ClipDataset(paths, videos[1], **SIZE, clip_seconds=1.0, seed=5)
            train(model, dataset, epochs=epochs, verbose=False, **options)
            return model.get_weights()

        state = tmp_path / "state"
        run(1, resume=state)
        assert all(map(np.array_equal, run(2, resume=state), run(2)))
        content = paths[3].read_bytes()
        paths[3].write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(ValueError, match=r"is of one with another clips$"):
            run(2, resume=state)

    def test_no_thread_is_left(self, videos):
        before = threading.active_count()
        for _ in range(10):
            dataset = ClipDataset(*videos, **SIZE, workers=4)
            dataset[0]
            forgotten = weakref.ref(dataset)
            gc.disable()  # a data set that holds itself would wait for it
            try:
                del dataset
                assert forgotten() is None
            finally:
                gc.enable()
        assert threading.active_count() <= before

    def test_refusals(self, videos):
        paths, labels = videos
        with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
            ClipDataset(paths, labels, workers=0)
        with pytest.raises(ValueError, match="labels must be one per video, got 1 and 16 videos"):
            ClipDataset(paths, labels[:1])
        with pytest.raises(ValueError, match="clips_per_video must be at least 1, got 0"):
            ClipDataset(paths, labels, clips_per_video=0)
        with pytest.raises(ValueError, match="clip_seconds must be positive, got -1"):
            ClipDataset(paths, labels, clip_seconds=-1)


class TestUnreadableVideos:
    """They are named once, batches stay whole, and nothing else changes."""

    @pytest.fixture
    def broken(self, videos, tmp_path):
        """The sample clips; the second is no video, the last but one is cut short, the last is gone."""
        paths = [shutil.copy(path, tmp_path / f"{row}.mp4") for row, path in enumerate(videos[0])]
        paths[1].write_text("not a video")
        paths[-2].write_bytes(paths[-2].read_bytes()[:300])
        paths[-1].unlink()
        return paths, videos[1], [1, len(paths) - 2, len(paths) - 1]

    def test_the_next_one_of_the_class_takes_the_place(self, broken):
        paths, labels, bad = broken
        dataset = ClipDataset(paths, labels, **SIZE, batch_size=4)
        with pytest.warns(UserWarning, match=r"a clip was left out: .*") as record:
            batches = [dataset[index] for index in range(len(dataset))]
        assert len(record) == 3
        assert all(any(paths[row].name in str(each.message) for each in record) for row in bad)
        assert set(dataset.unreadable) == set(bad)
        assert np.array_equal(np.concatenate([batch[1] for batch in batches]), labels)
        assert np.array_equal(batches[0][0][1], read_clip(paths[2], FORMAT))
        first = int(np.flatnonzero(labels == labels[-1])[0])  # after the last one of a class
        assert np.array_equal(batches[-1][0][-1], read_clip(paths[first], FORMAT))
        again = [dataset[index] for index in range(len(dataset))]  # and nothing is said again
        assert all(map(np.array_equal, [clips for clips, _ in batches], [clips for clips, _ in again]))

    def test_training_goes_on_and_validation_clips_are_not_trained_on(self, broken, monkeypatch):
        paths, labels, bad = broken
        seen = {"training": set(), "validation": set()}

        def read(self, rows, seed, among=None, places=slice(None)):
            clips, rows = original(self, rows, seed, among, places)
            seen["validation" if seed is None else "training"] |= set(rows.tolist())
            return clips, rows

        original = ClipDataset.read
        monkeypatch.setattr(ClipDataset, "read", read)
        model = small_model()
        with pytest.warns(UserWarning, match="a clip was left out"):
            history = train(
                model, ClipDataset(paths, labels, **SIZE), epochs=2, validation_split=0.4,
                verbose=False,
            )  # fmt: skip
        assert len(history.epoch) == 2
        assert not seen["training"] & seen["validation"]
        assert not (seen["training"] | seen["validation"]) & set(bad)

    def test_fit(self, broken):
        paths, labels, _ = broken
        model = small_model()
        model.compile("sgd", "sparse_categorical_crossentropy")
        with pytest.warns(UserWarning, match="a clip was left out"):
            model.fit(ClipDataset(paths, labels, **SIZE, seed=1), epochs=1, verbose=0)

    def test_they_are_not_scored(self, broken):
        paths, labels, bad = broken
        good = np.setdiff1d(np.arange(len(paths)), bad)
        model = small_model()
        groups = np.arange(len(paths))
        dataset = ClipDataset(paths, labels, **SIZE, groups=groups, clips_per_video=2, clip_seconds=0.5)
        with pytest.warns(UserWarning, match="a clip was left out"):
            evaluation = evaluate(model, dataset)
        assert np.array_equal(evaluation.labels, labels[good])
        rest = ClipDataset(
            [paths[row] for row in good], labels[good], **SIZE, clips_per_video=2, clip_seconds=0.5
        )
        expected = evaluate(model, rest, batch_size=3)
        assert evaluation.probabilities == pytest.approx(expected.probabilities, abs=1e-6)
        assert evaluation.group_interval is not None

    def test_strict(self, broken):
        paths, labels, _ = broken
        dataset = ClipDataset(paths[:-1], labels[:-1], **SIZE, strict=True, clip_seconds=1.0)
        for work in (
            lambda: train(small_model(), dataset, validation_split=0, verbose=False),
            lambda: evaluate(small_model(), dataset),
        ):
            with pytest.raises(VideoError, match=rf"{paths[1]}|{paths[-2]}"):
                work()

    def test_none_of_a_class_is_left(self, broken):
        paths, _, bad = broken
        dataset = ClipDataset([paths[row] for row in (bad[0], 0, bad[1])], np.array([0, 1, 0]), **SIZE)
        with (
            pytest.warns(UserWarning, match="a clip was left out"),
            pytest.raises(VideoError, match=r"no video of a class can be read, the first of 2: .*1\.mp4"),
        ):
            train(small_model(), dataset, validation_split=0, verbose=False)
        with (
            pytest.warns(UserWarning, match="a clip was left out"),
            pytest.raises(VideoError, match=r"no video can be read, the first of 1: .*1\.mp4"),
        ):
            evaluate(small_model(), ClipDataset([paths[1]], [0], **SIZE))
