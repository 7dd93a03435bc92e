"""Joints changed at random."""

import numpy as np
import pytest

from harkeras.base.configs import plain_config
from harkeras.data.augment import default_augmentation
from harkeras.data.joint_augment import JointAugmentation
from harkeras.people.skeleton import COCO_JOINTS

CLIPS = np.random.default_rng(27).uniform(50, 200, (3, 4, 17, 3)).astype(np.float32)


def distances(clips):
    return np.linalg.norm(clips[..., :, None, :2] - clips[..., None, :, :2], axis=-1)


def test_a_mirror_changes_sides():
    changed = JointAugmentation(1.0, 0.0, 0.0)(CLIPS, 1)
    left, right = COCO_JOINTS.index("left_knee"), COCO_JOINTS.index("right_knee")
    np.testing.assert_allclose(changed[:, :, left, 1:], CLIPS[:, :, right, 1:], rtol=1e-5)
    middle = CLIPS[..., 0].mean(axis=(1, 2))[:, None]
    np.testing.assert_allclose(changed[:, :, left, 0], 2 * middle - CLIPS[:, :, right, 0], rtol=1e-4)
    np.testing.assert_allclose(JointAugmentation(1.0, 0.0, 0.0)(changed, 1), CLIPS, rtol=1e-4)


def test_a_turn_keeps_distances_and_a_stretch_heights():
    turned = JointAugmentation(0.0, 30.0, 0.0)(CLIPS, 1)
    assert np.abs(turned - CLIPS).max() > 5
    np.testing.assert_allclose(distances(turned), distances(CLIPS), atol=1e-3)
    stretched = JointAugmentation(0.0, 0.0, 0.5)(CLIPS, 1)
    np.testing.assert_allclose(stretched[..., 1:], CLIPS[..., 1:], rtol=1e-5)
    assert np.abs(stretched - CLIPS).max() > 5


def test_nothing_changes_with_zeros_and_missing_joints_stay():
    np.testing.assert_allclose(JointAugmentation(0.0, 0.0, 0.0)(CLIPS, 1), CLIPS, rtol=1e-6)
    clips = CLIPS.copy()
    clips[:, :, 3] = 0
    clips[1] = 0
    changed = JointAugmentation(0.0)(clips, 1)
    assert not changed[:, :, 3].any()
    assert not changed[1].any()


@pytest.mark.parametrize("coordinates", [2, 3])
def test_a_seed_decides(coordinates):
    clips, augment = CLIPS[..., :coordinates], default_augmentation("pose")
    assert np.array_equal(augment(clips, 5), augment(clips, 5))
    assert not np.array_equal(augment(clips, 5), augment(clips, 6))
    assert augment(clips, 5).dtype == np.float32
    assert plain_config("augment", augment)  # so that a training can go on with it


def test_what_it_refuses():
    with pytest.raises(ValueError, match="mirror must lie in 0 to 1, got 2"):
        JointAugmentation(2)
    with pytest.raises(ValueError, match="turn_degrees must lie in 0 to 180, got -1"):
        JointAugmentation(turn_degrees=-1)
    with pytest.raises(ValueError, match=r"clips must be joints \(B, T, 17, 2 or 3\), got \(3, 4, 15, 3\)"):
        JointAugmentation()(CLIPS[:, :, :15], 1)
