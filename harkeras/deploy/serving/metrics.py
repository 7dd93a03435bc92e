"""What a service counts, as Prometheus reads it; of each service by itself, not of the process."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_TOGETHER = (1, 2, 4, 8, 16, 32)


class ServiceMetrics:
    """Counts of one service.

    Args:
        requests_here: Tells how many requests to `/predict` are here.
    """

    def __init__(self, requests_here: Callable[[], float]):
        """Start at zero."""
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "harkeras_requests", "Requests that were answered.", ["path", "status"], registry=registry
        )
        self.seconds = Histogram(
            "harkeras_request_seconds",
            "From a request to its answer.",
            ["path"],
            buckets=_SECONDS,
            registry=registry,
        )
        here = Gauge(
            "harkeras_requests_here",
            "Requests to /predict that send, wait or are computed.",
            registry=registry,
        )
        here.set_function(requests_here)
        self.batch = Histogram(
            "harkeras_batch_size",
            "Questions that one call of the model answers.",
            buckets=_TOGETHER,
            registry=registry,
        )
        self.streams = Gauge("harkeras_streams", "Connections to /stream.", registry=registry)
        self.frames = Counter("harkeras_stream_frames", "Frames of streams.", ["outcome"], registry=registry)

    def report(self) -> Response:
        """Return all counts in Prometheus's text format."""
        return Response(generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    def counting(self, app: ASGIApp) -> ASGIApp:
        """Return an app that counts the requests of another one."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            status, began = 500, time.perf_counter()

            async def watched(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            try:
                await app(scope, receive, watched)
            finally:
                # Of the paths that there are: others would be as many as somebody makes up.
                path = getattr(scope.get("route"), "path", "other")
                self.requests.labels(path, status).inc()
                self.seconds.labels(path).observe(time.perf_counter() - began)

        return counted
