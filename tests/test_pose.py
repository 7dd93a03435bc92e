"""The joints of a person in one picture, and from frame to frame."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from harkeras.people import MoveNet, PoseTracker, draw_skeleton, find_joints
from harkeras.people._one_euro import OneEuroFilter
from harkeras.people.pose import _around_body, cut_square
from harkeras.people.skeleton import COCO_JOINTS, COCO_LIMBS
from harkeras.video.images import read_image

# A body of 40 x 90 pixels around its middle, in the order of COCO.
BODY = np.array([
    (0, -40), (3, -43), (-3, -43), (6, -41), (-6, -41), (12, -28), (-12, -28), (18, -10), (-18, -10),
    (20, 5), (-20, 5), (8, 5), (-8, 5), (9, 25), (-9, 25), (10, 45), (-10, 45),
], np.float32)  # fmt: skip


def body_at(x, y):
    return BODY + np.array([x, y], np.float32)


def picture(x, y, height=240, width=320):
    """A gray picture with a white block of 4 x 4 pixels, where the middle of a body is."""
    image = np.full((height, width, 3), 60, np.uint8)
    image[y - 2 : y + 2, x - 2 : x + 2] = 255
    return image


class BlockFinder:
    """Finds the body at the white block; remembers the sizes of the pictures that it was shown."""

    def __init__(self, score=0.9, noise=0.0):
        self.score, self.shapes, self.noise = score, [], noise
        self.rng = np.random.default_rng(27)

    def __call__(self, image):
        self.shapes.append(image.shape[:2])
        rows, columns, _ = np.nonzero(image > 200)
        if not len(rows):
            return np.zeros((17, 3))
        points = body_at(columns.mean() + 0.5, rows.mean() + 0.5) + self.rng.normal(0, self.noise, (17, 2))
        return np.column_stack([points, np.full(17, self.score)])


@pytest.fixture(scope="module")
def models(real_data):
    folder = real_data.parent / "models"
    if not (folder / "movenet_single_pose_lightning_ptq.tflite").is_file():
        pytest.skip("no MoveNet in ../shared/models")
    pytest.importorskip("ai_edge_litert", reason='pip install "harkeras[pose]"')
    return folder


@pytest.fixture(scope="module")
def movenet(models):
    return MoveNet(models / "movenet_single_pose_lightning_ptq.tflite")


@pytest.fixture(scope="module")
def squat(models):
    """The publisher's picture, and its joints: x and y in pixels, score."""
    image = read_image(models / "squat.bmp")
    table = models / "movenet_single_pose_lightning_ptq_reference.csv"
    rows = np.genfromtxt(table, delimiter=",", names=True)
    height, width = image.shape[:2]
    return image, np.column_stack([rows["keypoint_x"] * width, rows["keypoint_y"] * height])


