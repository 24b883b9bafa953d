"""Waiting for what becomes of a pull, by its events."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from modeldist.client import AsyncClient
from modeldist.control.views import PullView
from tests.servers.scripted_agent import PATIENCE


async def ended(client: AsyncClient, pull: str) -> PullView:
    """The pull once it ended."""
    async for event in client.stream_events(pull):
        if event.kind == "end":
            assert event.pull is not None
            return event.pull
    raise AssertionError("the stream ended without an end")


async def reached(client: AsyncClient, pull: str, states: dict[str, int]) -> None:
    """Wait until so many nodes of a pull are in these states."""
    async with asyncio.timeout(PATIENCE):
        async with aclosing(client.stream_events(pull)) as events:
            async for _ in events:
                if (await client.get_pull(pull)).states == states:
                    return
