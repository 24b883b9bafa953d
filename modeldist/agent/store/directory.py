"""What this node can serve, for the piece server: complete blobs and open partials. Thread-safe."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress

from modeldist.agent.store.blobs import Blobs
from modeldist.agent.store.partial import OnVerified, Partial
from modeldist.agent.store.piece_tables import PieceTables
from modeldist.agent.store.sparse_shards import SparseShard
from modeldist.artifact import Digest
from modeldist.errors import StorageError
from modeldist.scheduler.pieces import PieceLayout, PieceSet, piece_size_for


class Directory:
    """Satisfies `modeldist.transfer.base.ShardDirectory`."""

    def __init__(self, blobs: Blobs, kept: PieceTables, sparse: Callable[[Digest], SparseShard | None]) -> None:
        self._blobs = blobs
        self._sparse = sparse
        self._kept = kept
        self._lock = threading.Lock()
        self._partials: dict[Digest, Partial] = {}
        self._watchers: dict[Digest, list[OnVerified]] = {}
        self._piece_sizes: dict[Digest, int] = {}

    def open(self, shard: Digest) -> OpenedShard | None:
        """None when the node has nothing of it."""
        source = self.source(shard)
        return OpenedShard(self, shard, source) if source else None

    def watch(self, shard: Digest, on_have: OnVerified) -> Callable[[], None]:
        """Call `on_have` with the pieces that become verified from now on. Returns a function that stops it."""
        with self._lock:
            self._watchers.setdefault(shard, []).append(on_have)

        def stop() -> None:
            with self._lock, suppress(KeyError, ValueError):
                self._watchers[shard].remove(on_have)
                if not self._watchers[shard]:
                    del self._watchers[shard]

        return stop

    def cut(self, shard: Digest, piece_size: int) -> None:
        """From now on this shard, when complete, is served in pieces of `piece_size` bytes, as its swarm cuts it.

        Otherwise it is the size it was fetched in, which the kept piece digests tell after a restart, or else
        `piece_size_for` its size.
        """
        with self._lock:
            self._piece_sizes[shard] = piece_size

    # --- the store's side ---

    def tell(self, shard: Digest, pieces: PieceSet, awaited: bool) -> None:
        with self._lock:
            watchers = tuple(self._watchers.get(shard, ()))
        for watcher in watchers:
            watcher(pieces, awaited)

    def opened(self, partial: Partial) -> None:
        with self._lock:
            self._partials[partial.digest] = partial
        if partial.have():
            self.tell(partial.digest, partial.have(), True)

    def closed(self, partial: Partial) -> None:
        with self._lock:
            if self._partials.get(partial.digest) is partial:
                del self._partials[partial.digest]
            self._piece_sizes[partial.digest] = partial.layout.piece_size

    def source(self, shard: Digest) -> Source | None:
        """Where to read the shard right now."""
        with self._lock:
            partial = self._partials.get(shard)
            piece_size = self._piece_sizes.get(shard)
        if partial is not None:
            with suppress(StorageError):  # closed this moment
                return Source(partial.duplicate(), partial, partial.layout)
        path = self._blobs.path(shard)
        if path is None:
            return self._sparse_source(shard)
        try:
            fd = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        size = os.fstat(fd).st_size
        return Source(fd, None, PieceLayout(size, piece_size or self._kept_size(shard) or piece_size_for(size)))

    def _sparse_source(self, shard: Digest) -> Source | None:
        """Of a shard of which this node wanted no more than it has."""
        sparse = self._sparse(shard)
        if sparse is None:
            return None
        try:
            fd = os.open(sparse.path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        return Source(fd, None, sparse.layout, sparse.have)

    def _kept_size(self, shard: Digest) -> int | None:
        content = self._blobs.sha256(shard)
        table = self._kept.get(content) if content else None
        return table[0] if table else None


class Source:
    """One open file of a shard: a partial's, a blob's, or a sparse one's, of which it has the pieces `have`."""

    def __init__(self, fd: int, partial: Partial | None, layout: PieceLayout, have: PieceSet | None = None) -> None:
        self.fd = fd
        self._partial = partial
        self._layout = layout
        self._have = layout.all if have is None else have

    @property
    def layout(self) -> PieceLayout:
        return self._partial.layout if self._partial else self._layout

    @property
    def have(self) -> PieceSet:
        return self._partial.have() if self._partial else self._have

    def cut(self) -> tuple[PieceLayout, PieceSet]:
        return self._partial.cut() if self._partial else (self._layout, self._have)

    @property
    def final(self) -> bool:
        """No piece can come to it any more, though some may be missing."""
        return self._partial is not None and self._partial.closed and self.have != self.layout.all


class OpenedShard:
    """Satisfies `modeldist.transfer.base.OpenShard`; follows the shard when a pull of it stops and starts again."""

    def __init__(self, directory: Directory, shard: Digest, source: Source) -> None:
        self._directory = directory
        self._shard = shard
        self._source = source
        self._fds = [source.fd]  # a descriptor handed out stays open until close()
        self._lock = threading.Lock()

    @property
    def fd(self) -> int:
        return self._source.fd

    @property
    def layout(self) -> PieceLayout:
        return self._source.layout

    def have(self) -> PieceSet:
        """Verified pieces, now."""
        if self._source.final:
            self._follow()
        return self._source.have

    def cut(self) -> tuple[PieceLayout, PieceSet]:
        """How the shard is cut, and its verified pieces, of one moment: it may be cut otherwise while it is open."""
        if self._source.final:
            self._follow()
        return self._source.cut()

    def close(self) -> None:
        with self._lock:
            for fd in self._fds:
                os.close(fd)
            self._fds.clear()

    def _follow(self) -> None:
        with self._lock:
            source = self._directory.source(self._shard) if self._fds else None
            if source is not None:
                self._source = source
                self._fds.append(source.fd)
