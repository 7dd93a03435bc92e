"""From a request to a video in a file of the service's own: nothing that a client calls it becomes a path."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path

import python_multipart  # noqa: F401  Starlette needs it, and says so with the first form only
from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from harkeras.deploy.serving.errors import refuse
from harkeras.deploy.serving.limits import ServiceLimits

_FORM, _JSON = "multipart/form-data", "application/json"
_FRAMING_BYTES = 1 << 16  # what a form has around its file, and how long JSON may be


class Address(BaseModel):
    """Where a video lies."""

    url: str


# What FastAPI cannot read from a signature: two kinds of body, one of which is never held in memory.
REQUEST_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            _FORM: {
                "schema": {
                    "type": "object",
                    "required": ["video"],
                    "properties": {"video": {"type": "string", "format": "binary"}},
                }
            },
            _JSON: {
                "schema": {
                    "type": "object",
                    "required": ["url"],
                    "properties": {"url": {"type": "string", "format": "uri"}},
                }
            },
        },
    }
}


async def receive_video(request: Request, target: Path, limits: ServiceLimits) -> str | None:
    """Write the video of a request to a file, or return the address where it lies.

    Args:
        request: A form with a file named "video", or JSON with a "url".
        target: The file.
        limits: What is taken.

    Raises:
        HTTPException: 400, 408, 413, 415, 422 or 507, see `harkeras.deploy.serving.errors`.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind not in (_FORM, _JSON):
        raise refuse(415, f"the request must be {_FORM} or {_JSON}, got {kind or 'no content type'!r}")
    most = limits.bytes if kind == _FORM else 0
    try:
        async with asyncio.timeout(limits.upload_seconds):
            body = _counted(request, most + _FRAMING_BYTES, limits)
            if kind == _FORM:
                await _receive_form(request, body, target, limits)
                return None
            return _read_address(b"".join([block async for block in body]))
    except TimeoutError as error:
        raise refuse(
            408, f"the video must come within {limits.upload_seconds:g} seconds", {"Connection": "close"}
        ) from error
    except ClientDisconnect as error:
        raise refuse(400, "the client has gone") from error
    except OSError as error:
        raise refuse(507, f"the video cannot be stored: {error.strerror}") from error


async def _counted(request: Request, most: int, limits: ServiceLimits) -> AsyncGenerator[bytes, None]:
    """Yield the body; raise as soon as it is, or says that it will be, too large."""
    too_large = refuse(413, f"a video may have {limits.megabytes:g} megabytes")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > most:
        raise too_large
    async for block in request.stream():
        most -= len(block)
        if most < 0:
            raise too_large
        yield block


async def _receive_form(
    request: Request, body: AsyncGenerator[bytes, None], target: Path, limits: ServiceLimits
) -> None:
    try:
        form = await MultiPartParser(request.headers, body, max_files=1, max_fields=8).parse()
    except MultiPartException as error:
        raise refuse(400, f"the form cannot be read: {error.message}") from error
    try:
        video = form.get("video")
        if not isinstance(video, UploadFile):
            raise refuse(422, "the form must hold a file named 'video'")
        if video.size > limits.bytes:
            raise refuse(413, f"a video may have {limits.megabytes:g} megabytes")
        await asyncio.to_thread(_copy, video, target)
    finally:
        await form.close()


def _copy(video: UploadFile, target: Path) -> None:
    with target.open("wb") as file:
        shutil.copyfileobj(video.file, file, 1 << 20)


def _read_address(body: bytes) -> str:
    try:
        return Address.model_validate_json(body).url
    except ValidationError as error:
        raise refuse(
            422, 'the JSON must be an object with an address, such as {"url": "https://..."}'
        ) from error
