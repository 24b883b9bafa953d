"""The interface between the agent and whatever moves pieces.

Transports run their own threads; every callback may come from one of them and must return at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from modeldist.artifact import Digest
from modeldist.scheduler.pieces import PieceLayout, PieceSet

# --- serving -------------------------------------------------------------------------------------------------------


class OpenShard(Protocol):
    """A shard (complete or partial) opened for serving. `fd` stays valid until close()."""

    @property
    def fd(self) -> int: ...
    @property
    def layout(self) -> PieceLayout: ...
    def have(self) -> PieceSet:
        """Verified pieces, now. Called from server threads."""

    def close(self) -> None: ...


OnVerified = Callable[[PieceSet, bool], None]
"""(newly verified pieces, awaited): others wait to have them from this node, as from nobody near else. Children are
told of those at once, of the rest at leisure."""


class ShardDirectory(Protocol):
    """What a node can serve. Called from server threads."""

    def open(self, shard: Digest) -> OpenShard | None:
        """None when the node has nothing of it."""

    def watch(self, shard: Digest, on_have: OnVerified) -> Callable[[], None]:
        """Call `on_have` with the pieces that become verified from now on (only the new ones).
        Returns a function that stops it."""


CheckCapability = Callable[[bytes, str, Digest], bool]
"""(capability, child node id, shard) -> may this child read this shard. Constant-time where it compares secrets."""


@dataclass(frozen=True)
class ServerLimits:
    """`upload_rate` in bytes/s (None: unlimited). Beyond `requests_in_service` waiting requests the answer is busy."""

    connections: int = 256
    requests_in_service: int = 128
    upload_rate: float | None = None


@dataclass(frozen=True)
class ServedLoad:
    """What the server is doing now: requests waiting or being sent, bytes of them unsent, bytes of models sent since
    start."""

    requests: int
    bytes_queued: int
    bytes_sent: int


class PieceServer(Protocol):
    """Serves pieces to children until closed."""

    @property
    def address(self) -> str:
        """host:port"""

    def load(self) -> ServedLoad: ...
    def close(self) -> None: ...


# --- fetching ------------------------------------------------------------------------------------------------------


class Hash(Protocol):
    """Of `hashlib` or `blake3`."""

    def update(self, data: memoryview, /) -> object: ...
    def digest(self) -> bytes: ...


@dataclass(frozen=True)
class Into:
    """Where the bytes of a range go: to `offset` of the file `fd`, and into `hash`, a fresh one of the caller's, when
    the transport has them in hand."""

    fd: int
    offset: int
    hash: Hash | None = None


@dataclass(frozen=True)
class Received:
    """The whole range is in the file (unverified). `seconds`: from request sent to last byte. `hashed`: the hash of
    `Into` has seen exactly these bytes. `transport` moved its last byte: "tcp" or "rdma". `detour`: why it did not
    come by RDMA, where both sides have it."""

    bytes: int
    seconds: float
    hashed: bool = False
    transport: str = "tcp"
    detour: str = ""


@dataclass(frozen=True)
class Busy:
    """The parent is overloaded; ask again after `retry_after` seconds."""

    retry_after: float


@dataclass(frozen=True)
class Refused:
    """The parent will not serve this (no such piece, capability refused). `reason` is for people."""

    reason: str


@dataclass(frozen=True)
class Lost:
    """The connection died with this request outstanding."""

    reason: str


@dataclass(frozen=True)
class NotWritten:
    """This node could not write what came into the file: nothing to do with the parent, whose connection lives on."""

    error: OSError


Outcome = Received | Busy | Refused | Lost | NotWritten
OnOutcome = Callable[[Outcome], None]
OnHave = Callable[[Digest, PieceSet], None]
"""(shard, newly held pieces). The first call after subscribing carries everything the parent holds."""
OnClosed = Callable[[str], None]
"""Called once, with the reason, when the connection is gone (not after close())."""


class PeerConnection(Protocol):
    """A child's connection to one parent, shared by all shards."""

    @property
    def thread(self) -> int | None:
        """The one that reads it, by `threading.get_ident`; None where there is none."""

    def subscribe(self, shard: Digest, capability: bytes) -> None:
        """Ask to be told what the parent holds of `shard`, now and as it grows. Again, with a new capability, before
        the old one expires; everything held is told again then. A parent that refuses the capability tells of
        nothing, and refuses fetches with the reason."""

    def unsubscribe(self, shard: Digest) -> None: ...

    def fetch(self, shard: Digest, start: int, length: int, into: Into, on_outcome: OnOutcome) -> None:
        """Request a range of a subscribed shard; returns at once. Requests are pipelined and their bodies come in
        order, but what comes by RDMA; Busy may overtake them. Exactly one outcome per fetch, and the file must stay
        open until it: nothing touches it afterwards, nor anything outside [offset, offset + length) before."""

    def close(self) -> None:
        """Returns at once. Outstanding fetches end as Lost, soon, from wherever callbacks come."""


class Transport(Protocol):
    """Connects to parents."""

    async def connect(
        self, address: str, *, child: str, on_have: OnHave, on_closed: OnClosed, parent: str = ""
    ) -> PeerConnection:
        """`parent`: the node that is expected there, which it has to prove where the connection is behind TLS. Raises
        OSError with a sentence when the parent cannot be reached, is another, or speaks another protocol version."""
