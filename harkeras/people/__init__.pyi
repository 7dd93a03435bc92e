from .clips import pose_extraction, read_clip
from .pose import MoveNet, PoseTracker, find_joints
from .skeleton import COCO_JOINTS, COCO_LIMBS, draw_skeleton

__all__ = [
    "COCO_JOINTS",
    "COCO_LIMBS",
    "MoveNet",
    "PoseTracker",
    "draw_skeleton",
    "find_joints",
    "pose_extraction",
    "read_clip",
]
