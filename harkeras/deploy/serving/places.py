"""Room for so many requests, and for so many of one client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from harkeras.deploy.serving.errors import refuse

_RETRY_SECONDS = 2  # until a place may be free again


class Places:
    """Room for so many requests; each has a number while it is here.

    Args:
        count: How many there are.
        per_client: How many one client may have.
    """

    def __init__(self, count: int, per_client: int):
        """Start with all places free."""
        self._free, self._per_client = list(range(count)), per_client
        self._clients: Counter[str] = Counter()
        self.taken = 0

    @contextmanager
    def take(self, client: str) -> Iterator[int]:
        """Hold a place, and yield its number; it is for one thread, that of the event loop.

        Raises:
            HTTPException: 429 if the client has its share, 503 if there is no place.
        """
        retry = {"Retry-After": str(_RETRY_SECONDS)}
        if not self._free:
            raise refuse(503, "all places are taken: try again later", retry)
        if self._clients[client] >= self._per_client:
            share = f"{self._per_client} requests of this address are here already, which is its share"
            raise refuse(429, f"{share}: try again later", retry)
        place = self._free.pop()
        self._clients[client] += 1
        self.taken += 1
        try:
            yield place
        finally:
            self.taken -= 1
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]
            self._free.append(place)
