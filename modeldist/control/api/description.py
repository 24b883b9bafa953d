"""The API's OpenAPI document: what every route has in common, said once, and an example of everything.

A route declares the problems that are its own (`responses=answers(404, 409)`); those that any route of its kind can
have are added here: 401, 403, 429 and 503 everywhere, 422 where there is something to get wrong, 400, 413 and 415 for
bodies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from modeldist.control.api.examples import EXAMPLES, PROBLEMS

MEDIA_TYPE = "application/problem+json"
SERVER_ERRORS = "5XX"

_MEANINGS = {
    400: "What is asked for cannot be: a reference, a secret or a body that cannot be read.",
    401: "There is no valid token.",
    403: "The token's scope does not allow it, or the origin does not give this model to the control plane.",
    404: "There is no such thing.",
    409: "There are not enough nodes now.",
    413: "The body is too large.",
    415: "The body is not sent as JSON.",
    422: "A parameter or the body is not as described, the idempotency key meant another request, or nothing here can "
    "read what the reference means.",
    424: "The origin does not answer, or not as it should.",
    429: "This token has its share of what there is room for, the origin asks for fewer requests, or wrong tokens came "
    "too often; see Retry-After.",
    503: "There is no room for more now, or a store failed; see Retry-After.",
}
_SCHEMA = {
    "title": "Problem",
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "required": ["type", "title", "status", "detail", "code", "remedy", "retry_after"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "A sentence that names the thing."},
        "code": {"type": "string", "description": "The cause, always the same for the same; docs/rest.md has all."},
        "remedy": {"type": "string", "description": "What to do about it."},
        "retry_after": {"type": ["number", "null"], "description": "Seconds."},
    },
}


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`: it may fail with these."""
    return {status: {"description": _MEANINGS[status]} for status in statuses}


def accepted(
    what: str, example: str, parameter: str, operations: Iterable[str], headers: Mapping[str, Any] | None = None
) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`: 202, with where `what` was made, as `example`, the `operations` that take its id as
    `parameter`, and other `headers`."""
    location = {"schema": {"type": "string"}, "description": what, "example": example}
    parameters = {parameter: "$response.body#/id"}
    links = {name: {"operationId": name, "parameters": parameters} for name in operations}
    return {202: {"headers": {"Location": location, **(headers or {})}, "links": links}}


def describe(app: FastAPI) -> dict[str, Any]:
    """The document, built once."""
    if app.openapi_schema:
        return app.openapi_schema
    document: dict[str, Any] = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    components = document.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = _SCHEMA
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}]
    for path in document["paths"].values():
        for operation in path.values():
            _complete(operation)
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    app.openapi_schema = document
    return document


def documented_methods(app: FastAPI, path: str) -> list[str]:
    """What may be asked of a path; empty when the document has no such path."""
    for template, operations in app.openapi()["paths"].items():
        if re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template)), path):
            return sorted(method.upper() for method in operations)
    return []


def _complete(operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    responses.pop("422", None)  # FastAPI's own error shape, which this API never sends
    statuses = {401, 403, 429, 503} | {int(status) for status in responses if status >= "4"}
    if "requestBody" in operation:
        statuses |= {400, 413, 415, 422}
    elif operation.get("parameters"):
        statuses.add(422)
    for status in statuses:
        responses[str(status)] = _problem(status)
    meaning = "A bug, a database that is away, or a replica that stands by."
    responses[SERVER_ERRORS] = _problem(500) | {"description": meaning}
    operation["responses"] = dict(sorted(responses.items()))
    for status, response in responses.items():
        if status.startswith("2"):
            _illustrate(response)


def _illustrate(response: dict[str, Any]) -> None:
    """Give a good answer its example, by the name of what it is."""
    for content in response.get("content", {}).values():
        name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
        if name in EXAMPLES:
            content["example"] = msgspec.to_builtins(EXAMPLES[name])


def _problem(status: int) -> dict[str, Any]:
    headers = {}
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        headers = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds.", "example": 10}}
    if status == HTTPStatus.UNAUTHORIZED:
        headers = {"WWW-Authenticate": {"schema": {"type": "string"}, "example": 'Bearer realm="modeldist"'}}
    return {
        "description": _MEANINGS.get(status, ""),
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "example": msgspec.to_builtins(PROBLEMS[status]),
            }
        },
    } | ({"headers": headers} if headers else {})
