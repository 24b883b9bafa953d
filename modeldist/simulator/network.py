"""A fluid network: flows share the links on their way max-min fairly, after their weights, as long-lived TCP
connections roughly do.

A flow is one connection; what is queued on it is sent in order. Rates are worked out anew at most every `quantum`
seconds, so that a large network costs by time and not by the number of changes.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from modeldist.simulator.clock import Clock

_ALMOST = 1e-6  # bytes


@dataclass(slots=True, eq=False)
class Link:
    """`rate` in bytes/s; `carried` in bytes."""

    name: str
    rate: float
    carried: int = 0


@dataclass(slots=True, eq=False)
class Flow:
    """One connection along `links`. `cap` bounds its rate whatever the links have left; of each link it gets `weight`
    times what a flow of weight 1 gets there."""

    links: tuple[Link, ...]
    cap: float = float("inf")
    weight: float = 1.0
    queue: deque[tuple[int, Callable[[], None]]] = field(default_factory=deque)
    left: float = 0.0
    rate: float = 0.0
    updated: float = 0.0
    version: int = 0


class Network:
    def __init__(self, clock: Clock, quantum: float) -> None:
        self._clock = clock
        self._quantum = quantum
        self._active: dict[Flow, None] = {}
        self._planned = False

    def send(self, flow: Flow, size: int, done: Callable[[], None]) -> None:
        """Queue `size` bytes on `flow`; `done` is called when the last of them has arrived."""
        flow.queue.append((size, done))
        if flow not in self._active:
            flow.left = size
            flow.rate = 0.0
            flow.updated = self._clock.now
            self._active[flow] = None
            self._plan()

    def stop(self, flow: Flow) -> None:
        """The connection dies; what is queued never arrives."""
        flow.queue.clear()
        flow.version += 1
        if self._active.pop(flow, self) is not self:
            self._plan()

    def sent_of_head(self, flow: Flow) -> float:
        """Bytes of the first queued transfer that have arrived."""
        if not flow.queue:
            return 0.0
        self._advance(flow)
        return flow.queue[0][0] - flow.left

    def _plan(self) -> None:
        if not self._planned:
            self._planned = True
            self._clock.after(self._quantum, self._share)

    def _advance(self, flow: Flow) -> None:
        flow.left -= flow.rate * (self._clock.now - flow.updated)
        flow.updated = self._clock.now

    def _expect(self, flow: Flow) -> None:
        flow.version += 1
        version = flow.version
        if flow.rate > 0:
            self._clock.after(max(flow.left, 0.0) / flow.rate, lambda: self._arrived(flow, version))

    def _arrived(self, flow: Flow, version: int) -> None:
        if flow.version != version:
            return
        size, done = flow.queue.popleft()
        flow.updated = self._clock.now
        for link in flow.links:
            link.carried += size
        if flow.queue:
            flow.left = flow.queue[0][0]
            self._expect(flow)
        else:
            flow.version += 1
            del self._active[flow]
            self._plan()
        done()

    def _share(self) -> None:
        """Progressive filling: the link with the least to give each of its flows fixes their rate, and so on."""
        self._planned = False
        flows_on: dict[Link, dict[Flow, None]] = {}
        weights: dict[Link, float] = {}  # of the flows on each link that have no rate yet, together
        for flow in self._active:
            for link in flow.links:
                flows_on.setdefault(link, {})[flow] = None
                weights[link] = weights.get(link, 0.0) + flow.weight
        left = {link: link.rate for link in flows_on}
        heap = [(left[link] / weights[link], order, link) for order, link in enumerate(flows_on)]
        heapq.heapify(heap)
        rates: dict[Flow, float] = {}
        capped = [flow for flow in self._active if flow.cap != float("inf")]
        capped.sort(key=lambda flow: flow.cap / flow.weight)
        order = len(heap)

        def share_of(link: Link) -> float:
            """What a flow of weight 1 gets of what is left."""
            return max(left[link], 0.0) / weights[link]

        def fix(flow: Flow, rate: float) -> None:
            nonlocal order
            rates[flow] = rate
            for link in flow.links:
                left[link] -= rate
                weights[link] -= flow.weight
                flows_on[link].pop(flow, None)
                if flows_on[link]:
                    order += 1
                    heapq.heappush(heap, (share_of(link), order, link))

        while heap:
            share, _, link = heapq.heappop(heap)
            flows = flows_on[link]
            if not flows or share < share_of(link) * (1 - 1e-12):
                continue  # stale: a later entry says more
            while capped and capped[0].cap <= share * capped[0].weight:
                flow = capped.pop(0)
                if flow not in rates:
                    fix(flow, flow.cap)
            share = share_of(link) if flows else share
            for flow in list(flows):
                fix(flow, min(share * flow.weight, flow.cap))
        for flow in self._active:
            rate = rates[flow]
            if rate != flow.rate:
                self._advance(flow)
                flow.rate = rate
                self._expect(flow)
