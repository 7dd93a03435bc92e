"""The models, one family per file; importing this package registers them all."""

from harkeras.models._registry import create_model, list_models
from harkeras.models._structure import plot_model_structure
from harkeras.models.c3d import create_c3d_model
from harkeras.models.convlstm import create_convlstm_model
from harkeras.models.fusion import (
    create_early_fusion_model,
    create_late_fusion_model,
    create_slow_fusion_model,
)
from harkeras.models.lrcn import create_lrcn_model
from harkeras.models.multiresolution import create_multiresolution_model
from harkeras.models.single_frame import create_single_frame_model

__all__ = [
    "create_c3d_model",
    "create_convlstm_model",
    "create_early_fusion_model",
    "create_late_fusion_model",
    "create_lrcn_model",
    "create_model",
    "create_multiresolution_model",
    "create_single_frame_model",
    "create_slow_fusion_model",
    "list_models",
    "plot_model_structure",
]
