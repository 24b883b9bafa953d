"""A local file or directory: `file:///path`. Shards are pinned by device, inode, size and mtime."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from modeldist.artifact import Artifact, ArtifactFile, Digest
from modeldist.errors import InvalidReference, NotFound, UnsafeArtifact
from modeldist.origins import repo_ids
from modeldist.origins.base import OnBytes, RangeReader
from modeldist.origins.identity import etag_digest, list_digest, revision_of
from modeldist.origins.kinds import kind_of
from modeldist.origins.local_paths import LocalPaths, changed, copy_range
from modeldist.origins.safe_names import check_paths
from modeldist.origins.settings import OriginSettings

_SKIPPED = frozenset({".git", ".cache"})  # of a clone, of `hf download --local-dir`


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
        found = [(path.name, base)] if base.is_file() else list(_walk(base))
        if not found:
            raise NotFound(f"{path} holds no files.", remedy="Name a file or a directory of files.")
        check_paths((name for name, _ in found), _url(path))
        files = tuple(self._file(name, file) for name, file in found)
        digest = list_digest(_url(path), "", files)
        directory = base.parent if base.is_file() else base
        return Artifact(
            reference=_url(path),
            name=_url(path),
            tag="main",
            digest=digest,
            revision=revision_of(digest),
            repo_id=repo_ids.of_place("file", path.stem if base.is_file() else path.name, str(path)),
            origin="file",
            endpoint=str(directory),
            repository=str(path),
            files=files,
        )

    def _file(self, name: str, path: Path) -> ArtifactFile:
        with self._paths.open(path) as fd:
            facts = os.fstat(fd)
        executable = bool(facts.st_mode & stat.S_IXUSR)
        return ArtifactFile(name, _pin(facts), facts.st_size, kind_of(name), locator=str(path), executable=executable)


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

    def close(self) -> None:
        """Files are opened for each range."""


def _pin(facts: os.stat_result) -> Digest:
    return etag_digest("file", facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)


def _parse(reference: str) -> Path:
    """Raises InvalidReference."""
    split = urlsplit(reference)
    path = unquote(split.path)
    if split.netloc not in ("", "localhost") or not path.startswith("/") or split.query or split.fragment:
        raise InvalidReference(
            f"{reference[:200]!r} is no local file.",
            remedy="Write file:///absolute/path, with % escapes for ?, # and %.",
        )
    if "\0" in path:
        raise InvalidReference(f"{reference[:200]!r} contains a NUL character.", remedy="Check the path.")
    return Path(os.path.normpath(path))


def _url(path: Path) -> str:
    return f"file://{quote(str(path))}"


def _walk(base: Path) -> Iterator[tuple[str, Path]]:
    """(name, file with links resolved) of all files below, in order. Links are followed to files within the directory
    or, in a Hugging Face cache, within that cache; anything else is refused."""
    cache = _hub_cache(base)
    for folder, folders, names in os.walk(base):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED)
        for name in sorted([*names, *(f for f in folders if Path(folder, f).is_symlink())]):
            path = Path(folder, name)
            real = path.resolve()
            if path.is_symlink() and (not real.is_file() or not real.is_relative_to(cache)):
                raise UnsafeArtifact(
                    f"{path} is a symbolic link that leads out of the directory or to no file.",
                    remedy="Replace the link by a copy of what it points to.",
                )
            yield path.relative_to(base).as_posix(), real


def _hub_cache(base: Path) -> Path:
    """The Hugging Face cache that `base` is a snapshot of (its files are links to blobs), else `base` itself."""
    for parent in base.parents:
        if parent.name == "snapshots" and parent.parent.name.startswith("models--"):
            return parent.parent.parent
    return base
