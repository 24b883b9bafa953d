"""A model that is here already: one look into the store and one HEAD at the origin, without starting an engine.

The verdict is the engine's (`Pull._resolve`): the reference still means the artifact that was recorded for it, and its
snapshot is complete.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

from modeldist.agent.progress import PullSnapshot, ShardProgress
from modeldist.artifact import Artifact
from modeldist.cli.node import Node
from modeldist.errors import ModeldistError, OriginUnavailable

if TYPE_CHECKING:
    from modeldist.origins.router import Origins


def already_here(node: Node, reference: str, *, offline: bool) -> PullSnapshot | None:
    """The pull as if it had been done; None when there is something to do or to say, which is the engine's business.

    Raises InvalidReference and StorageError.
    """
    started = time.monotonic()
    if not (node.store / "VERSION").exists():
        return None
    from modeldist.origins.router import Origins

    origins = Origins(node.origin_settings())
    store = node.open_store()
    try:
        key = origins.canonical(reference)
        known = store.lookup(key)
        path = store.snapshot(known) if known else None
        if known is None or path is None:
            return None
        notes: tuple[str, ...] = ()
        if not offline:
            try:
                if not asyncio.run(_still(origins, known, reference)):
                    return None
                store.record(known, key)
            except OriginUnavailable as error:
                notes = (f"Using the copy that is here: {error}",)
            except ModeldistError:
                return None  # the engine asks again and says it with everything it knows
        return _done(reference, known, path, time.monotonic() - started, notes)
    finally:
        store.close()


async def _still(origins: Origins, known: Artifact, reference: str) -> bool:
    try:
        return await origins.still(known, reference)
    finally:
        await origins.close()


def _done(reference: str, artifact: Artifact, path: Path, seconds: float, notes: tuple[str, ...]) -> PullSnapshot:
    paths = {file.digest: file.path for file in reversed(artifact.files)}
    return PullSnapshot(
        pull="",
        reference=reference,
        state="done",
        seconds=seconds,
        resolved=artifact.reference,
        digest=artifact.digest,
        path=str(path),
        size=artifact.size,
        local=artifact.size,
        shards=tuple(
            ShardProgress(paths[shard.digest], shard.digest, shard.size, shard.size, 0, 0, shard.size, complete=True)
            for shard in artifact.shards
        ),
        notes=notes,
        warnings=artifact.warnings,
    )
