"""The fluid network for tens of thousands of flows: the same max-min fair shares as `network.py`, worked out in arrays.

Time goes in steps: rates hold for a step, and what arrives within one is told at its end. A step should be a small part
of the time that a piece takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from modeldist.simulator.clock import Clock
from modeldist.simulator.network import Flow, Link

_ALMOST = 1e-3  # bytes
_ROUNDS = 24  # of filling; what is not settled then gets what it surely can have
_EXACT = 1 - 1e-9

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class ArrayNetwork:
    """As `network.Network`."""

    def __init__(self, clock: Clock, step: float) -> None:
        self._clock = clock
        self._step = step
        self._planned = False
        self._last = 0.0
        self._links: dict[Link, int] = {}
        self._link_rates: Floats = np.full(1, np.inf)  # link 0: no link
        self._flows: list[Flow | None] = []
        self._free: list[int] = []
        self._slots: dict[Flow, int] = {}
        self._left: Floats = np.zeros(0)
        self._rates: Floats = np.zeros(0)
        self._caps: Floats = np.zeros(0)
        self._ways: Ints = np.zeros((4, 0), dtype=np.int64)
        self._width = 1
        self._active: Ints = np.zeros(0, dtype=np.int64)
        self._changed = False

    # --- flows -----------------------------------------------------------------------------------------------------

    def send(self, flow: Flow, size: int, done: Callable[[], None]) -> None:
        """Queue `size` bytes on `flow`; `done` is called when the last of them has arrived."""
        flow.queue.append((size, done))
        if flow not in self._slots:
            slot = self._free.pop() if self._free else self._grow()
            self._slots[flow] = slot
            self._flows[slot] = flow
            self._left[slot] = size
            self._rates[slot] = 0.0
            self._caps[slot] = flow.cap
            ways = [self._number(link) for link in flow.links]
            self._width = max(self._width, len(ways))
            self._ways[:, slot] = ways + [0] * (4 - len(ways))
            self._changed = True
            self._plan()

    def stop(self, flow: Flow) -> None:
        """The connection dies; what is queued never arrives."""
        flow.queue.clear()
        self._end(flow)

    def sent_of_head(self, flow: Flow) -> float:
        """Bytes of the first queued transfer that have arrived."""
        slot = self._slots.get(flow)
        if slot is None or not flow.queue:
            return 0.0
        left = float(self._left[slot] - self._rates[slot] * (self._clock.now - self._last))
        return flow.queue[0][0] - max(left, 0.0)

    def _end(self, flow: Flow) -> None:
        slot = self._slots.pop(flow, None)
        if slot is not None:
            self._flows[slot] = None
            self._free.append(slot)
            self._changed = True

    def _grow(self) -> int:
        before = len(self._flows)
        if before == len(self._left):
            more = max(1024, before)
            self._left, self._rates, self._caps = (
                np.concatenate([array, np.zeros(more)]) for array in (self._left, self._rates, self._caps)
            )
            self._ways = np.concatenate([self._ways, np.zeros((4, more), dtype=np.int64)], axis=1)
        self._flows.append(None)
        return before

    def _number(self, link: Link) -> int:
        number = self._links.get(link)
        if number is None:
            number = self._links[link] = len(self._links) + 1
            if number >= len(self._link_rates):
                self._link_rates = np.concatenate([self._link_rates, np.full(number + 1024, np.inf)])
            self._link_rates[number] = link.rate
        return number

    # --- time ------------------------------------------------------------------------------------------------------

    def _plan(self) -> None:
        if not self._planned:
            self._planned = True
            if not len(self._active):
                self._last = self._clock.now
            self._clock.after(self._step, self._advance)

    def _advance(self) -> None:
        self._planned = False
        span = self._clock.now - self._last
        self._last = self._clock.now
        active = self._active
        self._left[active] -= self._rates[active] * span
        arrived: list[Callable[[], None]] = []
        for slot in active[self._left[active] <= _ALMOST].tolist():
            if (flow := self._flows[slot]) is not None and self._rates[slot] > 0.0:
                self._arrive(flow, slot, arrived)
        for done in arrived:
            done()
        self._share()
        if self._slots:
            self._plan()

    def _arrive(self, flow: Flow, slot: int, arrived: list[Callable[[], None]]) -> None:
        """The first transfer of the flow is through, and what of the next ones went with it in this step."""
        left = float(self._left[slot])
        while flow.queue and left <= _ALMOST:
            size, done = flow.queue.popleft()
            for link in flow.links:
                link.carried += size
            arrived.append(done)
            if flow.queue:
                left += flow.queue[0][0]
        if flow.queue:
            self._left[slot] = left
        else:
            self._end(flow)

    # --- shares ----------------------------------------------------------------------------------------------------

    def _share(self) -> None:
        """Filling in rounds: every link that gives all its flows the least of all links on their way settles them."""
        if not self._changed:
            return
        self._changed = False
        self._active = active = np.fromiter(self._slots.values(), dtype=np.int64, count=len(self._slots))
        ways = [self._ways[row, active] for row in range(self._width)]
        caps = self._caps[active]
        rates = np.zeros(len(active))
        open_: Any = np.arange(len(active))
        links = len(self._link_rates)
        left = self._link_rates.copy()
        for _ in range(_ROUNDS):
            if not len(open_):
                break
            count = sum(np.bincount(way, minlength=links) for way in ways)
            with np.errstate(divide="ignore", invalid="ignore"):
                share = np.maximum(left, 0.0) / count
            share[0] = np.inf  # and nothing is ever tight there
            rate = caps
            for way in ways:
                rate = np.minimum(rate, share[way])
            given = sum(np.bincount(way, weights=rate, minlength=links) for way in ways)
            tight = (count > 0) & (given >= left * _EXACT)
            settled = rate >= caps
            for way in ways:
                settled |= tight[way]
            rates[open_] = rate  # those settled keep it
            left -= sum(np.bincount(way[settled], weights=rate[settled], minlength=links) for way in ways)
            keep = ~settled
            open_, caps = open_[keep], caps[keep]
            ways = [way[keep] for way in ways]
        self._rates[active] = rates
