"""What a service answers when it cannot: one sentence, under one name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.responses import JSONResponse

from harkeras.base.text import printable


class Problem(BaseModel):
    """Why a request was not answered, in one sentence."""

    detail: str


_MEANINGS = {
    400: "The request is cut off, or is no HTTP.",
    401: "The token is missing or wrong.",
    403: "The address is not among those that may be fetched, or a page of another site asks.",
    408: "The video took too long to come.",
    413: "The video has too many bytes, seconds or pixels.",
    415: "The request is neither multipart/form-data nor JSON.",
    422: "There is no video in it that can be read, or an argument is wrong.",
    429: "This client has its share of the places already.",
    502: "The address did not give a video.",
    507: "There is no room on the disk.",
    503: "All places are taken; Retry-After says when to try again.",
}


def refuse(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> HTTPException:
    """Make the error that answers a request."""
    return HTTPException(status, printable(sentence), dict(headers or {}))


def describe(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return errors of a path for OpenAPI."""
    return {status: {"model": Problem, "description": _MEANINGS[status]} for status in statuses}


async def problem_of_arguments(_request: Request, error: RequestValidationError) -> JSONResponse:
    """Answer wrong arguments as everything else, with one sentence."""
    problems = "; ".join(f"{'.'.join(map(str, each['loc'][1:]))}: {each['msg']}" for each in error.errors())
    return JSONResponse({"detail": printable(problems)}, 422)
