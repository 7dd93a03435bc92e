from .comparison import Export
from .export import export_model
from .serving.limits import ServiceLimits
from .serving.running import run_service
from .serving.service import create_service

__all__ = ["Export", "ServiceLimits", "create_service", "export_model", "run_service"]
