from .store import find_asset, list_assets
from .table import Asset

__all__ = [
    "Asset",
    "find_asset",
    "list_assets",
]
