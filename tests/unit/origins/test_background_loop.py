"""An event loop that threads and other loops share."""

from __future__ import annotations

import asyncio
import threading

import pytest

from modeldist.origins.background_loop import BackgroundLoop
from modeldist.origins.blob_locations import BlobLocations
from modelpack.oci.blobs import BlobLocation


async def _where() -> str:
    return threading.current_thread().name


async def test_work_runs_in_the_named_thread_for_threads_and_loops() -> None:
    loop = BackgroundLoop("elsewhere")
    assert await loop.wait(_where()) == "elsewhere"
    assert await asyncio.to_thread(lambda: loop.run(_where())) == "elsewhere"
    await asyncio.to_thread(loop.stop)
    assert await loop.wait(_where()) == "elsewhere"  # starts again when needed
    await asyncio.to_thread(loop.stop)
    loop.stop()


async def test_stopping_and_cancelling_cancel_the_work() -> None:
    loop = BackgroundLoop("elsewhere")
    ended: list[str] = []
    begun = threading.Event()

    async def forever(name: str) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    for how in ("cancelled", "stopped"):
        begun.clear()
        waiting = asyncio.ensure_future(loop.wait(forever(how)))
        await asyncio.to_thread(begun.wait, 10)
        if how == "cancelled":
            waiting.cancel()
        else:
            await asyncio.to_thread(loop.stop)
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert ended == ["cancelled", "stopped"]


async def test_locations_are_shared_until_they_age_or_are_refused() -> None:
    now, asked = [0.0], 0
    locations = BlobLocations(lambda: now[0])
    blob = ("registry/org/model", "sha256:0")

    async def look_up() -> BlobLocation:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return BlobLocation(f"https://store/{asked}", {}, 100.0)

    first, same = await asyncio.gather(*(locations.find(blob, None, look_up) for _ in range(2)))
    assert first is same and asked == 1
    now[0] = 79.0
    assert await locations.find(blob, None, look_up) is first
    now[0] = 81.0
    second = await locations.find(blob, None, look_up)
    assert second.url == "https://store/2"
    assert await locations.find(blob, first, look_up) is second  # someone else renewed it already
    third = await locations.find(blob, second, look_up)
    assert third.url == "https://store/3"
