from .published import list_pretrained, load_pretrained
from .weights import load_weights

__all__ = [
    "list_pretrained",
    "load_pretrained",
    "load_weights",
]
