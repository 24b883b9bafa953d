"""A blob on its way from one registry to another: read once from front to back, a chunk ahead of who sends it on.

Two chunks are in memory at most: the one being sent, which can be sent again, and the one after it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress

from modelpack.errors import DigestMismatch, ModelPackError
from modelpack.manifest import Descriptor
from modelpack.oci.blob_sources import SourceFailed
from modelpack.oci.client import CHUNK, RegistryClient
from modelpack.reference import Reference


class RelayedBlob:
    """A BlobSource. What passes is hashed, unless its beginning was sent by an earlier process: then the registry that
    takes it is the only one to compare digests."""

    def __init__(self, client: RegistryClient, ref: Reference, blob: Descriptor, chunk: int = CHUNK) -> None:
        self._client = client
        self._ref = ref
        self._blob = blob
        self._chunk = chunk
        self._start = 0  # of what is held
        self._held: list[bytes] = []
        self._end = 0  # of what is held, where the stream goes on
        self._stream: AsyncGenerator[bytes, None] | None = None
        self._ahead: asyncio.Task[None] | None = None
        self._content = hashlib.new(blob.digest.partition(":")[0])
        self._hashed = 0

    async def prepare(self, offset: int, length: int) -> None:
        """Hold the first chunk of these bytes, and begin to read what follows. Raises SourceFailed."""
        if self._ahead is not None:
            await asyncio.wait({self._ahead})
        try:
            if self._ahead is not None:
                ahead, self._ahead = self._ahead, None
                ahead.result()
            if not self._start <= offset <= self._end:
                await self._go_to(offset)
            self._forget(offset)
            until = offset + min(length, self._chunk)
            await self._fill(until)
        except ModelPackError as error:
            raise SourceFailed(error) from error
        if self._end < self._blob.size:
            self._ahead = asyncio.create_task(self._fill(min(until + self._chunk, self._blob.size)))

    async def pieces(self, offset: int, length: int) -> AsyncIterator[bytes]:
        at, end = offset, offset + length
        while at < end:
            until = min(at + self._chunk, end)
            await self.prepare(at, until - at)
            position = self._start
            for piece in list(self._held):
                useful = piece[max(0, at - position) : max(0, until - position)]
                position += len(piece)
                if useful:
                    yield useful
                if position >= until:
                    break
            at = until

    async def close(self) -> None:
        """Stop reading."""
        if self._ahead is not None:
            self._ahead.cancel()
            with suppress(asyncio.CancelledError, ModelPackError):
                await self._ahead
            self._ahead = None
        await self._close_stream()

    async def _fill(self, until: int) -> None:
        """Read on until the bytes before `until` are held."""
        fresh: list[bytes] = []
        began = self._end
        while self._end < until:
            if self._stream is None:
                size = self._blob.size
                self._stream = self._client.stream_blob(self._ref, self._blob.digest, self._end, size=size)
            piece = await anext(self._stream, b"")
            if not piece:
                break  # no stream ends early; an empty blob ends at once
            fresh.append(piece)
            self._held.append(piece)
            self._end += len(piece)
        if began <= self._hashed < self._end:
            await asyncio.to_thread(self._hash, fresh, self._hashed - began)
        if self._hashed == self._blob.size:
            self._check()

    def _hash(self, pieces: list[bytes], skip: int) -> None:
        for piece in pieces:
            self._content.update(piece[skip:])
            self._hashed += max(0, len(piece) - skip)
            skip = max(0, skip - len(piece))

    def _check(self) -> None:
        actual = f"{self._content.name}:{self._content.hexdigest()}"
        if actual != self._blob.digest:
            raise DigestMismatch(
                f"The blob {self._blob.digest} of {self._ref.name} has the digest {actual} as served by "
                f"{self._ref.registry}.",
                remedy="It was not copied. Copy again; if it repeats, do not trust this registry.",
            )

    def _forget(self, offset: int) -> None:
        """Drop what lies before `offset`, piece by piece."""
        count = 0
        while count < len(self._held) and self._start + len(self._held[count]) <= offset:
            self._start += len(self._held[count])
            count += 1
        del self._held[:count]

    async def _go_to(self, offset: int) -> None:
        await self._close_stream()
        self._held.clear()
        self._start = self._end = offset

    async def _close_stream(self) -> None:
        if self._stream is not None:
            stream, self._stream = self._stream, None
            await stream.aclose()
