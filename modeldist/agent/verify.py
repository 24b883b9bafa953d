"""Checks pieces in a few threads. Hashing releases the GIL, so two threads hash while others move bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from modeldist.agent.store import Partial
from modeldist.agent.store.buffers import chunks
from modeldist.artifact import Digest, algorithm
from modeldist.explain.waits import waits_for


@waits_for("verify")
def proves(fd: int, offset: int, length: int, digest: Digest) -> bool:
    """Whether this range is the whole content that `digest` (sha256 or git-sha1) names."""
    kind = algorithm(digest)
    hasher = hashlib.sha1(b"blob %d\x00" % length, usedforsecurity=False) if kind == "git-sha1" else hashlib.sha256()
    for chunk in chunks(fd, offset, length):
        hasher.update(chunk)
    return hasher.hexdigest() == digest.partition(":")[2]


class Verifier:
    """A pool of hashing threads."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="verify")

    def submit(self, job: Callable[[], None]) -> Future[None]:
        return self._pool.submit(job)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


@waits_for("verify")
def check_piece(partial: Partial, piece: int, expected: bytes | None, whole: Digest | None) -> bytes | None:
    """BLAKE3 of a piece that lies in its place in the partial file, or None if it is wrong.

    `expected`: its trusted BLAKE3, None when this node is the one that establishes it. `whole`: the shard's digest,
    when the piece is the whole shard.
    """
    if whole is not None:
        found, digests = partial.hash_at_once()
        if digests[algorithm(whole)] != whole:
            return None
    else:
        found = partial.hash_piece(piece)
    return found if expected is None or found == expected else None
