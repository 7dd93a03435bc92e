"""How a batch is divided among devices, and among the processes that have them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Share(NamedTuple):
    """The part of every batch that this process computes.

    Attributes:
        process: Number of this process, from 0.
        processes: How many there are, each with as many devices.
        devices: Of all processes together.
    """

    process: int = 0
    processes: int = 1
    devices: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and shows the progress."""
        return self.process == 0

    def places(self, count: int) -> np.ndarray:
        """Return the places of this process in a batch of `count` clips.

        Each device gets as many clips as the others. Places from `count` on are not in the batch: there, a
        clip of it is shown once more and does not count.
        """
        own = self._padded(count) // self.processes
        return np.arange(self.process * own, (self.process + 1) * own)

    def scale(self, count: int, batch_size: int) -> float:
        """Return the weight of a clip for which the mean over `count` clips and what fills up is theirs."""
        whole, rest = divmod(count, batch_size)
        return (whole * self._padded(batch_size) + self._padded(rest)) / count

    def _padded(self, count: int) -> int:
        return count + -count % self.devices
