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
    bytes/s that all its interfaces receive and send. None: not known (yet). `load_age`: seconds since it measured the
    latter, 0..1 of its processors and disk in use, and the requests for pieces that waited there."""

    tasks: int
    children: int
    goodput: float | None
    failures: float
    utilisation: float
    nic_speed: float | None
    received: float | None = None
    sent: float | None = None
    load_age: float | None = None
    cpu_busy: float | None = None
    disk_busy: float | None = None
    queue: int | None = None


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
class TokenView:
    """Whose token asks. `scope`: admin, agent, node, read; `expires_at`: None where it does not expire."""

    name: str
    scope: str
    expires_at: float | None


@dataclass(frozen=True)
class RackView:
    """The nodes of one rack. `known`: that connected once; `connected`: now. `received`, `sent`: bytes/s of all their
    network cards, as those measured that could; `busy`: 0..1, how much of what they can serve is promised or in use, on
    average."""

    zone: str
    rack: str
    known: int
    connected: int
    received: float
    sent: float
    busy: float


@dataclass(frozen=True)
class RackPage:
    racks: list[RackView]
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


@dataclass(frozen=True)
class ShardView:
    """A file of a pull's model, and the task that distributes it; None where no node that is connected takes part."""

    path: str
    digest: str
    size: int
    task: TaskSummary | None


@dataclass(frozen=True)
class ShardPage:
    """`model`: the artifact's digest; None, and no shards, where the reference was not resolved yet."""

    model: str | None
    shards: list[ShardView]
    next: str | None = None


@dataclass(frozen=True)
class NodeTaskView:
    """A shard task that a node takes part in; the rest as in MemberView."""

    digest: str
    size: int
    complete: bool
    wants: bool
    bytes_here: int
    bytes_origin: int
    parents: list[str]
    children: int


@dataclass(frozen=True)
class NodeTaskPage:
    tasks: list[NodeTaskView]
    next: str | None = None


@dataclass(frozen=True)
class PlaceView:
    """Nodes of a swarm taken together: one node, a rack or a zone, as `by` of the swarm says. `place`: node id, zone
    and rack, or zone; `name`: what people call it. Of its `nodes`, so many have what they want (`complete`), are away
    (`away`). `bytes_here`: verified bytes that all of them hold; `bytes_origin`: read by them from the origin;
    `reading`: origin leases that they have now."""

    place: str
    name: str
    rack: str
    zone: str
    nodes: int
    complete: int
    away: int
    bytes_here: int
    bytes_origin: int
    reading: int


@dataclass(frozen=True)
class EdgeView:
    """`child` may fetch from `parent`, both as `place`. `links`: pairs of nodes; `rate`: bytes/s, as children measured,
    all shards together; 0 where nothing flows."""

    parent: str
    child: str
    links: int
    rate: float


@dataclass(frozen=True)
class SwarmView:
    """Who feeds whom in a shard task. `by`: node, rack, zone; what is inside one place has no edge, its rate is in
    `within`. `holders`: the shard in equal stretches, and how many nodes have each, on average."""

    digest: str
    by: str
    size: int
    piece_size: int
    pieces: int
    nodes: int
    held: int
    origin: str
    origin_bytes: int
    places: list[PlaceView]
    edges: list[EdgeView]
    within: dict[str, float]
    holders: list[float]


@dataclass(frozen=True)
class PieceMapView:
    """`have`: how many pieces the node holds; `map`: which, as base64 of a zlib stream of a bitmap, whose bit 0 of byte
    0 is piece 0. `leased`: runs of pieces that it reads from the origin, start and count of each."""

    node: str
    name: str
    have: int
    map: str
    leased: list[list[int]] = field(default_factory=list)


@dataclass(frozen=True)
class PieceMapPage:
    digest: str
    pieces: int
    maps: list[PieceMapView]
    next: str | None = None


@dataclass(frozen=True)
class AuditRecordView:
    """Who did what. `number` grows; `token`, `role`, `action` are empty for who showed no good token; `asked`: method
    and path; `object`: pull, reference; `outcome`: the HTTP status, 101 for a session."""

    number: int
    at: float
    token: str
    role: str
    action: str
    asked: str
    object: str
    outcome: int
    client: str


@dataclass(frozen=True)
class AuditPage:
    """The newest first, as far back as this process remembers: to `since`, when it began. The log has all."""

    records: list[AuditRecordView]
    since: float
    next: str | None = None


@dataclass(frozen=True)
class NodeUpdateView:
    """How far a node's update is. `state`: waiting, told, up, done, refused, failed, going_back, gone_back; `step` is
    what it said last. `before` and `version`: what it ran, and runs. The control plane has the name ""."""

    node: str
    state: str
    step: str
    before: str
    version: str
    since: float
    error: ErrorView | None = None


@dataclass(frozen=True)
class RolloutSummary:
    """A rollout without its nodes. `state`: running, going_back, done, failed, aborted; `reason`: why it goes back;
    `wave`: 0 the control plane, 1 the canary, then the waves; `states` counts nodes by state. `version`: what comes,
    once a node runs it."""

    id: str
    release: str
    version: str
    state: str
    reason: str
    wave: int
    canary: int
    waves: list[int]
    most_away: int
    health: float
    within: float
    drain: float
    tolerate: int
    control_plane: bool
    created_at: float
    finished_at: float | None
    states: dict[str, int]


@dataclass(frozen=True)
class RolloutView(RolloutSummary):
    """A rollout with every node, in the order in which they are told."""

    nodes: list[NodeUpdateView] = field(default_factory=list)


@dataclass(frozen=True)
class RolloutPage:
    rollouts: list[RolloutSummary]
    next: str | None = None
