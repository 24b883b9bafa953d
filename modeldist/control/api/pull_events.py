"""A pull's progress as Server-Sent Events: `snapshot`, then `node` for each node that changed, then `end`.

A slow reader gets fewer, newer events, never a backlog. After a lost connection the stream starts with a snapshot
again, so `Last-Event-ID` may be sent and changes nothing. A stream that stops without `end` is to be asked for again:
so stops one whose token was revoked or has expired, and whoever asks again is told that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager

import msgspec
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from modeldist.control.api.examples import EXAMPLES
from modeldist.control.api.node_by_node import document
from modeldist.control.pulls.pull import Pull
from modeldist.control.pulls.shown import node_view
from modeldist.control.pulls.watch import Watch

EVENT: dict[str, object] = {
    "title": "PullEvent",
    "description": "One event of the stream.",
    "type": "object",
    "required": ["event", "id", "data"],
    "properties": {
        "event": {"type": "string", "enum": ["snapshot", "node", "end"]},
        "id": {"type": "string"},
        "data": {
            "type": "string",
            "description": "JSON: of `node` a node of the pull, of the others the pull.",
            "contentMediaType": "application/json",
            "contentSchema": {
                "anyOf": [{"$ref": "#/components/schemas/PullView"}, {"$ref": "#/components/schemas/PullNodeView"}]
            },
        },
    },
}
EVENT_EXAMPLE = {"event": "snapshot", "id": "1", "data": msgspec.json.encode(EXAMPLES["PullView"]).decode()}

END = b"\n\n"
KEEP_ALIVE = 15.0  # seconds of silence before a comment shows that the stream lives


class PullEvents(StreamingResponse):
    """Follows `pull` until it ends or the client goes; leaves `watching` in every case."""

    def __init__(self, pull: Pull, watch: Watch, watching: AbstractContextManager[Watch]) -> None:
        super().__init__(
            _events(pull, watch),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
        self._watching = watching

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._watching.__exit__(None, None, None)


async def _events(pull: Pull, watch: Watch) -> AsyncIterator[bytes]:
    async for part in _told(pull, watch):
        if watch.sent_away:  # in the middle of it, too: a reader may take his time over a large pull
            return
        yield part


async def _told(pull: Pull, watch: Watch) -> AsyncIterator[bytes]:
    number = 0

    def begin(kind: str) -> bytes:
        nonlocal number
        number += 1
        return b"event: %s\nid: %d\ndata: " % (kind.encode(), number)

    for part in _all_of(begin("snapshot"), pull):
        yield part
    while pull.running:
        nodes, over = await watch.changes(KEEP_ALIVE)
        for node in sorted(nodes):
            yield begin("node") + msgspec.json.encode(node_view(pull.nodes[node])) + END
        if over:
            break
        if not nodes:
            yield b": nothing new\n\n"
    if not pull.running:
        for part in _all_of(begin("end"), pull):
            yield part


def _all_of(beginning: bytes, pull: Pull) -> Iterator[bytes]:
    for part in document(pull):
        yield beginning + part
        beginning = b""
    yield END