@pytest.mark.real_data
class TestMoveNet:
    def test_the_publishers_picture(self, movenet, squat):
        image, expected = squat
        joints = find_joints(image, estimator=movenet)
        assert joints.shape == (17, 3)
        assert joints.dtype == np.float32
        assert (joints[:, 2] > 0.4).all()
        away = np.abs(joints[:, :2] - expected) / [image.shape[1], image.shape[0]]
        assert away.max() < 0.05

    def test_a_body_is_not_squeezed(self, movenet, squat):
        image, _ = squat
        height, width = image.shape[:2]
        joints = find_joints(image, estimator=movenet)[:, :2]
        wide = np.zeros((height, 2 * width, 3), np.uint8)
        wide[:, width // 2 : width // 2 + width] = image
        found = find_joints(wide, estimator=movenet)[:, :2] - [width // 2, 0]
        assert np.median(np.abs(found - joints)) < 0.02 * height
        boxed = find_joints(wide, (width // 2, 0, width // 2 + width, height), estimator=movenet)
        assert np.median(np.abs(boxed[:, :2] - [width // 2, 0] - joints)) < 0.02 * height

    def test_threads(self, movenet, squat):
        image, _ = squat
        expected = movenet(image)
        with ThreadPoolExecutor(4) as pool:
            for joints in pool.map(movenet, [image] * 12):
                assert np.array_equal(joints, expected)

    def test_found_by_name(self, models, monkeypatch, squat):
        monkeypatch.setenv("HARKERAS_ASSETS", str(models))
        assert MoveNet()(squat[0])[:, 2].mean() > 0.5


def test_without_litert(monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(ImportError, match=r'joints are found by LiteRT: pip install "harkeras\[pose\]"'):
        MoveNet()


class TestSquares:
    def test_inside(self):
        image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
        assert np.array_equal(cut_square(image, (5.2, 3.9, 8.1)), image[4:12, 5:13])

    def test_beyond_the_edges_it_is_black(self):
        image = np.full((20, 30, 3), 200, np.uint8)
        cut = cut_square(image, (-5.0, -10.0, 40.0))
        assert cut.shape == (40, 40, 3)
        assert (cut[10:30, 5:35] == 200).all()
        assert cut.sum() == image.sum()
        assert not cut_square(image, (100.0, 100.0, 5.0)).any()

    def test_resized(self):
        cut = cut_square(np.full((20, 30, 3), 200, np.uint8), (0.0, -5.0, 30.0), 192)
        assert cut.shape == (192, 192, 3)
        assert (cut[32:160] == 200).all()
        assert not cut[:32].any()
        assert not cut[160:].any()

    def test_around_a_body(self):
        joints = np.column_stack([body_at(160, 120), np.ones(17)])
        left, top, side = _around_body(joints, 240, 320)
        assert left < 140
        assert top < 77
        assert left + side > 180
        assert top + side > 165
        assert side < 240

    def test_none_around_half_a_body(self):
        joints = np.column_stack([body_at(160, 120), np.ones(17)])
        joints[[11, 12], 2] = 0.1
        assert _around_body(joints, 240, 320) is None
        assert _around_body(joints[:15], 240, 320) is None


class TestFindJoints:
    def test_box(self):
        finder = BlockFinder()
        joints = find_joints(picture(100, 120), (75, 70, 125, 170), estimator=finder)
        assert finder.shapes == [(130, 130)]
        np.testing.assert_allclose(joints[:, :2], body_at(100, 120), atol=1e-4)

    @pytest.mark.parametrize("image", [np.zeros((9, 9, 3)), np.zeros((9, 9), np.uint8)])
    def test_no_picture(self, image):
        with pytest.raises(ValueError, match=r"image must be uint8 RGB \(H, W, 3\), got"):
            find_joints(image, estimator=BlockFinder())

    @pytest.mark.parametrize("joints", [np.zeros((17, 2)), np.full((17, 3), np.nan), np.zeros(51)])
    def test_no_joints(self, joints):
        with pytest.raises(ValueError, match=r"estimator must give joints \(K, 3\) of finite numbers"):
            find_joints(picture(50, 50), estimator=lambda image: joints)


class TestPoseTracker:
    def test_looks_where_the_body_was(self):
        finder = BlockFinder()
        tracker = PoseTracker(estimator=finder)
        for i in range(20):
            joints = tracker.update(picture(100 + 4 * i, 110), i / 25)
        assert finder.shapes[0] == (240, 320)
        assert all(shape[0] == shape[1] < 240 for shape in finder.shapes[1:])
        assert np.abs(joints[:, :2] - BODY - [176, 110]).max() < 4  # less than a step behind

    def test_looks_everywhere_when_it_is_lost(self):
        finder = BlockFinder()
        tracker = PoseTracker(estimator=finder)
        tracker.update(picture(60, 110), 0.0)
        assert not tracker.update(picture(280, 110), 0.04).any()  # outside of the square
        found = tracker.update(picture(280, 110), 0.08)
        assert finder.shapes[0] == finder.shapes[2] == (240, 320)
        np.testing.assert_allclose(found[:, :2], body_at(280, 110), atol=1e-3)

    @pytest.mark.parametrize("seconds", [2.0, -1.0, 0.0])
    def test_begins_anew_after_a_pause_or_a_jump_of_the_clock(self, seconds):
        finder = BlockFinder()
        tracker = PoseTracker(estimator=finder)
        tracker.update(picture(60, 110), 0.0)
        found = tracker.update(picture(280, 110), seconds)
        np.testing.assert_allclose(found[:, :2], body_at(280, 110), atol=1e-3)

    def test_boxes_lead(self):
        finder = BlockFinder()
        tracker = PoseTracker(estimator=finder)
        for i, x in enumerate((60, 250)):
            joints = tracker.update(picture(x, 110), i / 25, (x - 25, 60, x + 25, 160))
        assert finder.shapes == [(130, 130)] * 2
        assert joints[:, 2].all()

    def test_missing_joints_are_zero(self):
        joints = PoseTracker(estimator=BlockFinder(score=0.15)).update(picture(60, 110), 0.0)
        assert not joints.any()
        tracker = PoseTracker(estimator=BlockFinder(score=0.15), threshold=0.1)
        assert tracker.update(picture(60, 110), 0.0).any()

    def test_rest_is_smooth(self):
        def tremble(smooth):
            tracker = PoseTracker(estimator=BlockFinder(noise=1.0), smooth=smooth)
            track = [tracker.update(picture(100, 110), i / 25)[:, :2] for i in range(60)]
            return np.std(np.diff(track[10:], axis=0))

        assert tremble(smooth=True) < 0.6 * tremble(smooth=False)

    @pytest.mark.parametrize("threshold", [-0.1, 1.5, np.nan])
    def test_threshold(self, threshold):
        with pytest.raises(ValueError, match="threshold must be a number in 0 to 1, got"):
            PoseTracker(threshold=threshold)


class TestOneEuroFilter:
    def test_what_rests_stays(self):
        smooth = OneEuroFilter(1.0, 0.0, 1.0)
        for _ in range(5):
            assert np.array_equal(smooth.update(np.array([[3.0, 4.0]]), 0.04), [[3.0, 4.0]])

    def test_a_fast_move_is_followed(self):
        def lag(beta):
            smooth = OneEuroFilter(1.0, beta, 1.0)
            for i in range(25):
                value = smooth.update(np.array([[float(i), 0.0]]), 0.04)
            return 24 - value[0, 0]

        assert lag(1.0) < 0.3 < 2 < lag(0.0)

    def test_what_was_missing_begins_anew(self):
        smooth = OneEuroFilter(1.0, 0.0, 1.0)
        smooth.update(np.array([[0.0, 0.0], [0.0, 0.0]]), 0.04)
        gone = smooth.update(np.array([[np.nan, np.nan], [1.0, 1.0]]), 0.04)
        assert np.isnan(gone[0]).all()
        assert (gone[1] > 0).all()
        assert np.array_equal(smooth.update(np.array([[9.0, 9.0], [1.0, 1.0]]), 0.04)[0], [9.0, 9.0])


class TestSkeleton:
    def test_limbs_and_sides(self):
        assert len(COCO_JOINTS) == 17
        assert {joint for limb in COCO_LIMBS for joint in limb} == set(range(17))
        image = np.zeros((240, 320, 3), np.uint8)
        joints = np.column_stack([2 * BODY + np.array([160, 120], np.float32), np.ones(17)])
        draw_skeleton(image, joints)
        left, right = (image[tuple((2 * BODY[row] + [160, 120])[::-1].astype(int))] for row in (13, 14))
        assert left[2] > 150 > left[0]  # blue
        assert right[0] > 150 > right[2]  # orange
        x, y = (2 * (BODY[13] + BODY[15]) / 2 + [160, 120]).astype(int)
        assert image[y, x].any()  # the shin

    def test_missing_joints_are_not_drawn(self):
        image = np.zeros((240, 320, 3), np.uint8)
        draw_skeleton(image, np.zeros((17, 3)))
        assert not image.any()

    def test_other_joints_are_points(self):
        image = np.zeros((100, 100, 3), np.uint8)
        draw_skeleton(image, np.array([(20.0, 30.0, 1.0), (80.0, 70.0, 1.0)]), (0, 255, 0))
        assert image[30, 20].tolist() == image[70, 80].tolist() == [0, 255, 0]
        assert not image[50, 50].any()
