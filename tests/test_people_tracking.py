"""People are found, followed and cut out."""

import builtins
from pathlib import Path

import numpy as np
import pytest

from harkeras.assets.store import find_local_asset
from harkeras.people import PeopleTracker, YoloxNano, crop_person, detect_people, track_people
from harkeras.people.crops import BoxSmoother
from harkeras.video.images import read_image
from harkeras.video.writing import write_frames

pytest.importorskip("trackers", reason='needs pip install "harkeras[people]"')

MODELS = Path(__file__).resolve().parents[2] / "shared" / "models"
HEIGHT, WIDTH, FPS = 120, 240, 25
COLORS = {"red": (255, 0, 0), "green": (0, 255, 0)}


def draw(places):
    """A gray picture with a rectangle of each color, 20 x 50 pixels, its center at x, y."""
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    for color, (x, y) in places.items():
        image[max(y - 25, 0) : y + 25, max(x - 10, 0) : x + 10] = COLORS[color]
    return image


def find_by_color(image):
    """A detector that is never wrong, and as sure as there is to see of somebody."""
    boxes = []
    for color in COLORS.values():
        rows, columns = np.nonzero((image == color).all(axis=-1))
        if len(rows):
            score = 0.9 * len(rows) / 1000
            boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, score])
    return np.array(boxes, np.float32)


def walk(count=60):
    """Two people who cross, the red one before the green one."""
    for i in range(count):
        yield i / FPS, draw({"green": (220 - 3 * i, 58), "red": (20 + 3 * i, 62)})


def center(person):
    left, top, right, bottom = person.box_px
    return (left + right) / 2, (top + bottom) / 2


class TestDetectPeople:
    def test_boxes(self):
        boxes = detect_people(draw({"red": (50, 60)}), detector=find_by_color)
        np.testing.assert_allclose(boxes, [[40, 35, 60, 85, 0.9]])
        assert boxes.dtype == np.float32

    def test_the_surest_is_first_and_the_unsure_are_left_out(self):
        def three(image):
            return [[0, 0, 5, 5, 0.5], [1, 0, 5, 5, 0.1], [2, 0, 5, 5, 0.8]]

        assert detect_people(draw({}), detector=three)[:, 0].tolist() == [2, 0]
        assert len(detect_people(draw({}), detector=three, threshold=0)) == 3

    def test_nobody(self):
        assert detect_people(draw({}), detector=lambda image: []).shape == (0, 5)

    @pytest.mark.parametrize(
        ("arguments", "match"),
        [
            ({"threshold": 1.5}, "threshold must lie in 0 to 1, got 1.5"),
            (
                {"detector": lambda image: np.zeros((2, 4))},
                r"detector must give boxes \(N, 5\).*got \(2, 4\)",
            ),
            ({"detector": lambda image: np.full((1, 5), np.nan)}, "of finite numbers"),
        ],
    )
    def test_bad_arguments(self, arguments, match):
        with pytest.raises(ValueError, match=match):
            detect_people(draw({}), **{"detector": find_by_color} | arguments)

    def test_bad_image(self):
        with pytest.raises(ValueError, match=r"image must be uint8 RGB \(H, W, 3\), got float64"):
            detect_people(draw({}) / 255, detector=find_by_color)


@pytest.mark.real_data
class TestYolox:
    @pytest.fixture
    def models(self):
        if not (MODELS / "yolox_nano.onnx").exists():
            pytest.skip("no YOLOX-nano in ../shared/models")
        return MODELS

    def test_a_person(self, models):
        detector = YoloxNano(models / "yolox_nano.onnx")
        image = read_image(models / "squat.bmp")
        ((left, top, right, bottom, score),) = detect_people(image, detector=detector)
        assert score == pytest.approx(0.93, abs=0.02)
        np.testing.assert_allclose([left, top, right, bottom], [103, 135, 366, 588], atol=5)

    def test_size_does_not_matter(self, models):
        detector = YoloxNano(models / "yolox_nano.onnx")
        image = read_image(models / "squat.bmp")
        large = np.kron(image, np.ones((2, 2, 1), np.uint8))
        box, twice = detect_people(image, detector=detector)[0], detect_people(large, detector=detector)[0]
        np.testing.assert_allclose(2 * box[:4], twice[:4], atol=8)

    def test_nobody_in_gray(self, models):
        detector = YoloxNano(models / "yolox_nano.onnx")
        assert len(detect_people(np.full((200, 300, 3), 90, np.uint8), detector=detector)) == 0

    def test_it_is_a_known_asset(self, models, monkeypatch):
        monkeypatch.setenv("HARKERAS_ASSETS", str(models))
        assert find_local_asset("yolox_nano").path == models / "yolox_nano.onnx"


