"""A model that is here already: one look into the store and one HEAD at the origin, without starting an engine.

The verdict is the engine's (`Pull._resolve`): the reference still means the artifact that was recorded for it, and its
snapshot is complete. An origin that is away is not waited for: what is here is used, and that is said.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from modeldist.agent.parts import wanted_bytes, wanted_size
from modeldist.agent.progress import PATIENCE_WHEN_HERE, PullSnapshot, ShardProgress, using_the_copy
from modeldist.agent.this_node import Node
from modeldist.artifact import Artifact
from modeldist.errors import ModeldistError, OriginUnavailable, RateLimited, StorageError

if TYPE_CHECKING:
    from modeldist.origins.router import Origins
    from modeldist.origins.settings import OriginSettings


def already_here(node: Node, reference: str, *, offline: bool) -> PullSnapshot | None:
    """The pull as if it had been done; None when there is something to do or to say, which is the engine's business.

    Raises InvalidReference and StorageError.
    """
    started = time.monotonic()
    if not (node.store / "VERSION").exists():
        return None
    from modeldist.origins.router import Origins

    origins = Origins(_impatient(node.origin_settings()))
    store = node.open_store()
    try:
        key = origins.canonical(reference)
        known = store.lookup(key)
        path = store.snapshot(known) if known else None
        if known is None or path is None or not origins.accepts(known):
            return None
        stale, asked = "", False
        if not offline:
            try:
                if not asyncio.run(_still(origins, known, reference)):
                    return None
            except (OriginUnavailable, RateLimited, TimeoutError) as error:
                stale = using_the_copy(reference, error)
            except ModeldistError:
                return None  # the engine asks again and says it with everything it knows
            else:
                asked = True
        with suppress(StorageError):  # a store that cannot be written, or a full one, gives what it has
            if asked:
                store.record(known, key)
            store.refer(known)
        return _done(reference, known, path, time.monotonic() - started, stale)
    finally:
        store.close()


async def _still(origins: Origins, known: Artifact, reference: str) -> bool:
    try:
        async with asyncio.timeout(PATIENCE_WHEN_HERE):
            return await origins.still(known, reference)
    finally:
        await origins.close()  # also of one that is away: a thread that outlives the interpreter may crash it


def _impatient(settings: OriginSettings) -> OriginSettings:
    """One more try, soon: then the copy that is here is as good."""
    return replace(settings, http=replace(settings.http, connect_timeout=1.0, stall_timeout=2.0, retries=1))


def _done(reference: str, artifact: Artifact, path: Path, seconds: float, stale: str) -> PullSnapshot:
    paths = {file.digest: file.path for file in reversed(artifact.files)}
    return PullSnapshot(
        pull="",
        reference=reference,
        state="done",
        seconds=seconds,
        resolved=artifact.reference,
        digest=artifact.digest,
        path=str(path),
        size=wanted_size(artifact),
        local=wanted_size(artifact),
        needed=artifact.needed,
        whole=artifact.whole_size,
        shards=tuple(
            ShardProgress(paths[shard.digest], shard.digest, size, size, 0, 0, size, complete=True)
            for shard, size in ((shard, wanted_bytes(artifact, shard)) for shard in artifact.shards)
        ),
        stale=stale,
        warnings=artifact.warnings,
    )
