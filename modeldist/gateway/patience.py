"""Clients kept waiting for the beginning of an answer, for as long as it takes.

huggingface_hub gives up when it hears nothing for ten seconds; a hub may be slower, and so may a disk that has to take
a large file before its last piece is proven. An interim answer (RFC 9110, section 15.2) says that somebody is there.
100 (Continue) is the one that every client passes over, also those that know no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Scope

from modeldist.agent.file_connection import FILES, FileConnection

EVERY = 4.0  # seconds


@asynccontextmanager
async def kept_waiting(scope: Scope, every: float = EVERY) -> AsyncIterator[None]:
    """Until the answer begins, or the block ends."""
    files: FileConnection = scope["state"][FILES]
    if scope["http_version"] != "1.1":
        yield
        return
    telling = asyncio.create_task(_tell(files, every))
    try:
        yield
    finally:
        telling.cancel()


async def _tell(files: FileConnection, every: float) -> None:
    while True:
        await asyncio.sleep(every)
        if not files.say_wait():
            return
