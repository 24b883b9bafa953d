"""Calls from threads onto the engine's loop: in order, none is lost, and what has time is done together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial

from modeldist.agent.node import Loop

PATIENCE = 20.0  # seconds


async def from_a_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    await asyncio.to_thread(thread.join)


async def test_calls_run_in_the_order_they_were_made() -> None:
    loop, done, all_done = Loop(), list[int](), asyncio.Event()
    loop.start()

    def post_all() -> None:
        for number in range(100):
            loop.post(partial(done.append, number), at_leisure=number % 3 > 0)
        loop.post(all_done.set, at_leisure=True)

    await from_a_thread(post_all)
    async with asyncio.timeout(PATIENCE):
        await all_done.wait()
    assert done == list(range(100))


async def test_what_has_time_is_done_with_the_next_that_has_none() -> None:
    loop, done = Loop(together=2 * PATIENCE), list[str]()
    loop.start()
    loop.post(lambda: done.append("first"), at_leisure=True)
    while not done:
        await asyncio.sleep(0)
    loop.post(lambda: done.append("second"), at_leisure=True)
    for _ in range(3):
        await asyncio.sleep(0)
    assert done == ["first"]
    loop.post(lambda: done.append("third"))
    for _ in range(3):
        await asyncio.sleep(0)
    assert done == ["first", "second", "third"]


async def test_what_has_time_is_done_without_another() -> None:
    loop, done = Loop(), asyncio.Event()
    loop.start()
    loop.post(lambda: None, at_leisure=True)
    await asyncio.sleep(0)
    loop.post(done.set, at_leisure=True)
    async with asyncio.timeout(PATIENCE):
        await done.wait()


async def test_a_call_that_fails_keeps_none_from_running() -> None:
    loop, done = Loop(), asyncio.Event()
    loop.start()

    def fail() -> None:
        raise ValueError

    loop.post(fail)
    loop.post(done.set)
    async with asyncio.timeout(PATIENCE):
        await done.wait()