class TestPeopleTracker:
    def test_numbers_stay_with_people_who_cross(self):
        tracker, red, green = PeopleTracker(detector=find_by_color), set(), set()
        for seconds, image in walk():
            for person in tracker.update(image, seconds):
                x = center(person)[0]
                at = round(seconds * FPS)
                if abs(6 * at - 200) > 60:  # not while one is before the other
                    (red if abs(x - 20 - 3 * at) < abs(x - 220 + 3 * at) else green).add(person.number)
        assert len(red) == len(green) == 1
        assert red != green

    @pytest.mark.parametrize("every", [1, 3, 5])
    def test_boxes_between_two_detections_go_on(self, every):
        calls, tracker = [], None

        def detector(image):
            calls.append(1)
            return find_by_color(image)

        tracker = PeopleTracker(detector=detector, every=every)
        for i in range(31):
            people = tracker.update(draw({"red": (20 + 3 * i, 60)}), i / FPS)
            if i > 2 * every:
                assert center(people[0])[0] == pytest.approx(20 + 3 * i, abs=4)
        assert len(calls) == -(-31 // every)

    def test_who_is_not_found_is_waited_for(self):
        tracker = PeopleTracker(detector=find_by_color, every=1)
        for i in range(60):
            image = draw({"red": (60, 60)} if i < 20 or i > 40 else {})
            people = tracker.update(image, i / FPS)
        assert [person.number for person in people] == [1]

    @pytest.mark.parametrize("every", [1, 3])
    def test_who_is_found_again_where_nobody_was_expected_keeps_the_number(self, every):
        tracker, people = PeopleTracker(detector=find_by_color, every=every), []
        for i in range(90):  # red walks, falls, and is found again after a second; green stands behind
            places = {"green": (215, 60)} | ({"red": (20 + 4 * min(i, 22), 60)} if not 22 < i < 48 else {})
            people = tracker.update(draw(places), i / FPS)
            if i >= 2 * every:
                assert [person.number for person in people] == [1, 2]
        assert center(people[0])[0] == pytest.approx(108, abs=1)

    def test_a_box_that_is_not_sure_belongs_to_who_was_there(self):
        """Red lies down; a curtain that looks a little like somebody, where red was going, is nobody."""
        boxes = [[[60 + 4 * i, 20, 80 + 4 * i, 80, 0.9]] for i in range(10)]
        boxes += [[[160, 20, 180, 80, 0.15]]] * 5 + [[[70, 65, 120, 80, 0.15]]] * 5
        found = iter(boxes)
        tracker = PeopleTracker(detector=lambda image: next(found), every=1)
        people = [tracker.update(draw({}), i / 5) for i in range(20)]
        assert [person.number for (person,) in people[1:]] == [1] * 19
        assert people[14][0].box_px == pytest.approx((96, 20, 116, 80), abs=4)
        assert people[19][0].box_px == pytest.approx((70, 65, 120, 80), abs=4)

    def test_a_part_of_somebody_is_not_who_is_hidden_behind(self):
        """While the green one is behind the red one, the right half of the red one is found once more."""

        def find(image):
            red, green = find_by_color(image)
            hidden = abs(red[0] - green[0]) < 20
            return [red, [red[0] + 8, *red[1:4], 0.3]] if hidden else [red, green]

        tracker = PeopleTracker(detector=find, every=1)
        for i in range(180):
            image = draw({"green": (220 - i, 58), "red": (20 + i, 62)})
            right = {}
            for person in tracker.update(image, i / FPS):
                x = center(person)[0]
                right["red" if abs(x - 20 - i) < abs(x - 220 + i) else "green"] = person.number
            if i == 50:
                before = right
        assert right == before
        assert sorted(right.values()) == [1, 2]

    @pytest.mark.parametrize(
        ("lost_at", "top", "numbers"),
        [
            (100, 35, [1, 2]),
            (100, 70, [2, 3]),  # of half the height: somebody else
            (8, 35, [2, 3]),  # lost at the border: who is there may have come in
            (150, 35, [2, 3]),  # too far away
        ],
    )
    def test_who_comes_out_elsewhere_keeps_the_number(self, lost_at, top, numbers):
        """Red turns back while nobody sees it, and is found again 45 pixels before it was lost."""
        boxes = [[lost_at - 10, 35, lost_at + 10, 85, 0.9]] * 20 + [None] * 20 + [[45, top, 65, 85, 0.9]] * 10
        found = iter(boxes)

        def find(image):
            box = next(found)
            return [[205, 35, 225, 85, 0.8]] + ([] if box is None else [box])

        tracker = PeopleTracker(detector=find, every=1)
        for i in range(len(boxes)):
            people = tracker.update(draw({}), i / FPS)
        assert sorted(person.number for person in people if person.box_px[0] > 40)[-2:] == numbers

    def test_who_comes_elsewhere_is_somebody_else(self):
        tracker = PeopleTracker(detector=find_by_color, every=1)
        for i in range(40):
            people = tracker.update(draw({"red": (40, 60)} if i < 20 else {"green": (200, 60)}), i / FPS)
        assert [person.number for person in people] == [1, 2]

    def test_who_is_hardly_seen_keeps_the_number_and_begins_nobody(self):
        tracker = PeopleTracker(detector=find_by_color, every=1)
        for i in range(20):
            people = tracker.update(draw({"red": (60, 25)}), i / FPS)
        for i in range(20, 120):  # far longer than anybody is waited for
            people = tracker.update(draw({"red": (60, -10), "green": (150, -10)}), i / FPS)  # 15 of 50 rows
        assert [person.number for person in people] == [1]

    def test_who_is_gone_is_forgotten(self):
        tracker = PeopleTracker(detector=find_by_color)
        for i in range(160):
            people = tracker.update(draw({"red": (60, 60)} if i < 20 else {}), i / FPS)
        assert people == []

    @pytest.mark.parametrize("jump", [10, -5])
    def test_after_a_gap_or_a_jump_of_the_clock_everybody_is_new(self, jump):
        tracker = PeopleTracker(detector=find_by_color)
        numbers = []
        for start in (0, 1 + jump, 2 + 2 * jump):
            for i in range(10):
                people = tracker.update(draw({"red": (60, 60)}), start + i / FPS)
            numbers += [person.number for person in people]
        assert numbers == [1, 2, 3]

    def test_video(self, tmp_path):
        video = tmp_path / "walk.mp4"
        write_frames(video, walk(20), FPS, crf=1)

        def bright(image):
            red = (image[..., 0] > 150) & (image[..., 1] < 120)
            rows, columns = np.nonzero(red)
            return [[columns.min(), rows.min(), columns.max(), rows.max(), 0.9]]

        frames = list(track_people(video, tracker=PeopleTracker(detector=bright)))
        assert len(frames) == 20
        assert frames[-1][0].image.shape == (HEIGHT, WIDTH, 3)
        assert center(frames[-1][1][0])[0] == pytest.approx(77, abs=5)

    @pytest.mark.parametrize(
        ("arguments", "match"),
        [
            ({"every": 0}, "every must be at least 1, got 0"),
            ({"begin_score": 2}, "begin_score must lie in 0 to 1, got 2"),
            ({"keep_score": -1}, "keep_score must lie in 0 to 1, got -1"),
        ],
    )
    def test_bad_arguments(self, arguments, match):
        with pytest.raises(ValueError, match=match):
            PeopleTracker(**arguments)

    def test_without_the_package(self, monkeypatch):
        real = builtins.__import__

        def without(name, *rest, **named):
            if name == "trackers":
                raise ImportError(name)
            return real(name, *rest, **named)

        monkeypatch.setattr(builtins, "__import__", without)
        with pytest.raises(ImportError, match=r"pip install \"harkeras\[people\]\""):
            PeopleTracker()


class TestCropPerson:
    def test_what_is_around_the_box(self):
        crop = crop_person(draw({"red": (100, 60)}), (90, 35, 110, 85), 70, 70, margin=0.2)
        assert crop.shape == (70, 70, 3)
        red = (crop == COLORS["red"]).all(axis=-1)
        assert red[10:60, 25:45].all()
        assert red.sum() == 1000

    def test_the_body_is_not_squeezed(self):
        crop = crop_person(draw({"red": (100, 60)}), (90, 35, 110, 85), 35, 70, margin=0.2)
        red = (crop[..., 0] > 170) & (crop[..., 1] < 40)
        assert np.ptp(np.flatnonzero(red.any(axis=1))) + 1 == pytest.approx(25, abs=1)
        assert np.ptp(np.flatnonzero(red.any(axis=0))) + 1 == pytest.approx(10, abs=1)

    def test_beyond_the_picture_its_border_is_repeated(self):
        image = draw({"red": (5, 60)})
        crop = crop_person(image, (-200, 35, -180, 85), 40, 40)
        assert (crop == crop[:, :1]).all()
        assert (crop[20] == COLORS["red"]).all()

    def test_wherever_the_box_lies(self):
        image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
        for left in (-60, -31, -7, 0, 12, 33, 40, 80):
            for top in (-60, -31, -7, 0, 12, 25, 30, 80):
                rows, columns = np.clip(top + np.arange(30), 0, 29), np.clip(left + np.arange(30), 0, 39)
                crop = crop_person(image, (left, top, left + 30, top + 30), 30, 30, margin=0)
                np.testing.assert_array_equal(crop, image[rows[:, None], columns])

    @pytest.mark.parametrize(
        ("box", "margin", "match"),
        [
            ((0, 0, 5), 0.2, "box_px must be left, top, right and bottom"),
            ((0, 0, 5, np.nan), 0.2, "box_px must be left, top, right and bottom"),
            ((0, 0, 5, 5), -0.1, "margin must be at least 0, got -0.1"),
        ],
    )
    def test_bad_arguments(self, box, margin, match):
        with pytest.raises(ValueError, match=match):
            crop_person(draw({}), box, 40, 40, margin=margin)


class TestBoxSmoother:
    def test_trembling_is_held_still(self):
        smoother, rng = BoxSmoother(), np.random.default_rng(0)
        boxes = np.array([100, 50, 130, 150]) + rng.normal(0, 4, (100, 4))
        squares = np.array([smoother.update(tuple(box), i / FPS) for i, box in enumerate(boxes)])
        assert squares[20:, 0].std() < 0.5 * (boxes[20:, 0] + boxes[20:, 2]).std() / 2
        assert np.ptp(squares[:, 2] - squares[:, 0] - squares[:, 3] + squares[:, 1]) < 1e-6  # squares
        np.testing.assert_allclose(squares[20:].mean(axis=0), [65, 50, 165, 150], atol=2)

    def test_it_follows(self):
        smoother = BoxSmoother()
        for i in range(100):
            square = smoother.update((3 * i, 0, 3 * i + 20, 50), i / FPS)
        assert abs((square[0] + square[2]) / 2 - (3 * 99 + 10)) < 0.15 * 50  # 3 pixels a frame: who runs

    def test_a_second_look_at_one_moment_changes_nothing(self):
        smoother = BoxSmoother()
        square = smoother.update((0, 0, 20, 50), 1.0)
        assert smoother.update((30, 0, 50, 50), 1.0) == square == (-15, 0, 35, 50)
