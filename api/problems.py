"""Every error is a problem document (RFC 9457) that says what to do about it."""

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from api.schemas import Problem
from infra.postgres.errors import DatabaseUnavailable, SchemaOutdated

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

_RETRY_AFTER_S = "2"
_REMEDIES = {
    HTTPStatus.NOT_FOUND: "Nothing is here; /openapi.json lists every path.",
    HTTPStatus.METHOD_NOT_ALLOWED: "The API only reads: use GET.",
}

RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": description, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    for status, description in {
        401: "A key is needed, or the one that was sent is not accepted",
        403: "The key does not allow this",
        404: "There is no such account",
        409: "The accounts are kept in different currencies",
        422: "A parameter cannot be understood",
        429: "The key has asked too often",
        503: "The database does not answer",
    }.items()
}
"""The problems that a route may answer with, for its documentation."""

DATA_RESPONSES: dict[int | str, dict[str, Any]] = {
    304: {"description": "Nothing has changed since the answer that `If-None-Match` names"},
    **RESPONSES,
}
"""What a route that answers from the books may say beside its answer."""


class ProblemError(Exception):
    """Something about a request that its sender can put right.

    Attributes:
        status: The HTTP status.
        detail: What is wrong, and what to do about it.
    """

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def install(app: FastAPI) -> None:
    """Answer every error of the application with a problem document."""
    app.add_exception_handler(ProblemError, _answer_problem)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(DatabaseUnavailable, _answer_unavailable)
    app.add_exception_handler(SchemaOutdated, _answer_unavailable)
    app.add_exception_handler(Exception, _answer_unexpected)


def problem(request: Request, status: HTTPStatus, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Make the document."""
    content = Problem(title=status.phrase, status=status, detail=detail, instance=request.url.path)
    return JSONResponse(content.model_dump(), status_code=status, media_type=MEDIA_TYPE, headers=headers)


async def _answer_problem(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, ProblemError):
        raise error
    return problem(request, error.status, error.detail)


async def _answer_http(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    return problem(request, status, _REMEDIES.get(status, str(error.detail)), dict(error.headers or {}))


async def _answer_invalid(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    return problem(request, HTTPStatus.UNPROCESSABLE_ENTITY, _describe_invalid(error.errors()))


async def _answer_unavailable(request: Request, error: Exception) -> JSONResponse:
    logger.warning("%s: %s", request.url.path, error)
    remedy = str(error) if isinstance(error, SchemaOutdated) else "The database does not answer; try again shortly."
    return problem(request, HTTPStatus.SERVICE_UNAVAILABLE, remedy, {"Retry-After": _RETRY_AFTER_S})


async def _answer_unexpected(request: Request, error: Exception) -> JSONResponse:
    logger.error("%s failed", request.url.path, exc_info=error)
    return problem(
        request, HTTPStatus.INTERNAL_SERVER_ERROR, "This is an error of the service; its log has the details."
    )


def _describe_invalid(errors: Sequence[Any]) -> str:
    told = []
    for error in errors:
        name = error["loc"][-1]
        told.append(f"{name}: {error['msg']} (got {error.get('input')!r:.60})")
    return "; ".join(told)
