"""Who may ask: those with the token, and no page of another site."""

from __future__ import annotations

import secrets
from contextlib import suppress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from harkeras.deploy.serving.hosts import is_loopback

_OPEN_PATHS = ("/health",)


class Guard:
    """An app in front of another one.

    A browser sends whatever page is open to this machine, too: what comes from a page of another origin is
    refused, so that no site on the web can use a service that listens here. Nor can one whose name leads to
    this machine: without a token, a service answers to `localhost` and 127.0.0.1 alone.

    Args:
        app: The app.
        token: What `Authorization: Bearer` must say, on all paths but `/health`; nothing if None.
    """

    def __init__(self, app: ASGIApp, token: str | None):
        """Keep both."""
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refuse(scope)
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await deny(WebSocket(scope, receive, send), refusal)
        else:
            await refusal(scope, receive, send)

    def _refuse(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        if origin is not None and _netloc(origin) != headers.get("host", "").lower():
            return _answer(403, "a page of another site may not ask")
        if self._token is None and not is_loopback(_hostname(headers.get("host", ""))):
            return _answer(403, "without a token, this service answers to localhost and 127.0.0.1 alone")
        if self._token is None or scope["path"] in _OPEN_PATHS:
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and secrets.compare_digest(
            given.strip().encode(), self._token.encode()
        ):
            return None
        sentence = "the header Authorization must be 'Bearer' and the token of this service"
        return _answer(401, sentence, {"WWW-Authenticate": "Bearer"})


async def deny(websocket: WebSocket, refusal: Response) -> None:
    """Answer what asks for a WebSocket with an HTTP response, or hang up where the server has no way to."""
    if "websocket.http.response" in websocket.scope.get("extensions", {}):
        await websocket.send_denial_response(refusal)
    else:
        await websocket.close(1008)


def _netloc(origin: str) -> str:
    with suppress(ValueError):
        return urlsplit(origin).netloc.lower()
    return ""


def _hostname(host: str) -> str:
    with suppress(ValueError):
        return urlsplit(f"//{host}").hostname or ""
    return ""


def _answer(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"detail": sentence}, status, headers)
