"""Several ways to one thing: the first that works is taken, a silent one holds nobody up, none is left open."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from modeldist.agent.first_of import first_of
from modeldist.errors import ControlPlaneRefused, ControlPlaneUnreachable


class Doors:
    """`works` opens, `fails` does not, `silent` does neither."""

    def __init__(self) -> None:
        self.tried: list[str] = []
        self.closed: list[str] = []

    async def works(self) -> str:
        self.tried.append("works")
        return "works"

    async def fails(self) -> str:
        self.tried.append("fails")
        raise ControlPlaneUnreachable("fails")

    async def silent(self) -> str:
        self.tried.append("silent")
        await asyncio.Event().wait()
        raise AssertionError

    async def breaks(self) -> str:
        raise ZeroDivisionError

    async def stubborn(self) -> str:
        """Opens although it was given up."""
        with suppress(asyncio.CancelledError):
            await self.silent()
        return "stubborn"

    async def close(self, door: str) -> None:
        self.closed.append(door)


async def test_the_next_one_after_a_failure_and_no_more_after_a_success() -> None:
    doors = Doors()
    assert await first_of([doors.fails, doors.works, doors.works], 30, doors.close) == (1, "works")
    assert doors.tried == ["fails", "works"]


async def test_a_silent_one_is_tried_on_beside_the_next() -> None:
    doors = Doors()
    assert await first_of([doors.silent, doors.works], 0.01, doors.close) == (1, "works")
    assert doors.tried == ["silent", "works"]


async def test_what_came_too_late_is_closed() -> None:
    doors = Doors()
    assert await first_of([doors.stubborn, doors.works], 0.01, doors.close) == (1, "works")
    assert doors.closed == ["stubborn"]


async def test_all_errors_where_none_works() -> None:
    doors = Doors()

    async def refuses() -> str:
        raise ControlPlaneRefused("refused")

    errors = await first_of([doors.fails, refuses], 30, doors.close)
    assert [str(error) for error in errors] == ["fails", "refused"]


async def test_a_bug_is_no_failure_of_one_way() -> None:
    doors = Doors()
    with pytest.raises(ZeroDivisionError):
        await first_of([doors.breaks, doors.works], 30, doors.close)
