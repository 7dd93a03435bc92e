"""Published files: name -> URL, SHA-256 and license -> a cached local file."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
