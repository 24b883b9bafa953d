"""Sends what is due, and writes down what became of it.

A delivery is in the store from the moment its pull is, so neither a kill nor a restart forgets it. It is due when the
pull's end is written. Whoever takes it answers 2xx; anything else is tried again, later each time. Being sent twice
(a kill between the answer and the note of it) is told by the same `webhook-id`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import httpx2
import msgspec

from modeldist import __version__
from modeldist.control.pulls.pull import Pull
from modeldist.control.webhooks.destinations import Destinations
from modeldist.control.webhooks.signing import signed
from modelpack.oci.addresses import Resolve, resolve_by_system

log = logging.getLogger(__name__)

PAUSES = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0)
"""Seconds between two attempts; ten attempts in about 16 hours, then it is given up."""

TIMEOUT = 15.0  # seconds for one attempt
AT_ONCE = 16
LOOKED_FOR = 0.5  # seconds between two looks at what is due


class DeliveryStore(Protocol):
    """What is needed of `store.deliveries.Deliveries`."""

    async def due(self, now: float, limit: int) -> Sequence[tuple[Pull, int]]: ...
    async def taken(self, pull: str, attempts: int) -> None: ...
    async def again(self, pull: str, attempts: int, at: float | None, error: str) -> None: ...


class Webhooks:
    """`now` is seconds since the epoch; `payload` the body that tells of a pull that ended."""

    def __init__(
        self,
        store: DeliveryStore,
        now: Callable[[], float],
        payload: Callable[[Pull], object],
        destinations: Destinations,
        resolve: Resolve = resolve_by_system,
    ) -> None:
        self._store = store
        self._destinations = destinations
        self._resolve = resolve
        self._now = now
        self._payload = payload

    async def run(self) -> None:
        """Deliver until cancelled."""
        limits = httpx2.Limits(max_connections=AT_ONCE, max_keepalive_connections=0)
        async with httpx2.AsyncClient(timeout=TIMEOUT, limits=limits, trust_env=False) as http:
            while True:
                try:
                    found = await self._store.due(self._now(), AT_ONCE)
                    async with asyncio.TaskGroup() as sending:
                        for pull, attempts in found:
                            sending.create_task(self._deliver(http, pull, attempts))
                except Exception:
                    log.exception("webhooks were not delivered; trying again")
                    await asyncio.sleep(PAUSES[0])
                    continue
                if not found:
                    await asyncio.sleep(LOOKED_FOR)

    async def _deliver(self, http: httpx2.AsyncClient, pull: Pull, attempts: int) -> None:
        assert pull.webhook is not None
        error = await self._post(http, pull, pull.webhook.url, pull.webhook.secret)
        if not error:
            await self._store.taken(pull.id, attempts + 1)
            return
        at = self._now() + PAUSES[attempts] if attempts < len(PAUSES) else None
        log.warning("the webhook of pull %s was not taken (attempt %d): %s", pull.id, attempts + 1, error)
        await self._store.again(pull.id, attempts + 1, at, error)

    async def _post(self, http: httpx2.AsyncClient, pull: Pull, url: str, secret: str) -> str:
        """What went wrong; empty when it was taken."""
        body = msgspec.json.encode(self._payload(pull))
        headers = signed(f"pull_{pull.id}", int(self._now()), body, secret)
        headers |= {"content-type": "application/json", "user-agent": f"modeldist/{__version__}"}
        try:
            async with asyncio.timeout(TIMEOUT):
                return await self._sent(http, httpx2.URL(url), body, headers)
        except TimeoutError:
            return f"It did not answer within {TIMEOUT:.0f} seconds."
        except Exception as error:  # whatever a URL that nobody can reach makes of it: only this one is lost
            return f"It cannot be reached: {str(error) or type(error).__name__}."

    async def _sent(self, http: httpx2.AsyncClient, url: httpx2.URL, body: bytes, headers: dict[str, str]) -> str:
        """To the first address that takes it, of those that it may go to: what was looked at is what is connected to,
        whatever the name means a moment later."""
        host = url.raw_host.decode("ascii")
        addresses = tuple(dict.fromkeys(await self._resolve(host)))
        if not addresses:
            return f"It cannot be reached: nobody knows the name {host}."
        refusals = [self._destinations.refused(host, address) for address in addresses]
        open_to_us = [address for address, why in zip(addresses, refusals, strict=True) if not why]
        if not open_to_us:
            return refusals[0]
        for address in open_to_us:
            last = address == open_to_us[-1]
            request = http.build_request(
                "POST",
                url.copy_with(host=address),
                content=body,
                headers={**headers, "host": url.netloc.decode("ascii")},
                extensions={"sni_hostname": host},
            )
            try:
                answer = await http.send(request, stream=True)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                if last:
                    raise
                continue
            await answer.aclose()
            return "" if answer.is_success else f"It answered {answer.status_code}."
        raise AssertionError("one of them was the last")
