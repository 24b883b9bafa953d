"""What the database says of tokens, kept at hand: which nodes are enrolled, and whose sessions and streams of events
have lost their token.

Tokens are also made and revoked by commands beside this process, so it looks now and then; what it does itself it knows
at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from modeldist.control.admission.rooms import NOBODY
from modeldist.control.core import ControlCore
from modeldist.control.ports import Clock
from modeldist.control.pulls.watch import Watch
from modeldist.control.store.tokens import REMEMBERED_FOR, Tokens

log = logging.getLogger(__name__)

NO_TOKEN = "its token was revoked or has expired"  # noqa: S105 - what is told of one


class TokenWatch:
    """`clock`: that of the core's sessions. `watches`: the streams of events there are now."""

    def __init__(
        self, tokens: Tokens, core: ControlCore, clock: Clock, watches: Callable[[], Sequence[Watch]] = list
    ) -> None:
        self._tokens = tokens
        self._core = core
        self._clock = clock
        self._watches = watches
        self._nodes: set[str] = set()

    def enrolled(self, node: str) -> bool:
        """Whether it has a token of its own."""
        return node in self._nodes

    def enrols(self, node: str) -> None:
        """From now on."""
        self._nodes.add(node)

    async def look(self) -> None:
        """Raises SQLAlchemyError, OSError, NotLeading."""
        began, before, watches = self._clock(), set(self._nodes), self._watches()
        good = await self._tokens.good()
        enrolled_meanwhile = self._nodes - before
        self._nodes = {token.name for token in good if token.scope == "node"} | enrolled_meanwhile
        holders = {token.id for token in good} | {NOBODY}
        for session in list(self._core.sessions.values()):
            if session.joined.holder not in holders and session.connected_at < began:
                self._core.disconnect(session, NO_TOKEN)
        for watch in watches:
            if watch.holder not in holders:
                watch.send_away()

    async def run(self, interval: float = REMEMBERED_FOR) -> None:
        """Look until cancelled. Sessions and streams stay while the database is away."""
        while True:
            await asyncio.sleep(interval)
            if not self._core.leads():
                continue
            try:
                await self.look()
            except Exception as error:
                log.warning("cannot ask the database which tokens there are: %s", error)
