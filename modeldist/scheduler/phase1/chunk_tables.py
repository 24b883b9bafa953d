"""What artifacts say of how shards are cut: the chunk tables that are known, the oldest of them forgotten first."""

from __future__ import annotations

from collections import OrderedDict

from modeldist.artifact import Digest, ShardChunks

_MOST_BYTES = 256 << 20  # of chunk digests kept: those of 130 TB in chunks of 16 MiB
_ENTRY = 512  # bytes that a table takes beside its digests


class ChunkTables:
    """Any artifact may name any shard. Where two of them disagree about one, nobody here knows which is right, and
    neither counts: the shard is cut and proven as one without a table, and nodes hold it to their own artifact's."""

    def __init__(self) -> None:
        self._tables: OrderedDict[Digest, ShardChunks | None] = OrderedDict()  # None: what is said contradicts itself
        self._bytes = 0

    def get(self, shard: Digest) -> ShardChunks | None:
        """None where none is known, or none counts."""
        return self._tables.get(shard)

    def learn(self, chunks: ShardChunks) -> bool:
        """Whether it is new, and counts."""
        if chunks.digest in self._tables:
            self._tables.move_to_end(chunks.digest)
            if (before := self._tables[chunks.digest]) is not None and before != chunks:
                self._keep(chunks.digest, None)
            return False
        self._keep(chunks.digest, chunks)
        return True

    def distrust(self, shard: Digest) -> None:
        """Whatever is said of this shard does not count any more."""
        self._keep(shard, None)

    def _keep(self, shard: Digest, chunks: ShardChunks | None) -> None:
        before = self._tables.get(shard)
        self._bytes -= _weight(before) if shard in self._tables else 0
        self._tables[shard] = chunks
        self._bytes += _weight(chunks)
        while self._bytes > _MOST_BYTES and len(self._tables) > 1:
            self._bytes -= _weight(self._tables.popitem(last=False)[1])


def _weight(chunks: ShardChunks | None) -> int:
    """Bytes of memory that an entry takes, about."""
    return _ENTRY + (len(chunks.digests) if chunks else 0)
