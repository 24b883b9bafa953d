"""A control plane that is not there for a session, whatever it does instead."""

from __future__ import annotations

import pytest
from websockets.asyncio.server import ServerConnection, serve

from modeldist.agent.link import WebSocketLink
from modeldist.errors import ControlPlaneUnreachable
from modeldist.scheduler.messages import Location
from modeldist.session.messages import PROTOCOL, Hello


async def test_one_that_hangs_up_at_once() -> None:
    """Before or after the hello: either way it is tried again later."""

    async def hang_up(socket: ServerConnection) -> None:
        socket.transport.abort()

    async with serve(hang_up, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        link = WebSocketLink(f"http://127.0.0.1:{port}", "token")
        for _ in range(20):
            with pytest.raises(ControlPlaneUnreachable):
                async with link.open(_hello()):
                    pass


def _hello() -> Hello:
    return Hello(PROTOCOL, "node", "name", version="0", address="", location=Location())
