"""Who may read which repository, and what its tags are now.

What this node holds it got with its own credentials, so those who ask are held against the registry with theirs, also
when every byte is here: by a HEAD, which no registry counts as a pull. A registry lets somebody into a repository as a
whole, so an answer is good for all of it for `GOOD_FOR` seconds. That a repository has a blob it must have said itself:
whoever may push to one can have a manifest there name whatever they would like to read. While the registry is away,
what it last said to the same credentials counts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from modeldist.origins.registry_door import RegistryDoor
from modelpack.errors import RegistryForbidden, RegistryNotFound, RegistryRateLimited, RegistryUnauthorized
from modelpack.errors import RegistryUnavailable as Unavailable
from modelpack.oci.credentials import Credential
from modelpack.oci.manifests import ManifestHead
from modelpack.reference import Reference

if TYPE_CHECKING:
    from modelpack.oci.client import RegistryClient

GOOD_FOR = 60.0  # seconds; the blobs of one pull are asked for within it, or one by one
REMEMBERED = 16_384

Caller = Credential | None
K = TypeVar("K")
V = TypeVar("V")


class Admissions:
    """One event loop. `clock` in seconds. What is raised are modelpack's errors, as the registry told the caller."""

    def __init__(self, door: RegistryDoor, clock: Callable[[], float]) -> None:
        self._door = door
        self._clock = clock
        self._heads: OrderedDict[tuple[str, str, Caller], ManifestHead] = OrderedDict()
        self._readers: OrderedDict[tuple[str, Caller], float] = OrderedDict()  # of repositories; since when
        self._blobs: OrderedDict[tuple[str, str], int | None] = OrderedDict()  # of repositories; sizes, if they said

    async def manifest(self, ref: Reference, caller: Caller) -> ManifestHead:
        """What the tag or digest is, for this caller. Raises RegistryError, DigestMismatch."""
        at = (ref.name, ref.version, caller)
        known = self._heads.get(at)
        if known is not None and ref.digest and self._may_read(ref, caller):
            return known
        try:
            async with self._door.client_of(caller) as client:
                head = await client.head_manifest(ref)
        except (Unavailable, RegistryRateLimited):
            if known is not None and (ref.name, caller) in self._readers:
                return known
            raise
        except RegistryNotFound:
            self._heads.pop(at, None)
            raise
        except (RegistryUnauthorized, RegistryForbidden):
            self._readers.pop((ref.name, caller), None)
            raise
        _put(self._heads, at, head)
        _put(self._heads, (ref.name, head.digest, caller), head)
        _put(self._readers, (ref.name, caller), self._clock())
        return head

    async def blob(self, ref: Reference, caller: Caller, told: int | None) -> int:
        """Bytes of a blob, for a caller who may read it. `told`: as its manifest has it. Raises RegistryError."""
        at = (ref.name, ref.version)
        there, known = at in self._blobs, self._blobs.get(at) if told is None else told
        if there and known is not None and self._may_read(ref, caller):
            return known
        try:
            async with self._door.client_of(caller) as client:
                size = await _size(client, ref, told)
        except (Unavailable, RegistryRateLimited):
            if there and known is not None and (ref.name, caller) in self._readers:
                return known
            raise
        except RegistryNotFound:
            self._blobs.pop(at, None)
            raise
        except (RegistryUnauthorized, RegistryForbidden):
            self._readers.pop((ref.name, caller), None)
            raise
        _put(self._blobs, at, size if told is None else self._blobs.get(at))
        _put(self._readers, (ref.name, caller), self._clock())
        return size

    def _may_read(self, ref: Reference, caller: Caller) -> bool:
        since = self._readers.get((ref.name, caller))
        return since is not None and self._clock() - since < GOOD_FOR


async def _size(client: RegistryClient, ref: Reference, told: int | None) -> int:
    """As the registry has it, or as it was told, if the registry has the blob."""
    if told is None:
        return await client.blob_size(ref, ref.version)
    if await client.has_blob(ref, ref.version):
        return told
    raise RegistryNotFound(f"{ref.registry} has no blob {ref.version} in {ref.repository}.", what="blob")


def _put(known: OrderedDict[K, V], key: K, value: V) -> None:
    known[key] = value
    known.move_to_end(key)
    while len(known) > REMEMBERED:
        known.popitem(last=False)
