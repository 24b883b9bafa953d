"""Keeps this node's certificate good: a new one at half of the old one's life, with what uses it noticing nothing.

Connections that are open keep what they began with; new ones show the new certificate from the moment it is here.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from modeldist.agent.identity import NodeIdentity
from modeldist.errors import ControlPlaneRefused, ModeldistError
from modeldist.logger import Logger
from modeldist.transfer.tls.security import PieceSecurity

log = Logger(__name__)

SPREAD = 0.2  # of half a lifetime: a fleet that was enrolled at once does not ask at once for ever
LONGEST_RETRY = 300.0  # seconds


class CertificateKeeper:
    """`run()` until cancelled. `renew` puts a new certificate in the place of the node's."""

    def __init__(
        self,
        identity: NodeIdentity,
        security: PieceSecurity,
        renew: Callable[[], Awaitable[None]],
        rng: random.Random | None = None,
    ) -> None:
        self._identity = identity
        self._security = security
        self._renew = renew
        self._rng = rng or random.Random()

    async def run(self) -> None:
        """Show what there is, and renew it for ever."""
        self._security.show(self._identity.contexts())
        while True:
            await asyncio.sleep(self._wait())
            try:
                await self._renew()
            except Exception as error:  # whatever it is, the next attempt may be better
                await self._failed(error)
            else:
                log.info("this node has a new certificate", seconds=round(self._identity.left()))
            self._security.show(self._identity.contexts())

    def _wait(self) -> float:
        half = self._identity.half()
        return max(0.0, self._identity.left() - half - self._rng.uniform(0, SPREAD) * half)

    async def _failed(self, error: Exception) -> None:
        left = self._identity.left()
        if not isinstance(error, ModeldistError):
            log.exception("this node's certificate could not be renewed")
        say = log.error if isinstance(error, ControlPlaneRefused) or left <= 0 else log.warning
        say("this node's certificate is not renewed", error=str(error), seconds_left=round(max(0.0, left)))
        longest = min(LONGEST_RETRY, max(1.0, self._identity.half() / 10))
        await asyncio.sleep(self._rng.uniform(longest / 2, longest))
