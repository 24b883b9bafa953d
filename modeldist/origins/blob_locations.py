"""Where blobs are read right now: found once for all readers, until the address ages or is refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelpack.oci.blobs import BlobLocation

Blob = tuple[str, str]
"""Repository and digest."""
_SPENT = 0.8  # of an address's life; the rest is for the read that starts with it
_KEPT = 4096  # addresses; the oldest go first


@dataclass(frozen=True)
class _Found:
    location: BlobLocation
    until: float | None  # by the clock


class BlobLocations:
    """For one event loop; callers asking at once for one blob share one look-up."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._found: dict[Blob, _Found] = {}
        self._asking: dict[Blob, asyncio.Task[BlobLocation]] = {}

    async def find(
        self, blob: Blob, refused: BlobLocation | None, look_up: Callable[[], Awaitable[BlobLocation]]
    ) -> BlobLocation:
        """The blob's location; not the one that was `refused`, and none that is about to expire."""
        found = self._found.get(blob)
        if found and found.location is not refused and (found.until is None or self._clock() < found.until):
            return found.location
        if blob not in self._asking:
            self._asking[blob] = asyncio.ensure_future(self._ask(blob, look_up))
        return await asyncio.shield(self._asking[blob])

    async def _ask(self, blob: Blob, look_up: Callable[[], Awaitable[BlobLocation]]) -> BlobLocation:
        try:
            location = await look_up()
        finally:
            del self._asking[blob]
        life = location.expires_in
        self._found.pop(blob, None)
        self._found[blob] = _Found(location, None if life is None else self._clock() + life * _SPENT)
        while len(self._found) > _KEPT:
            del self._found[next(iter(self._found))]
        return location
