"""The journal of a partial shard: which pieces are verified, and by which BLAKE3.

Append-only; see docs/adr/0003-journal-of-digests.md for why nothing here is synced. Integers are big-endian.

    header   magic (8 bytes), shard size u64, piece size u64, length of the digest u16, digest (ASCII), crc32 u32
    record   piece index u32, BLAKE3 (32 bytes), crc32 u32 seeded with the header's
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from modeldist.agent.store.atomic import write_all
from modeldist.artifact import Digest

MAGIC = b"mdjrnl\x00\x01"  # the last byte is the format's version
_HEAD = struct.Struct(">8sQQH")
_CRC = struct.Struct(">I")
_RECORD = struct.Struct(">I32s")
RECORD_SIZE = _RECORD.size + _CRC.size


@dataclass(frozen=True)
class Header:
    """What the records are about. Sizes in bytes."""

    digest: Digest
    size: int
    piece_size: int

    def encode(self) -> bytes:
        name = self.digest.encode("ascii")
        body = _HEAD.pack(MAGIC, self.size, self.piece_size, len(name)) + name
        return body + _CRC.pack(zlib.crc32(body))


@dataclass(frozen=True)
class Contents:
    """A parsed journal. `whole` is False when anything had to be skipped."""

    header: Header
    pieces: Mapping[int, bytes]
    whole: bool


def encode_record(header: Header, piece: int, blake3: bytes) -> bytes:
    body = _RECORD.pack(piece, blake3)
    return body + _CRC.pack(zlib.crc32(body, _seed(header)))


def parse(data: bytes) -> Contents | None:
    """Read a journal; None when its header is damaged or of another format. Damaged or torn records are skipped."""
    header = _parse_header(data)
    if header is None:
        return None
    start = len(header.encode())
    count = -(-header.size // header.piece_size)
    seed = _seed(header)
    pieces: dict[int, bytes] = {}
    whole = (len(data) - start) % RECORD_SIZE == 0
    for at in range(start, len(data) - RECORD_SIZE + 1, RECORD_SIZE):
        body = data[at : at + _RECORD.size]
        piece, blake3 = _RECORD.unpack(body)
        if data[at + _RECORD.size : at + RECORD_SIZE] == _CRC.pack(zlib.crc32(body, seed)) and piece < count:
            pieces[piece] = blake3
        else:
            whole = False
    return Contents(header, pieces, whole)


def _parse_header(data: bytes) -> Header | None:
    if len(data) < _HEAD.size:
        return None
    magic, size, piece_size, length = _HEAD.unpack_from(data)
    end = _HEAD.size + length
    name = data[_HEAD.size : end]
    if magic != MAGIC or piece_size == 0 or data[end : end + _CRC.size] != _CRC.pack(zlib.crc32(data[:end])):
        return None
    return Header(Digest(name.decode("ascii")), size, piece_size) if name.isascii() else None


@lru_cache(maxsize=16)  # one of these for every piece
def _seed(header: Header) -> int:
    """Ties records to their header, so that stale blocks of an older journal never pass for records of this one."""
    return zlib.crc32(header.encode())


class Journal:
    """Appends records. The file is made with the first of them, so that tiny shards cost little. Not thread-safe."""

    def __init__(self, path: Path, header: Header) -> None:
        self.path = path
        self.header = header
        self._fd: int | None = None

    def continue_(self) -> None:
        """Append to what the file holds."""
        self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND)

    def rewrite(self, header: Header, pieces: Mapping[int, bytes], *, durable: bool = False) -> None:
        """Replace everything; a crash of the process leaves the old journal or the new, with `durable` also one of the
        machine, which else may leave none. Without pieces there is no file."""
        self.close()
        self.header = header
        if not pieces:
            self.path.unlink(missing_ok=True)
            return
        scratch = self.path.with_name("journal.new")
        fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        try:
            records = (encode_record(header, piece, blake3) for piece, blake3 in sorted(pieces.items()))
            write_all(fd, header.encode() + b"".join(records))
            if durable:
                os.fdatasync(fd)
            scratch.rename(self.path)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def append(self, piece: int, blake3: bytes) -> None:
        if self._fd is None:
            self.rewrite(self.header, {piece: blake3})
            return
        try:
            write_all(self._fd, encode_record(self.header, piece, blake3))
        except OSError:
            self._drop_half_record(self._fd)
            raise

    def _drop_half_record(self, fd: int) -> None:
        """It would be in the way of the next one."""
        end = os.fstat(fd).st_size
        os.ftruncate(fd, end - (end - len(self.header.encode())) % RECORD_SIZE)

    def sync(self) -> None:
        """Make its records survive a crash of the machine."""
        if self._fd is not None:
            os.fdatasync(self._fd)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
