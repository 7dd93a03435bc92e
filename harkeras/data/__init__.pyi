from ._annotation_files import Annotation
from .annotation_writers import write_annotations
from .annotations import read_annotations
from .augment import default_augmentation
from .batches import ClipDataset
from .cutting import cut_clips
from .datasets import Dataset, median_clip_seconds
from .folders import ClipFolder, list_classes, list_videos, read_folder
from .images import create_image_dataset
from .leakage import LeakageReport, leakage_report
from .loading import create_dataset
from .presentation import class_weights
from .preview import plot_augmentations, plot_clips
from .samples import SAMPLE_CLASSES, create_sample_dataset, create_sample_video
from .sources import Sources, find_sources, read_groups
from .split_lists import list_official_splits, split_by_files
from .splits import split_at_random, split_by_group

__all__ = [
    "SAMPLE_CLASSES",
    "Annotation",
    "ClipDataset",
    "ClipFolder",
    "Dataset",
    "LeakageReport",
    "Sources",
    "class_weights",
    "create_dataset",
    "create_image_dataset",
    "create_sample_dataset",
    "create_sample_video",
    "cut_clips",
    "default_augmentation",
    "find_sources",
    "leakage_report",
    "list_classes",
    "list_official_splits",
    "list_videos",
    "median_clip_seconds",
    "plot_augmentations",
    "plot_clips",
    "read_annotations",
    "read_folder",
    "read_groups",
    "split_at_random",
    "split_by_files",
    "split_by_group",
    "write_annotations",
]
