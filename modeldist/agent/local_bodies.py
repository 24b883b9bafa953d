"""Bodies of requests to the local API."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from fastapi import Request

from modeldist.errors import UNDECODABLE, UsageError

T = TypeVar("T", bound=msgspec.Struct)


async def body(request: Request, kind: type[T]) -> T:
    """Raises UsageError where it is no such thing."""
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except UNDECODABLE as error:
        raise UsageError(f"The request's body is not a {kind.__name__}: {error}.") from error
