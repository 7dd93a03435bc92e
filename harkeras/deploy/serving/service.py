"""A model behind HTTP: videos and frames come in, the names of actions go out.

What comes from outside is trusted with nothing: it is counted while it comes, its header is read before a
frame is decoded, and it lies in a file whose name nobody else chose. The model is loaded once, and what
several requests ask of it at the same time is computed together.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Unpack

import keras

from harkeras.deploy.serving.hosts import check_hosts
from harkeras.deploy.serving.limits import ServiceLimits
from harkeras.inference.conversion import Runtime
from harkeras.inference.resolve import ForeignModel

if TYPE_CHECKING:
    from fastapi import FastAPI


def create_service(
    model: str | os.PathLike | keras.Model,
    *,
    limits: ServiceLimits | None = None,
    token: str | None = None,
    allow_hosts: Iterable[str] = (),
    most_together: int = 16,
    runtime: Runtime | None = None,
    **foreign: Unpack[ForeignModel],
) -> FastAPI:
    """Make an ASGI app that names the actions in videos and streams; the model is warm when it returns.

    `POST /predict` takes a video, `/stream` is a WebSocket of JPEG frames, `/health` says that it is ready,
    `/metrics` counts for Prometheus, and `/docs` describes all of it. `harkeras serve` runs it on uvicorn.

    Args:
        model: Path of a `.keras` file or of a run, or of what `export_model` wrote, one of
            `list_pretrained()`, or a model in memory.
        limits: What one request may cost; `ServiceLimits()` by default.
        token: What `Authorization: Bearer` must say, on all paths but `/health`. By default there is none,
            and who asks must call this machine `localhost` or 127.0.0.1.
        allow_hosts: Hosts from which videos are fetched, see `fetch_video`; none by default.
        most_together: How many requests one call of the model answers, at most.
        runtime: The engine that computes it, see `predict_on_video`.
        **foreign: What a recipe would say, for a model without one, see `ForeignModel`.

    Raises:
        FileNotFoundError: If there is no such model.
        ValueError: If the model cannot be used, the token is empty, or an argument is out of its range.
        ImportError: If FastAPI or the engine is not installed.

    Example:
        >>> app = create_service("saved_models/run")  # uvicorn my_module:app
    """
    if token is not None and not token.strip():
        raise ValueError("token must not be empty")
    hosts = check_hosts(allow_hosts)
    try:
        from harkeras.deploy.serving.app import create_app
    except ImportError as error:
        raise ImportError(f'a service needs FastAPI: pip install "harkeras[serve]" ({error})') from error
    return create_app(
        model,
        limits=limits or ServiceLimits(),
        token=token,
        allow_hosts=hosts,
        most_together=most_together,
        runtime=runtime,
        foreign=foreign,
    )
