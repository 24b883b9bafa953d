"""One pull and its nodes: a state machine without I/O. Times are seconds since the epoch."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Literal

from modeldist.control.pulls.selection import Selector
from modeldist.control.webhooks.signing import Webhook
from modeldist.errors import DeadlineExceeded, ErrorInfo
from modeldist.explain import Facts, Where, explain, what_held
from modeldist.scheduler.messages import Priority
from modeldist.session.messages import PullProgress

PullState = Literal["running", "done", "failed", "cancelled"]

ENDED = frozenset({"done", "failed", "cancelled"})
UNDER_WAY = frozenset({"resolving", "pulling", "materialising"})
WAITING = "waiting"  # its agent has not answered yet, or is not connected

_MOST_BYTES = (1 << 63) - 1
_LONGEST_TEXT = 4096

PULL_BYTES, NODE_BYTES = 6000, 900  # what a running pull, and each of its nodes, take in memory and until written
WHERE_BYTES = 2000  # what a node's time went into, as it is decoded
_LARGEST = 1e15  # seconds, bytes/s
_MOST_WAITS = 64


@dataclass(frozen=True, slots=True)
class PullNode:
    """How far one node is. `state`: waiting, then what its agent says (see PullProgress). `where` its time went is
    known as long as it is in memory, or remembered (`afterwards`)."""

    node: str
    state: str
    updated_at: float
    bytes_total: int = 0
    bytes_origin: int = 0
    bytes_peers: int = 0
    bytes_local: int = 0
    path: str = ""
    error: ErrorInfo | None = None
    seconds: float = 0.0
    where: Where | None = None

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def held(self) -> int:
        """Bytes of memory, about."""
        said = self.error
        told = WHERE_BYTES if self.where is not None else 0
        return (
            NODE_BYTES + told + len(self.path) + (len(said.message) + len(said.remedy) + len(said.code) if said else 0)
        )

    def after(self, progress: PullProgress, now: float) -> PullNode:
        """What an agent said, bounded: it ends up in a database. A state this version does not know changes nothing."""
        known = progress.state in ENDED or progress.state in UNDER_WAY
        return PullNode(
            self.node,
            progress.state if known else self.state,
            now,
            _bytes(progress.bytes_total),
            _bytes(progress.bytes_origin),
            _bytes(progress.bytes_peers),
            _bytes(progress.bytes_local),
            _text(progress.path),
            _error(progress.error),
            progress.seconds if isfinite(progress.seconds) else 0.0,
            _where(progress.where),
        )

    def says_the_same(self, other: PullNode) -> bool:
        """But for where its time went."""
        mine = replace(self, updated_at=0.0, seconds=0.0, where=None)
        return mine == replace(other, updated_at=0.0, seconds=0.0, where=None)


@dataclass(slots=True)
class Pull:
    """A reference that shall be on some nodes. Done when all nodes are; failed when all ended and one did not."""

    id: str
    reference: str
    selector: Selector
    priority: Priority
    created_at: float
    idempotency_key: str | None = None
    state: PullState = "running"
    finished_at: float | None = None
    nodes: dict[str, PullNode] = field(default_factory=dict)
    deadline: float | None = None
    webhook: Webhook | None = None
    trace: str = (
        ""  # traceparent of who asked for it; not stored, so that nodes after a restart begin traces of their own
    )

    @property
    def running(self) -> bool:
        return self.state == "running"

    @property
    def held(self) -> int:
        """Bytes of memory, about."""
        return PULL_BYTES + sum(node.held for node in self.nodes.values())

    def wants(self, node: str) -> bool:
        """Whether `node` has still to be asked for it (again)."""
        if not self.running:
            return False
        known = self.nodes.get(node)
        return not known.ended if known else self.selector.everyone

    def add(self, node: str, now: float) -> None:
        """`node` takes part from now on; nothing changes when it does already."""
        self.nodes.setdefault(node, PullNode(node, WAITING, now))

    def apply(self, node: str, progress: PullProgress, now: float) -> bool:
        """What `node` said; False when it does not matter (any more)."""
        known = self.nodes.get(node)
        if not self.running or known is None or known.ended:
            return False
        self.nodes[node] = known.after(progress, now)
        if all(each.ended for each in self.nodes.values()):
            self.state = "done" if all(each.state == "done" for each in self.nodes.values()) else "failed"
            self.finished_at = now
        return True

    def cancel(self, now: float) -> list[str]:
        """End it; the nodes that had not ended."""
        return self._stop("cancelled", now)

    def expire(self, now: float, connected: Container[str] = ()) -> list[str]:
        """Its deadline passed: nodes that have not ended have failed, and so has it; those nodes. Why they were not
        done is kept with their errors: where their time went is not."""
        return self._stop("failed", now, lambda node: self._late(node, now, away=node.node not in connected))

    def _late(self, node: PullNode, now: float, *, away: bool) -> ErrorInfo:
        found = explain(facts_of(self, node, now, away=away))
        held = "the node had not begun" if node.state == WAITING and not away else what_held(found.bottleneck)
        return DeadlineExceeded(
            f"{self.reference[:1000]} was not here by the deadline of its pull{held and f': {held}'}.",
            remedy=f"{found.remedy or ''} Ask again with a later deadline: nodes keep what they have.".lstrip(),
        ).info()

    def _stop(
        self, state: PullState, now: float, why: Callable[[PullNode], ErrorInfo | None] = lambda _: None
    ) -> list[str]:
        if not self.running:
            return []
        stopped = [node for node, known in self.nodes.items() if not known.ended]
        for node in stopped:
            known = self.nodes[node]
            self.nodes[node] = replace(known, state=state, updated_at=now, error=why(known))
        self.state = state
        self.finished_at = now
        return stopped


def facts_of(pull: Pull, node: PullNode, now: float, *, away: bool) -> Facts:
    """What is known of a pull on a node, to be explained. `away`: it has no session, which is nothing to one that
    ended."""
    return Facts(
        state=node.state,
        seconds=node.seconds or max(0.0, (node.updated_at if node.ended else now) - pull.created_at),
        size=node.bytes_total,
        origin=node.bytes_origin,
        peers=node.bytes_peers,
        local=node.bytes_local,
        error=node.error,
        where=node.where,
        away=away and not node.ended,
    )


def _bytes(count: int) -> int:
    return min(max(count, 0), _MOST_BYTES)


def _text(text: str) -> str:
    return text[:_LONGEST_TEXT].replace("\0", "�")  # PostgreSQL stores no NUL


def _where(where: Where | None) -> Where | None:
    """What an agent may say: as much as one does, and numbers that mean something."""
    if where is None:
        return None
    said = (*where.waits, *where.lately, *where.rates, where.origin, where.trouble)
    around = where.around
    numbers = (
        *where.waits.values(),
        *where.lately.values(),
        *where.rates.values(),
        where.window,
        where.since,
        where.still,
        *(each for each in (around.link, around.link_speed, around.disk, around.cpu, around.download_limit) if each),
    )
    right = len(said) <= _MOST_WAITS and sum(map(len, (*said, around.control, around.rdma))) <= _LONGEST_TEXT
    return where if right and all(abs(number) <= _LARGEST for number in numbers) else None


def _error(error: ErrorInfo | None) -> ErrorInfo | None:
    if error is None:
        return None
    return ErrorInfo(_text(error.code), _text(error.message), _text(error.remedy), error.retry_after)
