"""Models of registries, under the names that their snapshots have in the cache.

`registry.example/org/model:v1` is `registry.example.org/model` at revision `v1`; a port follows a dash, `main` is the
tag `latest`, and a commit the first 40 digits of the manifest's digest (`modeldist.origins.repo_ids`); a deeper
repository's name ends in a hash. Only registries
that the gateway mirrors have such names. Who may read is for the registry to say, to who asks us, as in the mirror: a
token with a colon in it is a user's name and password there.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from contextlib import suppress

from modeldist.agent.engine import Engine
from modeldist.artifact import ArtifactFile
from modeldist.errors import InvalidReference, Unsupported
from modeldist.gateway.hub.admissions import Refused
from modeldist.gateway.hub.models import HubModel, HubModels
from modeldist.gateway.oci.admissions import Admissions, Caller
from modeldist.gateway.oci.upstreams import NotMirrored, Upstreams
from modeldist.origins import repo_ids
from modeldist.origins.hub_admission import HubSays
from modeldist.origins.registry_door import RegistryDoor
from modeldist.origins.selected import EVERYTHING
from modelpack import errors as theirs
from modelpack.oci.credentials import Credential
from modelpack.reference import Reference

REMEMBERED = 1024
_COMMIT = re.compile(r"[0-9a-f]{40}")


class RegistryModels:
    """One event loop."""

    def __init__(
        self, engine: Engine, models: HubModels, door: RegistryDoor, upstreams: Upstreams, admissions: Admissions
    ) -> None:
        self._engine = engine
        self._models = models
        self._door = door
        self._upstreams = upstreams
        self._admissions = admissions
        self._manifests: OrderedDict[tuple[str, str], str] = OrderedDict()  # digests, by repository and commit

    def repository(self, repo: str) -> Reference | None:
        """Where a model of this name is; None: on the hub."""
        for registry, repository in repo_ids.repositories(repo):
            with suppress(NotMirrored, InvalidReference):
                return self._upstreams.repository(repository, registry)
        return None

    def not_mirrored(self, repo: str) -> str:
        """Of a name that a model of a registry would have: why it is none of ours. Empty for names of the hub."""
        for registry, repository in repo_ids.repositories(repo):
            try:
                self._upstreams.repository(repository, registry)
            except NotMirrored as error:
                return str(error)
            except InvalidReference:
                continue
        return ""

    async def at(self, ref: Reference, revision: str, authorization: str) -> HubModel:
        """Raises Refused, ModeldistError."""
        caller = for_registries(authorization)
        try:
            head = await self._admissions.manifest(await self._version(ref, revision, caller), caller)
        except theirs.RegistryNotFound:
            raise await self._absent(ref, revision, caller) from None
        except theirs.ModelPackError as error:
            raise Refused(_says(error)) from error
        model = await self._models.of(f"{ref.name}@{head.digest}#{EVERYTHING}")
        if packed := [file.path for file in model.artifact.files if file.encoding != "raw"]:
            raise Unsupported(
                f"{ref.name} keeps files in archives ({packed[0]}), which are no files before they are unpacked.",
                remedy=f"Pull it (`modeldist pull {ref.name}@{head.digest}`) and set HF_HUB_CACHE (`modeldist env`).",
            )
        self._manifests[ref.name, model.artifact.revision] = head.digest
        while len(self._manifests) > REMEMBERED:
            self._manifests.popitem(last=False)
        return model

    async def admit(self, ref: Reference, file: ArtifactFile, authorization: str) -> None:
        """Whether the repository itself has the file: this node may have it of another, and any manifest can name it.
        Raises Refused."""
        blob = Reference(ref.registry, ref.repository, digest=file.digest)
        try:
            await self._admissions.blob(blob, for_registries(authorization), file.size)
        except theirs.RegistryNotFound as error:
            raise Refused(HubSays(status=404, code="EntryNotFound", message=error.message)) from None
        except theirs.ModelPackError as error:
            raise Refused(_says(error)) from error

    async def _version(self, ref: Reference, revision: str, caller: Caller) -> Reference:
        if not _COMMIT.fullmatch(revision):
            try:
                return ref.with_tag("latest" if revision == "main" else revision)
            except theirs.ModelPackError:
                raise await self._absent(ref, revision, caller) from None
        digest = self._manifests.get((ref.name, revision)) or await asyncio.to_thread(self._stored, ref, revision)
        if digest is None:
            raise await self._absent(ref, revision, caller)
        return Reference(ref.registry, ref.repository, digest=digest)

    def _stored(self, ref: Reference, commit: str) -> str | None:
        """The digest of a model that came before the agent started."""
        for stored in self._engine.store.artifacts():
            if (stored.artifact.name, stored.artifact.revision) == (ref.name, commit):
                return stored.artifact.digest
        return None

    async def _absent(self, ref: Reference, revision: str, caller: Caller) -> Refused:
        """Whether it is the repository or the revision that is not there."""
        try:
            async with self._door.client_of(caller) as client:
                tags = await client.list_tags(ref)
        except theirs.RegistryNotFound:
            tags = []
        except theirs.ModelPackError as error:
            return Refused(_says(error))
        if not tags:
            return Refused(HubSays(status=404, code="RepoNotFound", message=f"There is no {ref.name}."))
        known = ", ".join(tags[:5])
        message = f"{ref.name} has no {revision}; revisions are its tags ({known}), and main means latest."
        return Refused(HubSays(status=404, code="RevisionNotFound", message=message))


def for_registries(authorization: str) -> Caller:
    """Who asks, to a registry. A token of the hub says nothing to one, and is not shown to it."""
    user, colon, password = authorization.removeprefix("Bearer ").partition(":")
    return Credential(user, password) if colon else None


def _says(error: theirs.ModelPackError) -> HubSays:
    message = f"{error.message} {error.remedy}".strip()
    if isinstance(error, theirs.RegistryUnauthorized | theirs.RegistryForbidden):
        status = 401 if isinstance(error, theirs.RegistryUnauthorized) else 403
        message += " For this endpoint: HF_TOKEN=USER:PASSWORD."
        return HubSays(status=status, code="GatedRepo", message=message)
    if isinstance(error, theirs.RegistryRateLimited):
        return HubSays(status=429, message=message, retry_after=error.retry_after)
    return HubSays(status=502, message=message)
