"""What a reader of a model that is on its way is told. JSON, one a line, over the agent's socket."""

from __future__ import annotations

import msgspec

from modeldist.artifact import Digest
from modeldist.errors import ErrorInfo


class ReadFile(msgspec.Struct, frozen=True):
    """A file of the snapshot. `size` in bytes; `ranges`: the bytes of it that come, half-open; empty: all."""

    path: str
    digest: Digest
    size: int
    ranges: tuple[tuple[int, int], ...] = ()


class Opened(msgspec.Struct, frozen=True, tag="opened"):
    """The first news. `reading` names it at the agent, `pull` the pull that brings the model. `packed`: names of its
    archives, whose files are in the snapshot and cannot be read before."""

    reading: str
    pull: str
    reference: str
    digest: Digest
    files: tuple[ReadFile, ...]
    packed: tuple[str, ...] = ()


class ShardNews(msgspec.Struct, frozen=True, tag="shard"):
    """How much of a shard is here. `path` is its data file, which becomes the store's (empty: it cannot be opened yet);
    `have` the bitmap of its verified pieces of `piece_size` bytes. `proven`: by its own digest, or a chunk table.
    `restarts`: how often pieces that were here were taken back; what was read before is to be forgotten."""

    digest: Digest
    size: int
    path: str = ""
    piece_size: int = 1
    have: bytes = b""
    proven: bool = False
    restarts: int = 0


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """The last news: the snapshot's directory, or why there is none."""

    path: str = ""
    error: ErrorInfo | None = None


class Still(msgspec.Struct, frozen=True, tag="still"):
    """Nothing has happened; whoever tells this is there."""


News = Opened | ShardNews | Ended | Still


class WishRequest(msgspec.Struct, frozen=True):
    """Body of PUT /v1/readings/{reading}/wishes: bytes `start` to `stop` of shards, in order."""

    wishes: tuple[tuple[Digest, int, int], ...]
