"""What the control plane asks of this node's store: pin, unpin, evict."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from modeldist.agent.engine import Engine
from modeldist.errors import ErrorInfo, ModeldistError, ModelPinned
from modeldist.logger import Logger
from modeldist.session.messages import StoreAnswer, StoreCommand

log = Logger(__name__)


class StoreCommands:
    """`canonical`: what the store files a reference under. Takes the engine's commands from now on."""

    def __init__(self, engine: Engine, canonical: Callable[[str], str]) -> None:
        self._engine = engine
        self._canonical = canonical
        self._running: set[asyncio.Task[None]] = set()
        engine.inbox.store_command = self._commanded

    async def close(self) -> None:
        """Wait for what runs: a store is not left half emptied."""
        await asyncio.gather(*self._running, return_exceptions=True)

    def _commanded(self, command: StoreCommand) -> None:
        task = asyncio.create_task(self._answer(command), name=f"{command.action} {command.reference}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _answer(self, command: StoreCommand) -> None:
        freed, error = 0, None
        try:
            freed = await asyncio.to_thread(self._carry_out, command)
        except ModeldistError as caught:
            error = caught.info()
        except Exception as caught:
            log.exception("a command of the control plane failed", action=command.action, reference=command.reference)
            error = ErrorInfo(
                ModeldistError.code, f"{command.reference}: {type(caught).__name__}.", "See the agent's log."
            )
        if command.action == "evict" and error is None:
            self._engine.forget_missing()
            self._engine.announce()
        self._engine.session.post(StoreAnswer(command.request, freed, error))

    def _carry_out(self, command: StoreCommand) -> int:
        """The bytes freed."""
        store, reference = self._engine.store, self._canonical(command.reference)
        match command.action:
            case "pin":
                store.pin(reference)
            case "unpin":
                store.unpin(reference)
            case "evict":
                if store.pinned(reference):
                    raise ModelPinned(f"{command.reference} is pinned on this node.", remedy="Unpin it first.")
                return store.remove(reference).bytes_freed
        return 0
