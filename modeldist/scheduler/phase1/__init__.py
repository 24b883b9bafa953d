"""Phase 1: candidate parents and origin leases for all tasks and nodes. A pure state machine in the control plane.

`Phase1.handle(node, event, now)`, `tick(now)` and the joining and leaving of nodes return `(node, instruction)` pairs.
Imports the scheduler's own files and `modeldist.artifact`, nothing else.

    machine.py     the events, one by one
    swarm.py       one task: its members, what they hold, piece digests
    presence.py    nodes that are away and may come back
    leases.py      who reads which pieces from the origin; expiry
    lease_book.py  the leases that are out
    adoption.py    leases that a node went on reading while it was away
    asking.py      who would read from the origin
    budget.py      an origin's streams and bytes/s; whose turn it is
    candidates.py  which parents a child gets
    coverage.py    whether a child's parents have what it lacks, where some members are sparse
    parents.py     when lists of parents are sent
    striping.py    which swarms are striped, and who has children in their trees; which are lines
    trees.py       from whom each node of a striped swarm takes which stripe
    line.py        a few equal nodes, each after another
    service.py     what a parent has promised to serve and how its children find it
    rejection.py   piece digests proven wrong: who starts again
    nodes.py       one node: where it is, what it measured
    load.py        reports by sequence number; old load is unknown load
    views.py       what the REST API may see (made by snapshot.py)
"""

from modeldist.scheduler.phase1.budget import OriginLimits
from modeldist.scheduler.phase1.config import Phase1Config
from modeldist.scheduler.phase1.machine import Phase1
from modeldist.scheduler.phase1.views import (
    LeaseView,
    MembershipView,
    MemberView,
    NodeView,
    TaskBrief,
    TaskView,
)

__all__ = [
    "LeaseView",
    "MemberView",
    "MembershipView",
    "NodeView",
    "OriginLimits",
    "Phase1",
    "Phase1Config",
    "TaskBrief",
    "TaskView",
]
