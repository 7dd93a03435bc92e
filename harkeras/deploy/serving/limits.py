"""What one request may cost, and how many may be here at the same time."""

from __future__ import annotations

import math
from dataclasses import dataclass

from joblib import cpu_count

from harkeras.base.checks import check_count


@dataclass(frozen=True)
class ServiceLimits:
    """What a service takes.

    Attributes:
        megabytes: How large a video may be, in units of 1,000,000 bytes.
        seconds: How long a video may be.
        pixels: How many pixels its frames may have; by default those of 4K.
        upload_seconds: How long a video may take to come.
        workers: How many videos are decoded at the same time; two per core by default.
        queue: How many more requests may be here: those that still send, and those that wait.
        per_client: How many requests of one address may be here; by default, as many as there is room for.
        streams: How many connections to `/stream` may be open.
        frame_megabytes: How large a frame of a stream may be.
        frames_per_second: How many frames a stream may bring in a second.

    Raises:
        ValueError: If a number is not above 0, or one that counts is not whole.
    """

    megabytes: float = 100
    seconds: float = 600
    pixels: int = 3840 * 2160
    upload_seconds: float = 60
    workers: int | None = None
    queue: int = 32
    per_client: int | None = None
    streams: int = 8
    frame_megabytes: float = 2
    frames_per_second: float = 60

    def __post_init__(self) -> None:
        """Check the values."""
        if self.workers is None:
            object.__setattr__(self, "workers", 2 * cpu_count())
        if self.per_client is None:
            object.__setattr__(self, "per_client", self.workers + self.queue)
        for name in ("pixels", "workers", "queue", "per_client", "streams"):
            check_count(name, getattr(self, name))
        for name in ("megabytes", "seconds", "upload_seconds", "frame_megabytes", "frames_per_second"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a finite number above 0, got {getattr(self, name)}")

    @property
    def bytes(self) -> int:
        """How many bytes a video may have."""
        return int(self.megabytes * 1e6)

    @property
    def frame_bytes(self) -> int:
        """How many bytes a frame of a stream may have."""
        return int(self.frame_megabytes * 1e6)
