"""What REST answers, as plain frozen dataclasses: FastAPI documents them, `client.py` reads them back.

Times are seconds since the epoch, sizes bytes. New fields may appear in a minor version; none disappears.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Problem:
    """An error (RFC 9457, application/problem+json). `code` is stable, `remedy` says what to do, `retry_after` when
    (seconds)."""

    title: str
    status: int
    detail: str
    code: str
    type: str = "about:blank"
    remedy: str = ""
    retry_after: float | None = None


@dataclass(frozen=True)
class CertificateView:
    """A node's certificate, and the authority whose certificates nodes take from each other (PEM)."""

    certificate: str
    authority: str


@dataclass(frozen=True)
class EnrolmentView:
    """What a node has from now on: its id, the token for its sessions, and as in CertificateView."""

    node: str
    token: str
    certificate: str
    authority: str

    def __repr__(self) -> str:
        return f"EnrolmentView(node={self.node!r}, token=…)"


@dataclass(frozen=True)
class ErrorView:
    """Why a node's pull failed."""

    code: str
    message: str
    remedy: str = ""


@dataclass(frozen=True)
class BytesView:
    """Bytes of a pull: `total` wanted; come from the `origin`, from `peers`, or here before (`local`)."""

    total: int = 0
    origin: int = 0
    peers: int = 0
    local: int = 0


@dataclass(frozen=True)
class PullNodeView:
    """How far one node is. `state`: waiting, resolving, pulling, materialising, done, failed, cancelled."""

    node: str
    state: str
    bytes: BytesView
    path: str
    updated_at: float
    error: ErrorView | None = None


@dataclass(frozen=True)
class SelectorView:
    """Which nodes a pull means: `nodes` by id; `everyone`; those with all `labels`; and of these, or of any, `count` or
    `percentage`."""

    nodes: list[str] = field(default_factory=list)
    everyone: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    count: int = 0
    percentage: int = 0


@dataclass(frozen=True)
class PullSummary:
    """A pull without its nodes. `state`: running, done, failed, cancelled; `states` counts nodes by state."""

    id: str
    reference: str
    priority: str
    state: str
    selector: SelectorView
    created_at: float
    finished_at: float | None
    states: dict[str, int]
    bytes: BytesView
    deadline: float | None = None


@dataclass(frozen=True)
class PullView(PullSummary):
    """A pull with every node."""

    nodes: list[PullNodeView] = field(default_factory=list)


@dataclass(frozen=True)
class PullNotice:
    """What a webhook tells. `type`: pull.done, pull.failed, pull.cancelled; `timestamp`: when it ended."""

    type: str
    timestamp: float
    data: PullView


@dataclass(frozen=True)
class WebhookView:
    """What became of a pull's webhook. `url`: without its query; `state`: waiting, delivered, failed, none (it has
    none); `due`: the next attempt while it waits; `error`: why the last one failed."""

    url: str
    state: str
    attempts: int
    due: float | None
    error: str


@dataclass(frozen=True)
class WhyNodeView:
    """What holds a node of a pull up, or held it up. `bottleneck`: origin, origin_limit, parent, upload_limit,
    upstream, disk, disk_full, own_link, download_limit, verification, rdma, credentials, control_plane, queue,
    other_process, agent_away, integrity, other; None where nothing does. `evidence`: what was measured, in
    sentences."""

    node: str
    name: str
    state: str
    bottleneck: str | None
    summary: str
    evidence: list[str] = field(default_factory=list)
    remedy: str | None = None


@dataclass(frozen=True)
class WhyView:
    """Why a pull is as fast as it is, node by node."""

    pull: str
    nodes: list[WhyNodeView]


@dataclass(frozen=True)
class PullPage:
    """`next` is the cursor of the next page; None on the last."""

    pulls: list[PullSummary]
    next: str | None = None


