"""The link shard: what one node fetches from another to see how fast the link between them is. Every node serves it,
nobody keeps it, and it is no part of any artifact. It goes the way of all pieces: with a capability, behind TLS where
that is spoken, and within the upload limit.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable

from modeldist.artifact import Digest
from modeldist.scheduler.pieces import PieceLayout, PieceSet
from modeldist.transfer.base import OnVerified, OpenShard, ShardDirectory

LINK_BYTES = 1 << 20
LINK_PIECE = 1 << 18
_TEXT = b"How fast is this link? Nobody keeps what is written here.\n"
LINK_SHARD = Digest("sha256:bfd00dd8f8eec9bd29efc78ceffb7c00cc944a5d39b5fcf7b9d72827f7c72020")
"""Digest of `content()`."""


def content() -> bytes:
    """`LINK_BYTES` of it."""
    return (_TEXT * (LINK_BYTES // len(_TEXT) + 1))[:LINK_BYTES]


class WithLinkShard:
    """A directory (`transfer.base.ShardDirectory`) that has the link shard beside what is in `others`."""

    def __init__(self, others: ShardDirectory) -> None:
        self._others = others
        self._lock = threading.Lock()
        self._fd = -1  # in memory, from when it is first asked for

    def open(self, shard: Digest) -> OpenShard | None:
        """None when the node has nothing of it."""
        return _LinkShard(os.dup(self._file())) if shard == LINK_SHARD else self._others.open(shard)

    def watch(self, shard: Digest, on_have: OnVerified) -> Callable[[], None]:
        """Call `on_have` with the pieces that become verified from now on."""
        return self._others.watch(shard, on_have)

    def _file(self) -> int:
        with self._lock:
            if self._fd < 0:
                self._fd = os.memfd_create("modeldist link shard")
                weakref.finalize(self, os.close, self._fd)
                os.write(self._fd, content())
            return self._fd


class _LinkShard:
    """Satisfies `transfer.base.OpenShard`."""

    layout = PieceLayout(LINK_BYTES, LINK_PIECE)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def have(self) -> PieceSet:
        return self.layout.all

    def close(self) -> None:
        os.close(self.fd)
