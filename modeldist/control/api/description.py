"""The API's OpenAPI document: what every route has in common, said once."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from modeldist.control.api.problems import MEDIA_TYPE

_PROBLEM_EXAMPLE = {
    "type": "about:blank",
    "title": "Not Found",
    "status": 404,
    "detail": "registry.example/org/model:v9: no such tag.",
    "code": "not_found",
    "remedy": "Check the tag's spelling.",
    "retry_after": None,
}
_PROBLEM = {
    "description": "What went wrong and what to do. `code` is stable; 401 without a valid token, 403 without its "
    "scope, 404 for what is unknown, 413 and 422 for a body that is too large or wrong, 502 and 503 (with Retry-After) "
    "when the origin or the control plane cannot answer now.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": _PROBLEM_EXAMPLE}},
}
_PROBLEM_SCHEMA = {
    "title": "Problem",
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "A sentence that names the thing."},
        "code": {"type": "string", "description": "Stable: not_found, unauthorized, rate_limited, control_refused, …"},
        "remedy": {"type": "string", "description": "What to do about it."},
        "retry_after": {"type": ["number", "null"], "description": "Seconds."},
    },
}


def describe(app: FastAPI) -> dict[str, Any]:
    """The document, built once."""
    if app.openapi_schema:
        return app.openapi_schema
    document: dict[str, Any] = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    components = document.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = _PROBLEM_SCHEMA
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}]
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)  # FastAPI's own error shape, which this API never sends
            operation["responses"]["default"] = _PROBLEM
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    app.openapi_schema = document
    return document
