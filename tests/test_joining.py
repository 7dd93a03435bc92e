import shutil
from itertools import pairwise

import keras
import numpy as np
import pytest

from harkeras.data.batches import Batches, ClipDataset
from harkeras.data.datasets import Dataset
from harkeras.data.folders import list_videos
from harkeras.data.joining import draw_neighbors, join
from harkeras.data.presentation import Presentation
from harkeras.training.loop import train

# The pixels of a clip tell its row and the frame: 10 * row + frame.
LABELS = np.array([0, 0, 1, 1, 2, 2] * 4)
GROUPS = np.arange(24) // 6
FRAMES = 7
CLIPS = (10 * np.arange(24)[:, None] + np.arange(FRAMES)).astype(np.uint8)[..., None, None, None]


def draw_many(frames, count=200):
    clip, other = np.arange(frames), 100 + np.arange(frames)
    rng = np.random.default_rng(0)
    return [join(clip, other, rng).tolist() for _ in range(count)]


class TestJoin:
    @pytest.mark.parametrize("frames", [3, 4, 7, 20])
    def test_all_that_may_be_and_nothing_else(self, frames):
        """The end of the other clip and the beginning of this one, or this one's end and its beginning."""
        expected = set()
        for count in range(1, (frames - 1) // 2 + 1):
            own, other = np.arange(frames), 100 + np.arange(frames)
            expected.add((*other[frames - count :], *own[: frames - count]))
            expected.add((*own[count:], *other[:count]))
        assert set(map(tuple, draw_many(frames))) == expected

    def test_the_middle_is_the_clip_itself(self):
        for joined in draw_many(20):
            assert joined[9] < 100
            assert joined[10] < 100
            assert sum(one != other - 1 for one, other in pairwise(joined)) == 1  # one border


class TestNeighbors:
    def test_another_class_of_the_same_source(self):
        rows = np.arange(24)
        drawn = draw_neighbors(rows, rows, LABELS, GROUPS, np.random.default_rng(0))
        assert (LABELS[drawn] != LABELS).all()
        assert (GROUPS[drawn] == GROUPS).all()
        assert len(set(drawn.tolist())) > 8

    def test_any_source_where_its_own_has_none(self):
        among = np.flatnonzero((GROUPS != 0) | (LABELS == 0))
        drawn = draw_neighbors(np.zeros(50, int), among, LABELS, GROUPS, np.random.default_rng(0))
        assert set(GROUPS[drawn].tolist()) == {1, 2, 3}
        assert set(LABELS[drawn].tolist()) == {1, 2}

    def test_one_class_alone(self):
        with pytest.raises(ValueError, match="joins must be 0 for clips that are all of one class"):
            draw_neighbors(np.arange(2), np.arange(2), LABELS, GROUPS, np.random.default_rng(0))


class TestBatches:
    def make(self, rows=None, **options):
        rows, presentation = np.arange(24) if rows is None else rows, Presentation(**options)
        return Batches(CLIPS, LABELS, rows, 6, seed=1, presentation=presentation, groups=GROUPS)

    def all_of(self, batches):
        parts = [batches[index] for index in range(len(batches))]
        clips, labels = (np.concatenate(each) for each in zip(*parts, strict=True))
        return clips[..., 0, 0, 0], labels

    @pytest.mark.parametrize(("joins", "least", "most"), [(0, 0, 0), (0.5, 4, 20), (1, 24, 24)])
    def test_share(self, joins, least, most):
        clips, labels = self.all_of(self.make(joins=joins))
        whole = (np.diff(clips.astype(int), axis=1) == 1).all(axis=1)
        assert least <= (~whole).sum() <= most
        plain, same = self.all_of(self.make())
        assert np.array_equal(labels, same)  # order and labels stay
        assert np.array_equal(clips[:, FRAMES // 2] // 10, plain[:, FRAMES // 2] // 10)  # and so the middles
        assert np.array_equal(CLIPS[3, :, 0, 0, 0], 30 + np.arange(FRAMES))  # the data set is as it was

    def test_neighbors_are_trained_on(self):
        """And not validated on."""
        rows = np.flatnonzero(GROUPS < 2)
        clips, labels = self.all_of(self.make(rows, joins=1))
        shown = clips // 10
        assert set(shown.ravel().tolist()) <= set(rows.tolist())
        for parts, label in zip(shown, labels, strict=True):
            assert (LABELS[parts] != label).any()
            assert len(set(GROUPS[parts])) == 1

    def test_same_seed_same_clips(self):
        one, two = self.make(joins=0.5), self.make(joins=0.5)
        assert np.array_equal(self.all_of(one)[0], self.all_of(two)[0])
        one.shuffle(1)
        assert not np.array_equal(self.all_of(one)[0], self.all_of(two)[0])


def make_model(shape):
    keras.utils.set_random_seed(27)
    clip = keras.Input(shape)
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(clip))
    return keras.Model(clip, keras.layers.Dense(3, activation="softmax")(x))


class TestTraining:
    def test_learns_and_goes_on_where_it_was(self, tmp_path):
        dataset = Dataset(CLIPS, LABELS, classes=("a", "b", "c"), groups=GROUPS, streams="gray")
        settings = {"batch_size": 6, "seed": 1, "verbose": False}
        joined = dataset.for_training(joins=0.5, mixup=0.2, sampling="balanced")
        expected = train(make_model(CLIPS.shape[1:]), joined, epochs=4, **settings).history
        train(make_model(CLIPS.shape[1:]), joined, epochs=2, resume=tmp_path / "state", **settings)
        shutil.copy(tmp_path / "state", tmp_path / "other")
        model = make_model(CLIPS.shape[1:])
        assert train(model, joined, epochs=4, resume=tmp_path / "state", **settings).history == expected
        other = dataset.for_training(joins=0.4, mixup=0.2, sampling="balanced")
        with pytest.raises(ValueError, match="of one with another joins"):
            train(model, other, epochs=4, resume=tmp_path / "other", **settings)

    def test_of_video_files(self, sample_dir):
        paths, labels = list_videos(sample_dir)
        size = {"classes": ("a", "b"), "frames": 4, "height": 12, "width": 16, "batch_size": 4}
        clips = ClipDataset(paths, labels, **size, seed=1)
        plain, joined = clips[0][0], clips.for_training(joins=1)[0][0]
        same = (plain == joined).all(axis=(2, 3, 4))
        assert not same.all(axis=1).any()
        assert ((plain[:, 1:] == joined[:, :-1]).all(axis=(2, 3, 4)).sum(axis=1) >= 2).any()
