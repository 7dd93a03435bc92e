"""How far long work is: a bar on the terminal, or a function that is told, such as that of a web page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tqdm.auto import tqdm

# Whether to show a bar; or a function of what is being done and the share of it that is done, 0 to 1. What it
# raises ends the work, which is how others cancel it.
Progress = bool | Callable[[str, float], None]


def progress_bar(
    items: Iterable | None, description: str, total: int, progress: Progress, *, unit: str
) -> tqdm:
    """Return what counts items, as tqdm's bar does: iterate over it, or call its `update` in a `with` block.

    Args:
        items: What is iterated over, if anything.
        description: What is being done.
        total: Number of items.
        progress: Whether to show a bar, or whom to tell.
        unit: What an item is called.
    """
    if callable(progress):
        return _Told(items, description, total, tell=progress, disable=True)
    return tqdm(items, description, total, unit=unit, leave=None, disable=not progress)


class _Told(tqdm):
    """A bar that is not drawn: a function hears of each full per cent."""

    def __init__(self, *arguments: Any, tell: Callable[[str, float], None], **options: Any):
        """Tell of the start."""
        items, self.description, self.count = arguments
        super().__init__(*arguments, **options)
        self.tell, self.done, self.percent = tell, 0, -1
        self.items = items
        self.update(0)

    def update(self, n: float = 1) -> None:
        """Count, and tell where the per cent are others."""
        self.done += n
        percent = min(int(100 * self.done / max(self.count, 1)), 100)
        if percent != self.percent:
            self.percent = percent
            self.tell(self.description, percent / 100)

    def __iter__(self) -> Iterator:
        """Yield the items, and count each when it has been worked on."""
        for item in self.items:
            yield item
            self.update()
