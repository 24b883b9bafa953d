"""Errors in the hub's words: huggingface_hub goes by `X-Error-Code`, and shows people `X-Error-Message`."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.responses import Response

from modeldist.agent.local_api import STATUS
from modeldist.errors import ModeldistError
from modeldist.origins.hub_admission import HubSays

_NOT_KNOWN = "Invalid credentials in Authorization header"
_CODES = {"unauthorized": "GatedRepo", "access_denied": "GatedRepo", "not_found": "RepoNotFound"}
_NODES_MAY_NOT = {"unauthorized", "access_denied"}
_STATUS = {
    **STATUS,
    "invalid_reference": 404,
    "untrusted": 403,
    "unauthorized": 403,  # of the nodes: who asks was let in
    "integrity": 502,
    "unsafe_artifact": 502,
    "cancelled": 503,
}


def refusal(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """`code` may be empty: an error the hub has no name for."""
    told = {**(headers or {}), "X-Error-Message": _line(message)}
    if code:
        told["X-Error-Code"] = code
    return Response(msgspec.json.encode({"error": message}), status, told, media_type="application/json")


def refused(says: HubSays) -> Response:
    """As the hub itself said. Of a 401 without a code clients guess that nobody may know of the repository, but only
    where they speak https."""
    guessed = "RepoNotFound" if says.status == 401 and says.message != _NOT_KNOWN else ""
    return refusal(says.status, says.code or guessed, says.message, _after(says.retry_after))


def entry_not_found(path: str, repo: str, commit: str) -> Response:
    """With the commit, so that the client may remember that there is no such file in it."""
    return refusal(404, "EntryNotFound", f"{repo} has no {path} at {commit}.", {"X-Repo-Commit": commit})


def failed(error: ModeldistError) -> Response:
    """What this node, its control plane or the origin ran into."""
    message = nodes_may_not(error) if error.code in _NODES_MAY_NOT else str(error)
    return refusal(_STATUS.get(error.code, 500), _CODES.get(error.code, ""), message, _after(error.retry_after))


def nodes_may_not(error: ModeldistError) -> str:
    """Of what the origin let read who asks."""
    return f"You may read this, but the agent or its control plane, which fetch it, may not. For them: {error}"


def _after(seconds: float | None) -> dict[str, str]:
    return {} if seconds is None else {"Retry-After": str(max(1, round(seconds)))}


def _line(text: str) -> str:
    """As a header may hold it."""
    return " ".join(text.encode("ascii", "replace").decode().split())[:1000]
