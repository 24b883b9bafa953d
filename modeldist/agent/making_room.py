"""Disk for a pull: reserved, and where the watermarks ask for it made free, of which the pull, the log and the control
plane are told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from modeldist.agent.engine import Engine
from modeldist.agent.store import Evicted, Reservation
from modeldist.artifact import Artifact, Shard
from modeldist.logger import Logger

log = Logger(__name__)

_HOUR = 3600.0  # seconds
_DAY = 24  # hours


async def reserved(
    engine: Engine, artifact: Artifact, missing: Sequence[Shard], note: Callable[[str], object] = lambda _: None
) -> Reservation:
    """Of the disk that `missing` will take. Raises NotEnoughSpace, StorageError."""
    gone: list[Evicted] = []
    try:
        return await asyncio.to_thread(engine.store.reserve_for, artifact, missing, evicted=gone.append)
    finally:
        for each in gone:
            name = next(iter(each.references), each.artifact.reference)
            log.warning(
                "a model was evicted for another one",
                evicted=name,
                bytes=each.bytes,
                last_used=round(each.last_used),
                for_=artifact.reference,
                watermarks=str(engine.store.watermarks),
            )
            note(_sentence(name, each))
        if gone:
            engine.forget_missing()
            engine.announce()


def _sentence(name: str, gone: Evicted) -> str:
    return (
        f"{name} was evicted ({gone.bytes:,} bytes, last used {_ago(time.time() - gone.last_used)}): with this model "
        "the node would be above its high watermark."
    )


def _ago(seconds: float) -> str:
    hours = seconds / _HOUR
    if hours < 1:
        return "within the last hour"
    return f"{hours / _DAY:.0f} days ago" if hours >= 2 * _DAY else f"{hours:.0f} hours ago"
