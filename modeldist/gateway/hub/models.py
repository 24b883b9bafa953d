"""The files of a commit: resolved by the control plane, once for all nodes, and remembered here."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from modeldist.agent.engine import Engine
from modeldist.artifact import Artifact, ArtifactFile
from modeldist.errors import ControlPlaneUnreachable, NotFound, OriginUnavailable, Overloaded, RateLimited
from modeldist.origins.router import Origins
from modeldist.origins.selected import EVERYTHING

REMEMBERED = 256
INSIST = (
    5.0  # seconds for which a control plane without room is asked again; after that the client may, which waits too
)


class HubModel:
    """A repository at one commit, with all its files by path."""

    def __init__(self, artifact: Artifact, key: str) -> None:
        self.artifact = artifact
        self.key = key  # what the store files it under
        self.files: dict[str, ArtifactFile] = {file.path: file for file in artifact.files}


class HubModels:
    """One event loop."""

    def __init__(self, engine: Engine, origins: Origins) -> None:
        self._engine = engine
        self._origins = origins
        self._known: OrderedDict[str, HubModel] = OrderedDict()

    async def at(self, repo: str, commit: str) -> HubModel:
        """Raises ModeldistError."""
        return await self.of(f"hf://{repo}@{commit}#{EVERYTHING}")

    async def of(self, reference: str) -> HubModel:
        """What a reference is that always means the same. Raises ModeldistError."""
        key = self._origins.canonical(reference)
        if (known := self._known.get(key)) is not None:
            self._known.move_to_end(key)
            return known
        artifact = await self._origins.approve(await self._resolve(reference, key), reference)
        found = self._known[key] = HubModel(artifact, key)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return found

    async def _resolve(self, reference: str, key: str) -> Artifact:
        here = await asyncio.to_thread(self._engine.store.lookup, key)
        try:
            answer = await self._engine.session.resolve(
                reference, here.digest if here else None, persist=here is None, insist=0.0 if here else INSIST
            )
        except (OriginUnavailable, RateLimited, ControlPlaneUnreachable, Overloaded):
            if here is None:
                raise
            return here  # it does not change
        artifact = answer.artifact or here
        if artifact is None:
            raise NotFound(f"The control plane did not say what {reference} is.")
        return artifact
