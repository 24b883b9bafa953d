"""An answer that goes on for long ends with its client."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from starlette.types import Receive


async def while_heard(answer: Coroutine[Any, Any, None], receive: Receive) -> None:
    """Run `answer` to its end, or until the client has left, which cancels it. Raises what it raises."""
    answering = asyncio.create_task(answer)
    gone = asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait((answering, gone), return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        answering.cancel()
        await asyncio.gather(gone, answering, return_exceptions=True)
    if not answering.cancelled() and (error := answering.exception()) is not None:
        raise error


async def _gone(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
