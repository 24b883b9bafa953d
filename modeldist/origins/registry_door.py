"""Registries asked on behalf of others, with their credentials and no others.

A client of modelpack's keeps tokens, so each caller has one of their own while they go on asking.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from modeldist.origins.http_dialing import Dialer
from modeldist.origins.settings import OriginSettings
from modelpack.oci.credentials import Credential

if TYPE_CHECKING:
    from modelpack.oci.client import RegistryClient

MOST = 64  # callers whose clients are kept


@dataclass(frozen=True)
class _Theirs:
    """The credential of one caller (None: nobody in particular), for whichever registry they asked for."""

    credential: Credential | None

    async def lookup(self, registry: str, repository: str = "") -> Credential | None:
        return self.credential


class _Kept:
    def __init__(self, client: RegistryClient) -> None:
        self.client = client
        self.users = 0


class RegistryDoor:
    """One event loop. Questions are put once: callers come again by themselves."""

    def __init__(self, settings: OriginSettings, dialer: Dialer) -> None:
        self.default_registry = settings.default_registry
        self._settings = replace(settings, http=replace(settings.http, retries=0))
        self._dialer = dialer
        self._kept: OrderedDict[Credential | None, _Kept] = OrderedDict()

    @asynccontextmanager
    async def client_of(self, caller: Credential | None) -> AsyncIterator[RegistryClient]:
        """A client that knows this credential, and no other one (None: none at all)."""
        from modeldist.origins.registry_client import open_client

        kept = self._kept.get(caller)
        if kept is None:
            settings = replace(self._settings, registry_credentials=_Theirs(caller))
            kept = self._kept[caller] = _Kept(open_client(settings, self._dialer))
        self._kept.move_to_end(caller)
        kept.users += 1
        try:
            yield kept.client
        finally:
            kept.users -= 1
            await self._close_unused()

    async def close(self) -> None:
        while self._kept:
            _, kept = self._kept.popitem()
            await kept.client.close()

    async def _close_unused(self) -> None:
        idle = [caller for caller, kept in self._kept.items() if not kept.users]
        for caller in idle[: max(0, len(self._kept) - MOST)]:
            await self._kept.pop(caller).client.close()
