"""Errors as application/problem+json, and the HTTP status each cause has."""

from __future__ import annotations

import logging
import math
from http import HTTPStatus

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.websockets import WebSocket

from modeldist.control.api.description import MEDIA_TYPE, documented_methods
from modeldist.control.views import Problem
from modeldist.errors import (
    AccessDenied,
    AuthenticationRequired,
    ControlPlaneRefused,
    IdempotencyKeyReused,
    IntegrityError,
    InvalidReference,
    ModeldistError,
    ModelPinned,
    NotEnoughNodes,
    NotFound,
    NotLeading,
    OriginError,
    Overloaded,
    RateLimited,
    RolloutUnderWay,
    ShareUsedUp,
    StorageError,
    Unsupported,
    Untrusted,
    UsageError,
)

log = logging.getLogger(__name__)

BEHIND = 5.0  # seconds; it was waited for for longer than that

# The first class that matches decides. The origin's own 401 and 403 are not the caller's: his token was good, so he
# is told 403 with the origin's code; 401 means this API's token alone. An origin that does not answer is no fault of
# this server, whose gateway would take it for sick at a 502: 424, a failed dependency.
_STATUS: tuple[tuple[type[ModeldistError], int], ...] = (
    (InvalidReference, 400),
    (IdempotencyKeyReused, 422),  # as draft-ietf-httpapi-idempotency-key-header has it
    (NotEnoughNodes, 409),
    (ModelPinned, 409),
    (RolloutUnderWay, 409),
    (UsageError, 400),
    (NotFound, 404),
    (AuthenticationRequired, 403),
    (AccessDenied, 403),
    (RateLimited, 429),
    (OriginError, 424),
    (IntegrityError, 424),
    (Untrusted, 403),
    (Unsupported, 422),
    (StorageError, 503),
    (ShareUsedUp, 429),
    (Overloaded, 503),
    (NotLeading, 503),
    (ControlPlaneRefused, 403),
)


def status_of(error: ModeldistError) -> int:
    if isinstance(error, ControlPlaneRefused) and error.retry_after is not None:
        return 429
    return next((status for cause, status in _STATUS if isinstance(error, cause)), 500)


def problem_response(error: ModeldistError, status: int | None = None) -> Response:
    status = status or status_of(error)
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="modeldist"'
    problem = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=error.message,
        code=error.code,
        remedy=error.remedy,
        retry_after=error.retry_after,
    )
    return Response(msgspec.json.encode(problem), status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Every failure of a route leaves as a problem."""
    app.add_exception_handler(ModeldistError, _ours)
    app.add_exception_handler(NoConnection, _behind)
    app.add_exception_handler(OperationalError, _behind)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _bug)


async def _ours(request: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, ModeldistError)
    response = problem_response(error)
    if isinstance(request, WebSocket):  # refused before the handshake; nobody sends what is returned here
        await request.send_denial_response(response)
    return response


async def _behind(request: HTTPConnection, error: Exception) -> Response:
    """The database has more to do than it can: nothing of this was done."""
    if not isinstance(error, NoConnection) and "database is locked" not in str(error):
        raise error
    log.warning("the database does not keep up: %s", error)
    full = Overloaded(
        "The database does not keep up with what is asked.", remedy="Ask again later.", retry_after=BEHIND
    )
    return await _ours(request, full)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    remedy = "See the API's description at /api/v1/openapi.json."
    if where == "body" and not _is_json(request.headers.get("content-type", "")):
        remedy = f"Send JSON, with the header Content-Type: application/json. {remedy}"
        return problem_response(UsageError("The body is not sent as JSON.", remedy=remedy), 415)
    return problem_response(UsageError(f"{where}: {first['msg']}.", remedy=remedy), 422)


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


async def _http(request: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    remedy = "See the API's description at /api/v1/openapi.json."
    path = request.url.path[:200]
    cause = NotFound if error.status_code == HTTPStatus.NOT_FOUND else UsageError
    response = problem_response(cause(f"{path}: {error.detail}.", remedy=remedy), error.status_code)
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and (methods := documented_methods(request.app, path)):
        response.headers["Allow"] = ", ".join(methods)  # the framework names those of one route of the path alone
    return response


async def _bug(request: Request, error: Exception) -> Response:
    return problem_response(
        ModeldistError(
            f"{request.method} {request.url.path[:200]} failed inside the control plane.",
            remedy="Its log has the traceback; please report it.",
        ),
        500,
    )
