from .datasets import Dataset, create_dataset, list_classes, list_videos, median_clip_seconds, plot_clips
from .evaluation import Evaluation, evaluate, plot_confusion_matrix, plot_metric
from .models import (
    create_c3d_model,
    create_convlstm_model,
    create_early_fusion_model,
    create_late_fusion_model,
    create_lrcn_model,
    create_model,
    create_multiresolution_model,
    create_single_frame_model,
    create_slow_fusion_model,
    list_models,
    plot_model_structure,
)
from .prediction import ActionPrediction, Segment, VideoPrediction, predict_on_video, predict_single_action
from .recipe import Recipe
from .samples import SAMPLE_CLASSES, create_sample_dataset, create_sample_video
from .saving import load_model, read_recipe, save_model
from .splits import read_groups, split_at_random, split_by_files, split_by_group
from .streaming import ActionStream
from .training import train
from .video import Frame, VideoError, VideoInfo, VideoWriter, frames_extraction, iter_frames
from .workflow import TrainedModel, train_on_folder
from .youtube import DownloadedVideo, DownloadError, download_youtube_videos

__all__ = [
    "SAMPLE_CLASSES",
    "ActionPrediction",
    "ActionStream",
    "Dataset",
    "DownloadError",
    "DownloadedVideo",
    "Evaluation",
    "Frame",
    "Recipe",
    "Segment",
    "TrainedModel",
    "VideoError",
    "VideoInfo",
    "VideoPrediction",
    "VideoWriter",
    "create_c3d_model",
    "create_convlstm_model",
    "create_dataset",
    "create_early_fusion_model",
    "create_late_fusion_model",
    "create_lrcn_model",
    "create_model",
    "create_multiresolution_model",
    "create_sample_dataset",
    "create_sample_video",
    "create_single_frame_model",
    "create_slow_fusion_model",
    "download_youtube_videos",
    "evaluate",
    "frames_extraction",
    "iter_frames",
    "list_classes",
    "list_models",
    "list_videos",
    "load_model",
    "median_clip_seconds",
    "plot_clips",
    "plot_confusion_matrix",
    "plot_metric",
    "plot_model_structure",
    "predict_on_video",
    "predict_single_action",
    "read_groups",
    "read_recipe",
    "save_model",
    "split_at_random",
    "split_by_files",
    "split_by_group",
    "train",
    "train_on_folder",
]
