"""How many shards of a pull are open at once."""

from __future__ import annotations

import asyncio
import resource

import pytest

from modeldist.agent.open_shards import MOST, OpenShards, most_open


async def test_room_comes_with_every_end() -> None:
    loop = asyncio.get_running_loop()
    shards = OpenShards(2)
    first, second = loop.create_future(), loop.create_future()
    shards.add((first, second))
    waiting = asyncio.ensure_future(shards.has_room())
    await asyncio.sleep(0)
    assert shards.room == 0 and not waiting.done()
    first.set_result(None)
    assert await waiting
    assert shards.room == 1


async def test_a_failure_ends_the_wait() -> None:
    shards = OpenShards(1)
    end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    shards.add((end,))
    waiting = asyncio.ensure_future(shards.has_room())
    await asyncio.sleep(0)
    end.set_exception(OSError("full"))
    assert not await waiting


@pytest.mark.parametrize(("limit", "most"), [(64, 1), (1024, 298), (1 << 20, MOST), (resource.RLIM_INFINITY, MOST)])
def test_the_limit_of_descriptors_decides(monkeypatch: pytest.MonkeyPatch, limit: int, most: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limit, limit))
    assert most_open() == most
