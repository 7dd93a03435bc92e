from ._timeline import Segment, VideoPrediction
from .prediction import ActionPrediction, predict_image, predict_on_video, predict_single_action
from .streaming import ActionStream

__all__ = [
    "ActionPrediction",
    "ActionStream",
    "Segment",
    "VideoPrediction",
    "predict_image",
    "predict_on_video",
    "predict_single_action",
]
