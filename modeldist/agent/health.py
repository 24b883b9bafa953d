"""Whether this agent does its work: what keeps it from that, in sentences. None of it: it does."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

from modeldist.agent.engine import Engine

WITHIN = 5.0  # seconds; a disk that takes longer to take a few KiB is none that models come to
_BLOCK = bytes(4096)


class Health:
    """Of one engine, on its loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writing: asyncio.Future[str] | None = None

    def broken(self) -> str:
        """What only a restart mends."""
        ended = self._engine.node.loop.broken
        return f"This agent's {', '.join(sorted(ended))} ended: its log says why." if ended else ""

    async def unready(self) -> str:
        """Why it could not take a pull now."""
        session = self._engine.session
        if broken := self.broken():
            return broken
        if not session.connected:
            return f"It has no session with the control plane. {session.last_error or ''}".rstrip()
        return await self._unwritable()

    async def _unwritable(self) -> str:
        """Of the store. One thread waits for a disk that does not answer, however often this is asked."""
        if self._writing is None or self._writing.done():
            self._writing = asyncio.ensure_future(asyncio.to_thread(_write, self._engine.store.root))
        done, _ = await asyncio.wait({self._writing}, timeout=WITHIN)
        return self._writing.result() if done else f"The store has taken nothing for {WITHIN:.0f} seconds."


def _write(store: Path) -> str:
    try:
        handle, name = tempfile.mkstemp(prefix="ready-", dir=store / "tmp")
        try:
            os.write(handle, _BLOCK)
        finally:
            os.close(handle)
            os.unlink(name)  # noqa: PTH108 - as it was made
    except OSError as error:
        return f"The store {store} cannot be written: {error.strerror}."
    return ""
