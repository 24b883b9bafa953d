"""Where the bytes of an upload come from: memory, a file, or another registry (`modelpack.oci.relay`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

from modelpack.errors import DigestMismatch, ModelPackError
from modelpack.oci.local_files import opened

BLOCK = 1024 * 1024  # bytes read at once


class BlobSource(Protocol):
    """One blob of known size. Bytes may be asked for again, mostly those asked for last."""

    async def prepare(self, offset: int, length: int) -> None:
        """Told before a request is opened that will send these bytes. Raises SourceFailed."""

    def pieces(self, offset: int, length: int) -> AsyncIterator[bytes]:
        """Bytes [offset, offset+length). Raises SourceFailed, DigestMismatch."""


class SourceFailed(Exception):
    """Whoever has the bytes failed, not who takes them: `error` says how."""

    def __init__(self, error: ModelPackError) -> None:
        super().__init__(str(error))
        self.error = error


class BytesBlob:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def prepare(self, offset: int, length: int) -> None:
        """They are here."""

    async def pieces(self, offset: int, length: int) -> AsyncIterator[bytes]:
        for at in range(offset, offset + length, BLOCK):
            yield self._data[at : min(at + BLOCK, offset + length)]


class FileBlob:
    """A file of `size` bytes."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size

    async def prepare(self, offset: int, length: int) -> None:
        """The disk is fast enough."""

    async def pieces(self, offset: int, length: int) -> AsyncIterator[bytes]:
        at, end = offset, offset + length
        with opened(self._path, "rb") as file:
            await file.seek(offset)
            while at < end:
                piece = await file.read(min(BLOCK, end - at))
                if not piece:
                    raise DigestMismatch(
                        f"{self._path} ends at byte {at} and should have {self._size}.",
                        remedy="It changed: build and push again.",
                    )
                at += len(piece)
                yield piece
