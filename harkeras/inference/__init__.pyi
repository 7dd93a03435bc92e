from ._timeline import Segment, VideoPrediction
from .event_clips import ClipRecorder
from .events import ActionEvent, EventRules
from .frame_watcher import FrameState, FrameWatcher
from .many_videos import predict_on_videos
from .mqtt_sink import MqttSink
from .people_prediction import PersonPrediction, predict_people
from .people_stream import PeopleStream
from .prediction import ActionPrediction, predict_image, predict_on_video, predict_single_action
from .resolve import ForeignModel
from .result_files import read_result
from .sinks import EventSink, JsonLinesSink, WebhookSink
from .streaming import ActionStream, push_together, share_model
from .video_results import VideoResult
from .watching import WatchState, watch

__all__ = [
    "ActionEvent",
    "ActionPrediction",
    "ActionStream",
    "ClipRecorder",
    "EventRules",
    "EventSink",
    "ForeignModel",
    "FrameState",
    "FrameWatcher",
    "JsonLinesSink",
    "MqttSink",
    "PeopleStream",
    "PersonPrediction",
    "Segment",
    "VideoPrediction",
    "VideoResult",
    "WatchState",
    "WebhookSink",
    "predict_image",
    "predict_on_video",
    "predict_on_videos",
    "predict_people",
    "predict_single_action",
    "push_together",
    "read_result",
    "share_model",
    "watch",
]
