"""Who certifies nodes now, as the database has it: a command beside this process may begin to replace it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from modeldist.control.authorities import Authorities
from modeldist.control.store.meta import Meta
from modeldist.transfer.tls.authority import Authority

log = logging.getLogger(__name__)

LOOK = 5.0  # seconds between two looks
_SAID = {
    "coming": "nodes are told of a new authority over nodes, which will certify them later",
    "leaving": "the new authority certifies nodes from now on; what the old one certified is still trusted",
    "": "the old authority over nodes is trusted no more",
}


class AuthorityWatch:
    """`time`: the cluster's; `now`: seconds since the epoch; `lifetime`: of a node's certificate, in seconds."""

    def __init__(
        self,
        meta: Meta,
        time: Callable[[], float],
        now: Callable[[], float],
        lifetime: float,
        leads: Callable[[], bool],
    ) -> None:
        self._meta = meta
        self._time = time
        self._now = now
        self._lifetime = lifetime
        self._leads = leads
        self._known: Authorities | None = None

    async def look(self) -> None:
        """Take the step that is due. Call it before anything else. Raises SQLAlchemyError, OSError, NotLeading."""
        while True:
            stored = await self._meta.authorities()
            due = stored.at(self._time(), self._lifetime)
            if due == stored or await self._meta.keep_authorities(stored, due):
                break  # else something else was written meanwhile
        if self._known is not None and due.step != self._known.step:
            log.info(_SAID[due.step])
        if due != self._known:
            self._known = due
            self._authority = Authority(due.current, self._now)

    def certify(self, request: str, node: str) -> tuple[bytes, bytes]:
        """PEM: a certificate for the key that signed `request`, and what to trust. Raises UsageError."""
        assert self._known is not None, "nobody looked"
        return self._authority.certify(request, node, self._lifetime), self._known.trusted

    async def run(self, interval: float = LOOK) -> None:
        """Look until cancelled. While the database is away it stays as it is."""
        while True:
            await asyncio.sleep(interval)
            if not self._leads():
                continue
            try:
                await self.look()
            except Exception as error:
                log.warning("cannot ask the database about the authority over nodes: %s", error)
