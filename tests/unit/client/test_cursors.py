"""Lists that have no end, of something that answers like a control plane."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from itertools import count

import pytest

from modeldist.client import AsyncClient, Client
from modeldist.client.cursors import EMPTY, Cursors
from modeldist.client.replicas import Replicas
from modeldist.errors import ControlPlaneUnreachable
from tests.servers.quiet_http import QuietHandler, QuietServer


class LeadsRound(QuietHandler):
    """Two pages of racks, each of which is followed by the other."""

    def do_GET(self) -> None:
        following = "a" if self.path.endswith("cursor=b") else "b"
        self.answer(200, json.dumps({"racks": [], "next": following}).encode(), {"Content-Type": "application/json"})


def without_an_event_loop(url: str) -> None:
    with Client(url, "token") as client:
        list(client.racks())


def asked_in_one(url: str) -> None:
    async def ask() -> None:
        async with AsyncClient(url, "token") as client:
            async for _ in client.racks():
                pass

    asyncio.run(ask())


@pytest.mark.parametrize("ask", [without_an_event_loop, asked_in_one])
def test_a_list_that_leads_round_is_left(ask: Callable[[str], None]) -> None:
    with QuietServer(LeadsRound) as server, pytest.raises(ControlPlaneUnreachable, match="read already") as failed:
        ask(server.url)
    assert server.url in failed.value.message


def test_a_list_of_empty_pages_is_left() -> None:
    cursors, asked = Cursors(Replicas("http://control")), 0
    with pytest.raises(ControlPlaneUnreachable, match="empty pages"):
        for asked in count(1):
            cursors.after(str(asked), rows=0)
    assert asked == EMPTY


def test_a_long_list_is_read_to_its_end() -> None:
    cursors = Cursors(Replicas("http://control"))
    assert [cursors.after(str(page), rows=1) for page in range(3 * EMPTY)] == [str(page) for page in range(3 * EMPTY)]
    assert cursors.after(None, rows=0) is None
