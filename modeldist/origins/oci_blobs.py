"""OCI artifacts as they are, container images too: `oci://registry/repository:tag`.

Such an artifact's files are its manifest, its config and its layers, named as in an image layout, so that each is a
shard as every other. They are for programs that ask for blobs: what was pulled, the OCI mirror has.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from modeldist.artifact import Artifact, ArtifactFile, Digest
from modeldist.errors import OriginProtocolError
from modeldist.origins import repo_ids
from modeldist.origins.identity import list_digest, revision_of
from modeldist.origins.modelpack_errors import in_our_words
from modeldist.origins.models import checked_sha256
from modeldist.origins.oci import MANIFEST, NESTED_INDEXES, OciOrigin
from modeldist.origins.registry_references import endpoint_of, parse_reference
from modelpack.blobs import MAX_SMALL_BLOB
from modelpack.manifest import Index, Manifest, choose_manifest, parse_manifest
from modelpack.oci.credentials import DockerCredentials
from modelpack.reference import Reference

if TYPE_CHECKING:
    from modeldist.origins.http_dialing import Dialer
    from modeldist.origins.settings import OriginSettings
    from modeldist.origins.trust_gate import TrustGate
    from modelpack.manifest import Descriptor
    from modelpack.oci.credentials import Credential, Credentials

SCHEME = "oci://"
_LENT = 4096  # repositories whose readers' credentials are kept


class BlobsOrigin(OciOrigin):
    """See `modeldist.origins.base.Origin`. What is read is named by digest, by whoever asked for it, and read with
    their credentials where they `lend` them."""

    def __init__(self, settings: OriginSettings, dialer: Dialer, gate: TrustGate | None = None) -> None:
        self._lent = LentCredentials(settings.registry_credentials or DockerCredentials.from_environment())
        super().__init__(replace(settings, registry_credentials=self._lent), dialer, gate)

    def lend(self, ref: Reference, credential: Credential) -> None:
        """The registry lets who has it read the repository."""
        self._lent.lend(ref.registry, ref.repository, credential)

    def matches(self, reference: str) -> bool:
        return reference.startswith(SCHEME)

    def canonical(self, reference: str) -> str:
        return SCHEME + super().canonical(reference)

    async def resolve(self, reference: str) -> Artifact:
        """Of an index the model, or the image for this kind of machine, beside the index itself."""
        ref = self._parse(reference)
        with in_our_words(reference, ref.registry):
            return await self._loop.wait(self._resolve(ref))

    async def still(self, artifact: Artifact, reference: str) -> bool:
        """Not of an index alone, as the mirror records it; `artifact` itself may lack files that nobody wants."""
        ref, known = self._parse(reference), self._parse(artifact.reference)
        alone = len(artifact.files) == 1 and artifact.digest == _digest(known, artifact.files)
        if ref.name != known.name or alone:
            return False
        if ref.digest:
            return ref.digest == known.digest
        with in_our_words(reference, ref.registry):
            return await self._loop.wait(self._digest_now(ref)) == known.digest

    async def _resolve(self, ref: Reference) -> Artifact:
        root = await self._registry().get_manifest(ref)
        pinned = Reference(ref.registry, ref.repository, digest=root.digest)
        files: dict[str, ArtifactFile] = {}
        digests: list[str] = []
        read = root
        for _ in range(NESTED_INDEXES + 1):
            found = parse_manifest(read.raw, read.media_type)
            digests.append(read.digest)
            files |= _files(read.digest, len(read.raw), found)
            if isinstance(found, Manifest):
                if self._gate is not None:
                    await self._check(pinned, digests, found)
                artifact = self._artifact(pinned, files.values())
                return self._gate.approved(artifact) if self._gate else artifact
            read = await self._registry().get_manifest(ref.with_digest(choose_manifest(found).digest))
        raise OriginProtocolError(f"{ref}: its indexes are nested too deeply.", remedy="Name the image's digest.")

    def guarded(self, ref: Reference) -> bool:
        """Whether a policy asks for signatures in the repository. Raises Untrusted where it lets nothing pass."""
        if self._gate is None:
            return False
        with in_our_words(str(ref), ref.registry):
            return self._gate.asks(ref.name)

    def manifest(self, ref: Reference, size: int) -> Artifact:
        """The manifest that `ref` is pinned to, alone, of `size` bytes. Raises Unsupported."""
        return self._artifact(ref, [_file(ref.version, size, MANIFEST)])

    def blob(self, ref: Reference, size: int) -> Artifact:
        """The blob that `ref` is pinned to, alone, of `size` bytes. Raises Unsupported."""
        return self._artifact(ref, [_file(ref.version, size)])

    def whole(self, ref: Reference, raw: bytes, found: Manifest | Index) -> Artifact:
        """The manifest that `ref` is pinned to, with the blobs it names. An index is alone: what it names are artifacts
        of their own. Raises Unsupported."""
        return self._artifact(ref, _files(ref.version, len(raw), found).values())

    async def check(self, ref: Reference, digests: Sequence[str], found: Manifest | Index) -> None:
        """Hold a manifest to the policy, if there is one. `digests`: of the index it was found in, if it was, and its
        own. An index is a list; what it names is held to the policy. Raises Untrusted, OriginError."""
        if not self.guarded(ref) or isinstance(found, Index):
            return
        with in_our_words(str(ref), ref.registry):
            await self._loop.wait(self._check(ref, digests, found))

    async def _check(self, ref: Reference, digests: Sequence[str], manifest: Manifest) -> None:
        config = await self._registry().get_blob(ref, manifest.config, MAX_SMALL_BLOB)
        await self._vouched(ref, list(digests), manifest, config)

    def _artifact(self, ref: Reference, files: Iterable[ArtifactFile]) -> Artifact:
        listed = tuple(files)
        digest = _digest(ref, listed)
        return Artifact(
            reference=f"{SCHEME}{ref.name}@{ref.version}",
            name=SCHEME + ref.name,
            tag="",
            digest=digest,
            revision=revision_of(digest),
            repo_id=repo_ids.of_repository(ref.registry, ref.repository),
            origin="oci-blobs",
            endpoint=endpoint_of(ref.registry, self._settings.plain_http),
            repository=ref.repository,
            files=listed,
        )

    def _parse(self, reference: str) -> Reference:
        return parse_reference(reference.removeprefix(SCHEME), self._settings.default_registry)


class LentCredentials:
    """Those of callers by repository, the last one that was lent; else this program's own."""

    def __init__(self, own: Credentials) -> None:
        self._own = own
        self._lent: OrderedDict[tuple[str, str], Credential] = OrderedDict()

    def lend(self, registry: str, repository: str, credential: Credential) -> None:
        """From any thread."""
        self._lent[registry, repository] = credential
        self._lent.move_to_end((registry, repository))
        while len(self._lent) > _LENT:
            self._lent.popitem(last=False)

    async def lookup(self, registry: str, repository: str = "") -> Credential | None:
        return self._lent.get((registry, repository)) or await self._own.lookup(registry, repository)


def _digest(ref: Reference, files: Iterable[ArtifactFile]) -> Digest:
    """Another one than the manifest's, which is that of the model it may be."""
    return list_digest("oci-blobs", ref.version, files)


def _files(digest: str, size: int, found: Manifest | Index) -> dict[str, ArtifactFile]:
    """Of a manifest of `size` bytes, by digest."""
    files = {digest: _file(digest, size, MANIFEST)}
    for blob in _served(found):
        files.setdefault(blob.digest, _file(blob.digest, blob.size))
    return files


def _file(digest: str, size: int, locator: str = "") -> ArtifactFile:
    checked: Digest = checked_sha256(digest)
    return ArtifactFile(f"blobs/{checked.replace(':', '/')}", checked, size, locator=locator)


def _served(found: Manifest | Index) -> Iterable[Descriptor]:
    """The blobs of a manifest that its registry has, and that this program can address: layers with addresses of their
    own are had from there."""
    if isinstance(found, Index):
        return ()
    return (blob for blob in (found.config, *found.layers) if not blob.urls and blob.digest.startswith("sha256:"))
