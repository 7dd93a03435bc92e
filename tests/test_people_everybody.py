"""One square around all people of a clip: cut out, read, and the same in a stream as in a file."""

import threading
from dataclasses import replace
from datetime import UTC, datetime

import keras
import numpy as np
import pytest
from keras import ops

import harkeras.people.tracking
from harkeras.inference import ActionStream, PeopleStream, predict_on_video, predict_single_action
from harkeras.inference._lookers import PictureLooker
from harkeras.people import detect_people, main_person, read_clip
from harkeras.people.clips import create_view
from harkeras.people.everybody import Scene, crop_everybody
from harkeras.recipe import ClipFormat, Recipe
from harkeras.video.live import LiveFrame
from harkeras.video.reading import frames_extraction, iter_decoded
from harkeras.video.writing import write_frames

pytest.importorskip("trackers", reason='needs pip install "harkeras[people]"')

HEIGHT, WIDTH, FPS, COUNT = 80, 160, 25, 60
RECIPE = Recipe(("dark", "bright"), 6, 32, 32, 1.0, subject="people")


def places(i):
    """The boxes of two people, who walk apart."""
    return (60 - i, 20, 75 - i, 60), (80 + i, 25, 95 + i, 65)


def find_both(image):
    """A detector of what is bright in either half of the picture."""
    boxes = []
    for first in (0, WIDTH // 2):
        rows, columns = np.nonzero(image[:, first : first + WIDTH // 2].max(axis=-1) > 125)
        if len(rows):
            left, right = columns.min() + first, columns.max() + first + 1
            boxes.append([left, rows.min(), right, rows.max() + 1, 0.9])
    return np.array(boxes).reshape(-1, 5)


@pytest.fixture(autouse=True)
def finder(monkeypatch):
    """`find_both` in place of YOLOX-nano."""
    main_person._track.cache_clear()
    monkeypatch.setattr(
        harkeras.people.tracking,
        "detect_people",
        lambda image, **options: detect_people(image, **options | {"detector": find_both}),
    )


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    def frames():
        for i in range(COUNT):
            image = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
            for left, top, right, bottom in places(i):
                image[top:bottom, left:right] = 160 + i
            yield i / FPS, image

    path = tmp_path_factory.mktemp("apart") / "apart.mp4"
    write_frames(path, frames(), FPS, crf=1)
    return path


@pytest.fixture(scope="module")
def model():
    """A model that sees how much of its clip is bright."""
    clips = keras.Input((6, 32, 32, 3))
    bright = ops.mean(clips, axis=(1, 2, 3, 4))[:, None] / 255
    network = keras.Model(clips, ops.concatenate([1 - bright, bright], axis=-1))
    network.recipe = RECIPE
    return network


class TestCropEverybody:
    def test_one_square_at_rest(self):
        image = np.arange(40 * 60 * 3, dtype=np.uint32).reshape(40, 60, 3).astype(np.uint8)
        scenes = [Scene(image, [(10, 5, 20, 15)]), Scene(image, []), Scene(image, [(20, 10, 30, 25)])]
        crops = crop_everybody(scenes, 20, 20)
        assert (crops.shape, crops.dtype) == ((3, 20, 20, 3), np.uint8)
        for crop in crops:  # 10 to 30, and 5 to 25
            assert np.array_equal(crop, image[5:25, 10:30])

    def test_boxes_end_where_the_picture_ends(self):
        image = np.zeros((40, 60, 3), np.uint8)
        image[:, :20] = 200
        (crop,) = crop_everybody([Scene(image, [(-50, 0, 20, 20)])], 20, 20)
        assert (crop == 200).all()

    def test_where_nobody_is_all_is_shown(self):
        image = np.full((40, 80, 3), 90, np.uint8)
        image[:, 40:] = 200
        (crop,) = crop_everybody([Scene(image, [])], 20, 20)
        assert crop[10, 2].tolist() == [90] * 3
        assert crop[10, 17].tolist() == [200] * 3


class TestReadClip:
    def test_all_people_are_in_it(self, video):
        clip = read_clip(video, ClipFormat(6, 64, 64, subject="people"))
        rows = ((np.arange(6) + 0.5) * COUNT / 6).astype(int)
        scenes = [
            Scene(image, places(row))
            for image, row in zip(frames_extraction(video, 6, HEIGHT, WIDTH), rows, strict=True)
        ]
        close = np.abs(clip.astype(int) - crop_everybody(scenes, 64, 64).astype(int)).mean()
        assert close < 6  # boxes go on between detections as they were going

    @pytest.mark.parametrize(("size", "whole", "axis"), [((32, 96), (32, 64), 2), ((80, 32), (48, 32), 1)])
    def test_beside_the_whole_frame(self, video, size, whole, axis):
        clip = read_clip(video, ClipFormat(6, *size, subject="frame+people"))
        views = [ClipFormat(6, *whole), ClipFormat(6, 32, 32, subject="people")]
        expected = np.concatenate([read_clip(video, view) for view in views], axis)
        assert np.abs(clip.astype(int) - expected).max() <= 4  # whole frames alone are shrunk before RGB

    def test_people_are_found_once(self, video, monkeypatch):
        found = []
        monkeypatch.setattr(
            harkeras.people.tracking, "detect_people", lambda image, **_: found.append(1) or find_both(image)
        )
        for frames, size in ((4, 32), (6, 64)):
            read_clip(video, ClipFormat(frames, size, size, subject="people"))
            read_clip(video, ClipFormat(frames, size, size, subject="person"))
        assert len(found) == COUNT // 3


class TestPrediction:
    def test_windows_are_clips(self, model, video):
        prediction = predict_on_video(video, model, stride_seconds=0.5, progress=False)
        assert prediction.windows[0].tolist() == [0, 1]
        clip = read_clip(video, RECIPE.clip_format, end_seconds=1.0)
        np.testing.assert_allclose(
            prediction.probabilities[0], model.predict(clip[None], verbose=0)[0], atol=1e-5
        )
        assert np.ptp(prediction.probabilities[:, 1]) > 0.03  # people walk apart, and fill less of it
        whole = predict_single_action(video, model)
        assert sum(whole.probabilities.values()) == pytest.approx(1)

    def test_windows_of_the_frame_and_the_people(self, model, video):
        clips = keras.Input((6, 32, 96, 3))
        network = keras.Model(clips, model(clips[:, :, :, 64:]))
        network.recipe = replace(RECIPE, width=96, subject="frame+people")
        both, people = (
            predict_on_video(video, each, stride_seconds=0.5, progress=False) for each in (network, model)
        )
        np.testing.assert_allclose(both.probabilities, people.probabilities, atol=1e-5)

    def test_a_stream_says_what_is_said_of_the_file(self, model, video):
        options = {"stride_seconds": 0.2}
        expected = predict_on_video(video, model, **options, causal=True, progress=False)
        looker, last = PictureLooker(model, RECIPE, 0.2, {}), None
        moments = []
        for frame in iter_decoded(video):
            last = _live(frame)
            looker.sample(last)
            moments += looker.look(last, at_all=True)
        moments += looker.finish(last, COUNT / FPS, at_all=True)
        assert [moment.seconds for moment in moments] == pytest.approx(expected.windows[:, 1])
        confidences = [moment.confidence for moment in moments]
        assert confidences == pytest.approx(expected.smoothed.max(axis=1), abs=1e-5)

    def test_one_by_one_it_looks_at_each(self, model, video):
        stream = PeopleStream(model, RECIPE)
        windows = [each for frame in iter_decoded(video) for each in stream.push(frame.rgb(), frame.seconds)]
        assert {number for number, _ in windows} == {1, 2}

    def test_bad_frames(self, model):
        view = create_view(RECIPE.clip_format)
        assert view.frames_needed(np.array([False, True, False, True])).tolist() == [False, True, True, True]
        with pytest.raises(
            ValueError, match="frames must be B objects Scene for subject 'people', got uint8"
        ):
            ActionStream(model, RECIPE).push(np.zeros((1, 32, 32, 3), np.uint8), [0.0])


def _live(frame):
    return LiveFrame(frame.seconds, datetime(2026, 1, 1, tzinfo=UTC), frame, threading.Lock())
