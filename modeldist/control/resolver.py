"""Resolving a reference once for everybody who asks.

A thousand nodes that start at once make one request: askers of the same reference share a flight. A reference that
was resolved before is re-checked with `still` (one HEAD) instead of being resolved again. Failures are remembered for
a few seconds, because the herd behind a failing reference is as large as the one behind a good one.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from modeldist.artifact import Artifact, Digest
from modeldist.control.admission.rooms import NOBODY, Rooms
from modeldist.control.ports import Catalogue, Clock, Resolves
from modeldist.errors import InvalidReference, ModeldistError, OriginUnavailable
from modeldist.scheduler.messages import Priority
from modeldist.tracing.redaction import shown

ERROR_LIFETIME = 10.0  # seconds
LONGEST_ERROR_LIFETIME = 60.0  # seconds, however long an origin's Retry-After is
FLIGHT_LIMIT = 300.0  # seconds for one resolution, retries included
REMEMBERED = 1024  # failures, and artifacts in a MemoryCatalogue
MAX_REFERENCE = 2048  # bytes
_CREDENTIALS = re.compile(r"(?:https?|s3|oci)://[^/?#]*@", re.IGNORECASE)

Held = Callable[[Digest], Artifact | None]
"""An artifact by its digest, from a node's own store."""


def check_reference(reference: str) -> str:
    """The shape every reference has, whatever its kind. Raises InvalidReference."""
    if not reference or len(reference.encode("utf-8", "replace")) > MAX_REFERENCE:
        raise InvalidReference(
            f"A reference has between 1 and {MAX_REFERENCE} bytes; this one has {len(reference)} characters.",
            remedy="Write it as org/model:tag, registry/org/model@sha256:…, hf://org/model@revision, "
            "modelscope://org/model@revision or a URL.",
        )
    if not reference.isprintable() or any(c.isspace() for c in reference):
        raise InvalidReference(
            f"{reference[:100]!r} holds white space or characters that cannot be printed.",
            remedy="Remove them; a space inside a URL is written %20.",
        )
    if _CREDENTIALS.match(reference):
        raise InvalidReference(
            f"{shown(reference)} was written with a user or a password in it, and references are for all to see.",
            remedy="Leave them out: credentials are given to the control plane and its agents, never in a reference.",
        )
    return reference


class MemoryCatalogue:
    """Known artifacts of one process, the least recently remembered forgotten first.

    `held` looks an artifact up in the node's own store, so that a process which just started needs no manifest for a
    model that is already here. Only for a control plane that serves one node.
    """

    def __init__(self, held: Held | None = None, limit: int = REMEMBERED) -> None:
        self._held = held
        self._limit = limit
        self._artifacts: OrderedDict[str, Artifact] = OrderedDict()  # by reference

    async def candidate(self, reference: str, known: Digest | None) -> Artifact | None:
        if found := self._artifacts.get(reference):
            return found
        return self._held(known) if self._held is not None and known is not None else None

    async def remember(self, reference: str, artifact: Artifact) -> None:
        self._artifacts[reference] = artifact
        self._artifacts.move_to_end(reference)
        while len(self._artifacts) > self._limit:
            self._artifacts.popitem(last=False)


@dataclass(frozen=True, slots=True)
class _Failure:
    error: ModeldistError
    until: float


class Resolver:
    """Single-flight resolution in front of the origins. `accepts`: whether what was resolved may still be had.
    `rooms`: how many flights there may be."""

    def __init__(
        self,
        origins: Resolves,
        catalogue: Catalogue,
        clock: Clock,
        accepts: Callable[[Artifact], bool] = lambda artifact: True,
        rooms: Rooms | None = None,
    ) -> None:
        self._rooms = rooms or Rooms()
        self._accepts = accepts
        self._origins = origins
        self._catalogue = catalogue
        self._clock = clock
        self._flights: dict[str, asyncio.Task[Artifact]] = {}
        self._failures: OrderedDict[str, _Failure] = OrderedDict()

    async def resolve(
        self, reference: str, known: Digest | None = None, *, holder: str = NOBODY, priority: Priority = Priority.PULL
    ) -> Artifact:
        """What `reference` means now. `known`: an artifact the asker has for it, worth re-checking first. `holder`:
        whose token asks.

        Raises InvalidReference, OriginError, IntegrityError, Unsupported; Overloaded where nobody asks for it already
        and there is no room for one more.
        """
        check_reference(reference)
        if failure := self._failures.get(reference):
            if self._clock() < failure.until:
                raise _again(failure.error)
            del self._failures[reference]
        flight = self._flights.get(reference)
        if flight is None:
            self._rooms.take(self._rooms.resolves, holder, priority)
            flight = asyncio.create_task(self._fly(reference, known), name=f"resolve {reference}")
            self._flights[reference] = flight
            flight.add_done_callback(lambda done: self._landed(reference, done, holder))
        # An asker that goes away must not take the others' answer with it.
        return await asyncio.shield(flight)

    async def last_known(self, reference: str) -> Artifact | None:
        """What the reference meant when the origin could last be asked, as far as is remembered and the policy lets
        pass."""
        last = await self._catalogue.candidate(reference, None)
        return last if last is not None and self._accepts(last) else None

    async def _fly(self, reference: str, known: Digest | None) -> Artifact:
        try:
            async with asyncio.timeout(FLIGHT_LIMIT):
                return await self._current(reference, known)
        except TimeoutError:
            raise OriginUnavailable(
                f"{reference}: not resolved after {FLIGHT_LIMIT:.0f} seconds.",
                remedy="See whether the origin answers at all, then pull again.",
            ) from None

    async def _current(self, reference: str, known: Digest | None) -> Artifact:
        candidate = await self._catalogue.candidate(reference, known)
        if candidate is not None and await self._origins.still(candidate, reference):
            return candidate
        artifact = await self._origins.resolve(reference)
        await self._catalogue.remember(reference, artifact)
        return artifact

    def _landed(self, reference: str, flight: asyncio.Task[Artifact], holder: str) -> None:
        self._flights.pop(reference, None)
        self._rooms.free(self._rooms.resolves, holder)
        if flight.cancelled():
            return
        error = flight.exception()  # also marks it as retrieved when every asker is gone
        if isinstance(error, ModeldistError):
            lifetime = min(max(ERROR_LIFETIME, error.retry_after or 0.0), LONGEST_ERROR_LIFETIME)
            self._failures[reference] = _Failure(error, self._clock() + lifetime)
            while len(self._failures) > REMEMBERED:
                self._failures.popitem(last=False)

    async def close(self) -> None:
        """Stop flights that nobody will hear of."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)


def _again(error: ModeldistError) -> ModeldistError:
    """A fresh exception for each asker: one instance raised many times grows its traceback."""
    return type(error)(error.message, remedy=error.remedy, retry_after=error.retry_after)