@dataclass(frozen=True)
class KeepingNodeView:
    """What a node did. `state`: done; absent (the model is not there); failed, see `error`."""

    node: str
    state: str
    bytes_freed: int = 0
    error: ErrorView | None = None


@dataclass(frozen=True)
class KeepingView:
    """What nodes did. `action`: pin, unpin, evict."""

    action: str
    reference: str
    nodes: list[KeepingNodeView]


@dataclass(frozen=True)
class FileView:
    path: str
    digest: str
    size: int
    kind: str


@dataclass(frozen=True)
class ArtifactView:
    """What a reference means now. `reference` is pinned."""

    digest: str
    reference: str
    repo_id: str
    revision: str
    origin: str
    size: int
    files: list[FileView]
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ModelView:
    """A known artifact. `references` meant it when last resolved; `holders` counts connected nodes that have it
    complete."""

    digest: str
    reference: str
    references: list[str]
    origin: str
    size: int
    files: int
    resolved_at: float
    holders: int


@dataclass(frozen=True)
class ModelPage:
    models: list[ModelView]
    next: str | None = None


@dataclass(frozen=True)
class HoldersView:
    """Where a model is: connected nodes that have it complete."""

    digest: str
    nodes: list[str]


@dataclass(frozen=True)
class NodeTrafficView:
    """How a connected node serves: bytes/s a child gets from it, as children measured; its line rate; 0..1 of it used;
    bytes/s that all its interfaces receive and send. None: not known (yet)."""

    tasks: int
    children: int
    goodput: float | None
    failures: float
    utilisation: float
    nic_speed: float | None
    received: float | None = None
    sent: float | None = None


@dataclass(frozen=True)
class NodeView:
    """A node that connected once. `artifacts` it holds complete are known while it is connected. `enrolled`: it has a
    token and a certificate of its own."""

    node: str
    name: str
    version: str
    address: str
    rack: str
    zone: str
    labels: dict[str, str]
    connected: bool
    first_seen: float | None
    last_seen: float
    artifacts: list[str] = field(default_factory=list)
    traffic: NodeTrafficView | None = None  # while it is connected
    enrolled: bool = False


@dataclass(frozen=True)
class NodePage:
    nodes: list[NodeView]
    next: str | None = None


@dataclass(frozen=True)
class StatusView:
    """`uptime` in seconds. `piece_tls`: whether nodes speak TLS with each other: off, prefer, require."""

    version: str
    protocol: int
    cluster: str
    database: str
    uptime: float
    agents: int
    pulls_running: int
    models: int
    tasks: int
    piece_tls: str = "off"


@dataclass(frozen=True)
class MemberView:
    """A node of a swarm: verified bytes it holds, those of them it read from the origin, whom it fetches from and how
    many fetch from it."""

    node: str
    complete: bool
    wants: bool
    bytes_here: int
    bytes_origin: int
    parents: list[str]
    children: int


@dataclass(frozen=True)
class LeaseView:
    """One node's grant to read `pieces` pieces from `start` from the origin; `unread` of them not verified yet,
    without progress for `idle` seconds."""

    lease: int
    node: str
    start: int
    pieces: int
    unread: int
    idle: float


@dataclass(frozen=True)
class TaskSummary:
    """A shard task. `held` are distinct verified bytes in the swarm, `origin_bytes` verified bytes that all nodes read
    from the origin; `ratio` is A, the second over the first (None while nothing is held)."""

    digest: str
    size: int
    origin: str
    piece_size: int
    pieces: int
    nodes: int
    holders: int
    leases: int
    held: int
    origin_bytes: int
    ratio: float | None


@dataclass(frozen=True)
class TaskView(TaskSummary):
    """A shard task with its nodes and origin leases."""

    members: list[MemberView] = field(default_factory=list)
    active_leases: list[LeaseView] = field(default_factory=list)


@dataclass(frozen=True)
class TaskPage:
    tasks: list[TaskSummary]
    next: str | None = None
