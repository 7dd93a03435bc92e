import keras
import numpy as np
import pytest
from keras import layers

from harkeras.batches import Batches, ClipDataset, class_weights
from harkeras.datasets import list_videos
from harkeras.evaluation import evaluate
from harkeras.flow import read_clip
from harkeras.training import train
from harkeras.video import VideoInfo

LABELS = np.array([0] * 12 + [1] * 3 + [2] * 6)
CLIPS = np.arange(21, dtype=np.uint8)[:, None, None, None, None] + np.zeros((1, 2, 3, 3, 3), np.uint8)


def rows_of(batches):
    return [clip.flat[0] for index in range(len(batches)) for clip in batches[index][0]]


class TestClassWeights:
    def test_inverse_frequency(self):
        assert class_weights(LABELS) == {0: 0.25, 1: 1.0, 2: 0.5}
        assert class_weights(np.array([0, 1]), 2) == {0: 1.0, 1: 1.0}

    def test_refusals(self):
        with pytest.raises(ValueError, match="labels must name at least one clip, got none"):
            class_weights(np.array([], int))
        with pytest.raises(ValueError, match=r"labels must name every class, got \[1, 1, 0\] clips"):
            class_weights(np.array([0, 1]), 3)


class TestBatches:
    def make(self, **options):
        labels = np.eye(3, dtype=np.float32)[LABELS] if options.get("mixup") else LABELS
        return Batches(CLIPS, labels, np.arange(1, 21), 6, **options)

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
            assert weights.tolist() == [[0.25, 1.0, 0.5][label] for label in labels]

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


SIZE = {"frames": 3, "height": 12, "width": 16}


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
        assert np.array_equal(clips[0], read_clip(paths[5], (3, 12, 16, 3)))

    def test_testing_takes_the_middle(self, videos):
        paths, labels = videos
        duration = VideoInfo.read(paths[0]).duration_seconds
        clips, _ = ClipDataset(paths, labels, **SIZE, clip_seconds=1.0)[0]
        start = (duration - 1) / 2
        expected = read_clip(paths[0], (3, 12, 16, 3), start_seconds=start, end_seconds=start + 1)
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
        clips = dataset.read_all(2)
        duration = VideoInfo.read(paths[2]).duration_seconds
        for i, place in enumerate((1 / 6, 1 / 2, 5 / 6)):
            start = place * (duration - 0.5)
            expected = read_clip(paths[2], (3, 12, 16, 3), start_seconds=start, end_seconds=start + 0.5)
            assert np.array_equal(clips[i], expected)
        model = small_model()
        evaluation = evaluate(model, dataset, classes=["a", "b"])
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
        history = train(model, dataset, classes=["a", "b"], epochs=2, verbose=False)
        assert len(history.history["val_loss"]) == 2
        assert (model.recipe.clip_seconds, model.recipe.frames) == (1.0, 3)
        model.fit(dataset, epochs=1, verbose=0)

    def test_refusals(self, videos):
        paths, labels = videos
        with pytest.raises(ValueError, match="labels must be one per video, got 1 and 16 videos"):
            ClipDataset(paths, labels[:1])
        with pytest.raises(ValueError, match="clips_per_video must be at least 1, got 0"):
            ClipDataset(paths, labels, clips_per_video=0)
        with pytest.raises(ValueError, match="clip_seconds must be positive, got -1"):
            ClipDataset(paths, labels, clip_seconds=-1)
