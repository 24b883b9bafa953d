"""The session's messages beyond phase 1's, and the codec for all of them.

One WebSocket binary frame carries one message (msgpack). The agent speaks first (`Hello`), the control plane answers
`Welcome` or `Refused`. Unknown message types are an error; new fields are not (msgspec ignores them), so either side
may be one minor version ahead. `PROTOCOL` changes only when that is not enough: then both sides still speak the version
before (`OLDEST_PROTOCOL`), and what only the newer one has is said to whoever speaks it (`Welcome.protocol`). So
control plane and agents can be upgraded in any order, one version at a time.
"""

from __future__ import annotations

from typing import Literal, TypeVar

import msgspec
from msgspec.structs import replace

from modeldist.artifact import Artifact, Digest
from modeldist.errors import ErrorInfo
from modeldist.explain.record import Where
from modeldist.scheduler.messages import (
    Behind,
    JoinTasks,
    LeaseFailed,
    LeaseGranted,
    LeaseRequest,
    LeaseRevoked,
    LeaveTasks,
    Location,
    Measure,
    Measured,
    Message,
    Parents,
    PieceDigests,
    Priority,
    Report,
    ShardRejected,
    TaskJoined,
    TaskRefused,
    TaskReset,
)
from modeldist.transfer.tls.mode import PieceTls

PROTOCOL = 1
OLDEST_PROTOCOL = 1  # that is spoken beside it
PATH = "/session"
MAX_MESSAGE = 64 << 20  # bytes; a resolved artifact of 100,000 files is about 20 MiB


class Hello(Message, frozen=True, tag="hello"):
    """First message of an agent. `node` is stable across restarts (kept in the store's directory), `instance` differs
    from process to process: it tells an agent that comes back from another one with the same node id. `protocol` is the
    newest version that it speaks, `oldest` the oldest (0: no other)."""

    protocol: int
    node: str
    name: str
    version: str
    address: str  # host:port of the piece server; empty: serves nobody
    location: Location = Location()
    labels: dict[str, str] = {}  # noqa: RUF012 - msgspec copies mutable defaults
    artifacts: tuple[Digest, ...] = ()  # digests of artifacts held complete
    instance: str = ""
    oldest: int = 0
    updates: bool = False  # it knows the message Update, whatever it will say to it
    measures: bool = False  # it knows the message Measure, and serves the link shard


class Welcome(Message, frozen=True, tag="welcome"):
    """The session is open, in the version `protocol`. `report_interval` in seconds; `capability_key` verifies
    capabilities (Ed25519, raw), which expire in a time that is `now` (seconds; None: by everybody's wall clock, of a
    release that does not say); `piece_tls`: whether this cluster's nodes speak TLS with each other; `updates`: it knows
    the message UpdateProgress."""

    protocol: int
    cluster: str
    report_interval: float
    capability_key: bytes
    piece_tls: PieceTls = "off"
    now: float | None = None
    updates: bool = False


class ReportEvery(Message, frozen=True, tag="report_every"):
    """Replaces the `report_interval` of Welcome: there are more agents now, or fewer. In seconds."""

    seconds: float


class Refused(Message, frozen=True, tag="refused"):
    """The control plane will not have this agent; it then closes."""

    error: ErrorInfo


class Resolve(Message, frozen=True, tag="resolve"):
    """Resolve a reference. `known` is the digest the node already has for it: the answer is then cheap (one HEAD).
    `priority`: of the pull that needs it; where there is no room for all, the last are refused first. `trace`: the
    traceparent of the span that it belongs to."""

    request: int
    reference: str
    known: Digest | None = None
    priority: Priority = Priority.PULL
    trace: str = ""


class Resolved(Message, frozen=True, tag="resolved"):
    """`artifact` is None when `known` is still what the reference means. With `away`, why the origin could not be
    asked, it is what the reference meant last, and some node has it whole."""

    request: int
    artifact: Artifact | None = None
    away: ErrorInfo | None = None


class ResolveFailed(Message, frozen=True, tag="resolve_failed"):
    request: int
    error: ErrorInfo


class StartPull(Message, frozen=True, tag="start_pull"):
    """The control plane wants `reference` on this node. Repeats of the same `pull` are harmless. `trace`: the
    traceparent of whoever asked for it."""

    pull: str
    reference: str
    priority: Priority = Priority.PREFETCH
    trace: str = ""


