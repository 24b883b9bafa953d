"""Checks pieces in a few threads. Hashing releases the GIL, so two threads hash while others move bytes."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from blake3 import blake3

from modeldist.agent.store import Partial
from modeldist.artifact import Digest, algorithm

BLOCK = 1 << 20

_buffers = threading.local()


def _buffer() -> memoryview:
    view: memoryview | None = getattr(_buffers, "view", None)
    if view is None:
        view = _buffers.view = memoryview(bytearray(BLOCK))
    return view


def blake3_of(fd: int, offset: int, length: int) -> bytes:
    """BLAKE3 of a range of a file, through one reused buffer per thread."""
    hasher = blake3()
    _feed(fd, offset, length, hasher.update)
    return hasher.digest()


def _feed(fd: int, offset: int, length: int, update: Callable[[memoryview], object]) -> None:
    view = _buffer()
    end = offset + length
    while offset < end:
        read = os.preadv(fd, [view[: min(BLOCK, end - offset)]], offset)
        if not read:
            raise OSError(f"the file ends {end - offset} bytes early")
        update(view[:read])
        offset += read


def proves(fd: int, offset: int, length: int, digest: Digest) -> bool:
    """Whether this range is the whole content that `digest` (sha256 or git-sha1) names."""
    kind = algorithm(digest)
    hasher = hashlib.sha1(b"blob %d\x00" % length, usedforsecurity=False) if kind == "git-sha1" else hashlib.sha256()
    _feed(fd, offset, length, hasher.update)
    return hasher.hexdigest() == digest.partition(":")[2]


class Verifier:
    """A pool of hashing threads."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="verify")

    def submit(self, job: Callable[[], None]) -> Future[None]:
        return self._pool.submit(job)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


def check_piece(partial: Partial, piece: int, expected: bytes | None, whole: Digest | None) -> bytes | None:
    """BLAKE3 of a piece that lies in its place in the partial file, or None if it is wrong.

    `expected`: its trusted BLAKE3, None when this node is the one that establishes it. `whole`: the shard's digest,
    when the piece is the whole shard.
    """
    layout = partial.layout
    if whole is not None and not proves(partial.fd, layout.offset(piece), layout.length(piece), whole):
        return None
    found = partial.hash_piece(piece)
    return found if expected is None or found == expected else None
