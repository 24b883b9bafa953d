"""Uploads that outlive their process: where a half-sent blob goes on is kept in a small file of its own.

<directory>/<sha256 of target and digest>      one line of JSON, only its owner may read it: the address is a key
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec

from modelpack.oci.file_locks import lock, still_at
from modelpack.oci.uploads import UploadPaused
from modelpack.reference import Reference

_MAX_RECORD = 64 * 1024  # bytes


class _Record(msgspec.Struct):
    target: str
    digest: str
    url: str


class UploadRecord:
    """The record of one blob's upload to one repository, locked."""

    def __init__(self, descriptor: int, path: Path, target: Reference, digest: str, stop: asyncio.Event) -> None:
        self._descriptor = descriptor
        self._path = path
        self._target = target.name
        self._digest = digest
        self._stop = stop

    def recall(self) -> str:
        """Where the upload goes on; empty when nothing is known of one."""
        raw = os.pread(self._descriptor, _MAX_RECORD, 0).partition(b"\n")[0]
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            record = msgspec.json.decode(raw, type=_Record)
            if (record.target, record.digest) == (self._target, self._digest):
                return record.url
        return ""

    def keep(self, url: str) -> None:
        """Remember. One write: a process killed here leaves the old line or the new one. Raises UploadPaused."""
        line = msgspec.json.encode(_Record(self._target, self._digest, url)) + b"\n"
        if len(line) <= _MAX_RECORD:
            os.pwrite(self._descriptor, line, 0)
        if self._stop.is_set():
            raise UploadPaused

    def forget(self) -> None:
        os.ftruncate(self._descriptor, 0)

    def finish(self) -> None:
        """The blob is there: nothing is left to remember."""
        with suppress(FileNotFoundError):
            self._path.unlink()


@asynccontextmanager
async def upload_record(
    directory: Path, target: Reference, digest: str, stop: asyncio.Event
) -> AsyncIterator[UploadRecord]:
    """The record, ours alone inside the block: two processes never send one blob to one repository. Once `stop` is set,
    the upload pauses where its next chunk would begin."""
    await asyncio.to_thread(directory.mkdir, mode=0o700, parents=True, exist_ok=True)
    path = directory / hashlib.sha256(f"{target.name} {digest}".encode()).hexdigest()
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            await lock(descriptor)
            if still_at(descriptor, path):
                yield UploadRecord(descriptor, path, target, digest, stop)
                return
        finally:
            os.close(descriptor)
