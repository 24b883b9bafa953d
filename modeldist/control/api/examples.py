"""One example of everything the API answers, made of the classes it answers with."""

from __future__ import annotations

from modeldist.control.harbor.job import ClusterResult, GroupState, JobResult, JobView, NodeTask
from modeldist.control.harbor.older import PreheatCreated, PreheatView
from modeldist.control.views import (
    ArtifactView,
    AuditPage,
    AuditRecordView,
    BytesView,
    CertificateView,
    EdgeView,
    EnrolmentView,
    FileView,
    HoldersView,
    KeepingNodeView,
    KeepingView,
    LeaseView,
    MemberView,
    ModelPage,
    ModelView,
    NodePage,
    NodeTaskPage,
    NodeTaskView,
    NodeTrafficView,
    NodeUpdateView,
    NodeView,
    PieceMapPage,
    PieceMapView,
    PlaceView,
    Problem,
    PullNodeView,
    PullPage,
    PullSummary,
    PullView,
    RackPage,
    RackView,
    RolloutPage,
    RolloutSummary,
    RolloutView,
    SelectorView,
    ShardPage,
    ShardView,
    StatusView,
    SwarmView,
    TaskPage,
    TaskSummary,
    TaskView,
    TokenView,
    WebhookView,
    WhyNodeView,
    WhyView,
)

MANIFEST = "sha256:47df0275cd870bf2a21c47b86e67f171fb9b8010015d7c0b3e2c5538f6505c3c"
SHARD = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
NODE = "6f1c2d3e4b5a69788796a5b4c3d2e1f0"
PULL = "01a21cb6fe27614a4ff527cdc78f"
KEY = "rollout-42"
ROLLOUT = "01a21cb6fe278a4ff527"

_REFERENCE = "registry.example/org/model:v1"
_PINNED = f"registry.example/org/model@{MANIFEST}"
_MIB = 1 << 20
_SIZE = 14_000 * _MIB
_SNAPSHOT = f"/var/cache/modeldist/hub/models--org--model/snapshots/{MANIFEST[7:47]}"
_NOON = 1_795_780_800.0  # seconds since the epoch

