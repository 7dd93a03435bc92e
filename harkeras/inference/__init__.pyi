from ._timeline import Segment, VideoPrediction
from .many_videos import VideoResult, predict_on_videos
from .prediction import ActionPrediction, predict_image, predict_on_video, predict_single_action
from .streaming import ActionStream, push_together

__all__ = [
    "ActionPrediction",
    "ActionStream",
    "Segment",
    "VideoPrediction",
    "VideoResult",
    "predict_image",
    "predict_on_video",
    "predict_on_videos",
    "predict_single_action",
    "push_together",
]
