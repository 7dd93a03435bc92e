"""The paths of a service, and what they have in common."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Annotated

import keras
from fastapi import FastAPI, Query, Request, Security, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.responses import JSONResponse, Response
from starlette.websockets import WebSocketDisconnect

import harkeras
from harkeras.deploy.serving.answers import Answer, Health, Mode, answer_video
from harkeras.deploy.serving.errors import describe, problem_of_arguments, refuse
from harkeras.deploy.serving.fetch import fetch_video
from harkeras.deploy.serving.guard import Guard, deny
from harkeras.deploy.serving.limits import ServiceLimits
from harkeras.deploy.serving.metrics import ServiceMetrics
from harkeras.deploy.serving.places import Places
from harkeras.deploy.serving.stream import FrameStream, StreamError, open_stream, problem
from harkeras.deploy.serving.uploads import REQUEST_BODY, receive_video
from harkeras.inference.conversion import Runtime
from harkeras.inference.resolve import ForeignModel
from harkeras.inference.streaming import ActionStream, share_model


def create_app(
    model: str | os.PathLike | keras.Model,
    *,
    limits: ServiceLimits,
    token: str | None,
    allow_hosts: frozenset[str],
    most_together: int,
    runtime: Runtime | None,
    foreign: ForeignModel,
) -> FastAPI:
    """Make the app; the arguments are those of `create_service`, and were checked."""
    service = _Service(limits, allow_hosts)
    service.load(model, most_together, runtime, foreign)
    app = FastAPI(
        title="harkeras",
        version=harkeras.__version__,
        summary="The actions in videos.",
        lifespan=service.lifespan,
        exception_handlers={RequestValidationError: problem_of_arguments},
    )
    # For the description alone: `Guard` asks for it, of whatever path there is.
    secured = [] if token is None else [Security(HTTPBearer(auto_error=False))]
    app.add_api_route("/health", service.health, responses=describe(403))
    app.add_api_route(
        "/metrics",
        service.metrics.report,
        dependencies=secured,
        responses=describe(401, 403),
        response_class=Response,
    )
    statuses = (400, 401, 403, 408, 413, 415, 422, 429, 502, 503, 507)
    app.add_api_route(
        "/predict",
        service.predict,
        methods=["POST"],
        dependencies=secured,
        responses=describe(*statuses),
        openapi_extra=REQUEST_BODY,
    )
    app.add_api_websocket_route("/stream", service.stream)
    app.add_middleware(Guard, token=token)
    app.add_middleware(service.metrics.counting)
    return app


class _Service:
    """What the paths do."""

    def __init__(self, limits: ServiceLimits, allow_hosts: frozenset[str]):
        self._limits, self._allow_hosts = limits, allow_hosts
        self._places = Places(limits.workers + limits.queue, limits.per_client)
        self._turn = asyncio.Semaphore(limits.workers)
        self._workers = ThreadPoolExecutor(limits.workers, "decode")
        self._fetchers = ThreadPoolExecutor(limits.workers + limits.queue, "fetch")
        self._watchers = ThreadPoolExecutor(limits.streams, "watch")
        self._streams = 0
        self._folder = tempfile.TemporaryDirectory(prefix="harkeras-")  # for this user alone
        self.metrics = ServiceMetrics(lambda: self._places.taken)

    def load(
        self,
        model: str | os.PathLike | keras.Model,
        most_together: int,
        runtime: Runtime | None,
        foreign: ForeignModel,
    ) -> None:
        """Load the model, and compute a clip with it."""
        on_call = self.metrics.batch.observe
        self._model = share_model(
            model, most_together=most_together, on_call=on_call, runtime=runtime, **foreign
        )
        ActionStream(self._model, self._model.recipe).warm_up()

    @asynccontextmanager
    async def lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        """Clean up at the end, when all requests are answered."""
        yield
        for pool in (self._workers, self._fetchers, self._watchers):
            pool.shutdown()
        self._model.close()
        self._folder.cleanup()

    async def health(self) -> Health:
        """Say that the model is loaded and warm."""
        return Health(status="ready")

    async def predict(self, request: Request, mode: Mode = "timeline") -> Answer:
        """Name the actions of a video: a file, or one at the address of a host that is allowed.

        With `mode=timeline`, each moment has a label, and the first one is that which holds longest; with
        `mode=single`, the whole video is one action.
        """
        limits, loop = self._limits, asyncio.get_running_loop()
        with self._places.take(request.client.host if request.client else "") as place:
            video = Path(self._folder.name) / f"video-{place}"
            try:
                address = await receive_video(request, video, limits)
                if address is not None:
                    how = (video, self._allow_hosts, limits.bytes, limits.upload_seconds)
                    await loop.run_in_executor(self._fetchers, fetch_video, address, *how)
                async with self._turn:
                    if await request.is_disconnected():
                        raise refuse(400, "the client has gone")
                    work = partial(answer_video, video, self._model, mode, limits)
                    return await loop.run_in_executor(self._workers, work)
            finally:
                video.unlink(missing_ok=True)

    async def stream(
        self, websocket: WebSocket, fps: Annotated[float | None, Query(gt=0, le=1000)] = None
    ) -> None:
        """Watch JPEG frames as they come; each is answered by what is seen."""
        if self._streams >= self._limits.streams:
            sentence = {"detail": "all streams are taken: try again later"}
            await deny(websocket, JSONResponse(sentence, 503, {"Retry-After": "10"}))
            return
        self._streams += 1
        self.metrics.streams.inc()
        try:
            work = partial(open_stream, self._model, fps, self._limits)
            try:
                stream = await asyncio.get_running_loop().run_in_executor(self._watchers, work)
            except (ImportError, ValueError, OSError) as error:  # of a model that cannot watch here
                await deny(websocket, JSONResponse({"detail": str(error)}, 501))
                return
            await websocket.accept()
            with suppress(WebSocketDisconnect):
                await self._follow(websocket, stream)
        finally:
            self._streams -= 1
            self.metrics.streams.dec()

    async def _follow(self, websocket: WebSocket, stream: FrameStream) -> None:
        """Answer messages until the client ends, goes or is silent for too long."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                message = await asyncio.wait_for(websocket.receive(), self._limits.upload_seconds)
            except TimeoutError:
                await websocket.close(1001, "no frame has come for too long")
                return
            if message["type"] == "websocket.disconnect":
                return
            data, text = message.get("bytes"), message.get("text")
            try:
                if data is not None:
                    said = await loop.run_in_executor(self._watchers, stream.take_frame, data)
                    self.metrics.frames.labels("seen").inc()
                else:
                    said = await loop.run_in_executor(self._watchers, stream.take_text, text or "")
            except StreamError as error:
                said = problem(error)
                self.metrics.frames.labels("left out").inc()
            if said is not None:
                await websocket.send_json(said)
            if said is not None and said["kind"] == "end":
                await websocket.close(1000)
                return