_BYTES = BytesView(total=_SIZE, origin=_SIZE // 4, peers=_SIZE * 3 // 4, local=0)
_SUMMARY = PullSummary(
    id=PULL,
    reference=_REFERENCE,
    priority="prefetch",
    state="done",
    selector=SelectorView(labels={"gpu": "h100"}, percentage=25),
    created_at=_NOON,
    finished_at=_NOON + 61.5,
    states={"done": 1},
    bytes=_BYTES,
    deadline=_NOON + 3600,
)
_NODE_VIEW = NodeView(
    node=NODE,
    name="node-1",
    version="0.1.0",
    address="10.0.0.11:7421",
    rack="r1",
    zone="z1",
    labels={"gpu": "h100"},
    connected=True,
    first_seen=_NOON - 86_400,
    last_seen=_NOON,
    artifacts=[MANIFEST],
)
_TASK = TaskSummary(
    digest=SHARD,
    size=_SIZE,
    origin="registry.example",
    piece_size=16 * _MIB,
    pieces=875,
    nodes=1,
    holders=0,
    leases=1,
    held=_SIZE // 2,
    origin_bytes=_SIZE // 2,
    ratio=1.0,
    model=MANIFEST,
    reference=_REFERENCE,
    path="model.safetensors",
)
_MODEL = ModelView(MANIFEST, _PINNED, [_REFERENCE, _PINNED], "oci", _SIZE, 1, _NOON, holders=1)
_ROLLOUT = RolloutSummary(
    id=ROLLOUT,
    release=f"registry.example/ops/modeldist@{MANIFEST}",
    version="0.2.0",
    state="running",
    reason="",
    wave=1,
    canary=1,
    waves=[10, 50, 100],
    most_away=1,
    health=60.0,
    within=60.0,
    drain=30.0,
    tolerate=0,
    control_plane=False,
    created_at=_NOON,
    finished_at=None,
    states={"up": 1},
)
_MANIFEST_URL = "https://harbor.example/v2/library/model/manifests/v1"

_PEM = "-----BEGIN CERTIFICATE-----\n…\n-----END CERTIFICATE-----\n"

EXAMPLES: dict[str, object] = {
    "CertificateView": CertificateView(_PEM, _PEM),
    "EnrolmentView": EnrolmentView(NODE, "md_0123456789abcdef_…", _PEM, _PEM),
    "ArtifactView": ArtifactView(
        digest=MANIFEST,
        reference=_PINNED,
        repo_id="org/model",
        revision=MANIFEST.removeprefix("sha256:")[:40],
        origin="oci",
        size=_SIZE,
        files=[FileView("model.safetensors", SHARD, _SIZE, "weight")],
    ),
    "PullView": PullView(
        **vars(_SUMMARY),
        nodes=[PullNodeView(NODE, "done", _BYTES, _SNAPSHOT, _NOON)],
    ),
    "PullPage": PullPage([_SUMMARY], next=PULL),
    "KeepingView": KeepingView("evict", _REFERENCE, [KeepingNodeView(NODE, "done", bytes_freed=_SIZE)]),
    "WhyView": WhyView(
        PULL,
        [
            WhyNodeView(
                NODE,
                "node-1",
                "pulling",
                "origin",
                "The origin holds it up: registry.example gives too little.",
                [
                    "Of the last 10 s: 94% waiting for the origin, 4% waiting for this node's disk.",
                    "registry.example gives this node 2.10 MB/s, since 42 s.",
                ],
                "Look at the origin and the way to it.",
            )
        ],
        "running",
        "It runs: of 2 nodes 1 done.",
    ),
    "WebhookView": WebhookView("https://platform.example/hook", "delivered", 1, None, ""),
    "ModelPage": ModelPage([_MODEL], next=None),
    "ModelView": _MODEL,
    "HoldersView": HoldersView(MANIFEST, [NODE]),
    "NodePage": NodePage([_NODE_VIEW], next=None),
    "NodeView": NodeView(
        **vars(_NODE_VIEW)
        | {"traffic": NodeTrafficView(1, 2, 1.1e9, 0.0, 0.4, 3.125e9, 1.25e9, 1.2e9, 0.4, 0.31, 0.12, 0)},
    ),
    "TaskPage": TaskPage([_TASK], next=None),
    "TaskView": TaskView(
        **vars(_TASK),
        members=[MemberView(NODE, False, True, _SIZE // 2, _SIZE // 2, [], 0)],
        active_leases=[LeaseView(7, NODE, 437, 16, 9, 0.2)],
    ),
    "NodeTaskPage": NodeTaskPage(
        [
            NodeTaskView(
                *(SHARD, _SIZE, False, True, _SIZE // 2, _SIZE // 2, [], 0),
                model=MANIFEST,
                reference=_REFERENCE,
                path="model.safetensors",
            )
        ],
        next=None,
    ),
    "RackPage": RackPage([RackView("z1", "r1", 1, 1, 9.5e8, 1.2e9, 0.4)], next=None),
    "ShardPage": ShardPage(MANIFEST, [ShardView("model.safetensors", SHARD, _SIZE, _TASK)], next=None),
    "SwarmView": SwarmView(
        digest=SHARD,
        by="rack",
        size=_SIZE,
        piece_size=16 * _MIB,
        pieces=875,
        nodes=32,
        held=_SIZE,
        origin="registry.example",
        origin_bytes=_SIZE,
        places=[
            PlaceView("z1/r1", "r1", "r1", "z1", 16, 3, 0, _SIZE * 9, _SIZE // 2, 2),
            PlaceView("z1/r2", "r2", "r2", "z1", 16, 0, 1, _SIZE * 7, _SIZE // 2, 0),
        ],
        edges=[EdgeView("z1/r1", "z1/r2", 21, 2.5e9)],
        within={"z1/r1": 8.1e9, "z1/r2": 7.9e9},
        holders=[32.0, 16.5, 12.0, 3.0],
        model=MANIFEST,
        reference=_REFERENCE,
        path="model.safetensors",
    ),
    "PieceMapPage": PieceMapPage(SHARD, 875, [PieceMapView(NODE, "node-1", 8, "eJz7DwABAAEA", [[437, 16]])], next=None),
    "TokenView": TokenView("dashboard", "read", None),
    "AuditPage": AuditPage(
        [
            AuditRecordView(
                "066140ccadb000a1b2c3d4",
                _NOON,
                "rollout",
                "admin",
                "create_pull",
                "POST /api/v1/pulls",
                f"{PULL} {_REFERENCE}",
                202,
                "10.0.0.9",
            )
        ],
        since=_NOON - 86_400,
        most=50_000,
        age=90 * 86_400.0,
        next=None,
    ),
    "RolloutView": RolloutView(
        **vars(_ROLLOUT), nodes=[NodeUpdateView(NODE, "up", "up", "0.1.0", "0.2.0", _NOON + 20)]
    ),
    "RolloutPage": RolloutPage([_ROLLOUT], next=None),
    "StatusView": StatusView("0.1.0", 1, "c1d2e3f4", "sqlite", 86_400.0, 1, 0, 1, 1),
    "PreheatCreated": PreheatCreated(PULL),
    "PreheatView": PreheatView(PULL, "2026-11-27T12:00:00Z", "2026-11-27T12:01:01Z", "", "SUCCESS"),
    "JobView": JobView(
        id=1,
        created_at="2026-11-27T12:00:00Z",
        updated_at="2026-11-27T12:01:01Z",
        task_id=PULL,
        type="preheat",
        state="SUCCESS",
        args={"type": "image", "url": _MANIFEST_URL},
        result=JobResult(
            [GroupState("SUCCESS", "", [ClusterResult([NodeTask(_MANIFEST_URL, "node-1", "10.0.0.11")], [])])]
        ),
    ),
}
"""By the name of the class, as the document has it."""

_DESCRIPTION = "See the API's description at /api/v1/openapi.json."

PROBLEMS: dict[int, Problem] = {
    problem.status: problem
    for problem in (
        Problem(
            "Bad Request",
            400,
            "'org/model:' has an empty tag.",
            "invalid_reference",
            remedy="Write it as org/model:tag.",
        ),
        Problem(
            "Unauthorized",
            401,
            "This needs a bearer token that the control plane knows.",
            "control_refused",
            remedy="Send `Authorization: Bearer …` with a token of the control plane's state directory.",
        ),
        Problem(
            "Forbidden",
            403,
            "The token 'dashboard' has the scope read; this needs admin.",
            "control_refused",
            remedy="Use a token with that scope.",
        ),
        Problem("Not Found", 404, f"There is no pull '{PULL}'.", "not_found", remedy="See the list of pulls."),
        Problem(
            "Conflict",
            409,
            "4 nodes were asked for and 2 are connected.",
            "not_enough_nodes",
            remedy="Ask for fewer, or start more agents.",
        ),
        Problem(
            "Request Entity Too Large",
            413,
            "The request's body is larger than 1048576 bytes.",
            "usage",
            remedy="Name fewer nodes, or select them by label.",
        ),
        Problem(
            "Unsupported Media Type",
            415,
            "The body is not sent as JSON.",
            "usage",
            remedy=f"Send JSON, with the header Content-Type: application/json. {_DESCRIPTION}",
        ),
        Problem("Unprocessable Entity", 422, "body.nodes: Field required.", "usage", remedy=_DESCRIPTION),
        Problem(
            "Failed Dependency",
            424,
            "registry.example/org/model:v1: registry.example does not answer.",
            "origin_unavailable",
            remedy="See whether the origin answers at all, then ask again.",
        ),
        Problem(
            "Too Many Requests",
            429,
            "8000 pulls run for this token already, which is its share.",
            "share_used_up",
            remedy="Ask again when some of them have ended.",
            retry_after=10.0,
        ),
        Problem(
            "Service Unavailable",
            503,
            "6000 pulls run already. What is free is kept for more than a prefetch.",
            "overloaded",
            remedy="Ask again when some of them have ended.",
            retry_after=10.0,
        ),
        Problem(
            "Internal Server Error",
            500,
            "GET /api/v1/tasks failed inside the control plane.",
            "internal",
            remedy="Its log has the traceback; please report it.",
        ),
    )
}
"""By their status."""
