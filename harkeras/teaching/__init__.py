"""Teach by few labels: recordings, named ranges of time, suggestions, and a model that learns from them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
