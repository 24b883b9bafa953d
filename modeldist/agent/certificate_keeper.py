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
LOOK = 60.0  # seconds between two looks at the clock


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
        while True:
            self._show()
            await self._until_due()
            if not await self._renewed():
                await asyncio.sleep(self._pause())

    def _show(self) -> None:
        self._security.show(self._identity.contexts())

    async def _until_due(self) -> None:
        """Looked at now and then: clocks are set, and stand still in machines that sleep."""
        spread = self._rng.uniform(0, SPREAD)
        wait = self._wait(spread)
        while wait > 0:
            await asyncio.sleep(min(wait, LOOK))
            wait = self._wait(spread)

    def _wait(self, spread: float) -> float:
        return self._identity.left() - (1 + spread) * self._identity.half()

    async def _renewed(self) -> bool:
        """Whether a certificate came that is not due again at once."""
        try:
            await self._renew()
        except Exception as error:  # whatever it is, the next attempt may be better
            self._failed(error)
            return False
        self._show()
        left = self._identity.left()
        if self._wait(SPREAD) <= 0:
            log.error(
                "this node's new certificate is half over: its clock is ahead of the control plane's",
                seconds_left=round(left),
                remedy="Set the clocks of both.",
            )
            return False
        log.info("this node has a new certificate", seconds=round(left))
        return True

    def _failed(self, error: Exception) -> None:
        left = self._identity.left()
        if not isinstance(error, ModeldistError):
            log.exception("this node's certificate could not be renewed")
        say = log.error if isinstance(error, ControlPlaneRefused) or left <= 0 else log.warning
        say("this node's certificate is not renewed", error=str(error), seconds_left=round(max(0.0, left)))

    def _pause(self) -> float:
        longest = min(LONGEST_RETRY, max(1.0, self._identity.half() / 10))
        return self._rng.uniform(longest / 2, longest)
