from .auto import train_auto
from .auto_training import AutoTraining
from .feature_dataset import FeatureDataset, create_feature_dataset
from .features import backbone_features, frame_encoder
from .heads import create_head, fit_head

__all__ = [
    "AutoTraining",
    "FeatureDataset",
    "backbone_features",
    "create_feature_dataset",
    "create_head",
    "fit_head",
    "frame_encoder",
    "train_auto",
]
