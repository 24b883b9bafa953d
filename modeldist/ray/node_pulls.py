"""One node of a Ray cluster: the pulls that Ray's programs ask of the agent there.

There is one such actor per node, so replicas that start together ask the agent once.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from modeldist.agent.config import default_socket
from modeldist.agent.local_client import LocalAgent
from modeldist.errors import ErrorInfo, ModeldistError
from modeldist.ray.copies import NodeCopy
from modeldist.ray.pulling import pulled

_AT_ONCE = 256  # pulls, each of which has a thread that waits for it


class NodePulls:
    """The actor's class. `node`: Ray's id of the node it is on; `socket`: of the agent, else where that is by default
    (MODELDIST_SOCKET of the raylet)."""

    def __init__(self, node: str, socket: str | None) -> None:
        self._node = node
        self._agent = LocalAgent(Path(socket) if socket else default_socket())
        self._running: dict[str, asyncio.Future[NodeCopy | ErrorInfo]] = {}
        self._threads = ThreadPoolExecutor(_AT_ONCE)

    async def pull(self, reference: str) -> NodeCopy | ErrorInfo:
        """Where the model is, once it is there. Who asks while it comes waits for the same pull. An error is returned,
        as Ray would wrap what is raised into one of its own."""
        coming = self._running.get(reference)
        if coming is None:
            coming = asyncio.get_running_loop().run_in_executor(self._threads, self._pull, reference)
            self._running[reference] = coming
            coming.add_done_callback(lambda _: self._running.pop(reference, None))
        return await asyncio.shield(coming)  # one who gives up does not stop the others

    def _pull(self, reference: str) -> NodeCopy | ErrorInfo:
        try:
            done = pulled(self._agent, reference)
        except ModeldistError as error:
            return error.info()
        return NodeCopy(self._node, Path(done.path), done.resolved, done.origin, done.peers, done.local, done.stale)
