"""Human action recognition in video with Keras: from a folder of labeled clips to the named action.

The public names, and the rooms that hold the rest, are loaded when they are first used, so that importing the
package takes no time.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
