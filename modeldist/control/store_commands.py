"""Pin, unpin, evict: what the control plane asks of nodes' stores, and waits for. No web framework, no database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from itertools import count

from modeldist.errors import AgentError, ControlPlaneUnreachable, ModeldistError
from modeldist.session.messages import FromControl, StoreAction, StoreAnswer, StoreCommand

PATIENCE = 30.0  # seconds; removing a model of a hundred thousand files takes some


class StoreCommands:
    """`send` queues a message for a node and tells whether it has a session."""

    def __init__(self, send: Callable[[str, FromControl], bool], patience: float = PATIENCE) -> None:
        self._send = send
        self._patience = patience
        self._numbers = count(1)
        self._waiting: dict[tuple[str, int], asyncio.Future[StoreAnswer]] = {}

    async def ask(self, nodes: Iterable[str], action: StoreAction, reference: str) -> dict[str, StoreAnswer]:
        """What each node answered, all asked at once. One that is away or does not answer has an error."""
        asked = sorted(nodes)
        return dict(
            zip(asked, await asyncio.gather(*(self._one(node, action, reference) for node in asked)), strict=True)
        )

    def answered(self, node: str, answer: StoreAnswer) -> None:
        waiting = self._waiting.get((node, answer.request))
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def lost(self, node: str) -> None:
        """Its session is over: it will not answer what it was asked in it."""
        for (whom, number), waiting in self._waiting.items():
            if whom == node and not waiting.done():
                waiting.set_result(StoreAnswer(number, error=_away(node).info()))

    async def _one(self, node: str, action: StoreAction, reference: str) -> StoreAnswer:
        number = next(self._numbers)
        waiting: asyncio.Future[StoreAnswer] = asyncio.get_running_loop().create_future()
        self._waiting[node, number] = waiting
        try:
            if not self._send(node, StoreCommand(number, action, reference)):
                return StoreAnswer(number, error=_away(node).info())
            async with asyncio.timeout(self._patience):
                return await waiting
        except TimeoutError:
            return StoreAnswer(number, error=_silent(node, self._patience).info())
        finally:
            del self._waiting[node, number]


def _away(node: str) -> ModeldistError:
    return ControlPlaneUnreachable(f"Node {node} is not connected.", remedy="Ask again when it is back.")


def _silent(node: str, patience: float) -> ModeldistError:
    return AgentError(
        f"Node {node} did not answer within {patience:.0f} seconds.",
        remedy="Look at its agent's log; one of an older version does not know what it was asked.",
    )
