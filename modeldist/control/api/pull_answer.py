"""A pull as an answer. One of ten thousand nodes is some megabytes, so its parts are made as the client takes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from modeldist.control.api.admitting import hold
from modeldist.control.api.pull_views import TOGETHER, document
from modeldist.control.pulls.pull import Pull

_JSON = "application/json"


def pull_answer(request: Request, pull: Pull, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Raises Overloaded where there is no room for a large pull, which may have been read for this answer alone."""
    if len(pull.nodes) <= TOGETHER:
        return Response(b"".join(document(pull)), status, headers, _JSON)
    if request.method in ("GET", "HEAD"):
        hold(request, pull.held)
    return StreamingResponse(_parts(pull), status, headers, _JSON)


async def _parts(pull: Pull) -> AsyncIterator[bytes]:
    for part in document(pull):  # on the loop itself, where pulls change
        yield part
