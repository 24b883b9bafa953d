"""What tells of a pull, as an answer, whose parts are made as the client takes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from modeldist.control.api.admitting import hold
from modeldist.control.api.node_by_node import TOGETHER
from modeldist.control.pulls.pull import Pull

_JSON = "application/json"


def pull_answer(
    request: Request,
    pull: Pull,
    document: Iterator[bytes],
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """`document`, see `node_by_node`. Raises Overloaded where there is no room for a large pull, which may have been
    read for this answer alone."""
    if len(pull.nodes) <= TOGETHER:
        return Response(b"".join(document), status, headers, _JSON)
    if request.method in ("GET", "HEAD"):
        hold(request, pull.held)
    return StreamingResponse(_parts(document), status, headers, _JSON)


async def _parts(document: Iterator[bytes]) -> AsyncIterator[bytes]:
    for part in document:  # on the loop itself, where pulls change
        yield part
