"""How long an answer may take as a whole: a timeout between two bytes never ends one that drips."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

import httpx2

ANSWER = 20.0  # seconds to the head of an answer, and as many for its body
PACE = 64 * 1024  # bytes/s; the body of an answer that keeps up with this gets more time
TOTAL = 40.0  # seconds for all attempts at one question
LEAST = 64 * 1024  # bytes that a long body brings in every `WINDOW`
WINDOW = 60.0  # seconds

T = TypeVar("T")


class TooSlow(httpx2.ReadTimeout):
    """It would take too long; the text says what did."""


async def head_of(answer: Awaitable[T], who: str, seconds: float) -> T:
    """Raises TooSlow. `who` is whose answer it is."""
    try:
        async with asyncio.timeout(seconds):
            return await answer
    except TimeoutError:
        raise TooSlow(f"{who} did not answer within {seconds:g} s") from None


async def paced(pieces: AsyncIterator[bytes], who: str, seconds: float) -> AsyncIterator[bytes]:
    """The pieces of a body, as long as it is not slower than `PACE` and `seconds` more. Raises TooSlow."""
    got, clock = 0, asyncio.get_running_loop().time
    began = clock()
    while True:
        try:
            async with asyncio.timeout_at(began + seconds + got / PACE):
                piece = await anext(pieces, None)
        except TimeoutError:
            spent = clock() - began
            raise TooSlow(f"{who} answers too slowly, {got} bytes in {spent:.0f} s") from None
        if piece is None:
            return
        got += len(piece)
        yield piece


async def moving(pieces: AsyncIterator[bytes], who: str) -> AsyncIterator[bytes]:
    """The pieces of a long body, as long as it makes some progress. Raises TooSlow.

    Only the time spent waiting for `pieces` counts: their taker may be slow.
    """
    clock = asyncio.get_running_loop().time
    got, waited = 0, 0.0
    while True:
        asked = clock()
        piece = await anext(pieces, None)
        if piece is None:
            return
        got, waited = got + len(piece), waited + clock() - asked
        yield piece
        if waited >= WINDOW:
            if got < LEAST:
                raise TooSlow(f"{who} sends too slowly, {got} bytes in {waited:.0f} s")
            got, waited = 0, 0.0
