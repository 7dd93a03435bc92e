from .clips import pose_extraction, read_clip
from .crops import crop_person
from .detection import YoloxNano, detect_people
from .pose import MoveNet, PoseTracker, find_joints
from .skeleton import COCO_JOINTS, COCO_LIMBS, draw_skeleton
from .tracking import PeopleTracker, Person, track_people

__all__ = [
    "COCO_JOINTS",
    "COCO_LIMBS",
    "MoveNet",
    "PeopleTracker",
    "Person",
    "PoseTracker",
    "YoloxNano",
    "crop_person",
    "detect_people",
    "draw_skeleton",
    "find_joints",
    "pose_extraction",
    "read_clip",
    "track_people",
]
