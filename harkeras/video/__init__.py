"""Pixels in and out: decoding, reading, writing, optical flow, drawing, downloads."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
