"""Phase 2's state machine: every event, and what follows from it.

After each event that may allow another request, the free part of the window is filled (`Requests.fill`).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from modeldist.artifact import Digest
from modeldist.scheduler.messages import Parent
from modeldist.scheduler.phase2 import messages as m
from modeldist.scheduler.phase2.ahead import ReadAhead
from modeldist.scheduler.phase2.config import Phase2Config
from modeldist.scheduler.phase2.fetch import Fetch
from modeldist.scheduler.phase2.parent import ParentLink
from modeldist.scheduler.phase2.reading import Reading
from modeldist.scheduler.phase2.requests import Requests
from modeldist.scheduler.phase2.stripes import Stripes
from modeldist.scheduler.pieces import PieceSet

_TRIES = 2  # failures in a row after which a parent is no hope for a task that stands still
_UNMEASURED = 100e6  # bytes/s, before anything has arrived
_FIRST = 64  # runs of pieces that phase 1 is told at a time
_ROUNDS_SECONDS = 0.5  # how often tasks that stand still are looked for


class Phase2:
    """One per node. `now` in seconds of a clock that does not go back; instructions are carried out in order."""

    def __init__(self, config: Phase2Config, rng: random.Random) -> None:
        self._config = config
        self._rng = rng
        self._tasks: dict[Digest, Fetch] = {}
        self._links: dict[str, ParentLink] = {}
        self._reading = Reading(config.origin_streams, config.small_leases)
        self._out: list[m.Instruction] = []
        self._ahead = ReadAhead(config, self._tasks)
        self._requests = Requests(config, rng, self._tasks, self._links, self._out)
        self._next_rounds = 0.0
        self._lease_asked: dict[Digest, float] = {}
        handlers: dict[type, Callable[[Any, float], None]] = {
            m.TaskAdded: self._task_added,
            m.TaskRemoved: self._task_removed,
            m.ParentsChanged: self._parents_changed,
            m.ParentConnected: self._parent_connected,
            m.ParentLost: self._parent_lost,
            m.ParentHas: self._parent_has,
            m.DigestsKnown: self._digests_known,
            m.LeaseArrived: self._lease_arrived,
            m.LeaseGone: self._lease_gone,
            m.PieceFetched: self._piece_fetched,
            m.PieceVerified: self._piece_verified,
            m.PieceRejected: self._piece_rejected,
            m.PieceBusy: self._piece_busy,
            m.PieceRefused: self._piece_refused,
            m.TaskRejoined: self._task_rejoined,
            m.TaskRestarted: self._task_restarted,
            m.Awaited: self._awaited,
            m.Tick: self._tick,
        }
        self._handlers = handlers

    def handle(self, event: m.Event, now: float) -> list[m.Instruction]:
        """Events about tasks, parents or leases that are not known (any more) change nothing."""
        self._handlers[type(event)](event, now)
        if self._requests.stirred:
            self._requests.fill(now)
        if not self._out:
            return []
        out = self._out.copy()
        self._out.clear()
        return out

    def leases(self, task: Digest) -> list[m.LeaseArrived]:
        """Leases on the task that this node reads or is going to read, oldest first."""
        return self._reading.of(task)

    def held_back(self, now: float) -> bool:
        """Whether the download limit keeps this node from asking parents for more."""
        return not self._requests.window.within_limit(now)

    def unbegun_leases(self) -> list[m.LeaseArrived]:
        """Those that nothing is read of yet."""
        return self._reading.unbegun()

    @property
    def bytes_in_flight(self) -> int:
        """Requested from parents and not answered, in bytes."""
        return self._requests.window.in_flight

    # --- tasks -----------------------------------------------------------------------------------------------------

    def _task_added(self, event: m.TaskAdded, now: float) -> None:
        if event.task in self._tasks:
            return
        have, only = event.have.bits, event.only.bits
        fetch = Fetch(event.task, event.layout, event.priority, have, progressed=now, only=only)
        self._tasks[event.task] = fetch
        self._await(fetch)
        if not self._finish(fetch):
            self._request_leases(fetch, now)

    def _task_removed(self, event: m.TaskRemoved, now: float) -> None:
        fetch = self._tasks.pop(event.task, None)
        if fetch is None:
            return
        self._leave_parents(fetch, now)
        self._stop_leases(event.task)
        self._lease_asked.pop(event.task, None)

    def _task_rejoined(self, event: m.TaskRejoined, now: float) -> None:
        fetch = self._tasks.get(event.task)
        if fetch is not None and not fetch.complete:
            self._request_leases(fetch, now)

    def _task_restarted(self, event: m.TaskRestarted, now: float) -> None:
        if (fetch := self._tasks.get(event.task)) is None:
            return
        self._stop_leases(event.task)
        for link in self._links.values():
            self._requests.write_off(link, event.task)
        fetch.restart(now)
        self._request_leases(fetch, now)
        self._requests.mark_all(fetch)

    def _awaited(self, event: m.Awaited, now: float) -> None:
        for task in sorted(self._ahead.set(event)):
            if (fetch := self._tasks.get(task)) is not None:
                before = fetch.awaited
                self._await(fetch)
                if self._ahead.reads(task):
                    fetch.asked = 0 if fetch.awaited != before else fetch.asked
                elif fetch.first != self._first(fetch):
                    self._request_leases(fetch, now)
        self._read_ahead(now)

    def _await(self, fetch: Fetch) -> None:
        """Another order of what readers wait for, and with it perhaps another class."""
        self._requests.unmark(fetch)
        fetch.await_(self._ahead.of(fetch.task))
        self._requests.mark_all(fetch)

    def _first(self, fetch: Fetch) -> tuple[tuple[int, int], ...]:
        """What readers wait for that the origin might be asked for."""
        free = fetch.missing & ~fetch.leased
        return tuple((start, count) for start, count in fetch.awaited if ((1 << count) - 1) << start & free)[:_FIRST]

    def _read_ahead(self, now: float) -> None:
        for task, runs in self._ahead.next(now).items():
            fetch = self._tasks[task]
            fetch.asked, fetch.asked_at = sum(count for _, count in runs), now
            self._lease_asked[task] = now
            fetch.first = tuple(runs[:_FIRST])
            self._out.append(m.RequestLease(task, fetch.asked, PieceSet(fetch.out_of_reach), fetch.first))

    def _finish(self, fetch: Fetch) -> bool:
        if fetch.complete and not fetch.told_complete:
            fetch.told_complete = True
            self._lease_asked.pop(fetch.task, None)
            self._out.append(m.TaskComplete(fetch.task))
        return fetch.complete

    def _request_leases(self, fetch: Fetch, now: float) -> None:
        self._lease_asked[fetch.task] = now
        before, fetch.out_of_reach = fetch.out_of_reach, self._out_of_reach(fetch, now)
        if self._ahead.reads(fetch.task) and before == fetch.out_of_reach:
            fetch.asked = 0
            self._read_ahead(now)
            return
        free = fetch.missing & ~fetch.leased
        fetch.first = self._first(fetch)
        self._out.append(m.RequestLease(fetch.task, free.bit_count(), PieceSet(fetch.out_of_reach), fetch.first))

    def _out_of_reach(self, fetch: Fetch, now: float) -> int:
        """What no parent serves, after a time in which nothing came. A busy parent serves, and so does one that may be
        about to answer."""
        if now - fetch.progressed <= self._config.out_of_reach or fetch.flying:
            return 0
        held = served = 0
        for parent in fetch.listed:
            held |= PieceSet.from_bytes(parent.have).bits
        for node, pieces in fetch.holders.items():
            held |= pieces
            if self._links[node].failures < _TRIES:
                served |= pieces & ~fetch.excluded.get(node, 0)
        return held & fetch.missing & ~served & ~fetch.leased

    # --- parents ---------------------------------------------------------------------------------------------------

    def _parents_changed(self, event: m.ParentsChanged, now: float) -> None:
        fetch = self._tasks.get(event.task)
        if fetch is None or fetch.complete:
            return
        fetch.listed = event.parents
        fetch.share = event.share
        self._set_stripes(fetch, event, now)
        self._use_parents(fetch, now)

    def _use_parents(self, fetch: Fetch, now: float) -> None:
        listed = {parent.node: parent for parent in fetch.listed if self._of_use(fetch, parent)}
        for node in [node for node in fetch.holders if node not in listed]:
            self._leave_parent(fetch, node, now)
        fetch.far = {node for node, parent in listed.items() if parent.distance > 0}
        if len(fetch.far) == len(listed):  # nobody is near: not in a rack, or all alone there
            fetch.far.clear()
        for node, parent in listed.items():
            known = node in fetch.holders
            fetch.gained(node, PieceSet.from_bytes(parent.have).bits & fetch.all)
            link = self._links.get(node)
            if link is None:
                link = self._links[node] = ParentLink(node, parent.address, self._config)
            link.tasks[fetch.task] = None
            if link.connected:
                if not known:
                    self._out.append(m.Subscribe(fetch.task, node))
                self._requests.mark(fetch, link)
            else:
                if link.address != parent.address:  # it was started again: that it failed before says nothing
                    link.address, link.failures, link.not_before = parent.address, 0, now
                self._connect(link, now)
        fetch.recount()

    def _set_stripes(self, fetch: Fetch, event: m.ParentsChanged, now: float) -> None:
        if not event.stripes:
            fetch.stripes = None
            return
        if fetch.stripes is None or fetch.stripes.count != event.stripes:
            fetch.stripes = Stripes(event.stripes, fetch.layout.count, now)
        fetch.stripes.assign(event.parents, now)

    def _of_use(self, fetch: Fetch, parent: Parent) -> bool:
        """Of a striped task, only the parents that bring a stripe, unless they fail."""
        if parent.node in fetch.banned:
            return False
        return fetch.stripes is None or fetch.stripes.loose != 0 or fetch.stripes.brings(parent.node)

    def _connect(self, link: ParentLink, now: float) -> None:
        if not link.connected and not link.connecting and link.not_before <= now:
            link.connecting = True
            self._out.append(m.Connect(link.node, link.address))

    def _parent_connected(self, event: m.ParentConnected, now: float) -> None:
        link = self._links.get(event.node)
        if link is None:
            self._out.append(m.Disconnect(event.node))
            return
        link.connected, link.connecting = True, False
        link.unused_since = now
        for task in link.tasks:
            self._out.append(m.Subscribe(task, event.node))
            self._requests.mark(self._tasks[task], link)

    def _parent_lost(self, event: m.ParentLost, now: float) -> None:
        link = self._links.get(event.node)
        if link is None:
            return
        link.connected = link.connecting = False
        link.failed(now)
        self._requests.write_off(link)
        if not link.tasks:
            del self._links[event.node]

    def _parent_has(self, event: m.ParentHas, now: float) -> None:
        fetch = self._tasks.get(event.task)
        if fetch is None or event.node not in fetch.holders:
            return
        fetch.gained(event.node, event.pieces.bits & fetch.all)
        if fetch.fetchable(event.node, now, self._config.patience):
            self._requests.mark(fetch, self._links[event.node])

    def _digests_known(self, event: m.DigestsKnown, now: float) -> None:
        if (fetch := self._tasks.get(event.task)) is not None:
            fetch.digests |= event.pieces.bits & fetch.all
            for node, held in fetch.holders.items():
                if held & event.pieces.bits:
                    self._requests.mark(fetch, self._links[node])

    def _leave_parent(self, fetch: Fetch, node: str, now: float) -> None:
        """Requests that are out there stay out: what they bring is welcome."""
        fetch.holders.pop(node, None)
        link = self._links[node]
        link.forget(fetch.task)
        link.unused_since = now
        if link.connected:
            self._out.append(m.Unsubscribe(fetch.task, node))

    def _leave_parents(self, fetch: Fetch, now: float) -> None:
        for node in list(fetch.holders):
            self._leave_parent(fetch, node, now)

    # --- the origin ------------------------------------------------------------------------------------------------

    def _lease_arrived(self, event: m.LeaseArrived, now: float) -> None:
        fetch = self._tasks.get(event.task)
        if fetch is None or fetch.complete:
            return
        if self._reading.add(event, small=fetch.layout.size <= m.SMALL_SHARD):
            fetch.asked = max(0, fetch.asked - event.count)
            fetch.leased = self._reading.bits_of(event.task)
            self._read_next()

    def _lease_gone(self, event: m.LeaseGone, now: float) -> None:
        """If the reader was still running it is told to stop; the next lease need not wait for that."""
        held = self._reading.remove(event.task, event.lease)
        if held is None:
            return
        fetch = self._tasks[event.task]
        fetch.leased = self._reading.bits_of(event.task)
        if held.bits & fetch.missing:
            if held.reading:
                self._out.append(m.StopLease(event.task, event.lease))
            self._requests.mark_all(fetch)
        self._read_next()
        self._read_ahead(now)

    def _read_next(self) -> None:
        for lease in self._reading.start(self._awaited_lease, self._ahead.reads):
            self._out.append(m.ReadLease(lease.task, lease.lease, lease.start, lease.count))

    def _awaited_lease(self, lease: m.LeaseArrived) -> bool:
        fetch = self._tasks.get(lease.task)
        return fetch is not None and fetch.first_awaited(PieceSet.span(lease.start, lease.count).bits) is not None

    def _stop_leases(self, task: Digest) -> None:
        for lease in self._reading.of(task):
            held = self._reading.remove(task, lease.lease)
            if held is not None and held.reading:
                self._out.append(m.StopLease(task, lease.lease))
        self._read_next()

    # --- pieces ----------------------------------------------------------------------------------------------------

    def _piece_fetched(self, event: m.PieceFetched, now: float) -> None:
        request = self._requests.answered(event.task, event.piece, event.node)
        self._requests.window.received(event.bytes, now)
        if request is None:
            return
        self._links[event.node].received(request, now)
        if (fetch := self._tasks.get(event.task)) is not None:
            fetch.verifying |= 1 << event.piece & ~fetch.have

    def _piece_verified(self, event: m.PieceVerified, now: float) -> None:
        fetch = self._tasks.get(event.task)
        if fetch is None:
            return
        bit = 1 << event.piece
        if fetch.leased & bit:
            self._requests.window.pay(fetch.layout.length(event.piece), now)
            self._ahead.brought(fetch.layout.length(event.piece), now)
        before = fetch.priority_class
        fetch.have |= bit & fetch.all
        fetch.verifying &= ~bit
        fetch.progressed = now
        if fetch.out_of_reach and not fetch.leased & bit:
            self._request_leases(fetch, now)  # a parent serves after all
        if fetch.stripes is not None:
            fetch.stripes.arrived(event.piece, now)
        if fetch.priority_class != before:  # it was the last that somebody waited for
            self._await(fetch)
        if self._finish(fetch):
            self._leave_parents(fetch, now)
        self._read_ahead(now)

    def _piece_rejected(self, event: m.PieceRejected, now: float) -> None:
        """The digest came from a trusted source, so the parent sent something else: no more of this task from it."""
        self._requests.answered(event.task, event.piece, event.node)
        fetch = self._tasks.get(event.task)
        if fetch is None:
            return
        fetch.verifying &= ~(1 << event.piece)
        if event.node in fetch.holders:
            self._leave_parent(fetch, event.node, now)
        fetch.ban(event.node)
        self._requests.mark_all(fetch)

    def _piece_busy(self, event: m.PieceBusy, now: float) -> None:
        self._requests.answered(event.task, event.piece, event.node)
        fetch = self._tasks.get(event.task)
        if (link := self._links.get(event.node)) is not None:
            link.busy(now, event.retry_after)
        if fetch is not None:
            self._requests.mark_all(fetch)

    def _piece_refused(self, event: m.PieceRefused, now: float) -> None:
        self._requests.answered(event.task, event.piece, event.node)
        fetch = self._tasks.get(event.task)
        if (link := self._links.get(event.node)) is not None:
            link.failed(now)
        if fetch is not None:
            fetch.exclude(event.node, 1 << event.piece)
            self._requests.mark_all(fetch)

    # --- time ------------------------------------------------------------------------------------------------------

    def _tick(self, event: m.Tick, now: float) -> None:
        self._requests.stirred = True  # parents may have rested enough
        self._requests.look_for_trouble(now)
        self._mind_connections(now)
        self._mind_stripes(now)
        self._read_ahead(now)
        if now >= self._next_rounds:
            self._next_rounds = now + _ROUNDS_SECONDS
            self._rounds(now)

    def _mind_connections(self, now: float) -> None:
        for link in list(self._links.values()):
            if link.tasks:
                self._connect(link, now)
            elif now - link.unused_since > self._config.linger:
                self._requests.write_off(link)
                del self._links[link.node]
                if link.connected or link.connecting:
                    self._out.append(m.Disconnect(link.node))

    def _mind_stripes(self, now: float) -> None:
        """Stripes that are late may come from anyone, until they are no more."""
        rate = self._requests.window.rate or _UNMEASURED
        for fetch in self._tasks.values():
            stripes = fetch.stripes
            if stripes is None or fetch.complete:
                continue
            before = stripes.loose
            stripes.review(fetch.missing, fetch.holders, self._links, fetch.layout.piece_size / rate, now)
            if stripes.behind:
                self._out.append(m.TellBehind(fetch.task, stripes.behind))
            if stripes.loose:
                if not before:
                    self._use_parents(fetch, now)
                self._requests.mark_all(fetch)

    def _rounds(self, now: float) -> None:
        for fetch in [fetch for fetch in self._tasks.values() if not fetch.complete]:
            if now - fetch.progressed > self._config.patience:
                self._requests.mark_all(fetch)
            if now >= fetch.next_review:
                fetch.next_review = now + self._config.overdue
                if fetch.review():
                    self._requests.mark_all(fetch)
            last = max(fetch.progressed, self._lease_asked.get(fetch.task, 0.0))
            if now - last > self._config.request_again:
                self._request_leases(fetch, now)
                self._forgive(fetch, now)

    def _forgive(self, fetch: Fetch, now: float) -> None:
        """Nothing moves: better a parent that failed before than none."""
        fetch.excluded.clear()
        fetch.banned.clear()
        self._use_parents(fetch, now)
