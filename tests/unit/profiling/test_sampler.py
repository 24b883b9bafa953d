"""Profiles show threads that compute, threads that wait and tasks that wait, by name."""

from __future__ import annotations

import asyncio
import re
import threading

import pytest

from modeldist.errors import Overloaded, UsageError
from modeldist.profiling import LONGEST
from modeldist.profiling.sampler import Profiler

LINE = re.compile(r"\S+ \d+")


def spins(over: threading.Event) -> None:
    while not over.is_set():
        sum(range(1000))


async def waits_deeply(event: asyncio.Event) -> None:
    await waits(event)


async def waits(event: asyncio.Event) -> None:
    await event.wait()


async def test_threads_and_tasks_are_seen() -> None:
    over, event = threading.Event(), asyncio.Event()
    threads = [
        threading.Thread(target=spins, args=(over,), name="computes"),
        threading.Thread(target=over.wait, name="waits for hf://org/secret-model"),
    ]
    for thread in threads:
        thread.start()
    task = asyncio.create_task(waits_deeply(event), name="pull hf://org/secret-model")
    try:
        found = await Profiler().profile(0.5)
    finally:
        over.set()
        event.set()
        await task
        for thread in threads:
            thread.join()
    lines = found.splitlines()
    assert all(LINE.fullmatch(line) for line in lines)
    counts = [int(line.rpartition(" ")[2]) for line in lines]
    assert counts == sorted(counts, reverse=True)
    assert any(line.startswith("computes;") and f"{__name__}:spins:" in line for line in lines), found
    assert any(line.startswith("waits;") and ":Event.wait:" in line for line in lines), found
    assert any(
        re.match(rf"asyncio_tasks;{__name__}:waits_deeply:\d+;{__name__}:waits:\d+;asyncio.locks:Event.wait", line)
        for line in lines
    ), found
    assert "secret" not in found
    assert "profile;" not in found, "it does not show itself"


async def test_one_at_a_time() -> None:
    profiler = Profiler()
    first = asyncio.create_task(profiler.profile(0.3))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as refused:
        await profiler.profile(0.1)
    assert refused.value.retry_after == 0.1
    assert await first
    assert await profiler.profile(0.05)


async def test_one_that_is_given_up_makes_room_for_another() -> None:
    profiler = Profiler()
    first = asyncio.create_task(profiler.profile(LONGEST))
    await asyncio.sleep(0.05)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await profiler.profile(0.05)
    assert "profile" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("seconds", [0.0, -1.0, LONGEST + 1, float("nan"), float("inf")])
async def test_for_how_long(seconds: float) -> None:
    with pytest.raises(UsageError, match="cannot be made"):
        await Profiler().profile(seconds)
