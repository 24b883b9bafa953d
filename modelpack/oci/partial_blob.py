"""A blob on its way into a layout: a partial file beside its final place, resumed, verified, then renamed."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aiofiles.threadpool.binary import AsyncBufferedIOBase

from modelpack.errors import DestinationError, DigestMismatch
from modelpack.manifest import Descriptor
from modelpack.oci.client import RegistryClient
from modelpack.oci.file_locks import lock, still_at
from modelpack.oci.local_files import opened
from modelpack.reference import Reference

Tell = Callable[[Literal["moved", "present"], int], None]
_BLOCK = 1024 * 1024  # bytes


@dataclass(frozen=True)
class PartialBlob:
    """`final` is the place of the finished blob; several processes may fetch the same one, one at a time."""

    blob: Descriptor
    final: Path

    @property
    def path(self) -> Path:
        return self.final.with_name(f".partial-{self.final.name}")

    async def receive(self, ref: Reference, client: RegistryClient, tell: Tell) -> None:
        """Fetch what is missing and give the blob its name. Raises RegistryError, DigestMismatch, DestinationError."""
        self.final.parent.mkdir(parents=True, exist_ok=True)
        async with self._locked() as file:
            if self._finished():
                self._drop()
                tell("present", self.blob.size)
                return
            have, content = await self._begun(file)
            tell("present", have)
            async with aclosing(client.stream_blob(ref, self.blob.digest, have, size=self.blob.size)) as pieces:
                async for piece in pieces:
                    content.update(piece)
                    await file.write(piece)
                    tell("moved", len(piece))
            actual = f"{self.blob.digest.partition(':')[0]}:{content.hexdigest()}"
            if actual == self.blob.digest:
                await file.flush()
                await asyncio.to_thread(os.fsync, file.fileno())
                self.path.replace(self.final)
                return
            self._drop()
        if have == 0:
            raise self._mismatch(ref, actual)
        # the beginning may have been damaged since it was written: once more, all from the registry
        tell("present", -have)
        tell("moved", have - self.blob.size)
        await self.receive(ref, client, tell)

    async def _begun(self, file: AsyncBufferedIOBase) -> tuple[int, hashlib._Hash]:
        """How much an earlier pull left, hashed again."""
        content = hashlib.new(self.blob.digest.partition(":")[0])
        have = (await asyncio.to_thread(os.fstat, file.fileno())).st_size
        if have > self.blob.size:
            have = 0
            await file.truncate(0)
        await file.seek(0)
        while block := await file.read(_BLOCK):
            content.update(block)
        return have, content

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[AsyncBufferedIOBase]:
        """The partial file, ours alone. Another process may have finished or dropped the file we waited for: then the
        name leads elsewhere, and the file there is tried next."""
        while True:
            descriptor = _open(self.path)
            with opened(descriptor, "r+b") as file:
                await lock(descriptor)
                if self._finished() or still_at(descriptor, self.path):
                    yield file
                    break

    def _finished(self) -> bool:
        try:
            return self.final.stat().st_size == self.blob.size
        except FileNotFoundError:
            return False

    def _mismatch(self, ref: Reference, actual: str) -> DigestMismatch:
        return DigestMismatch(
            f"The blob {self.blob.digest} of {ref} has the digest {actual} as served by {ref.registry}.",
            remedy="Nothing of it was kept. Pull again; if it repeats, do not trust this registry.",
        )

    def _drop(self) -> None:
        with suppress(FileNotFoundError):
            self.path.unlink()


def _open(path: Path) -> int:
    """Never what a link leads to: in a directory that others write to, that may be anybody's file."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    except OSError as problem:
        if problem.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise
    else:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
    raise DestinationError(f"{path} is there and no file.", remedy="Find out who made it, and remove it.")
