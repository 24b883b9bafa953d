"""The journal of a partial shard: of any bytes, pieces that a journal written of them proves again, or nothing."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from modeldist.agent.store.journal import MAGIC, RECORD_SIZE, Header, encode_record, parse
from modeldist.artifact import Digest
from tests.fuzz.target import Target

FIXED = 8 + 8 + 8 + 2  # bytes of a header in front of the digest
HEADER = Header(Digest("sha256:" + "ab" * 32), 10_000_000, 1 << 20)


def seeds() -> Iterator[bytes]:
    whole = HEADER.encode() + b"".join(encode_record(HEADER, piece, bytes([piece]) * 32) for piece in range(10))
    yield whole
    yield whole[:-7]
    yield HEADER.encode()
    yield Header(Digest("git-sha1:" + "0" * 40), 0, 1).encode()
    huge = Header(HEADER.digest, 2**64 - 1, 1)
    yield huge.encode() + encode_record(huge, 2**32 - 1, bytes(32))


def check(data: bytes) -> None:
    _check(data)
    _check(_with_true_sums(data))


def _with_true_sums(data: bytes) -> bytes:
    """Else hardly a change would come past the checksums."""
    end = FIXED + int.from_bytes(data[FIXED - 2 : FIXED])
    sum_ = zlib.crc32(data[:end])
    found = data[:end] + sum_.to_bytes(4)
    seed = zlib.crc32(found)
    for at in range(end + 4, len(data) - RECORD_SIZE + 1, RECORD_SIZE):
        body = data[at : at + RECORD_SIZE - 4]
        found += body + zlib.crc32(body, seed).to_bytes(4)
    return found


def _check(data: bytes) -> None:
    contents = parse(data)
    if contents is None:
        return
    count = -(-contents.header.size // contents.header.piece_size)
    assert all(0 <= piece < count and len(blake3) == 32 for piece, blake3 in contents.pieces.items())
    assert len(contents.pieces) <= len(data) // RECORD_SIZE
    again = parse(
        contents.header.encode()
        + b"".join(encode_record(contents.header, *record) for record in contents.pieces.items())
    )
    assert again is not None and again.whole and again.pieces == contents.pieces and again.header == contents.header


TARGET = Target("journal", check, seeds, (MAGIC, HEADER.encode(), encode_record(HEADER, 3, bytes(32))), longest=1024)
