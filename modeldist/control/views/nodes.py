"""Nodes and their racks."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class NodeTrafficView:
    """How a connected node serves: bytes/s a child gets from it, as children measured; its line rate; 0..1 of it used;
    bytes/s that all its interfaces receive and send. None: not known (yet). `load_age`: seconds since it measured the
    latter, 0..1 of its processors and disk in use, and the requests for pieces that waited there. `link_sends` and
    `link_receives`: bytes/s that its link did when it was measured, `link_age` seconds ago."""

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
    link_sends: float | None = None
    link_receives: float | None = None
    link_age: float | None = None


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
