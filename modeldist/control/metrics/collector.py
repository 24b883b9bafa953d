"""Looks up what the control plane's metrics are now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from heapq import nlargest

from modeldist import __version__
from modeldist.control.metrics import names
from modeldist.control.plane import ControlPlane
from modeldist.metrics.metric import Metric, Sample
from modeldist.scheduler.pieces import PieceLayout

AT_A_TIME = 25  # tasks looked at before others get a turn of the loop
SHOWN_TASKS = 20


def standing_by() -> Iterator[Sample]:
    """Of a replica that does not lead. Which cluster it is of it learns when it does."""
    yield names.INFO.at(1, __version__, "", "postgresql")
    yield names.LEADING.at(0)


def sessions_now(plane: ControlPlane) -> Iterator[Sample]:
    now = time.monotonic()
    sessions = plane.core.sessions.values()
    yield names.INFO.at(1, __version__, plane.cluster, plane.database.engine.dialect.name)
    yield names.LEADING.at(1)
    yield names.AGENTS.at(len(sessions))
    yield from _spread(names.HEARD, [now - session.heard_at for session in sessions])
    nodes = [node for node in plane.scheduler.nodes(now) if node.node in plane.core.sessions]
    yield from _spread(names.LOAD_AGE, [node.load_age for node in nodes if node.load_age is not None])
    yield names.LOAD_UNKNOWN.at(sum(node.load is None for node in nodes))
    yield names.QUEUE.at(sum(len(session.outbox) for session in sessions))
    yield names.STUCK.at(max((session.outbox.stuck_for(now) for session in sessions), default=0.0))
    yield names.PULLS.at(plane.book.running)
    yield names.PULL_AGE.at(plane.book.longest)
    for state, count in plane.book.ended.items():
        yield names.ENDED.at(count, state)
    rooms = plane.rooms.all()
    for name, room in rooms.items():
        yield names.FULL.at(room.full, name)
    for name, room in rooms.items():
        yield names.REFUSED.at(room.refused, name)


async def tasks_now(plane: ControlPlane) -> list[Sample]:
    """A few at a time: there may be thousands, and agents wait for answers."""
    leases = asks = held = origin = excess = 0
    age = idle = 0.0
    ratios: list[tuple[float, str]] = []
    digests = plane.scheduler.tasks()
    for number, digest in enumerate(digests):
        if number % AT_A_TIME == AT_A_TIME - 1:
            await asyncio.sleep(0)
        task = plane.scheduler.task(digest, time.monotonic())
        if task is None:
            continue
        here = PieceLayout(task.size, task.piece_size).bytes_of(task.held)
        leases += len(task.leases)
        may_read = [lease for lease in task.leases if not lease.after]
        age = max([age, *(lease.age for lease in may_read)])
        idle = max([idle, *(lease.idle for lease in may_read)])
        asks += task.askers
        held += here
        origin += task.origin_bytes
        excess += max(0, task.origin_bytes - here)
        if here and task.origin_bytes:
            ratios.append((task.origin_bytes / here, digest))
    return [
        names.TASKS.at(len(digests)),
        names.LEASES.at(leases),
        names.LEASE_AGE.at(age),
        names.LEASE_IDLE.at(idle),
        names.LEASE_ASKS.at(asks),
        names.ORIGIN.at(origin),
        names.HELD.at(held),
        names.EXCESS.at(excess),
        *(names.RATIO.at(ratio, digest) for ratio, digest in nlargest(SHOWN_TASKS, ratios)),
    ]


def _spread(metric: Metric, ages: list[float]) -> Iterator[Sample]:
    if ages:
        ages.sort()
        yield metric.at(max(0.0, ages[len(ages) // 2]), "0.5")
        yield metric.at(max(0.0, ages[-1]), "1")
