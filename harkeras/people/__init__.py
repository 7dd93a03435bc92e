"""Frames -> tracked people, a crop of each, and their joints; the one way from a file to a clip."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
