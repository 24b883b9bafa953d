"""Shard tasks: of the swarm, of a pull, of a node."""

from __future__ import annotations

from dataclasses import dataclass, field


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
    from the origin; `ratio` is A, the second over the first (None while nothing is held). `model`, `reference`: digest
    and name of a model that has it; `path`: the file that it is there, None of what is no file, as a chunk index. All
    None where the control plane did not resolve it."""

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
    model: str | None = None
    reference: str | None = None
    path: str | None = None


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
    """A shard task that a node takes part in; `model`, `reference` and `path` as in TaskSummary, the rest as in
    MemberView."""

    digest: str
    size: int
    complete: bool
    wants: bool
    bytes_here: int
    bytes_origin: int
    parents: list[str]
    children: int
    model: str | None = None
    reference: str | None = None
    path: str | None = None


@dataclass(frozen=True)
class NodeTaskPage:
    tasks: list[NodeTaskView]
    next: str | None = None
