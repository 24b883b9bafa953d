"""A small shard is hashed from one read, and read again where somebody else may have written to it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from modeldist.agent.store import Partial, Store
from modeldist.artifact import Digest, Shard
from modeldist.errors import IntegrityError

DATA = b"tokens" * 1000
PIECE = 256 << 10
DIGESTS = {
    "sha256": Digest(f"sha256:{hashlib.sha256(DATA).hexdigest()}"),
    "git-sha1": Digest(f"git-sha1:{hashlib.sha1(b'blob %d' % len(DATA) + bytes(1) + DATA).hexdigest()}"),
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path)
    yield opened
    opened.close()


def written(store: Store, digest: Digest) -> Partial:
    partial = store.begin(Shard(digest, len(DATA)), PIECE)
    os.pwrite(partial.fd, DATA, 0)
    return partial


@pytest.mark.parametrize("kind", DIGESTS)
def test_all_digests_come_from_one_read(store: Store, kind: str) -> None:
    with written(store, DIGESTS[kind]) as partial:
        piece, whole = partial.hash_at_once()
        assert piece == blake3(DATA).digest()
        assert whole == {name: DIGESTS[name] for name in {"sha256", kind}}
        partial.add(0, piece)
        assert partial.commit() == DIGESTS["sha256"]
    path = store.path(DIGESTS[kind])
    assert path is not None and path.read_bytes() == DATA


def test_what_was_written_later_is_found_when_it_is_not_trusted(store: Store) -> None:
    with written(store, DIGESTS["sha256"]) as partial:
        piece, _ = partial.hash_at_once()
        partial.add(0, piece)
        os.pwrite(partial.fd, b"X", 0)
        partial.distrust()
        with pytest.raises(IntegrityError):
            partial.commit()
        assert not partial.have()
    assert not store.has(DIGESTS["sha256"])
