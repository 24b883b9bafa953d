"""One measurement from start to end: server, pioneers, everybody else at once, the measured time."""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil

from modeldist.control.load.descriptors import allow_descriptors
from modeldist.control.load.fleet import Fleet
from modeldist.control.load.ledger import Ledger
from modeldist.control.load.plan import LoadPlan
from modeldist.control.load.result import Latency, LoadResult, latencies
from modeldist.control.load.server_process import ServerProcess, server_process
from modeldist.session.messages import PATH

JOIN_WITHIN = 120.0
ANSWER_WITHIN = 10.0


async def measure(plan: LoadPlan) -> LoadResult:
    """Raises UsageError (file descriptors), ControlPlaneUnreachable (the server did not start, agents cannot join)."""
    allow_descriptors(plan.agents)
    core = plan.server_core if plan.server_core in os.sched_getaffinity(0) else None
    if plan.agents_core in os.sched_getaffinity(0):
        os.sched_setaffinity(0, {plan.agents_core})
    with tempfile.TemporaryDirectory(prefix="modeldist-load-") as state_dir:
        async with server_process(Path(state_dir), core) as server:
            await asyncio.sleep(plan.settle / 4)  # its memory then counts as that of an empty server
            fleet = Fleet(plan, f"ws{server.url.removeprefix('http')}{PATH}", server.token)
            gc.freeze()
            gc.disable()  # this process ends soon, and its pauses would be taken for the server's
            try:
                return await _measure(plan, server, fleet)
            finally:
                gc.enable()


async def _measure(plan: LoadPlan, server: ServerProcess, fleet: Fleet) -> LoadResult:
    ledger, empty = fleet.ledger, server.rss()
    pioneers = max(1, round(plan.agents * plan.pioneers))
    async with _meanwhile(fleet.watch_lag()), _meanwhile(fleet.keep_asking()) as asking:
        await fleet.connect(fleet.agents[:pioneers], JOIN_WITHIN)
        await asyncio.sleep(plan.settle / 2)
        joined_in, joins = await _storm(fleet, ledger, pioneers)
        await asyncio.sleep(plan.settle)
        for agent in fleet.agents[: plan.stopped]:
            agent.stop_reading()
        window = await _window(plan, server, ledger)
        asking.cancel()
        await _last_answers(ledger)
        grown = server.rss() - empty
    dropped = dict(ledger.dropped)
    fleet.close()
    return LoadResult(
        agents=plan.agents,
        answers=Latency.of(ledger.all_answers("measured")),
        by_kind=latencies(ledger, "measured"),
        server_bytes=empty,
        bytes_per_agent=grown / plan.agents,
        joins=Latency.of(joins),
        joined_in=joined_in,
        joined_at_once=plan.agents - pioneers,
        answers_in_storm=Latency.of(ledger.all_answers("storm")),
        lag_in_storm=Latency.of(ledger.lag["storm"]),
        unanswered=ledger.pending,
        dropped=dropped,
        wrong=dict(ledger.wrong),
        complaints=dict(server.complaints),
        **window,
    )


async def _storm(fleet: Fleet, ledger: Ledger, pioneers: int) -> tuple[float, list[float]]:
    """(seconds until the last was welcomed, seconds for each)."""
    loop = asyncio.get_running_loop()
    before, began = len(ledger.joins), loop.time()
    ledger.phase = "storm"
    await fleet.connect(fleet.agents[pioneers:], JOIN_WITHIN)
    ledger.phase = "other"
    return loop.time() - began, ledger.joins[before:]


async def _window(plan: LoadPlan, server: ServerProcess, ledger: Ledger) -> dict[str, Any]:
    """What is counted over the measured time."""
    loop, me = asyncio.get_running_loop(), psutil.Process()
    began, server_cpu, own_cpu = loop.time(), server.cpu(), sum(me.cpu_times()[:2])
    reports, late, asked, messages = ledger.reports, ledger.late_reports, ledger.asked, ledger.messages
    ledger.phase = "measured"
    await asyncio.sleep(plan.seconds)
    ledger.phase = "other"
    seconds = loop.time() - began
    return {
        "seconds": seconds,
        "reports": (ledger.reports - reports) / seconds,
        "asks": (ledger.asked - asked) / seconds,
        "messages": (ledger.messages - messages) / seconds,
        "server_cpu": (server.cpu() - server_cpu) / seconds,
        "agents_cpu": (sum(me.cpu_times()[:2]) - own_cpu) / seconds,
        "late_reports": ledger.late_reports - late,
        "lag": Latency.of(ledger.lag["measured"]),
    }


async def _last_answers(ledger: Ledger) -> None:
    """Those still out get some seconds more before they count as unanswered."""
    for _ in range(round(ANSWER_WITHIN / 0.1)):
        if not ledger.pending:
            return
        await asyncio.sleep(0.1)


@asynccontextmanager
async def _meanwhile(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """`work` runs beside the block and is stopped at its end; what went wrong in it is raised."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        done = await asyncio.gather(task, return_exceptions=True)
    if isinstance(done[0], Exception):
        raise done[0]
