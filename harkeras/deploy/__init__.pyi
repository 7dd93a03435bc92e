from .comparison import Export
from .export import export_model

__all__ = ["Export", "export_model"]
