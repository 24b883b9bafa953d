"""One synthetic agent: does on timers and callbacks what `modeldist.agent.engine` does, without the bytes."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modeldist import __version__
from modeldist.artifact import Digest
from modeldist.control.load.copy import Copy, ReadLease
from modeldist.control.load.ledger import Kind, Ledger
from modeldist.control.load.light_socket import LightSocket
from modeldist.control.load.plan import LoadPlan
from modeldist.control.load.synthetic_task import SyntheticTask
from modeldist.scheduler.messages import (
    JoinTasks,
    LeaseGranted,
    LeaseRequest,
    LeaseRevoked,
    LeaveTasks,
    Load,
    Location,
    Parents,
    PieceDigests,
    Report,
    TaskJoined,
    TaskReset,
)
from modeldist.scheduler.pieces import PieceSet
from modeldist.session.messages import (
    PROTOCOL,
    FromAgent,
    Hello,
    Refused,
    ReportEvery,
    Welcome,
    decode_from_control,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Callable

LINE_RATE = 12.5e9  # bytes/s, a 100 Gb/s card
LATE = 0.25  # seconds behind its time, or unsent at all, makes a report late
LEASE_STEP = 0.5  # seconds between two pieces read under one lease
MOST_COPIES = 2  # models on a node; the oldest makes room


@dataclass(slots=True)
class Ask:
    """A pull that waits for its answer; `sent` in seconds of the loop's clock. A warm task is answered by TaskJoined
    and Parents, a cold one by TaskJoined and then, to the request that follows, by LeaseGranted."""

    task: SyntheticTask
    sent: float
    joined: bool = False
    parents: bool = False


class SyntheticAgent:
    """A `light_socket.Listener`. `copies` is what it has before it connects."""

    def __init__(
        self,
        number: int,
        plan: LoadPlan,
        copies: list[Copy],
        ledger: Ledger,
        rng: random.Random,
        on_joined: Callable[[], None],
    ) -> None:
        self.number = number
        self.node = f"synthetic-{number:05}"
        self.socket: LightSocket | None = None
        self.connect_at = 0.0
        self.welcome: Welcome | None = None
        self.stopped = False
        self.asking: Ask | None = None
        self._plan = plan
        self._copies = {copy.task.digest: copy for copy in copies}
        self._ledger = ledger
        self._rng = rng
        self._on_joined = on_joined
        self._loop = asyncio.get_running_loop()
        self._interval = plan.interval or 2.0
        self._next_report = 0.0
        self._seq = 0
        self._timers: set[asyncio.TimerHandle] = set()

    # --- the session ------------------------------------------------------------------------------------------------

    def opened(self) -> None:
        plan, rack = self._plan, self.number // self._plan.rack
        location = Location(f"rack-{rack:04}", f"zone-{rack // plan.racks_per_zone:03}")
        address = f"10.{self.number >> 16 & 255}.{self.number >> 8 & 255}.{self.number & 255}:7421"
        labels = {"pool": f"pool-{rack % 4}", "accelerator": "h100"}
        self._send(Hello(PROTOCOL, self.node, self.node, __version__, address, location, labels))

    def received(self, frame: bytes) -> None:
        self._ledger.messages += 1
        match decode_from_control(frame):
            case Welcome() as welcome:
                self._welcomed(welcome)
            case ReportEvery(seconds):
                self._interval = self._plan.interval or seconds
            case TaskJoined(task, _, capability) if copy := self._copies.get(task):
                if not capability:
                    self._ledger.wrong["a task without its capability"] += 1
                self._joined(copy)
            case Parents(task, parents) if copy := self._copies.get(task):
                copy.parents = tuple(parent.node for parent in parents)
                if self.asking is not None and self.asking.task is copy.task:
                    self.asking.parents = self.asking.parents or bool(parents)
                    self._maybe_answered()
            case PieceDigests(task, digests) if copy := self._copies.get(task):
                copy.known |= PieceSet.of(digest.piece for digest in digests).bits
            case LeaseGranted() as lease if copy := self._copies.get(lease.task):
                self._granted(copy, lease)
            case LeaseRevoked(task, lease_id) if copy := self._copies.get(task):
                copy.leases.pop(lease_id, None)
            case TaskReset():
                self._ledger.wrong["a task that was reset"] += 1
            case Refused(error):
                self._ledger.wrong[error.message] += 1

    def lost(self, reason: str) -> None:
        for timer in self._timers:
            timer.cancel()
        self.socket = None
        self._ledger.dropped[reason] += 1

    def stop_reading(self) -> None:
        """As a process that hangs would: its socket stays open."""
        self.stopped = True
        if self.socket is not None:
            self.socket.stop_reading()

    def _send(self, message: FromAgent) -> None:
        if self.socket is not None:
            self.socket.send(encode(message))

    def _later(self, delay: float, call: Callable[[], None]) -> None:
        def run() -> None:
            self._timers.discard(timer)
            if self.socket is not None:
                call()

        timer = self._loop.call_later(delay, run)
        self._timers.add(timer)

    def _welcomed(self, welcome: Welcome) -> None:
        self.welcome = welcome
        self._interval = self._plan.interval or welcome.report_interval
        self._ledger.joins.append(self._loop.time() - self.connect_at)
        if self._copies:
            self._send(JoinTasks(tuple(copy.introduction() for copy in self._copies.values())))
        self._next_report = self._loop.time() + self._rng.uniform(0, self._interval)
        self._later(self._next_report - self._loop.time(), self._report_on_time)
        self._on_joined()

    # --- reports ----------------------------------------------------------------------------------------------------

    def _report_on_time(self) -> None:
        now = self._loop.time()
        late = now - self._next_report > LATE or (self.socket is not None and self.socket.backlogged)
        self._ledger.late_reports += late and not self.stopped
        for copy in self._copies.values():
            if copy.joined and not copy.complete:
                copy.fetch(self._pieces_an_interval(copy), self._rng)
        self._report()
        self._next_report = max(now, self._next_report + self._interval)
        self._later(self._next_report - now, self._report_on_time)

    def _pieces_an_interval(self, copy: Copy) -> int:
        share = self._interval / self._plan.pull_seconds
        return max(1, round(copy.task.layout.count * share * self._rng.uniform(0.5, 1.5)))

    def _report(self) -> None:
        self._seq += 1
        tasks = [copy.report(self._interval, self._rng) for copy in self._copies.values() if copy.joined]
        self._ledger.reports += 1
        self._send(Report(self._seq, self._load(), tuple(task for task in tasks if task is not None)))

    def _load(self) -> Load:
        rng = self._rng
        return Load(
            nic_rx=rng.random() * LINE_RATE,
            nic_tx=rng.random() * LINE_RATE,
            nic_speed=LINE_RATE,
            bytes_in_flight=rng.randrange(1 << 28),
            queue=rng.randrange(16),
            disk_busy=rng.random(),
            cpu_busy=rng.random(),
        )

    # --- pulls ------------------------------------------------------------------------------------------------------

    def ask(self, task: SyntheticTask) -> None:
        """Pull `task` from nothing: what was here of it is deleted first."""
        gone = [digest for digest in self._copies if digest == task.digest]
        if len(self._copies) - len(gone) >= MOST_COPIES:
            gone.append(next(digest for digest in self._copies if digest not in gone))
        for digest in gone:
            del self._copies[digest]
        if gone:
            self._send(LeaveTasks(tuple(gone)))
        copy = self._copies[task.digest] = Copy(task)
        self.asking = Ask(task, self._loop.time())
        self._ledger.asked += 1
        self._ledger.pending += 1
        self._send(JoinTasks((copy.introduction(),)))

    def _joined(self, copy: Copy) -> None:
        copy.joined = True
        if copy.missing:
            self._send(LeaseRequest(copy.task.digest, copy.missing.bit_count()))
        ask = self.asking
        if ask is None or ask.task is not copy.task or ask.joined:
            return
        ask.joined = True
        if not copy.task.warm:
            now = self._loop.time()
            self._ledger.answered("joined", now - ask.sent)
            ask.sent = now
        self._maybe_answered()

    def _maybe_answered(self) -> None:
        ask = self.asking
        if ask is not None and ask.task.warm and ask.joined and ask.parents:
            self._answer(ask, "candidates")

    def _answer(self, ask: Ask, kind: Kind) -> None:
        self._ledger.answered(kind, self._loop.time() - ask.sent)
        self._ledger.pending -= 1
        self.asking = None

    # --- leases -----------------------------------------------------------------------------------------------------

    def _granted(self, copy: Copy, lease: LeaseGranted) -> None:
        copy.leases[lease.lease] = ReadLease(lease.start, lease.count)
        if self.asking is not None and self.asking.task is copy.task and not copy.task.warm:
            self._answer(self.asking, "lease")
        if not lease.after:
            self._later(LEASE_STEP, lambda: self._read(copy.task.digest, lease.lease))

    def _read(self, task: Digest, lease: int) -> None:
        """A piece was read and verified: told at once, as others wait for it."""
        copy = self._copies.get(task)
        if copy is None or lease not in copy.leases:
            return
        copy.read(lease, 1)
        self._report()
        following = lease if lease in copy.leases else next(iter(copy.leases), None)
        if following is not None:
            self._later(LEASE_STEP, lambda: self._read(task, following))
        elif copy.missing:
            self._send(LeaseRequest(task, copy.missing.bit_count()))
