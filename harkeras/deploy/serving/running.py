"""Run a service on uvicorn until it is told to end."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any

from harkeras.deploy.serving.hosts import is_loopback
from harkeras.deploy.serving.limits import ServiceLimits

if TYPE_CHECKING:
    from fastapi import FastAPI

_MOST_CONNECTIONS = 512  # below what a process may open


def check_open(host: str, token: str | None) -> None:
    """Raise ValueError if others than this machine reach a service that asks for no token."""
    if token is None and not is_loopback(host):
        raise ValueError(f"host must be 127.0.0.1 where there is no token, got {host}")


def run_service(
    app: FastAPI,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    limits: ServiceLimits | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Answer requests until SIGINT or SIGTERM; what is being computed then is still answered.

    Args:
        app: What `create_service` made.
        host: Where to listen.
        port: The port; 0 for any that is free.
        token: What `create_service` was given: without, only this machine may ask.
        limits: The same, for the size of messages.
        on_ready: Is told the address when requests are taken.

    Raises:
        ValueError: If there is no token, and others reach `host`.
        OSError: If the port is taken, or the host is none of this machine.
        ImportError: If uvicorn is not installed.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise ImportError('a service needs uvicorn: pip install "harkeras[serve]"') from error
    check_open(host, token)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        ws_max_size=(limits or ServiceLimits()).frame_bytes + 1000,
        ws_max_queue=4,  # frames that wait are late
    )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=config.backlog)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[Any] | None = None) -> None:
            await super().startup(sockets)
            if on_ready is not None and not self.should_exit:
                name, number, *_ = listener.getsockname()
                on_ready(f"http://{f'[{name}]' if ':' in name else name}:{number}")

    # uvicorn ends well, and then raises the signal again.
    signals = (signal.SIGINT, signal.SIGTERM) if current_thread() is main_thread() else ()
    before = {each: signal.signal(each, lambda *_: None) for each in signals}
    try:
        Server(config).run(sockets=[listener])
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        listener.close()
