"""Tar layers as the specification wants them: the same file gives the same bytes wherever and whenever it is packed.

One file per archive, so that each can be fetched alone. Constant owner and time, mode 0644 or 0755, no names of users.
gzip and zstd at fixed levels and by one thread: their output depends on nothing but the version of the library.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from blake3 import blake3

from modelpack.chunk_table import BlobChunks, chunk_size_for
from modelpack.mediatypes import Encoding
from modelpack.sources import SourceFile

_BLOCK = 512  # bytes of a tar block
_READ = 4 * 1024 * 1024  # bytes read at once
_GZIP_LEVEL = 6
_ZSTD_LEVEL = 3


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class PackedFile:
    """An archive in a file of its own. `diff_id`: sha256 of it uncompressed; `mtime_ns` of the file that is in it,
    before its first byte was read, and `read` its bytes."""

    path: Path
    chunks: BlobChunks
    diff_id: str
    mtime_ns: int
    read: int

    @property
    def digest(self) -> str:
        return self.chunks.digest

    @property
    def size(self) -> int:
        return self.chunks.size


def pack_file(source: SourceFile, encoding: Encoding, epoch: int, room: Path) -> PackedFile:
    """Write the archive of one file into the directory `room`; whoever calls moves or removes it. Raises OSError."""
    fd, name = tempfile.mkstemp(dir=room, prefix=".new-")
    path = Path(name)
    try:
        with open(fd, "w+b", buffering=0) as target, source.file.open("rb", buffering=0) as content:
            status = os.fstat(content.fileno())
            plain, packed = hashlib.sha256(), hashlib.sha256()
            compressor = _compressor(encoding)
            read = size = 0
            for part in _archive(source, content.fileno(), status.st_size, epoch):
                plain.update(part)
                read += len(part)
                size += _write(target.fileno(), compressor.compress(part) if compressor else part, packed)
            if compressor:
                size += _write(target.fileno(), compressor.flush(), packed)
            os.fchmod(fd, 0o644)
            digest = "sha256:" + packed.hexdigest()
            chunks = BlobChunks(digest, size, chunk_size_for(size), _chunks(fd, size))
            return PackedFile(path, chunks, "sha256:" + plain.hexdigest(), status.st_mtime_ns, status.st_size)
    except BaseException:
        with suppress(FileNotFoundError):
            path.unlink()
        raise


def _archive(source: SourceFile, descriptor: int, size: int, epoch: int) -> Iterator[bytes]:
    """The whole archive: header, content, the zeros that end it. A file that grows is cut, one that shrinks padded;
    the caller compares sizes afterwards."""
    entry = tarfile.TarInfo(source.path)
    entry.size, entry.mtime = size, epoch
    entry.mode = 0o755 if source.executable else 0o644
    yield entry.tobuf(format=tarfile.PAX_FORMAT)
    left = size
    while left and (part := os.read(descriptor, min(_READ, left))):
        left -= len(part)
        yield part
    yield b"\0" * (left + -size % _BLOCK + 2 * _BLOCK)


def _compressor(encoding: Encoding) -> _Compressor | None:
    if encoding == "tar+gzip":
        return zlib.compressobj(_GZIP_LEVEL, wbits=31)  # a gzip header without time and name
    if encoding == "tar+zstd":
        import zstandard

        return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj()
    return None


def _write(descriptor: int, data: bytes, content: hashlib._Hash) -> int:
    content.update(data)
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    return len(data)


def _chunks(descriptor: int, size: int) -> bytes:
    """The written archive once more, as its size alone says how long chunks are; it is in the page cache still."""
    chunk_size = chunk_size_for(size)
    return b"".join(blake3(os.pread(descriptor, chunk_size, at)).digest() for at in range(0, size, chunk_size))