class CancelPull(Message, frozen=True, tag="cancel_pull"):
    pull: str


StoreAction = Literal["pin", "unpin", "evict"]


class StoreCommand(Message, frozen=True, tag="store_command"):
    """The node's store shall keep the model, keep it no longer, or remove it. Answered by StoreAnswer."""

    request: int
    action: StoreAction
    reference: str


class StoreAnswer(Message, frozen=True, tag="store_answer"):
    """`error`: why it was not done; NotFound where the model is not here."""

    request: int
    bytes_freed: int = 0
    error: ErrorInfo | None = None


class Update(Message, frozen=True, tag="update"):
    """The node shall become what the reference `release` has, or (`back`) what it was before the rollout. Times in
    seconds: what is being read from the origin may take `drain`, the new version `within` to come up, and it is kept
    after `keep_after`. Repeats are harmless. Answered by UpdateProgress, in this session and in those of the next
    process."""

    rollout: str
    release: str = ""
    back: bool = False
    drain: float = 30.0
    within: float = 60.0
    keep_after: float = 60.0


UpdateState = Literal[
    "fetching", "installing", "draining", "restarting", "up", "kept", "gone_back", "failed", "refused"
]


class UpdateProgress(Message, frozen=True, tag="update_progress"):
    """How far an update is. `version`: that runs now. After `restarting` the node is away for `away` seconds at most:
    what it holds is not lost meanwhile."""

    rollout: str
    state: str  # an UpdateState
    version: str
    away: float = 0.0
    error: ErrorInfo | None = None


class PullProgress(Message, frozen=True, tag="pull_progress"):
    """Progress of a pull started by StartPull. `state` ends as done, failed or cancelled. `seconds` since it began
    there, `where` they went."""

    pull: str
    state: str  # resolving | pulling | materialising | done | failed | cancelled
    bytes_total: int = 0
    bytes_origin: int = 0
    bytes_peers: int = 0
    bytes_local: int = 0
    path: str = ""
    error: ErrorInfo | None = None
    seconds: float = 0.0
    where: Where | None = None

    def says_the_same(self, other: PullProgress) -> bool:
        """But for how long it took, and where that time went."""
        return replace(self, seconds=0.0, where=None) == replace(other, seconds=0.0, where=None)


class Inventory(Message, frozen=True, tag="inventory"):
    """Which artifacts the node holds complete, when that changed."""

    artifacts: tuple[Digest, ...]


FromAgent = (
    Hello
    | Resolve
    | PullProgress
    | UpdateProgress
    | StoreAnswer
    | Inventory
    | JoinTasks
    | LeaveTasks
    | Report
    | LeaseRequest
    | LeaseFailed
    | ShardRejected
    | Behind
    | Measured
)
FromControl = (
    Welcome
    | ReportEvery
    | Refused
    | Resolved
    | ResolveFailed
    | StartPull
    | CancelPull
    | StoreCommand
    | Update
    | TaskJoined
    | TaskRefused
    | Parents
    | LeaseGranted
    | LeaseRevoked
    | PieceDigests
    | TaskReset
    | Measure
)

T = TypeVar("T")
_encoder = msgspec.msgpack.Encoder()
_from_agent: msgspec.msgpack.Decoder[FromAgent] = msgspec.msgpack.Decoder(FromAgent)
_from_control: msgspec.msgpack.Decoder[FromControl] = msgspec.msgpack.Decoder(FromControl)


def encode(message: FromAgent | FromControl) -> bytes:
    return _encoder.encode(message)


def decode_from_agent(frame: bytes) -> FromAgent:
    """Raises msgspec.DecodeError (malformed) or msgspec.ValidationError (not a message of an agent)."""
    return _decoded(_from_agent, frame)


def decode_from_control(frame: bytes) -> FromControl:
    """Raises msgspec.DecodeError (malformed) or msgspec.ValidationError (not a message of a control plane)."""
    return _decoded(_from_control, frame)


def _decoded(decoder: msgspec.msgpack.Decoder[T], frame: bytes) -> T:
    try:
        return decoder.decode(frame)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None
