"""The models, one family per file; importing this package registers them all."""

from harkeras.models._registry import create_model, list_models
from harkeras.models._structure import plot_model_structure
from harkeras.models.convlstm import create_convlstm_model
from harkeras.models.lrcn import create_lrcn_model

__all__ = [
    "create_convlstm_model",
    "create_lrcn_model",
    "create_model",
    "list_models",
    "plot_model_structure",
]
