"""The one look of all plots, in `harkeras/style.mplstyle`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def styled(draw: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Draw in the style of harkeras, and leave the caller's own style as it was; used as a decorator.

    Matplotlib is imported at the first call: a module that also draws does not load it.
    """

    @functools.wraps(draw)
    def draw_in_style(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        import matplotlib.style

        with matplotlib.style.context("harkeras.style"):
            return draw(*args, **kwargs)

    return draw_in_style
