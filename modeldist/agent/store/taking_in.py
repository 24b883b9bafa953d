"""Small shards taken into the store whole: read, proven, synced and named by one thread, many with one wait.

A `Partial` is for pieces that come in any order from several nodes. A few KiB that one reader brings need no piece, no
journal and nobody to tell: what is left is a file without a name, locked like a small `Partial`, until it is a blob.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from modeldist.agent.store.blobs import SMALL, Blobs
from modeldist.agent.store.failures import ShardLocked, disk_failure, failure, naming
from modeldist.agent.store.follower import Hashes
from modeldist.agent.store.homes import Nameless, nameless_file
from modeldist.agent.store.places import Places
from modeldist.agent.store.range_locks import RangeLock, RangeLocks
from modeldist.agent.store.sync_many import sync_all
from modeldist.artifact import Digest, Shard, algorithm
from modeldist.errors import IntegrityError, ModeldistError
from modeldist.explain.waits import waits_for
from modeldist.scheduler.pieces import piece_size_for

ReadWhole = Callable[[Shard, int], None]
"""Write all of the shard to the file descriptor, from its beginning. May raise ModeldistError, OSError."""

Taken = tuple[Shard, ModeldistError | None]
"""None where the shard is in the store now."""


class WrongContent(IntegrityError):
    """What was read is not what the shard's digest says."""


@dataclass(slots=True)
class _Incoming:
    """`content`: its sha256, once all of it is proven to be here."""

    shard: Shard
    home: Nameless | None = None
    fd: int = -1
    content: Digest | None = None
    error: ModeldistError | None = None

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        if self.home is not None:
            self.home.close()


class TakingIn:
    """Thread-safe. `spend` is told of the bytes that were allocated."""

    def __init__(self, places: Places, blobs: Blobs, locks: RangeLocks, spend: Callable[[int], None]) -> None:
        self._places = places
        self._blobs = blobs
        self._locks = locks
        self._spend = spend

    def suitable(self, shards: Iterable[Shard]) -> set[Digest]:
        """See Store.suitable."""
        with naming("look for partial shards", self._places.partials):
            begun = {path.name for path in self._places.partials.iterdir()}
        fd = nameless_file(self._places.tmp, 0)
        if fd is None:
            return set()
        os.close(fd)
        return {
            shard.digest
            for shard in shards
            if shard.size <= min(SMALL, piece_size_for(shard.size))
            and not (begun and self._places.partial(shard.digest).name in begun)
        }

    def take_in(self, shards: Iterable[Shard], read: ReadWhole) -> list[Taken]:
        """See Store.take_in."""
        all_of_them: list[_Incoming] = []
        try:
            for shard in shards:
                incoming = _Incoming(shard)
                all_of_them.append(incoming)
                try:
                    self._bring(incoming, read)
                except ModeldistError as error:
                    incoming.error = error
                    incoming.close()
            self._publish([incoming for incoming in all_of_them if incoming.content is not None])
        finally:
            for incoming in all_of_them:
                incoming.close()
        return [(incoming.shard, incoming.error) for incoming in all_of_them]

    def _bring(self, incoming: _Incoming, read: ReadWhole) -> None:
        shard = incoming.shard
        try:
            held = self._locked(shard)
            incoming.home = Nameless(self._places.tmp, held)
            there = self._blobs.size(shard.digest)
            if there is not None:  # the pull that held the lock before has brought it
                check_size(shard, there)
                return
            incoming.fd = os.open(self._places.tmp, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise failure(error, "begin a shard", self._places.tmp) from error
        try:
            read(shard, incoming.fd)
            data = os.pread(incoming.fd, shard.size + 1, 0)
        except OSError as error:
            raise disk_failure(self._places.tmp, error) from error
        incoming.content = _proven(shard, data)

    @waits_for("disk")
    def _locked(self, shard: Shard) -> RangeLock:
        held = self._locks.try_lock(shard.digest)
        if held is None:
            raise fetched_already(shard)
        return held

    @waits_for("disk")
    def _publish(self, brought: list[_Incoming]) -> None:
        if not brought:
            return
        self._spend(sum(incoming.shard.size for incoming in brought))
        synced = sync_all([incoming.fd for incoming in brought])
        # Under the gate: the collector must not meet an alias before its blob.
        with naming("finish shards", self._places.tmp), self._blobs.gate():
            for incoming, failed in zip(brought, synced, strict=True):
                assert incoming.home is not None and incoming.content is not None
                try:
                    if failed is not None:
                        raise failed
                    incoming.home.adopt(self._blobs, incoming.fd, incoming.content, (incoming.shard.digest,))
                except OSError as error:
                    incoming.error = failure(error, "finish a shard", self._places.tmp)


@waits_for("verify")
def _proven(shard: Shard, data: bytes) -> Digest:
    """The sha256 of `data`. Raises WrongContent."""
    hashes = Hashes(shard.digest, shard.size)
    hashes.update(memoryview(data))
    found = hashes.digests()
    if len(data) != shard.size or found.get(algorithm(shard.digest), shard.digest) != shard.digest:
        raise WrongContent(
            f"The content read for {shard.digest} is {found['sha256']}, of {len(data)} bytes.",
            remedy="Pull again; if it repeats, the origin holds a damaged copy.",
        )
    return found["sha256"]


def fetched_already(shard: Shard) -> ShardLocked:
    return ShardLocked(
        f"{shard.digest} is being fetched already.",
        remedy="Wait for the other pull to finish; this one then uses its result.",
    )


def check_size(shard: Shard, there: int) -> None:
    """Raises IntegrityError where the blob of this digest has another size."""
    if there != shard.size:
        raise IntegrityError(f"{shard.digest} has {there} bytes, not the {shard.size} the artifact says.")
