"""A shard's own digest goes along with pieces that are hashed as they come; nothing but verified bytes gets into it."""

from __future__ import annotations

import os
import re
from contextlib import closing
from pathlib import Path

import pytest

from modeldist.agent.store import Partial, Store
from modeldist.agent.store.buffers import blake3_of
from tests.integration.store.made_models import KIB, content, digest_of, shard_of

PIECE = 256 * KIB
DATA = content(8 * PIECE + 7)
BLOCK = 100 * KIB


def come(partial: Partial, piece: int, data: bytes = DATA) -> None:
    """The piece comes a block at a time, is hashed in hand, and added when it is right."""
    start = partial.layout.offset(piece)
    body = data[start : start + partial.layout.length(piece)]
    along = partial.piece_hash(piece)
    for at in range(0, len(body), BLOCK):
        along.update(memoryview(body[at : at + BLOCK]))
        os.pwrite(partial.fd, body[at : at + BLOCK], start + at)
    if data is DATA:
        assert along.digest() == blake3_of(partial.fd, start, len(body))
        partial.add(piece, along.digest(), along)


def read_by_this_process() -> int:
    """Bytes, from files and all else."""
    found = re.search(r"rchar: (\d+)", Path("/proc/self/io").read_text())
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize("kind", ["sha256", "git-sha1", "etag"])
def test_pieces_in_order_are_not_read_again(store: Store, kind: str) -> None:
    with store.begin(shard_of(DATA, kind), PIECE) as partial:
        pieces = range(partial.layout.count)
        for piece in pieces:
            come(partial, piece)
        before = read_by_this_process()
        assert partial.commit() == digest_of(DATA)
        assert read_by_this_process() - before < PIECE
    assert store.path(digest_of(DATA)) is not None


@pytest.mark.parametrize(
    "order", [(8, 7, 6, 5, 4, 3, 2, 1, 0), (1, 0, 2, 3, 5, 6, 4, 7, 8), (0, 2, 1, 4, 3, 6, 5, 8, 7)]
)
def test_pieces_in_any_order_make_the_same_shard(store: Store, order: tuple[int, ...]) -> None:
    with store.begin(shard_of(DATA), PIECE) as partial:
        for piece in order:
            come(partial, piece)
        assert partial.commit() == digest_of(DATA)


def test_a_wrong_piece_leaves_nothing_behind(store: Store) -> None:
    with store.begin(shard_of(DATA), PIECE) as partial:
        for piece in range(partial.layout.count):
            come(partial, piece, b"?" * len(DATA))
            come(partial, piece)
        assert partial.commit() == digest_of(DATA)


def test_what_was_hashed_before_the_shard_was_emptied_is_forgotten(store: Store) -> None:
    with store.begin(shard_of(DATA), PIECE) as partial:
        come(partial, 0)
        late = partial.piece_hash(1)
        late.update(memoryview(bytes(PIECE)))
        partial.reset()
        for piece in range(partial.layout.count):
            come(partial, piece)
        late.keep()
        assert partial.commit() == digest_of(DATA)


def test_a_resumed_shard_goes_on_in_hand(tmp_path: Path) -> None:
    for pieces in (range(3), range(3, 9)):
        with closing(Store.open(tmp_path)) as store, store.begin(shard_of(DATA), PIECE) as partial:
            for piece in pieces:
                come(partial, piece)
            if 8 in pieces:
                assert partial.commit() == digest_of(DATA)
