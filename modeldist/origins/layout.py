"""An OCI image layout directory: `oci-layout:/path/dir:tag`, `oci-layout:/path/dir@sha256:…`, or the directory alone
when it holds one manifest. Blobs are read as they are; their digests are the engine's to check."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

from msgspec.structs import replace

from modeldist.artifact import Artifact, Digest
from modeldist.errors import IntegrityError, InvalidReference
from modeldist.origins import repo_ids, table_missed
from modeldist.origins.base import OnBytes, RangeReader
from modeldist.origins.chunk_tables import index_shard, shard_chunks
from modeldist.origins.identity import revision_of
from modeldist.origins.local_paths import LocalPaths, cannot_open, copy_range
from modeldist.origins.modelpack_errors import in_our_words
from modeldist.origins.models import checked_sha256, files_of
from modeldist.origins.settings import OriginSettings
from modeldist.origins.trust_gate import TrustGate
from modelpack.chunk_table import ChunkTable
from modelpack.errors import LayoutError
from modelpack.layout import OciLayout

_SCHEME = "oci-layout:"
_REFERENCE = re.compile(r"oci-layout:(?P<path>[^@]+?)(?::(?P<tag>[^:/@]+)|@(?P<digest>sha256:[0-9a-f]{64}))?")


class LayoutOrigin:
    """See `modeldist.origins.base.Origin`."""

    def __init__(self, settings: OriginSettings, gate: TrustGate | None = None) -> None:
        self._gate = gate
        self._paths = LocalPaths(settings.file_roots)

    def matches(self, reference: str) -> bool:
        return reference.startswith(_SCHEME)

    def canonical(self, reference: str) -> str:
        path, version = _parse(reference)
        return f"{_SCHEME}{path}{_joined(version)}"

    async def resolve(self, reference: str) -> Artifact:
        path, version = _parse(reference)
        with in_our_words(reference):
            artifact = await asyncio.to_thread(self._resolve, path, version)
            return artifact if self._gate is None else await self._vouched(artifact, path, self._gate)

    async def still(self, artifact: Artifact, reference: str) -> bool:
        path, version = _parse(reference)
        if table_missed.missed(artifact):
            return False
        if f"{_SCHEME}{path}" != artifact.name or version.startswith("sha256:"):
            return f"{_SCHEME}{path}" == artifact.name and version == artifact.digest
        with in_our_words(reference):
            return (await asyncio.to_thread(self._open, path)).resolve(version).digest == artifact.digest

    def reader(self, artifact: Artifact) -> RangeReader:
        return LayoutReader(self._paths, artifact)

    async def close(self) -> None:
        """Nothing is kept between calls."""

    def _open(self, path: Path) -> OciLayout:
        self._paths.check(path)
        try:
            layout = OciLayout.open(path)
        except OSError as error:
            raise cannot_open(path, error) from error
        for part in ("oci-layout", "index.json", "blobs"):
            self._paths.check(path / part)
        return layout

    def _resolve(self, path: Path, version: str) -> Artifact:
        layout = self._open(path)
        digest = checked_sha256(layout.resolve(version).digest)
        manifest = layout.manifest(digest)[1]
        files, warnings = files_of(manifest, layout.blobs.read(manifest.config, "config"))
        table: ChunkTable | None = None
        try:
            table = layout.chunk_table(manifest)
        except LayoutError as error:
            warnings = (*warnings, table_missed.warning(error.message))
        name = f"{_SCHEME}{path}"
        return Artifact(
            reference=f"{name}@{digest}",
            name=name,
            tag="" if version.startswith("sha256:") else version or "latest",
            digest=digest,
            revision=revision_of(digest),
            repo_id=repo_ids.of_place("oci-layout", path.name, name),
            origin="layout",
            endpoint=str(path),
            repository="",
            files=files,
            warnings=warnings,
            chunks=shard_chunks(table),
            index=index_shard(table),
        )

    async def _vouched(self, artifact: Artifact, path: Path, gate: TrustGate) -> Artifact:
        """What passes the policy. Raises modelpack's Untrusted."""
        from modelpack.trust.shelf import LayoutShelf

        layout = self._open(path)
        descriptor, manifest = layout.manifest(artifact.digest)
        config = layout.blobs.read(manifest.config, "config")
        shelf = LayoutShelf(layout)
        verdict = await gate.check(shelf, artifact.name, (artifact.digest, descriptor.digest), manifest, config)
        named = layout.chunk_table(manifest) if artifact.chunks else None
        table = await gate.table(verdict, shelf, artifact.name, descriptor.digest, manifest, named)
        return gate.approved(replace(artifact, chunks=shard_chunks(table), index=index_shard(table)))


class LayoutReader:
    """Copies ranges of blobs."""

    def __init__(self, paths: LocalPaths, artifact: Artifact) -> None:
        self._paths = paths
        self._artifact = artifact

    def read(self, shard: Digest, start: int, length: int, fd: int, offset: int, on_bytes: OnBytes) -> None:
        file = self._artifact.file_of(shard)
        blob = Path(self._artifact.endpoint, "blobs", *shard.split(":"))
        label = f"{file.path} of {self._artifact.name}"
        with self._paths.open(blob) as source:
            if (size := os.fstat(source).st_size) != file.size:
                raise IntegrityError(
                    f"{label}: the layout's blob {shard} has {size} bytes and its manifest says {file.size}.",
                    remedy="Ask its publisher to push it again, or copy the layout again.",
                )
            copy_range(source, start, length, fd, offset, on_bytes, label)

    def ahead(self, shard: Digest, start: int, length: int) -> None:
        """Nobody is waited for."""

    def close(self) -> None:
        """Blobs are opened for each range."""


def _parse(reference: str) -> tuple[Path, str]:
    """(directory, tag or digest or ""). Raises InvalidReference."""
    found = _REFERENCE.fullmatch(reference)
    if found is None or not found["path"].startswith("/") or "\0" in reference:
        raise InvalidReference(
            f"{reference[:200]!r} is no OCI layout reference.",
            remedy="Write oci-layout:/absolute/directory:tag or oci-layout:/absolute/directory@sha256:….",
        )
    return Path(os.path.normpath(found["path"])), found["tag"] or found["digest"] or ""


def _joined(version: str) -> str:
    return f"@{version}" if version.startswith("sha256:") else f":{version}" if version else ""
