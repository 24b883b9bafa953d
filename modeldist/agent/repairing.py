"""Models of which something was damaged here: fetched again from peers, or the origin, as any pull does it.

A repair knows what it is after. It records nothing, so that a tag which has moved since stays where it is, and asks
the control plane only whether this node may still have the model.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from modeldist.agent.engine import Engine
from modeldist.agent.header_check import check_headers
from modeldist.agent.pull import Approving, Pull
from modeldist.agent.pulls import Pulls
from modeldist.artifact import Artifact, Digest
from modeldist.errors import ControlPlaneUnreachable, ModeldistError, OriginUnavailable, RateLimited
from modeldist.logger import Logger
from modeldist.scheduler.messages import Priority

log = Logger(__name__)

PATIENCE = 30.0  # seconds for the control plane to say whether it may be had
AGAIN = (60.0, 3600.0)  # seconds until what failed is tried again, first and at most


class Repair(Pull):
    """`run()` once, as any pull."""

    def __init__(self, engine: Engine, artifact: Artifact, pull: str, approving: Approving | None) -> None:
        super().__init__(
            engine,
            artifact.reference,
            key=artifact.reference,
            pull=pull,
            priority=Priority.PULL,
            offline=False,
            approving=approving,
        )
        self._meant = artifact

    async def _run(self) -> Path:
        store = self._engine.store
        artifact = self.artifact = await self._approved(self._meant)
        self._notes.append("Some of it was damaged on this node's disk and is fetched again.")
        await self._allowed(artifact)
        self.heard(None)
        path = store.root
        with store.lease((shard.digest for shard in artifact.shards), artifact.digest):
            await self._fetch(artifact)
            await asyncio.to_thread(store.rest)
            await asyncio.to_thread(check_headers, store, artifact)
            self.state = "materialising"
            for shown in await asyncio.to_thread(store.laid_out, artifact.digest):
                path = await asyncio.to_thread(store.materialise, shown)
        self._engine.announce()
        return path

    async def _allowed(self, artifact: Artifact) -> None:
        """Raises AccessDenied, NotFound and the like; not when nobody can be asked."""
        with suppress(OriginUnavailable, RateLimited, ControlPlaneUnreachable, TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await self._engine.session.resolve(artifact.reference, artifact.digest, persist=False)


def begin_repair(engine: Engine, pulls: Pulls, artifact: Artifact) -> Pull:
    """Among the pulls; wait for it there."""

    return pulls.begin(lambda pull: Repair(engine, artifact, pull, pulls.approving))


class Repairs:
    """What the scrubber found wanting, tried until it is here again. Loop only; `run` is its background work."""

    def __init__(self, engine: Engine, pulls: Pulls) -> None:
        self._engine = engine
        self._pulls = pulls
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something is damaged."""
        self._engine.forget_missing()
        self._engine.announce()
        self._wake.set()

    async def run(self) -> None:
        delay = AGAIN[0] / 2
        while True:
            self._wake.clear()
            failed = False
            for digest in self._engine.store.scrubber.round.wanting:
                failed |= not await self._repaired(digest)
            delay = min(2 * delay, AGAIN[1]) if failed else AGAIN[0] / 2
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), delay if failed else None)

    async def _repaired(self, digest: Digest) -> bool:
        store = self._engine.store
        artifact = await asyncio.to_thread(store.artifact, digest)
        if artifact is not None:
            try:
                await self._pulls.wait(begin_repair(self._engine, self._pulls, artifact))
            except ModeldistError as error:
                log.warning("a damaged model is not repaired yet", model=artifact.reference, error=str(error))
                return False
            log.warning("a damaged model is whole again", model=artifact.reference)
        await asyncio.to_thread(store.scrubber.mended, digest)
        return True
