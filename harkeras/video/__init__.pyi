from .decoding import VideoError
from .drawing import class_color
from .flow import flow_to_rgb, optical_flow, plot_flow
from .images import read_image
from .live import LiveFrame, LiveVideo, SourceEvent
from .reading import Frame, VideoInfo, flow_extraction, frames_extraction, iter_frames
from .writing import VideoWriter
from .youtube import DownloadedVideo, DownloadError, download_youtube_videos

__all__ = [
    "DownloadError",
    "DownloadedVideo",
    "Frame",
    "LiveFrame",
    "LiveVideo",
    "SourceEvent",
    "VideoError",
    "VideoInfo",
    "VideoWriter",
    "class_color",
    "download_youtube_videos",
    "flow_extraction",
    "flow_to_rgb",
    "frames_extraction",
    "iter_frames",
    "optical_flow",
    "plot_flow",
    "read_image",
]
