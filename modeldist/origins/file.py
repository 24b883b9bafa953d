"""A local file or directory: `file:///path`. Shards are pinned by device, inode, size and mtime."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from modeldist.artifact import Artifact, ArtifactFile, Digest
from modeldist.errors import InvalidReference
from modeldist.origins import repo_ids
from modeldist.origins.base import OnBytes, RangeReader
from modeldist.origins.identity import etag_digest, list_digest, revision_of
from modeldist.origins.local_paths import LocalPaths, cannot_open, changed, copy_range
from modeldist.origins.modelpack_errors import in_our_words
from modeldist.origins.settings import OriginSettings
from modelpack.filekinds import kind_of
from modelpack.sources import SourceFile, check_whole, collect_files


class FileOrigin:
    """See `modeldist.origins.base.Origin`."""

    def __init__(self, settings: OriginSettings) -> None:
        self._paths = LocalPaths(settings.file_roots)

    def matches(self, reference: str) -> bool:
        return reference.startswith("file:")

    def canonical(self, reference: str) -> str:
        return _url(_parse(reference))

    async def resolve(self, reference: str) -> Artifact:
        return await asyncio.to_thread(self._resolve, _parse(reference))

    async def still(self, artifact: Artifact, reference: str) -> bool:
        now = await self.resolve(reference)
        return now.digest == artifact.digest

    def reader(self, artifact: Artifact) -> RangeReader:
        return FileReader(self._paths, artifact)

    async def close(self) -> None:
        """Nothing is kept between calls."""

    def _resolve(self, path: Path) -> Artifact:
        base = self._paths.check(path)
        facts = base.stat()
        if base.is_file():
            found: tuple[SourceFile, ...] = (SourceFile(path.name, base, facts.st_size, bool(facts.st_mode & 0o100)),)
        else:
            found = _collect(base)
        files = tuple(self._file(source) for source in found)
        digest = list_digest(_url(path), "", files)
        return Artifact(
            reference=_url(path),
            name=_url(path),
            tag="main",
            digest=digest,
            revision=revision_of(digest),
            repo_id=repo_ids.of_place("file", path.stem if base.is_file() else path.name, str(path)),
            origin="file",
            endpoint=str(base.parent if base.is_file() else base),
            repository=str(path),
            files=files,
        )

    def _file(self, source: SourceFile) -> ArtifactFile:
        with self._paths.open(source.file) as fd:
            facts = os.fstat(fd)
        return ArtifactFile(
            source.path,
            _pin(facts),
            facts.st_size,
            kind_of(source.file.name, facts.st_size),
            locator=str(source.file),
            executable=source.executable,
        )


class FileReader:
    """Copies ranges; the file must be the resolved one before and after each."""

    def __init__(self, paths: LocalPaths, artifact: Artifact) -> None:
        self._paths = paths
        self._artifact = artifact

    def read(self, shard: Digest, start: int, length: int, fd: int, offset: int, on_bytes: OnBytes) -> None:
        path = Path(self._artifact.locator(shard))
        with self._paths.open(path) as source:
            if _pin(os.fstat(source)) != shard:
                raise changed(str(path))
            copy_range(source, start, length, fd, offset, on_bytes, str(path))
            if _pin(os.fstat(source)) != shard:
                raise changed(str(path))

    def ahead(self, shard: Digest, start: int, length: int) -> None:
        """Nobody is waited for."""

    def close(self) -> None:
        """Files are opened for each range."""


def _collect(directory: Path) -> tuple[SourceFile, ...]:
    try:
        with in_our_words(str(directory)):
            files = collect_files(directory)
            check_whole(directory, files)
            return files
    except OSError as error:
        raise cannot_open(directory, error) from error


def _pin(facts: os.stat_result) -> Digest:
    return etag_digest("file", facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)


def _parse(reference: str) -> Path:
    """Raises InvalidReference."""
    try:
        split = urlsplit(reference)
    except ValueError:  # brackets that hold no address
        raise _no_local_file(reference) from None
    path = unquote(split.path)
    if split.netloc not in ("", "localhost") or not path.startswith("/") or split.query or split.fragment:
        raise _no_local_file(reference)
    if "\0" in path:
        raise InvalidReference(f"{reference[:200]!r} contains a NUL character.", remedy="Check the path.")
    return Path(os.path.normpath(path))


def _no_local_file(reference: str) -> InvalidReference:
    return InvalidReference(
        f"{reference[:200]!r} is no local file.",
        remedy="Write file:///absolute/path, with % escapes for ?, # and %.",
    )


def _url(path: Path) -> str:
    return f"file://{quote(str(path))}"
