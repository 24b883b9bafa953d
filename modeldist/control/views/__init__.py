"""What REST answers, as plain frozen dataclasses: FastAPI documents them, the client reads them back.

    failures.py   an error; why a node failed
    pulls.py      pulls, what webhooks tell of them
    why.py        why a pull is slow
    tasks.py      shard tasks: of the swarm, of a pull, of a node
    swarm.py      a task's swarm as it can be drawn, and piece maps
    models.py     what references mean, models, who holds them
    keeping.py    what nodes pinned and evicted
    nodes.py      nodes and racks
    enrolment.py  a node's token and certificates
    rollouts.py   updates of nodes
    audit.py      who did what
    status.py     the control plane, and whose token asks

Times are seconds since the epoch, sizes bytes. New fields may appear in a minor version; none disappears. Imports
nothing of ours but errors.
"""

from modeldist.control.views.audit import AuditPage, AuditRecordView
from modeldist.control.views.enrolment import CertificateView, EnrolmentView
from modeldist.control.views.failures import ErrorView, Problem
from modeldist.control.views.keeping import KeepingNodeView, KeepingView
from modeldist.control.views.models import ArtifactView, FileView, HoldersView, ModelPage, ModelView
from modeldist.control.views.nodes import NodePage, NodeTrafficView, NodeView, RackPage, RackView
from modeldist.control.views.pulls import (
    BytesView,
    PullNodeView,
    PullNotice,
    PullPage,
    PullSummary,
    PullView,
    SelectorView,
    WebhookView,
)
from modeldist.control.views.rollouts import NodeUpdateView, RolloutPage, RolloutSummary, RolloutView
from modeldist.control.views.status import StatusView, TokenView
from modeldist.control.views.swarm import EdgeView, PieceMapPage, PieceMapView, PlaceView, SwarmView
from modeldist.control.views.tasks import (
    LeaseView,
    MemberView,
    NodeTaskPage,
    NodeTaskView,
    ShardPage,
    ShardView,
    TaskPage,
    TaskSummary,
    TaskView,
)
from modeldist.control.views.why import WhyNodeView, WhyView

__all__ = [
    "ArtifactView",
    "AuditPage",
    "AuditRecordView",
    "BytesView",
    "CertificateView",
    "EdgeView",
    "EnrolmentView",
    "ErrorView",
    "FileView",
    "HoldersView",
    "KeepingNodeView",
    "KeepingView",
    "LeaseView",
    "MemberView",
    "ModelPage",
    "ModelView",
    "NodePage",
    "NodeTaskPage",
    "NodeTaskView",
    "NodeTrafficView",
    "NodeUpdateView",
    "NodeView",
    "PieceMapPage",
    "PieceMapView",
    "PlaceView",
    "Problem",
    "PullNodeView",
    "PullNotice",
    "PullPage",
    "PullSummary",
    "PullView",
    "RackPage",
    "RackView",
    "RolloutPage",
    "RolloutSummary",
    "RolloutView",
    "SelectorView",
    "ShardPage",
    "ShardView",
    "StatusView",
    "SwarmView",
    "TaskPage",
    "TaskSummary",
    "TaskView",
    "TokenView",
    "WebhookView",
    "WhyNodeView",
    "WhyView",
]
