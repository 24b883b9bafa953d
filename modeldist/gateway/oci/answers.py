"""Errors as clients of registries know them: the distribution specification's documents and codes."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.responses import Response

from modeldist.agent.local_api import STATUS
from modeldist.errors import ModeldistError
from modelpack import errors as theirs

_UNKNOWN = {"repository": "NAME_UNKNOWN", "manifest": "MANIFEST_UNKNOWN", "blob": "BLOB_UNKNOWN"}
_TOLD: dict[type, tuple[int, str]] = {
    theirs.RegistryForbidden: (403, "DENIED"),
    theirs.InvalidManifest: (404, "UNSUPPORTED"),  # of a kind that is not known, or damaged
    theirs.InvalidReference: (400, "NAME_INVALID"),
}
_STATUS = {**STATUS, "unauthorized": 403, "untrusted": 403, "unsupported": 404, "integrity": 502}
_CODES = {
    "unauthorized": "DENIED",  # it is the agent whom the registry does not let in: new credentials would not help
    "access_denied": "DENIED",
    "untrusted": "DENIED",
    "not_found": "BLOB_UNKNOWN",
    "rate_limited": "TOOMANYREQUESTS",
    "invalid_reference": "NAME_INVALID",
    "unsupported": "UNSUPPORTED",
}


def refusal(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    document = {"errors": [{"code": code, "message": message, "detail": None}]}
    return Response(msgspec.json.encode(document), status, dict(headers or {}), media_type="application/json")


def failed(error: ModeldistError) -> Response:
    """What this node, its control plane or the registry ran into while a shard was read."""
    return refusal(_STATUS.get(error.code, 500), _CODES.get(error.code, "UNKNOWN"), str(error), _after(error))


def refused(error: theirs.ModelPackError, challenge: str) -> Response:
    """What the registry told somebody who asked through us. `challenge`: what they are asked for where it wants to know
    who they are."""
    message = f"{error.message} {error.remedy}".strip()
    if isinstance(error, theirs.RegistryUnauthorized):
        return refusal(401, "UNAUTHORIZED", message, {"WWW-Authenticate": challenge})
    if isinstance(error, theirs.RegistryNotFound):
        return refusal(404, _UNKNOWN.get(error.what, "NAME_UNKNOWN"), message)
    if isinstance(error, theirs.RegistryRateLimited):
        return refusal(429, "TOOMANYREQUESTS", message, _after(error))
    status, code = next((_TOLD[kind] for kind in type(error).__mro__ if kind in _TOLD), (502, "UNKNOWN"))
    return refusal(status, code, message)


def _after(error: ModeldistError | theirs.RegistryRateLimited) -> dict[str, str]:
    return {} if error.retry_after is None else {"Retry-After": str(max(1, round(error.retry_after)))}
