from .comparison import Export
from .export import export_model
from .service import create_service
from .service_limits import ServiceLimits
from .service_running import run_service

__all__ = ["Export", "ServiceLimits", "create_service", "export_model", "run_service"]
