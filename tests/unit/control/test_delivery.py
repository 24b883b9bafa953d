"""Telling many agents: in turns, encoded once, and one broken session does not matter."""

from __future__ import annotations

import asyncio

import pytest

from modeldist.control.delivery import Delivery
from modeldist.session.messages import CancelPull, StartPull, encode


class Session:
    def __init__(self, order: list[str], name: str, seconds: float = 0.0, broken: bool = False) -> None:
        self.queued = False
        self._order = order
        self._name = name
        self._seconds = seconds
        self._broken = broken

    def deliver(self) -> None:
        self._order.append(self._name)
        until = asyncio.get_running_loop().time() + self._seconds
        while asyncio.get_running_loop().time() < until:
            pass
        if self._broken:
            raise ZeroDivisionError


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_loop_is_heard_between_two_turns() -> None:
    order: list[str] = []
    delivery = Delivery()
    for number in range(3):
        delivery.ready(Session(order, f"s{number}", seconds=0.006))
    asyncio.get_running_loop().call_soon(order.append, "heard")
    await turns()
    assert order == ["s0", "heard", "s1", "s2"]


async def test_a_session_waits_in_line_once() -> None:
    order: list[str] = []
    delivery = Delivery()
    first, second = Session(order, "first"), Session(order, "second")
    for session in (first, second, first, first):
        delivery.ready(session)
    await turns()
    delivery.ready(first)
    await turns()
    assert order == ["first", "second", "first"]


async def test_a_broken_session_holds_nobody_up(caplog: pytest.LogCaptureFixture) -> None:
    order: list[str] = []
    delivery = Delivery()
    delivery.ready(Session(order, "broken", broken=True))
    delivery.ready(Session(order, "whole"))
    await turns()
    assert order == ["broken", "whole"]
    assert "could not be served" in caplog.text


async def test_each_message_becomes_its_own_frame() -> None:
    delivery = Delivery()
    messages = [StartPull("p", "r"), StartPull("p", "r"), CancelPull("p")]
    for message in (*messages, messages[0], messages[0]):
        assert delivery.encode(message) == encode(message)
    assert delivery.encode(messages[0]) is delivery.encode(messages[0])
