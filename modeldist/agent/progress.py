"""What a pull tells those who watch it: the command line, the local API, the control plane. Sizes in bytes."""

from __future__ import annotations

from typing import Literal

import msgspec

from modeldist.artifact import Digest
from modeldist.errors import ErrorInfo
from modeldist.explain.record import Where

State = Literal["resolving", "waiting", "pulling", "materialising", "done", "failed", "cancelled"]
FINAL: frozenset[State] = frozenset({"done", "failed", "cancelled"})


PATIENCE_WHEN_HERE = 2.5
"""Seconds the origin has to say whether a reference still means what is here; then that is used."""

PATIENCE_WHEN_AWAY = 60.0
"""Seconds that an agent may be away in mid-pull: systemd gives the old process 30 to end, and the next takes some to
begin."""


def using_the_copy(reference: str, error: BaseException, where: str = "is here") -> str:
    """The sentence for a pull that could not ask."""
    if isinstance(error, TimeoutError):
        return f"Using the copy of {reference} that {where}: nobody said in time whether it is still the newest."
    return f"Using the copy of {reference} that {where}, which may not be the newest: {error}"


class ShardProgress(msgspec.Struct, frozen=True):
    """One shard. `done` is what has arrived, and what is kept (verified pieces) once the pull has ended. `origin` grows
    as bytes arrive. `rdma`: how many of `peers` came by RDMA, `reused`: how many of `local` out of other files here."""

    path: str
    digest: Digest
    size: int
    done: int
    origin: int
    peers: int
    local: int
    complete: bool
    rdma: int = 0
    reused: int = 0


class ParentShare(msgspec.Struct, frozen=True):
    """Bytes that one parent sent, verified."""

    node: str
    bytes: int


class PullSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A pull at one moment. `notes` are sentences about what went wrong or was waited for, oldest first. `stale` says
    why nobody could be asked whether the reference still means what was here; empty when somebody was. `rdma` is the
    part of `peers` that came by RDMA, `reused` the part of `local` that was found in files of other versions, and
    `index` what was read to find it, which the sums leave out. `size` is what the pull takes, in whole pieces; `needed`
    the bytes that were selected, `whole` those of the model they were selected from, `headers` those read at the origin
    to choose them, once for all who pull the same. `gateway`: no pull, but files that programs read through the
    gateway; then `reference` is the model's name. `where` its time went,
    None where nobody looked. `addresses` (host:port) of the parents that it speaks of, by id, where they are known."""

    pull: str
    reference: str
    state: State
    seconds: float
    resolved: str = ""
    digest: str = ""
    path: str = ""
    size: int = 0
    origin: int = 0
    peers: int = 0
    local: int = 0
    rdma: int = 0
    reused: int = 0
    index: int = 0
    needed: int = 0
    whole: int = 0
    headers: int = 0
    shards: tuple[ShardProgress, ...] = ()
    parents: tuple[ParentShare, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    stale: str = ""
    error: ErrorInfo | None = None
    gateway: bool = False
    where: Where | None = None
    addresses: dict[str, str] = {}

    @property
    def done(self) -> int:
        return self.origin + self.peers + self.local

    @property
    def kept(self) -> int:
        """What a later pull need not fetch again, once this one has ended."""
        return sum(shard.done for shard in self.shards)
